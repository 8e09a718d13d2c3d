"""The ledger as a table: a verdict, an address and a place in the order for every row."""

import re

import numpy as np
import pandas as pd
import pytest

from asprm.site.ledger import whole_ledger

NONE = {"here": np.nan, "low": np.nan, "high": np.nan, "p_holm": np.nan, "smallest": np.nan, "n": np.nan, "cell": ""}
ROWS = [
    ("t1-a", "level", "Table 1", "A < B", "not run", {"paper": 80.5}),
    ("t1-a", "arrow", "Table 1", "A is above B", "reproduced",
     {"paper": 1.5, "here": 12.0, "low": 2.0, "high": 21.0, "p_holm": 0.0004, "n": 60, "cell": "08_tvd.html#decode"}),
    ("t2-b", "arrow", "Table 2", "C is above D", "opposite",
     {"paper": 2, "here": -3.5, "p_holm": 0.01, "smallest": 2.5}),
    ("s-c", "prose", "Abstract", "Cheaper", "inconclusive", {"paper": np.nan, "here": 30, "unit": "percent"}),
]  # fmt: skip


@pytest.fixture
def frame():
    rows = [
        {"id": id, "aspect": aspect, "where": where, "says": says, "verdict": verdict, "why": "", "test": "exact"}
        | {"unit": "points", "seeds": 3}
        | NONE
        | more
        for id, aspect, where, says, verdict, more in ROWS
    ]
    return pd.DataFrame(rows)


def test_every_row_has_an_address_of_its_own_and_directions_come_first(frame):
    html = whole_ledger(frame).html()
    assert re.findall(r'<tr id="([^"]*)"', html) == ["claim-t1-a", "claim-t2-b", "claim-s-c", "claim-t1-a-level"]
    assert re.findall(r'href="#([^"]*)"', html) == ["claim-t1-a", "claim-t2-b", "claim-s-c", "claim-t1-a-level"]
    assert "A &lt; B" in html
    assert '<a href="08_tvd.html#decode">08_tvd</a>' in html
    assert '12.00 points<br><span class="interval">[2.00, 21.00]</span>' in html
    assert "\N{MINUS SIGN}3.50 points" in html
    assert '<span class="how">exact; 60 problems; 3 trainings; <a href' in html


def test_a_row_says_with_which_tests_its_p_was_corrected(frame):
    assert "&lt;\N{NO-BREAK SPACE}.001</td>" in whole_ledger(frame).html()  # of a ledger that does not name them
    named = whole_ledger(frame.assign(family="chapter 8, policy M")).html()
    assert '&lt;\N{NO-BREAK SPACE}.001<br><span class="interval">chapter 8, policy M</span>' in named


def test_a_long_ledger_shows_its_first_rows_until_all_are_asked_for(frame, opened):
    many = pd.concat(
        [frame.iloc[[1]].assign(id=f"t-{i:02d}", verdict="opposite" if i % 2 else "reproduced") for i in range(50)]
    )
    shown = opened(whole_ledger(many))
    assert len(shown_ids(shown)) == 20
    assert shown.locator(".place").inner_text() == "50 of 50"
    shown.get_by_label("Verdict").select_option("opposite")
    assert shown_ids(shown)[:2] == ["claim-t-01", "claim-t-03"]
    assert len(shown_ids(shown)) == 20
    shown.evaluate("location.hash = '#claim-t-49'")
    shown.wait_for_function("!document.getElementById('claim-t-49').hidden")
    assert len(shown_ids(shown)) == 25
    shown.get_by_label("Verdict").select_option("")
    assert len(shown_ids(shown)) == 50
    assert not shown.get_by_role("button", name="Show all").is_visible()


def test_the_button_shows_all_rows(frame, opened):
    many = pd.concat([frame.iloc[[1]].assign(id=f"t-{i:02d}") for i in range(21)])
    shown = opened(whole_ledger(many), width=390)
    shown.get_by_role("button", name="Show all 21 rows").click()
    assert len(shown_ids(shown)) == 21


def shown_ids(shown):
    return shown.locator("tbody tr:visible").evaluate_all("(rows) => rows.map((row) => row.id)")


def test_a_reader_sorts_and_filters(frame, opened):
    shown = opened(whole_ledger(frame))
    assert shown.locator(".place").inner_text() == "4 of 4"
    shown.get_by_role("button", name="here").click()
    assert shown_ids(shown) == ["claim-t2-b", "claim-t1-a", "claim-s-c", "claim-t1-a-level"]
    shown.get_by_role("button", name="here").click()
    assert shown_ids(shown) == ["claim-s-c", "claim-t1-a", "claim-t2-b", "claim-t1-a-level"]  # without value: last
    assert shown.locator('th[aria-sort="descending"]').inner_text().startswith("here")
    shown.get_by_label("Verdict").select_option("reproduced")
    assert shown_ids(shown) == ["claim-t1-a"]
    shown.get_by_label("Verdict").select_option("")
    shown.get_by_label("Part").select_option("Table 1")
    shown.get_by_label("Kind").select_option("level")
    assert shown_ids(shown) == ["claim-t1-a-level"]
    shown.get_by_label("Kind").select_option("")
    shown.get_by_label("Part").select_option("")
    shown.get_by_label("Words in a claim").fill("cheap")
    assert shown_ids(shown) == ["claim-s-c"]
    assert shown.locator(".place").inner_text() == "1 of 4"
