"""Fences: the blocks of Python that a completion holds between ```python and ```."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t]*```+[ \t]*(\w*)[^\n`]*$", re.MULTILINE)
_PYTHON = ("python", "python3", "py")


@dataclass(frozen=True)
class Block:
    """The code of one block is text[start:end]. closed: its closing fence is there."""

    start: int
    end: int
    closed: bool


def python_blocks(text: str) -> Iterator[Block]:
    """The blocks under a ```python fence, in order. A block that is not closed ends at the next fence or with the text.

    A fence with a language always opens a block: the one before it was never closed.
    """
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
            continue
        if _is_python(opening):
            yield Block(opening.end() + 1, fence.start(), closed=not fence[1])
        opening = fence if fence[1] else None
    if opening is not None and _is_python(opening):
        yield Block(min(opening.end() + 1, len(text)), len(text), closed=False)


def _is_python(fence: re.Match[str]) -> bool:
    return fence[1].lower() in _PYTHON
