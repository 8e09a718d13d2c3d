"""Measures: this run's value of what `data/paper/claims.yml` asks for.

A measure names a policy, a reward model, a test set and a way to solve problems, or a column of the tables of token
types. Where the run lacks a table, reading raises MissingArtifact.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import pandas as pd

from asprm import statistics as s
from asprm.models.load import located
from asprm.problems.load import PAPERS
from asprm.problems.sets import templates
from asprm.results import outcomes
from asprm.results.outcomes import LINE_BREAK, OWN, RANDOM, Outcomes
from asprm.results.paper import Measure, Number
from asprm.run import names
from asprm.run.open import Run
from asprm.run.profile import Profile, load_profile

POSITIONS_OF_PAPER = {None: OWN, "line": LINE_BREAK, "random": RANDOM}
"""The positions of a measure, as `asprm.results.outcomes` calls them."""


class NotRun(Exception):
    """The run has no value for a claim; the text says why."""


class Measures:
    """The measures of one run. Each is computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._outcomes: dict[Measure, Outcomes] = {}
        self._types: dict[str, pd.DataFrame] = {}

    def outcomes(self, measure: Measure) -> Outcomes:
        """Outcomes by problem for a measure of kind greedy, single, bon or tvd.

        The measure names a family of this study; a run that tests on the paper's own set instead is asked for that one.
        """
        if measure not in self._outcomes:
            self._outcomes[measure] = self._read(measure)
        return self._outcomes[measure]

    def _read(self, measure: Measure) -> Outcomes:
        run, policy = self.run, self.run.profile.plays(measure.policy)
        assert measure.set is not None  # as `Measure` checks, and prm below
        papers = PAPERS.get(measure.set)
        problems = papers if papers in run.profile.problems.test else measure.set
        if measure.kind == "greedy":
            return outcomes.greedy(run, policy, problems)
        if measure.kind == "single":
            return outcomes.single_sample(run, policy, problems)
        assert measure.prm is not None
        prm = run.profile.plays(measure.prm)
        if measure.kind == "tvd":
            return outcomes.guided(run, prm, policy, problems)
        return outcomes.best_of_n(run, prm, policy, problems, POSITIONS_OF_PAPER[measure.positions])

    def other_level(self, number: Number) -> str:
        """Why this run's accuracy is another quantity than the paper's number; "" if it is the same.

        It is the same for the paper's policies, on all problems of the paper's test set, from as many candidates, and
        not for a baseline: the paper takes a published one, this study trains its own.
        """
        measure, profile = number.measure, self.run.profile
        assert measure is not None
        assert measure.set is not None
        model = profile.reward_models.get(profile.plays(measure.prm)) if measure.prm else None
        papers = self._papers.reward_models.get(measure.prm) if measure.prm else None
        pairs = {(measure.policy, profile.plays(measure.policy))}
        if model and model.base and papers and papers.base:
            pairs.add((papers.base, model.base))
        if others := sorted(
            {ours for name, ours in pairs if _hub_name(profile, ours) != _hub_name(self._papers, name)}
        ):
            return f"a level of other policies than the paper's ({', '.join(others)})"
        problems = len(self.outcomes(measure).problems)
        if PAPERS.get(measure.set) not in profile.problems.test or problems != number.n:
            return f"a level on {problems} problems, not on the paper's {number.n}"
        n, papers_n = profile.sample.candidates, self._papers.sample.candidates
        if measure.kind == "bon" and n != papers_n:
            return f"the best of {n}, not of {papers_n}"
        if model and any(table.method.kind == "line" for table in model.tables):
            return "a level of a baseline that was made here"
        return ""

    @cached_property
    def _papers(self) -> Profile:
        return load_profile("paper")

    def token_share(self, measure: Measure, row: str) -> tuple[s.Interval, str]:
        """One row of a table of token types in the measure's column, and the table's name.

        row: a type of token, or "Total". A count has itself as its interval. NotRun: no such column or row.
        """
        of_policy = names.token_places if measure.kind == "comments" else names.token_types
        name = of_policy(self.run.profile.plays(measure.policy))
        if name not in self._types:
            frame = self.run.read(name).to_pandas()
            self._types[name] = frame.set_index(frame.columns[0])  # type or place
        frame = self._types[name]
        if measure.column not in frame:
            raise NotRun(f"no column '{measure.column}' in {name}")
        column = frame[measure.column]
        if row != "Total" and row not in frame.index:
            raise NotRun(f"no type '{row}' in {name}")
        value = float(column.to_numpy().sum() if row == "Total" else column.at[row])
        ends = [f"{measure.column}_low", f"{measure.column}_high"]
        if row == "Total" or ends[0] not in frame:
            return s.Interval(value, value, value), name
        return s.Interval(value, *(float(frame[end].at[row]) for end in ends)), name

    def type_share(self, number: Number) -> tuple[s.Interval, str]:
        """`token_share` for one of the paper's numbers, whose last row label is the type."""
        assert number.measure is not None
        return self.token_share(number.measure, next(label for label in reversed(number.row) if label))

    def clusters(self, problems: Iterable[str]) -> list[str] | None:
        """(P,) what goes together (`asprm.results.outcomes.clusters`); None: problems are independent."""
        return outcomes.clusters(self._templates, problems)

    @cached_property
    def _templates(self) -> dict[str, str]:
        profile = self.run.profile
        return {
            problem: template
            for name in profile.problems.test
            for problem, template in (templates(profile, name) or {}).items()
        }


def _hub_name(profile: Profile, policy: str) -> str | None:
    """The policy's hub name without its commit; None: the profile has no such policy."""
    return located(profile.policies[policy].path)[0] if policy in profile.policies else None
