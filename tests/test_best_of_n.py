"""Best-of-N from a table of scored candidates, on problems small enough to work out by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asprm.best_of_n import answers, chosen, comparisons, curves, rescued
from asprm.problems.sets import rated_sets, scoring
from asprm.results.candidates import candidates
from asprm.reward.aggregates import aggregate
from asprm.run.profile import load_profile
from asprm.statistics import mcnemar_p

# One problem where the PRM finds the rare right answer, one where every candidate agrees, one that nobody solves.
ROWS = [
    ("a", 0, [0.9, 0.2], False, "7"),
    ("a", 1, [0.8, 0.7], True, "12"),
    ("a", 2, [0.3, 0.9], False, "7"),
    ("a", 3, [0.1], False, None),
    ("b", 0, [0.5], True, "3"),
    ("b", 1, [0.5], True, "3"),
    ("b", 2, [0.5], True, "3"),
    ("b", 3, [0.5], True, "3"),
    ("c", 0, [0.9], False, "1"),
    ("c", 1, [0.8], False, "2"),
    ("c", 2, [0.7], False, None),
    ("c", 3, [0.6], False, None),
]
GREEDY = {"a": False, "b": True, "c": False}


def like(tokens, keys, least=0.5):
    return pd.DataFrame({"tokens": tokens, "least": least}, pd.MultiIndex.from_tuples(keys))


@pytest.fixture
def table():
    frame = pd.DataFrame(ROWS, columns=["problem", "solution", "scores", "correct", "answer"]).assign(finished=True)
    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize(
    ("how", "score"), [("min", 0.2), ("mean", 0.5), ("last", 0.5), ("product", np.log(0.08)), ("max", 0.8)]
)
def test_a_candidate_has_one_score(how, score):
    assert aggregate([0.8, 0.2, 0.5], how) == pytest.approx(score)


@pytest.mark.parametrize("how", ["min", "mean", "last", "max"])
def test_a_single_step_is_its_own_score(how):
    assert aggregate([0.37], how) == 0.37


def test_the_product_of_many_steps_tells_candidates_apart():
    assert aggregate([0.9] * 8000, "product") == pytest.approx(8000 * np.log(0.9))
    assert aggregate([0.9] * 8000, "product") > aggregate([0.9] * 8001, "product")
    assert np.isfinite(aggregate([0.0, 1.0], "product"))


def rows(*candidates):
    """One problem's candidates: scores, correct, answer, finished."""
    table = [{"problem": "p", "solution": i, **candidate} for i, candidate in enumerate(candidates)]
    return pd.DataFrame(table).assign(scores=lambda frame: frame["scores"].map(np.array))


def candidate(score, correct, answer, finished=True):
    return {"scores": [score], "correct": correct, "answer": answer, "finished": finished}


@pytest.mark.parametrize("how", ["min", "product"])
def test_a_truncated_candidate_is_chosen_only_where_none_is_finished(how):
    table = rows(candidate(0.95, False, "12", finished=False), candidate(0.9, True, "12"), candidate(0.2, False, "3"))
    frame = curves(table, [1, 3], how=[how]).set_index(["method", "n"])["value"]
    assert frame[f"PRM-{how}", 3] == 1
    assert frame["weighted vote", 3] == 1
    assert frame["majority", 3] == 0.5  # 12 and 3 have one vote each
    assert chosen(table, like([5] * 3, [("p", i) for i in range(3)]), how)["right"].tolist() == [1]
    all_cut = rows(candidate(0.95, False, "12", finished=False), candidate(0.9, False, None, finished=False))
    assert curves(all_cut, [2], how=[how])["value"].max() == 0


@pytest.mark.parametrize(
    ("answers_of_one", "answers_of_other"),
    [(["0.5", r"\frac{1}{2}", "1/2"], ["2", "2"]), (["72", "72 clips", "72."], ["73", "73"])],
)
def test_equal_answers_are_one_vote_however_they_are_spelled(answers_of_one, answers_of_other):
    right = [candidate(0.4, True, answer) for answer in answers_of_one]
    wrong = [candidate(0.5, False, answer) for answer in answers_of_other]
    table = rows(*wrong, *right)
    frame = curves(table, [5], how=["min"]).set_index("method")["value"]
    assert frame["majority"] == frame["weighted vote"] == 1
    assert set(candidates(table).answers[0]) == {answers_of_one[0], answers_of_other[0]}


