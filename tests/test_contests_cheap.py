"""Cheap labels: a hand-made solution, and every pattern of sound and wrong steps against plain search."""

from itertools import product

import numpy as np
import pytest

from asprm.contests.cheap import ALL, BINARY, EARLY, WAYS, Rolled, first_wrong


def rolled(solved_at, correct=False, rollouts=8):
    """A solution whose step k is first solved by rollout number solved_at[k], from 0; None: by none."""
    right = np.zeros((len(solved_at), rollouts), bool)
    for step, first in enumerate(solved_at):
        if first is not None:
            right[step, first:] = True
    tokens = np.arange(1, right.size + 1).reshape(right.shape)
    return Rolled(right, tokens, correct)


def test_three_ways_to_label_one_solution():
    one = rolled([0, 2, None, None])
    every, early, binary = (WAYS[way](one) for way in (ALL, EARLY, BINARY))
    assert every.labels.tolist() == early.labels.tolist() == binary.labels.tolist() == [1, 1, 0, 0]
    assert every.asked.tolist() == [8, 8, 8, 8]
    assert early.asked.tolist() == [1, 4, 8, 8]  # waves of 1, 1, 2 and 4
    assert binary.asked.tolist() == [0, 4, 8, 0]  # the middle of four, then the one after it
    assert (every.rollouts, early.rollouts, binary.rollouts) == (32, 21, 12)
    assert every.tokens == sum(range(1, 33))
    assert early.tokens == 1 + (9 + 10 + 11 + 12) + sum(range(17, 33))
    assert binary.tokens == (9 + 10 + 11 + 12) + sum(range(17, 25))


def test_a_right_solution_costs_a_search_nothing():
    one = WAYS[BINARY](rolled([0, None, 0], correct=True))
    assert one.rollouts == one.tokens == 0
    assert one.labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_search_finds_the_first_wrong_step_wherever_it_is_if_none_comes_right_again(steps):
    for sound in range(steps + 1):
        one = rolled([0] * sound + [None] * (steps - sound))
        found = WAYS[BINARY](one)
        assert first_wrong(found.labels) == sound
        assert (found.labels == WAYS[ALL](one).labels).all()
        assert (found.asked > 0).sum() <= np.ceil(np.log2(steps + 1))


def test_where_steps_come_right_again_a_search_finds_some_wrong_step_after_a_sound_one():
    for pattern in product([True, False], repeat=6):
        one = rolled([0 if sound else None for sound in pattern])
        found = first_wrong(WAYS[BINARY](one).labels)
        assert found == 6 or not pattern[found]
        assert found == 0 or pattern[found - 1]
        early = WAYS[EARLY](one)
        assert (early.labels == WAYS[ALL](one).labels).all()
        assert early.rollouts <= WAYS[ALL](one).rollouts
