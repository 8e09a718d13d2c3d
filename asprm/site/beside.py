"""Beside: what a chapter reports, of this run, of the reference runs and of the paper, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asprm.problems.load import PAPERS, title
from asprm.results.format import interval, p_value, percent, points
from asprm.results.format import number as number_text
from asprm.results.measures import POSITIONS_OF_PAPER
from asprm.results.paper import Number, load_claims
from asprm.results.verdicts import VERDICTS
from asprm.run import names
from asprm.run.manifests import OF_ALL
from asprm.run.open import Run
from asprm.site.quantities import AT, BEST, GREEDY, GUIDED, POINTS, SHARE, TOKEN_SHARES, quantities
from asprm.site.reference import QUANTITIES, references

PAPER = "paper"
_KEY = ["what", "set", "prm"]
_KINDS = {"greedy": GREEDY, "bon": BEST, "tvd": GUIDED}  # of the paper's measures, as quantities call them
_NONE = "–"
_WITHOUT_OTHERS = 3  # columns of `ledgers`: what the claim says, the paper, this run
BESIDE = "beside"
"""Tag of the cells of a notebook that the site leaves out where their last output shows no other run."""


def beside(run: Run) -> pd.DataFrame | None:
    """What this stage reports of the run's policy beside what other runs and the paper report, as text; None if none of
    them reports anything of it: the site then leaves the section out (cells tagged `BESIDE`).

    One row for each quantity that at least one of the others has too; one column for this run, for each reference run
    in which a policy plays the same part, and for the paper. Values have their 95 % interval, differences their p.
    Published test sets stand in the rows of the families that mirror them; of reward models only those count that start
    from the policy, and in chapter 9 all. A chapter that is of all policies has rows for each. MissingArtifact: a table
    is missing.
    """
    if run.stage not in OF_ALL:
        return _of_policy(run, run.policy)
    parts = {policy: _of_policy(run, policy) for policy in run.profile.policies}
    shown = {
        policy: part.rename(columns=lambda name: name.partition(", ")[0])
        for policy, part in parts.items()
        if part is not None
    }
    return pd.concat(shown, names=["policy"]).fillna(_NONE) if shown else None


def _of_policy(run: Run, policy: str) -> pd.DataFrame | None:
    """`beside` of one policy."""
    own = quantities(run, run.stage, policy)
    part = str(own["policy"].iloc[0]) if len(own) else policy
    columns = {f"this run: {run.profile.name}, {policy}": own}
    for reference in references(run):
        every = reference.table(QUANTITIES)
        if every is not None:
            rows = every.loc[(every["stage"] == run.stage) & (every["policy"] == part)]
            if len(rows):
                columns[f"{reference.name}, {reference.playing(part)}"] = rows
    columns[PAPER] = _papers(part)
    shown = _together(columns, _raters(run, policy))
    return shown if len(shown.columns) > 1 else None


def ledgers(run: Run, frame: pd.DataFrame, aspect: str) -> pd.DataFrame | None:
    """One aspect of the ledger, a row for each claim of the paper, as text; None if there is no other run.

    Columns: what the claim says, the paper's value, then of this run and of each reference run value, interval and
    verdict.

    frame: this run's ledger. aspect: one of `asprm.results.verdicts.ASPECTS`.
    """
    rows: Any = frame.loc[(frame["aspect"] == aspect) & (frame["source"] == "paper")].set_index("id")
    shown = pd.DataFrame({"says": rows["says"], PAPER: [_plain(value) for value in rows[PAPER]]})
    shown[f"this run: {run.profile.name}"] = _judged(rows)
    for reference in references(run):
        other = reference.table(names.LEDGER)
        if other is not None:
            shown[reference.name] = _judged(other.loc[other["aspect"] == aspect].set_index("id").reindex(rows.index))
    return shown if len(shown.columns) > _WITHOUT_OTHERS else None


def _judged(rows: pd.DataFrame) -> list[str]:
    """Value, interval and verdict of rows of a ledger; "∅" alone where a run has no value."""
    records: Any = rows.to_dict("records")
    return [
        VERDICTS["not run"]
        if np.isnan(row["here"])
        else " ".join(filter(None, [_plain(row["here"]), _range(row["low"], row["high"]), VERDICTS[row["verdict"]]]))
        for row in records
    ]


def _plain(value: Any) -> str:
    return _NONE if pd.isna(value) else number_text(value).replace("-", "\N{MINUS SIGN}")


def _range(low: Any, high: Any) -> str:
    return "" if pd.isna(low) else f"[{_plain(low)}, {_plain(high)}]"


def _raters(run: Run, policy: str) -> set[str]:
    """What the paper calls the reward models that start from the policy and are no variants of another; and "". Of
    chapter 9, which compares them, all.
    """
    profile = run.profile
    parts = {name: part for part, name in profile.cast.items()}
    roles = ("own", "baseline", "outcome")
    own = [name for name in profile.of_role(*roles) if profile.reward_models[name].base == policy]
    if run.stage == "generalize":
        own = list(profile.reward_models)
    return {"", *(parts.get(name, name) for name in own)}


def _papers(part: str) -> pd.DataFrame:
    """The paper's accuracies and token shares of one policy, as rows of quantities."""
    rows = []
    for number in load_claims():
        if not (isinstance(number, Number) and number.unit == "percent" and number.measure):
            continue
        measure = number.measure
        if measure.policy != part:
            continue
        key = _KINDS.get(measure.kind, ""), measure.set or "", measure.prm or ""
        if measure.kind == "bon":
            position = BEST + AT + POSITIONS_OF_PAPER[measure.positions]
            rows.append((position, *key[1:], SHARE, number.value / 100, np.nan, np.nan, np.nan))
            if measure.positions:
                continue
        if measure.column in TOKEN_SHARES:
            key = f"{number.row[-1] or number.row[0]}, {TOKEN_SHARES[measure.column]}", "", ""
        if key[0]:
            rows.append((*key, SHARE, number.value / 100, np.nan, np.nan, np.nan))
    frame = pd.DataFrame(rows, columns=[*_KEY, "unit", "value", "low", "high", "p"])
    return frame.drop_duplicates(_KEY)


