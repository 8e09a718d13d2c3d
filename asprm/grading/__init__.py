"""Is an answer right? `grade_math` compares values, `grade_code` runs programs in a sandbox, `grade` knows which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asprm.grading.math import MathVerdict, extract_answer, grade_math

if TYPE_CHECKING:
    from asprm.problems import Problem

__all__ = [
    "CodeVerdict",
    "MathVerdict",
    "Verdict",
    "extract_answer",
    "extract_code",
    "grade",
    "grade_code",
    "grade_math",
    "grade_programs",
]


@dataclass(frozen=True)
class Verdict:
    """`extracted`: the answer, or the program, as the solution's text gives it; None where it gives none."""

    correct: bool
    extracted: str | None


def grade(problem: Problem, text: str) -> Verdict:
    """Whether a solution's text is right, by the problem's domain."""
    if problem.domain == "code":
        from asprm.grading.code import extract_code, grade_code

        return Verdict(grade_code(text, problem).passed, extract_code(text))
    verdict = grade_math(text, problem.answer)
    return Verdict(verdict.correct, verdict.extracted)


def __getattr__(name: str) -> object:
    """What runs programs is imported when it is asked for."""
    if name in __all__:
        from asprm.grading import code

        return getattr(code, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
