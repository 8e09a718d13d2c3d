"""Outcomes: how often a run solves each test problem, in each way that the study compares.

The ways are greedy decoding, a single sample, Best-of-N, and guided decoding at the trigger that was chosen on
validation problems. All functions raise MissingArtifact where the run lacks a table. Axes: R trainings of one reward
model (one row where there is no reward model), P problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from asprm.results import selection
from asprm.results.candidates import candidates
from asprm.run import names
from asprm.run.open import Run
from asprm.statistics import Floats

OWN, RANDOM = "own steps", "random"
LINE_BREAK = "line break"
POSITIONS = {OWN: names.OWN, "confidence": names.CONFIDENCE, LINE_BREAK: names.LINE}
"""Where candidates are rated; beside these RANDOM, the mean over several draws. OWN: where steps end in the data that
the reward model learned from."""


@dataclass(frozen=True)
class Outcomes:
    """Shares of right outcomes in [0, 1]: 0 or 1 for a single trial, else a mean over subsets, samples or positions."""

    problems: tuple[str, ...]  # (P,)
    values: Floats  # (R, P)
    artifact: str  # the table that they come from, the first if there are several
    greedy: bool = False  # whether the texts are greedy decoding's, as where guided decoding changes no token
    broken: bool = False  # whether a reward model chose, and was right less often than a random candidate

    @property
    def mean(self) -> pd.Series:
        """(P,) by problem, over the trainings."""
        return pd.Series(self.values.mean(0), list(self.problems))

    def ordered(self, problems: Sequence[str]) -> Floats:
        """(R, P) the values in this order of the same problems."""
        place = {problem: i for i, problem in enumerate(self.problems)}
        return self.values[:, [place[problem] for problem in problems]]


def greedy(run: Run, policy: str, problems: str) -> Outcomes:
    """Which problems of the set `problems` greedy decoding solves."""
    name = names.greedy_samples(policy, problems)
    frame = run.read(name, ["problem", "correct"]).to_pandas()
    return replace(_stacked([frame.set_index("problem")["correct"].astype(float)], name), greedy=True)


def single_sample(run: Run, policy: str, problems: str) -> Outcomes:
    """How often one sampled solution is right."""
    name = names.samples(policy, problems)
    frame = run.read(name, ["problem", "correct"]).to_pandas()
    return _stacked([frame.groupby("problem", sort=False)["correct"].mean()], name)


def best_of_n(run: Run, prm: str, policy: str, problems: str, position: str = OWN) -> Outcomes:
    """How often the best-scored of all N candidates is right; one row per training of the reward model `prm`.

    Several candidates with the highest score share the choice. position: one of POSITIONS, or RANDOM.
    """
    draws = range(run.profile.best_of_n.random)
    suffixes = [names.random_position(k) for k in draws] if position == RANDOM else [POSITIONS[position]]
    # The profile may not know the reward model. Reading its table then says that the run lacks it.
    trainings = run.profile.trainings(prm, policy) if prm in run.profile.reward_models else [prm]
    rows, random = [], 0.0
    for training in trainings:
        chosen = [_best(run, names.scores(training, policy, problems, suffix)) for suffix in suffixes]
        rows.append(pd.concat([best for best, _ in chosen], axis=1).mean(axis=1))
        random = chosen[0][1]
    stacked = _stacked(rows, names.scores(prm, policy, problems, suffixes[0]))
    return replace(stacked, broken=float(stacked.values.mean()) < random)


def guided(run: Run, prm: str, policy: str, problems: str) -> Outcomes:
    """Which problems guided decoding solves at the chosen trigger. Only the first training of `prm` guides: one row."""
    name = names.guided(prm, policy, problems)
    frame = run.read(name, ["problem", "trigger", "correct", "changed"]).to_pandas()
    rows = frame[frame["trigger"] == chosen_trigger(run, prm, policy)]
    stacked = _stacked([rows.set_index("problem")["correct"].astype(float)], name)
    return replace(stacked, greedy=not rows["changed"].any())


def chosen_trigger(run: Run, prm: str, policy: str) -> float:
    """The trigger of guided decoding that was chosen on validation problems."""
    return float(run.read_json(names.trigger(prm, policy))["trigger"])


def clusters(templates: Mapping[str, str], problems: Iterable[str]) -> list[str] | None:
    """(P,) what goes together: the template of each problem, or the problem where it has none.

    templates: by problem. None: no problem has a template, so that problems are independent.
    """
    problems = list(problems)
    if not any(problem in templates for problem in problems):
        return None
    return [templates.get(problem, problem) for problem in problems]


def _best(run: Run, name: str) -> tuple[pd.Series, float]:
    """(P,) how often the best-scored of all candidates in a table is right, by problem; and how often all are."""
    rated = candidates(run.read(name))
    scores = rated.scores(run.profile.best_of_n.aggregate)
    best = selection.best_of_n(scores, rated.correct, rated.correct.shape[1])
    return pd.Series(best, rated.problems), float(rated.correct.mean())


def _stacked(rows: Sequence[pd.Series], artifact: str) -> Outcomes:
    """Rows (P,) by problem as one table, in the order of the first. ValueError: they have different problems."""
    problems = rows[0].index
    for row in rows[1:]:
        if set(row.index) != set(problems):
            raise ValueError(f"the trainings of {artifact} were run on different problems; make their tables anew")
    values = np.stack([row.loc[problems].to_numpy(float) for row in rows])
    return Outcomes(tuple(problems), values, artifact)
