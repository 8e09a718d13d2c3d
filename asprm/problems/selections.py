"""Selections and changes: which items MiniCode's functions keep, and what becomes of each (fields: `pieces.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asprm.problems.pieces import Change, ItemType, Numbers, Piece, Reading, Wordings

WrongReading = tuple[str, str, str]  # misconception, plan, code

# --- selections -------------------------------------------------------------------------------------------------------

_PLANS = {
    ">=": "keep those of {k} or more",
    ">": "keep those above {k}",
    "<=": "keep those up to {k}",
    "<": "keep those below {k}",
}
_LENGTHS = {
    ">=": "keep those with {k} letters or more",
    ">": "keep those with more than {k} letters",
    "<=": "keep those with up to {k} letters",
    "<": "keep those with fewer than {k} letters",
}
_COMPARE = {">=": lambda x, k: x >= k, ">": lambda x, k: x > k, "<=": lambda x, k: x <= k, "<": lambda x, k: x < k}


def _bound(name: str, wordings: Wordings, true: str, kind: str, wrong: str, *more: tuple[str, str]) -> Piece:
    """Numbers on one side of {k}. true: the sign. (kind, wrong), more: misconceptions with the signs that they give."""
    signs = (("", true), (kind, wrong), *more)
    readings = tuple(Reading(kind_, _PLANS[sign], f"{{x}} {sign} {{k}}") for kind_, sign in signs)
    return Piece(name, wordings, lambda x, v: _COMPARE[true](x, v["k"]), readings, numbers=(("k", 2, 12),))


def _length(name: str, wordings: Wordings, true: str, kind: str, wrong: str) -> Piece:
    """Words whose length lies on one side of {k}; see `_bound`."""
    readings = tuple(
        Reading(kind_, _LENGTHS[sign], f"len({{x}}) {sign} {{k}}") for kind_, sign in (("", true), (kind, wrong))
    )
    return Piece(name, wordings, lambda x, v: _COMPARE[true](len(x), v["k"]), readings, "word", (("k", 3, 5),))


def _select(
    name: str,
    wordings: Wordings,
    does: Callable[[Any, dict], bool],
    true: tuple[str, str],
    wrong: tuple[WrongReading, ...],
    takes: ItemType = "number",
    numbers: Numbers = (),
    signed: bool = False,
) -> Piece:
    """Any other selection. true: plan and code."""
    readings = (Reading("", *true), *(Reading(*reading) for reading in wrong))
    return Piece(name, wordings, does, readings, takes, numbers, signed)


SELECTIONS: tuple[Piece, ...] = (
    _bound("at_least", ("keep those that are at least {k}", "use only those of at least {k}"), ">=", "at-least", ">"),
    _bound(
        "more_than",
        ("keep those that are more than {k}", "use only those above {k}", "keep those greater than {k}"),
        ">",
        "more-than",
        ">=",
    ),
    _bound("at_most", ("keep those that are at most {k}", "use only those of at most {k}"), "<=", "at-most", "<"),
    _bound("no_more", ("keep those that are no more than {k}", "use only those not above {k}"), "<=", "no-more", "<"),
    _bound(
        "under",
        ("keep those that are less than {k}", "use only those below {k}", "keep those under {k}"),
        "<",
        "under",
        "<=",
    ),
    _bound("no_less", ("keep those that are no less than {k}", "use only those not below {k}"), ">=", "no-less", ">"),
    _bound(
        "drop_below",
        ("leave out those below {k}", "ignore those less than {k}"),
        ">=",
        "drop",
        ">",
        ("drop-keeps", "<"),
    ),
    _bound(
        "drop_above",
        ("leave out those above {k}", "ignore those greater than {k}"),
        "<=",
        "drop",
        "<",
        ("drop-keeps", ">"),
    ),
    _bound(
        "drop_from",
        ("leave out those of {k} or more", "ignore those that are at least {k}"),
        "<",
        "drop-from",
        "<=",
        ("drop-keeps", ">="),
    ),
    _select(
        "from_up_to",
        ("keep those from {a} to {b}, both included", "use only those from {a} up to and including {b}"),
        lambda x, v: v["a"] <= x <= v["b"],
        ("keep those from {a} up to {b}", "{a} <= {x} <= {b}"),
        (("inclusive", "keep those from {a} to below {b}", "{a} <= {x} < {b}"),),
        numbers=(("a", 1, 6), ("b", 0, 0)),
    ),
    _select(
        "between",
        ("keep those between {a} and {b}, without these two", "use only those strictly between {a} and {b}"),
        lambda x, v: v["a"] < x < v["b"],
        ("keep those above {a} and below {b}", "{a} < {x} < {b}"),
        (("exclusive", "keep those from {a} up to {b}", "{a} <= {x} <= {b}"),),
        numbers=(("a", 1, 6), ("b", 0, 0)),
    ),
    _select(
        "even",
        ("keep the even ones", "use only the even ones"),
        lambda x, v: x % 2 == 0,
        ("keep the even ones", "{x} % 2 == 0"),
        (("parity", "keep the odd ones", "{x} % 2 == 1"),),
    ),
    _select(
        "odd",
        ("keep the odd ones", "use only the odd ones"),
        lambda x, v: x % 2 == 1,
        ("keep the odd ones", "{x} % 2 == 1"),
        (("parity", "keep the even ones", "{x} % 2 == 0"),),
    ),
    _select(
        "not_even",
        ("leave out the even ones", "ignore the even ones"),
        lambda x, v: x % 2 == 1,
        ("keep the odd ones", "{x} % 2 == 1"),
        (("parity-not", "keep the even ones", "{x} % 2 == 0"),),
    ),
    _select(
        "multiple",
        ("keep those divisible by {m}", "use only the multiples of {m}"),
        lambda x, v: x % v["m"] == 0,
        ("keep the multiples of {m}", "{x} % {m} == 0"),
        (("multiple", "keep those with a remainder", "{x} % {m} != 0"),),
        numbers=(("m", 2, 5),),
    ),
    _select(
        "no_multiple",
        ("keep those not divisible by {m}", "leave out the multiples of {m}"),
        lambda x, v: x % v["m"] != 0,
        ("keep those with a remainder", "{x} % {m} != 0"),
        (("no-multiple", "keep the multiples of {m}", "{x} % {m} == 0"),),
        numbers=(("m", 2, 5),),
    ),
    _select(
        "positive",
        ("keep the positive ones", "use only the positive ones"),
        lambda x, v: x > 0,
        ("keep those above 0", "{x} > 0"),
        (("positive", "keep those of 0 or more", "{x} >= 0"),),
        signed=True,
    ),
    _select(
        "not_negative",
        ("keep those that are not negative", "leave out the negative ones"),
        lambda x, v: x >= 0,
        ("keep those of 0 or more", "{x} >= 0"),
        (("not-negative", "keep those above 0", "{x} > 0"),),
        signed=True,
    ),
    _select(
        "not_positive",
        ("keep those that are not positive", "leave out the positive ones"),
        lambda x, v: x <= 0,
        ("keep those up to 0", "{x} <= 0"),
        (("not-positive", "keep those below 0", "{x} < 0"),),
        signed=True,
    ),
    _select(
        "other_than",
        ("keep those other than {m}", "leave out each {m}"),
        lambda x, v: x != v["m"],
        ("keep all but {m}", "{x} != {m}"),
        (("other", "keep each {m}", "{x} == {m}"),),
        numbers=(("m", 2, 9),),
    ),
    _length("long_at_least", ("keep those of at least {k} letters",), ">=", "at-least", ">"),
    _length(
        "long_more",
        ("keep those of more than {k} letters", "use only those longer than {k} letters"),
        ">",
        "more-than",
        ">=",
    ),
    _length("long_at_most", ("keep those of at most {k} letters",), "<=", "at-most", "<"),
    _length(
        "long_no_more",
        ("keep those of no more than {k} letters", "use only those not longer than {k} letters"),
        "<=",
        "no-more",
        "<",
    ),
    _length(
        "long_under",
        ("keep those of fewer than {k} letters", "use only those shorter than {k} letters"),
        "<",
        "under",
        "<=",
    ),
    _length(
        "long_drop",
        ("leave out those shorter than {k} letters", "ignore those of fewer than {k} letters"),
        ">=",
        "drop",
        ">",
    ),
    _select(
        "begins",
        ("keep those that begin with {c}",),
        lambda x, v: x[0] == v["c"],
        ("keep those with {c} at the start", "{x}[0] == {c}"),
        (("begins", "keep those with {c} at the end", "{x}[-1] == {c}"),),
        "word",
    ),
    _select(
        "ends",
        ("keep those that end with {c}",),
        lambda x, v: x[-1] == v["c"],
        ("keep those with {c} at the end", "{x}[-1] == {c}"),
        (("ends", "keep those with {c} at the start", "{x}[0] == {c}"),),
        "word",
    ),
    _select(
        "holds",
        ("keep those with the letter {c}", "use only those that contain {c}"),
        lambda x, v: v["c"] in x,
        ("keep those with {c}", "{c} in {x}"),
        (("holds", "keep those without {c}", "{c} not in {x}"),),
        "word",
    ),
    _select(
        "lacks",
        ("leave out those with the letter {c}", "ignore those that contain {c}"),
        lambda x, v: v["c"] not in x,
        ("keep those without {c}", "{c} not in {x}"),
        (("lacks", "keep those with {c}", "{c} in {x}"),),
        "word",
    ),
    _select(
        "vowels",
        ("keep the vowels", "use only the vowels"),
        lambda x, v: x in "aeiou",
        ("keep the vowels", '{x} in "aeiou"'),
        (("vowels", "keep the others", '{x} not in "aeiou"'),),
        "char",
    ),
    _select(
        "no_vowels",
        ("leave out the vowels", "ignore the vowels"),
        lambda x, v: x not in "aeiou",
        ("keep the others", '{x} not in "aeiou"'),
        (("no-vowels", "keep the vowels", '{x} in "aeiou"'),),
        "char",
    ),
    _select(
        "no_char",
        ("leave out each {c}", "ignore each {c}"),
        lambda x, v: x != v["c"],
        ("keep all but {c}", "{x} != {c}"),
        (("other", "keep each {c}", "{x} == {c}"),),
        "char",
    ),
    _select(
        "up_to_char",
        ('keep the letters from "a" to {c}, both included',),
        lambda x, v: "a" <= x <= v["c"],
        ("keep those up to {c}", '"a" <= {x} <= {c}'),
        (("inclusive", "keep those before {c}", '"a" <= {x} < {c}'),),
        "char",
    ),
    _select(
        "from_char",
        ("keep the letters from {c} on", "use only the letters from {c} on"),
        lambda x, v: x >= v["c"],
        ("keep those from {c} on", "{x} >= {c}"),
        (("from-on", "keep those after {c}", "{x} > {c}"),),
        "char",
    ),
)


# --- changes ----------------------------------------------------------------------------------------------------------


def _change(
    name: str,
    wordings: Wordings,
    does: Callable[[Any, dict, int], Any],
    true: tuple[str, str],
    wrong: tuple[WrongReading, ...] = (),
    takes: ItemType = "number",
    gives: ItemType = "number",
    numbers: Numbers = (),
    weight: float = 1.0,
    numbered: bool = False,
) -> Change:
    """true: plan and code."""
    readings = (Reading("", *true), *(Reading(*reading) for reading in wrong))
    return Change(name, wordings, does, readings, takes, gives, numbers, weight=weight, numbered=numbered)


_D: Numbers = (("d", 2, 12),)
CHANGES: tuple[Change, ...] = (
    _change(
        "double",
        ("double each",),
        lambda x, v, i: 2 * x,
        ("double it", "{x} * 2"),
        (("double", "square it", "{x} ** 2"),),
    ),
    _change(
        "square",
        ("square each", "replace each by its square"),
        lambda x, v, i: x * x,
        ("square it", "{x} ** 2"),
        (("square", "double it", "{x} * 2"),),
    ),
    _change(
        "cube",
        ("replace each by its third power",),
        lambda x, v, i: x**3,
        ("take the third power", "{x} ** 3"),
        (("cube", "take it three times", "{x} * 3"),),
    ),
    _change(
        "half_down",
        ("halve each and round down", "replace each by half of it, rounded down"),
        lambda x, v, i: x // 2,
        ("halve it and round down", "{x} // 2"),
        (("floor", "halve it exactly", "{x} / 2"),),
    ),
    _change(
        "half",
        ("halve each", "replace each by half of it"),
        lambda x, v, i: x / 2,
        ("halve it exactly", "{x} / 2"),
        (("exact", "halve it and round down", "{x} // 2"),),
    ),
    _change(
        "share",
        ("divide each by {d} and round down",),
        lambda x, v, i: x // v["d"],
        ("divide it and round down", "{x} // {d}"),
        (("floor", "divide it exactly", "{x} / {d}"),),
        numbers=(("d", 3, 5),),
    ),
    _change("add", ("add {d} to each",), lambda x, v, i: x + v["d"], ("add {d}", "{x} + {d}"), (), numbers=_D),
    _change(
        "subtract",
        ("subtract {d} from each",),
        lambda x, v, i: x - v["d"],
        ("subtract {d} from it", "{x} - {d}"),
        (("subtract", "subtract it from {d}", "{d} - {x}"),),
        numbers=_D,
    ),
    _change(
        "lacking",
        ("subtract each from {d}", "replace each by what it lacks of {d}"),
        lambda x, v, i: v["d"] - x,
        ("subtract it from {d}", "{d} - {x}"),
        (("lacking", "subtract {d} from it", "{x} - {d}"),),
        numbers=_D,
    ),
    _change(
        "distance",
        ("replace each by its distance from {d}",),
        lambda x, v, i: abs(x - v["d"]),
        ("take the distance from {d}", "abs({x} - {d})"),
        (("distance", "subtract {d} from it", "{x} - {d}"),),
        numbers=_D,
    ),
    _change(
        "cap",
        ("lower those above {d} to {d}",),
        lambda x, v, i: min(x, v["d"]),
        ("let it be {d} at most", "min({x}, {d})"),
        (("cap", "let it be {d} at least", "max({x}, {d})"),),
        numbers=_D,
    ),
    _change(
        "lift",
        ("raise those below {d} to {d}",),
        lambda x, v, i: max(x, v["d"]),
        ("let it be {d} at least", "max({x}, {d})"),
        (("lift", "let it be {d} at most", "min({x}, {d})"),),
        numbers=_D,
    ),
    _change(
        "remainder",
        ("replace each by its remainder by {d}",),
        lambda x, v, i: x % v["d"],
        ("take the remainder", "{x} % {d}"),
        (("remainder", "take the quotient", "{x} // {d}"),),
        numbers=(("d", 3, 7),),
    ),
    _change(
        "turn",
        ("change the sign of each",),
        lambda x, v, i: -x,
        ("change its sign", "-{x}"),
        (("turn", "drop its sign", "abs({x})"),),
    ),
    _change(
        "position",
        ("replace each by its position, counted from 0",),
        lambda x, v, i: i,
        ("take its position from 0", "i"),
        (("position", "take its position from 1", "i + 1"),),
        "any",
        numbered=True,
        weight=0.8,
    ),
    _change(
        "place",
        ("replace each by its position, counted from 1",),
        lambda x, v, i: i + 1,
        ("take its position from 1", "i + 1"),
        (("place", "take its position from 0", "i"),),
        "any",
        numbered=True,
        weight=0.8,
    ),
    _change(
        "length",
        ("replace each by its length", "take the length of each"),
        lambda x, v, i: len(x),
        ("take its length", "len({x})"),
        (),
        "word",
        weight=2,
    ),
    _change(
        "upper",
        ("write each in capitals",),
        lambda x, v, i: x.upper(),
        ("write it in capitals", "{x}.upper()"),
        (),
        "word",
        "word",
    ),
    _change(
        "backwards",
        ("turn each round", "write each backwards"),
        lambda x, v, i: x[::-1],
        ("turn it round", "{x}[::-1]"),
        (),
        "word",
        "word",
    ),
    _change(
        "first_letter",
        ("replace each by its first letter",),
        lambda x, v, i: x[0],
        ("take the first letter", "{x}[0]"),
        (("first-letter", "take the last letter", "{x}[-1]"),),
        "word",
        "char",
    ),
    _change(
        "last_letter",
        ("replace each by its last letter",),
        lambda x, v, i: x[-1],
        ("take the last letter", "{x}[-1]"),
        (("last-letter", "take the first letter", "{x}[0]"),),
        "word",
        "char",
    ),
    _change(
        "tail",
        ("remove the first letter of each",),
        lambda x, v, i: x[1:],
        ("drop the first letter", "{x}[1:]"),
        (("tail", "keep the first letter", "{x}[:1]"),),
        "word",
        "word",
    ),
    _change(
        "trim",
        ("remove the last letter of each",),
        lambda x, v, i: x[:-1],
        ("drop the last letter", "{x}[:-1]"),
        (("trim", "drop the first letter", "{x}[1:]"),),
        "word",
        "word",
    ),
    _change("twice", ("write each twice",), lambda x, v, i: x * 2, ("write it twice", "{x} * 2"), (), "char", "word"),
    _change(
        "capital",
        ("write each as a capital",),
        lambda x, v, i: x.upper(),
        ("write it as a capital", "{x}.upper()"),
        (),
        "char",
        "char",
    ),
)
