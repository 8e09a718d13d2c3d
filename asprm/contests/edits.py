"""Edits: a right solution with one number changed, and the same one rephrased.

Process reward models were found to reward fluent text that is wrong (arXiv 2603.06621). So one line of a right solution
is changed in two ways: its result becomes another number, which breaks the logic and leaves the words; or it opens with
words that this student does not use, which is unusual and true. A judge of logic minds the first and not the second.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

from asprm.problems.student import ANSWER

_RESULT = re.compile(r" = (\d+)(?=\D|$)")
OPENINGS = ("First, ", "Then ", "We see that ", "Thus ", "So ", "Now ")
"""Openings that simulated students use, each student some of them."""
_OPENING = re.compile(rf"^({'|'.join(map(re.escape, (*OPENINGS, 'Therefore ', 'Finally, ', 'Here ')))}|Step \d+: )")

Kind = Literal["number", "words"]


@dataclass(frozen=True)
class Edited:
    """A text and the edited line in it. text: the solution. end: its characters up to the line's end."""

    text: str
    end: int


@dataclass(frozen=True)
class Pair:
    """One line of a solution, edited in both ways; original: as it was."""

    original: Edited
    number: Edited
    words: Edited


def edit_line(text: str, rng: random.Random) -> Pair | None:
    """The solution with one line edited, drawn by `rng`; None if no line before the answer has a result.

    The number differs by at most 10 from the true one and is not negative. The new opening takes the place of the
    line's own, or stands before it.
    """
    lines = text.split("\n")
    able = [i for i, line in enumerate(lines) if _RESULT.search(line) and ANSWER not in line]
    if not able:
        return None
    at = rng.choice(able)
    line = lines[at]

    # 1. Another number in the place of the result.
    result = list(_RESULT.finditer(line))[-1]
    true = int(result[1])
    wrong = rng.choice([true + d for d in range(-10, 11) if d and true + d >= 0])
    broken = f"{line[: result.start(1)]}{wrong}{line[result.end(1) :]}"

    # 2. Other words at the beginning.
    opening = _OPENING.match(line)
    body = line[opening.end() :] if opening else line[:1].lower() + line[1:] if line[:2] != "x " else line
    others = [new for new in OPENINGS if not opening or new != opening[0]]
    reworded = rng.choice(others) + body
    return Pair(*(_edited([*lines[:at], new, *lines[at + 1 :]], at) for new in (line, broken, reworded)))


def _edited(lines: list[str], at: int) -> Edited:
    return Edited("\n".join(lines), len("\n".join(lines[: at + 1])))
