"""Candidates: N scored solutions of each problem, and one score for each (paper §4, Best-of-N).

Reads tables with one row per candidate; knows no model and no run. Axes: P problems, N candidates of each problem,
K steps of a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from asprm.reward.aggregates import aggregates

Table = pa.Table | pd.DataFrame


@dataclass(frozen=True)
class Candidates:
    """N scored candidates of each of P problems."""

    problems: list[str]  # (P,) in order of first appearance
    steps: NDArray[np.float64]  # (S,) the scores of all steps, candidate after candidate
    counts: NDArray[np.int64]  # (P · N,) steps of each candidate
    correct: NDArray[np.bool_]  # (P, N)
    answers: list[list[str | None]]  # (P, N)

    def scores(self, how: str = "min") -> NDArray[np.float64]:
        """(P, N) one score per candidate."""
        return aggregates(self.steps, self.counts, how).reshape(self.correct.shape)

    @property
    def fewest(self) -> NDArray[np.int64]:
        """(P, N) greater for fewer steps."""
        return -self.counts.reshape(self.correct.shape)


def candidates(table: pa.Table | pd.DataFrame) -> Candidates:
    """From a table with columns problem, solution, scores (one per step), correct, answer; one row per candidate.

    ValueError: a candidate twice, problems with unequal numbers of candidates, no rows.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    if frame.empty:
        raise ValueError("no candidates in the table")
    if frame.duplicated(["problem", "solution"]).any():
        raise ValueError("a candidate stands in the table twice: problem and solution must name each row once")
    code, names = pd.factorize(frame["problem"])
    sizes = np.bincount(code)
    few, many = int(sizes.argmin()), int(sizes.argmax())
    if sizes[few] < sizes[many]:
        raise ValueError(
            f"problem {names[few]!r} has {sizes[few]} candidates, {names[many]!r} has {sizes[many]}; they must be equal"
        )
    frame = frame.iloc[np.lexsort((frame["solution"], code))]
    scores = frame["scores"].tolist()
    shape = len(names), int(sizes[0])
    answers = frame["answer"].astype(object).where(frame["answer"].notna(), None)
    return Candidates(
        problems=[str(name) for name in names],
        steps=np.concatenate(scores).astype(np.float64),
        counts=np.array([len(row) for row in scores]),
        correct=frame["correct"].to_numpy(bool).reshape(shape),
        answers=answers.to_numpy().reshape(shape).tolist(),
    )
