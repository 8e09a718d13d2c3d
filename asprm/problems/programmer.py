"""Simulated programmers: they write the programs that policies of code learn from.

A programmer takes a task piece by piece. At each piece the programmer may fall for one of the misconceptions that it
invites, at the rates below; the comment that plans the next lines always agrees with these lines. With all rates zero
the programmer writes the true program. The function's verb (`minicode.VERBS`) fixes layout and wording, so that a
policy seldom has to guess them: what remains in doubt is what to do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from asprm.problems.minicode import Misreading, Task
from asprm.problems.outcomes import OUTCOMES
from asprm.problems.pieces import SLICES, SOURCES, AnyPiece, Change, Form, Outcome, Piece, Reading, Source
from asprm.problems.selections import CHANGES, SELECTIONS
from asprm.problems.student import Misconception

# Which of them a piece invites depends on the problem's wording. Some wordings mislead most programmers, so that even a
# policy's greedy choice is wrong there.
MISCONCEPTIONS: dict[str, Misconception] = {
    # bounds
    "at-least": Misconception(0.10, '"at least 5": takes only what is above 5'),
    "more-than": Misconception(0.05, '"more than 5": takes 5 too'),
    "at-most": Misconception(0.12, '"at most 5": takes only what is below 5'),
    "no-more": Misconception(0.62, '"no more than 5": takes only what is below 5'),
    "under": Misconception(0.05, '"less than 5": takes 5 too'),
    "no-less": Misconception(0.62, '"no less than 5": takes only what is above 5'),
    "drop": Misconception(0.55, '"leave out those below 5": leaves out 5 too'),
    "drop-from": Misconception(0.25, '"leave out those of 5 or more": keeps 5'),
    "drop-keeps": Misconception(0.10, '"leave out those below 5": keeps only those below 5'),
    "inclusive": Misconception(0.45, '"from 3 to 8, both included": leaves out the end'),
    "exclusive": Misconception(0.20, '"strictly between 3 and 8": takes 3 and 8 too'),
    "from-on": Misconception(0.20, '"the letters from c on": begins after c'),
    "positive": Misconception(0.15, '"positive": takes 0 too'),
    "not-negative": Misconception(0.60, '"not negative": leaves out 0'),
    "not-positive": Misconception(0.60, '"not positive": leaves out 0'),
    # kinds of items
    "parity": Misconception(0.04, '"the even ones": keeps the odd ones, or the other way round'),
    "parity-not": Misconception(0.35, '"leave out the even ones": keeps only these'),
    "multiple": Misconception(0.06, '"divisible by 3": keeps those with a remainder'),
    "no-multiple": Misconception(0.25, '"not divisible by 3": keeps the multiples'),
    "other": Misconception(0.10, '"other than 7": keeps each 7'),
    "begins": Misconception(0.06, '"begin with c": looks at the last letter'),
    "ends": Misconception(0.15, '"end with c": looks at the first letter'),
    "holds": Misconception(0.04, '"with the letter c": keeps those without it'),
    "lacks": Misconception(0.30, '"leave out those with the letter c": keeps only these'),
    "vowels": Misconception(0.04, '"keep the vowels": keeps the others'),
    "no-vowels": Misconception(0.30, '"leave out the vowels": keeps only these'),
    # ranges and slices
    "range-one": Misconception(0.35, '"from 1 to n": ends before n'),
    "range-both": Misconception(0.55, '"from a to b, both included": ends before b'),
    "range-below": Misconception(0.15, '"below n": takes n too'),
    "range-down": Misconception(0.62, '"from b down to a, both included": ends before a'),
    "skip": Misconception(0.10, '"leave out the first two", or the last one: leaves out one too few, or one too many'),
    "few": Misconception(0.10, '"the first 3": takes one too few'),
    "last-few": Misconception(0.35, '"the last 3": leaves out the first 3'),
    "from-to": Misconception(0.60, '"positions 1 to 3, both included": ends before 3'),
    "second": Misconception(0.15, '"every second one from the first on": begins with the second'),
    "second-two": Misconception(0.40, '"every second one from the second on": begins with the first'),
    "third": Misconception(0.58, '"begin with the third one": begins at position 3, which is the fourth'),
    # arithmetic
    "double": Misconception(0.05, '"double": squares'),
    "square": Misconception(0.20, '"square": doubles'),
    "cube": Misconception(0.45, '"third power": multiplies by 3'),
    "floor": Misconception(0.30, '"round down": divides exactly'),
    "exact": Misconception(0.55, '"half of it": rounds down'),
    "subtract": Misconception(0.05, '"subtract 5 from each": subtracts each from 5'),
    "lacking": Misconception(0.45, '"subtract each from 5": subtracts 5 from each'),
    "distance": Misconception(0.50, '"distance from 5": subtracts 5 and keeps the sign'),
    "cap": Misconception(0.35, '"lower those above 5 to 5": raises those below 5 instead'),
    "lift": Misconception(0.40, '"raise those below 5 to 5": lowers those above 5 instead'),
    "remainder": Misconception(0.15, '"remainder": takes the quotient'),
    "turn": Misconception(0.15, '"change the sign": drops the sign'),
    "position": Misconception(0.12, '"counted from 0": counts from 1'),
    "place": Misconception(0.50, '"counted from 1": counts from 0'),
    # letters
    "first-letter": Misconception(0.05, '"first letter": takes the last'),
    "last-letter": Misconception(0.15, '"last letter": takes the first'),
    "tail": Misconception(0.25, '"remove the first letter": keeps only the first'),
    "trim": Misconception(0.30, '"remove the last letter": removes the first'),
    # initial values and empty cases
    "count-one": Misconception(0.06, "a count: starts at 1"),
    "product-zero": Misconception(0.40, "a product: starts at 0"),
    "largest-zero": Misconception(0.58, "the largest, where all may be negative: starts at 0"),
    "smallest-zero": Misconception(0.40, "the smallest, where all may be positive: starts at 0"),
    "maxima": Misconception(0.58, "the largest so far, where all may be negative: starts at 0"),
    "average-empty": Misconception(0.40, "an average: forgets the empty case"),
    "average-floor": Misconception(0.15, "an average: rounds down"),
    "average-exact": Misconception(0.25, '"average, rounded down": divides exactly'),
    "spread-empty": Misconception(0.55, "largest minus smallest: forgets the empty case"),
    "first-empty": Misconception(0.30, '"the first, or None if there is none": forgets the empty case'),
    "last-empty": Misconception(0.40, '"the last, or None if there is none": forgets the empty case'),
    "second-empty": Misconception(0.20, "the second largest: forgets that there may not be two"),
    "each": Misconception(0.25, "how often each occurs: starts each count at 1"),
    "alternating": Misconception(0.15, "the first minus the second plus the third …: begins with a minus"),
    # order, occurrence, equality
    "first": Misconception(0.10, '"the first": takes the last'),
    "last": Misconception(0.25, '"the last": takes the first'),
    "ascending": Misconception(0.05, '"ascending": sorts in descending order'),
    "descending": Misconception(0.25, '"descending": sorts in ascending order'),
    "distinct": Misconception(0.45, '"how many different ones": counts all'),
    "second-distinct": Misconception(0.40, '"the second largest of the different values": keeps equal ones'),
    "totals": Misconception(0.25, "running totals: notes each total before adding"),
    "differences": Misconception(0.30, "how much each exceeds the one before: subtracts the other way round"),
    "rises": Misconception(0.12, '"larger than the one before": counts equal ones too'),
    "no-falls": Misconception(0.58, '"not smaller than the one before": does not count equal ones'),
    "tie-first": Misconception(0.20, '"the longest, of several the first": takes the last'),
    "tie-last": Misconception(0.58, '"the longest, of several the last": takes the first'),
    "mirrored": Misconception(0.20, '"the last one first": adds each at the end'),
    # lists, texts, dictionaries
    "mutates": Misconception(0.50, "items in order: sorts the list that was given, not a copy"),
    "extended": Misconception(0.58, '"a new list with one added": adds to the list that was given'),
    "reversed": Misconception(0.50, '"a new list in reverse order": reverses the list that was given'),
    "joined": Misconception(0.35, '"with - between two": puts it after each'),
    "group": Misconception(0.30, "groups by length: forgets the earlier words of a group"),
    "total-length": Misconception(0.20, "letters of all words together: counts the words"),
}


class _Manner(NamedTuple):
    """How a voice writes programs.

    loop: whether in one loop over the items, where the outcome allows it, or with one list after the other.
    plan: how a comment words its plan. result: the name of the result {r}.
    """

    loop: bool
    plan: str
    result: str


_MANNERS = (  # one for each voice
    _Manner(True, "{plan}", "result"),
    _Manner(False, "{plan}", "result"),
    _Manner(True, "{Plan}.", "answer"),
    _Manner(False, "step {n}: {plan}", "answer"),
    _Manner(True, "{first} {plan}", "out"),
    _Manner(False, "now {plan}", "out"),
)

VOCABULARY = (
    {  # the words of all plans and all code, whatever the task; the items' names are not among them
        word.lower()
        for piece in (*SOURCES, *SLICES, *SELECTIONS, *CHANGES, *OUTCOMES)
        for reading in piece.readings
        for text in reading[1:]
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text))
    }
    | set("kept values value enumerate list step first then now def python".split())
)


def write(task: Task, rng: random.Random | None = None) -> str:
    """A programmer's completion for the task, a fenced program. Without `rng`: the true one."""
    return f"```python\n{program(task, {} if rng is None else _choose(task, rng))}```"


