"""Departures: the very character at which a solution of a synthetic problem leaves the true one."""

from __future__ import annotations

import re

from asprm.problems.errors import first_error
from asprm.problems.problem import Problem
from asprm.problems.student import ALTERNATIVES


def departure(problem: Problem, text: str) -> int | None:
    """Offset of the character at which a solution first departs from the true one; None if it never does.

    The line is that of `first_error`. Within it the solution departs where it first differs from the true line of the
    same number. A solution that breaks off departs at its end. ValueError: the problem has no true solution.
    """
    start = first_error(problem, text)
    if start is None:
        return None
    if start >= len(text) or problem.solution is None:
        return len(text)
    # In a paragraph `first_error` takes sentences for lines.
    pattern = r"\n" if problem.domain == "code" else r"\n|(?<=\.) "
    number = len(re.findall(pattern, text[:start]))
    line, true_lines = re.split(pattern, text[start:])[0], re.split(pattern, problem.solution)
    return start + _shared(line, true_lines[number]) if number < len(true_lines) else start


def _shared(line: str, true: str) -> int:
    """Number of characters that a line shares with the true one. An opening word such as "So" counts as shared."""
    opening = next((len(word) for word in ALTERNATIVES if line.startswith(word) and not true.startswith(word)), 0)
    body, true = line[opening:], true[:1].swapcase() + true[1:] if opening else true
    same = first_difference(body, true)
    return opening + same if 0 < same < len(body) else 0


def first_difference(a: str, b: str) -> int:
    """Offset of the first character that differs; the length of the shorter text if it begins the longer one."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


INTERVENTIONS = {
    "put right": "greedy decoding departs there, guided decoding does not",
    "led astray": "guided decoding departs there, greedy decoding does not",
    "one error for another": "both depart there",
    "too late": "the text that they share has departed already",
    "another wording": "neither departs there",
    "none": "the two texts are equal",
}


def intervention(problem: Problem, guided: str, greedy: str) -> str:
    """Which of `INTERVENTIONS` happens at the first difference between the guided and the greedy solution."""
    if guided == greedy:
        return "none"
    at = first_difference(guided, greedy)
    departures = [departure(problem, text) for text in (guided, greedy)]
    if all(departs is not None and departs < at for departs in departures):
        return "too late"
    match [departs is not None and departs <= at for departs in departures]:
        case [False, True]:
            return "put right"
        case [True, False]:
            return "led astray"
        case [True, True]:
            return "one error for another"
    return "another wording"
