"""Five ways to say where a step ends: at hand-made solutions, and at the same share of many random tokens."""

import numpy as np
import pytest

from asprm.contests.places import (
    CONFIDENCE,
    ENTROPY,
    FIXED,
    KINDS,
    LINE,
    RANDOM,
    Cuts,
    Doubts,
    ends_of,
    fit_cuts,
    places,
    within_budget,
)


def solution(confidences, entropies, breaks, number=0):
    arrays = np.array(confidences, np.float32), np.array(entropies, np.float32), np.array(breaks, bool)
    return Doubts("p", number, *arrays)


def many(count=300, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(40, 120, count)
    return [solution(rng.random(n), rng.exponential(size=n), rng.random(n) < 0.05, i) for i, n in enumerate(lengths)]


SMALL = solution([0.9, 0.2, 0.9, 0.9, 0.8], [0.1, 0.2, 2.0, 0.1, 3.0], [0, 0, 0, 1, 0])
CUTS = Cuts(share=0.25, tau=0.5, high=1.0, kept=1.0)


@pytest.mark.parametrize(("kind", "ends"), [(CONFIDENCE, [2, 5]), (ENTROPY, [3, 5]), (LINE, [4, 5])])
def test_steps_end_where_the_kind_says_and_with_the_last_token(kind, ends):
    assert ends_of(places(kind, SMALL, CUTS, seed=0)).tolist() == ends


def test_cuts_by_hand():
    cuts = fit_cuts([SMALL], tau=0.5)
    assert cuts.share == 0.25  # one of the four inner tokens
    assert 0.2 <= cuts.high < 2.0  # one entropy lies above it
    assert cuts.kept == 1.0
    assert fit_cuts([solution([0.2, 0.9, 0.9], [1, 2, 3], [1, 1, 0])], tau=0.5).kept == 0.5
    with pytest.raises(ValueError, match="no inner token"):
        fit_cuts([SMALL], tau=0.1)


def test_steps_of_fixed_length():
    ends = ends_of(places(FIXED, many(1)[0], CUTS, seed=0))
    assert (np.diff(ends)[:-1] == 4).all()
    assert 1 <= ends[0] <= 4


def test_all_kinds_have_the_same_share_of_tokens():
    solutions = many()
    cuts = fit_cuts(solutions, tau=0.03)
    inner = sum(len(one.confidences) - 1 for one in solutions)
    for kind in KINDS:
        share = sum(places(kind, one, cuts, seed=1)[:-1].sum() for one in solutions) / inner
        assert share == pytest.approx(cuts.share, rel=0.12), kind


def test_what_is_drawn_depends_on_the_solution_and_the_seed_alone():
    first, *others = many(4)
    cuts = Cuts(0.1, 0.1, 2.0, 0.5)
    for kind in (LINE, RANDOM):
        again = [places(kind, one, cuts, seed=3) for one in (*others, first)][-1]
        assert (places(kind, first, cuts, seed=3) == again).all()
    assert (places(RANDOM, first, cuts, seed=3) != places(RANDOM, first, cuts, seed=4)).any()


def test_solutions_within_a_budget():
    kept = within_budget([3, 3, 3, 3], 7, seed=0)
    assert len(kept) == 2
    assert kept.tolist() == sorted(kept.tolist())
    assert within_budget([3, 3, 3, 3], 12, seed=0).tolist() == [0, 1, 2, 3]
    assert within_budget([5], 4, seed=0).tolist() == []