def test_the_weights_of_products_are_their_ratios():
    c = candidates(rows(candidate(0.5, True, "1"), candidate(0.25, False, "2"), candidate(1.0, False, None, False)))
    np.testing.assert_allclose(c.weights("product"), [[1.0, 0.5, 0.0]])


def test_curves_by_hand(table):
    frame = curves(table, [1, 2, 4], greedy=GREEDY).set_index(["method", "n"])["value"]
    assert frame["mean", 4] == frame["mean", 1] == frame["PRM-max", 1] == frame["pass@n", 1] == frame["majority", 1]
    assert frame["mean", 1] == pytest.approx((0.25 + 1 + 0) / 3)
    assert frame["PRM-min", 4] == pytest.approx((1 + 1 + 0) / 3)
    assert frame["PRM-min", 2] == pytest.approx((1 / 2 + 1 + 0) / 3)  # half of the pairs hold the right candidate
    assert frame["PRM-max", 4] == pytest.approx((0 + 1 + 0) / 3)  # two wrong ones share the best maximum
    assert frame["majority", 4] == pytest.approx((0 + 1 + 0) / 3)
    assert frame["weighted vote", 4] == pytest.approx((1 + 1 + 0) / 3)  # 0.7 for "12" against 0.2 + 0.3 for "7"
    assert frame["fewest steps", 4] == pytest.approx((0 + 1 + 0) / 3)  # the one with a single step is wrong
    assert frame["pass@n", 4] == pytest.approx(2 / 3)
    assert frame["greedy", 2] == pytest.approx(1 / 3)


