"""Errors: where a solution of a synthetic problem first departs from the true one."""

from __future__ import annotations

import re

from asprm.problems import programmer
from asprm.problems.problem import Problem
from asprm.problems.scene import evaluate
from asprm.problems.student import ANSWER, stated_answer

# "x = 21 / 3 = 7" holds one equation, and so does "4 + 3 = 7 = 7".
_EQUATION = re.compile(r"(?<![\d)/^] )(?<![\d)] = )(?<![\w/^.])([-\d(][\d\s+\-*/()]*?)\s*=\s*(-?\d+)")


def first_error(problem: Problem, solution: str) -> int | None:
    """Offset of the line (or sentence) in which a solution first departs from the truth; None if it never does.

    Programs are compared with the true one line by line (`programmer.first_error`). Other solutions are compared with
    the true one equation by equation, in order: an equation is an error when it does not hold, or when it does not
    compute the true next quantity from the same numbers, in any order. The last line is an error when its answer is not
    the true one; a text without an answer departs at its end. ValueError: the problem has no true solution.
    """
    if problem.solution is None:
        raise ValueError(f"problem {problem.id} has no true solution to compare with")
    if problem.domain == "code":
        return programmer.first_error(problem.solution, solution)
    truth = [_canonical(match) for match in _EQUATION.finditer(problem.solution)]
    equations = list(_EQUATION.finditer(solution))
    for number, match in enumerate(equations):
        if number >= len(truth) or _canonical(match) != truth[number]:
            return _line_start(solution, match.start())
    ending = solution.rfind(ANSWER)
    if ending < 0:
        return len(solution)
    if len(equations) < len(truth):
        return ending
    return None if stated_answer(solution) == problem.answer else ending


def _canonical(match: re.Match) -> tuple | str:
    """The result of an equation with its numbers and operators in order; a false equation as its own text."""
    left, right = match[1], match[2]
    value = evaluate(left)
    if value is None or value.__floor__() != int(right):
        return match[0]  # which equals the form of no true equation
    return (right, tuple(sorted(re.findall(r"\d+|[-+*/]", left))))


def _line_start(text: str, position: int) -> int:
    """Start of the line, or of the sentence in a paragraph, that holds the position."""
    return max(text.rfind("\n", 0, position) + 1, text.rfind(". ", 0, position) + 2 if ". " in text[:position] else 0)
