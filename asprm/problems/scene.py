"""Scenes: a story, its true steps, and the ways in which it is misread.

A skeleton (a function in `minigsm.py` or `minimath.py`) fills a `Scene`: sentences of the problem, and one
`Step` for each quantity to be found, with the true expression and the misreadings that a student may fall for.
Expressions refer to earlier quantities, so an error once made is carried on consistently.
This module knows neither students nor wording of solutions: those are in `student.py`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

Term = "int | Quantity | str"
Expression = tuple  # terms and operators in reading order: (q, "*", 3), ("(", a, "+", b, ")", "/", 2)

_TOKEN = re.compile(r"\s*(\d+|[-+*/()])")


@lru_cache(maxsize=1 << 16)  # the same sums come again and again while problems are drawn
def evaluate(text: str) -> Fraction | None:
    """Exact value of an arithmetic expression in + - * / ( ) and whole numbers; None where it is not one.

    Usual precedence, unary minus allowed. Division by zero gives None.
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
    """The result of step `index`; `value` is the true one."""

    index: int
    value: int


@dataclass(frozen=True)
class Step:
    subject: str  # "Anna has", "3x ="
    unit: str  # "apples", "" in plain mathematics
    true: Expression
    wrong: tuple[tuple[str, Expression | int | Quantity], ...] = ()  # (kind of misconception, what is done instead)


@dataclass
class Scene:
    """A problem in the making. `rng` decides everything, so a seed gives back the same scene."""

    rng: random.Random
    sentences: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    question: str = ""
    answer: tuple[Quantity, ...] = ()  # one quantity, or numerator and denominator
    opener: str = ""  # the name or the verb that fixes the voice

    def number(self, low: int, high: int, multiple: int = 1) -> int:
        """A whole number in [low, high] that `multiple` divides."""
        return multiple * self.rng.randint(-(-low // multiple), high // multiple)

    def pick(self, options):
        return self.rng.choice(options)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def find(self, subject: str, unit: str, *true, **wrong) -> Quantity:
        """Add a step; keyword arguments name misconceptions (`more_reversed=(q, "-", 5)`).

        A misreading that is a bare number or quantity means that the student leaves the step out and goes on with it.
        """
        value = evaluate(spell(true, lambda quantity: quantity.value))
        if value is None or value.denominator != 1:
            raise ValueError(f"step {subject!r}: {true} is not a whole number; choose other numbers in the skeleton")
        readings = tuple((kind.replace("_", "-"), reading) for kind, reading in wrong.items())
        self.steps.append(Step(subject, unit, tuple(true), readings))
        return Quantity(len(self.steps) - 1, int(value))

    @property
    def prompt(self) -> str:
        return " ".join([*self.sentences, self.question]).strip()


def spell(expression: Expression, value_of) -> str:
    """The expression as text, quantities replaced by `value_of(quantity)`: "12 + 5", "(12 + 4) / 2"."""
    words = [str(value_of(term)) if isinstance(term, Quantity) else str(term) for term in expression]
    return " ".join(words).replace("( ", "(").replace(" )", ")")
