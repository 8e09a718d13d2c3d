"""Python: the lexemes of any text, and what the syntax tree says about its names.

Solutions are cut anywhere. `tokenize` reads as far as it can, and what it cannot read is a lexeme of its own; `ast`
reads as many lines as it can. Runs nothing.
"""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from functools import lru_cache
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

# --- lexemes ----------------------------------------------------------------------------------------------------------


class Lexeme(NamedTuple):
    """A token of Python. kind: its type in `tokenize`; ERRORTOKEN for text that is no Python."""

    start: int  # in the code
    end: int
    kind: str
    text: str


_UNSAFE = re.compile("[\0\r\f\ufeff\ud800-\udfff]")  # where versions of `tokenize` differ or stumble
_QUOTE = re.compile(r"(?i:[rbfu]{0,2})('{3}|\"{3}|['\"])")
LAYOUT = ("NEWLINE", "NL", "INDENT", "DEDENT", "ENDMARKER")


@lru_cache(maxsize=4096)
def lexemes(code: str) -> tuple[Lexeme, ...]:
    """Python's tokens in any text, in order. Layout has no width; an unclosed string runs as far as it can."""
    code = _UNSAFE.sub(lambda m: " " if m[0] in "\r\f" else "?", code)
    lines = re.findall(r"[^\n]*\n|[^\n]+", code)
    read: list[Lexeme] = []
    place = _visible(code, 0)
    while place < len(code):
        reached = _visible(code, _read_on(code, lines, place, read))
        if reached <= place:  # nothing can be tokenized here
            reached = _unreadable(code, place)
            kind = "STRING" if _QUOTE.match(code, place) else "ERRORTOKEN"
            read.append(Lexeme(place, reached, kind, code[place:reached]))
        place = reached
    return tuple(read)


def _visible(code: str, place: int) -> int:
    """The first character from `place` on that is no space; the end of the code without one."""
    return next((i for i in range(place, len(code)) if not code[i].isspace()), len(code))


def _read_on(code: str, lines: list[str], place: int, read: list[Lexeme]) -> int:
    """Add the tokens from `place` on to `read` until `tokenize` fails. Returns the end of the last one."""
    offsets = np.cumsum([0, *map(len, lines)])
    first = int(np.searchsorted(offsets, place, side="right")) - 1
    rest = chain([lines[first][place - offsets[first] :]], islice(lines, first + 1, None))
    offsets = [place, *offsets[first + 1 :].tolist(), len(code)]
    opening, depth = place, 0  # newer versions take f-strings apart: here each is one lexeme
    try:
        for token in tokenize.generate_tokens(lambda: next(rest, "")):
            kind = tokenize.tok_name[token.type]
            (row, column), (last_row, last_column) = token.start, token.end
            start, end = min(offsets[row - 1] + column, len(code)), min(offsets[last_row - 1] + last_column, len(code))
            if kind.endswith("STRING_START"):
                opening, depth = opening if depth else start, depth + 1
            elif kind.endswith("STRING_END"):
                depth -= 1
                if not depth:
                    read.append(Lexeme(opening, end, "STRING", code[opening:end]))
                    place = end
            elif kind in LAYOUT and not depth:
                read.append(Lexeme(place, place, kind, ""))
            elif kind == "ERRORTOKEN" and _QUOTE.match(token.string):  # a string that does not end on its line
                return place
            elif not depth and not token.string.isspace():
                read.append(Lexeme(start, end, kind, token.string))
                place = end
    except (tokenize.TokenError, SyntaxError):
        pass
    return place


def _unreadable(code: str, place: int) -> int:
    """End of what cannot be tokenized at `place`: a string without its end, or one character."""
    quote = _QUOTE.match(code, place)
    if not quote:
        return place + 1
    end = -1 if len(quote[1]) == 3 else code.find("\n", place)
    return len(code) if end < 0 else end


# --- the syntax tree --------------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """bound: names that the program defines. annotations: where the names in annotations start."""

    bound: set[str]
    annotations: set[int]


def names_in(code: str) -> Names:
    """The names of the longest run of first lines that parses; it is cut where each syntax error is reported."""
    lines = code.split("\n")
    above = ["if True:"] if lines[0][:1].isspace() else []  # an indented fence
    count = len(lines)
    while count:
        try:
            with warnings.catch_warnings(action="ignore"):  # invalid escapes and the like
                tree = ast.parse("\n".join(above + lines[:count]))
            return _read_tree(tree, lines, len(above))
        except SyntaxError as error:
            count = min(count, (error.lineno or count) - len(above)) - 1
        except (ValueError, RecursionError, MemoryError):  # a null byte, too many nested brackets
            break
        count = max(count, 0)
    return Names(set(), set())


def _read_tree(tree: ast.Module, lines: list[str], above: int) -> Names:
    """above: lines of the tree that precede the code."""
    bound: set[str] = set()
    annotations: set[int] = set()
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    methods = {part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node not in methods:
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            for name in ast.walk(annotation) if annotation else ():
                if isinstance(name, ast.Name):
                    row = name.lineno - 1 - above
                    column = len(lines[row].encode()[: name.col_offset].decode())  # `ast` counts bytes
                    annotations.add(int(starts[row]) + column)
    return Names(bound, annotations)
