"""The truth chapter against solutions whose errors were put there by hand."""

import random
import re

import numpy as np
import pandas as pd
import pytest

from asprm import statistics as s
from asprm import truth
from asprm.problems.departure import departure, intervention
from asprm.problems.errors import first_error
from asprm.problems.families import scenes
from asprm.problems.load import load
from asprm.problems.problem import Problem
from asprm.problems.student import solve
from asprm.results import first_errors
from asprm.run.artifacts import write_parquet
from asprm.run.open import open_run
from asprm.truth import Solution

TRUE = "First, Ann has 4 + 3 = 7 pens.\nThen they have 7 * 2 = 14 pens.\nThe answer is: 14"
PROBLEM = Problem("p", "math", "How many?", "14", TRUE)


def at(text, mark):
    """Offset of the mark, and the text without it."""
    return text.index(mark), text.replace(mark, "")


@pytest.mark.parametrize(
    "text",
    [
        "First, Ann has 4 ⟦- 3 = 1 pens.\nThen they have 1 * 2 = 2 pens.\nThe answer is: 2",
        "First, Ann has 4 + 3 = ⟦8 pens.\nThen they have 8 * 2 = 16 pens.\nThe answer is: 16",
        "First, Ann has 4 + 3 = 7 pens.\nThen they have 7 ⟦+ 2 = 9 pens.\nThe answer is: 9",
        "First, Ann has 4 + 3 = 7 pens.\nSo then they have 7 ⟦+ 2 = 9 pens.\nThe answer is: 9",
        "First, Ann has 4 + 3 = 7 pens.\nThen they have 7 * 2 = 14 pens.\nThe answer is: ⟦7",
        "First, Ann has 4 + 3 = 7 pens.\nThen they have 7 * 2 = 14 pens.\nAnd so on⟦",
        "⟦Ann has none, so 4 - 4 = 0 pens.\nThe answer is: 0",
    ],
)
def test_a_solution_departs_where_it_first_differs(text):
    where, text = at(text, "⟦")
    assert departure(PROBLEM, text) == where


def test_an_equation_after_a_variable_counts():
    true = "The coefficient is 2 + 1 = 3. x = 21 / 3 = 7. y = 7 * 2 = 14.\nThe answer is: 14"
    where, text = at("⟦x = 21 / 2 = 10. y = 10 * 2 = 20.\nThe answer is: 20", "⟦")
    assert departure(Problem("p", "math", "?", "14", true), text) == where


def test_sentences_of_a_paragraph_count_as_lines():
    problem = Problem("p", "math", "?", "14", TRUE.replace(".\nThen", ". Then"))
    where, text = at("First, Ann has 4 + 3 = 7 pens. Then they have 7 ⟦- 2 = 5 pens.\nThe answer is: 5", "⟦")
    assert departure(problem, text) == where


@pytest.mark.parametrize("family", ["minigsm", "minimath", "minigsm-p2"])
def test_students_depart_where_their_first_false_line_does(family):
    rng, departed, clean = random.Random(0), 0, 0
    for problem, scene in scenes(family, "train", 40):
        assert departure(problem, problem.solution) is None
        text = solve(scene, rng)
        where, line = departure(problem, text), first_error(problem, text)
        assert (where is None) == (line is None)
        if where is not None:
            departed += 1
            end = text.find("\n", line)
            assert line <= where <= (len(text) if end < 0 else end)
            before = re.sub(r"(?m)^(So|Now|Thus|Here) |(?<=\. )(So|Now|Thus|Here) ", "", text[:line]).lower()
            clean += problem.solution.lower().startswith(before)  # nothing departs before, opening words aside
    assert departed > 10
    assert clean >= 0.9 * departed  # a step left out may leave a line that states the same equation


# --- entry points -----------------------------------------------------------------------------------------------------


def solution(problem, tokens=20, departs=None, low=(), newlines=(), confidence=0.9):
    """One letter a token; those in `low` are below any threshold."""
    text = "".join("\n" if i in newlines else "x" for i in range(tokens))
    confidences = np.full(tokens, confidence)
    confidences[list(low)] = 0.1
    return Solution(problem, 0, confidences, text, np.arange(1, tokens + 1), departs is None, departs)


def test_decision_tokens_that_are_the_departures_have_precision_and_recall_one():
    some = [solution(f"p{i}", departs=5 + i % 3, low=[5 + i % 3, 15], newlines=[9]) for i in range(30)]
    frame = truth.entry_points(some, 0.5).set_index("method")
    decisions, lines = frame.loc["decision tokens"], frame.loc["line breaks"]
    assert (decisions["precision"], decisions["recall"], decisions["f1"], decisions["within_0"]) == (1, 1, 1, 1)
    assert (lines["recall"], lines["within_2"]) == (0, pytest.approx(1 / 3))  # 7 is two before the line's end
    assert lines["within_4"] == 1
    assert decisions["rate"] == pytest.approx(30 / sum(6 + i % 3 for i in range(30)))  # one up to each departure


