"""How often 95 % intervals hold the truth, by simulation: the rules of `asprm.intervals` beside others.

Each case draws a study of known truth many times and asks each method for its interval. A method that holds its level
covers the truth in 95 % of the draws. Of methods that do, the narrower one is better. `results/coverage.json` holds the
table that the page Statistics shows.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from asprm.intervals import difference_interval, share_interval

RESULTS = Path(__file__).resolve().parent / "results/coverage.json"
DRAWS, RESAMPLES = 2000, 1000
OURS = {"share": "Wilson, effective trials", "difference": "Student, one more discordant", "trainings": "two levels"}


@dataclass(frozen=True)
class Case:
    """A study that is drawn many times.

    kind: a key of OURS. draw: (draws, P) outcomes or paired differences, of `trainings` (draws, R, P), by a generator.
    """

    kind: str
    name: str
    truth: float
    draw: Callable[[np.random.Generator], np.ndarray]
    clusters: np.ndarray | None = None


# --- cases ------------------------------------------------------------------------------------------------------------


def right(share: float, problems: int) -> Case:
    name = f"{problems} problems, {share:.0%} right"
    return Case("share", name, share, lambda rng: (rng.random((DRAWS, problems)) < share).astype(float))


def samples(share: float, problems: int) -> Case:
    """Each problem's outcome is the mean of 16 samples."""

    def draw(rng):
        return rng.binomial(16, rng.beta(1.5 * share, 1.5 - 1.5 * share, (DRAWS, problems))) / 16

    return Case("share", f"{problems} problems, means of 16 samples, {share:.0%}", share, draw)


def templates(share: float, count: int, size: int) -> Case:
    """Problems of one template are right together."""

    def draw(rng):
        of_template = rng.beta(3 * share, 3 - 3 * share, (DRAWS, count))
        return (rng.random((DRAWS, count * size)) < np.repeat(of_template, size, axis=1)).astype(float)

    return Case("share", f"{count} templates of {size}, {share:.0%} right", share, draw, _labels(count, size))


def paired(only_a: float, only_b: float, problems: int, trainings: int = 1) -> Case:
    """Shares of problems that only one of two sides has right; the mean over that many trainings."""

    def draw(rng):
        chances = [only_a, only_b, 1 - only_a - only_b]
        return rng.choice([1.0, -1.0, 0.0], (trainings, DRAWS, problems), p=chances).mean(0)

    several = f", means of {trainings}" if trainings > 1 else ""
    name = f"{problems} problems, {only_a:.0%} only a, {only_b:.0%} only b{several}"
    return Case("difference", name, only_a - only_b, draw)


def paired_templates(only_a: float, only_b: float, count: int, size: int) -> Case:
    """Half of the templates have all of the differences."""

    def draw(rng):
        active = np.repeat(2 * (rng.random((DRAWS, count)) < 0.5), size, axis=1)
        u = rng.random((DRAWS, count * size))
        return np.where(u < only_a * active, 1.0, np.where(u < (only_a + only_b) * active, -1.0, 0.0))

    name = f"{count} templates of {size}, {only_a:.0%} only a, {only_b:.0%} only b"
    return Case("difference", name, only_a - only_b, draw, _labels(count, size))


def trained(problems: int, trainings: int, spread: float) -> Case:
    """Trainings of one reward model, whose skill differs by `spread` (of a problem's difficulty, which is 1)."""

    def draw(rng):
        difficulty, luck = rng.normal(0, 1, (DRAWS, 1, problems)), rng.normal(0, 0.5, (DRAWS, trainings, problems))
        return (difficulty + luck + rng.normal(0, spread, (DRAWS, trainings, 1)) + 0.8 > 0).astype(float)

    truth = float(stats.norm.cdf(0.8 / np.sqrt(1 + 0.25 + spread**2)))
    points = 100 * spread * stats.norm.pdf(0.8 / np.sqrt(1.25)) / np.sqrt(1.25)
    name = f"{problems} problems, {trainings} trainings that differ by {points:.1f} points"
    return Case("trainings", name, truth, draw)


def _labels(count: int, size: int) -> np.ndarray:
    return np.repeat(np.arange(count), size)


CASES = [
    *(right(share, problems) for share, problems in ((0.8, 60), (0.95, 60), (0.98, 60), (0.8, 250))),
    *(samples(share, 60) for share in (0.7, 0.9)),
    *(templates(*each) for each in ((0.6, 20, 3), (0.8, 8, 8), (0.9, 12, 5))),
    *(paired(*each) for each in ((0.1, 0.05, 60), (0.05, 0.02, 60), (0.02, 0.02, 60), (0.15, 0, 60))),
    *(paired(*each) for each in ((0.1, 0.05, 250), (0.03, 0.01, 250), (0.1, 0.05, 60, 3), (0.05, 0.02, 60, 3))),
    *(paired_templates(*each) for each in ((0.1, 0.05, 20, 3), (0.1, 0.05, 8, 8), (0.04, 0.02, 20, 3))),
    *(trained(p, r, spread) for p in (60, 250, 1000) for r in (2, 3) for spread in (0.0, 0.05, 0.1)),
]

# --- methods: values (draws, P) to (low, high), each (draws,) ---------------------------------------------------------


def _units(values, clusters):
    """Sums (draws, U) and sizes (U,) of what is resampled."""
    if clusters is None:
        return values, np.ones(values.shape[1])
    member = np.equal.outer(clusters, np.unique(clusters)).astype(float)
    return values @ member, member.sum(0)


