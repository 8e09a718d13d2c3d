"""Measures: what a run has for one of the paper's numbers, problem by problem.

Reads tables, computes nothing but Best-of-N. A reward model that was trained with several seeds (`ASPRM-M`,
`ASPRM-M@1`, …) has one row of outcomes per seed. Axes: R seeds, P problems.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import count, takewhile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.models.load import located
from asprm.problems.load import PAPERS
from asprm.problems.sets import templates
from asprm.results import selection
from asprm.results.candidates import candidates
from asprm.results.paper import Measure, Number
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.run.profile import Profile, load_profile

COLUMNS = {"share", "decision_share", "line_share"}  # of the tables of token types; they have intervals, counts do not


class NotRun(Exception):
    """The run lacks the table that a claim needs; its text names the table."""


@dataclass(frozen=True)
class Outcomes:
    """Shares of right outcomes in [0, 1] by seed and problem: one trial, or a mean over subsets or positions."""

    problems: tuple[str, ...]  # (P,)
    values: NDArray[np.float64]  # (R, P)
    artifact: str  # the table that they come from, the first if there are several


def _hub_name(profile: Profile, policy: str) -> str | None:
    """What the policy is, whichever commit of it."""
    return located(profile.policies[policy].path)[0] if policy in profile.policies else None


class Measures:
    """The tables of a run, each read once."""

    def __init__(self, run: Run):
        self.run = run
        self._known: dict[Measure, Outcomes] = {}
        self._types: dict[str, pd.DataFrame] = {}

    def outcomes(self, measure: Measure) -> Outcomes:
        """Per-problem outcomes of a measure of kind greedy, single, bon or tvd. NotRun: a table is missing.

        A run that tests on the set of the paper's that a family stands for is asked about that one.
        """
        if measure not in self._known:
            papers = PAPERS.get(measure.set)
            tests = self.run.profile.problems.test
            asked = measure.model_copy(update={"set": papers}) if papers in tests else measure
            self._known[measure] = getattr(self, f"_{measure.kind}")(asked)
        return self._known[measure]

    @cached_property
    def _papers(self) -> Profile:
        return load_profile("paper")

    def other_level(self, number: Number) -> str:
        """Why this run's accuracy is another quantity than the paper's number; "" if it is the same.

        It is the same for the paper's policies, on all problems of its test set, from as many candidates; a baseline
        that was made here is another.
        """
        measure, profile = number.measure, self.run.profile
        model = profile.reward_models.get(measure.prm)
        policies = {measure.policy, model.base if model and model.base else measure.policy}
        if others := [name for name in sorted(policies) if _hub_name(profile, name) != _hub_name(self._papers, name)]:
            return f"a level of other policies than the paper's ({', '.join(others)})"
        problems = len(self.outcomes(measure).problems)
        if PAPERS.get(measure.set) not in profile.problems.test or problems != number.n:
            return f"a level on {problems} problems, not on the paper's {number.n}"
        if measure.kind == "bon" and max(profile.best_of_n.n) != max(self._papers.best_of_n.n):
            return f"the best of {max(profile.best_of_n.n)}, not of {max(self._papers.best_of_n.n)}"
        if model and any(Method.parse(table.partition("/")[2]).kind == "line" for table in model.data):
            return "a level of a baseline that was made here"
        return ""

    def token_share(self, measure: Measure, row: str) -> tuple[s.Interval, str]:
        """A row of a table of token types in one column, and the table's name; a count's interval is the count."""
        suffix = "-place" if measure.kind == "comments" else ""
        name = f"tokens/{measure.policy}{suffix}"
        if name not in self._types:
            frame = self._frame(name)
            self._types[name] = frame.set_index(frame.columns[0])  # type or place
        frame = self._types[name]
        column = measure.column
        if column not in frame:
            raise NotRun(f"no column '{column}' in {name}")
        if row == "Total":
            value = float(frame[column].sum())
        elif row in frame.index:
            value = float(frame.loc[row, column])
        else:
            raise NotRun(f"no type '{row}' in {name}")
        if column not in COLUMNS or f"{column}_low" not in frame:
            return s.Interval(value, value, value), name
        return s.Interval(value, *(float(frame.loc[row, f"{column}_{end}"]) for end in ("low", "high"))), name

    def type_share(self, number: Number) -> tuple[s.Interval, str]:
        """`token_share` for one of the paper's numbers, whose last row label is the type."""
        return self.token_share(number.measure, next(label for label in reversed(number.row) if label))

    def clusters(self, problems: Iterable[str]) -> list[str]:
        """What is resampled together: the template of a problem that has some of one template beside it, as
        GSM-Symbolic's have, else the problem.
        """
        return [self._templates.get(problem, problem) for problem in problems]

    def exists(self, name: str) -> bool:
        return any((folder / f"{name}.parquet").exists() for folder in (self.run.folder, self.run.base))

    def require(self, *names: str) -> None:
        """NotRun: one of the tables is missing."""
        for name in names:
            if not self.exists(name):
                raise NotRun(f"no {name}")

    def seeds(self, prm: str, table: str) -> list[str]:
        """Names of the reward model's seeds for which `table` (with {prm}) exists. NotRun: not even the first."""
        self.require(table.format(prm=prm))
        return [prm, *takewhile(lambda p: self.exists(table.format(prm=p)), (f"{prm}@{k}" for k in count(1)))]

    def _greedy(self, m: Measure) -> Outcomes:
        name = f"sample/{m.policy}/{m.set}-greedy"
        frame = self._frame(name, ["problem", "correct"])
        return Outcomes(tuple(frame["problem"]), frame["correct"].to_numpy(float)[None], name)

    def _single(self, m: Measure) -> Outcomes:
        name = f"sample/{m.policy}/{m.set}"
        mean = self._frame(name, ["problem", "correct"]).groupby("problem", sort=False)["correct"].mean()
        return Outcomes(tuple(mean.index), mean.to_numpy(float)[None], name)

    def _tvd(self, m: Measure) -> Outcomes:
        table = f"tvd/{{prm}}/{m.policy}-{m.set}"
        rows = [self._guided(prm, m) for prm in self.seeds(m.prm, table)]
        return _stacked(rows, table.format(prm=m.prm))

    def _guided(self, prm: str, m: Measure) -> pd.Series:
        frame = self._frame(f"tvd/{prm}/{m.policy}-{m.set}", ["problem", "trigger", "correct"])
        chosen = frame[np.isclose(frame["trigger"], self.trigger(prm, m.policy))]
        return chosen.set_index("problem")["correct"].astype(float)

    def trigger(self, prm: str, policy: str) -> float:
        """The trigger of guided decoding that was chosen on validation problems. NotRun: none was."""
        name = f"tvd/{prm}/{policy}"
        if any((folder / f"{name}.json").exists() for folder in (self.run.folder, self.run.base)):
            return float(self.run.read_json(name)["trigger"])
        validation = self._frame(f"{name}-validation", ["trigger", "correct"])
        return float(validation.groupby("trigger")["correct"].mean().idxmax())

    def _bon(self, m: Measure) -> Outcomes:
        table = f"best_of_n/{{prm}}/{m.policy}-{m.set}"
        if m.positions == "line":
            table += "@line"
        elif m.positions == "random":
            table += "@random0"
        rows = []
        for prm in self.seeds(m.prm, table):
            first = table.format(prm=prm)
            names = [first]
            if m.positions == "random":
                names += takewhile(self.exists, (f"{first[:-1]}{k}" for k in count(1)))
            rows.append(pd.concat([self._best(name) for name in names], axis=1).mean(axis=1))
        return _stacked(rows, table.format(prm=m.prm))

    def _best(self, name: str) -> pd.Series:
        """How often the best-scored of the largest N candidates is right, by problem."""
        profile = self.run.profile
        found = candidates(self._frame(name))
        total = found.correct.shape[1]
        n = max(n for n in (*profile.best_of_n.n, 1) if n <= total)
        values = selection.best_of_n(found.scores(profile.best_of_n.aggregate), found.correct, n)
        return pd.Series(values, found.problems)

    def _frame(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        self.require(name)
        return self.run.read(name, columns).to_pandas()

    @cached_property
    def _templates(self) -> dict[str, str]:
        profile = self.run.profile
        sets = (templates(profile, name) for name in profile.problems.test)
        return {problem: template for some in sets for problem, template in (some or {}).items()}


def _stacked(rows: list[pd.Series], artifact: str) -> Outcomes:
    """Seeds (R) by problem, in the order of the first. ValueError: they have other problems."""
    names = rows[0].index
    for row in rows[1:]:
        if set(row.index) != set(names):
            raise ValueError(f"claims: the seeds of {artifact} were run on different problems; make them anew")
    return Outcomes(tuple(names), np.stack([row.loc[names].to_numpy(float) for row in rows]), artifact)
