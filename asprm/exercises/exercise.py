"""An exercise: its text, its code with blanks, and the answer, read from a chapter's YAML file.

The fields of an exercise in the file:

title, kind, minutes
    What it is about; "change one number", "work it out" or "open question"; how long it takes.
task, hint, answer, further
    Markdown. `answer` explains the filled code; `further` names an experiment that needs more time (may be left out).
code, gives
    Python that needs nothing but `run`, and the name of the value that is checked. A blank is written ⟦answer⟧, which
    a student sees as `...`, or ⟦start → answer⟧, where the student sees the value to start from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

KINDS = ("change one number", "work it out", "open question")
FOLDER = Path(__file__).parent
_BLANK = re.compile(r"⟦(?:(?P<start>[^⟦⟧]*?) → )?(?P<answer>[^⟦⟧]*)⟧")


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter."""

    number: str  # "3.1": chapter 3, its first
    title: str
    kind: str
    minutes: int
    task: str
    code: str
    gives: str
    hint: str
    answer: str
    further: str = ""

    @property
    def blank(self) -> str:
        """The code as a student finds it, with the call of `check` as its last line."""
        return self._code(lambda match: match["start"] or "...")

    @property
    def filled(self) -> str:
        """The code with its blanks filled."""
        return self._code(lambda match: match["answer"])

    def _code(self, fill: Callable[[re.Match[str]], str]) -> str:
        return f'{_BLANK.sub(fill, self.code.strip())}\ncheck("{self.number}", {self.gives})'


def chapters() -> list[str]:
    """The chapters that have exercises, by the stems of their notebooks: "03_threshold"."""
    return sorted(file.stem for file in FOLDER.glob("*.yml"))


@cache
def exercises(chapter: str) -> tuple[Exercise, ...]:
    """The exercises of a chapter. ValueError: the file has a key that no exercise has, lacks one, or has no blank."""
    file = FOLDER / f"{chapter}.yml"
    rows = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple(_checked(file.name, number, row) for number, row in enumerate(rows, 1))


def _checked(file: str, place: int, row: dict) -> Exercise:
    where = f"{file}: exercise {place}"
    try:
        exercise = Exercise(f"{int(file.partition('_')[0])}.{place}", **row)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).partition(') ')[2]}; its fields stand in {__name__}") from None
    if exercise.kind not in KINDS:
        raise ValueError(f"{where}: kind {exercise.kind!r}, expected one of {', '.join(KINDS)}")
    if not _BLANK.search(exercise.code):
        raise ValueError(f"{where}: its code has no blank; write one as ⟦answer⟧ or ⟦start → answer⟧")
    return exercise


def every_exercise() -> Iterator[Exercise]:
    """All exercises, in the order of the chapters."""
    for chapter in chapters():
        yield from exercises(chapter)


def exercise(number: str) -> Exercise:
    """The exercise of a number. ValueError: there is none."""
    found = {one.number: one for one in every_exercise()}
    if number not in found:
        raise ValueError(f"no exercise {number!r}; there are {', '.join(found)}")
    return found[number]
