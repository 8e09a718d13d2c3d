"""MiniCode: small functions over lists, words, texts, dictionaries, digits and ranges; MiniCode-New: unseen pairs.

A task is a source of items and up to four pieces (`pieces.py`): a slice, a selection, a change, and what to make of the
rest. An eighth of all pairs of pieces never occur in MiniCode; each task of MiniCode-New has one of them. What
programmers make of a task is in `programmer.py`; the tests come from what the pieces mean, not from any program.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

from asprm.problems.outcomes import OUTCOMES
from asprm.problems.pieces import SLICES, SOURCES, Change, Outcome, Piece, Source
from asprm.problems.selections import CHANGES, SELECTIONS

HELD_OUT = 12  # per cent of the pairs of pieces
VERBS = ("find", "get", "compute", "make", "work_out", "solve")  # of a function's name; each is a voice
LIMITS = ("limit", "bound", "border", "top")
_TRIES = 40  # inputs of which one must betray a misreading
_CASES = 8


@dataclass(frozen=True)
class Task:
    """What a function is to do. `values`: the numbers of the pieces; those in `arguments` come with each call."""

    name: str
    source: Source
    slice: Piece | None
    selection: Piece | None
    change: Change | None
    outcome: Outcome
    arguments: tuple[str, ...]
    words: dict[str, str]  # what stands for {x}, {xs}, {k} … in wordings and code
    values: dict[str, int | str]
    harmless: set[str] = field(default_factory=set, compare=False)  # misreadings that no input betrays

    @property
    def voice(self) -> int:
        return next(i for i, verb in enumerate(VERBS) if self.name.startswith(verb))

    @property
    def pieces(self) -> list[Piece]:
        return [piece for piece in (self.source, self.slice, self.selection, self.change, self.outcome) if piece]

    def true(self, *arguments):
        """What the function must return."""
        values = self.values | dict(zip((*self.source.given, "k"), arguments, strict=False))
        items = list(self.source.items(values))
        if self.slice:
            items = self.slice.does(items, values)
        numbered = list(enumerate(items))
        if self.selection:
            numbered = [(i, x) for i, x in numbered if self.selection.does(x, values)]
        results = [self.change.does(x, values, i) if self.change else x for i, x in numbered]
        return self.outcome.does(results, values)


def draw(rng: random.Random, new: bool) -> Task:
    """A random task, of MiniCode or of MiniCode-New. ValueError: the pieces drawn do not go together."""
    source = rng.choices(SOURCES, [s.weight for s in SOURCES])[0]
    parts = rng.choices((0, 1, 2, 3), (0, 2, 7, 2) if new else (2, 7, 6, 0))[0]
    kinds = rng.sample(("slice", "selection", "selection", "change"), 4)
    kinds = set(list(dict.fromkeys(kinds))[:parts])
    slice_ = rng.choice(SLICES) if "slice" in kinds and source.sliced else None
    selection = _pick(rng, SELECTIONS, source.gives, source) if "selection" in kinds else None
    change = _pick(rng, CHANGES, source.gives, source) if "change" in kinds else None
    gives = change.gives if change else source.gives
    outcome = _pick(rng, OUTCOMES, gives, source)
    middle = [piece for piece in (slice_, selection, change) if piece]
    if (outcome.filled and not middle) or (outcome.counts and change):
        raise ValueError("this outcome does not suit so many pieces")
    if change and change.numbered and (slice_ or not source.sliced):
        raise ValueError("positions of what?")
    if new != any(map(_held_out, combinations([piece.name for piece in (*middle, outcome)], 2))):
        raise ValueError("pairs of the other family")
    return _named(rng, source, slice_, selection, change, outcome)


def _pick(rng: random.Random, pieces, takes: str, source: Source):
    fitting = [p for p in pieces if p.takes in (takes, "any") and (source.signed or not p.signed)]
    if not fitting:
        raise ValueError(f"no piece for {takes}")
    return rng.choices(fitting, [p.weight for p in fitting])[0]


def _held_out(pair: tuple[str, str]) -> bool:
    return int.from_bytes(hashlib.blake2b("+".join(pair).encode(), digest_size=4).digest()) % 100 < HELD_OUT


def _named(rng, source, slice_, selection, change, outcome) -> Task:
    """Give the task its name, its items' names and its numbers."""
    xs, x = rng.choice(source.nouns)
    values: dict[str, int | str] = {}
    for piece in filter(None, (slice_, selection, change, outcome)):
        for key, low, high in piece.numbers:
            low, high = (min(low, 6), min(high, 8)) if source.small and key in "kab" else (low, high)
            values[key] = rng.randint(low, high)
    if "b" in values:
        values["b"] = values["a"] + rng.randint(2, 5)
    if "q" in values:
        values["q"] = values["p"] + rng.randint(1, 3)
    values["c"] = rng.choice("aeilnorst")
    values["s"] = rng.choice("-+/,;")
    words = {key: f'"{value}"' if key in "cs" else str(value) for key, value in values.items()}
    words |= {"next": str(int(values.get("q", 0)) + 1), "less": str(int(values.get("n", 1)) - 1), "xs": xs, "x": x}
    arguments = tuple(word.format(xs=xs) for word in source.arguments)
    if "k" in values and source.name not in ("range_both", "range_down") and rng.random() < 0.3:
        words["k"] = rng.choice(LIMITS)
        arguments += (words["k"],)
    name = f"{rng.choice(VERBS)}_{rng.choice(('it', 'them', 'result', 'answer', xs, xs, xs, xs, xs))}"
    return Task(name, source, slice_, selection, change, outcome, arguments, words, values)