def misreadings(task: Task) -> list[Misreading]:
    """All misreadings that the task invites, harmless ones included."""
    return [(piece.name, reading.kind) for piece in task.pieces for reading in _offered(task, piece) if reading.kind]


def _choose(task: Task, rng: random.Random) -> dict[str, str]:
    """The misconceptions that a programmer falls for, by piece. One draw a piece decides between the truth and all."""
    chosen = {}
    for piece in task.pieces:
        draw = rng.random()
        for reading in _offered(task, piece):
            if not reading.kind or (piece.name, reading.kind) in task.harmless:
                continue
            draw -= MISCONCEPTIONS[reading.kind].rate
            if draw < 0:
                chosen[piece.name] = reading.kind
                break
    return chosen


def _in_a_loop(task: Task) -> bool:
    """Whether the program reaches the outcome in one loop over the items."""
    return _MANNERS[task.voice].loop and task.outcome.readings[0].step != ""


def _offered(task: Task, piece: AnyPiece) -> Sequence[Reading | Form]:
    """The readings of one of the task's pieces that the voice can write."""
    return _forms(task) if isinstance(piece, Outcome) else piece.readings


def _forms(task: Task) -> list[Form]:
    """The ways to the task's outcome that the voice can write."""
    forms = task.outcome.readings
    if not _in_a_loop(task) and forms[0].whole:
        return [form for form in forms if form.whole]
    return [form for form in forms if form.step]


