"""Story: the solutions of a run that the picture of the pipeline shows (`asprm.site.picture`), from sampling to use.

All of it is read from the run's tables, and chosen by fixed rules:

- a training solution with labels: finished and short enough to be drawn, of 3 or 4 steps of at least 3 tokens, whose
  labels are not all equal;
- the candidates with the best and the worst score of a problem of the first test set: the best one right, the worst
  one wrong, both of 2 to 4 steps, the best one finished and short enough;
- the decision that stage tvd wrote for the same test set.

The first row that breaks the fewest rules is taken, in the order of importance that `misfits` gives them.
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
from asprm.run import names
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.split import cut, split_table
from asprm.threshold import tau_of
from asprm.tvd import Decision

LINES, LINE = 5, 38  # lines of a solution that can be drawn, and characters of a line
BINS = 20  # of the histogram


@dataclass(frozen=True)
class Solution:
    """A solution of T tokens in K steps."""

    problem: str
    prompt: str
    number: int  # among the solutions of the problem
    correct: bool
    tokens: tuple[str, ...]  # (T,) texts, "" for the end of the text
    confidences: tuple[float, ...]  # (T,)
    ends: tuple[int, ...]  # (K,) exclusive
    scores: tuple[float, ...] = ()  # (K,) by the reward model; of candidates only

    @property
    def text(self) -> str:
        """The whole solution."""
        return "".join(self.tokens)


@dataclass(frozen=True)
class Label:
    """The label of a step."""

    right: int  # rollouts from the end of the step that are right; for the last step whether the solution is
    run: int  # rollouts that were run
    value: float


@dataclass(frozen=True)
class Story:
    """The data of the picture."""

    profile: str
    policy: str
    prm: str
    tau: float
    histogram: tuple[int, ...]  # training tokens by confidence, in `BINS` equal bins of [0, 1]
    below: int  # training tokens below tau
    solution: Solution  # of a training problem
    labels: tuple[Label, ...]  # (K,) of its steps
    rollouts: int  # J
    estimate: str  # how rollouts become a label: hard, soft or entropy
    how: str  # how step scores become the score of a candidate
    candidates: int  # N
    best: Solution  # candidate of a test problem
    worst: Solution  # candidate of the same problem
    decision: Decision | None  # of guided decoding

    @property
    def total(self) -> int:
        """Number of training tokens."""
        return sum(self.histogram)


def story(run: Run) -> Story:
    """The story of the run's policy and reward model. MissingArtifact: a stage has not run yet."""
    method = Method.parse(run.method)
    tau = tau_of(run.read_json(names.threshold(run.policy)), method.share)
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
        return Solution(
            row["problem"],
            prompt,
            row["solution"],
            row["correct"],
            tuple(cut(text, char_ends)),
            tuple(row["confidences"]),
            tuple(ends),
            tuple(scores),
        )

    row, labels = _labelled(run)
    best, worst = _candidates(run)
    counts, below = _confidences(run, tau)
    decision = run.read_json(names.decision(run.prm, run.policy))
    train, test = (
        {problem.id: problem.prompt for problem in problem_set(run.profile, name, run.domain)}
        for name in ("train", _test(run))
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
        decision=Decision(**decision) if decision else None,
    )


def fits(text: str) -> bool:
    """Whether all of a solution can be drawn."""
    return sum(len(textwrap.wrap(line, LINE)) or 1 for line in text.split("\n")) <= LINES


def _test(run: Run) -> str:
    return test_sets(run.profile, run.domain)[0]


def _confidences(run: Run, tau: float) -> tuple[np.ndarray, int]:
    """Training tokens by confidence (BINS,), and the number of those below tau."""
    counts, below = np.zeros(BINS, int), 0
    for batch in run.scan(names.samples(run.policy, "train"), ["confidences"]):
        values = batch["confidences"].flatten().to_numpy()
        counts += np.histogram(values, BINS, (0, 1))[0]
        below += int((values < tau).sum())
    return counts, below


def _labelled(run: Run) -> tuple[dict[str, Any], tuple[Label, ...]]:
    """The training solution to show, a row of the table of samples, and the labels of its steps."""
    steps = defaultdict(list)
    for row in _rows(run, names.labels(run.policy, run.method)):
        steps[row["problem"], row["solution"]].append(row)

    def misfits(row: Mapping[str, Any]) -> tuple[bool, ...]:
        of_solution = steps[row["problem"], row["solution"]]
        equal_labels = len({step["label"] for step in of_solution}) == 1
        lengths = np.diff([step["end"] for step in of_solution], prepend=0)
        bad_steps = not 3 <= len(of_solution) <= 4 or min(lengths) < 3
        return equal_labels, bad_steps, not (row["finished"] and fits(row["text"]))

    samples = _rows(run, names.samples(run.policy, "train"))
    chosen = min((row for row in samples if (row["problem"], row["solution"]) in steps), key=misfits)
    of_chosen = steps[chosen["problem"], chosen["solution"]]
    return chosen, tuple(Label(step["right"], step["rollouts"], step["label"]) for step in of_chosen)


def _candidates(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The candidates with the best and the worst score, rows of the table of samples with their `scores`."""
    how = run.profile.best_of_n.aggregate
    scored = _rows(run, names.scores(run.prm, run.policy, _test(run)), ["problem", "solution", "scores"])
    scores = {(row["problem"], row["solution"]): row["scores"] for row in scored}
    groups = defaultdict(list)
    for row in _rows(run, names.samples(run.policy, _test(run))):
        groups[row["problem"]].append(row | {"scores": scores[row["problem"], row["solution"]]})

    def pair(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        ranked = [aggregate(row["scores"], how) for row in rows]
        return rows[int(np.argmax(ranked))], rows[int(np.argmin(ranked))]

    def misfits(candidates: tuple[dict[str, Any], dict[str, Any]]) -> tuple[bool, ...]:
        best, worst = candidates
        few_steps = all(2 <= len(row["scores"]) <= 4 for row in candidates)
        return not best["correct"] or worst["correct"], not few_steps, not (best["finished"] and fits(best["text"]))

    return min(map(pair, groups.values()), key=misfits)


def _rows(run: Run, name: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for batch in run.scan(name, columns):
        yield from batch.to_pylist()