def describe(task: Task, rng: random.Random) -> str:
    """The problem's text."""
    call = f"`{task.name}({', '.join(task.arguments)})`"
    what = rng.choice(task.source.says).format(**task.words)
    opening = rng.choice(
        (f"Write {call}. It works on {what}.", f"Write a function {call} for {what}.", f"{call} gets {what}.",
         f"Implement {call}, which gets {what}.")
    )  # fmt: skip
    orders = [rng.choice(p.says).format(**task.words) for p in (task.slice, task.selection, task.change) if p]
    says = task.outcome.says
    if isinstance(says, dict):
        says = says[task.change.gives if task.change else task.source.gives]
    orders.append("return " + rng.choice(says).format(**task.words))
    if rng.random() < 0.5:
        text = " ".join(order[0].upper() + order[1:] + "." for order in orders)
    else:
        text = ", ".join(orders[:-1]) + (" and " if len(orders) > 1 else "") + orders[-1] + "."
        text = text[0].upper() + text[1:]
    return f"{opening} {text}"


def make_test(task: Task, rng: random.Random, wrong: dict[str, str]) -> str:
    """Source of `check(candidate)`: the empty case, then inputs that tell each wrong program from the truth.

    wrong: programs by misreading. One that no input betrays is noted in `task.harmless`.
    """
    tries: list[tuple] = []
    truth: list = []

    def agrees(function: Callable, place: int) -> bool:
        while place >= len(tries):
            size = len(tries) if len(tries) < 2 else rng.randint(2, 7)
            given = task.source.draw(rng, task.values, size)
            if len(task.arguments) > len(task.source.arguments):
                given = (*given, task.values["k"] + rng.choice((-2, -1, 0, 0, 0, 1, 3)))
            tries.append(given)
            truth.append(task.true(*given))
        return _agrees(function, tries[place], truth[place])

    chosen = [0, 1]
    for kind, program in wrong.items():
        function = compiled(program, task.name)
        place = next((place for place in range(_TRIES) if not agrees(function, place)), None)
        if place is None:
            task.harmless.add(kind)
        elif place not in chosen:
            chosen.append(place)
    agrees(str, _CASES)
    chosen += [place for place in range(2, _CASES) if place not in chosen][: max(0, _CASES - len(chosen))]
    lines = ["def check(candidate):"]
    for place in chosen:
        call = f"candidate({', '.join(map(repr, tries[place]))})"
        lines.append(f"    assert {call} " + ("is None" if truth[place] is None else f"== {truth[place]!r}"))
    if isinstance(tries[0][0], list | dict):  # it must stay as it is
        given = next((given for given in tries if len(given[0]) > 2 and list(given[0]) != sorted(given[0])), tries[-1])
        lines += [f"    given = {given[0]!r}", f"    candidate({', '.join(['given', *map(repr, given[1:])])})"]
        lines.append(f"    assert given == {given[0]!r}")
    return "\n".join(lines) + "\n"


def compiled(program: str, name: str) -> Callable:
    """The function of a program that this package has written itself; what a model writes goes to the sandbox."""
    space: dict[str, Callable] = {}
    exec(compile(program, "<programmer>", "exec"), space)
    return space[name]


def _copied(given: tuple) -> tuple:
    return tuple(value.copy() if isinstance(value, list | dict) else value for value in given)


def _agrees(function: Callable, given: tuple, truth) -> bool:
    mine = _copied(given)
    try:
        return function(*mine) == truth and mine == given
    except Exception:
        return False
