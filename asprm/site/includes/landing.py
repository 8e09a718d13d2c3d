"""Includes of the landing page: the outcome in three sentences, facts, the citation, and what a run can show."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from asprm import REPOSITORY
from asprm import statistics as s
from asprm.claims import directions, tally
from asprm.problems.families import FAMILIES
from asprm.problems.load import title
from asprm.results.format import points
from asprm.results.verdicts import BROKEN
from asprm.run import names
from asprm.run.manifests import manifests, seconds_of
from asprm.run.open import Run
from asprm.site import publish
from asprm.site.includes.provenance import commits
from asprm.site.includes.settings import size, trained_here
from asprm.site.includes.tables import code, duration, plain
from asprm.site.quantities import POINTS, quantities
from asprm.site.reference import QUANTITIES, references

PAPER_URL = "https://arxiv.org/abs/2502.13943"
_KEY = "adaptivestep"  # of the paper, in the bibliography
_STAGES = ("best_of_n", "tvd")


# --- the outcome ------------------------------------------------------------------------------------------------------


def outcome(run: Run) -> str:
    """Three sentences: what choosing gains, what guiding gains, and what became of the paper's directions.

    Each counts all policies and test sets of this run, then those of each reference run. A gain counts if its p,
    corrected by Holm over the sentence's comparisons, is below the profile's alpha. MissingArtifact: the run has not
    finished.
    """
    runs = [("", _own_gains(run), _own_tally(run))]
    for reference in references(run):
        every, ledger = reference.table(QUANTITIES), reference.table(names.LEDGER)
        gains = _gains(every, {(part, f"ASPRM-{part}") for part in reference.about["parts"]})
        runs.append((reference.name, gains, tally(ledger) if ledger is not None else None))
    alpha = run.profile.claims.alpha
    choosing = "Choosing among samples by the reward model that learned from AdaptiveStep's steps"
    guiding = "Decoding guided by the same reward model"
    sentences = [
        _sentence(choosing, "a random sample", [(name, gains["best_of_n"]) for name, gains, _ in runs], alpha),
        _sentence(guiding, "greedy decoding", [(name, gains["tvd"]) for name, gains, _ in runs], alpha),
        _of_claims([(name, counts) for name, _, counts in runs]),
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences) + "\n"


def _own_gains(run: Run) -> dict[str, pd.DataFrame]:
    profile = run.profile
    parts = {name: part for part, name in profile.cast.items()}
    own = {(parts.get(p, p), parts.get(profile.prm_of(p), profile.prm_of(p))) for p in profile.policies}
    stages = [quantities(run, stage, policy).assign(stage=stage) for stage in _STAGES for policy in profile.policies]
    return _gains(pd.concat(stages, ignore_index=True), own)


def _gains(every: pd.DataFrame | None, own: set[tuple[str, str]]) -> dict[str, pd.DataFrame]:
    """By stage, the gains of policies by their own reward models, one row for each test set.

    every: rows of quantities. own: (policy, reward model) in the paper's names.
    """
    if every is None:
        return {stage: pd.DataFrame() for stage in _STAGES}
    is_own = [pair in own for pair in zip(every["policy"], every["prm"], strict=True)]
    gains = every.loc[pd.Series(is_own, every.index, dtype=bool) & (every["unit"] == POINTS)]
    return {stage: gains.loc[gains["stage"] == stage] for stage in _STAGES}


def _own_tally(run: Run) -> dict[str, Any] | None:
    return run.read_json(names.TALLY) if run.has(names.TALLY) else None


def _sentence(doing: str, rival: str, runs: Sequence[tuple[str, pd.DataFrame]], alpha: float) -> str:
    """One sentence on the gains of all runs over the rival; the first run is this one."""
    (_, own), *others = runs
    if own.empty:
        return f"{doing} has not been run."
    better, worse, undecided = _counted(own, alpha)
    gains: list[float] = own["value"].dropna().tolist()
    text = (
        f"{doing} beats {rival} on **{better} of {len(own)}** pairs of policy and test set, loses on **{worse}**, and "
        f"cannot be told from it on **{undecided}**"
        + (f" (by {points(min(gains))} to {points(max(gains))} points)." if gains else ".")
    )
    if untested := len(own) - better - worse - undecided:
        text += f" On {untested} nothing could differ, since the reward model changed no token."
    told = [
        f"{b} of {len(rows)} better, {w} worse, {u} undecided in run {code(name)}"
        for name, rows in others
        if len(rows)
        for b, w, u in [_counted(rows, alpha)]
    ]
    return text + (f" Other runs: {'; '.join(told)}." if told else "")


def _counted(rows: pd.DataFrame, alpha: float) -> tuple[int, int, int]:
    """How many gains are above 0, below 0, and undecided, by Holm's p. What has no p was not tested."""
    tested = rows.loc[rows["p"].notna()]
    sure = s.holm(tested["p"].to_numpy(float)) < alpha
    better, worse = int((sure & (tested["value"] > 0)).sum()), int((sure & (tested["value"] < 0)).sum())
    return better, worse, len(tested) - better - worse


