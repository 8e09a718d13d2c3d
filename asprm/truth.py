"""Truth: what the paper could only assume, measured (stage 11).

The families of this study know where a solution leaves the truth (`asprm.problems.errors.first_error`). So one can ask: do
decision tokens stand where errors enter? Do labels from rollouts say what is true? Does a reward model find the first
error, and mean what it scores? Does guided decoding put right what was wrong?

A solution *departs* at the first token that differs from the true solution in the line of its first error. Intervals
are of 95 % over problems. Axes: T tokens, K steps of a solution.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import split
from asprm import statistics as s
from asprm.models.align import Speller
from asprm.problems.errors import first_error
from asprm.problems.families import FAMILIES
from asprm.problems.load import load
from asprm.problems.problem import Problem
from asprm.problems.student import ALTERNATIVES
from asprm.run.open import Run
from asprm.sample import greedy_verdicts

WITHIN = (0, 1, 2, 4, 8, 16)  # tokens from a departure to the next step end
METHODS = ("decision tokens", "line breaks", "random, as many as decision tokens", "random, as many as line breaks")
CUTS = np.linspace(0.02, 0.98, 49)
_RESAMPLES = 2000
_AT = "@confidence"  # all reward models are asked at the same steps


@dataclass(frozen=True)
class Solution:
    """A sampled solution of a problem whose truth is known."""

    problem: str
    solution: int
    confidences: NDArray[np.float32]  # (T,)
    text: str
    char_ends: NDArray[np.int32]  # (T,)
    correct: bool
    departs: int | None  # index of the first token that departs; None: it never does

    @property
    def tokens(self) -> int:
        return len(self.char_ends)


def departure(problem: Problem, text: str) -> int | None:
    """Offset of the character in which a solution first departs from the true one; None if it never does.

    The line is `first_error`'s; within it the solution departs after what it shares with the true line of that number.
    The end of the text, where the solution breaks off. ValueError: the problem knows no true solution.
    """
    start = first_error(problem, text)
    if start is None or start >= len(text):
        return start if start is None else len(text)
    # A paragraph's sentences count as lines; so does `first_error`.
    pattern = r"\n" if problem.domain == "code" else r"\n|(?<=\.) "
    number = len(re.findall(pattern, text[:start]))
    line, truth = re.split(pattern, text[start:])[0], re.split(pattern, problem.solution)
    return start + _shared(line, truth[number]) if number < len(truth) else start


def _shared(line: str, true: str) -> int:
    """Characters that a line shares with the true one, an opening word that means nothing aside."""
    opening = next((len(word) for word in ALTERNATIVES if line.startswith(word) and not true.startswith(word)), 0)
    body, true = line[opening:], true[:1].swapcase() + true[1:] if opening else true
    same = next((i for i, (a, b) in enumerate(zip(body, true, strict=False)) if a != b), min(len(body), len(true)))
    return opening + same if 0 < same < len(body) else 0


def problems_of(run: Run, name: str) -> dict[str, Problem]:
    """The problems of the policy's set `name`, made anew from their ids. ValueError: ones whose truth is not known."""
    ids = set(run.read(f"sample/{run.policy}/{name}", ["problem"])["problem"].to_pylist())
    numbers: dict[tuple[str, str], list[int]] = {}
    for one in ids:
        family, part, number = one.rsplit("-", 2)
        if family not in FAMILIES:
            raise ValueError(f"truth: problem {one!r} is of no synthetic family; where it goes wrong is not known")
        numbers.setdefault((family, part), []).append(int(number))
    ranges = ((*key, max(some) - min(some) + 1, min(some)) for key, some in sorted(numbers.items()))
    return {problem.id: problem for one in ranges for problem in load(*one) if problem.id in ids}


def known_sets(run: Run) -> list[str]:
    """The synthetic test families of which the run has samples of the policy."""
    names = (name for name in run.profile.problems.test if name in FAMILIES)
    tables = {name: f"sample/{run.policy}/{name}.parquet" for name in names}
    return [name for name, table in tables.items() if any((f / table).exists() for f in (run.folder, run.base))]


def label_methods(run: Run) -> list[str]:
    """The splitting methods of which the run has labels of the policy, with hard labels."""
    found = {path.stem for folder in (run.folder, run.base) for path in folder.glob(f"rollout/{run.policy}/*.parquet")}
    return [method for method in ("adaptive", "line") if method in found]


def show(one: Solution) -> str:
    """A solution with its departure marked by ⟦."""
    if one.departs is None:
        return one.text
    start = int(one.char_ends[one.departs - 1]) if one.departs else 0
    return f"{one.text[:start]}⟦{one.text[start:]}"