# --- programs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """What a programmer makes of the pieces, as code with placeholders. items: the source, sliced."""

    items: str
    selection: Reading | None
    change: Reading | None
    form: Form

    @classmethod
    def of(cls, task: Task, wrong: dict[str, str]) -> Self:
        """wrong: the misconceptions that the programmer falls for, by piece."""

        def reading(piece: Source | Piece | Change) -> Reading:
            return next(option for option in piece.readings if option.kind == wrong.get(piece.name, ""))

        return cls(
            items=reading(task.source).code + (reading(task.slice).code if task.slice else ""),
            selection=reading(task.selection) if task.selection else None,
            change=reading(task.change) if task.change else None,
            form=next(form for form in _forms(task) if form.kind == wrong.get(task.outcome.name, "")),
        )


class _Draft:
    """The lines of a program. words: what stands for {x}, {xs}, {r} …; a changed item is called "value"."""

    def __init__(self, words: dict[str, str], changed: bool) -> None:
        self.lines: list[str] = []
        self.words = words
        self.words_after = words | {"x": "value"} if changed else words  # after the change

    def put(self, depth: int, text: str) -> None:
        """Add the lines of `text`, indented so many times."""
        self.lines += ["    " * depth + line for line in text.format(**self.words).splitlines()]

    def put_after(self, depth: int, text: str, **words: str) -> None:
        """As `put`, for code that works on changed items."""
        self.lines += ["    " * depth + line for line in text.format(**self.words_after, **words).splitlines()]


def program(task: Task, wrong: dict[str, str]) -> str:
    """The program of a programmer who falls for the misconceptions `wrong`, {piece: kind}."""
    manner, parts = _MANNERS[task.voice], _Parts.of(task, wrong)
    draft = _Draft(task.words | {"r": manner.result}, changed=task.change is not None)
    draft.put(0, f"def {task.name}({', '.join(task.arguments)}):")
    numbered = task.change is not None and task.change.numbered
    each = f"for i, {{x}} in enumerate({parts.items})" if numbered else f"for {{x}} in {parts.items}"
    if _in_a_loop(task):
        _write_loop(draft, parts, each)
    else:
        at_hand = _write_together(draft, parts, each) if numbered else _write_lists(draft, parts, each)
        _write_outcome(draft, parts, at_hand, task)
    return _spoken(manner, draft.lines)


def _write_loop(draft: _Draft, parts: _Parts, each: str) -> None:
    """Select, change and use each item in one loop. each: the loop's head."""
    draft.put(1, parts.form.start)
    draft.put(1, f"{each}:")
    depth = 2
    if parts.selection:
        draft.put(depth, f"# {parts.selection.plan}\nif {parts.selection.code}:")
        depth = 3
    if parts.change:
        draft.put(depth, f"# {parts.change.plan}\nvalue = {parts.change.code}")
    draft.put_after(depth, parts.form.step)
    draft.put_after(1, parts.form.end)


