"""MiniCode: small functions over lists, words, texts, dictionaries, digits and ranges; MiniCode-New: unseen pairs.

A task is made of a source of items and up to four pieces (`pieces.py`): a slice, a selection, a change, and an outcome,
which is what the function returns. An eighth of all pairs of pieces never occur in MiniCode; every task of MiniCode-New
has at least one of these pairs. `programmer.py` writes programs for a task. A test comes from what the pieces mean, not
from any program.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

from asprm.problems.outcomes import OUTCOMES
from asprm.problems.pieces import SLICES, SOURCES, AnyPiece, Change, Outcome, Piece, Source
from asprm.problems.selections import CHANGES, SELECTIONS

HELD_OUT = 12  # per cent of the pairs of pieces
VERBS = ("find", "get", "compute", "make", "work_out", "solve")  # of a function's name: each is a voice
LIMITS = ("limit", "bound", "border", "top")  # names of the argument that may carry the number {k}
_TRIES = 40  # inputs that are tried until one tells a wrong program from the truth
_CASES = 8  # in a test, at least

Misreading = tuple[str, str]
"""A piece's name and a misconception that it invites: ("at_least", "at-least")."""


@dataclass(frozen=True)
class Task:
    """What a function is to do.

    arguments: the function's, by name. values: the numbers and letters of the pieces, by their key; those that come
    with each call are among the arguments. words: what stands for {x}, {xs}, {k} … in wordings and code.
    harmless: misreadings that no input of the test betrays.
    """

    name: str
    source: Source
    slice: Piece | None
    selection: Piece | None
    change: Change | None
    outcome: Outcome
    arguments: tuple[str, ...]
    words: dict[str, str]
    values: dict[str, int | str]
    harmless: frozenset[Misreading] = frozenset()

    @property
    def voice(self) -> int:
        """Place of the function's verb in VERBS: it fixes the layout of programs."""
        return next(i for i, verb in enumerate(VERBS) if self.name.startswith(verb))

    @property
    def pieces(self) -> list[AnyPiece]:
        """The pieces that the task has, in the order in which they apply."""
        return [piece for piece in (self.source, self.slice, self.selection, self.change, self.outcome) if piece]

    def expected(self, *arguments: Any) -> Any:
        """What the function must return for these arguments."""
        values = self.values | dict(zip((*self.source.given, "k"), arguments, strict=False))
        items = list(self.source.items(values))
        if self.slice:
            items = self.slice.does(items, values)
        numbered = list(enumerate(items))
        if self.selection:
            numbered = [(i, x) for i, x in numbered if self.selection.does(x, values)]
        results = [self.change.does(x, values, i) if self.change else x for i, x in numbered]
        return self.outcome.does(results, values)


# --- tasks ------------------------------------------------------------------------------------------------------------


def draw(rng: random.Random, new: bool) -> Task:
    """A random task of MiniCode, or of MiniCode-New. ValueError: the pieces drawn do not go together; draw again."""
    source = rng.choices(SOURCES, [s.weight for s in SOURCES])[0]
    parts = rng.choices((0, 1, 2, 3), (0, 2, 7, 2) if new else (2, 7, 6, 0))[0]
    kinds = rng.sample(("slice", "selection", "selection", "change"), 4)
    kinds = set(list(dict.fromkeys(kinds))[:parts])
    slice_ = rng.choice(SLICES) if "slice" in kinds and source.sliced else None
    selection = _pick(rng, SELECTIONS, source.gives, source) if "selection" in kinds else None
    change = _pick(rng, CHANGES, source.gives, source) if "change" in kinds else None
    outcome = _pick(rng, OUTCOMES, change.gives if change else source.gives, source)
    middle = [piece for piece in (slice_, selection, change) if piece]
    if (outcome.filled and not middle) or (outcome.counts and change):
        raise ValueError("the outcome does not suit the other pieces")
    if change and change.numbered and (slice_ or not source.sliced):
        raise ValueError("a change by position needs a whole sequence")
    if new != any(map(_held_out, combinations([piece.name for piece in (*middle, outcome)], 2))):
        raise ValueError("the pairs of pieces belong to the other family")
    return _named(rng, source, slice_, selection, change, outcome)


P = TypeVar("P", Piece, Change, Outcome)


def _pick(rng: random.Random, pieces: Sequence[P], takes: str, source: Source) -> P:
    """A piece that works on items of the type `takes`, drawn by weight."""
    fitting = [p for p in pieces if p.takes in (takes, "any") and (source.signed or not p.signed)]
    if not fitting:
        raise ValueError(f"no piece for {takes}")
    return rng.choices(fitting, [p.weight for p in fitting])[0]


def _held_out(pair: tuple[str, str]) -> bool:
    return bucket("+".join(pair)) < HELD_OUT


