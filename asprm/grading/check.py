"""Check: whether a problem's own texts are fit to judge programs, so that its faults are not counted against them."""

from __future__ import annotations

import ast
from functools import lru_cache

from asprm.problems.problem import CodeProblem


def check_problem(problem: CodeProblem) -> None:
    """ValueError: the entry point, the imports or the test are no Python, or the cases no texts of JSON lists."""
    try:
        if problem.entry_point:
            _check_entry_point(problem.entry_point)
        _check_source("imports", problem.imports)
        _check_source("test", problem.test)
        for number, text in enumerate(problem.cases, 1):
            if not isinstance(text, str):
                raise ValueError(f"its cases should be texts of JSON lists; number {number} is {text!r:.60}")
    except ValueError as error:
        raise ValueError(f"problem {problem.id}: {error}") from None


@lru_cache(maxsize=1024)
def _check_entry_point(text: str) -> None:
    try:
        names = [node.id for node in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(node, ast.Name)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        names = []
    if not names:
        raise ValueError(
            f"its entry_point should be an expression such as 'solve' or 'Solution().solve', not {text!r:.60}"
        )


@lru_cache(maxsize=64)  # texts may be long, and the programs of one problem come together
def _check_source(name: str, text: str) -> None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        start = "its own test does not run" if name == "test" else f"its {name} are not Python"
        raise ValueError(f"{start}: {type(error).__name__}: {error}") from None
