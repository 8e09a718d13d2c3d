"""View rows: the solutions of rows that people bring (`asprm view`), for the viewer.

A row is what `asprm split` writes, perhaps with labels and scores. ValueError: a field is missing or of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asprm.rows.jsonl import take
from asprm.rows.values import ends_in, labels_in, shares, take_problem, tau_in, whole_numbers
from asprm.site.viewer import Solution, View, tokens

_SPLIT = "; split it again with `asprm split`"


def solution_of(row: Mapping[str, Any], number: int) -> Solution:
    """The solution of a row. number: of its line."""
    values: dict[str, dict[int, float]] = {}
    token_ends = whole_numbers(row, "token_ends", f"characters up to the end of each token{_SPLIT}")
    confidences = shares(row, "confidences", len(token_ends), "token")
    ends = ends_in(row, len(token_ends)).tolist() if row.keys() & {"ends", "labels", "scores"} else []
    if "labels" in row:
        values["label"] = dict(zip(ends, labels_in(row, len(ends)).tolist(), strict=True))
    if "scores" in row:
        values["score"] = dict(zip(ends, shares(row, "scores", len(ends), "step").tolist(), strict=True))
    if "tau" in row:
        tau_in(row)
    return Solution(
        title=f"Line {number}",
        problem=take_problem(row),
        text=take(row, "solution", str, "the solution's text"),
        char_ends=token_ends,
        confidences=confidences,
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
    chosen = next((tau_in(row) for row in rows if "tau" in row), None) if tau is None else tau
    if chosen is None:
        raise ValueError("no row says its threshold, 'tau'; give one with --tau")
    return tokens(solutions, tau=chosen, rollouts=rollouts, code=any("test" in row for row in rows))
