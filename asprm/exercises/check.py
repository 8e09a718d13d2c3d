"""Check what a student found against what the run's own tables say: no network, no stored number."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from numbers import Integral, Real
from typing import Any, NamedTuple

from asprm.exercises.exercise import exercise
from asprm.run.open import Run
from asprm.run.progress import interactive

# Imported by name when an answer is checked: a stage does not depend on them, so a changed exercise reruns nothing.
_RIGHT = ("asprm.exercises.making", "asprm.exercises.using")
_TOLERANCE = 0.01  # of the value; whole numbers must be met exactly


class Verdict(NamedTuple):
    """Whether an answer is right, and what to tell the student."""

    right: bool
    words: str


def checker(run: Run) -> Callable[[str, Any], None]:
    """The function `check(number, answer)` of a chapter, which prints the verdict.

    It is silent where nobody watches, so that the site shows blanks and no verdicts on them.
    """

    def check(number: str, answer: Any) -> None:
        if interactive():
            print(judge(run, number, answer).words)

    return check


def judge(run: Run, number: str, answer: Any) -> Verdict:
    """The verdict on an answer, by the run's tables.

    ValueError: there is no such exercise. MissingArtifact: a table is missing.
    """
    posed = exercise(number)
    if answer is ...:
        return Verdict(False, f"{number}: put your answer in the place of the three dots, and run this cell again.")
    if not isinstance(answer, Real):
        return Verdict(False, f"{number}: expected a number, got {type(answer).__name__}.")
    if _agree(answer, right_value(run, number)):
        return Verdict(True, f"{number}: right.")
    return Verdict(False, f"{number}: not yet, {_shown(answer)} is not it. Hint: {' '.join(posed.hint.split())}")


def right_value(run: Run, number: str) -> float:
    """The right answer of an exercise, computed from the run's tables. MissingArtifact: one of them is missing."""
    functions = {number: function for name in _RIGHT for number, function in import_module(name).RIGHT.items()}
    return functions[number](run)


def _agree(answer: Real, right: float) -> bool:
    if isinstance(right, Integral):
        return _float(answer) == right
    return math.isclose(_float(answer), right, rel_tol=_TOLERANCE)


def _float(answer: Real) -> float:
    try:
        return float(answer)
    except OverflowError:  # larger than any float
        return -math.inf if answer < 0 else math.inf


def _shown(answer: Real) -> str:
    return f"{_float(answer):.6g}"
