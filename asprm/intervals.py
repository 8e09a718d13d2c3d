"""Intervals: of shares and of differences, such that 95 % of them hold the truth, also with few problems.

Resampling is too sure of itself where problems, templates or trainings are few: of 60 problems that are all right it
makes an interval without width. The rules here were chosen by simulation (`benchmarks/coverage.py`):

- a share: Wilson's interval, with as many trials as would give the variance that was found;
- a paired difference: Student's interval, as if there were one more discordant problem;
- several trainings: the variance between their means is added to that between problems, with Satterthwaite's degrees
  of freedom.

Pure functions on arrays. Axes: P problems, R trainings of one reward model. Problems of one cluster go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and its interval: three floats, or three arrays of one shape."""

    value: Any
    low: Any
    high: Any


def share_interval(
    hits: ArrayLike,
    trials: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    *,
    trainings: Sequence[ArrayLike] = (),
    level: float = 0.95,
) -> Interval:
    """Σ hits / Σ trials, a share in [0, 1], with a score interval over problems.

    hits: (P, ...) outcomes in [0, 1], or sums of them.
    trials: (P, ...) how many outcomes each sum has; None: one each.
    clusters: (P,) labels such as templates; None: problems are independent.
    trainings: if hits are means over trainings, the share of each training, (R, ...).
    level: of the interval.

    Returns an Interval of the shape of one row; NaN where there are no trials. For right and wrong answers to
    independent problems it is Wilson's. No interval is without width.
    ValueError: no problems, unequal lengths, NaN.
    """
    top = np.asarray(hits, np.float64)
    bottom = np.broadcast_to(_as_long(1.0 if trials is None else trials, top), top.shape)
    several = any(len(means) > 1 for means in map(np.asarray, trainings))
    plain = trials is None and clusters is None and not several and bool(np.isin(top, (0, 1)).all())
    top, bottom = _by_cluster(top, clusters), _by_cluster(bottom, clusters)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = top.sum(0) / bottom.sum(0)
        units = (bottom > 0).sum(0)
        between = value * (1 - value) / units if plain else _variance(top, bottom, value)
        variance, freedom = _with_trainings(between, units - 1, trainings)
        z = NormalDist().inv_cdf(0.5 + level / 2) if plain else _student(freedom, level)
        return _score(value, variance, units, z)


def score_interval(value: float, contributions: ArrayLike, *, level: float = 0.95) -> Interval:
    """The interval of any smooth statistic in [0, 1], such as an F1, as of a share.

    contributions: (P,) by how much each problem moves the statistic: its derivative by the problem's weight.
    """
    parts = np.asarray(contributions, np.float64)
    units = len(parts)
    variance = (parts**2).sum() * units / max(units - 1, 1)
    return _score(np.float64(value), variance, units, _student(max(units - 1, 1), level))


def difference_interval(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    trainings: Sequence[ArrayLike] = (),
    level: float = 0.95,
) -> Interval:
    """The mean of paired differences of outcomes, each in [−1, 1], with Student's interval over problems.

    differences: (P,).
    clusters: (P,) labels of problems that go together; None: problems are independent.
    trainings: of each of the two sides that was trained several times, the mean of each training, (R,).
    level: of the interval.

    One discordant problem more, of the size of those that there are, is added to the variance. So two sides that are
    alike on every problem have an interval, too: the next problem may differ.
    ValueError: no problems, unequal lengths, NaN.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1:
        raise ValueError(f"differences must be (P,); got shape {values.shape}")
    sums, counts = _by_cluster(values, clusters), _by_cluster(np.ones(len(values)), clusters)
    value, squares = values.mean(), (sums**2).sum()
    one_more = (sums**4).sum() / squares if squares > 0 else 1.0
    between = _variance(sums, counts, value) + one_more / len(values) ** 2
    variance, freedom = _with_trainings(between, len(sums) - 1, trainings)
    half = float(_student(freedom, level) * np.sqrt(variance))
    return Interval(float(value), max(-1.0, float(value) - half), min(1.0, float(value) + half))


_NOTHING = 1e-12  # variances below are rounding


def _score(value: Any, variance: Any, units: Any, z: Any) -> Interval:
    """Wilson's interval of a share of this variance; without variance, of as many trials as there are units."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = value * (1 - value)
        trials = np.where((variance > _NOTHING) & (spread > _NOTHING), spread / variance, units)
        centre = (value + z * z / (2 * trials)) / (1 + z * z / trials)
        half = z / (1 + z * z / trials) * np.sqrt(spread / trials + (z / (2 * trials)) ** 2)
    low = np.where(value == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(value == 1, 1.0, np.clip(centre + half, 0, 1))
    return Interval(*(np.where(np.isnan(value), np.nan, x)[()] for x in (value, low, high)))


def _as_long(trials: ArrayLike, top: Floats) -> Floats:
    """Trials as an array that broadcasts to the shape of the hits, which are checked."""
    bottom = np.asarray(trials, np.float64)
    if len(top) == 0 or (bottom.ndim and len(top) != len(bottom)):
        raise ValueError(f"need one row per problem in both, at least one; got {len(top)} and {len(np.ravel(bottom))}")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("values must be finite; a problem without a value must be left out by the caller")
    return bottom.reshape(bottom.shape + (1,) * (top.ndim - bottom.ndim)) if bottom.ndim else bottom


def _by_cluster(values: Floats, clusters: ArrayLike | None) -> Floats:
    """Sums (G, ...) of the rows (P, ...) of each cluster; the rows themselves if problems are independent."""
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("values must be finite, of at least one problem")
    if clusters is None:
        return values
    labels = np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} cluster labels for {len(values)} problems; there must be one each")
    sums = np.zeros((labels.max() + 1, *values.shape[1:]))
    np.add.at(sums, labels, values)
    return sums


def _variance(top: Floats, bottom: Floats, value: Any) -> Any:
    """Variance of Σ top / Σ bottom over units (rows), by linearisation."""
    units = (bottom > 0).sum(0)
    squares = ((top - value * bottom) ** 2).sum(0)
    return squares / bottom.sum(0) ** 2 * units / np.maximum(units - 1, 1)


def _with_trainings(between: Any, freedom: Any, trainings: Sequence[ArrayLike]) -> tuple[Any, Any]:
    """The variance with that of each set of trainings, and Satterthwaite's degrees of freedom."""
    parts = [(between, np.maximum(freedom, 1))]
    for means in (np.asarray(each, np.float64) for each in trainings):
        if len(means) > 1:
            parts.append((means.var(0, ddof=1) / len(means), len(means) - 1))
    whole = sum(part for part, _ in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        combined = whole**2 / sum(part**2 / df for part, df in parts)
    return whole, np.where(whole > _NOTHING, combined, parts[0][1])


def _student(freedom: Any, level: float) -> Any:
    from scipy.special import stdtrit  # late: few of those who import statistics need it

    return stdtrit(freedom, 0.5 + level / 2)
