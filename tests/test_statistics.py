"""Statistics against brute force over all subsets, scipy, statsmodels and the figures that METHOD.md states."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asprm import statistics as s
from asprm.results import selection


@st.composite
def candidates(draw, most=8):
    """Scores with many ties, correctness and answers of N candidates, and n."""
    total = draw(st.integers(1, most))
    scores = draw(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), min_size=total, max_size=total))
    correct = draw(st.lists(st.booleans(), min_size=total, max_size=total))
    answers = draw(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=total, max_size=total))
    return scores, correct, answers, draw(st.integers(1, total))


def over_subsets(total, n, value):
    return np.mean([value(list(chosen)) for chosen in combinations(range(total), n)])


def best_of(scores, correct, chosen):
    top = max(scores[i] for i in chosen)
    return np.mean([correct[i] for i in chosen if scores[i] == top])


def vote_of(answers, value, chosen, weights=None):
    votes = Counter()
    for i in chosen:
        if answers[i] is not None:
            votes[answers[i]] += 1 if weights is None else weights[i]
    top = max(votes.values(), default=0)
    return np.mean([value[a] for a in votes if abs(votes[a] - top) < 1e-9]) if votes else 0.0


def value_of(answers, correct):
    return {a: np.mean([c for b, c in zip(answers, correct, strict=True) if a == b]) for a in answers}


@given(candidates())
def test_best_of_n_is_the_mean_over_all_subsets(case):
    scores, correct, _, n = case
    expected = over_subsets(len(scores), n, lambda chosen: best_of(scores, correct, chosen))
    assert selection.best_of_n(scores, correct, n) == pytest.approx(expected)


@given(candidates())
def test_pass_at_k_is_the_mean_over_all_subsets(case):
    _, correct, _, k = case
    expected = over_subsets(len(correct), k, lambda chosen: any(correct[i] for i in chosen))
    assert selection.pass_at_k(correct, k) == pytest.approx(expected)


@given(candidates())
def test_majority_vote_is_the_mean_over_all_subsets(case):
    _, correct, answers, n = case
    value = value_of(answers, correct)
    expected = over_subsets(len(correct), n, lambda chosen: vote_of(answers, value, chosen))
    assert selection.majority_vote([answers], [correct], n)[0] == pytest.approx(expected)


@given(candidates(most=6))
def test_weighted_vote_is_exact_where_subsets_are_few(case):
    scores, correct, answers, n = case
    value = value_of(answers, correct)
    expected = over_subsets(len(correct), n, lambda chosen: vote_of(answers, value, chosen, scores))
    assert selection.weighted_vote([answers], [correct], [scores], n)[0] == pytest.approx(expected)


def test_weighted_vote_draws_come_near_the_exact_count_and_repeat():
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 4, (30, 16)).tolist()
    correct = np.array(answers) == 0
    equal = np.ones(correct.shape)
    drawn = selection.weighted_vote(answers, correct, equal, [4, 8], draws=1500)
    assert np.abs(drawn - selection.majority_vote(answers, correct, [4, 8])).max() < 4 * 0.5 / math.sqrt(1500)
    assert (drawn == selection.weighted_vote(answers, correct, equal, [4, 8], draws=1500)).all()


def test_one_candidate_is_the_mean_and_all_candidates_are_the_best_scored():
    scores, correct = np.array([[0.3, 0.9, 0.2, 0.1], [0.5, 0.4, 0.6, 0.7]]), np.array([[1, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(selection.best_of_n(scores, correct, [1, 4]), [[0.5, 0.0], [0.25, 1.0]])
    np.testing.assert_allclose(selection.pass_at_k(correct, [1, 4]), [[0.5, 1.0], [0.25, 1.0]])


def test_scores_that_know_the_truth_reach_pass_at_k():
    correct = np.random.default_rng(0).random((20, 12)) < 0.2
    np.testing.assert_allclose(
        selection.best_of_n(correct, correct, [2, 5, 12]), selection.pass_at_k(correct, [2, 5, 12])
    )


def test_large_n_neither_overflows_nor_loses_its_sum():
    correct = np.zeros((1, 1000), bool)
    correct[0, :3] = True
    assert selection.pass_at_k(correct, 500)[0] == pytest.approx(stats.hypergeom(1000, 3, 500).sf(0))
    assert selection.best_of_n(np.arange(1000.0), np.ones(1000), 700) == pytest.approx(1)
    answers = [["a"] * 130 + ["b"] * 120 + [None] * 6]
    votes = selection.majority_vote(answers, [[1] * 130 + [0] * 120 + [1] * 6], [1, 256])[0]
    np.testing.assert_allclose(votes, [130 / 256, 1.0])


@settings(deadline=None)
@given(candidates())
def test_the_vote_of_many_candidates_is_that_of_counted_subsets(case):
    _, correct, answers, n = case
    ballots = selection._ballots(answers, np.array(correct, float))
    counted = selection.majority_vote([answers], [correct], n)[0]
    assert selection.majority_of(ballots, len(correct), n) == pytest.approx(counted, abs=1e-12)


def test_a_vote_of_thousands_is_exact():
    correct = np.array([[1] * 900 + [0] * 1100])
    answers = [["a"] * 900 + ["b"] * 600 + ["c"] * 500]
    votes = selection.majority_vote(answers, correct, [1, 2, 2000])[0]
    two = (900 * 899 / 2 + (900 * 600 + 900 * 500) / 2) / (2000 * 1999 / 2)  # both right, or a tie of two answers
    np.testing.assert_allclose(votes, [0.45, two, 1.0])


def test_subset_estimator_varies_less_than_one_prefix():
    rng = np.random.default_rng(0)
    prefix, subset = [], []
    for _ in range(300):
        scores, correct = rng.random((20, 64)), rng.random((20, 64)) < 0.5
        prefix.append(selection.best_of_n(scores[:, :4], correct[:, :4], 4).mean())
        subset.append(selection.best_of_n(scores, correct, 4).mean())
    assert np.mean(subset) == pytest.approx(0.5, abs=0.01)
    assert np.std(subset) < 0.5 * np.std(prefix)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selection.best_of_n([0.1, 0.2], [1], 1), r"\(2,\).*\(1,\)"),
        (lambda: selection.best_of_n([0.1, np.nan], [1, 0], 1), "not finite"),
        (lambda: selection.best_of_n([0.1, 0.2], [1, 0], 3), "between 1 and 2"),
        (lambda: selection.pass_at_k([1, 0], 0), "between 1 and 2"),
        (lambda: selection.majority_vote([["a"]], [[1, 0]], 1), "answers must be"),
        (lambda: selection.weighted_vote([["a", "b"]], [[1, 0]], [[-1, 1]], 1), "negative"),
        (lambda: s.bootstrap_mean([]), "at least one"),
        (lambda: s.bootstrap_mean([1.0, np.nan]), "finite"),
        (lambda: s.bootstrap_mean([1.0, 2.0], ["a"]), "1 cluster labels for 2"),
        (lambda: s.compare([0, 1], [1]), "same order"),
        (lambda: s.wilson(3, 2), "between 0 and total"),
        (lambda: s.holm([0.1, 1.5]), "between 0 and 1"),
        (lambda: s.sign_flip_p([0.1, math.nan]), "finite"),
        (lambda: s.sign_flip_p([0.1, 1.0], ["a"]), "1 cluster labels for 2"),
        (lambda: s.most_discordance(5, 6), "6 problems of 5"),
        (lambda: s.brier([1.5], [1]), r"in \[0, 1\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- intervals --------------------------------------------------------------------------------------------------------


def test_bootstrap_of_the_mean_agrees_with_scipy():
    values = np.random.default_rng(3).random((60, 2))
    ours = s.bootstrap_mean(values, resamples=8000)
    theirs = stats.bootstrap((values,), np.mean, axis=0, n_resamples=8000, method="percentile", rng=1)
    np.testing.assert_allclose(ours.value, values.mean(0))
    np.testing.assert_allclose(ours.low, theirs.confidence_interval.low, atol=4e-3)
    np.testing.assert_allclose(ours.high, theirs.confidence_interval.high, atol=4e-3)


def test_bootstrap_repeats_with_its_seed_and_returns_plain_numbers_for_one_value():
    values = np.random.default_rng(3).random(40)
    one, two, other = (s.bootstrap_mean(values, resamples=500, seed=seed) for seed in (1, 1, 2))
    assert one == two != other
    assert np.ndim(one.value) == np.ndim(one.low) == 0
    assert one.low < one.value < one.high


def test_clusters_that_move_together_widen_the_interval():
    template = np.repeat(np.arange(10), 20)
    values = (template % 2).astype(float)  # all problems of one template agree
    rows, clusters = s.bootstrap_mean(values, resamples=2000), s.bootstrap_mean(values, template, resamples=2000)
    assert clusters.value == rows.value == 0.5
    assert clusters.high - clusters.low > 3 * (rows.high - rows.low)
    single = s.bootstrap_mean(values, np.arange(200), resamples=2000)
    assert single == rows


def test_ratio_weighs_problems_by_their_denominator():
    ratio = s.bootstrap_ratio([[1, 0], [3, 2]], [[2, 2], [6, 2]], resamples=200)
    np.testing.assert_allclose(ratio.value, [0.5, 0.5])
    np.testing.assert_allclose([ratio.low[0], ratio.high[0]], 0.5)  # every resample has the same ratio
    np.testing.assert_allclose([ratio.low[1], ratio.high[1]], [0, 1])
    assert s.bootstrap_ratio([1, 3], [2, 6], resamples=200).value == 0.5
    empty = s.bootstrap_ratio([0, 0], [0, 0], resamples=20)
    assert np.isnan(empty).all()


def test_resampling_weights_come_in_blocks_that_draw_every_unit_alike():
    blocks = list(s.resampling_weights(40_000, 150))
    weights = np.concatenate(blocks)
    assert len(blocks) == 2
    assert weights.shape == (150, 40_000)
    assert (weights.sum(1) == 40_000).all()
    assert weights.mean() == 1


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_agrees_with_scipy(hits, trials):
    hits = min(hits, trials)
    theirs = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert s.wilson(hits, trials) == pytest.approx((hits / trials, theirs.low, theirs.high), abs=1e-9)


def test_wilson_of_nothing_is_everything():
    share, low, high = s.wilson([0, 5], [0, 10])
    assert np.isnan(share[0])
    assert (low[0], high[0]) == (0, 1)
    assert share[1] == 0.5


# --- comparisons ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_sign_test(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert s.mcnemar_p(only_a, only_b) == pytest.approx(expected)


def test_tests_agree_with_statsmodels():
    contingency_tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels not installed")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(5)
    a, b = rng.random(300) < 0.6, rng.random(300) < 0.5
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    ours, theirs = s.compare(a, b, resamples=10), contingency_tables.mcnemar(table, exact=True)
    assert (ours.only_a, ours.only_b) == (table[0][1], table[1][0])
    assert ours.p == pytest.approx(theirs.pvalue)
    p = rng.random(12) ** 3
    np.testing.assert_allclose(s.holm(p), multitest.multipletests(p, method="holm")[1])


def test_a_comparison_is_tested_by_what_its_outcomes_are():
    binary = s.compare([1, 1, 1, 0], [0, 1, 0, 0], resamples=300)
    assert (binary.a, binary.b, binary.difference) == (0.75, 0.25, 0.5)
    assert (binary.only_a, binary.only_b, binary.p) == (2, 0, 0.5)
    average = s.compare([1, 0.5, 1, 0], [0, 1, 0, 0], resamples=300)
    assert (average.only_a, average.only_b) == (None, None)
    assert average.p == s.sign_flip_p([1, -0.5, 1, 0], resamples=300)
    assert average.low <= average.difference <= average.high
    grouped = s.compare([1, 1, 1, 0], [0, 1, 0, 0], ["x", "y", "x", "y"], resamples=300)
    assert (grouped.only_a, grouped.only_b) == (2, 0)
    assert grouped.p == s.sign_flip_p([1, 0, 1, 0], ["x", "y", "x", "y"], resamples=300) > binary.p
    tests = [binary.test, average.test, grouped.test]
    assert tests == [s.EXACT, "random signs by problem", "random signs by template"]


def test_what_was_not_tested_stays_so_and_corrects_nothing():
    np.testing.assert_allclose(s.holm([0.04, math.nan, 0.01]), [0.04, math.nan, 0.02])
    same = s.untested([[1, 0], [1, 1]])
    assert (same.a, same.b, same.difference, same.test) == (0.75, 0.75, 0, s.NOT_TESTED)
    assert np.isnan([same.low, same.high, same.p]).all()


def test_trainings_are_averaged_and_widen_the_interval():
    a, b = np.array([[1, 1, 1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0, 1, 0]]), [1, 0, 0, 1, 0, 0, 1, 0]
    both, mean = s.compare(a, b), s.compare(a.mean(0), b)
    assert (both.a, both.difference, both.p) == (mean.a, mean.difference, mean.p)
    assert both.high - both.low > mean.high - mean.low


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(0)
    b = rng.random(400) < 0.5
    a = b | (rng.random(400) < 0.1)  # better on some, never worse
    paired = s.compare(a, b, resamples=2000)
    assert paired.low > 0
    assert paired.p < 0.001
    assert paired.high - paired.low < 0.5 * np.ptp(s.bootstrap_mean(a, resamples=2000)[1:]) * 2


@pytest.mark.parametrize(
    ("problems", "discordance", "points"),
    [  # METHOD.md: "smallest gain that can be significant, given discordance"
        (1319, 0.06, 1.4),
        (1319, 0.12, 2.0),
        (500, 0.10, 3.2),
        (500, 0.25, 4.6),
        (175, 0.10, 5.7),
        (175, 0.25, 8.0),
        (713, 0.05, 2.0),
        (713, 0.15, 3.2),
    ],
)
def test_smallest_gain_of_the_papers_test_sets(problems, discordance, points):
    assert round(100 * s.smallest_gain(problems, discordance), 1) == points


def test_smallest_gain_is_the_first_significant_one():
    pairs, gain = 40, round(500 * s.smallest_gain(500, 0.08))
    assert s.mcnemar_p((pairs - gain) // 2, (pairs + gain) // 2) < 0.05
    assert s.mcnemar_p((pairs - gain) // 2 + 1, (pairs + gain) // 2 - 1) >= 0.05
    assert math.isnan(s.smallest_gain(100, 0.04))  # four discordant problems can never be significant


def test_three_more_of_1319_can_never_be_significant():
    smallest = min(s.smallest_gain(1319, pairs / 1319) for pairs in range(6, 200))
    assert smallest * 1319 == pytest.approx(6)
    assert min(s.mcnemar_p(k, k + 3) for k in range(200)) > 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 120), st.integers(0, 40))
def test_most_discordance_is_where_the_gain_stops_being_significant(problems, gain):
    gain = min(gain, problems)
    most = s.most_discordance(problems, gain)
    counts = range(gain, problems + 1, 2)
    assert most == max((n for n in counts if n and s.mcnemar_p((n - gain) // 2, (n + gain) // 2) < 0.05), default=0)
    assert s.most_discordance(problems, -gain) == most
    assert (most == 0) == (gain < 6)


def test_sign_flips_agree_with_scipy_and_with_mcnemar():
    rng = np.random.default_rng(2)
    values = rng.normal(0.3, 1, 12)
    exact = stats.permutation_test(
        (values, np.zeros(12)), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", vectorized=True
    )
    assert s.sign_flip_p(values, resamples=20_000) == pytest.approx(exact.pvalue, abs=0.01)
    a, b = rng.random(200) < 0.6, rng.random(200) < 0.5
    differences = a.astype(float) - b
    exact = s.paired_test(differences, binary=True)
    assert s.sign_flip_p(differences, resamples=20_000) == pytest.approx(exact.p, abs=0.01)
    assert s.sign_flip_p([0.0, 0.0]) == 1
    assert s.sign_flip_p(np.ones(40), resamples=999) == 1 / 1000  # never 0


def test_signs_of_a_cluster_flip_together():
    values, clusters = np.ones(20), np.repeat(np.arange(4), 5)
    assert s.sign_flip_p(values, resamples=4000) < 0.01
    assert s.sign_flip_p(values, clusters, resamples=4000) == pytest.approx(2 / 2**4, abs=0.02)  # four coins alike


def test_sign_flips_keep_their_level():
    rng = np.random.default_rng(0)
    p = [s.sign_flip_p(rng.normal(0, 1, 30), resamples=300, seed=i) for i in range(400)]
    assert stats.binomtest(int((np.array(p) < 0.05).sum()), 400, 0.05).pvalue > 0.01


def test_difference_of_shares_is_newcombes_for_wilson_intervals():
    found, p = s.difference_of_shares(s.wilson(56, 70), s.wilson(48, 80))  # Newcombe 1998, table II (a), method 10
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert 0.001 < p < 0.05
    back, again = s.difference_of_shares(s.wilson(48, 80), s.wilson(56, 70))
    assert (back.low, back.high, again) == pytest.approx((-found.high, -found.low, p))
    same = s.Interval(0.5, 0.5, 0.5)
    assert s.difference_of_shares(same, same) == (s.Interval(0, 0, 0), 1)


def test_bootstrap_over_templates_agrees_with_one_of_the_templates_means():
    template = np.repeat(np.arange(50), 50)  # GSM-Symbolic: 50 templates of 50 problems
    values = np.random.default_rng(1).random(50)[template] > np.random.default_rng(2).random(2500)
    ours = s.bootstrap_mean(values, template, resamples=8000)
    means = values.reshape(50, 50).mean(1)
    theirs = stats.bootstrap((means,), np.mean, n_resamples=8000, method="percentile", rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=6e-3)


# --- labels and scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.3, 0.77])
def test_hard_labels_and_stopping_agree_with_drawn_rollouts(p):
    right = np.random.default_rng(0).random((200_000, 8)) < p
    first = np.where(right.any(1), right.argmax(1) + 1, 8)
    assert s.missed_label(p, 8) == pytest.approx(1 - right.any(1).mean(), abs=0.005)
    assert s.expected_rollouts(p, 8) == pytest.approx(first.mean(), abs=0.02)


def test_hard_labels_miss_and_stop_as_stated():
    np.testing.assert_allclose(s.missed_label([0.05, 0.1, 0.2, 0.3], 8), [0.66, 0.43, 0.17, 0.06], atol=0.005)
    np.testing.assert_allclose(s.expected_rollouts([0.77, 0.95, 0.05, 0], 8), [1.3, 1.05, 6.7, 8], atol=0.05)


def test_reliability_groups_scores_of_one_bin():
    r = s.reliability([0.05, 0.08, 0.95, 1.0, 0.55], [0, 1, 1, 1, 0.5], bins=10)
    np.testing.assert_allclose(r.score, [0.065, 0.55, 0.975])
    np.testing.assert_allclose(r.share, [0.5, 0.5, 1])
    assert r.count.tolist() == [2, 1, 2]
    assert r.error == pytest.approx((2 * 0.435 + 0.05 + 2 * 0.025) / 5)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_scores_equal_to_their_labels_are_calibrated(scores):
    assert s.reliability(scores, scores).error == pytest.approx(0, abs=1e-12)


def test_brier_and_harmonic_by_hand():
    np.testing.assert_allclose(s.brier([0.9, 0.2], [1, 1]), [0.01, 0.64])
    np.testing.assert_allclose(s.harmonic([0.5, 0, 1], [1, 0, 1]), [2 / 3, 0, 1])
    with np.errstate(all="raise"):
        assert s.harmonic(0.0, 0.0) == 0
