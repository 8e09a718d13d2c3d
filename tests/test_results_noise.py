"""The noise of an engine, on texts small enough to compare by hand."""

import numpy as np
import pytest

from asprm.results.noise import Reading, changed_labels, noise

IDS = [np.array([1, 2, 3]), np.array([4, 5]), np.array([6])]
FIRST = Reading(IDS, [np.array([0.5, 0.2, 0.9]), np.array([0.1, 1.0]), np.array([0.3])],
                [np.array([2, 3]), np.array([1, 2]), np.array([1])], tau=0.25)  # fmt: skip


def test_a_setting_is_compared_on_the_texts_that_it_did_not_change():
    other = Reading(
        [IDS[0], np.array([4, 7]), IDS[2]],
        [np.array([0.5, 0.4, 0.9]), np.array([0.1, 0.001]), np.array([0.3])],
        [np.array([1, 3]), np.array([2]), np.array([1])],
        tau=0.2,
    )
    found = noise(FIRST, other)
    assert (found.texts, found.same, found.tokens) == (3, 2, 4)
    assert found.log_p == pytest.approx(np.log(2))
    assert (found.tau, found.delta_tau) == (0.25, pytest.approx(-0.05))
    assert (found.ends, found.moved) == (4, 2)  # 1, 2, 3 of the first text, of which 1 and 2 moved; 1 of the last


def test_a_setting_does_not_differ_from_itself():
    found = noise(FIRST, FIRST)
    assert (found.same, found.log_p, found.delta_tau, found.moved, found.ends) == (3, 0, 0, 0, 5)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="3 texts against 2"):
        noise(FIRST, Reading(IDS[:2], FIRST.confidences[:2], FIRST.ends[:2], 0.1))
    with pytest.raises(ValueError, match="none of 3 texts has the same tokens"):
        noise(FIRST, Reading([x + 1 for x in IDS], FIRST.confidences, FIRST.ends, 0.1))
    with pytest.raises(ValueError, match="1 labelled steps against 2 others"):
        changed_labels({(0, 1): 1.0}, {(0, 1): 1.0, (0, 2): 0.0})


def test_labels_that_differ_are_counted():
    assert changed_labels({(0, 1): 1.0, (0, 2): 0.0, (1, 1): 1.0}, {(0, 1): 1.0, (0, 2): 1.0, (1, 1): 0.0}) == (2, 3)
