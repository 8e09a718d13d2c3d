"""Filters of noisy labels, and their noise, on solutions whose truth is made by hand."""

import numpy as np
import pytest

from asprm.contests.cheap import Rolled
from asprm.contests.clean import consensus_labels, noise, scan_labels


def rolled(counts, correct=False, rollouts=8):
    """A solution of whose J rollouts from step k the first counts[k] are right; below 0: the last ones."""
    right = np.zeros((len(counts), rollouts), bool)
    for row, count in zip(right, counts, strict=True):
        row[:count] = True
        if count < 0:
            row[:] = False
            row[count:] = True
    return Rolled(right, np.ones(right.shape, int), correct)


def test_self_confidence_drops_problems_trusts_right_solutions_and_softens_what_stands_before_an_error():
    wrong = rolled([8, 2, 0, 3])
    assert scan_labels(wrong, confidence=0.1, least=0.2) is None
    assert scan_labels(wrong, confidence=0.5, least=0.2).tolist() == [1, 0.5, 0, 0]  # 2 of 8, divided by a half
    assert scan_labels(wrong, confidence=0.2, least=0.2).tolist() == [1, 1, 0, 0]  # at most 1
    assert scan_labels(rolled([0, 0], correct=True), confidence=0.5, least=0.2).tolist() == [1, 1]
    assert scan_labels(rolled([0, 0]), confidence=0.5, least=0.2).tolist() == [0, 0]


def test_consensus_keeps_what_both_halves_say():
    assert consensus_labels(rolled([8, 8, 0])).tolist() == [1, 1, 0]
    assert consensus_labels(rolled([8, 2, 0])) is None  # only the first half finds the second step sound
    assert consensus_labels(rolled([8, -2, 0])) is None
    assert consensus_labels(rolled([8, 5, 0])).tolist() == [1, 1, 0]
    assert consensus_labels(rolled([1, 0], rollouts=1)).tolist() == [1, 0]


def test_noise_by_hand():
    labels = [np.array([1.0, 0.0, 0.0]), None, np.array([1.0, 1.0]), np.array([0.4, 0.0])]
    true = [np.array([True, True, False]), np.array([True]), np.array([True, False]), np.array([True, False])]
    row = noise(labels, true, ["p", "p", "q", "r"])
    assert (row["kept"], row["steps"]) == (3, 7)
    assert row["wrong"] == pytest.approx(3 / 7)
    assert row["missed"] == pytest.approx(2 / 4)
    assert row["forgiven"] == pytest.approx(1 / 3)
    assert row["early"] == pytest.approx(2 / 3)
    assert row["late"] == pytest.approx(1 / 3)
    assert row["exact"] == 0
    assert row["wrong_low"] < row["wrong"] < row["wrong_high"]


def test_a_filter_that_keeps_nothing_says_so():
    with pytest.raises(ValueError, match="keeps no solution"):
        noise([None], [np.array([True])], ["p"])