def _write_together(draft: _Draft, parts: _Parts, each: str) -> str:
    """Select and change in one list, for a change by position: positions count all items. Returns the list's name."""
    assert parts.change is not None
    plans = "".join(f"# {part.plan}\n" for part in (parts.selection, parts.change) if part)
    condition = f" if {parts.selection.code}" if parts.selection else ""
    draft.put(1, f"{plans}values = [{parts.change.code} {each}{condition}]")
    return "values"


def _write_lists(draft: _Draft, parts: _Parts, each: str) -> str:
    """Select into one list, then change into another. Returns the code of the last, or of the items."""
    at_hand = parts.items
    if parts.selection:
        draft.put(1, f"# {parts.selection.plan}\nkept = [{{x}} {each} if {parts.selection.code}]")
        at_hand = "kept"
    if parts.change:
        draft.put(1, f"# {parts.change.plan}\nvalues = [{parts.change.code} for {{x}} in {at_hand}]")
        at_hand = "values"
    return at_hand


def _write_outcome(draft: _Draft, parts: _Parts, at_hand: str, task: Task) -> None:
    """Reach the outcome from the list at hand: at once where it can be done, else in a loop."""
    form = parts.form
    if form.whole:
        if at_hand == parts.items and not _needs_no_list(task):
            is_copy = task.slice is not None and task.source.gives != "char"
            draft.put(1, f"kept = {at_hand if is_copy else f'list({at_hand})'}")
            at_hand = "kept"
        draft.put_after(1, form.whole, v=at_hand.format(**draft.words))
    else:
        draft.put(1, form.start)
        draft.put_after(1, f"for {{x}} in {at_hand}:")
        draft.put_after(2, form.step)
        draft.put_after(1, form.end)


def _needs_no_list(task: Task) -> bool:
    """Whether the outcome's code can use the source's items as they are, because they are a list or are read once."""
    if task.source.readings[0].code == "{xs}" and not task.slice and task.source.gives != "char":
        return True
    wholes = [form.whole for form in task.outcome.readings if form.whole]
    return all(whole.count("{v}") == 1 and "len({v})" not in whole and "return {v}" not in whole for whole in wholes)


def _spoken(manner: _Manner, lines: list[str]) -> str:
    """The program's text, with each plan worded in the voice's manner."""
    count, spoken = 0, []
    for line in lines:
        indent, mark, plan = line.partition("# ")
        if mark and not indent.strip():
            count += 1
            first = "first" if count == 1 else "then"
            plan = manner.plan.format(plan=plan, Plan=plan[0].upper() + plan[1:], n=count, first=first)
            line = indent + mark + plan
        spoken.append(line)
    return "\n".join(spoken) + "\n"


# --- where a program goes wrong ---------------------------------------------------------------------------------------

_FENCE = re.compile(r"^```python *$", re.MULTILINE)


class _CodeLine(NamedTuple):
    """A line of code. code: the line without spaces, its indentation excepted. plan: the last comment above it, if any.

    plan_start, start: offsets of the plan and of the line in the text.
    """

    code: str
    plan: str | None
    plan_start: int
    start: int


def first_error(truth: str, solution: str) -> int | None:
    """Offset of the line in which a program first departs from the true one; None if it never does.

    Lines of code are compared in order, without their spacing. A comment that differs is no error by itself; but where
    code departs below it, the program departs at the comment.
    """
    expected = list(_lines_of_code(truth))
    departed_plan = None  # offset of the first plan that is not the true one
    for number, line in enumerate(_lines_of_code(solution)):
        true_code, true_plan = expected[number][:2] if number < len(expected) else ("", line.plan)
        if departed_plan is None and line.plan and line.plan != true_plan:
            departed_plan = line.plan_start
        if line.code != true_code:
            return line.start if departed_plan is None else departed_plan
        if line.code == "```":
            return None
    return len(solution)


def _lines_of_code(text: str) -> Iterator[_CodeLine]:
    """The lines of the fenced program, its closing fence included. Comments in a row are one plan."""
    opened = _FENCE.search(text)
    position = opened.end() + 1 if opened else 0
    plan, plan_start, in_plan = "", 0, False
    for line in text[position:].splitlines(keepends=True):
        bare = line.strip()
        if bare.startswith("#"):
            plan, plan_start = (plan + bare, plan_start) if in_plan else (bare, position)
            in_plan = True
        elif bare:
            indent = line[: len(line) - len(line.lstrip())]
            yield _CodeLine(indent + re.sub(r"\s+", "", bare), plan or None, plan_start, position)
            in_plan = False
            if bare == "```":
                return
        position += len(line)
