"""Best-of-N problem by problem: what the page shows is what the stage's functions choose."""

import pandas as pd
import pytest

from asprm.best_of_n import curves, rated
from asprm.results.candidates import candidates
from asprm.reward.aggregates import AGGREGATES
from asprm.run.open import open_run
from asprm.site import explorer as module
from asprm.site.explorer import explorer


class Problem:
    def __init__(self, id):
        self.id, self.prompt = id, f"What is {id}?"


class Run:
    domain = "math"
    profile = None


ROWS = [  # problem, answer, correct, finished, step scores
    ("a", "1", True, True, [0.9]),  # all right: no choice matters
    ("a", "1", True, True, [0.8]),
    ("a", "1", True, True, [0.7]),
    ("b", "5", True, True, [0.5, 0.6]),  # vote right; minimum right by a tie of two
    ("b", "5", True, True, [0.2, 0.9]),
    ("b", "<6>", False, True, [0.5]),
    ("c", "8", False, True, [0.1, 0.3]),  # vote wrong, minimum right
    ("c", "8", False, True, [0.2]),
    ("c", "9", True, True, [0.4, 0.9]),
    ("d", "3", True, True, [0.1]),  # the best-scored one was cut off
    ("d", None, False, False, [0.9]),
    ("d", "4", False, True, [0.08749253]),
]


@pytest.fixture
def table():
    frame = pd.DataFrame(ROWS, columns=["problem", "answer", "correct", "finished", "scores"])
    return frame.assign(solution=frame.groupby("problem").cumcount())


@pytest.fixture
def view(table, monkeypatch):
    monkeypatch.setattr(module, "problem_set", lambda profile, name: [Problem(name) for name in "abcd"])
    texts = {
        name: [[f"{name}{i} step {k}\n" for k, _ in enumerate(row)] for i, row in enumerate(rows)]
        for name, rows in table.groupby("problem")["scores"]
    }
    monkeypatch.setattr(module, "_steps", lambda run, name, part: texts)
    return explorer(Run(), "set", table, "min")


def test_the_problems_are_those_on_which_a_choice_matters(view, table):
    assert [problem["title"] for problem in view.data["problems"]] == ["Problem b", "Problem c", "Problem d"]
    assert view.data["first"] == 1  # vote wrong, minimum right
    assert "What is c?" in view.plain
    all_right = table.loc[table["problem"] == "a"]
    assert [problem["title"] for problem in explorer(Run(), "set", all_right, "min").data["problems"]] == ["Problem a"]


def test_a_step_s_score_and_the_candidate_s_are_the_same_number(view):
    for candidate in (one for problem in view.data["problems"] for one in problem["candidates"] if one["finished"]):
        assert candidate["aggregates"]["min"] == min(candidate["scores"])


def test_the_choices_are_those_of_the_stage(view, table):
    shown = {problem["title"][-1]: problem["ways"] for problem in view.data["problems"]}
    assert shown["b"]["min"] == {"right": 0.5, "chosen": [0, 2]}
    assert shown["b"]["vote"] == {"right": 1.0, "chosen": [0, 1]}
    assert shown["c"]["min"] == {"right": 1.0, "chosen": [2]}
    assert shown["c"]["vote"] == {"right": 0.0, "chosen": [0, 1]}
    assert shown["d"]["max"] == {"right": 1.0, "chosen": [0]}
    for problem, ways in shown.items():
        part = table.loc[table["problem"] == problem]
        value = curves(part, [3]).set_index("method")["value"]
        names = {how: f"PRM-{how}" for how in AGGREGATES} | {"vote": "majority", "fewest": "fewest steps"}
        assert {way: found["right"] for way, found in ways.items()} == {
            way: pytest.approx(value[name]) for way, name in names.items()
        }


def test_a_reader_chooses_an_aggregate_and_reads_a_candidate(view, opened):
    shown = opened(view)
    assert shown.locator(".title").inner_text() == "Problem c"
    ways, list_ = shown.locator("table").nth(0), shown.locator("table").nth(1)
    row = ways.get_by_role("row", name="highest min of step scores")
    assert row.locator("td").all_inner_texts() == ["9", "no. 3", "✓ right"]
    assert "a step 0" not in shown.locator(".text").inner_text()
    assert "c2 step 1" in shown.locator(".text").inner_text()
    assert "2: score 0.90" in shown.locator(".text").inner_text()
    list_.get_by_role("button", name="Read candidate 1").click()
    assert "c0 step 1" in shown.locator(".text").inner_text()
    shown.get_by_label("Previous problem").click()
    assert "<6>" in list_.inner_text()
    row = ways.get_by_role("row", name="highest min of step scores")
    assert row.locator("td").last.inner_text() == "right for 50\u00a0% of its ties"
    shown.get_by_label("Show").select_option("score better than vote")
    assert shown.locator(".place").inner_text() == "1 of 2"  # c, and d, where two answers have a vote each
    assert shown.locator(".title").inner_text() == "Problem c"
    shown.get_by_label("Score of a candidate").select_option("last")
    assert list_.locator("tbody th").all_inner_texts() == ["no. 3", "no. 1", "no. 2"]


def test_an_answer_that_is_long_or_a_program_is_shown_by_its_number():
    assert module._label("42", 1) == "42"
    assert module._label("def f():\n    pass", 2) == "answer 2"


def test_the_steps_of_a_run_are_those_that_were_rated(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    for policy, name in (("M", "minigsm"), ("D", "minicode")):
        run = open_run("smoke", stage="best_of_n", parameters={"policy": policy}, quiet=True)
        table = rated(run, run.prm, name)[0]
        samples = run.read(f"sample/{policy}/{name}").to_pandas().set_index(["problem", "solution"])["text"]
        c = candidates(table)
        for problem in explorer(run, name, table, "min").data["problems"]:
            key = problem["title"].removeprefix("Problem ")
            assert key in c.problems
            for solution, one in enumerate(problem["candidates"]):
                assert len(one["steps"]) == len(one["scores"])
                assert "".join(one["steps"]) == samples[key, solution]
