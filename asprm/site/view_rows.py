"""View rows: the solutions of rows that people bring (`asprm view`), for the viewer.

A row is what `asprm split` writes, perhaps with labels and scores. ValueError: a field is missing or of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asprm.rows.jsonl import shown, take
from asprm.rows.values import labels_in, take_problem, whole_numbers
from asprm.site.viewer import Solution, View, tokens

_SPLIT = "; split it again with `asprm split`"


def solution_of(row: Mapping[str, Any], number: int) -> Solution:
    """The solution of a row. number: of its line."""
    values: dict[str, dict[int, float]] = {}
    ends = whole_numbers(row, "ends", "token ends of its steps").tolist() if "ends" in row else []
    if "labels" in row:
        values["label"] = dict(zip(ends, labels_in(row, len(ends)).tolist(), strict=True))
    if "scores" in row:
        values["score"] = dict(zip(ends, _shares(row, "scores", len(ends)).tolist(), strict=True))
    token_ends = whole_numbers(row, "token_ends", f"characters up to the end of each token{_SPLIT}")
    return Solution(
        title=f"Line {number}",
        problem=take_problem(row),
        text=take(row, "solution", str, "the solution's text"),
        char_ends=token_ends,
        confidences=_shares(row, "confidences", len(token_ends)),
        correct=take(row, "correct", bool, "true or false") if "correct" in row else None,
        values=values,
    )


def tokens_of(
    rows: Sequence[Mapping[str, Any]], solutions: Sequence[Solution], *, tau: float | None, rollouts: int
) -> View:
    """The solutions of rows as a `View`.

    tau: the threshold; None: that of the first row that has one.
    rollouts: J. Texts of problems with a test are programs.
    """
    taus = [take(row, "tau", (int, float), "a probability") for row in rows if "tau" in row]
    if tau is None and not taus:
        raise ValueError("no row says its threshold, 'tau'; give one with --tau")
    chosen = taus[0] if tau is None else tau
    if not 0 <= chosen <= 1:
        raise ValueError(f"'tau' is {chosen}, expected a probability, from 0 to 1")
    return tokens(solutions, tau=chosen, rollouts=rollouts, code=any("test" in row for row in rows))


def _shares(row: Mapping[str, Any], name: str, count: int) -> np.ndarray:
    """The field's numbers (N,) in [0, 1], `count` of them. Double precision: they are compared as they are written."""
    expected = f"'{name}' should hold {count} numbers in [0, 1]"
    numbers = take(row, name, list, f"{count} numbers in [0, 1]")
    if len(numbers) != count:
        raise ValueError(f"{expected}; it holds {len(numbers)}")
    for number, value in enumerate(numbers, 1):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ValueError(f"{expected}; number {number} is {shown(value)}")
    return np.array(numbers, np.float64)
