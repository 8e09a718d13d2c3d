"""Candidates: N scored solutions of each problem, and one score for each (paper §4, Best-of-N).

A candidate that was cut off at the length limit has no answer: it is chosen only where no finished one is, and has no
vote. Answers of equal value are one answer, however they are spelled.

Reads tables with one row per candidate; knows no model and no run. Axes: P problems, N candidates of each problem,
K steps of a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from asprm.grading.math import one_spelling
from asprm.reward.aggregates import aggregates

Table = pa.Table | pd.DataFrame


@dataclass(frozen=True)
class Candidates:
    """N scored candidates of each of P problems."""

    problems: list[str]  # (P,) in order of first appearance
    steps: NDArray[np.float64]  # (S,) the scores of all steps, candidate after candidate
    counts: NDArray[np.int64]  # (P · N,) steps of each candidate
    finished: NDArray[np.bool_]  # (P, N)
    correct: NDArray[np.bool_]  # (P, N)
    answers: list[list[str | None]]  # (P, N) equal where their values are; None: no answer, or not finished

    def scores(self, how: str = "min") -> NDArray[np.float64]:
        """(P, N) one score per candidate; of unfinished ones it is lower than all others."""
        return self._finished_first(aggregates(self.steps, self.counts, how).reshape(self.correct.shape))

    def weights(self, how: str = "min") -> NDArray[np.float64]:
        """(P, N) the candidates' votes: their scores, not negative; 0 for unfinished ones.

        A sum of logarithms ("product") becomes the product again, divided by the problem's greatest.
        """
        scores = self.scores(how)
        if (scores[self.finished] < 0).any():
            scores = np.exp(scores - scores.max(-1, keepdims=True))
        return np.where(self.finished, scores, 0.0)

    @property
    def fewest(self) -> NDArray[np.float64]:
        """(P, N) greater for fewer steps; of unfinished candidates it is lower than all others."""
        return self._finished_first(-self.counts.reshape(self.correct.shape).astype(np.float64))

    def _finished_first(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self.finished, values, values.min() - 1)


def candidates(table: pa.Table | pd.DataFrame) -> Candidates:
    """From a table with columns problem, solution, finished, scores (one per step), correct, answer.

    One row per candidate. ValueError: a candidate twice, problems with unequal numbers of candidates, no rows.
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
    answers = frame["answer"].astype(object).where(frame["answer"].notna() & frame["finished"], None)
    return Candidates(
        problems=[str(name) for name in names],
        steps=np.concatenate(scores).astype(np.float64),
        counts=np.array([len(row) for row in scores]),
        finished=frame["finished"].to_numpy(bool).reshape(shape),
        correct=frame["correct"].to_numpy(bool).reshape(shape),
        answers=[one_spelling(row) for row in answers.to_numpy().reshape(shape).tolist()],
    )
