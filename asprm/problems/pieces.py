"""The pieces that MiniCode's tasks are made of: what a piece is, the sources, and the slices.

Selections and changes are in `selections.py`, outcomes in `outcomes.py`.

All pieces have
- name: unique among the pieces;
- wordings: ways to ask for it in a problem's text;
- does: what it means, as a function, from which the tests are made;
- readings: the code that programmers write for it, first the true one, then one for each misconception;
- takes, gives: the type of its items, before and after;
- numbers: those that it needs, as (key, lowest, highest);
- signed: it makes sense only where items may be negative (a source: its items may be);
- weight: how often it is drawn, next to the others.

In wordings and code {x} is an item, {xs} what holds the items, {v} the list at hand, {r} the result; other keys are the
piece's numbers. Lines that begin with # are the programmer's plan, which each voice words in its own manner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

ItemType = Literal["number", "word", "char", "any"]
Wordings = tuple[str, ...]
Numbers = tuple[tuple[str, int, int], ...]


class Reading(NamedTuple):
    """One way to do a piece.

    kind: the misconception, "" for the truth. plan: the comment that announces it, without its #.
    """

    kind: str
    plan: str
    code: str


class Form(NamedTuple):
    """One way to reach an outcome: item by item, or at once from the list at hand; "" where it cannot be done so.

    kind: the misconception, "" for the truth. start, step, end: code before, in and after a loop over the items.
    whole: code that works on the list {v}.
    """

    kind: str
    start: str = ""
    step: str = ""
    end: str = ""
    whole: str = ""


class Piece(NamedTuple):
    """A slice or a selection: which items stay."""

    name: str
    wordings: Wordings
    does: Callable[[Any, dict], Any]  # slice: of the items and the numbers; selection: of an item and the numbers
    readings: tuple[Reading, ...]
    takes: ItemType = "number"
    numbers: Numbers = ()
    signed: bool = False
    weight: float = 1.0


class Change(NamedTuple):
    """What becomes of each item."""

    name: str
    wordings: Wordings
    does: Callable[[Any, dict, int], Any]  # of an item, the numbers, the item's position
    readings: tuple[Reading, ...]
    takes: ItemType = "number"
    gives: ItemType = "number"
    numbers: Numbers = ()
    signed: bool = False
    weight: float = 1.0
    numbered: bool = False  # needs the item's position


class Outcome(NamedTuple):
    """What the function returns of the items that are left."""

    name: str
    wordings: Wordings | dict[str, Wordings]  # the latter by the items' type
    does: Callable[[list, dict], Any]  # of the items that are left, and the numbers
    readings: tuple[Form, ...]
    takes: ItemType = "number"
    numbers: Numbers = ()
    signed: bool = False
    weight: float = 1.0
    filled: bool = False  # makes sense only after a slice, a selection or a change
    counts: bool = False  # depends on the number of items alone, so that a change would be idle


class Source(NamedTuple):
    """Where the items come from."""

    name: str
    wordings: Wordings
    nouns: tuple[tuple[str, str], ...]  # names of (what holds the items, an item): ("prices", "price")
    arguments: tuple[str, ...]
    given: tuple[str, ...]  # keys under which `items` reads the arguments
    items: Callable[[dict], Iterable]
    draw: Callable[[random.Random, dict, int], tuple]  # arguments that hold about so many items
    readings: tuple[Reading, ...]
    gives: ItemType = "number"
    sliced: bool = False  # the items are a sequence that can be sliced
    signed: bool = False
    small: bool = False  # its numbers are small, so that those of the other pieces must be
    weight: float = 1.0


AnyPiece = Source | Piece | Change | Outcome

# --- sources ----------------------------------------------------------------------------------------------------------

_NUMBERS = """prices price scores score ages age weights weight heights height points point costs cost sizes size marks
mark votes vote rates rate bids bid tips tip hits hit goals goal miles mile coins coin levels level loads load values
value numbers number amounts amount gains gain wages wage orders order sales sale debts debt depths depth speeds speed
""".split()
_WORDS = """words word names name cities city titles title labels label tags tag colors color fruits fruit towns town
plants plant pets pet songs song""".split()
_VOCABULARY = """a an ant bear cat eel iris lion nest noon oil owl rat rose salt sea stone tea tin tree train river
island otter answer lantern elastic notation reason""".split()


def _pairs(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(words[::2], words[1::2], strict=True))


def _numbers(rng: random.Random, values: dict, size: int) -> list[int]:
    """So many numbers, with repetitions. Many equal the task's own numbers or differ by 1; some are negative."""
    own = [values[key] + d for key in ("k", "a", "b", "m") if key in values for d in (-1, 0, 0, 1)]
    pool = [rng.randint(-9, 20) for _ in range(4)] + rng.sample(own, min(3, len(own))) + [0]
    if rng.random() < 0.15:
        pool = [rng.randint(-9, -1) for _ in range(4)]
    return [rng.choice(pool) for _ in range(size)]