def _resampled(sums, sizes):
    weights = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    return weights.astype(float), (sums @ weights.T) / (weights @ sizes)


def percentile(values, clusters):
    return np.quantile(_resampled(*_units(values, clusters))[1], [0.025, 0.975], axis=1)


def bca(values, clusters):
    """Bias-corrected and accelerated bootstrap."""
    sums, sizes = _units(values, clusters)
    drawn, found = _resampled(sums, sizes)[1], sums.sum(1) / sizes.sum()
    below = ((drawn < found[:, None] - 1e-12).mean(1) + (drawn <= found[:, None] + 1e-12).mean(1)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    left_out = (sums.sum(1)[:, None] - sums) / (sizes.sum() - sizes)
    skew = left_out.mean(1)[:, None] - left_out
    rate = (skew**3).sum(1) / np.maximum(6 * (skew**2).sum(1) ** 1.5, 1e-300)
    shifted = [bias + stats.norm.ppf(q) for q in (0.025, 0.975)]
    levels = [stats.norm.cdf(bias + z / (1 - rate * z)) for z in shifted]
    return np.array([[np.quantile(row, q) for row, q in zip(drawn, level, strict=True)] for level in levels])


def bootstrap_t(values, clusters):
    sums, sizes = _units(values, clusters)
    weights, drawn = _resampled(sums, sizes)
    found = sums.sum(1) / sizes.sum()
    squares = sums**2 @ weights.T - 2 * drawn * ((sums * sizes) @ weights.T) + drawn**2 * (weights @ sizes**2)
    errors = np.sqrt(np.maximum(squares, 0)) / (weights @ sizes)
    t = np.divide(drawn - found[:, None], errors, out=np.zeros_like(drawn), where=errors > 1e-12)
    error = np.sqrt(((sums - found[:, None] * sizes) ** 2).sum(1)) / sizes.sum()
    low, high = np.quantile(t, [0.025, 0.975], axis=1)
    return np.array([found - high * error, found - low * error])


def student(values, clusters):
    sums, sizes = _units(values, clusters)
    units, found = len(sizes), sums.sum(1) / sizes.sum()
    error = np.sqrt(units / (units - 1) * ((sums - found[:, None] * sizes) ** 2).sum(1)) / sizes.sum()
    half = stats.t.ppf(0.975, units - 1) * error
    return np.array([found - half, found + half])


def signs(values, clusters):
    """The values that a test by random signs does not reject, by bisection."""
    sums, sizes = _units(values, clusters)
    flips = np.random.default_rng(0).integers(0, 2, (RESAMPLES, len(sizes))) * 2.0 - 1
    flipped, weight, total, found = sums @ flips.T, flips @ sizes, sums.sum(1), sums.sum(1) / sizes.sum()

    def kept(value):
        reached = np.abs(flipped - value[:, None] * weight) >= np.abs(total - value * sizes.sum())[:, None] * (1 - 1e-9)
        return (1 + reached.sum(1)) / (RESAMPLES + 1) > 0.05

    ends = []
    for side in (-1, 1):
        inner, outer = found.copy(), found + 2.1 * side
        for _ in range(25):
            middle = (inner + outer) / 2
            good = kept(middle)
            inner, outer = np.where(good, middle, inner), np.where(good, outer, middle)
        ends.append(inner)
    return np.array(ends)


def ours(case: Case, values):
    if case.kind == "difference":
        return np.array([difference_interval(row, case.clusters)[1:] for row in values]).T
    if case.kind == "trainings":
        found = share_interval(values.mean(1).T, trainings=[values.mean(2).T])
    else:
        found = share_interval(values.T, clusters=case.clusters)
    return np.array([found.low, found.high])


METHODS = {
    "bootstrap, percentiles": percentile,
    "bootstrap, BCa": bca,
    "bootstrap-t": bootstrap_t,
    "Student": student,
    "random signs, inverted": signs,
}


def simulate(case: Case) -> list[dict]:
    """One row per method: kind, case, method, coverage, width (means), zero (share of intervals without width)."""
    values = case.draw(np.random.default_rng(1))
    single = values.mean(1) if case.kind == "trainings" else values
    methods = dict(list(METHODS.items())[: 2 if case.kind == "trainings" else None])
    found = {name: method(single, case.clusters) for name, method in methods.items()}
    if case.kind == "trainings":  # what a bootstrap over problems leaves out
        found = {"problems alone": np.array(share_interval(single.T)[1:])} | found
    found[OURS[case.kind]] = ours(case, values)
    return [
        {
            "kind": case.kind,
            "case": case.name,
            "method": method,
            "coverage": round(float(((low <= case.truth + 1e-12) & (case.truth - 1e-12 <= high)).mean()), 4),
            "width": round(float((high - low).mean()), 4),
            "zero": round(float((high - low < 1e-9).mean()), 4),
        }
        for method, (low, high) in found.items()
    ]


def main() -> list[dict]:
    rows = [row for case in CASES for row in simulate(case)]
    for row in rows:
        text = f"{row['case']:58} {row['method']:30} {row['coverage']:7.1%} {100 * row['width']:6.1f} points"
        print(text + (f", {row['zero']:.0%} without width" if row["zero"] else ""))
    kept = {"command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}"]), "draws": DRAWS, "rows": rows}
    RESULTS.write_text(json.dumps(kept | {"resamples": RESAMPLES}, indent=1, ensure_ascii=False) + "\n")
    return rows


if __name__ == "__main__":
    main()