def bucket(text: str) -> int:
    """A number 0..99 that the text alone decides."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) % 100


def _named(
    rng: random.Random,
    source: Source,
    slice_: Piece | None,
    selection: Piece | None,
    change: Change | None,
    outcome: Outcome,
) -> Task:
    """The task of these pieces; draws its name, the names of its items, and its numbers."""
    xs, x = rng.choice(source.nouns)
    values = _values(rng, source, [piece for piece in (slice_, selection, change, outcome) if piece])
    words = {key: f'"{value}"' if key in "cs" else str(value) for key, value in values.items()}
    words |= {"next": str(int(values.get("q", 0)) + 1), "less": str(int(values.get("n", 1)) - 1), "xs": xs, "x": x}
    arguments = tuple(word.format(xs=xs) for word in source.arguments)
    if "k" in values and len(arguments) == 1 and rng.random() < 0.3:
        words["k"] = rng.choice(LIMITS)
        arguments += (words["k"],)
    name = f"{rng.choice(VERBS)}_{rng.choice(('it', 'them', 'result', 'answer', xs, xs, xs, xs, xs))}"
    return Task(name, source, slice_, selection, change, outcome, arguments, words, values)


def _values(rng: random.Random, source: Source, pieces: Sequence[Piece | Change | Outcome]) -> dict[str, int | str]:
    """The numbers that the pieces need, with a letter {c} and a separator {s}."""
    numbers: dict[str, int] = {}
    for piece in pieces:
        for key, low, high in piece.numbers:
            low, high = (min(low, 6), min(high, 8)) if source.small and key in "kab" else (low, high)
            numbers[key] = rng.randint(low, high)
    if "b" in numbers:  # a and b are the ends of an interval, p and q the first and last of several positions
        numbers["b"] = numbers["a"] + rng.randint(2, 5)
    if "q" in numbers:
        numbers["q"] = numbers["p"] + rng.randint(1, 3)
    return {**numbers, "c": rng.choice("aeilnorst"), "s": rng.choice("-+/,;")}


def describe(task: Task, rng: random.Random) -> str:
    """The problem's text."""
    call = f"`{task.name}({', '.join(task.arguments)})`"
    given = rng.choice(task.source.wordings).format(**task.words)
    opening = rng.choice(
        (f"Write {call}. It works on {given}.", f"Write a function {call} for {given}.", f"{call} gets {given}.",
         f"Implement {call}, which gets {given}.")
    )  # fmt: skip
    orders = [rng.choice(p.wordings).format(**task.words) for p in (task.slice, task.selection, task.change) if p]
    wordings = task.outcome.wordings
    if isinstance(wordings, dict):
        wordings = wordings[task.change.gives if task.change else task.source.gives]
    orders.append("return " + rng.choice(wordings).format(**task.words))
    if rng.random() < 0.5:
        text = " ".join(order[0].upper() + order[1:] + "." for order in orders)
    else:
        text = ", ".join(orders[:-1]) + (" and " if len(orders) > 1 else "") + orders[-1] + "."
        text = text[0].upper() + text[1:]
    return f"{opening} {text}"


# --- tests ------------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One call of a test: its arguments and what it must return."""

    arguments: tuple
    expected: Any


def make_test(task: Task, rng: random.Random, wrong: dict[Misreading, str]) -> tuple[str, frozenset[Misreading]]:
    """The source of `check(candidate)`, and the misreadings that no input betrays.

    The test has the empty case, a case of one item, and for each program of a misreading in `wrong` an input on which
    it fails.
    """
    cases: list[Case] = []

    def case(place: int) -> Case:  # cases are drawn as they are needed, always in the same order
        while place >= len(cases):
            cases.append(_draw_case(task, rng, len(cases)))
        return cases[place]

    # 1. Choose the cases.
    chosen, harmless = [0, 1], set()
    for misreading, program in wrong.items():
        function = compiled(program, task.name)
        place = next((place for place in range(_TRIES) if not _passes(function, case(place))), None)
        if place is None:
            harmless.add(misreading)
        elif place not in chosen:
            chosen.append(place)
    case(_CASES)
    chosen += [place for place in range(2, _CASES) if place not in chosen][: max(0, _CASES - len(chosen))]

    # 2. Write an assertion for each.
    lines = ["def check(candidate):"]
    for arguments, expected in (cases[place] for place in chosen):
        call = f"candidate({', '.join(map(repr, arguments))})"
        lines.append(f"    assert {call} " + ("is None" if expected is None else f"== {expected!r}"))

    # 3. Check that a list or dictionary is left as it is: one that sorting would change, if there is one.
    arguments = [case.arguments for case in cases]
    if isinstance(arguments[0][0], list | dict):
        unsorted = (given for given in arguments if len(given[0]) > 2 and list(given[0]) != sorted(given[0]))
        given = next(unsorted, arguments[-1])
        lines += [f"    given = {given[0]!r}", f"    candidate({', '.join(['given', *map(repr, given[1:])])})"]
        lines.append(f"    assert given == {given[0]!r}")
    return "\n".join(lines) + "\n", frozenset(harmless)


def _draw_case(task: Task, rng: random.Random, number: int) -> Case:
    """A random case. Case number 0 has no items, number 1 about one, all others several."""
    size = number if number < 2 else rng.randint(2, 7)
    arguments = task.source.draw(rng, task.values, size)
    if len(task.arguments) > len(task.source.arguments):
        arguments = (*arguments, int(task.values["k"]) + rng.choice((-2, -1, 0, 0, 0, 1, 3)))
    return Case(arguments, task.expected(*arguments))


def compiled(program: str, name: str) -> Callable:
    """The function of a program that this package has written itself. A model's programs go to the sandbox instead."""
    space: dict[str, Callable] = {}
    exec(compile(program, "<programmer>", "exec"), space)
    return space[name]


def _passes(function: Callable, case: Case) -> bool:
    """Whether the function returns what it must and leaves its arguments as they are."""
    arguments = tuple(value.copy() if isinstance(value, list | dict) else value for value in case.arguments)
    try:
        return function(*arguments) == case.expected and arguments == case.arguments
    except Exception:
        return False
