import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asprm.intervals import difference_interval, score_interval, share_interval
from asprm.statistics import wilson


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_right_and_wrong_answers_to_independent_problems_have_wilsons_interval(right):
    expected = wilson(sum(right), len(right))
    assert share_interval(right) == pytest.approx(expected, abs=1e-12)
    assert share_interval(right, trainings=[[0.5]]) == pytest.approx(expected, abs=1e-12)  # a single training


@pytest.mark.parametrize("values", [np.zeros(60), np.ones(60), np.full(60, 0.5), np.ones(1)])
@pytest.mark.parametrize("clusters", [None, "templates"])
def test_no_interval_is_without_width(values, clusters):
    labels = None if clusters is None else np.arange(len(values)) // 3
    for found in (share_interval(values, clusters=labels), difference_interval(values - values, labels)):
        assert found.low <= found.value <= found.high
        assert found.high - found.low > 0.03


def test_a_share_of_sums_weighs_problems_by_their_trials():
    found = share_interval([[1, 0], [3, 0], [4, 0]], [[2, 0], [6, 0], [4, 0]])
    assert found.value[0] == pytest.approx(8 / 12)
    assert 0 < found.low[0] < 8 / 12 < found.high[0] < 1
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()  # no trials


def test_clusters_that_move_together_widen_the_interval():
    template = np.repeat(np.arange(10), 20)
    values = (template % 2).astype(float)
    for interval in (share_interval, difference_interval):
        apart, together = interval(values), interval(values, clusters=template)
        assert together.value == apart.value == 0.5
        assert together.high - together.low > 3 * (apart.high - apart.low)
    alone = share_interval(values * 0.9, clusters=np.arange(200))
    assert alone == pytest.approx(share_interval(values * 0.9))


def test_the_spread_over_trainings_is_in_the_interval():
    values = np.linspace(0, 1, 100)
    for interval in (share_interval, difference_interval):
        one, alike, apart = (interval(values, trainings=[means]) for means in ([0.5], [0.5] * 3, [0.4, 0.5, 0.6]))
        assert alike == pytest.approx(one, abs=1e-3)
        assert apart.high - apart.low > 1.5 * (one.high - one.low)
    both = difference_interval(values, trainings=[[0.4, 0.5, 0.6], [0.1, 0.2, 0.3]])
    assert both.high - both.low > apart.high - apart.low


def test_a_difference_has_one_more_discordant_problem_by_hand():
    values = np.array([1, 1, 1, -1] + [0] * 16)
    found = difference_interval(values)
    variance = ((values - 0.1) ** 2).sum() / 19 / 20 + 1 / 400
    assert found.value == pytest.approx(0.1)
    assert found.high - found.value == pytest.approx(2.093024 * math.sqrt(variance), rel=1e-6)  # t with 19 degrees
    assert difference_interval([1, 1, 1]).high == 1


def test_a_smooth_statistic_is_as_wide_as_the_share_that_it_is():
    values = np.array([0.2, 0.9, 0.4, 0.7, 1.0, 0.0])
    share = values.mean()
    assert score_interval(share, (values - share) / 6) == pytest.approx(share_interval(values))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: share_interval([]), "at least one"),
        (lambda: share_interval([1.0, np.nan]), "finite"),
        (lambda: share_interval([1, 2], [1]), "one row per problem"),
        (lambda: share_interval([1.0, 0.0], clusters=["a"]), "1 cluster labels for 2"),
        (lambda: difference_interval([[1.0]]), r"must be \(P,\)"),
        (lambda: difference_interval([0.0, np.nan]), "finite"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("draw", "truth", "interval"),
    [
        (lambda rng: rng.random(60) < 0.97, 0.97, share_interval),
        (lambda rng: rng.choice([1.0, -1.0, 0.0], 60, p=[0.04, 0.01, 0.95]), 0.03, difference_interval),
    ],
)
def test_few_problems_are_held(draw, truth, interval):
    rng = np.random.default_rng(0)
    found = [interval(draw(rng)) for _ in range(400)]
    assert np.mean([x.low <= truth <= x.high for x in found]) > 0.93
