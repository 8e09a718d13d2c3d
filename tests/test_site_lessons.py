"""What the boxes near the ends of chapters say, and when they claim that something was reproduced."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_house import NOTEBOOKS, STAGES, code_cells

from asprm import REPOSITORY
from asprm.contests import told
from asprm.results.verdicts import BROKEN
from asprm.run import names
from asprm.run.open import Run, open_run
from asprm.site import lessons
from asprm.site.lessons import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Lesson, learned
from asprm.site.quantities import BEST, OVER_GREEDY, OVER_SINGLE
from asprm.statistics import HOLM

RIVALS = REPOSITORY / "data/reference/tiny/rivals"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))

    def opened(stage: str):
        return open_run("smoke", stage=stage, quiet=True)

    return opened


@pytest.fixture
def rows(monkeypatch):
    """Let the quantities of every stage be these rows: what, unit, value, low, high, set, prm, p."""

    def these(*quantities: tuple) -> None:
        columns = ["what", "unit", "value", "low", "high", "set", "prm", "p"]
        frame = pd.DataFrame([(*row, *("", "", np.nan)[len(row) - 5 :]) for row in quantities], columns=columns)
        monkeypatch.setattr(lessons, "quantities", lambda *_: frame)

    return these


def gain(name: str, value: float, p: float) -> list[tuple]:
    """The share and the gains of Best-of-N on one test set. value, p: over greedy decoding."""
    return [
        (BEST, "share", 0.5, 0.4, 0.6, name, "ASPRM-M", np.nan),
        (BEST + OVER_SINGLE, "points", 0.4, 0.3, 0.5, name, "ASPRM-M", 0.001),
        (BEST + OVER_GREEDY, "points", value, value - 0.1, value + 0.1, name, "ASPRM-M", p),
        (BEST + OVER_SINGLE, "points", 0.9, 0.8, 1.0, name, "MS-M", np.nan),
    ]


def test_a_gain_is_reproduced_undecided_or_not_by_its_corrected_p(run, rows):
    rows(*gain("minigsm", 0.2, 0.01), *gain("minimath", -0.2, 0.001), *gain("minigsm-p2", 0.2, 0.2))
    better, worse, unsure = lessons.lessons(run("best_of_n"))
    assert [one.verdict for one in (better, worse, unsure)] == [REPRODUCED, NOT_REPRODUCED, UNDECIDED]
    assert "+20.0 [+10.0 to +30.0] points against greedy decoding (p = .010)" in better.says
    assert "+40.0 [+30.0 to +50.0] points against a random sample (p = .001), " in better.says
    rows(*gain("minigsm", 0.0, np.nan))
    [untested] = lessons.lessons(run("best_of_n"))
    assert untested.verdict == "not tested"
    assert untested.says.endswith("(nothing could differ).")
    rows(*gain("minigsm", 0.2, 0.03), *gain("minimath", 0.2, 0.03))
    assert {one.verdict for one in lessons.lessons(run("best_of_n"))} == {REPRODUCED}  # p is corrected already


@pytest.mark.parametrize(
    ("line", "verdict"),
    [((0.99, 0.98, 1.0), REPRODUCED), ((0.8, 0.7, 0.95), UNDECIDED), ((0.5, 0.4, 0.6), NOT_REPRODUCED)],
)
def test_two_means_differ_where_their_intervals_do(run, rows, line, verdict):
    rows(
        ("threshold τ", "plain", 0.7, 0.6, 0.8),
        ("mean confidence at line breaks", "plain", *line),
        ("mean confidence at other tokens", "plain", 0.9, 0.85, 0.95),
    )
    tau, breaks = lessons.lessons(run("threshold"))
    assert tau == Lesson("τ = 0.700 [0.600 to 0.800]: 3.0 % of all tokens are less confident.")
    assert breaks.verdict == verdict


def test_a_number_close_to_one_is_told_from_it():
    assert [lessons._plain(x) for x in (0.0432, 0.9998, 2.5, 19.96, -0.5)] == [
        "0.043",
        "0.9998",
        "2.50",
        "20.0",
        "−0.500",
    ]


def test_the_box_escapes_what_it_shows_and_says_each_verdict_in_a_word(run, monkeypatch):
    monkeypatch.setitem(lessons.CHAPTERS, "tokens", lambda _: [Lesson("<b> & more", UNDECIDED), Lesson("plain")])
    box = learned(run("tokens"))
    assert "<li><strong>≈ undecided:</strong> &lt;b&gt; &amp; more</li><li>plain</li>" in box
    assert "policy M in the run smoke" in box


def test_every_chapter_has_its_box_after_the_last_result():
    assert list(lessons.CHAPTERS) == STAGES
    for path in NOTEBOOKS:
        cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
        [box] = [number for number, source in enumerate(cells) if "learned(run)" in source]
        assert cells[box - 1] == "## What we learned", path.name
        assert not [source for source in cells[box:] if "## Check against" in source], path.name
        assert sum("learned(run)" in source for source, _ in code_cells(path)) == 1


def test_every_box_of_the_smoke_study_has_numbers_and_intervals(built):
    for path in NOTEBOOKS:
        page = (built / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        boxes = re.findall(r'<div class="learned">(.*?)</div>', page, re.DOTALL)
        assert len(boxes) == max(1, page.count('role="tabpanel"')), path.name
        for box in boxes:
            assert re.search(r"\d", box), path.name
            assert "nan" not in box.lower(), path.name


def test_a_gain_over_steps_that_choose_worse_than_chance_reproduces_nothing(run, monkeypatch):
    shipped = {name: pd.read_parquet(RIVALS / f"M-{name}.parquet") for name in names.RIVALS}
    monkeypatch.setattr(Run, "read", lambda self, name: SimpleNamespace(to_pandas=lambda: tables[name.split("-")[-1]]))

    def verdict(bon: float, p: float) -> str:
        lines = shipped["steps"]["kind"] == "line break"
        tables["steps"] = shipped["steps"].assign(bon=shipped["steps"]["bon"].mask(lines, bon))
        tables["steps"][HOLM] = shipped["steps"][HOLM].mask(lines, p)
        return lessons.lessons(run("rivals"))[0].verdict

    tables = dict(shipped)
    chance = told.chance(shipped["search"])
    assert verdict(chance + 0.01, 0.01) == REPRODUCED
    assert verdict(chance - 0.01, 0.01) == BROKEN
    assert verdict(chance - 0.01, 0.2) == UNDECIDED
