"""Costs: what each reward model took to make, counted from its tables and manifests.

Labels are the expensive part: each step is continued J times. The paper counts J rollouts for every step. Here hard
labels stop at the first right rollout, and steps with equal prefixes share their rollouts. So both are counted: as the
paper counts, and as run. Sampling, labelling and training are added up in floating-point operations: 2 per parameter
and token that is read or written, 6 per parameter and token that is learned from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from asprm import statistics as s
from asprm.results.measures import NotRun
from asprm.reward.adapters import base_of
from asprm.run import names
from asprm.run.names import LabelTable
from asprm.run.open import Run
from asprm.run.store import MissingArtifact

ABOUT = "prm.json"  # `asprm.reward.score.ABOUT`, without its torch
INFERENCE, TRAINING = 2, 6  # operations per parameter and token
COUNTS = {
    "paper_rollouts": "rollouts, all of every step",
    "paper_tokens": "tokens of these",
    "rollouts": "rollouts as run",
    "tokens": "tokens as run",
}
"""The ways to count what labels took, columns of `label_costs`, in words."""


def labels_of(run: Run, prm: str) -> tuple[LabelTable, ...]:
    """The label tables that a reward model learns from. NotRun: it is published, or the profile does not know it."""
    model = run.profile.reward_models.get(prm)
    if model is None:
        raise NotRun(f"no reward model {prm} in profile {run.profile.name}")
    if model.published:
        raise NotRun(f"{prm} is published: what its labels took is not known here")
    return model.tables


def label_costs(run: Run, prm: str) -> pd.DataFrame:
    """What labelling took, one row per problem. MissingArtifact: a table is missing. NotRun as `labels_of`.

    Columns: problem; solutions; sampled, the tokens of these solutions; steps that were continued (all but the last of
    each solution); paper_rollouts and paper_tokens, with J rollouts for each step; rollouts and tokens, as run. A
    rollout that was not run counts as many tokens as those that were run from the same prefix.
    """
    tables = pd.concat([_table_costs(run, table) for table in labels_of(run, prm)])
    return pd.DataFrame(tables.groupby("problem").sum()).reset_index()


def _table_costs(run: Run, table: LabelTable) -> pd.DataFrame:
    """`label_costs` of one table of labels."""
    # 1. The steps that were continued. Rows with the same prefix repeat its counts; the first of them has the tokens.
    labels = run.read(names.labels(table.policy, table.method)).to_pandas()
    last = labels.groupby(["problem", "solution"])["step"].transform("max") == labels["step"]
    inner = labels[~last].copy()
    inner["ran"] = np.where(inner["tokens"] > 0, inner["rollouts"], 0)
    prefix_tokens = inner.groupby(["problem", "end", "right", "rollouts"])["tokens"].transform("max")
    inner["paper_rollouts"] = _rollouts_of(labels)
    inner["paper_tokens"] = prefix_tokens / inner["rollouts"] * inner["paper_rollouts"]
    steps = inner.groupby("problem")[["paper_rollouts", "paper_tokens", "ran", "tokens"]].sum()
    steps["steps"] = inner.groupby("problem").size()

    # 2. The solutions, also those of a single step.
    samples = run.read(names.samples(table.policy, "train"), ["problem", "solution", "ids"]).to_pandas()
    samples["sampled"] = samples["ids"].map(len)
    whole = labels[["problem", "solution"]].drop_duplicates()
    whole = whole.merge(samples[["problem", "solution", "sampled"]], on=["problem", "solution"], how="left")
    solutions = whole.groupby("problem").agg(solutions=("solution", "size"), sampled=("sampled", "sum"))
    return solutions.join(steps).fillna(0).rename(columns={"ran": "rollouts"}).reset_index()


def _rollouts_of(labels: pd.DataFrame) -> int:
    """J of a label table: a step that no rollout solved had all J, and so has every soft label."""
    return int(labels["rollouts"].to_numpy().max())


def saving(run: Run, prm: str, rival: str, count: str = "paper_rollouts") -> s.Interval:
    """The share of a count per labelled solution that `prm` saves against `rival`, with its interval over problems.

    count: one of COUNTS. MissingArtifact, NotRun as `label_costs`. ValueError: they label solutions of different
    problems.
    """
    costs, other = (label_costs(run, name).set_index("problem") for name in (prm, rival))
    if set(costs.index) != set(other.index):
        raise ValueError(
            f"costs: {prm} and {rival} label solutions of different problems; their costs cannot be paired"
        )
    other = other.loc[costs.index]
    scale = other["solutions"].sum() / costs["solutions"].sum()
    ratio, low, high = s.bootstrap_ratio(costs[count] * scale, other[count], resamples=4000)
    return s.Interval(1 - float(ratio), 1 - float(high), 1 - float(low))


def savings(run: Run) -> pd.DataFrame:
    """What the labels of a policy's own reward model save against those of each baseline on the same policy.

    Columns: prm, against, counted; saving, low, high as shares. Pairs whose labels the run lacks are left out.
    """
    profile, rows = run.profile, []
    for rival in profile.of_role("baseline"):
        base = profile.reward_models[rival].base
        if base is None:
            continue
        prm = profile.prm_of(base)
        try:
            rows += [(prm, rival, words, *saving(run, prm, rival, count)) for count, words in COUNTS.items()]
        except (MissingArtifact, NotRun):
            continue
    return pd.DataFrame(rows, columns=["prm", "against", "counted", "saving", "low", "high"])


def cost_ledger(run: Run) -> pd.DataFrame:
    """One row per reward model that was made: counts and operations.

    Columns: prm; solutions, sampled, steps, paper_rollouts, paper_tokens, rollouts, tokens (see `label_costs`);
    forwards, the solutions read in training, and trained, their tokens, over all epochs; parameters; flops and
    paper_flops of sampling, labelling and training together.
    """
    return pd.DataFrame([_costs_of(run, prm) for prm in made(run)])


def _costs_of(run: Run, prm: str) -> dict[str, Any]:
    counts: Any = label_costs(run, prm).drop(columns="problem").sum()
    folder = run.find(names.reward_model(prm))
    about = json.loads((folder / ABOUT).read_text())
    size, policy = parameters(folder), Path(run.policy_path(labels_of(run, prm)[0].policy))
    writer = parameters(policy) if policy.is_dir() else size  # a policy on the hub counts as large as the reward model
    training = TRAINING * size * about["tokens"]
    return (
        {"prm": prm}
        | {name: round(value) for name, value in counts.items()}
        | {
            "forwards": about["examples"] * about["settings"]["epochs"],
            "trained": about["tokens"],
            "parameters": size,
            "flops": INFERENCE * writer * (counts["sampled"] + counts["tokens"]) + training,
            "paper_flops": INFERENCE * writer * (counts["sampled"] + counts["paper_tokens"]) + training,
        }
    )


def training_seconds(run: Run, prms: Sequence[str]) -> list[float]:
    """How long each reward model trained, by its manifest. Not in `cost_ledger`: it is never the same twice."""
    manifests = [run.manifest(names.reward_model(prm)) for prm in prms]
    return [manifest["facts"].get("seconds", manifest["seconds"]) for manifest in manifests]


def made(run: Run) -> list[str]:
    """The reward models of the profile whose weights and labels the run has."""
    return [
        prm
        for prm in run.profile.reward_models
        if run.has(names.reward_model(prm))
        if all(run.has(names.labels(table.policy, table.method)) for table in labels_of(run, prm))
    ]


def parameters(folder: Path) -> int:
    """Numbers in a model's safetensors files, read from their headers; of adapters, those of their base."""
    if (base := base_of(folder)) and Path(base).is_dir():
        return parameters(Path(base))
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as weights:
            total += sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118
    return total
