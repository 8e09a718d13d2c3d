"""Includes of the landing page: the outcome in three sentences, facts, the citation, and what a run can show."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from asprm import REPOSITORY
from asprm.claims import directions, tally
from asprm.problems.families import FAMILIES
from asprm.problems.load import title
from asprm.results.format import number, p_value, points
from asprm.results.paper import Pool, Statement, claim
from asprm.results.verdicts import BROKEN, NO_DIFFERENCE
from asprm.run import names
from asprm.run.manifests import manifests, seconds_of
from asprm.run.open import Run
from asprm.site import publish
from asprm.site.includes.provenance import commits
from asprm.site.includes.settings import size, trained_here
from asprm.site.includes.tables import code, duration, plain
from asprm.site.quantities import BEST, GUIDED, OVER_GREEDY, OVER_SINGLE, POINTS, quantities
from asprm.site.reference import QUANTITIES, references

PAPER_URL = "https://arxiv.org/abs/2502.13943"
_KEY = "adaptivestep"  # of the paper, in the bibliography
_STAGES = ("best_of_n", "tvd")
_TVD = "prose-tvd-beats-greedy"  # the claim that pools guided decoding over policies and test sets


# --- the outcome ------------------------------------------------------------------------------------------------------


def outcome(run: Run) -> str:
    """Three sentences: what choosing gains, what guiding gains, and what became of the paper's directions.

    Each counts all policies and test sets of this run, then those of each reference run. A gain counts if its p,
    corrected as in the chapter that tests it, is below the profile's alpha. MissingArtifact: the run has not finished.
    """
    runs = [_Told("", _own_gains(run), run.read(names.LEDGER).to_pandas() if run.has(names.LEDGER) else None)]
    for reference in references(run):
        gains = _gains(reference.table(QUANTITIES), {(part, f"ASPRM-{part}") for part in reference.about["parts"]})
        runs.append(_Told(reference.name, gains, reference.table(names.LEDGER)))
    alpha = run.profile.claims.alpha
    n = run.profile.sample.candidates
    choosing = f"**Choosing** among {n} samples by the reward model that learned from AdaptiveStep's steps"
    guiding = "**Guiding** greedy decoding by the same reward model"
    rivals = {
        BEST + OVER_SINGLE: "one of the samples at random",
        BEST + OVER_GREEDY: "greedy decoding, the policy's own best guess",
    }
    sentences = [
        _sentence(choosing, rivals, runs, alpha),
        _sentence(guiding, {GUIDED + OVER_GREEDY: "greedy decoding"}, runs, alpha) + _pooled(runs[0].ledger),
        _of_claims(runs),
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences) + "\n"


class _Told(NamedTuple):
    """What a run has to tell. name: "" is this run. gains: rows of quantities. ledger: None if it has none."""

    name: str
    gains: pd.DataFrame
    ledger: pd.DataFrame | None


def _own_gains(run: Run) -> pd.DataFrame:
    profile = run.profile
    parts = {name: part for part, name in profile.cast.items()}
    own = {(parts.get(p, p), parts.get(profile.prm_of(p), profile.prm_of(p))) for p in profile.policies}
    return _gains(pd.concat([quantities(run, stage, p) for stage in _STAGES for p in profile.policies]), own)


def _gains(every: pd.DataFrame | None, own: set[tuple[str, str]]) -> pd.DataFrame:
    """The gains of policies by their own reward models, one row for each test set and rival.

    every: rows of quantities. own: (policy, reward model) in the paper's names.
    """
    if every is None:
        return pd.DataFrame(columns=["what", "value", "p"])
    is_own = np.array([pair in own for pair in zip(every["policy"], every["prm"], strict=True)], bool)
    return every.loc[is_own & (every["unit"] == POINTS)]


def _sentence(doing: str, rivals: Mapping[str, str], runs: Sequence[_Told], alpha: float) -> str:
    """What is gained over each rival on all pairs of policy and test set, by run; the first run is this one.

    rivals: in words, by what the quantities call the gain over them.
    """
    parts = [text for what, rival in rivals.items() if (text := _over(what, rival, runs[0].gains, alpha))]
    if not parts:
        return f"{doing} has not been run."
    others = []
    for run in runs[1:]:
        counts = [
            f"{better} better, {worse} worse, {undecided} undecided of {len(rows)} against {rival.partition(',')[0]}"
            for what, rival in rivals.items()
            if len(rows := run.gains.loc[run.gains["what"] == what])
            for better, worse, undecided in [_counted(rows, alpha)]
        ]
        others += [f"{code(run.name)}: {', and '.join(counts)}"] if counts else []
    return f"{doing} {'; '.join(parts)}." + (f" Other runs: {'; '.join(others)}." if others else "")


def _over(what: str, rival: str, gains: pd.DataFrame, alpha: float) -> str:
    """What this run gains over one rival, as a part of a sentence; "" where it was not run."""
    rows = gains.loc[gains["what"] == what]
    if rows.empty:
        return ""
    better, worse, undecided = _counted(rows, alpha)
    values: list[float] = rows["value"].tolist()
    text = (
        f"beats {rival}, on **{better} of {len(rows)}** pairs of policy and test set, loses on **{worse}**, and cannot "
        f"be told from it on **{undecided}** ({points(min(values))} to {points(max(values))} points)"
    )
    untested = len(rows) - better - worse - undecided
    return text + (f", and on {untested} changed no token, so that nothing could differ" if untested else "")


def _counted(rows: pd.DataFrame, alpha: float) -> tuple[int, int, int]:
    """How many gains are above 0, below 0, and undecided, by their p. What has no p was not tested."""
    tested = rows.loc[rows["p"].notna()]
    sure = tested["p"].to_numpy(float) < alpha
    better, worse = int((sure & (tested["value"] > 0)).sum()), int((sure & (tested["value"] < 0)).sum())
    return better, worse, len(tested) - better - worse


def _pooled(ledger: pd.DataFrame | None) -> str:
    """What the ledger says of guided decoding over several pairs together, lest one count contradict the other."""
    statement = claim(_TVD)
    assert isinstance(statement, Statement)
    assert isinstance(statement.compare, Pool)
    rows: Any = pd.DataFrame() if ledger is None else ledger.loc[ledger["aspect"] != "level"].set_index("id")
    if rows.empty or pd.isna(rows.at[_TVD, "here"]):
        return ""
    row, verdicts = rows.loc[_TVD], list(rows.loc[list(statement.compare.of), "verdict"])
    here, low, high = (number(row[name]).replace("-", "\N{MINUS SIGN}") for name in ("here", "low", "high"))
    p = p_value(row["p_holm"])
    return (
        f" The ledger also *pools* {len(verdicts)} such comparisons, by two reward models on M and L: {here} points "
        f"[{low}, {high}], p {p if '<' in p else f'= {p}'}, {row['verdict']}; one by one "
        f"{verdicts.count('reproduced')} of the {len(verdicts)} are."
    )


def _of_claims(runs: Iterable[_Told]) -> str:
    parts = []
    for run in runs:
        if run.ledger is None:
            continue
        by = directions(tally(run.ledger))
        parts.append(
            f"{f'run {code(run.name)}' if run.name else 'this run'} could test {by['tested']}, and finds "
            f"**{by['reproduced']}** reproduced, **{by['opposite']}** contradicted, **{by[NO_DIFFERENCE]}** without a "
            f"difference, **{by['inconclusive']}** undecided, and **{by[BROKEN]}** wins over a reward model that "
            "chooses worse than chance"
        )
    if not parts:
        return "The paper's claims have not been compared with this run."
    return f"Of the **directions** that the paper states (this beats that), {'; '.join(parts)}."


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
