"""Outcomes: what MiniCode's functions return of the items that are left (fields: `pieces.py`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, pairwise

from asprm.problems.pieces import Form, Outcome

# Each of the functions below makes a form, true where its `kind` is "", for one kind of outcome.


def _counted(kind: str, end: str, whole: str) -> Form:
    """From the number of items."""
    return Form(kind, "# start the count at 0\n{r} = 0", "{r} += 1", end, whole)


def _best(kind: str, noun: str, sign: str, zero: bool = False) -> Form:
    """The largest (sign ">") or smallest item, None without any; zero: the search starts at 0."""
    start, test = ("0", "") if zero else ("None", "{r} is None or ")
    plan = f"# start the {noun} at 0" if zero else f"# there is no {noun} yet"
    function = "max" if sign == ">" else "min"
    whole = f"# take the {noun}, None without any\nreturn {function}({{v}}, default=None)"
    if zero:
        whole = f"# take the {noun}, 0 without any\nreturn {function}({{v}}, default=0)"
    return Form(
        kind, f"{plan}\n{{r}} = {start}", f"if {test}{{x}} {sign} {{r}}:\n    {{r}} = {{x}}", "return {r}", whole
    )


def _average(kind: str, sign: str, guard: bool) -> Form:
    """sign: "/" divides exactly, "//" rounds down. guard: whether it is 0 without items."""
    start, step = "# start both at 0\ntotal = 0\ncount = 0", "total += {x}\ncount += 1"
    end = whole = ""
    if guard:
        end, whole = (
            "# without any it is 0\nif count == 0:\n    return 0\n",
            "# without any it is 0\nif not {v}:\n    return 0\n",
        )
    plan = "# divide exactly\n" if sign == "/" else "# divide and round down\n"
    return Form(
        kind, start, step, f"{end}{plan}return total {sign} count", f"{whole}{plan}return sum({{v}}) {sign} len({{v}})"
    )


def _neighbours(kind: str, sign: str, plan: str) -> Form:
    """How often an item compares so with the one before."""
    step = f"# {plan}\nif previous is not None and {{x}} {sign} previous:\n    {{r}} += 1\nprevious = {{x}}"
    return Form(kind, "{r} = 0\nprevious = None", step, "return {r}")


def _so_far(kind: str, zero: bool) -> Form:
    """The largest so far, for each item; zero: the search starts at 0."""
    test, start, plan = (
        ("", "0", "start the largest at 0") if zero else ("best is None or ", "None", "there is no largest yet")
    )
    step = f"if {test}{{x}} > best:\n    best = {{x}}\n{{r}}.append(best)"
    return Form(kind, f"# {plan}\n{{r}} = []\nbest = {start}", step, "return {r}")


def _extreme(kind: str, sign: str, plan: str) -> Form:
    """The longest or shortest word."""
    step = f"# {plan}\nif {{r}} is None or len({{x}}) {sign} len({{r}}):\n    {{r}} = {{x}}"
    return Form(kind, "{r} = None", step, "return {r}")


def _sorted(kind: str, plan: str, option: str) -> Form:
    """The items in order. option: of `sorted`."""
    end = f"# sort from {plan}\nreturn sorted({{r}}{option})"
    return Form(kind, "{r} = []", "{r}.append({x})", end, f"# sort from {plan}\nreturn sorted({{v}}{option})")


_FIRST = (
    "",
    "# the first one ends it\nreturn {x}",
    "return None",
    "# take the first, None without any\nreturn {v}[0] if {v} else None",
)
_LAST = (
    "# remember the last one\n{r} = None",
    "{r} = {x}",
    "return {r}",
    "# take the last, None without any\nreturn {v}[-1] if {v} else None",
)
_ALL = Form(
    "distinct", "# start the count at 0\n{r} = 0", "{r} += 1", "return {r}", "# count them all\nreturn len({v})"
)


def _grouped(xs: list, key: Callable) -> dict:
    """The items by their key."""
    groups: dict = {}
    for x in xs:
        groups.setdefault(key(x), []).append(x)
    return groups


OUTCOMES: tuple[Outcome, ...] = (
    Outcome(
        "count",
        ("how many there are", "their number"),
        lambda xs, v: len(xs),
        (
            _counted("", "return {r}", "# count them\nreturn len({v})"),
            Form("count-one", "# start the count at 1\n{r} = 1", "{r} += 1", "return {r}"),
        ),
        "any",
        filled=True,
        counts=True,
        weight=1.2,
    ),
    Outcome(
        "sum",
        ("their sum", "the sum of them"),
        lambda xs, v: sum(xs),
        (Form("", "# start the sum at 0\n{r} = 0", "{r} += {x}", "return {r}", "# add them up\nreturn sum({v})"),),
        weight=1.2,
    ),
    Outcome(
        "product",
        ("their product, 1 if there is none", "the product of them, 1 without any"),
        lambda xs, v: math.prod(xs),
        (
            Form("", "# start the product at 1\n{r} = 1", "{r} *= {x}", "return {r}"),
            Form("product-zero", "# start the product at 0\n{r} = 0", "{r} *= {x}", "return {r}"),
        ),
    ),
    Outcome(
        "largest",
        ("the largest of them, or None if there is none",),
        lambda xs, v: max(xs, default=None),
        (_best("", "largest", ">"), _best("largest-zero", "largest", ">", True)),
    ),
    Outcome(
        "smallest",
        ("the smallest of them, or None if there is none",),
        lambda xs, v: min(xs, default=None),
        (_best("", "smallest", "<"), _best("smallest-zero", "smallest", "<", True)),
    ),
    Outcome(
        "average",
        ("their average, 0 if there is none",),
        lambda xs, v: sum(xs) / len(xs) if xs else 0,
        (_average("", "/", True), _average("average-empty", "/", False), _average("average-floor", "//", True)),
    ),
    Outcome(
        "average_down",
        ("their average, rounded down, 0 if there is none",),
        lambda xs, v: sum(xs) // len(xs) if xs else 0,
        (_average("", "//", True), _average("average-empty", "//", False), _average("average-exact", "/", True)),
    ),
    Outcome(
        "spread",
        ("the largest minus the smallest, 0 if there is none",),
        lambda xs, v: max(xs) - min(xs) if xs else 0,
        (
            Form(
                "",
                whole="# without any it is 0\nif not {v}:\n    return 0\n"
                "# subtract the smallest\nreturn max({v}) - min({v})",
            ),
            Form("spread-empty", whole="# subtract the smallest\nreturn max({v}) - min({v})"),
        ),
    ),
    Outcome(
        "first",
        ("the first of them, or None if there is none",),
        lambda xs, v: xs[0] if xs else None,
        (Form("", *_FIRST), Form("first", *_LAST), Form("first-empty", whole="# take the first\nreturn {v}[0]")),
        "any",
        filled=True,
    ),
    Outcome(
        "last",
        ("the last of them, or None if there is none",),
        lambda xs, v: xs[-1] if xs else None,
        (Form("", *_LAST), Form("last", *_FIRST), Form("last-empty", whole="# take the last\nreturn {v}[-1]")),
        "any",
        filled=True,
    ),
    Outcome(
        "listing",
        ("the list of them", "a list of what is left"),
        lambda xs, v: list(xs),
        (Form("", "# collect them\n{r} = []", "{r}.append({x})", "return {r}", "return {v}"),),
        "any",
        filled=True,
    ),
    Outcome(
        "ascending",
        {
            "number": ("them in ascending order", "a new list, the smallest first"),
            "word": ("them in alphabetical order",),
            "char": ("a list of them in alphabetical order",),
        },
        lambda xs, v: sorted(xs),
        (
            _sorted("", "first to last", ""),
            _sorted("ascending", "last to first", ", reverse=True"),
            Form("mutates", whole="# sort the list itself\n{v}.sort()\nreturn {v}"),
        ),
        "any",
    ),
    Outcome(
        "descending",
        {
            "number": ("them in descending order", "a new list, the largest first"),
            "word": ("them in reverse alphabetical order",),
            "char": ("a list of them in reverse alphabetical order",),
        },
        lambda xs, v: sorted(xs, reverse=True),
        (
            _sorted("", "last to first", ", reverse=True"),
            _sorted("descending", "first to last", ""),
            Form("mutates", whole="# sort the list itself\n{v}.sort(reverse=True)\nreturn {v}"),
        ),
        "any",
    ),
    Outcome(
        "distinct",
        ("how many different ones there are", "the number of different ones"),
        lambda xs, v: len(set(xs)),
        (
            Form(
                "",
                "# gather the different ones\nseen = set()",
                "seen.add({x})",
                "return len(seen)",
                "# count the different ones\nreturn len(set({v}))",
            ),
            _ALL,
        ),
        "any",
    ),
    Outcome(
        "totals",
        ("the list of their running totals",),
        lambda xs, v: list(accumulate(xs)),
        (
            Form(
                "",
                "{r} = []\ntotal = 0",
                "# add it, then note the total\ntotal += {x}\n{r}.append(total)",
                "return {r}",
            ),
            Form(
                "totals",
                "{r} = []\ntotal = 0",
                "# note the total, then add it\n{r}.append(total)\ntotal += {x}",
                "return {r}",
            ),
        ),
    ),
    Outcome(
        "maxima",
        ("a list with the largest so far for each",),
        lambda xs, v: list(accumulate(xs, max)),
        (_so_far("", False), _so_far("maxima", True)),
    ),
    Outcome(
        "differences",
        ("a list of how much each exceeds the one before",),
        lambda xs, v: [b - a for a, b in pairwise(xs)],
        (
            Form(
                "",
                "{r} = []\nprevious = None",
                "# subtract the one before\nif previous is not None:\n    {r}.append({x} - previous)\nprevious = {x}",
                "return {r}",
            ),
            Form(
                "differences",
                "{r} = []\nprevious = None",
                "# subtract it from the one before\nif previous is not None:\n"
                "    {r}.append(previous - {x})\nprevious = {x}",
                "return {r}",
            ),
        ),
    ),
    Outcome(
        "rises",
        ("how often one is larger than the one before",),
        lambda xs, v: sum(b > a for a, b in pairwise(xs)),
        (
            _neighbours("", ">", "is it larger than the one before"),
            _neighbours("rises", ">=", "is it as large as the one before"),
        ),
    ),
    Outcome(
        "no_falls",
        ("how often one is not smaller than the one before",),
        lambda xs, v: sum(b >= a for a, b in pairwise(xs)),
        (
            _neighbours("", ">=", "is it as large as the one before"),
            _neighbours("no-falls", ">", "is it larger than the one before"),
        ),
    ),
    Outcome(
        "enough",
        ("whether there are at least {j} of them",),
        lambda xs, v: len(xs) >= v["j"],
        (
            _counted(
                "", "# are there {j} or more\nreturn {r} >= {j}", "# are there {j} or more\nreturn len({v}) >= {j}"
            ),
            _counted(
                "at-least",
                "# are there more than {j}\nreturn {r} > {j}",
                "# are there more than {j}\nreturn len({v}) > {j}",
            ),
        ),
        "any",
        (("j", 2, 4),),
        filled=True,
        counts=True,
    ),
    Outcome(
        "few",
        ("whether there are no more than {j} of them",),
        lambda xs, v: len(xs) <= v["j"],
        (
            _counted("", "# are there up to {j}\nreturn {r} <= {j}", "# are there up to {j}\nreturn len({v}) <= {j}"),
            _counted(
                "no-more",
                "# are there fewer than {j}\nreturn {r} < {j}",
                "# are there fewer than {j}\nreturn len({v}) < {j}",
            ),
        ),
        "any",
        (("j", 2, 3),),
        filled=True,
        counts=True,
    ),
    Outcome(
        "each",
        ("a dictionary that says how often each occurs",),
        lambda xs, v: dict(Counter(xs)),
        (
            Form("", "{r} = {{}}", "# count each from 0\n{r}[{x}] = {r}.get({x}, 0) + 1", "return {r}"),
            Form("each", "{r} = {{}}", "# count each from 1\n{r}[{x}] = {r}.get({x}, 1) + 1", "return {r}"),
        ),
        "any",
    ),
    Outcome(
        "alternating",
        ("the first minus the second plus the third and so on",),
        lambda xs, v: sum(xs[::2]) - sum(xs[1::2]),
        (
            Form("", "# begin with a plus\n{r} = 0\nsign = 1", "{r} += sign * {x}\nsign = -sign", "return {r}"),
            Form(
                "alternating",
                "# begin with a minus\n{r} = 0\nsign = -1",
                "{r} += sign * {x}\nsign = -sign",
                "return {r}",
            ),
        ),
    ),
    Outcome(
        "joined",
        ("a text of them with {s} between two",),
        lambda xs, v: v["s"].join(map(str, xs)),
        (
            Form(
                "",
                "# collect them as texts\n{r} = []",
                "{r}.append(str({x}))",
                "return {s}.join({r})",
                "# put {s} between two\nreturn {s}.join(str({x}) for {x} in {v})",
            ),
            Form(
                "joined",
                '# begin with an empty text\n{r} = ""',
                "{r} += str({x}) + {s}",
                "return {r}",
                '# put {s} after each\nreturn "".join(str({x}) + {s} for {x} in {v})',
            ),
        ),
        "any",
    ),
    Outcome(
        "second",
        ("the second largest of the different values, or None if there are not two",),
        lambda xs, v: sorted(set(xs))[-2] if len(set(xs)) > 1 else None,
        (
            Form(
                "",
                whole="# sort the different ones\nordered = sorted(set({v}))\n# without two there is none\n"
                "if len(ordered) < 2:\n    return None\nreturn ordered[-2]",
            ),
            Form(
                "second-distinct",
                whole="# sort them all\nordered = sorted({v})\n# without two there is none\n"
                "if len(ordered) < 2:\n    return None\nreturn ordered[-2]",
            ),
            Form("second-empty", whole="# sort the different ones\nordered = sorted(set({v}))\nreturn ordered[-2]"),
        ),
    ),
    Outcome(
        "extended",
        ("a new list with {j} added at the end",),
        lambda xs, v: [*xs, v["j"]],
        (
            Form("", whole="# work on a copy\n{r} = list({v})\n{r}.append({j})\nreturn {r}"),
            Form("extended", whole="# work on the list itself\n{r} = {v}\n{r}.append({j})\nreturn {r}"),
        ),
        numbers=(("j", 2, 9),),
    ),
    Outcome(
        "reversed",
        ("a new list of them in reverse order", "a new list of them, the last one first"),
        lambda xs, v: xs[::-1],
        (
            Form("", whole="# turn a copy round\n{r} = list({v})\n{r}.reverse()\nreturn {r}"),
            Form("reversed", whole="# turn the list itself round\n{r} = {v}\n{r}.reverse()\nreturn {r}"),
        ),
        "any",
    ),
    Outcome(
        "longest",
        ("the longest, of several the first, or None if there is none",),
        lambda xs, v: max(xs, key=len, default=None),
        (_extreme("", ">", "a longer one takes its place"), _extreme("tie-first", ">=", "one as long takes its place")),
        "word",
    ),
    Outcome(
        "longest_last",
        ("the longest, of several the last, or None if there is none",),
        lambda xs, v: max(xs[::-1], key=len, default=None),
        (_extreme("", ">=", "one as long takes its place"), _extreme("tie-last", ">", "a longer one takes its place")),
        "word",
    ),
    Outcome(
        "shortest",
        ("the shortest, of several the first, or None if there is none",),
        lambda xs, v: min(xs, key=len, default=None),
        (
            _extreme("", "<", "a shorter one takes its place"),
            _extreme("tie-first", "<=", "one as short takes its place"),
        ),
        "word",
    ),
    Outcome(
        "by_length",
        ("a dictionary from length to the list of those of that length",),
        lambda xs, v: _grouped(xs, len),
        (
            Form(
                "",
                "{r} = {{}}",
                "# add it to those of its length\n{r}.setdefault(len({x}), []).append({x})",
                "return {r}",
            ),
            Form("group", "{r} = {{}}", "# note it under its length\n{r}[len({x})] = [{x}]", "return {r}"),
        ),
        "word",
    ),
    Outcome(
        "total_length",
        ("how many letters they have together",),
        lambda xs, v: sum(map(len, xs)),
        (
            Form(
                "",
                "# start the sum at 0\n{r} = 0",
                "{r} += len({x})",
                "return {r}",
                "# add up their lengths\nreturn sum(len({x}) for {x} in {v})",
            ),
            Form(
                "total-length",
                "# start the count at 0\n{r} = 0",
                "{r} += 1",
                "return {r}",
                "# count them\nreturn len({v})",
            ),
        ),
        "word",
    ),
    Outcome(
        "glued",
        ("one text of them", "them as one text"),
        lambda xs, v: "".join(xs),
        (
            Form(
                "",
                '# begin with an empty text\n{r} = ""',
                "{r} += {x}",
                "return {r}",
                '# put them together\nreturn "".join({v})',
            ),
        ),
        "word",
    ),
    Outcome(
        "glued_chars",
        ("one text of them", "them as one text"),
        lambda xs, v: "".join(xs),
        (
            Form(
                "",
                '# begin with an empty text\n{r} = ""',
                "{r} += {x}",
                "return {r}",
                '# put them together\nreturn "".join({v})',
            ),
        ),
        "char",
    ),
    Outcome(
        "mirrored",
        ("one text of them, the last one first",),
        lambda xs, v: "".join(xs[::-1]),
        (
            Form("", '{r} = ""', "# put it in front\n{r} = {x} + {r}", "return {r}"),
            Form("mirrored", '{r} = ""', "# put it behind\n{r} = {r} + {x}", "return {r}"),
        ),
        "char",
    ),
)