def solutions(run: Run, name: str, problems: Mapping[str, Problem], tokenizer) -> Iterator[Solution]:
    """The sampled solutions of a set, in the order of the table, with their departures."""
    spell = Speller(tokenizer)
    columns = ["problem", "solution", "ids", "confidences", "correct"]
    for batch in run.scan(f"sample/{run.policy}/{name}", columns):
        for row in batch.to_pylist():
            text, ends = spell(row["ids"])
            at = departure(problems[row["problem"]], text)
            token = None if at is None else min(int(np.searchsorted(ends, at, side="right")), len(ends) - 1)
            confidences = np.asarray(row["confidences"], np.float32)
            yield Solution(row["problem"], row["solution"], confidences, text, ends, row["correct"], token)


# --- where errors enter -----------------------------------------------------------------------------------------------


def entry_points(some: Sequence[Solution], tau: float, *, seed: int = 0) -> pd.DataFrame:
    """Step ends as signs of an error's entry: one row per way of placing them.

    Counted are the inner step ends up to a solution's departure, or all of a solution that never departs. Columns:
    method; rate, step ends per token; precision, the share of them that are departures; recall, the share of departing
    solutions whose departure is one; f1; within_k, the share of departures with a step end at most k tokens later; all
    but rate and f1 with …_low and …_high. ValueError: no solution departs.
    """
    rng = np.random.default_rng(seed)
    names = np.array([one.problem for one in some])
    if not any(one.departs is not None for one in some):
        raise ValueError("truth: no solution departs from the truth; there is nothing to find")
    counts = {method: np.zeros((len(some), 4 + len(WITHIN))) for method in METHODS}
    for i, one in enumerate(some):
        adaptive, line = split.adaptive(one.confidences, tau)[:-1], split.line(one.text, one.char_ends)[:-1]
        placed = [adaptive, line] + [_at_random(one.tokens, len(ends), rng) for ends in (adaptive, line)]
        for method, ends in zip(METHODS, placed, strict=True):
            counts[method][i] = _counts(one, ends - 1)
    rows = []
    for method, count in counts.items():
        by_problem = pd.DataFrame(count).groupby(names, sort=False).sum().to_numpy()
        tokens, ends, hits, wrong, *within = by_problem.T
        shares = {"precision": (hits, ends), "recall": (hits, wrong)}
        shares |= {f"within_{k}": (near, wrong) for k, near in zip(WITHIN, within, strict=True)}
        row = {"method": method, "rate": ends.sum() / tokens.sum()}
        for name, (top, bottom) in shares.items():
            value, low, high = s.bootstrap_ratio(top, bottom, resamples=_RESAMPLES, seed=seed)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"f1": float(s.harmonic(np.nan_to_num(row["precision"]), row["recall"]))})
    return pd.DataFrame(rows)


def _at_random(tokens: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(max(tokens - 1, 0))[:count]) + 1


def _counts(one: Solution, places: NDArray) -> list[float]:
    """Tokens, step ends and hits up to the departure; whether it departs; whether a step end is within k tokens."""
    if one.departs is None:
        return [one.tokens - 1, len(places), 0, 0, *[0] * len(WITHIN)]
    later = places[places >= one.departs]
    delay = (later[0] if len(later) else one.tokens - 1) - one.departs  # the text's end is a step end, too
    before = int((places <= one.departs).sum())
    return [one.departs + 1, before, int(one.departs in places), 1, *[float(delay <= k) for k in WITHIN]]


# --- labels -----------------------------------------------------------------------------------------------------------


def label_truth(run: Run, method: str, problems: Mapping[str, Problem]) -> pd.DataFrame:
    """The labelled steps with the truth, the last of each solution left out: problem, step (from 1), true, J, label.

    true: nothing up to the step's end departs. One row for each J that the waves of early stopping allow, up to the
    run's: a step that was solved in its first j rollouts has label 1 for every J from j on.
    """
    frame = run.read(f"rollout/{run.policy}/{method}").to_pandas()
    ends = run.read(f"split/{run.policy}/{method}", ["problem", "solution", "char_ends"]).to_pandas()
    ends = ends.set_index(["problem", "solution"])["char_ends"]
    texts = run.read(f"sample/{run.policy}/train", ["problem", "solution", "text"]).to_pandas()
    texts = texts.set_index(["problem", "solution"])["text"]
    most = int(frame["rollouts"].max())
    parts = []
    for key, steps in frame.groupby(["problem", "solution"], sort=False, observed=True):
        inner = steps.sort_values("step").iloc[:-1]
        at = departure(problems[key[0]], texts[key])
        parts.append(inner.assign(true=True if at is None else np.asarray(ends[key])[: len(inner)] <= at))
    inner = pd.concat(parts)
    inner["solved"] = np.where(inner["right"] > 0, inner["rollouts"], np.inf)
    sizes = [j for j in (1, 2, 4, 8, 16, 32) if j <= most]
    columns = ["problem", "step", "true", "J", "label"]
    rows = [inner.assign(J=j, label=inner["solved"] <= j, step=inner["step"] + 1)[columns] for j in sizes]
    return pd.concat(rows, ignore_index=True)


