"""Sweep: Best-of-N by the threshold at which the reward model's steps were cut (chapter 9; paper §5)."""

from __future__ import annotations

import pandas as pd

from asprm.results.format import percent
from asprm.results.outcomes import OWN
from asprm.run import names
from asprm.run.open import Run


def sweep(run: Run, frame: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Best-of-N by the share of tokens below the threshold at which the reward model's steps were cut.

    frame: from `asprm.generalize.results`. Columns: share, prm, set, position, bon, low, high, trainings, labelled (the
    steps learned from). Each reward model rates where its own steps end (`own steps`), and all at the same places,
    decision tokens by the study's share (`confidence`).
    """
    own_share = run.profile.threshold.share
    shares = {}
    for prm, model in run.profile.reward_models.items():
        tables = [(table.policy, table.method.kind) for table in model.tables]
        if model.base == policy and tables == [(policy, "adaptive")]:
            shares[prm] = model.rates.share or own_share
    places = frame["position"].isin([OWN, "confidence"])
    rows = frame.loc[(frame["policy"] == policy) & places & frame["prm"].isin(list(shares))]
    labelled = {prm: run.manifest(names.reward_model(prm))["facts"]["labels"] for prm in rows["prm"].unique()}
    rows = rows.assign(share=rows["prm"].map(shares), labelled=rows["prm"].map(labelled))
    columns = ["share", "prm", "set", "position", "bon", "low", "high", "trainings", "labelled"]
    return rows.sort_values(["set", "position", "share"]).loc[:, columns]


def what_else_differs(swept: pd.DataFrame) -> str:
    """What differs in a sweep (from `sweep`) besides the share: trainings and labelled steps, in a sentence."""
    each = swept.drop_duplicates("prm").sort_values("share")
    parts = [
        f"{percent(share)}: {steps:,} labelled steps, {count} training{'s' if count > 1 else ''}"
        for share, steps, count in zip(each["share"], each["labelled"], each["trainings"], strict=True)
    ]
    return f"Beside the share differ what each learned from, and how often it was trained. {'; '.join(parts)}."
