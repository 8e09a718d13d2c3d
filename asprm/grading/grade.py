"""Grade: is a solution's text right, by the problem's domain?"""

from __future__ import annotations

from dataclasses import dataclass

from asprm.grading.code import extract_code, grade_code
from asprm.grading.math import grade_math
from asprm.problems.problem import CodeProblem, Problem


@dataclass(frozen=True)
class Verdict:
    """`extracted`: the answer, or the program, as the solution's text gives it; None where it gives none."""

    correct: bool
    extracted: str | None


def grade(problem: Problem, text: str) -> Verdict:
    """Whether a solution's text is right: programs run in the sandbox, answers are compared by value."""
    if isinstance(problem, CodeProblem):
        return Verdict(grade_code(text, problem).passed, extract_code(text))
    verdict = grade_math(text, problem.answer)
    return Verdict(verdict.correct, verdict.extracted)
