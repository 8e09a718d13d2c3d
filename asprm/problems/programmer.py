"""Simulated programmers: who writes the programs that code policies learn from.

A programmer takes a task piece by piece. At each piece the misconceptions that it invites are drawn at the rates below;
the comment that plans the next lines and these lines agree, whichever way is taken. With all rates zero the programmer
writes the true program. Layout and manner are fixed by the function's verb (`minicode.VERBS`), so that what remains
doubtful is what to do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from asprm.problems.minicode import CHANGES, OUTCOMES, SELECTIONS, SLICES, SOURCES, Task
from asprm.problems.student import Misconception

# How often a programmer falls for each misreading. Which one a piece invites depends on the problem's wording; in some
# most programmers are wrong, so that even a policy's greedy choice is wrong there.
MISCONCEPTIONS: dict[str, Misconception] = {
    # bounds
    "at-least": Misconception(0.10, '"at least 5": takes only what is above'),
    "more-than": Misconception(0.05, '"more than 5": takes 5 too'),
    "at-most": Misconception(0.12, '"at most 5": takes only what is below'),
    "no-more": Misconception(0.62, '"no more than 5": takes only what is below'),
    "under": Misconception(0.05, '"less than 5": takes 5 too'),
    "no-less": Misconception(0.62, '"no less than 5": takes only what is above'),
    "drop": Misconception(0.55, '"leave out those below 5": leaves 5 out too'),
    "drop-from": Misconception(0.25, '"leave out those of 5 or more": keeps 5'),
    "drop-keeps": Misconception(0.10, '"leave out": keeps just those'),
    "inclusive": Misconception(0.45, '"from 3 to 8, both included": leaves the end out'),
    "exclusive": Misconception(0.20, '"strictly between 3 and 8": takes the ends too'),
    "from-on": Misconception(0.20, '"from c on": begins after it'),
    "positive": Misconception(0.15, '"positive": takes 0 too'),
    "not-negative": Misconception(0.60, '"not negative": leaves 0 out'),
    "not-positive": Misconception(0.60, '"not positive": leaves 0 out'),
    # kinds of items
    "parity": Misconception(0.04, "even for odd"),
    "parity-not": Misconception(0.35, '"leave out the even ones": keeps them'),
    "multiple": Misconception(0.06, '"divisible by 3": keeps those with a remainder'),
    "no-multiple": Misconception(0.25, '"not divisible by 3": keeps the multiples'),
    "other": Misconception(0.10, '"all but 7": keeps each 7'),
    "begins": Misconception(0.06, "the first letter: looks at the last"),
    "ends": Misconception(0.15, "the last letter: looks at the first"),
    "holds": Misconception(0.04, '"those with a letter": keeps those without'),
    "lacks": Misconception(0.30, '"leave out those with a letter": keeps just those'),
    "vowels": Misconception(0.04, '"keep the vowels": keeps the others'),
    "no-vowels": Misconception(0.30, '"leave out the vowels": keeps them'),
    # ranges and slices
    "range-one": Misconception(0.35, '"from 1 to n": ends before n'),
    "range-both": Misconception(0.55, '"from a to b, both included": ends before b'),
    "range-below": Misconception(0.15, '"below n": takes n too'),
    "range-down": Misconception(0.62, '"from b down to a": ends before a'),
    "skip": Misconception(0.10, "leaves out one too few, or one too many"),
    "few": Misconception(0.10, '"the first 3": takes one too few'),
    "last-few": Misconception(0.35, '"the last 3": leaves the first 3 out'),
    "from-to": Misconception(0.60, '"positions 1 to 3, both included": ends before 3'),
    "second": Misconception(0.15, '"every second one from the first on": begins with the second'),
    "second-two": Misconception(0.40, '"every second one from the second on": begins with the first'),
    "third": Misconception(0.58, '"begin with the third one": begins at position 3'),
    # arithmetic
    "double": Misconception(0.05, "double: squares"),
    "square": Misconception(0.20, "square: doubles"),
    "cube": Misconception(0.45, "third power: takes three times"),
    "floor": Misconception(0.30, '"round down": divides exactly'),
    "exact": Misconception(0.55, '"half": rounds down'),
    "subtract": Misconception(0.05, '"subtract 5 from each": the other way round'),
    "lacking": Misconception(0.45, '"subtract each from 5": the other way round'),
    "distance": Misconception(0.50, "a distance: forgets that it is not negative"),
    "cap": Misconception(0.35, '"lower those above 5 to 5": max for min'),
    "lift": Misconception(0.40, '"raise those below 5 to 5": min for max'),
    "remainder": Misconception(0.15, "a remainder: takes the quotient"),
    "turn": Misconception(0.15, "changes the sign: drops it"),
    "position": Misconception(0.12, '"counted from 0": counts from 1'),
    "place": Misconception(0.50, '"counted from 1": counts from 0'),
    # letters
    "first-letter": Misconception(0.05, "the first letter: takes the last"),
    "last-letter": Misconception(0.15, "the last letter: takes the first"),
    "tail": Misconception(0.25, '"remove the first letter": keeps only that'),
    "trim": Misconception(0.30, '"remove the last letter": removes the first'),
    # initial values and empty cases
    "count-one": Misconception(0.06, "a count: starts at 1"),
    "product-zero": Misconception(0.40, "a product: starts at 0"),
    "largest-zero": Misconception(0.58, "the largest of maybe negative numbers: starts at 0"),
    "smallest-zero": Misconception(0.40, "the smallest: starts at 0"),
    "maxima": Misconception(0.58, "the largest so far of maybe negative numbers: starts at 0"),
    "average-empty": Misconception(0.40, "an average: forgets the empty case"),
    "average-floor": Misconception(0.15, "an average: rounds down"),
    "average-exact": Misconception(0.25, '"average, rounded down": divides exactly'),
    "spread-empty": Misconception(0.55, "largest minus smallest: forgets the empty case"),
    "first-empty": Misconception(0.30, "the first of them: forgets the empty case"),
    "last-empty": Misconception(0.40, "the last of them: forgets the empty case"),
    "second-empty": Misconception(0.20, "the second largest: forgets that there may not be two"),
    "each": Misconception(0.25, "how often each occurs: counts from 1"),
    "alternating": Misconception(0.15, "alternating signs: begins with a minus"),
    # order, occurrence, equality
    "first": Misconception(0.10, "the first: takes the last"),
    "last": Misconception(0.25, "the last: takes the first"),
    "ascending": Misconception(0.05, "ascending: sorts the other way"),
    "descending": Misconception(0.25, "descending: sorts the other way"),
    "distinct": Misconception(0.45, "how many different ones: counts all"),
    "second-distinct": Misconception(0.40, "the second largest of different ones: does not drop equal ones"),
    "totals": Misconception(0.25, "running totals: notes the total too early"),
    "differences": Misconception(0.30, "how much one exceeds the one before: the other way round"),
    "rises": Misconception(0.12, '"larger than the one before": takes equal ones too'),
    "no-falls": Misconception(0.58, '"not smaller than the one before": leaves equal ones out'),
    "tie-first": Misconception(0.20, "the first of the longest: takes the last"),
    "tie-last": Misconception(0.58, "the last of the longest: takes the first"),
    "mirrored": Misconception(0.20, '"the last one first": puts it behind'),
    # lists, texts, dictionaries
    "mutates": Misconception(0.50, "sorts the list that was given"),
    "extended": Misconception(0.58, "adds to the list that was given"),
    "reversed": Misconception(0.50, "turns the list round that was given"),
    "joined": Misconception(0.35, '"between two": puts it after each'),
    "group": Misconception(0.30, "groups: forgets those that are there"),
    "total-length": Misconception(0.20, "letters together: counts words"),
}

# By voice: item by item, or list by list; how a plan is put; what the result is called.
_VOICES = (
    ("items", "{plan}", "result"),
    ("lists", "{plan}", "result"),
    ("items", "{Plan}.", "answer"),
    ("lists", "step {n}: {plan}", "answer"),
    ("items", "{first} {plan}", "out"),
    ("lists", "now {plan}", "out"),
)

VOCABULARY = (
    {  # the words of all plans and all code, whatever the task; the items' names are not among them
        word.lower()
        for piece in (*SOURCES, *SLICES, *SELECTIONS, *CHANGES, *OUTCOMES)
        for reading in piece.readings
        for part in reading[1:]
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", part or ""))
    }
    | set("kept values value enumerate list step first then now def python".split())
)


def write(task: Task, rng: random.Random | None = None) -> str:
    """A programmer's completion for the task, a fenced program. Without `rng`: the true one."""
    return f"```python\n{program(task, {} if rng is None else _choose(task, rng))}```"


