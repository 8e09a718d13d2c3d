"""Shapes and typesetting for the picture of the pipeline: pieces of SVG text, and tokens set in lines.

Knows coordinates and words, and nothing of a run. What each panel shows is in `asprm.site.picture`.
"""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from asprm.models.align import visible
from asprm.site.story import LINE, LINES

WIDTH, HEIGHT, GAP, MARGIN = 340, 276, 18, 14  # of a panel; between panels; from the edge of a panel to its content
ADVANCE = {"title": 9.2, "": 6.9, "token": 8.0, "tick": 6.3}  # width of a character by kind of text, an upper bound

STYLE = """
.pipeline { --ink: var(--pst-color-text-base, #1f2328); --paper: var(--pst-color-background, #ffffff);
  --line: var(--pst-color-border, #8c959f); --doubt: #d1453b; --good: #2d9a4e;
  --one: #2f6fd6; --two: #c77700; --three: #7a4fc9; --four: #1b8a8f;
  font-family: system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .pipeline { --ink: var(--pst-color-text-base, #e6edf3);
  --paper: var(--pst-color-background, #0d1117); } }
.pipeline text { fill: var(--ink); font-size: 13px; }
.pipeline .title { font-size: 16px; font-weight: 700; }
.pipeline .tick { font-size: 11.5px; }
.pipeline .token { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.pipeline .panel { fill: var(--paper); stroke: var(--line); }
.pipeline .bar { fill: var(--ink); fill-opacity: .45; }
.pipeline .rule { stroke: var(--ink); fill: none; stroke-width: 1.2; }
.pipeline .grid { stroke: var(--line); fill: none; stroke-opacity: .5; }
.pipeline .doubt { stroke: var(--doubt); fill: none; stroke-width: 2; }
.pipeline .low { fill: var(--doubt); }
.pipeline .box { fill: var(--line); fill-opacity: .16; }
.pipeline .s1 { fill: var(--one); fill-opacity: .28; }
.pipeline .s2 { fill: var(--two); fill-opacity: .28; }
.pipeline .s3 { fill: var(--three); fill-opacity: .28; }
.pipeline .s4 { fill: var(--four); fill-opacity: .28; }
.pipeline .pick { stroke: var(--good); fill: none; stroke-width: 2.2; }
"""


# --- shapes -----------------------------------------------------------------------------------------------------------


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text with the baseline y. kind: a class of `STYLE`. anchor: the point of the text that is at x."""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle with its upper left corner at (x, y)."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" class="{kind}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" class="{kind}"/>'


def lines(y: float, words: str) -> str:
    """Text wrapped to the width of the panel; y is the baseline of its first line."""
    wrapped = textwrap.wrap(words, int((WIDTH - 2 * MARGIN) / ADVANCE[""]))
    return "".join(text(MARGIN, y + 17 * i, line_of_text) for i, line_of_text in enumerate(wrapped))


def token(x: float, y: float, words: str) -> str:
    """Text whose characters have a fixed width, so that the boxes around it fit in every font."""
    shown = words.lstrip(" ")
    x += ADVANCE["token"] * (len(words) - len(shown))
    if not (shown := shown.rstrip(" ")):
        return ""
    size = f'textLength="{ADVANCE["token"] * len(shown):g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:g}" y="{y:g}" class="token" {size}>{escape(shown)}</text>'


def beginning(words: str, length: int) -> str:
    """The first `length` characters, with … where the rest is cut off."""
    return words if len(words) <= length else words[: length - 1] + "…"


def plain(words: str) -> str:
    """The words in one line."""
    return " ".join(words.split())


def ending(words: str, length: int) -> str:
    """The last `length` characters, with … where the rest is cut off."""
    return words if len(words) <= length else "…" + words[len(words) - length + 1 :]


# --- tokens in lines --------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """The place of a token in the typeset lines."""

    token: int  # its number
    shown: str  # its text as it is drawn
    line: int
    column: int  # in characters


def flow(tokens: Sequence[str]) -> tuple[list[Place], bool]:
    """Tokens set in at most `LINES` lines of `LINE` characters, broken between words. Returns (places, any left out).

    A line break is drawn as ⏎, which may hang over the end of the line; the next line is indented as the text is. A
    token without text, such as the end of the text, is drawn as ■.
    """
    placed: list[Place] = []
    row = column = 0
    for word in words_of(tokens):
        shown = [visible(tokens[i]) for i in word]
        if breaks(tokens[word[-1]]):
            shown[-1] = shown[-1].rstrip(" ")
        if column and column + sum(map(len, shown)) > LINE + (shown == ["⏎"]):
            row, column = row + 1, 0
            shown[0] = shown[0].lstrip(" ") or shown[0]
        for i, piece in zip(word, shown, strict=True):
            if column and column + len(piece) > LINE + (piece == "⏎"):
                row, column = row + 1, 0
            if row == LINES:
                return placed, True
            placed.append(Place(i, beginning(piece, LINE), row, column))
            column += len(piece)
        if breaks(tokens[word[-1]]):
            row, column = row + 1, len(tokens[word[-1]]) - len(tokens[word[-1]].rstrip(" "))
    return placed, False


def words_of(tokens: Sequence[str]) -> Iterator[list[int]]:
    """The numbers of the tokens that form a word and stay on one line. A space or a line break begins a word."""
    word: list[int] = []
    for i, piece in enumerate(tokens):
        if word and (piece.startswith((" ", "\n")) or breaks(tokens[i - 1])):
            yield word
            word = []
        word.append(i)
    if word:
        yield word


def breaks(token: str) -> bool:
    """Whether the token ends with a line break, except for the indentation after it."""
    return token.rstrip(" ").endswith("\n")
