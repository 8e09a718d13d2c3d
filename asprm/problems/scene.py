"""Scenes: the text of a problem, its true steps, and the ways to misread them.

A skeleton (a function in `minigsm.py` or `minimath.py`) fills a `Scene` with the sentences of the problem and with one
`Step` for each quantity to be found. A step has a true expression and the wrong ones that students may take for it.
Expressions refer to earlier quantities, so all later steps follow from an error. This module does not know students or
how they word solutions: see `student.py`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")

_TOKEN = re.compile(r"\s*(\d+|[-+*/()])")


@lru_cache(maxsize=1 << 16)  # the same sums come up often while problems are drawn
def evaluate(text: str) -> Fraction | None:
    """Exact value of an arithmetic expression in whole numbers, + - * / ( ) and unary minus, usual precedence.

    None where the text is no such expression, or divides by zero.
    """
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            return None
        tokens.append(match[1])
        position = match.end()

    def peek() -> str | None:
        return tokens[0] if tokens else None

    def factor() -> Fraction:
        token = tokens.pop(0)
        if token == "-":
            return -factor()
        if token == "(":
            value = total()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError("unbalanced")
            return value
        return Fraction(int(token))

    def product() -> Fraction:
        value = factor()
        while peek() in ("*", "/"):
            value = value * factor() if tokens.pop(0) == "*" else value / factor()
        return value

    def total() -> Fraction:
        value = product()
        while peek() in ("+", "-"):
            value = value + product() if tokens.pop(0) == "+" else value - product()
        return value

    try:
        value = total()
    except (ValueError, IndexError, ZeroDivisionError, RecursionError):
        return None
    return None if tokens else value


@dataclass(frozen=True)
class Quantity:
    """The result of step `index`. A student's value for it may differ from the true `value`."""

    index: int
    value: int


Amount = Quantity | int
Expression = tuple[Amount | str, ...]
"""Terms and operators in reading order: (q, "*", 3), ("(", a, "+", b, ")", "/", 2)."""
Reading = Expression | Amount
"""What a student does at a step: an expression; or an amount, which means that the student leaves the step out."""


@dataclass(frozen=True)
class Step:
    """One quantity to be found.

    subject: how the line begins: "Anna has", "3x =". unit: "apples"; "" in plain mathematics.
    true: the true expression. wrong: (misconception, what a student with it does instead), in the order of drawing.
    """

    subject: str
    unit: str
    true: Expression
    wrong: tuple[tuple[str, Reading], ...] = ()


@dataclass
class Scene:
    """A problem in the making. `rng` makes every choice, so the same seed gives the same scene.

    answer: one quantity, or numerator and denominator. opener: the name or verb that fixes the voice.
    """

    rng: random.Random
    sentences: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    question: str = ""
    answer: tuple[Quantity, ...] = ()
    opener: str = ""

    def number(self, low: int, high: int, multiple: int = 1) -> int:
        """A whole number in [low, high] that `multiple` divides."""
        return multiple * self.rng.randint(-(-low // multiple), high // multiple)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, drawn at random."""
        return self.rng.choice(options)

    def say(self, sentence: str) -> None:
        """Add a sentence to the problem's text."""
        self.sentences.append(sentence)

    def find(self, subject: str, unit: str, *true: Amount | str, **wrong: Reading) -> Quantity:
        """Add a step and return its result.

        true: terms of the true expression. wrong: what students do instead, by misconception, such as
        `more_reversed=(q, "-", 5)`. ValueError: the true result is not a whole number.
        """
        value = evaluate(spell(true, lambda quantity: quantity.value))
        if value is None or value.denominator != 1:
            raise ValueError(f"step {subject!r}: {true} is not a whole number; choose other numbers in the skeleton")
        readings = tuple((name.replace("_", "-"), reading) for name, reading in wrong.items())
        self.steps.append(Step(subject, unit, true, readings))
        return Quantity(len(self.steps) - 1, int(value))

    @property
    def prompt(self) -> str:
        """The problem's text."""
        return " ".join([*self.sentences, self.question]).strip()


def spell(expression: Expression, value_of: Callable[[Quantity], int]) -> str:
    """The expression as text, with `value_of(quantity)` for each quantity: "12 + 5", "(12 + 4) / 2"."""
    words = [str(value_of(term)) if isinstance(term, Quantity) else str(term) for term in expression]
    return " ".join(words).replace("( ", "(").replace(" )", ")")
