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
    assert "60, 3 trainings" in html


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
