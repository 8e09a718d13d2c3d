"""Grade: whether a solution is right, whatever the problem's domain."""

from __future__ import annotations

from dataclasses import dataclass

from asprm.grading.code import grade_code
from asprm.grading.fences import extract_code
from asprm.grading.math import grade_math
from asprm.problems.problem import CodeProblem, Problem


@dataclass(frozen=True)
class Verdict:
    """correct: whether the solution is right. extracted: its answer, or its program; None where the text has none."""

    correct: bool
    extracted: str | None


def grade(problem: Problem, text: str) -> Verdict:
    """Whether the solution in `text` is right: programs run in the sandbox, answers are compared by value.

    ValueError: a problem of mathematics without a true answer.
    """
    if isinstance(problem, CodeProblem):
        return Verdict(grade_code(text, problem).passed, extract_code(text, problem.entry_point))
    if problem.answer is None:
        raise ValueError(f"problem {problem.id} has no true answer, so its solutions cannot be graded")
    verdict = grade_math(text, problem.answer)
    return Verdict(verdict.correct, verdict.extracted)
