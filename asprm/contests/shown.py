"""Shown: the tables of the contests as chapter 13 prints them: in words, results first, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from asprm import statistics as s
from asprm.contests.edited import NUMBER, POLICY
from asprm.results.format import INTERVAL, one_interval, p_value, percent, points

GAIN = "gain in points"

Show = Callable[[float], str]


def steps(table: pd.DataFrame) -> pd.DataFrame:
    """Where steps end. table: from `asprm.rivals.step_table`."""
    columns = {"kind": "steps end at", **_gains("bon", "Best-of-N"), "f1": "f1", "wrong": "wrong labels"}
    return _shown(table, columns | {"solutions": "solutions"})


def tokens(table: pd.DataFrame) -> pd.DataFrame:
    """Which tokens decide. table: from `asprm.rivals.token_table`."""
    columns = {"wanted": "wanted", "tokens": "count", "by": "marked by", "marked": "tokens marked"}
    texts = {name: _spread(table, name, percent) for name in ("recall", "precision")}
    return _shown(table.assign(**texts), columns | {"recall": "recall", "precision": "precision"})


def labels(table: pd.DataFrame) -> pd.DataFrame:
    """Cheaper labels: what they cost and whether they are the same. table: from `asprm.rivals.label_table`."""
    columns = {"way": "labels by", "of_all": "rollouts run", "of_tokens": "tokens written", "equal": "same labels"}
    columns |= {"exact": "same first error", **_gains(p="p")}
    return _shown(table, columns)


def noise(table: pd.DataFrame) -> pd.DataFrame:
    """Cleaner labels: how many are wrong. table: from `asprm.rivals.noise_table`."""
    columns = {"filter": "filter", "kept": "solutions", "wrong": "wrong labels", "missed": "missed"}
    columns |= {"forgiven": "forgiven", "early": "early", "exact": "exact", "late": "late"}
    return _shown(table.assign(wrong=_spread(table, "wrong", percent)), columns)


def filtered(table: pd.DataFrame) -> pd.DataFrame:
    """Cleaner labels: what a reward model learns from them. table: from `asprm.rivals.noise_table`."""
    return _shown(table, {"filter": "filter", **_gains("bon", "Best-of-N"), "rollouts": "rollouts per solution"})


def search(table: pd.DataFrame) -> pd.DataFrame:
    """Ways to spend computing, the cheapest first. table: from `asprm.rivals.search_table`.

    Operations are in millions per problem. Each gain is against Best-of-N of the N beside it.
    """
    rivals = ["–" if gain != gain else str(n) for gain, n in zip(table["gain"], table["n"], strict=True)]
    texts = table.assign(
        named=[f"{way}, {size}" for way, size in zip(table["way"], table["size"], strict=True)],
        operations=[f"{flops / 1e6:,.0f} M" for flops in table["flops"]],
        best=["yes" if on else "" for on in table["frontier"]],
        rival=rivals,
    )
    columns = {"named": "way", "operations": "operations", "right": "solved", "best": "frontier", "rival": "N"}
    return _shown(texts, columns | _gains())


def edits(table: pd.DataFrame) -> pd.DataFrame:
    """Logic or fluency. table: from `asprm.contests.edited.edit_table`."""
    texts = {"noticed": _spread(table, "noticed", percent), "fall": _spread(table, "fall", points)}
    texts |= {"by": table["by"].replace(POLICY, "policy"), "edit": table["edit"].replace(NUMBER, "number")}
    columns = {"by": "judge", "edit": "edit", "noticed": "noticed", "fall": "fall", s.HOLM: s.HOLM}
    columns |= {"more": "more", f"more_{s.HOLM}": "p of more"}
    return _shown(table.assign(**texts), columns)


def _gains(value: str = "", head: str = "", p: str = s.HOLM) -> dict[str, str]:
    """The columns of a value and of the gain by which it differs, with interval and p."""
    return ({value: head} if value else {}) | {"gain": GAIN, INTERVAL: INTERVAL, p: p}


_POINTS = ("gain", "more")
_COUNTS = ("solutions", "kept", "tokens")


def _shown(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Those columns as texts, under their heads. Numbers are shares, but for differences, counts, p and rollouts."""
    if "gain" in columns:
        table = one_interval(table, points, "gain_low", "gain_high")
    return pd.DataFrame({head: _texts(table[name], name) for name, head in columns.items()})


def _texts(column: Any, name: str) -> list[str]:
    show: Show = percent
    if name in _POINTS:
        show = points
    elif name in _COUNTS:
        show = "{:,}".format
    elif name == "rollouts":
        show = "{:.1f}".format
    elif name == "p" or name.endswith(s.HOLM):
        show = p_value
    return [value if isinstance(value, str) else show(value) for value in column]


def _spread(table: pd.DataFrame, name: str, show: Show) -> list[str]:
    """The values of a column with their intervals: "82.2 % [77.0, 86.6]"; "–" where there is none."""
    rows = table[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
    return [
        "–" if a != a else f"{show(a)} [{', '.join(show(end).removesuffix(' %') for end in (b, c))}]"
        for a, b, c in rows
    ]
