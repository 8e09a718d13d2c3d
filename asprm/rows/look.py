"""Look: a row as people read it in a terminal. Knows texts and numbers: no model, no tokenizer, no file."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from asprm.models.align import visible
from asprm.rows.jsonl import take
from asprm.rows.values import ends_in, finished_in, labels_in, shares, steps_in, take_problem, tau_in, whole_numbers

_INDENT = "  "
_WIDEST = 100  # columns


def described(row: Mapping[str, Any], number: int, width: int | None = None) -> str:
    """The row as lines of text: what is known of the solution, its problem, and its steps with their tokens.

    number: of its line. width: of a line, in columns; None: the terminal's, at most 100.
    ValueError: no problem or solution, or a field that does not fit the solution.
    """
    width = width or min(shutil.get_terminal_size().columns, _WIDEST)
    problem, solution = take_problem(row), take(row, "solution", str, "the solution's text")
    ends = steps_in(row)[1].tolist() if "char_ends" in row else [len(solution)]
    tokens, confidences = _tokens(row, solution)
    facts_of_steps = _about(row, len(ends))
    facts = [f"line {number}"]
    if "correct" in row:
        facts.append("right" if take(row, "correct", bool, "true or false") else "wrong")
    facts += [_count(len(ends), "step")] if "char_ends" in row else []
    facts += [_count(len(tokens), "token")] if tokens else []
    facts += [] if finished_in(row) else ["not finished"]
    facts += [f"{name} {_number(row, name):.3g}" for name in ("tau", "score") if name in row]
    lines = [", ".join(facts), *_wrapped(f"problem: {problem}", width)]
    lines += _wrapped(f"answer: {row['answer']}", width) if "answer" in row else []
    tau = tau_in(row) if "tau" in row else None
    steps = _steps_of_tokens(row, tokens, ends)
    for step, (start, end) in enumerate(pairwise([0, *ends])):
        lines += ["", ", ".join([f"step {step + 1}", *facts_of_steps[step]])] if "char_ends" in row else [""]
        if tokens:
            inside = np.flatnonzero(steps == step)
            lines += _glossed([tokens[i] for i in inside], confidences[inside], tau, width)
        else:
            lines += [_INDENT + line for line in _wrapped(solution[start:end], width - len(_INDENT))]
    return "\n".join(lines)


def _about(row: Mapping[str, Any], steps: int) -> list[list[str]]:
    """What is known of each step (K,), in words."""
    about: list[list[str]] = [[] for _ in range(steps)]
    if "labels" in row:
        for words, label in zip(about, labels_in(row, steps), strict=True):
            words.append(f"label {label:.3g}")
    if "right" in row and "rollouts" in row:
        right, rollouts = (_numbers(row, name, steps, "step") for name in ("right", "rollouts"))
        for words, a, b in zip(about, right, rollouts, strict=True):
            words.append(f"{a:g} of {b:g} right")
    if "scores" in row:
        for words, score in zip(about, shares(row, "scores", steps, "step"), strict=True):
            words.append(f"score {score:.3f}")
    return about


def _tokens(row: Mapping[str, Any], solution: str) -> tuple[list[str], np.ndarray]:
    """The texts of the T tokens and their confidences (T,); none if the row does not hold them."""
    if "token_ends" not in row or "confidences" not in row:
        return [], np.empty(0)
    ends = whole_numbers(row, "token_ends", "the rising character ends of its tokens").tolist()
    if not ends or ends != sorted(ends) or ends[-1] != len(solution):
        raise ValueError("'token_ends' are not the ends of this solution's tokens; split it again with `asprm split`")
    return [solution[a:b] for a, b in pairwise([0, *ends])], shares(row, "confidences", len(ends), "token")


def _steps_of_tokens(row: Mapping[str, Any], tokens: Sequence[str], char_ends: Sequence[int]) -> np.ndarray:
    """(T,) the step of each token, from 0. char_ends: (K,). ValueError: the row's own ends are of another solution."""
    if "char_ends" in row and "ends" in row and tokens:
        return np.searchsorted(ends_in(row, len(tokens)), np.arange(len(tokens)), side="right")
    token_ends = np.cumsum([len(token) for token in tokens])
    return np.searchsorted(char_ends, token_ends, side="left")


def _glossed(tokens: Sequence[str], confidences: np.ndarray, tau: float | None, width: int) -> list[str]:
    """Tokens in one line, their confidences in percent in the next one, as many pairs of lines as are needed."""
    pairs: list[tuple[str, str]] = []
    upper = lower = ""
    for token, confidence in zip(tokens, confidences, strict=True):
        text = _printable(visible(token))
        mark = "*" if tau is not None and np.float32(confidence) < np.float32(tau) else ""
        number = " " * (len(text) - len(text.lstrip())) + f"{100 * confidence:.0f}{mark}"
        columns = max(_columns(text), len(number)) + 1
        if upper and len(lower) + columns > width - len(_INDENT):
            pairs.append((upper, lower))
            upper = lower = ""
        upper += text + " " * (columns - _columns(text))
        lower += number.ljust(columns)
    return [f"{_INDENT}{line}".rstrip() for pair in [*pairs, (upper, lower)] for line in pair]


def _wrapped(text: str, width: int) -> list[str]:
    return [line for part in text.splitlines() for line in textwrap.wrap(_printable(part), width) or [""]]


def _printable(text: str) -> str:
    """The text without characters that a terminal would obey: they are written as Python writes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _columns(text: str) -> int:
    """The columns of a terminal that a text fills: Chinese, Japanese and Korean characters fill two, accents none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _number(row: Mapping[str, Any], name: str) -> float:
    return float(take(row, name, (int, float), "a number"))


def _numbers(row: Mapping[str, Any], name: str, count: int, noun: str) -> np.ndarray:
    """The field's numbers. ValueError: it is not a list of `count` numbers."""
    values = take(row, name, list, f"a number for each {noun}")
    if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise ValueError(f"'{name}' should hold {_count(count, 'number')}, one for each {noun}")
    return np.array(values, float)
