"""Learned from: the solutions and steps that reward models learn from (paper Figure 6), and whether harder problems are
split more (chapter 9). Intervals resample problems.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asprm import statistics as s
from asprm.run import names
from asprm.run.open import Run


def splits_by_difficulty(run: Run, groups: int = 4) -> pd.DataFrame:
    """Are harder problems split more? Decision tokens per solution and per token, by how often a problem is solved.

    Training samples of every policy; its problems in `groups` of equal size, the hardest first. Columns: policy; solved
    (mean share of samples right); steps, low, high (decision tokens per solution, 95 % over problems); per_token.
    """
    return pd.DataFrame([row for policy in run.profile.policies for row in _difficulty(run, policy, groups)])


def _difficulty(run: Run, policy: str, groups: int) -> list[dict[str, Any]]:
    tau = run.read_json(names.threshold(policy))["tau"]
    frame = run.read(names.samples(policy, "train"), ["problem", "confidences", "correct", "count"]).to_pandas()
    frame["steps"] = [int((row < tau).sum()) for row in frame["confidences"]]
    frame["tokens"] = frame["confidences"].map(len)
    for column in ("correct", "steps", "tokens"):
        frame[column] = frame[column] * frame["count"]
    by_problem = frame.groupby("problem")[["correct", "steps", "tokens", "count"]].sum()
    by_problem["solved"] = by_problem["correct"] / by_problem["count"]
    by_problem["mean steps"] = by_problem["steps"] / by_problem["count"]
    ordered = by_problem.sort_values("solved", kind="stable")
    rows = []
    for places in np.array_split(np.arange(len(ordered)), groups):
        group = ordered.iloc[places]
        steps = s.bootstrap_mean(group["mean steps"], **_resampling(run))
        row = {"policy": policy, "solved": group["solved"].mean()}
        row |= {"steps": steps.value, "low": steps.low, "high": steps.high}
        rows.append(row | {"per_token": group["steps"].sum() / group["tokens"].sum()})
    return rows


def training_data(run: Run) -> pd.DataFrame:
    """What reward models learn from (paper Figure 6): one row per table of labels that is not of the sweep.

    Columns: prm (the first that learns from this table alone), data, solutions, steps (mean per solution),
    tokens_per_step, length (mean tokens per solution), each mean with its 95 % interval over problems (…_low, …_high).
    Tokens are those of the policy that wrote the solutions (paper: Mistral's).
    """
    rows: dict[str, dict[str, Any]] = {}
    for prm, model in run.profile.reward_models.items():
        if len(model.tables) != 1:
            continue
        [table] = model.tables
        if str(table) in rows or table.method.share is not None:
            continue
        labels = run.read(names.labels(table.policy, table.method), ["problem", "solution", "end"]).to_pandas()
        each = labels.groupby(["problem", "solution"], sort=False)["end"].agg(steps="size", length="max")
        sums = each.groupby("problem").agg(steps=("steps", "sum"), length=("length", "sum"), count=("steps", "size"))
        row = {"prm": prm, "data": str(table), "solutions": len(each)}
        ratios = {"steps": ("steps", "count"), "tokens_per_step": ("length", "steps"), "length": ("length", "count")}
        for name, (top, bottom) in ratios.items():
            value, low, high = s.bootstrap_ratio(sums[top], sums[bottom], **_resampling(run))
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows[str(table)] = row
    return pd.DataFrame(list(rows.values()))


def _resampling(run: Run) -> dict[str, int]:
    return {"resamples": run.profile.generalize.resamples, "seed": run.seed}
