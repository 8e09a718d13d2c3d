"""Story: real solutions of a run on their way through its stages, for the picture of the pipeline (`asprm.site.picture`).

Everything is read from the run's tables. What is shown is picked by fixed rules; of several that fit, the first:

- of the training solutions with labels, one short enough to be drawn, with 3 or 4 steps, of 3 tokens or more, whose
  labels are not all alike;
- of the candidates of the first test set, the best and the worst scored ones of a problem where the one is right and
  the other wrong, both with 2 to 4 steps, the best one short enough;
- the decision that `asprm.tvd` keeps of the same test set.

Where no row fits a rule, the first that fits it best is taken.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.problems.sets import problem_set, test_sets
from asprm.reward.aggregates import aggregate
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.split import cut, split_table
from asprm.threshold import tau_of
from asprm.tvd import Decision

LINES, LINE = 5, 38  # what can be drawn of a solution: so many lines of so many characters
BINS = 20  # of the histogram


@dataclass(frozen=True)
class Solution:
    """A solution of T tokens in K steps. tokens: what each spells, "" for the end of the text; ends: exclusive.

    scores: (K,) by the reward model, of a candidate.
    """

    problem: str
    prompt: str
    number: int
    correct: bool
    tokens: tuple[str, ...]
    confidences: tuple[float, ...]
    ends: tuple[int, ...]
    scores: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True)
class Label:
    """The label of a step: `right` of the `run` rollouts from its end came right. Of the last step: the solution."""

    right: int
    run: int
    value: float


@dataclass(frozen=True)
class Story:
    """What the picture shows."""

    profile: str
    policy: str
    prm: str
    tau: float
    histogram: tuple[int, ...]  # training tokens by confidence, in `BINS` equal bins of [0, 1]
    below: int  # of them, those below tau
    solution: Solution  # of a training problem
    labels: tuple[Label, ...]  # of its steps
    rollouts: int  # J, the most that are run from a step's end
    estimate: str  # how they become a label
    how: str  # how a candidate's step scores become one
    candidates: int  # N
    best: Solution  # of a test problem
    worst: Solution
    decision: Decision | None

    @property
    def total(self) -> int:
        """How many training tokens there are."""
        return sum(self.histogram)


def story(run: Run) -> Story:
    """The story of the run's policy and reward model. MissingArtifact: a stage has not run yet."""
    method = Method.parse(run.method)
    tau = tau_of(run.read_json(f"threshold/{run.policy}"), method.share)
    tokenizer = load_tokenizer(run.policy_path())
    options = {"length": run.profile.split.length, "count": run.profile.split.count, "seed": run.seed}

    def solution(row: Mapping[str, Any], prompt: str, scores: Sequence[float] = ()) -> Solution:
        table = split_table(pa.Table.from_pylist([row]), method.kind, tokenizer, tau=tau, **options)
        [ends] = table["ends"].to_pylist()
        if scores and len(scores) != len(ends):
            raise ValueError(
                f"story: {row['problem']}, solution {row['solution']} has {len(ends)} steps and {len(scores)} scores; "
                f"were the candidates sampled anew?  rm -r {run.base / 'best_of_n'}"
            )
        text, char_ends = Speller(tokenizer)(row["ids"])
        names = row["problem"], prompt, row["solution"], row["correct"]
        return Solution(*names, tuple(cut(text, char_ends)), tuple(row["confidences"]), tuple(ends), tuple(scores))

    row, labels = _labelled(run)
    best, worst = _candidates(run)
    counts, below = _confidences(run, tau)
    kept = run.read_json(f"tvd/{run.prm}/{run.policy}-decision")
    train, test = (
        {one.id: one.prompt for one in problem_set(run.profile, name, run.domain)} for name in ("train", _test(run))
    )
    return Story(
        profile=run.profile.name,
        policy=run.policy,
        prm=run.prm,
        tau=tau,
        histogram=tuple(counts.tolist()),
        below=below,
        solution=solution(row, train[row["problem"]]),
        labels=labels,
        rollouts=run.profile.rollout.rollouts,
        estimate=method.estimate or run.profile.rollout.estimate,
        how=run.profile.best_of_n.aggregate,
        candidates=run.profile.sample.candidates,
        best=solution(best, test[best["problem"]], best["scores"]),
        worst=solution(worst, test[worst["problem"]], worst["scores"]),
        decision=kept and Decision(**kept),
    )


def fits(text: str) -> bool:
    """Whether a solution can be drawn whole."""
    return sum(len(textwrap.wrap(line, LINE)) or 1 for line in text.split("\n")) <= LINES


def _test(run: Run) -> str:
    return test_sets(run.profile, run.domain)[0]


def _confidences(run: Run, tau: float) -> tuple[np.ndarray, int]:
    """Training tokens by confidence (BINS,), and how many are below tau."""
    counts, below = np.zeros(BINS, int), 0
    for batch in run.scan(f"sample/{run.policy}/train", ["confidences"]):
        values = batch["confidences"].flatten().to_numpy()
        counts += np.histogram(values, BINS, (0, 1))[0]
        below += int((values < tau).sum())
    return counts, below


def _labelled(run: Run) -> tuple[dict[str, Any], tuple[Label, ...]]:
    """The training solution of the rule, as its row of the samples, and the labels of its steps."""
    steps = defaultdict(list)
    for row in _rows(run, f"rollout/{run.policy}/{run.method}"):
        steps[row["problem"], row["solution"]].append(row)

    def misfits(row: Mapping[str, Any]) -> tuple[bool, ...]:
        found = steps[row["problem"], row["solution"]]
        alike = len({step["label"] for step in found}) == 1
        lengths = np.diff([step["end"] for step in found], prepend=0)
        return alike, not 3 <= len(found) <= 4 or min(lengths) < 3, not (row["finished"] and fits(row["text"]))

    known = (row for row in _rows(run, f"sample/{run.policy}/train") if (row["problem"], row["solution"]) in steps)
    chosen = min(known, key=misfits)
    found = steps[chosen["problem"], chosen["solution"]]
    return chosen, tuple(Label(step["right"], step["rollouts"], step["label"]) for step in found)


def _candidates(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The best and the worst scored candidate of the rule, as rows of the samples with their `scores`."""
    name, how = f"{run.policy}/{_test(run)}", run.profile.best_of_n.aggregate
    scores = {
        (row["problem"], row["solution"]): row["scores"]
        for row in _rows(run, f"best_of_n/{run.prm}/{run.policy}-{_test(run)}", ["problem", "solution", "scores"])
    }
    groups = defaultdict(list)
    for row in _rows(run, f"sample/{name}"):
        groups[row["problem"]].append(row | {"scores": scores[row["problem"], row["solution"]]})

    def pair(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        ranked = [aggregate(row["scores"], how) for row in rows]
        return rows[int(np.argmax(ranked))], rows[int(np.argmin(ranked))]

    def misfits(found: tuple[dict[str, Any], dict[str, Any]]) -> tuple[bool, ...]:
        best, worst = found
        short = all(2 <= len(row["scores"]) <= 4 for row in found)
        return not best["correct"] or worst["correct"], not short, not (best["finished"] and fits(best["text"]))

    return min(map(pair, groups.values()), key=misfits)


def _rows(run: Run, name: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for batch in run.scan(name, columns):
        yield from batch.to_pylist()