def _of_claims(runs: Iterable[tuple[str, dict[str, Any] | None]]) -> str:
    told = [(name, directions(counts)) for name, counts in runs if counts]
    parts = []
    for name, by in told:
        tested = sum(by[verdict] for verdict in ("reproduced", "opposite", "inconclusive", BROKEN))
        parts.append(
            f"{f'run {code(name)}' if name else 'this run'} could test {tested}, and finds **{by['reproduced']}** "
            f"reproduced, **{by['opposite']}** contradicted, **{by['inconclusive']}** undecided, and "
            f"**{by[BROKEN]}** wins over a reward model that chooses worse than chance"
        )
    if not parts:
        return "The paper's claims have not been compared with this run."
    return f"Of the directions that the paper states (this beats that), {'; '.join(parts)}."


# --- the box of facts -------------------------------------------------------------------------------------------------


def facts(run: Run) -> str:
    """Who solves what, how long it takes, the two commands, paper, source and licence, as a list of terms."""
    profile = run.profile
    policies = []
    for name, policy in profile.policies.items():
        hub = "" if name in trained_here(run) else f" ({code(policy.path)})"
        policies.append(f"{name}{hub}: {size(policy.path, profile.recipe(name))}")
    tested = ", ".join(f"{count} of {title(family)}" for family, count in profile.problems.test.items())
    made = manifests(run.base)
    at = publish.repository()
    rows = {
        "models": "; ".join(policies),
        "test problems": tested,
        "run": f"profile {code(profile.name)}, seed {run.seed}; {plain(profile.description)}",
        "computing time": f"{duration(sum(seconds_of(made).values()))} on {plain(made[0]['device'])}",
        "two commands": "`make study` runs everything and builds this site, `make test` tests it",
        "paper": f"{{cite:t}}`{_KEY}`, [arXiv 2502.13943]({PAPER_URL})",
        "source": f"{f'[{at.url}]({at.url}), ' if at else ''}commit {commits(made)}",
        "licence": "MIT",
    }
    return "\n\n".join(f"{term}\n: {text}" for term, text in rows.items()) + "\n"


def citation(run: Run) -> str:
    """The paper's and this study's entries for a bibliography, as a block that can be copied."""
    del run  # the same for all
    library = (REPOSITORY / "book" / "references.bib").read_text(encoding="utf-8")
    entry = re.search(rf"^@\w+\{{{_KEY},.*?^\}}", library, re.DOTALL | re.MULTILINE)
    assert entry, f"references.bib has no entry {_KEY}"
    return f"```bibtex\n{entry[0]}\n\n{publish.citation()}\n```\n"


def disclaimer(run: Run) -> str:
    """What a run of this size can show and what it cannot, in some 40 words."""
    if len(trained_here(run)) < len(run.profile.policies):
        return (
            "A run of a few problems **can show** how each part of the method behaves on these models. Whether a "
            "difference is more than chance is said beside it; a level of another model on other problems is no "
            "verdict on a level of the paper.\n"
        )
    kind = "synthetic problems" if all(f in FAMILIES for f in run.profile.problems.test) else "these problems"
    return (
        f"A small run on {kind} **can show** that the method works from end to end as described, and how each part "
        "behaves. It **cannot show** how large the gain is for a large model: no number here confirms or refutes a "
        "number of the paper.\n"
    )
