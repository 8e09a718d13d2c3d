"""The stage on rivals: its tables from the smoke study, and their parts on cases made by hand."""

import numpy as np
import pandas as pd
import pytest

from asprm.contests import cheap, searched
from asprm.contests.bench import Bench, Written
from asprm.contests.edited import NUMBER, ORIGINAL, WORDS, edit_table
from asprm.contests.learned import best_of_n, with_errors
from asprm.contests.places import CONFIDENCE, KINDS, Cuts
from asprm.contests.rolled import Rollouts, chosen
from asprm.contests.searched import vote
from asprm.engines.search import Beam
from asprm.rivals import label_table, search_table, token_table
from asprm.run import names
from asprm.run.open import open_run


def written(number, tokens=10, low=(), departs=None, correct=False, problem="p"):
    confidences = np.full(tokens, 0.9, np.float32)
    confidences[list(low)] = 0.1
    return Written(
        problem=problem,
        solution=number,
        confidences=confidences,
        entropies=1 - confidences,
        breaks=np.zeros(tokens, bool),
        ids=np.arange(tokens, dtype=np.int32),
        char_ends=np.arange(1, tokens + 1, dtype=np.int32),
        text="x" * tokens,
        finished=True,
        correct=correct,
        answer="1",
        departs=departs,
    )


def bench(**solutions):
    return Bench("minigsm", solutions, {}, {}, Cuts(0.2, 0.5, 0.5, 1.0), seed=0)


def test_a_solution_knows_in_which_step_it_departs_and_which_steps_are_true():
    one = written(0, low=(2, 6), departs=4)
    ends = bench().ends(CONFIDENCE, one)
    assert ends.tolist() == [3, 7, 10]
    assert one.error_step(ends) == 1
    assert one.true_up_to(ends).tolist() == [True, False, False]
    assert written(0).error_step(ends) == -1
    assert written(0).true_up_to(ends).all()
    assert written(0, low=(2,), departs=2).error_step(np.array([3, 10])) == 0  # the step's own last token departs
    assert not written(0, departs=2).true_up_to(np.array([3])).any()


def test_rollouts_of_a_kind_s_steps_are_found_among_those_of_all_kinds():
    right = np.array([[True, False], [False, False], [True, True]])
    rollouts = Rollouts(np.array([2, 5, 7]), right, np.array([[1, 2], [3, 4], [5, 6]]))
    one = rollouts.at(np.array([2, 7, 10]), correct=False)
    assert one.right.tolist() == [[True, False], [True, True]]
    assert one.tokens.tolist() == [[1, 2], [5, 6]]


def test_half_of_the_chosen_solutions_depart_if_there_are_as_many():
    solutions = [written(i, departs=3 if i % 5 == 0 else None) for i in range(40)]
    picked = chosen(solutions, 10)
    assert sum(one.departs is not None for one in picked) == 5
    assert [one.solution for one in picked] == sorted(one.solution for one in picked)
    assert len(chosen(solutions, 30)) == 30  # only eight depart
    assert len(chosen(solutions[1:5], 3)) == 3  # none departs


def test_labels_cost_and_agree_by_hand():
    one, other = written(0, low=(1, 3, 5)), written(1, low=(1, 3), correct=True, problem="q")
    half = np.array([False, True])
    rolled = {
        one: Rollouts(np.array([2, 4, 6]), np.array([half, half & False, half]), np.ones((3, 2), int)),
        other: Rollouts(np.array([2, 4]), np.array([half, half & False]), np.ones((2, 2), int)),
    }
    best = {"all solutions": np.array([[1.0, 0.0]]), "binary search": np.array([[1.0, 1.0]])}
    table = label_table(bench(), rolled, best).set_index("way")
    assert table.loc["all rollouts", "rollouts"] == 5  # five steps with two rollouts each, two solutions
    assert table.loc["early stopping", "rollouts"] == 5  # two waves of one each: the first is never right
    # The middle of three steps is wrong, the first is sound: four rollouts. The right solution needs none.
    assert table.loc["binary search", "rollouts"] == 2
    assert table.loc["binary search", "of_all"] == pytest.approx(0.4)
    assert table.loc["binary search", "equal"] == pytest.approx(
        3 / 5
    )  # the third step is solved; so it is not in `other`
    assert table.loc["binary search", "gain"] == 0.5
    assert np.isnan(table.loc["early stopping", "gain"])


def test_marks_leave_out_the_last_token():
    rows = pd.DataFrame({"problem": "p", "solution": 0, "token": range(4), "departure": False, "cliff": False})
    rows["decisive"] = [True, False, False, True]
    for kind in KINDS:
        rows[kind] = [kind == CONFIDENCE, False, False, True]
    table = token_table(rows).set_index(["wanted", "by"])
    assert table.loc[("decisive", CONFIDENCE), "recall"] == 1
    assert table.loc[("decisive", CONFIDENCE), "tokens"] == 1
    assert table.loc[("decisive", "random"), "recall"] == 0
    assert np.isnan(table.loc[("departure", CONFIDENCE), "recall"])