def _words(rng: random.Random, values: dict, size: int) -> list[str]:
    """So many words, with repetitions, some of the length {k}."""
    pool = [*rng.sample(_VOCABULARY, 6), *[word for word in _VOCABULARY if len(word) == values.get("k")][:3]]
    return [rng.choice(pool) for _ in range(size)]


def _text(rng: random.Random, values: dict, size: int) -> str:
    """So many characters, many of them the task's letter {c}; few are no letters."""
    pool = [*rng.sample("abcdeghilmnorstuxyz", 4), values["c"], values["c"], "A", "T", " ", "7", "3"]
    return "".join(rng.choice(pool) for _ in range(size))


SOURCES: tuple[Source, ...] = (
    Source(
        "list",
        ("a list of {xs}", "the list `{xs}` of whole numbers", "a list of numbers, the {xs}"),
        _pairs(_NUMBERS),
        ("{xs}",),
        ("given",),
        lambda v: v["given"],
        lambda g, v, n: (_numbers(g, v, n),),
        (Reading("", "", "{xs}"),),
        sliced=True,
        signed=True,
        weight=6,
    ),
    Source(
        "table",
        ("a dictionary of {xs} by name", "the {xs} in a dictionary, by name"),
        _pairs(_NUMBERS),
        ("{xs}",),
        ("given",),
        lambda v: v["given"].values(),
        lambda g, v, n: (dict(zip("pqrstuvw", _numbers(g, v, n), strict=False)),),
        (Reading("", "", "{xs}.values()"),),
        signed=True,
        weight=1,
    ),
    Source(
        "digits",
        ("the digits of `number`", "a whole number and its digits"),
        (("digits", "digit"),),
        ("number",),
        ("given",),
        lambda v: map(int, str(v["given"])),
        lambda g, v, n: (g.choice((g.randint(0, 9), g.randint(10**n, 10 ** (n + 1)))),),
        (Reading("", "", "map(int, str(number))"),),
        small=True,
        weight=1,
    ),
    Source(
        "range_one",
        ("the whole numbers from 1 to `n`",),
        (("numbers", "number"),),
        ("n",),
        ("given",),
        lambda v: range(1, v["given"] + 1),
        lambda g, v, n: (g.randint(n, 2 * n + 1) if n else 0,),
        (Reading("", "", "range(1, n + 1)"), Reading("range-one", "", "range(1, n)")),
        small=True,
        weight=0.9,
    ),
    Source(
        "range_both",
        ("the whole numbers from `a` to `b`, both included",),
        (("numbers", "number"),),
        ("a", "b"),
        ("low", "high"),
        lambda v: range(v["low"], v["high"] + 1),
        lambda g, v, n: (lambda a: (a, a + n - 1 + g.randint(0, n)))(g.randint(-3, 9)),
        (Reading("", "", "range(a, b + 1)"), Reading("range-both", "", "range(a, b)")),
        small=True,
        weight=0.8,
    ),
    Source(
        "range_below",
        ("the whole numbers from 0 up, all below `n`",),
        (("numbers", "number"),),
        ("n",),
        ("given",),
        lambda v: range(v["given"]),
        lambda g, v, n: (g.randint(n, 2 * n + 1) if n else 0,),
        (Reading("", "", "range(n)"), Reading("range-below", "", "range(n + 1)")),
        small=True,
        weight=0.6,
    ),
    Source(
        "range_down",
        ("the whole numbers from `b` down to `a`, both included",),
        (("numbers", "number"),),
        ("a", "b"),
        ("low", "high"),
        lambda v: range(v["high"], v["low"] - 1, -1),
        lambda g, v, n: (lambda a: (a, a + n - 1 + g.randint(0, n)))(g.randint(-3, 9)),
        (Reading("", "", "range(b, a - 1, -1)"), Reading("range-down", "", "range(b, a, -1)")),
        small=True,
        weight=0.6,
    ),
    Source(
        "words",
        ("a list of {xs}", "the list `{xs}` of words"),
        _pairs(_WORDS),
        ("{xs}",),
        ("given",),
        lambda v: v["given"],
        lambda g, v, n: (_words(g, v, n),),
        (Reading("", "", "{xs}"),),
        "word",
        sliced=True,
        weight=2.6,
    ),
    Source(
        "split",
        ("a text and its words", "the words of a text"),
        (("text", "word"), ("line", "word"), ("note", "word")),
        ("{xs}",),
        ("given",),
        lambda v: v["given"].split(),
        lambda g, v, n: (" ".join(_words(g, v, n)),),
        (Reading("", "", "{xs}.split()"),),
        "word",
        weight=1,
    ),
    Source(
        "text",
        ("the characters of a text", "a text and its characters"),
        (("text", "char"), ("line", "char"), ("note", "char"), ("phrase", "char")),
        ("{xs}",),
        ("given",),
        lambda v: v["given"],
        lambda g, v, n: (_text(g, v, 2 * n),),
        (Reading("", "", "{xs}"),),
        "char",
        sliced=True,
        weight=1.6,
    ),
)

