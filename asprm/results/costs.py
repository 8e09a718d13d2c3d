"""Costs: what each reward model took to make, counted from its tables and manifests.

Labels are the expensive part: every step is continued J times. The paper counts J rollouts for each step; here hard
labels stop at the first right one and steps with equal prefixes share theirs, so both are counted: as the paper does,
and as run. One unit makes all parts comparable: floating-point operations, 2 a parameter and token that is read or
written and 6 a parameter and token that is learned from.
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
from asprm.run.artifacts import manifest_path
from asprm.run.open import Run

ABOUT = "prm.json"  # `asprm.reward.score.ABOUT`, without its torch
INFERENCE, TRAINING = 2, 6  # operations per parameter and token


class NoLabels(FileNotFoundError):
    """The run has no labels of this reward model; the text names the table."""


def labels_of(run: Run, prm: str) -> tuple[str, ...]:
    """The label tables, `<policy>/<method>`, that a reward model learns from, by the profile."""
    models = getattr(run.profile, "reward_models", {})
    if prm in models and models[prm].published:
        raise NoLabels(f"{prm} is published: what its labels took is not known here")
    if prm in models:
        return tuple(models[prm].data)
    policy = prm.removeprefix("ASPRM-")
    if policy in run.profile.policies:
        return (f"{policy}/adaptive",)
    raise NoLabels(f"no reward model {prm} in profile {run.profile.name}")


def label_costs(run: Run, prm: str) -> pd.DataFrame:
    """By problem: what labelling took. NoLabels: a table is missing.

    Columns: problem, solutions; sampled, the tokens of these solutions; steps that were continued (all but the last of
    each solution); paper_rollouts and paper_tokens, J for each step; rollouts and tokens, as run: early stops, shared
    prefixes. The tokens of rollouts that were not run are taken to be as many as those that were run from that prefix.
    """
    return pd.concat([_table_costs(run, name) for name in labels_of(run, prm)]).groupby("problem").sum().reset_index()


def _table_costs(run: Run, name: str) -> pd.DataFrame:
    if not _exists(run, f"rollout/{name}.parquet"):
        raise NoLabels(f"no rollout/{name}")
    frame = run.read(f"rollout/{name}").to_pandas()
    policy = name.partition("/")[0]
    last = frame.groupby(["problem", "solution"])["step"].transform("max") == frame["step"]
    inner = frame[~last].copy()
    inner["ran"] = np.where(inner["tokens"] > 0, inner["rollouts"], 0)
    # Rows that share a prefix repeat its counts; the first of them holds the tokens.
    prefix = inner.groupby(["problem", "end", "right", "rollouts"])["tokens"].transform("max")
    inner["paper_rollouts"] = rollouts_of(frame)
    inner["paper_tokens"] = prefix / inner["rollouts"] * inner["paper_rollouts"]
    sums = inner.groupby("problem")[["paper_rollouts", "paper_tokens", "ran", "tokens"]].sum()
    sums["steps"] = inner.groupby("problem").size()
    whole = frame[["problem", "solution"]].drop_duplicates()
    samples = run.read(f"sample/{policy}/train", ["problem", "solution", "ids"]).to_pandas()
    samples["sampled"] = samples["ids"].map(len)
    whole = whole.merge(samples[["problem", "solution", "sampled"]], on=["problem", "solution"], how="left")
    both = whole.groupby("problem").agg(solutions=("solution", "size"), sampled=("sampled", "sum"))
    return both.join(sums).fillna(0).rename(columns={"ran": "rollouts"}).reset_index()


def rollouts_of(frame: pd.DataFrame) -> int:
    """J of a label table: a step that no rollout solved had all of them, and so had every soft label."""
    return int(frame["rollouts"].max())


def saving(run: Run, a: str, b: str, count: str = "paper_rollouts") -> s.Interval:
    """The share of `count` (a column of `label_costs`) per labelled solution that a saves against b, over problems.

    NoLabels: one of them was not run. ValueError: they label solutions of other problems.
    """
    one, other = (label_costs(run, name).set_index("problem") for name in (a, b))
    if set(one.index) != set(other.index):
        raise ValueError(f"costs: {a} and {b} label solutions of different problems; their costs cannot be paired")
    other = other.loc[one.index]
    scale = other["solutions"].sum() / one["solutions"].sum()
    ratio, low, high = s.bootstrap_ratio(one[count] * scale, other[count], resamples=4000)
    return s.Interval(1 - float(ratio), 1 - float(high), 1 - float(low))


def savings(run: Run, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Savings of the first of each pair against the second, counted in four ways; pairs without labels are left out.

    Columns: prm, against, counted; saving, low, high as shares.
    """
    ways = {
        "paper_rollouts": "rollouts, all of every step",
        "paper_tokens": "tokens of these",
        "rollouts": "rollouts as run",
        "tokens": "tokens as run",
    }
    rows = []
    for a, b in pairs:
        try:
            rows += [(a, b, words, *saving(run, a, b, count)) for count, words in ways.items()]
        except NoLabels:
            continue
    return pd.DataFrame(rows, columns=["prm", "against", "counted", "saving", "low", "high"])


def cost_ledger(run: Run, names: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per reward model that was made: counts, operations and seconds. names: None takes the profile's.

    Columns: prm; solutions, sampled, steps, paper_rollouts, paper_tokens, rollouts, tokens (see `label_costs`);
    forwards, the solutions read in training, and trained, their tokens, over all epochs; parameters; flops and
    paper_flops of sampling, labelling and training together; seconds of its training.
    """
    rows = []
    for name in names or made(run):
        counts = label_costs(run, name).drop(columns="problem").sum()
        folder = run.find(f"prm/{name}")
        about = json.loads((folder / ABOUT).read_text())
        size, policy = parameters(folder), labels_of(run, name)[0].partition("/")[0]
        writer = parameters(run.policy_path(policy)) if _local(run, policy) else size
        training = TRAINING * size * about["tokens"]
        rows.append(
            {"prm": name}
            | {key: round(value) for key, value in counts.items()}
            | {
                "forwards": about["examples"] * about["settings"]["epochs"],
                "trained": about["tokens"],
                "parameters": size,
                "flops": INFERENCE * writer * (counts["sampled"] + counts["tokens"]) + training,
                "paper_flops": INFERENCE * writer * (counts["sampled"] + counts["paper_tokens"]) + training,
                "seconds": _manifest(folder).get("facts", {}).get("seconds", _manifest(folder).get("seconds")),
            }
        )
    return pd.DataFrame(rows)


def made(run: Run) -> list[str]:
    """The reward models of the profile, or ASPRM of each policy, whose weights and labels the run has."""
    names = list(getattr(run.profile, "reward_models", {})) or [f"ASPRM-{policy}" for policy in run.profile.policies]
    return [name for name in names if _exists(run, f"prm/{name}") and _labelled(run, name)]


def _labelled(run: Run, prm: str) -> bool:
    return all(_exists(run, f"rollout/{table}.parquet") for table in labels_of(run, prm))


def parameters(folder: Any) -> int:
    """Numbers in a model's safetensors files, read from their headers."""
    total = 0
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "np") as weights:
            total += sum(int(np.prod(weights.get_slice(key).get_shape())) for key in weights.keys())  # noqa: SIM118
    return total


def _exists(run: Run, name: str) -> bool:
    return any((folder / name).exists() for folder in (run.folder, run.base))


def _local(run: Run, policy: str) -> bool:
    return Path(run.policy_path(policy)).is_dir()


def _manifest(path) -> dict[str, Any]:
    file = manifest_path(path)
    return json.loads(file.read_text()) if file.is_file() else {}