def test_search_is_compared_with_what_the_same_operations_buy():
    rows = []
    for way, size, flops, right in [
        ("greedy", 1, 1.0, [1, 0, 0, 0]),
        ("TVD", 1, 2.5, [1, 1, 1, 0]),
        ("Best-of-N", 1, 1.0, [0.5, 0.5, 0, 0]),
        ("Best-of-N", 2, 2.0, [1, 0, 0, 0]),
        ("Best-of-N", 4, 4.0, [1, 1, 1, 0]),
        ("beam search", 2, 0.5, [0, 0, 0, 0]),
    ]:
        rows += [
            {"way": way, "size": size, "problem": i, "right": x, "flops": flops, "seconds": 1.0}
            for i, x in enumerate(right)
        ]
    frame = pd.DataFrame(rows)
    assert searched.at_equal_flops(frame, "TVD", 1) == 2
    assert searched.at_equal_flops(frame, "beam search", 2) is None
    table = search_table(frame, 0.05).set_index(["way", "size"])
    assert table.loc[("TVD", 1), "gain"] == 0.5
    assert table.loc[("TVD", 1), "n"] == 2
    assert np.isnan(table.loc[("beam search", 2), "gain"])
    assert table.index[table["frontier"]].tolist() == [("beam search", 2), ("Best-of-N", 1), ("TVD", 1)]


def test_beams_vote_with_their_scores():
    def beams(*scores):
        return [Beam(np.zeros(1), True, score) for score in scores]

    assert vote(["1", "2", "2"], [True, False, False], beams(0.9, 0.3, 0.3)) == 1
    assert vote(["1", "2", "2"], [True, False, False], beams(0.5, 0.3, 0.3)) == 0
    assert vote(["1", "2"], [True, False], beams(0.5, 0.5)) == 0.5
    assert vote([None], [False], beams(0.5)) == 0
    assert vote(["1"], [True], beams(np.nan)) == 1


def test_edits_by_hand():
    scores = {ORIGINAL: [0.9, 0.8, 0.7], NUMBER: [0.2, 0.75, 0.1], WORDS: [0.9, 0.85, 0.3]}
    frame = pd.DataFrame(
        [{"by": "A", "problem": i, "edit": e, "score": x} for e, row in scores.items() for i, x in enumerate(row)]
    )
    number, words = edit_table(frame).to_dict("records")
    assert number["noticed"] == pytest.approx(2 / 3)  # a fall of .05 is no notice
    assert words["noticed"] == pytest.approx(1 / 3)
    assert number["fall"] == pytest.approx((0.7 + 0.05 + 0.6) / 3)
    assert number["more"] == pytest.approx(1 / 3)
    assert np.isnan(words["more"])


def test_outcomes_are_of_the_best_candidate_of_each_training():
    frame = pd.DataFrame({"problem": ["p", "p"], "solution": [0, 1], "finished": True, "correct": [True, False]})
    frame = frame.assign(answer=["1", "2"])
    trainings = [{"test": frame.assign(scores=scores)} for scores in ([[0.9], [0.1]], [[0.9, 0.1], [0.5]])]
    assert best_of_n(trainings, "test", "min").tolist() == [[1.0], [0.0]]
    errors = with_errors(bench(test=[written(0, departs=4), written(1)]), frame, "test")
    assert errors["error"].tolist() == [0, -1]


def test_a_policy_of_programs_is_refused(monkeypatch):
    from asprm.contests.bench import bench_of

    run = open_run("smoke", stage="rivals", parameters={"policy": "D"}, quiet=True)
    with pytest.raises(ValueError, match="solves no mathematics"):
        bench_of(run)


def test_the_smoke_study_has_every_table_with_every_row(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="rivals", quiet=True)
    tables = {name: run.read(names.rivals("M", name)).to_pandas() for name in names.RIVALS}
    assert tables["steps"]["kind"].tolist() == list(KINDS)
    assert tables["steps"]["rollouts"].max() <= tables["steps"]["rollouts"].min() + 2 * run.profile.rollout.rollouts
    assert tables["labels"]["way"].tolist() == list(cheap.WAYS)
    assert tables["labels"]["of_all"].is_monotonic_decreasing
    assert tables["noise"]["kept"].iloc[0] == tables["noise"]["kept"].max()
    assert set(tables["search"]["way"]) >= {"TVD", "beam search", "value-guided search", "Best-of-N", "majority vote"}
    assert tables["drops"].groupby(["problem", "solution"]).ngroups == run.profile.rivals.tokens
    taken = run.manifest("rivals/M-search.parquet")["facts"]["processor_seconds"]
    assert {"TVD, 1", "Best-of-N, 4"} <= taken.keys()


def test_guided_decoding_is_the_search_that_keeps_one(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="rivals", quiet=True)
    table = run.read(names.rivals("M", "search")).to_pandas().set_index(["way", "size"])
    guided = run.read(names.guided("ASPRM-M", "M", "minigsm")).to_pandas()
    trigger = run.read_json(names.trigger("ASPRM-M", "M"))["trigger"]
    assert table.loc[("TVD", 1), "right"] == guided.loc[guided["trigger"] == trigger, "correct"].mean()
