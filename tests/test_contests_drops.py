"""Decisive tokens: the vectorised test against scipy's own, corrections by hand, and counts of a hand-made case."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import fisher_exact

from asprm.contests.drops import cliffs, decisive, drop_p, marks


def test_the_test_is_fisher_s():
    rng = np.random.default_rng(0)
    for rollouts in (4, 16):
        right = rng.integers(0, rollouts + 1, 20)
        expected = [
            fisher_exact([[a, rollouts - a], [b, rollouts - b]], alternative="greater").pvalue
            for a, b in pairwise(right)
        ]
        np.testing.assert_allclose(drop_p(right, rollouts), expected, rtol=1e-9)


def test_the_correction_is_over_all_tokens_of_all_solutions():
    # Benjamini and Hochberg by hand: the p of rank k of four must be at most k · .05 / 4.
    first, second = decisive([np.array([0.012, 0.5]), np.array([0.024, 0.9])], alpha=0.05)
    assert first.tolist() == [True, False]
    assert second.tolist() == [True, False]
    alone = decisive([np.array([0.5, 0.024]), np.array([0.6, 0.9])], alpha=0.05)
    assert not np.concatenate(alone).any()


def test_chance_alone_seldom_makes_a_token_decisive_where_the_rule_for_one_token_does():
    rng = np.random.default_rng(1)
    right = rng.binomial(16, 0.5, (40, 101))
    found = decisive([drop_p(row, 16) for row in right], alpha=0.05)
    assert np.concatenate(found).mean() < 0.001
    assert np.mean([cliffs(row, 16) for row in right]) > 0.005


@pytest.mark.parametrize(
    ("before", "after", "is_cliff"), [(16, 16, False), (16, 14, False), (16, 4, True), (4, 16, False)]
)
def test_a_cliff_is_a_fall_of_a_tenth_and_more_than_its_error(before, after, is_cliff):
    assert cliffs([before, after], 16).tolist() == [is_cliff]


def test_marks_by_hand():
    wanted = [np.array([1, 0, 0, 1], bool), np.array([0, 0], bool)]
    marked = {
        "good": [np.array([1, 0, 0, 0], bool), np.array([0, 1], bool)],
        "none": [np.zeros(4, bool), np.zeros(2, bool)],
    }
    good, none = marks(marked, wanted, ["p", "q"]).to_dict("records")
    assert good["marked"] == pytest.approx(2 / 6)
    assert good["precision"] == 0.5
    assert good["recall"] == 0.5
    assert good["recall_low"] < 0.5 < good["recall_high"]
    assert np.isnan(none["precision"])
    assert none["recall"] == 0