def test_curves_are_tidy_and_repeat_with_their_seed(table):
    one, two = (curves(table, [1, 4], how=["last"], name="ORM", seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert list(one.columns) == ["method", "n", "value", "low", "high"]
    assert one["method"].unique().tolist() == [
        "ORM-last",
        "majority",
        "weighted vote",
        "fewest steps",
        "pass@n",
        "mean",
    ]
    assert ((one["low"] <= one["value"]) & (one["value"] <= one["high"])).all()


def test_the_order_of_rows_does_not_matter(table):
    shuffled = table.take([7, 0, 11, 3, 2, 1, 4, 9, 8, 5, 6, 10])
    assert candidates(shuffled).problems == ["b", "a", "c"]
    a, b = (curves(t, [1, 3]).set_index(["method", "n"])["value"] for t in (table, shuffled))
    np.testing.assert_allclose(a, b.loc[a.index])


def test_clusters_go_together_and_no_interval_is_without_width(table):
    together = curves(table, [4], clusters={"a": "t", "b": "t", "c": "t"})
    apart = curves(table, [4])
    assert ((together["high"] - together["low"]) > (apart["high"] - apart["low"])).all()
    assert (apart["low"] < apart["high"]).all()


def test_further_trainings_are_averaged_and_their_spread_is_in_the_interval(table):
    table = table.to_pandas()
    worse = table.assign(scores=[[1 - x for x in row] for row in table["scores"]])
    both = curves({"PRM": [table, worse]}, [4], how=["min"]).set_index("method").loc["PRM-min"]
    each = [curves(one, [4], how=["min"]).set_index("method").loc["PRM-min"] for one in (table, worse)]
    assert both["value"] == pytest.approx(np.mean([one["value"] for one in each]))
    assert both["high"] - both["low"] > max(one["high"] - one["low"] for one in each)
    paired = comparisons([table, worse], greedy=GREEDY).set_index("against")
    assert paired.loc["greedy", "a"] == both["value"]


def test_comparisons_pair_problems(table):
    frame = comparisons(table, greedy=GREEDY, resamples=300).set_index("against")
    assert list(frame.index) == ["single sample", "majority", "weighted vote", "fewest steps", "greedy"]
    assert frame.loc["greedy", "difference"] == pytest.approx(1 / 3)
    assert frame.loc["greedy", ["only_a", "only_b", "p"]].tolist() == [1, 0, mcnemar_p(1, 0)]
    assert frame.loc["majority", ["only_a", "only_b"]].tolist() == [1, 0]
    # 0.25 of problem a is neither right nor wrong
    assert frame.loc["single sample", "test"] == "random signs by problem"
    assert frame.loc["single sample", "difference"] == pytest.approx(0.25)
    assert frame.loc["weighted vote", "difference"] == 0
    assert frame.loc["weighted vote", "low"] < 0 < frame.loc["weighted vote", "high"]  # a fourth problem may differ


def test_comparisons_at_fewer_candidates(table):
    frame = comparisons(table, n=2, resamples=50).set_index("against")
    assert frame.loc["single sample", "a"] == pytest.approx((0.5 + 1) / 3)
    assert set(frame["test"]) == {"random signs by problem"}


def test_the_chosen_candidate_is_compared_with_all_candidates(table):
    tokens = [3, 30, 10, 10, 7, 7, 7, 7, 9, 10, 11, 30]
    solutions = like(tokens, [row[:2] for row in ROWS])
    best = chosen(table, solutions)
    assert list(best.index) == ["a", "b", "c"]
    traits = ["right", "shorter", "longer"]
    of_all = [f"all_{trait}" for trait in traits]
    assert best.loc["a", [*traits, *of_all]].tolist() == [1, 0, 1, 0.25, 0.25, 0.25]  # solution 1 is longer than most
    assert best.loc["b", [*traits, *of_all]].tolist() == [1, 0, 0, 1, 0, 0]  # all tie
    assert best.loc["b", ["usual", "usual_right", "spread"]].tolist() == [1, 1, 0]
    assert best.loc["a", "spread"] > 0
    assert chosen(table, solutions, how="max").loc["a", traits].tolist() == [0, 0.5, 0]  # 0.9 twice: one short, one not


def test_a_rare_answer_is_one_that_no_other_candidate_gives():
    rows = [("p", 0, [0.9], True, "1/2", True), ("p", 1, [0.1], True, "0.5", True), ("p", 2, [0.2], False, "7", True),
            ("p", 3, [0.3], False, None, True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["problem", "solution", "scores", "correct", "answer", "finished"])
    solutions = like([5] * 4, [row[:2] for row in rows], least=[0.5, 0.05, 0.5, 0.5])
    first = chosen(table, solutions).loc["p"]
    assert (first["rare"], first["all_rare"], first["doubtful"], first["all_doubtful"]) == (0, 0.25, 0, 0.25)
    turned = table.assign(scores=[[0.1], [0.1], [0.9], [0.1]])
    assert chosen(turned, solutions).loc["p", "rare"] == 1
    assert np.isnan(chosen(table.assign(answer=None), solutions).loc["p", "rare"])


def test_a_problem_is_rescued_where_the_vote_fails_and_the_reward_model_does_not(table):
    assert rescued(table) == ["a"]  # b: both are right; c: both are wrong
    assert rescued(table, "max") == []
    by_answer = answers(table, "a")
    assert list(by_answer.columns) == ["answer", "correct", "candidates", "best score"]
    assert by_answer["best score"].tolist() == [0.7, 0.3, 0.1]
    assert by_answer["candidates"].tolist() == [1, 2, 1]  # the last one gave no answer


def test_validation_is_rated_by_first_trainings_of_the_policys_reward_models():
    profile = load_profile("tiny")
    tests = ["minigsm", "minimath", "minigsm-p2"]
    assert rated_sets(profile, "ASPRM-M", "M") == ["validation", *tests]
    assert rated_sets(profile, "ASPRM-M@1", "M") == tests
    assert rated_sets(profile, "ASPRM-L", "M") == tests


def test_the_training_that_is_shown_rates_the_validation_set_too():
    profile, both = load_profile("desk"), ["validation", "minigsm", "minimath", "minigsm-p2"]
    sets_of = scoring(profile, "ASPRM-M", "M", shown="ASPRM-M@1")
    assert sets_of == {"ASPRM-M": both, "ASPRM-M@1": both, "ASPRM-M@2": both[1:]}
    assert scoring(profile, "ASPRM-M@2", "M", shown="ASPRM-M") == {"ASPRM-M@2": both[1:]}


def test_wrong_input_is_named(table):
    def refuse(message, call):
        with pytest.raises(ValueError, match=message):
            call()

    refuse("unknown aggregate 'median'; known: min", lambda: aggregate([0.5], "median"))
    refuse("at least one step", lambda: aggregate([], "min"))
    refuse(r"in \[0, 1\]", lambda: aggregate([0.5, np.nan], "min"))
    refuse("'c' has 3 candidates, '.' has 4", lambda: candidates(table.slice(0, 11)))
    refuse("twice", lambda: candidates(pa.concat_tables([table, table])))
    refuse("no candidates", lambda: candidates(table.slice(0, 0)))
    refuse(
        "1 of 3 problems have no greedy solution, the first is 'c'", lambda: curves(table, [1], greedy={"a": 1, "b": 1})
    )
    refuse("no cluster", lambda: comparisons(table, clusters={}))
    refuse("between 1 and 4", lambda: curves(table, [5]))
