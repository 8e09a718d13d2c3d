"""Errors: where a solution first departs from the true one."""

from __future__ import annotations

import re

from asprm.problems import programmer
from asprm.problems.problem import Problem
from asprm.problems.scene import evaluate

# "x = 21 / 3 = 7" holds one; the second half of "4 + 3 = 7 = 7" is none.
_EQUATION = re.compile(r"(?<![\d)/^] )(?<![\d)] = )(?<![\w/^.])([-\d(][\d\s+\-*/()]*?)\s*=\s*(-?\d+)")


def first_error(problem: Problem, solution: str) -> int | None:
    """Offset of the line (or sentence) in which a solution first departs from the truth; None if it never does.

    A program is compared with the true one line by line (`programmer.first_error`). Other solutions are compared with
    the problem's true solution equation by equation, in order: an equation departs when it does not hold, or does not
    state the true next quantity from the same numbers (order of summands and factors aside).
    The last line departs when its answer is not the true one. ValueError: the problem knows no true solution.
    """
    if problem.solution is None:
        raise ValueError(f"problem {problem.id} has no true solution to compare with")
    if problem.domain == "code":
        return programmer.first_error(problem.solution, solution)
    truth = [_canonical(match) for match in _EQUATION.finditer(problem.solution)]
    found = list(_EQUATION.finditer(solution))
    for number, match in enumerate(found):
        if number >= len(truth) or _canonical(match) != truth[number]:
            return _line_start(solution, match.start())
    ending = solution.rfind("The answer is:")
    if ending < 0:
        return len(solution)
    if len(found) < len(truth):
        return ending
    answer = solution[ending:].removeprefix("The answer is:").strip().removeprefix("\\boxed{").removesuffix("}")
    return None if answer == problem.answer else ending


def _canonical(match: re.Match) -> tuple | str:
    left, right = match[1], match[2]
    value = evaluate(left)
    if value is None or value.__floor__() != int(right):
        return match[0]  # a false equation equals no true one
    return (right, tuple(sorted(re.findall(r"\d+|[-+*/]", left))))


def _line_start(text: str, position: int) -> int:
    """Start of the line, or of the sentence in a paragraph, that holds the position."""
    return max(text.rfind("\n", 0, position) + 1, text.rfind(". ", 0, position) + 2 if ". " in text[:position] else 0)