def test_step_ends_of_right_solutions_lower_the_precision_only():
    wrong = [solution(f"p{i}", departs=5, low=[5]) for i in range(10)]
    right = [solution(f"q{i}", low=[3, 4, 8]) for i in range(10)]
    decisions = truth.entry_points(wrong + right, 0.5).set_index("method").loc["decision tokens"]
    assert (decisions["precision"], decisions["recall"]) == (0.25, 1)
    assert decisions["precision_low"] <= 0.25 <= decisions["precision_high"]


def test_random_step_ends_find_departures_at_their_rate():
    some = [solution(f"p{i}", tokens=21, departs=i % 20, low=[7, 12]) for i in range(2000)]
    frame = truth.entry_points(some, 0.5).set_index("method")
    drawn = frame.loc["random, as many as decision tokens"]
    assert drawn["recall"] == pytest.approx(2 / 20, abs=0.02)  # two of twenty inner places
    assert drawn["rate"] == pytest.approx(0.095, abs=0.01)
    assert frame.loc["random, as many as line breaks", "recall"] == 0  # there are none


def test_errors_of_greedy_texts_are_counted_beside_those_of_sampled_ones(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="truth", quiet=True)
    entry = run.read("truth/M-entry").to_pandas()
    assert entry.groupby("texts").size().to_dict() == {truth.SAMPLED: 4, truth.GREEDY: 4}
    known = truth.Known(run)
    assert {len(known.greedy[name]) for name in known.sets} <= {4, 6}  # one a problem


def test_without_a_departure_there_is_nothing_to_find():
    with pytest.raises(ValueError, match="no solution departs"):
        truth.entry_points([solution("p")], 0.5)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    return open_run("tiny", stage="truth", quiet=True)


def write(run, name, frame):
    path = run.base / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pd.DataFrame(frame))


def test_labels_for_every_number_of_rollouts_from_one_table(run):
    where, text = at("First, Ann has 4 + 3 = 7 pens.\nThen they have 7 ⟦+ 2 = 9 pens.\nThe answer is: 9", "⟦")
    ends = [20, 40, where + 1, len(text)]  # the third step holds the departure
    rows = [
        ("p", 0, 0, 5, 1, 1), ("p", 0, 1, 9, 0, 4), ("p", 0, 2, 12, 2, 4), ("p", 0, 3, 20, 0, 1),
    ]  # fmt: skip
    columns = ["problem", "solution", "step", "end", "right", "rollouts"]
    write(run, "rollout/M/adaptive", pd.DataFrame(rows, columns=columns))
    write(run, "split/M/adaptive", pd.DataFrame({"problem": ["p"], "solution": [0], "char_ends": [ends]}))
    write(run, "sample/M/train", pd.DataFrame({"problem": ["p"], "solution": [0], "text": [text]}))
    labels = truth.label_truth(run, "adaptive", {"p": PROBLEM})
    assert sorted(labels["J"].unique()) == [1, 2, 4]
    assert labels[labels["J"] == 4]["true"].tolist() == [True, True, False]
    by_rollouts = {j: group["label"].tolist() for j, group in labels.groupby("J")}
    # Step 1: solved at once. Step 2: never. Step 3: in the last wave of four.
    assert by_rollouts == {1: [True, False, False], 2: [True, False, False], 4: [True, False, True]}
    found = truth.disagreement(labels).set_index("J")
    assert found.loc[4, ["missed", "forgiven"]].tolist() == [0.5, 1]
    assert found.loc[1, ["missed", "forgiven", "wrong"]].tolist() == [0.5, 0, pytest.approx(1 / 3)]
    by_step = truth.disagreement(labels, ("J", "step"), most=2)
    assert by_step["step"].unique().tolist() == [1, 2]
    assert by_step[by_step["J"] == 4]["steps"].tolist() == [1, 2]


# --- the first error --------------------------------------------------------------------------------------------------


def scored(rows):
    frame = pd.DataFrame(rows, columns=["problem", "scores", "error"])
    return frame.assign(scores=[np.array(x) for x in frame["scores"]], correct=frame["error"] < 0)


def test_the_first_step_below_the_cut_is_the_claim():
    scores = [np.array(x) for x in ([0.9, 0.2, 0.1], [0.9, 0.8], [0.3])]
    assert first_errors.first_below(scores, 0.5).tolist() == [1, -1, 0]
    assert first_errors.first_below(scores, 0.15).tolist() == [2, -1, -1]


