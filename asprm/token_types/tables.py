"""Tables: counts of tokens and decision tokens by type, with intervals over problems."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asprm.intervals import share_interval


def first_characters(text: str, char_ends: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each token (T,): its first visible character, or its start if it has none; and whether it has a newline."""
    ends = np.asarray(char_ends, np.int64)
    if len(ends) and (ends[-1] != len(text) or (np.diff(ends, prepend=0) < 0).any()):
        raise ValueError(f"char_ends must rise to the length of the text, {len(text)}; they end at {ends[-1]}")
    starts = np.concatenate([[0], ends[:-1]])
    visible = np.array([i for i, c in enumerate(text) if not c.isspace()] + [len(text)])
    first = visible[np.searchsorted(visible, starts)]
    newlines = np.array([i for i, c in enumerate(text) if c == "\n"], np.int64)
    return np.where(first < ends, first, starts), np.searchsorted(newlines, ends) > np.searchsorted(newlines, starts)


def samples_by_type(
    texts: Sequence[str],
    char_ends: Sequence[ArrayLike],
    confidences: Sequence[ArrayLike],
    tau: float,
    names: Sequence[str],
    classify: Callable[[str, ArrayLike], NDArray[np.int8]],
    *,
    seed: int = 0,
    before: int = 40,
    after: int = 20,
) -> pd.DataFrame:
    """One decision token (confidence < tau) of each type in its context, drawn at random (paper Tables 11 and 12).

    texts: one per solution.
    char_ends: of each solution's tokens (T,).
    confidences: of each solution's tokens (T,).
    tau: the threshold.
    names: of the types.
    classify: text and char_ends -> (T,) index in `names`.
    seed: of the order in which solutions are searched.
    before, after: characters of context.

    Columns: type, confidence, and the text before, token and after. A type without a decision token has no row.
    """
    drawn: dict[int, tuple[float, str, str, str]] = {}
    for i in map(int, np.random.default_rng(seed).permutation(len(texts))):
        text, ends, confidence = texts[i], np.asarray(char_ends[i]), np.asarray(confidences[i])
        below = np.flatnonzero(confidence < tau)
        if not len(below):
            continue
        classes = classify(text, ends)
        for t in below:
            start = int(ends[t - 1]) if t else 0
            if int(classes[t]) not in drawn and ends[t] > start:
                context = text[max(0, start - before) : start], text[start : ends[t]], text[ends[t] :][:after]
                drawn[int(classes[t])] = float(confidence[t]), *context
        if len(drawn) == len(names):
            break
    rows = [(name, *drawn[k]) for k, name in enumerate(names) if k in drawn]
    return pd.DataFrame(rows, columns=["type", "confidence", "before", "token", "after"])


def tabulate(
    by: str,
    names: Sequence[str],
    classes: Iterable[NDArray[np.integer]],
    confidences: Iterable[ArrayLike],
    problem: Iterable[Hashable],
    tau: float,
    *,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The table of `mathematics.token_table` from classes of tokens.

    by: name of the first column.
    names: of the classes.
    classes: of each solution's tokens (T,), indices in `names`.
    confidences, problem, tau: as there.
    only: the names that have a row; shares are of their tokens. None for all.
    """
    counts: dict[Hashable, NDArray[np.int64]] = {}
    for kinds, confidence, name in zip(classes, confidences, problem, strict=True):
        low = np.asarray(confidence) < tau
        if len(low) != len(kinds):
            raise ValueError(f"a solution of problem {name!r} has {len(kinds)} offsets and {len(low)} confidences")
        count = counts.setdefault(name, np.zeros((2, len(names)), np.int64))
        count[0] += np.bincount(kinds, minlength=len(names))
        count[1] += np.bincount(kinds[low], minlength=len(names))
    if not counts:
        raise ValueError("no solutions: nothing to count")
    rows = [names.index(name) for name in only or names]
    every, decisions = np.stack(list(counts.values()), axis=1)[:, :, rows]  # (P, names) each
    columns = {by: [names[row] for row in rows], "tokens": every.sum(0), "decision_tokens": decisions.sum(0)}
    shares = {
        "share": (every, every.sum(1)),
        "decision_share": (decisions, decisions.sum(1)),
        "rate": (decisions, every),
    }
    for column, (top, bottom) in shares.items():
        value, low, high = share_interval(top, bottom)
        columns |= {column: value, f"{column}_low": low, f"{column}_high": high}
    return pd.DataFrame(columns)