def disagreement(labels: pd.DataFrame, by: Sequence[str] = ("J",), most: int = 8, *, seed: int = 0) -> pd.DataFrame:
    """How often hard labels disagree with the truth, by J, by step, or both (`most` and later steps are one).

    Columns: those of `by`; steps; missed, the share of true steps with label 0 (the policy seldom goes on well);
    forgiven, the share of departed ones with label 1 (a later error makes up for it, or the rollout corrects it);
    wrong, the share of all steps in either way; each with …_low and …_high.
    """
    labels = labels.assign(step=labels["step"].clip(upper=most))
    miss, forgive = labels["true"] & ~labels["label"], ~labels["true"] & labels["label"]
    labels = labels.assign(miss=miss, forgive=forgive, either=miss | forgive, departed=~labels["true"], all=True)
    rows = []
    for key, group in labels.groupby(list(by)):
        sums = group.groupby("problem")[["miss", "forgive", "either", "true", "departed", "all"]].sum()
        row = dict(zip(by, key, strict=True)) | {"steps": len(group)}
        for name, top, bottom in (
            ("missed", "miss", "true"),
            ("forgiven", "forgive", "departed"),
            ("wrong", "either", "all"),
        ):
            value, low, high = s.bootstrap_ratio(sums[top], sums[bottom], resamples=_RESAMPLES, seed=seed)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


# --- the first error, and calibration ---------------------------------------------------------------------------------


def scored_steps(run: Run, prm: str, name: str, some: Sequence[Solution], tau: float) -> pd.DataFrame:
    """One row per solution: problem, scores (K,), confidences (K,) at the step ends, correct, and error, the number of
    the step in which it departs (from 0; −1: it does not). prm: its scores at adaptive step ends.
    """
    table = run.read(f"best_of_n/{prm}/{run.policy}-{name}{_AT}", ["problem", "solution", "scores"]).to_pandas()
    scores = table.set_index(["problem", "solution"])["scores"]
    rows = []
    for one in some:
        ends = split.adaptive(one.confidences, tau)
        given = np.asarray(scores[one.problem, one.solution], float)
        if len(given) != len(ends):
            raise ValueError(
                f"truth: {prm} has {len(given)} scores of solution {one.solution} of problem {one.problem!r}, which "
                f"has {len(ends)} adaptive steps; expected one each"
            )
        error = -1 if one.departs is None else int(np.searchsorted(ends, one.departs, side="right"))
        rows.append((one.problem, given, one.confidences[ends - 1], one.correct, error))
    return pd.DataFrame(rows, columns=["problem", "scores", "confidences", "correct", "error"])


def first_below(scores: Sequence[NDArray], cut: float) -> NDArray[np.int64]:
    """(S,) the earliest step scored below the cut, −1 where none is: the error that a reward model claims."""
    counts = np.array([len(row) for row in scores])
    starts = np.cumsum(counts) - counts
    number = np.arange(counts.sum()) - np.repeat(starts, counts)
    never = counts.max()
    first = np.minimum.reduceat(np.where(np.concatenate(scores) < cut, number, never), starts)
    return np.where(first < never, first, -1)


def best_cut(frame: pd.DataFrame, column: str = "scores") -> float:
    """The cut with the highest F1 on these (validation) solutions."""
    return float(max(CUTS, key=lambda cut: _f1(_found(frame, column, cut).sum(0))[2]))


def find_errors(frame: pd.DataFrame, cut: float, column: str = "scores", *, seed: int = 0) -> dict[str, float]:
    """ProcessBench's F1, the harmonic mean of two accuracies: of solutions that depart (the very step must be found),
    and of those that do not (none may be claimed). Keys: found, unclaimed, f1, f1_low, f1_high.
    """
    sums = _found(frame, column, cut)
    found, unclaimed, f1 = _f1(sums.sum(0))
    drawn = np.concatenate([_f1(w @ sums)[2] for w in s.resampling_weights(len(sums), _RESAMPLES, seed)])
    low, high = s.percentiles(drawn)
    return {
        "found": float(found),
        "unclaimed": float(unclaimed),
        "f1": float(f1),
        "f1_low": float(low),
        "f1_high": float(high),
    }


def _found(frame: pd.DataFrame, column: str, cut: float) -> NDArray[np.float64]:
    """(P, 4): departing solutions whose step is found, departing ones, others without a claim, others."""
    claimed, error = first_below(frame[column].to_list(), cut), frame["error"].to_numpy()
    departs = error >= 0
    counts = np.stack([departs & (claimed == error), departs, ~departs & (claimed < 0), ~departs], 1)
    return pd.DataFrame(counts.astype(float)).groupby(frame["problem"].to_numpy(), sort=False).sum().to_numpy()