def test_f1_of_finding_the_first_error_by_hand():
    frame = scored(
        [
            ("a", [0.9, 0.2, 0.1], 1),  # found
            ("a", [0.4, 0.2], 1),  # claimed too early
            ("b", [0.9, 0.9], 0),  # not seen
            ("b", [0.9, 0.9], -1),  # rightly left alone
            ("c", [0.9, 0.3], -1),  # accused
            ("c", [0.9], -1),
        ]
    )
    found = first_errors.find_errors(frame, 0.5)
    assert (found["found"], found["unclaimed"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert found["f1"] == pytest.approx(4 / 9)
    assert found["f1_low"] <= found["f1"] <= found["f1_high"]
    assert first_errors.find_errors(frame, 0.05)["f1"] == 0  # nothing is claimed, nothing found


def test_the_cut_is_the_best_one_on_validation():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(200):
        error = i % 4 - 1  # −1, 0, 1, 2
        right, wrong = 0.75 + 0.2 * rng.random(4), 0.2 + 0.4 * rng.random(4)
        rows.append((f"p{i % 50}", np.where((np.arange(4) < error) | (error < 0), right, wrong), error))
    frame = scored(rows)
    cut = first_errors.best_cut(frame)
    assert 0.6 <= cut <= 0.76
    assert first_errors.find_errors(frame, cut)["f1"] == 1


def test_the_policys_confidence_stands_beside_the_reward_models_best_first():
    good = scored([("a", [0.9, 0.2], 1), ("b", [0.9, 0.8], -1)])
    bad = good.assign(scores=good["scores"].map(lambda scores: 1 - scores))
    frames = {"A": bad.assign(confidences=good["scores"]), "B": good.assign(confidences=good["scores"])}
    table = first_errors.first_errors(frames, frames)
    assert sorted(table["by"]) == ["A", "B", "the policy's confidence"]
    assert table["f1"].tolist() == [1, 1, 0]
    assert table["by"].iloc[-1] == "A"
    gains = table.set_index("by")[["gain", "gain_low", "gain_high", "p"]]
    assert gains.loc["B", "gain"] == 0
    assert gains.loc["A", "gain"] == -1
    assert (gains.loc["A", "gain_low"], gains.loc["B", "p"]) == (-1, 1)
    assert gains.loc["the policy's confidence"].isna().all()
    assert "no reward model is better by the test" in first_errors.told(table, 0.05)


def test_the_f1_and_its_gain_have_the_intervals_of_resampled_problems():
    rng = np.random.default_rng(0)
    errors = [int(rng.integers(-1, 3)) for _ in range(400)]
    claims = [[error if rng.random() < skill else 2 - error for error in errors] for skill in (0.8, 0.6)]
    ways = [[[0.1 if k == claim else 0.9 for k in range(4)] for claim in of] for of in claims]
    one, two = (scored([(f"p{i}", way, e) for i, (way, e) in enumerate(zip(of, errors, strict=True))]) for of in ways)
    sums = [first_errors._claims(frame, "scores", 0.5) for frame in (one, two)]
    weights = rng.multinomial(400, np.full(400, 1 / 400), 4000)
    drawn = [first_errors._f1(weights @ each)[2] for each in sums]
    found = first_errors.find_errors(one, 0.5)
    assert (found["f1_low"], found["f1_high"]) == pytest.approx(np.quantile(drawn[0], [0.025, 0.975]), abs=0.01)
    gain, p = first_errors.f1_gain(*sums)
    assert (gain.low, gain.high) == pytest.approx(np.quantile(drawn[0] - drawn[1], [0.025, 0.975]), abs=0.01)
    assert p < 0.001
    assert first_errors.f1_gain(sums[0], sums[0])[1] == 1
    with pytest.raises(ValueError, match="no reward model rated"):
        first_errors.first_errors({}, {})


def test_scores_are_calibrated_against_the_truth_so_far():
    frame = scored([("a", [0.9, 0.1], 1), ("b", [0.8, 0.7], -1)])
    curve, quality = first_errors.calibration(frame, bins=10)
    expected = s.reliability([0.9, 0.1, 0.8, 0.7], [1, 0, 1, 1], 10)
    assert curve.count.tolist() == expected.count.tolist()
    assert quality["ece"] == pytest.approx(expected.error)
    assert quality["brier"] == pytest.approx(np.mean([0.01, 0.01, 0.04, 0.09]))
    assert quality["brier_base"] == pytest.approx(0.75 * 0.25)


def test_scores_of_other_steps_are_refused(run):
    table, solutions = "best_of_n/MS-M/M-minigsm@confidence", [solution("p", departs=5, low=[3, 8])]
    write(run, table, {"problem": ["p"], "solution": [0], "scores": [[0.5, 0.5]]})
    with pytest.raises(ValueError, match="MS-M has 2 scores of solution 0 of problem 'p', which has 3 adaptive steps"):
        truth.scored_steps(run, "MS-M", "minigsm", solutions, 0.5)
    write(run, table, {"problem": ["p"], "solution": [0], "scores": [[0.9, 0.2, 0.1]]})
    [row] = truth.scored_steps(run, "MS-M", "minigsm", solutions, 0.5).itertuples()
    assert row.error == 1  # token 5 belongs to the step that ends with token 8
    assert row.confidences.tolist() == pytest.approx([0.1, 0.1, 0.9])


def test_reward_models_count_that_rated_validation_too(run):
    for training in ("MS-M", "ASPRM-M", "ASPRM-L"):
        write(run, f"best_of_n/{training}/M-minigsm@confidence", {"problem": ["p"]})
    assert truth.scored_by(run, "minigsm") == []  # there is nothing to choose a cut on
    for training in ("MS-M", "ASPRM-M"):
        write(run, f"best_of_n/{training}/M-validation@confidence", {"problem": ["p"]})
    assert truth.scored_by(run, "minigsm") == ["ASPRM-M", "MS-M"]


# --- guided decoding --------------------------------------------------------------------------------------------------

LINES = TRUE.split("\n")
MINUS = "First, Ann has 4 - 3 = 1 pens.\nThe answer is: 1"
TIMES = "First, Ann has 4 * 3 = 12 pens.\nThe answer is: 12"
LATER = f"{LINES[0]}\nThen they have 7 + 2 = 9 pens.\nThe answer is: 9"


@pytest.mark.parametrize(
    ("guided", "greedy", "kind"),
    [
        (TRUE, TRUE, "none"),
        (TRUE, MINUS, "put right"),
        (TRUE, LATER, "put right"),
        (MINUS, TRUE, "led astray"),
        (LATER, TRUE, "led astray"),
        (MINUS, TIMES, "one error for another"),
        (MINUS.replace("pens", "pen"), MINUS, "too late"),
        (TRUE.replace("Then they", "So then they"), TRUE, "another wording"),
    ],
)
def test_the_first_intervention_is_judged_by_the_truth(guided, greedy, kind):
    assert intervention(PROBLEM, guided, greedy) == kind


def test_interventions_are_counted_with_what_became_of_them(run):
    names, guided = ["a", "b", "c"], [TRUE, MINUS, TRUE]
    greedy = [MINUS, TRUE, TRUE]
    texts = {"problem": names * 2, "trigger": [0.5] * 3 + [0.9] * 3, "text": guided + greedy}
    write(run, "tvd/A/M-minigsm", texts | {"correct": [True, False, True, False, True, True]})
    write(run, "sample/M/minigsm-greedy", {"problem": names, "text": greedy, "correct": [False, True, True]})
    problems = dict.fromkeys(names, PROBLEM)
    frame = truth.interventions(run, "A", "minigsm", 0.5, problems)
    assert frame["kind"].tolist() == ["put right", "led astray", "none"]
    table = truth.intervention_table(frame).set_index("kind")
    assert table["problems"].sum() == 3
    assert table.loc["put right", ["problems", "guided", "greedy"]].tolist() == [1, 1, 0]
    assert table.loc["led astray", ["guided", "greedy"]].tolist() == [0, 1]
    none = truth.interventions(run, "A", "minigsm", 0.9, problems)
    assert set(none["kind"]) == {"none"}


def test_solutions_of_the_shipped_policy_depart_if_and_only_if_they_are_wrong_in_the_end():
    """On true solutions: spelled by the policy's tokenizer, none departs; cut off, all do."""
    from asprm import REPOSITORY
    from asprm.models.align import Speller
    from asprm.models.load import load_tokenizer

    tokenizer = load_tokenizer(REPOSITORY / "data/policies/M")
    spell = Speller(tokenizer)
    for problem in load("minigsm", "test", 5):
        text, ends = spell(tokenizer.encode(problem.solution, add_special_tokens=False))
        assert departure(problem, text) is None
        cut = text[: ends[-4]]
        assert departure(problem, cut) is not None


def test_problems_are_made_anew_from_the_ids_of_a_table(run):
    some = [*load("minigsm", "train", 3), *load("minimath", "train", 2)]
    write(run, "sample/M/train", {"problem": [p.id for p in some[1:]]})
    assert truth.problems_of(run, "train") == {p.id: p for p in some[1:]}
    write(run, "sample/M/gsm8k", {"problem": ["gsm8k-test-000001"]})
    with pytest.raises(ValueError, match="of no synthetic family"):
        truth.problems_of(run, "gsm8k")
    write(run, "sample/M/minimath", {"problem": []})
    assert truth.known_sets(run) == ["minimath"]
    assert truth.label_methods(run) == []


def test_a_departure_is_marked_where_it_stands():
    assert solution("p", tokens=5, departs=2).marked == "xx⟦xxx"
    assert solution("p", tokens=5).marked == "xxxxx"
