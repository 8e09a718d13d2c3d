"""Write: put the exercises of each chapter into its notebook, before the last cell, in place of those that are there.

python -m asprm.exercises.write
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asprm import REPOSITORY
from asprm.exercises.exercise import Exercise, chapters, exercises

TAG = "exercise"
"""The tag of every cell that is written here."""
_INTRODUCTION = """## Exercises

Open this chapter in JupyterLab, run all of it, or only its first two code cells and the one below, and fill in the
blanks. A check takes less than a minute, needs no network, and compares with what this run's tables say.
"""
_CHECK = """from asprm.exercises.check import checker

check = checker(run)
"""


def cells(chapter: str) -> list[dict[str, Any]]:
    """The cells of a chapter's exercises: an introduction, and for each exercise its task, its blank and its answer."""
    number = chapter.partition("_")[0]
    written = [_markdown(f"{number}-exercises", _INTRODUCTION), _code(f"{number}-exercises-check", _CHECK)]
    for place, exercise in enumerate(exercises(chapter), 1):
        key = f"{number}-exercise-{place}"
        written += [
            _markdown(key, _task(exercise)),
            _code(f"{key}-blank", exercise.blank),
            _markdown(f"{key}-answer", _answer(exercise)),
        ]
    return written


def with_exercises(notebook: dict[str, Any], chapter: str) -> dict[str, Any]:
    """The notebook of a chapter with its exercises before the last cell, and no others."""
    *own, last = [cell for cell in notebook["cells"] if TAG not in cell["metadata"].get("tags", [])]
    return notebook | {"cells": [*own, *cells(chapter), last]}


def as_text(notebook: dict[str, Any]) -> str:
    """A notebook as the files of this project hold it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _task(exercise: Exercise) -> str:
    heading = f"**Exercise {exercise.number}: {exercise.title}** *({exercise.kind}, {exercise.minutes} minutes)*"
    return f"{heading}\n\n{exercise.task.strip()}"


def _answer(exercise: Exercise) -> str:
    filled = f"```python\n{exercise.filled}\n```\n\n{exercise.answer.strip()}"
    if exercise.further:
        filled += f"\n\n*Go on:* {exercise.further.strip()}"
    return _folded("Hint", exercise.hint.strip()) + "\n\n" + _folded("Answer", filled)


def _folded(summary: str, content: str) -> str:
    """Markdown that Jupyter and the site fold."""
    return f":::{{dropdown}} {summary}\n{content}\n:::"


def _markdown(key: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": key, "metadata": {"tags": [TAG]}, "source": _lines(text)}


def _code(key: str, text: str) -> dict[str, Any]:
    kept = {"cell_type": "code", "execution_count": None, "id": key, "metadata": {"tags": [TAG]}, "outputs": []}
    return kept | {"source": _lines(text)}


def _lines(text: str) -> list[str]:
    return text.strip().splitlines(keepends=True)


def main(folder: Path = REPOSITORY / "notebooks") -> None:
    """Write the exercises into all notebooks of the folder."""
    for chapter in chapters():
        file = folder / f"{chapter}.ipynb"
        text = file.read_text(encoding="utf-8")
        written = as_text(with_exercises(json.loads(text), chapter))
        if written != text:
            file.write_text(written, encoding="utf-8")
            print(f"{chapter}: {len(exercises(chapter))} exercises")


if __name__ == "__main__":
    main()