# --- slices -----------------------------------------------------------------------------------------------------------


def _slice(
    name: str,
    wordings: Wordings,
    does: Callable[[Any, dict], Any],
    true: str,
    kind: str = "",
    wrong: str = "",
    numbers: Numbers = (),
) -> Piece:
    """true: the code. kind, wrong: the misconception, if there is one, and its code."""
    readings = (Reading("", "", true), Reading(kind, "", wrong))[: 2 if kind else 1]
    return Piece(name, wordings, does, readings, "any", numbers)


SLICES: tuple[Piece, ...] = (
    _slice("skip_first", ("leave out the first one", "skip the first one"), lambda xs, v: xs[1:], "[1:]"),
    _slice("skip_two", ("leave out the first two",), lambda xs, v: xs[2:], "[2:]", "skip", "[1:]"),
    _slice("skip_last", ("leave out the last one",), lambda xs, v: xs[:-1], "[:-1]", "skip", "[:-2]"),
    _slice(
        "first_few",
        ("take only the first {n}",),
        lambda xs, v: xs[: v["n"]],
        "[:{n}]",
        "few",
        "[:{less}]",
        (("n", 2, 4),),
    ),
    _slice(
        "last_few",
        ("take only the last {n}",),
        lambda xs, v: xs[-v["n"] :],
        "[-{n}:]",
        "last-few",
        "[{n}:]",
        (("n", 2, 3),),
    ),
    _slice(
        "from_to",
        ("take only positions {p} to {q}, counted from 0, both included",),
        lambda xs, v: xs[v["p"] : v["q"] + 1],
        "[{p}:{next}]",
        "from-to",
        "[{p}:{q}]",
        (("p", 0, 2), ("q", 0, 0)),
    ),
    _slice(
        "second_one", ("take every second one from the first on",), lambda xs, v: xs[::2], "[::2]", "second", "[1::2]"
    ),
    _slice(
        "second_two",
        ("take every second one from the second on",),
        lambda xs, v: xs[1::2],
        "[1::2]",
        "second-two",
        "[::2]",
    ),
    _slice("from_third", ("begin with the third one",), lambda xs, v: xs[2:], "[2:]", "third", "[3:]"),
)