def misreadings(task: Task) -> list[tuple[str, str]]:
    """(piece, kind) of every misconception that the task invites, harmless ones included."""
    return [(piece.name, reading.kind) for piece in task.pieces for reading in _offered(task, piece) if reading.kind]


def _choose(task: Task, rng: random.Random) -> dict[str, str]:
    """Kinds of the misconceptions that a programmer falls for, by piece."""
    chosen = {}
    for piece in task.pieces:
        draw = rng.random()
        for reading in _offered(task, piece):
            if not reading.kind or f"{piece.name} {reading.kind}" in task.harmless:
                continue
            draw -= MISCONCEPTIONS[reading.kind].rate
            if draw < 0:
                chosen[piece.name] = reading.kind
                break
    return chosen


def _by_items(task: Task) -> bool:
    """Whether the outcome is reached in one loop over the source."""
    true = task.outcome.readings[0]
    return _VOICES[task.voice][0] == "items" and true.step is not None


def _offered(task: Task, piece) -> list:
    if piece is not task.outcome:
        return list(piece.readings)
    if not _by_items(task) and piece.readings[0].whole is not None:
        return [form for form in piece.readings if form.whole is not None]
    return [form for form in piece.readings if form.step is not None]


def program(task: Task, wrong: dict[str, str]) -> str:
    """The program of a programmer who falls for the given misconceptions, {piece: kind}."""
    reading = {p.name: next(r for r in _offered(task, p) if r.kind == wrong.get(p.name, "")) for p in task.pieces}
    words = task.words | {"r": _VOICES[task.voice][2]}
    items = reading[task.source.name].code + (reading[task.slice.name].code if task.slice else "")
    select = reading[task.selection.name] if task.selection else None
    change = reading[task.change.name] if task.change else None
    each = f"for i, {{x}} in enumerate({items})" if task.change and task.change.numbered else f"for {{x}} in {items}"
    after = words | {"x": "value"} if change else words
    form = reading[task.outcome.name]
    lines: list[str] = []

    def put(text: str, depth: int, names: dict = words) -> None:
        for line in text.format(**names).splitlines():
            lines.append("    " * depth + line)

    put(f"def {task.name}({', '.join(task.arguments)}):", 0)
    if _by_items(task):
        depth = 2
        put(form.start, 1)
        put(f"{each}:", 1)
        if select:
            put(f"# {select.plan}\nif {select.code}:", 2)
            depth = 3
        if change:
            put(f"# {change.plan}\nvalue = {change.code}", depth)
        put(form.step, depth, after)
        put(form.end, 1, after)
    else:
        at_hand = items
        if change and task.change.numbered:
            plans = "".join(f"# {part.plan}\n" for part in (select, change) if part)
            condition = f" if {select.code}" if select else ""
            put(f"{plans}values = [{change.code} {each}{condition}]", 1)
            at_hand = "values"
        else:
            if select:
                put(f"# {select.plan}\nkept = [{{x}} {each} if {select.code}]", 1)
                at_hand = "kept"
            if change:
                put(f"# {change.plan}\nvalues = [{change.code} for {{x}} in {at_hand}]", 1)
                at_hand = "values"
        if form.whole is not None:
            if at_hand not in ("kept", "values") and not _reads_any(task):
                copied = at_hand if task.slice and task.source.gives != "char" else f"list({at_hand})"
                put(f"kept = {copied}", 1)
                at_hand = "kept"
            put(form.whole, 1, after | {"v": at_hand.format(**words)})
        else:
            put(form.start, 1)
            put(f"for {after['x']} in {at_hand}:", 1)
            put(form.step, 2, after)
            put(form.end, 1, after)
    return _spoken(task.voice, lines)


