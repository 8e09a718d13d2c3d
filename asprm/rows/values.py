"""Values: what a row says about itself, each field checked for its kind.

A field that is there has its kind. A field that may be missing is left out: null, 0, "false" and NaN are refused like
any other value of a wrong kind, and nothing is guessed. ValueError: what is wrong with the row, by its field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np

from asprm.grading.math import gold_answer
from asprm.problems.strict import check_text
from asprm.rows.jsonl import shown, take

PLACE = "{problem}"  # where a template puts the problem
_TOKENS = 2**31  # more than any number of tokens or characters
_MISSING = {"nan", "<na>", "nat"}  # how tables write that a value is missing
_WORDY = 12  # words of a text that is no answer


def take_problem(row: Mapping[str, Any]) -> str:
    """The text of the row's problem."""
    return take(row, "problem", str, "the problem's text")


def finished_in(row: Mapping[str, Any]) -> bool:
    """Whether the row's solution came to its end; true if the row does not say."""
    return take(row, "finished", bool, "true or false") if "finished" in row else True


def template_in(row: Mapping[str, Any]) -> str | None:
    """The row's own template; None if it has none. ValueError: it does not contain {problem}."""
    if "template" not in row:
        return None
    template = take(row, "template", str, f"a text with {PLACE} in it")
    if PLACE not in template:
        raise ValueError(
            f"'template' is {shown(template)}, which does not say where the problem goes; put {PLACE} there"
        )
    return template


def answer_in(row: Mapping[str, Any]) -> str:
    """The row's true answer: alone, or stated by the solution or the marker that it stands in (`gold_answer`).

    ValueError: it is empty, not finite, or a text of many words that states no answer.
    """
    meaning = "the true answer"
    answer = take(row, "answer", (str, int, float), meaning, empty=False)
    if not isinstance(answer, str):
        return np.format_float_positional(answer, trim="-") if isinstance(answer, float) else str(answer)
    if answer.strip().lower() in _MISSING:
        raise ValueError(f"'answer' is {shown(answer)}, a missing value; expected {meaning}")
    gold = gold_answer(answer)
    if gold == answer and len(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}", answer)) >= _WORDY:
        raise ValueError(
            f"'answer' is {shown(answer)}, which states no answer; expected the answer alone, or a solution that ends "
            "in '#### 18', 'The answer is: 18' or '\\boxed{18}'"
        )
    return gold


def whole_numbers(row: Mapping[str, Any], name: str, meaning: str) -> np.ndarray:
    """The field's numbers (N,) int32: whole ones, not negative, in a list."""
    for number, value in enumerate(take(row, name, list, meaning), 1):
        if type(value) is not int or not 0 <= value < _TOKENS:
            raise ValueError(f"'{name}' should hold whole numbers ({meaning}); number {number} is {shown(value)}")
    return np.array(row[name], np.int32)


def shares(row: Mapping[str, Any], name: str, count: int, noun: str) -> np.ndarray:
    """The field's numbers (N,) float64 in [0, 1], one for each of `count` things. noun: what one of them is called.

    Double precision: the numbers are compared as they are written.
    """
    expected = f"'{name}' should hold {count} {'number' if count == 1 else 'numbers'} in [0, 1], one for each {noun}"
    numbers = take(row, name, list, expected)
    if len(numbers) != count:
        raise ValueError(f"{expected}; it holds {len(numbers)}")
    for number, value in enumerate(numbers, 1):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ValueError(f"{expected}; number {number} is {shown(value)}")
    return np.array(numbers, np.float64)


def ends_in(row: Mapping[str, Any], tokens: int) -> np.ndarray:
    """The token ends (K,) of the row's steps. tokens: T, of its solution. ValueError: they do not rise to T."""
    ends = whole_numbers(row, "ends", "token ends of its steps")
    if not len(ends) or ends[0] < 1 or (np.diff(ends) < 1).any() or ends[-1] != tokens:
        raise ValueError(
            f"'ends' should rise to {tokens}, the number of tokens; it is {shown(ends.tolist())}; split it again with "
            "`asprm split`"
        )
    if "char_ends" in row and len(take(row, "char_ends", list, "the character ends of its steps")) != len(ends):
        raise ValueError("'ends' and 'char_ends' are of different lengths; split it again with `asprm split`")
    return ends


def tau_in(row: Mapping[str, Any]) -> float:
    """The row's threshold, a probability."""
    tau = take(row, "tau", (int, float), "a probability, from 0 to 1")
    if not 0 <= tau <= 1:
        raise ValueError(f"'tau' is {shown(tau)}, expected a probability, from 0 to 1")
    return float(tau)


def texts(row: Mapping[str, Any], name: str, meaning: str) -> list[str]:
    """The field's texts, in a list."""
    for number, value in enumerate(take(row, name, list, meaning), 1):
        if not isinstance(value, str):
            raise ValueError(f"'{name}' should hold {meaning}; number {number} is {shown(value)}")
        check_text(name, value)
    return row[name]


def labels_in(row: Mapping[str, Any], count: int) -> np.ndarray:
    """The labels (K,) float32 of the row's `count` steps: numbers from 0 to 1, or true and false."""
    if "labels" not in row:
        raise ValueError("no field 'labels'; label the steps first, with `asprm label`")
    expected = f"'labels' should hold {count} numbers in [0, 1], one for each step"
    labels = row["labels"]
    if not isinstance(labels, list) or len(labels) != count:
        raise ValueError(f"{expected}; it is {shown(labels)}")
    for number, label in enumerate(labels, 1):
        if not isinstance(label, (int, float)) or not 0 <= label <= 1:
            raise ValueError(f"{expected}; number {number} is {shown(label)}")
    return np.array(labels, np.float32)


def step_texts(row: Mapping[str, Any]) -> list[str]:
    """The texts of the row's steps. ValueError: joined they are not its solution, if it has one."""
    steps = texts(row, "steps", "the steps' texts, as `asprm split` writes them")
    if "solution" in row and "".join(steps) != take(row, "solution", str, "the solution's text"):
        raise ValueError("its steps, joined, are not its solution; split it again with `asprm split`")
    if "char_ends" in row and list(accumulate(map(len, steps))) != row["char_ends"]:
        raise ValueError("its steps do not end at its 'char_ends'; split it again with `asprm split`")
    return steps


def steps_in(row: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """The row's solution and the character ends (K,) of its steps. ValueError: no steps, or another solution's."""
    text = take(row, "solution", str, "the solution's text")
    ends = whole_numbers(row, "char_ends", "the rising character ends of its steps, as `asprm split` writes them")
    if not len(ends) or (np.diff(ends) < 0).any():
        raise ValueError("'char_ends' should hold rising whole numbers, one for each step")
    if ends[-1] != len(text):
        raise ValueError(f"its last step ends at character {ends[-1]}, but the solution has {len(text)}")
    if "steps" in row:
        step_texts(row)
    return text, ends
