"""Guided decodings beside greedy ones: which problems, and what a reader sees of their decisions."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from small_tokenizers import byte_level_tokenizer

from asprm.engines.guided import Guided
from asprm.models.align import Speller
from asprm.problems.problem import Problem
from asprm.run import names
from asprm.run.open import open_run
from asprm.site.viewer import View
from asprm.site.walks import OUTCOMES, _walk, walks
from asprm.tvd import at_trigger


def walk(correct=True, greedy_right=False):
    """A decoding by hand: "a<" written where the policy would have written "ab"."""
    tokenizer = byte_level_tokenizer()
    ids = {letter: tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "ab<\n"}
    end = tokenizer.eos_token_id
    guided = Guided(
        ids=np.array([ids["a"], ids["<"], ids["\n"], end], np.int32),
        confidences=np.array([0.3, 0.4, 0.9, 1.0], np.float32),
        finished=True,
        decisions=np.array([0, 1], np.int32),
        candidates=np.array([[ids["a"], ids["b"]], [ids["b"], ids["<"]]], np.int32),
        probabilities=np.array([[0.3, 0.2], [0.4, 0.1]], np.float32),
        scores=np.array([[0.7, 0.6], [0.25, 0.5]], np.float32),
    )
    problem = Problem("p-1", "math", "Which <letter>?", "1")
    row, greedy = {"text": "a<\n", "correct": correct}, {"text": "ab\n", "correct": greedy_right}
    return _walk(problem, row, guided, greedy, Speller(tokenizer))


def view_of(*problems):
    data = {"trigger": 0.5, "counts": dict.fromkeys(OUTCOMES.values(), 3), "code": False, "problems": problems}
    return View("walks", data, "", "")


def test_a_decision_has_its_candidates_and_which_of_them_was_written():
    shown = walk()
    assert shown["tokens"] == ["a", "<", "\n", ""]
    assert [one["at"] for one in shown["decisions"]] == [0, 1]
    first, second = shown["decisions"][1]["candidates"]
    assert first == {"token": "b", "probability": pytest.approx(0.4), "score": 0.25, "written": False}
    assert second == {"token": "<", "probability": pytest.approx(0.1), "score": 0.5, "written": True}
    assert (shown["outcome"], shown["correct"]) == ("only guided right", True)


def test_a_score_is_shown_with_the_digits_that_it_has_elsewhere_on_the_page(opened):
    one = walk()
    one["decisions"][1]["candidates"][0]["score"] = 0.16748  # rounded to four digits first, it would become 0.168
    shown = opened(view_of(one))
    assert shown.locator("table tbody tr").nth(0).locator("td").nth(1).inner_text() == "0.167"
    assert all(
        float(np.float32(x)) == x for x in (one["confidences"][0], one["decisions"][0]["candidates"][0]["score"])
    )


def test_a_text_that_is_not_the_tables_is_graded_by_itself():
    tokenizer = byte_level_tokenizer()
    ids = np.array(tokenizer("The answer is 12", add_special_tokens=False)["input_ids"], np.int32)
    none = np.zeros((0, 2))
    guided = Guided(ids, np.ones(len(ids), np.float32), True, np.zeros(0, int), none, none, none)
    greedy = {"text": "?", "correct": False}
    row = {"text": "another", "correct": False}
    assert _walk(Problem("p", "math", "?", "12"), row, guided, greedy, Speller(tokenizer))["correct"]


def test_a_reader_steps_from_decision_to_decision_and_filters_outcomes(opened):
    shown = opened(view_of(walk(), walk(correct=False, greedy_right=True)))
    table = shown.locator("table")
    assert "Problem p-1 · only guided right" in shown.locator(".title").inner_text()
    assert "overrules" in shown.locator(".detail").inner_text()  # the first decision that changed a token
    assert table.locator("tbody th").all_inner_texts() == ["b", "<"]
    assert table.locator("tbody tr").nth(1).locator("td").all_inner_texts() == ["0.100", "0.500", "written"]
    shown.get_by_label("Previous decision").click()
    assert "agrees" in shown.locator(".detail").inner_text()
    assert table.locator("tbody tr").nth(0).locator("td").last.inner_text() == "first choice, written"
    shown.get_by_role("group").press("ArrowRight")
    assert "overrules" in shown.locator(".detail").inner_text()
    sides = shown.locator(".sides .text")
    assert sides.nth(0).locator(".differs").inner_text().strip() == "b"
    assert sides.nth(1).locator(".differs").first.inner_text() == "<"
    shown.get_by_label("Show").select_option("only greedy right")
    assert shown.locator(".place").first.inner_text() == "1 of 1"
    assert shown.locator(".head").all_inner_texts() == ["Greedy · ✓ right", "Guided · ✗ wrong"]


def test_tables_without_the_reward_model_are_not_enough():
    assert "weights" in walks(SimpleNamespace(shipped_tables=["tvd/ASPRM-M/M-minigsm"]), "minigsm", 0.5)


@pytest.mark.parametrize("policy", ["M", "D"])
def test_a_run_shows_problems_of_each_outcome_and_counts_all(study, monkeypatch, policy):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", parameters={"policy": policy}, quiet=True)
    name = "minigsm" if policy == "M" else "minicode"
    trigger = max(run.profile.tvd.triggers)
    frame = at_trigger(run.read(names.guided(run.prm, policy, name)).to_pandas(), trigger)
    asked = frame.loc[frame["decisions"] > 0].set_index("problem")
    view = walks(run, name, trigger, each=2)
    if asked.empty:
        assert "never stepped in" in view
        return
    assert sum(view.data["counts"].values()) == frame["problem"].nunique()
    assert max(Counter(problem["outcome"] for problem in view.data["problems"]).values()) <= 2
    for problem in view.data["problems"]:
        row = asked.loc[problem["title"].removeprefix("Problem ")]
        assert "".join(problem["tokens"]) == row["text"]
        assert len(problem["decisions"]) == row["decisions"]
        changed = [not one["candidates"][0]["written"] for one in problem["decisions"]]
        assert sum(changed) == row["changed"]