def _reads_any(task: Task) -> bool:
    """Whether the outcome can be had of what the source gives as it is, or that is a list."""
    if task.source.readings[0].code == "{xs}" and not task.slice and task.source.gives != "char":
        return True
    wholes = [form.whole for form in task.outcome.readings if form.whole is not None]
    return all(whole.count("{v}") == 1 and "len({v})" not in whole and "return {v}" not in whole for whole in wholes)


def _spoken(voice: int, lines: list[str]) -> str:
    """The lines with their plans in the voice's manner."""
    manner, count, spoken = _VOICES[voice][1], 0, []
    for line in lines:
        indent, mark, plan = line.partition("# ")
        if mark and not indent.strip():
            count += 1
            first = "first" if count == 1 else "then"
            line = indent + mark + manner.format(plan=plan, Plan=plan[0].upper() + plan[1:], n=count, first=first)
        spoken.append(line)
    return "\n".join(spoken) + "\n"


_FENCE = re.compile(r"^```python *$", re.MULTILINE)


def first_error(truth: str, solution: str) -> int | None:
    """Offset of the line in which a program first departs from the true one; None if it never does.

    Lines of code are compared in order, spacing within them aside. Comments alone do not count; but where code departs
    after a plan that was not the true one's, the departure began with the plan.
    """
    expected = list(_lines_of_code(truth))
    planned = None
    for number, (code, plan, plan_start, start) in enumerate(_lines_of_code(solution)):
        known = expected[number] if number < len(expected) else ("", plan)
        if planned is None and plan and plan != known[1]:
            planned = plan_start
        if code != known[0]:
            return start if planned is None else planned
        if code == "```":
            return None
    return len(solution)


def _lines_of_code(text: str) -> Iterator[tuple[str, str | None, int, int]]:
    """(line without spaces but its indentation, the plan over it, the plan's offset, the line's) up to the fence."""
    opened = _FENCE.search(text)
    position, plan, start, fresh = opened.end() + 1 if opened else 0, None, 0, False
    for line in text[position:].splitlines(keepends=True):
        bare = line.strip()
        if bare.startswith("#"):
            plan, start = (plan + bare, start) if fresh else (bare, position)
            fresh = True
        elif bare:
            indent = line[: len(line) - len(line.lstrip())]
            yield indent + re.sub(r"\s+", "", bare), plan, start, position
            fresh = False
            if bare == "```":
                return
        position += len(line)