def _f1(sums: NDArray) -> tuple:
    """Both accuracies and their harmonic mean from summed counts (..., 4); an accuracy of nothing counts as 0."""
    with np.errstate(invalid="ignore"):
        found, unclaimed = np.nan_to_num(sums[..., 0] / sums[..., 1]), np.nan_to_num(sums[..., 2] / sums[..., 3])
    return found, unclaimed, s.harmonic(found, unclaimed)


def calibration(frame: pd.DataFrame, bins: int = 10, *, seed: int = 0) -> tuple[s.Reliability, dict[str, float]]:
    """Do step scores mean what they say? Against "nothing departed so far": the reliability curve, and ece, brier,
    brier_low, brier_high and brier_base, that of always saying the base rate.
    """
    steps = [len(row) for row in frame["scores"]]
    scores = np.concatenate(frame["scores"].to_list())
    number = np.concatenate([np.arange(n) for n in steps])
    error = np.repeat(frame["error"].to_numpy(), steps)
    true = ((error < 0) | (number < error)).astype(float)
    curve = s.reliability(scores, true, bins)
    problem = np.repeat(frame["problem"].to_numpy(), steps)
    squares = pd.DataFrame({"square": s.brier(scores, true), "one": 1.0}).groupby(problem, sort=False).sum()
    value, low, high = s.bootstrap_ratio(squares["square"], squares["one"], resamples=_RESAMPLES, seed=seed)
    base = float(true.mean())
    found = {"ece": curve.error, "brier": float(value), "brier_low": float(low), "brier_high": float(high)}
    return curve, found | {"brier_base": base * (1 - base)}


def scored_by(run: Run, name: str) -> list[str]:
    """The reward models that rated the policy's validation and `name` candidates at decision tokens: those that start
    from it.
    """
    found = set()
    for folder in (run.folder, run.base):
        for path in folder.glob(f"best_of_n/*/{run.policy}-{name}{_AT}.parquet"):
            if (path.parent / f"{run.policy}-validation{_AT}.parquet").exists():
                found.add(path.parent.name)
    return sorted(found)


# --- guided decoding --------------------------------------------------------------------------------------------------

INTERVENTIONS = {
    "put right": "greedy decoding departs there, guided decoding does not",
    "led astray": "guided decoding departs there, greedy decoding does not",
    "one error for another": "both depart there",
    "too late": "what both had written had departed already",
    "another wording": "neither departs there",
    "none": "the two texts are equal",
}


def interventions(run: Run, prm: str, name: str, trigger: float, problems: Mapping[str, Problem]) -> pd.DataFrame:
    """The first token at which guided decoding left the greedy text, by problem: problem, kind, guided and greedy
    (right or wrong in the end). Later ones stand in another text, which greedy decoding never wrote.
    """
    frame = run.read(f"tvd/{prm}/{run.policy}-{name}", ["problem", "trigger", "text", "correct"]).to_pandas()
    frame = frame[np.isclose(frame["trigger"], trigger)]
    texts = run.read(f"sample/{run.policy}/{name}-greedy", ["problem", "text"]).to_pydict()
    greedy, right = dict(zip(texts["problem"], texts["text"], strict=True)), greedy_verdicts(run, name)
    rows = [
        (
            row.problem,
            intervention(problems[row.problem], row.text, greedy[row.problem]),
            row.correct,
            right[row.problem],
        )
        for row in frame.itertuples()
    ]
    return pd.DataFrame(rows, columns=["problem", "kind", "guided", "greedy"])


def intervention(problem: Problem, guided: str, greedy: str) -> str:
    """Which of `INTERVENTIONS` the first difference of two texts is."""
    if guided == greedy:
        return "none"
    pairs = enumerate(zip(guided, greedy, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(guided), len(greedy)))
    ours, theirs = (len(text) + 1 if d is None else d for text, d in
                    ((text, departure(problem, text)) for text in (guided, greedy)))  # fmt: skip
    if ours < at and theirs < at:
        return "too late"
    departs = ours <= at, theirs <= at
    return {(False, True): "put right", (True, False): "led astray", (True, True): "one error for another"}.get(
        departs, "another wording"
    )


def intervention_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Counts and shares (Wilson intervals) of each kind, and how many of them guided and greedy decoding have right."""
    rows = []
    for kind in INTERVENTIONS:
        some = frame[frame["kind"] == kind]
        share, low, high = s.wilson(len(some), len(frame))
        counts = {"problems": len(some), "share": share, "low": low, "high": high}
        rows.append(
            {"kind": kind} | counts | {"guided": int(some["guided"].sum()), "greedy": int(some["greedy"].sum())}
        )
    return pd.DataFrame(rows)