def _together(columns: dict[str, pd.DataFrame], raters: set[str]) -> pd.DataFrame:
    texts = {}
    for name, frame in columns.items():
        rows: Any = frame.loc[frame["prm"].isin(list(raters))]
        texts[name] = {tuple(row[key] for key in _KEY): value_text(row) for row in rows.to_dict("records")}
    own, *others = texts.values()
    elsewhere = {key for other in others for key in other}
    reported = {what for what, *_ in own}
    shared = [key for key in own if key in elsewhere]
    keys = list(
        dict.fromkeys([*shared, *(k for other in others[:-1] for k in other if k not in own and k[0] in reported)])
    )
    shown = pd.DataFrame({name: [text.get(key, _NONE) for key in keys] for name, text in texts.items()})
    labels = [(what, _set_title(name), prm or _NONE) for what, name, prm in keys]
    levels = pd.DataFrame(labels, columns=["quantity", "test set", "reward model"])
    shown.index = pd.MultiIndex.from_frame(
        levels.loc[:, [name == "quantity" or (levels[name] != _NONE).any() for name in levels]]
    )
    told = [shown.columns[0], *(name for name in shown.columns[1:] if any(text != _NONE for text in shown[name]))]
    return shown.loc[:, told]


def _set_title(family: str) -> str:
    """A family with the published set that stands in its row, or "–"."""
    if not family:
        return _NONE
    return f"{title(family)} / {title(PAPERS[family])}" if family in PAPERS else title(family)


def value_text(row: dict[str, Any]) -> str:
    """The value of a row of quantities in its unit, with its interval and p where it has them."""
    value, low, high, p = (row[name] for name in ("value", "low", "high", "p"))
    if row["unit"] == POINTS:
        spread = "" if np.isnan(low) else f" [{interval(low, high)}]"
        return f"{points(value)}{spread}" + ("" if np.isnan(p) else f", p {_p(p)}")
    show = percent if row["unit"] == SHARE else "{:.3g}".format
    spread = "" if np.isnan(low) or low == high else f" [{show(low)}, {show(high)}]"
    return f"{show(value)}{spread}"


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
