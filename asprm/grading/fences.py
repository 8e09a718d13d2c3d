"""Fences: the blocks of code that a completion holds, and the one that is its program.

A fence is a line of at least three backticks or tildes. One with words behind it opens a block, and its words name the
language; one without closes the block that a fence of its kind, no longer than itself, has opened. A fence inside a
string of three quotes belongs to the string, because docstrings show examples. Behind other words of its line a fence
opens a block of Python if it says so (`Code: ```python`), and closes one behind its last line of code.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from asprm.grading.thinking import without_thinking

_FENCE = re.compile(r"^(?P<before>[^`~\n]*)(?P<marks>```+|~~~+)(?P<info>[^\n`]*)$", re.MULTILINE)
_MARGIN = re.compile(r"\s*(?:>\s*)*(?:(?:[-*+]|\d+[.)])\s+)?")  # of a quotation and an item of a list
_PYTHON = ("python", "python2", "python3", "py", "py3", "ipython", "ipython3")
_DIRECTIVES = ("code", "cell", "block", "sourcecode", "lang", "language")  # what may precede the language's name
_TOKEN = re.compile(r"""#[^\n]*|'''|\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\"""")
_STRING_ENDS = {quotes: re.compile(rf"\\.|{quotes}", re.DOTALL) for quotes in ("'''", '"""')}


@dataclass(frozen=True)
class Block:
    """The code of one block is text[start:end].

    closed: its closing fence is there.
    language: the first word of its fence, in small letters, with its digits; "" for a bare fence.
    """

    start: int
    end: int
    closed: bool
    language: str


def python_blocks(text: str) -> Iterator[Block]:
    """The blocks under a ```python fence, in order. A block that is not closed ends at the next fence or with the text.

    A fence with a language always opens a block: the one before it was never closed.
    """
    return (block for block in blocks(text) if block.language in _PYTHON)


@dataclass(frozen=True)
class _Fence:
    """A fence, whose line is text[start:end].

    margin: the number of characters before its marks. language: None for a bare fence.
    """

    start: int
    end: int
    margin: int
    marks: str
    language: str | None
    opens: bool
    closes: bool


def _fences(text: str) -> Iterator[_Fence]:
    for match in _FENCE.finditer(text):
        before, marks, info = match.groups()
        words = re.findall(r"[\w+#]+", info.lower())
        language = next((word for word in words if word not in _DIRECTIVES), "") if info.strip() else None
        alone = _MARGIN.fullmatch(before) is not None
        opens = alone or info.strip().lower() in _PYTHON
        closes = language is None and (alone or not (before[-1].isspace() or "#" in before))
        start = match.start() if alone or not closes else match.start("marks")
        if opens or closes:
            yield _Fence(start, match.end(), len(before), marks, language, opens, closes)


def blocks(text: str) -> Iterator[Block]:
    """All blocks, in order, whatever their language."""
    fences = list(_fences(text))
    place = 0
    while place < len(fences):
        opening = fences[place]
        if not opening.opens:
            place += 1
            continue
        last = _last_fence(text, fences, place)
        closing = fences[last] if last < len(fences) else None
        closed = closing is not None and closing.closes
        end = closing.start if closing else len(text)
        yield Block(min(opening.end + 1, end), end, closed, opening.language or "")
        place = last + closed


def _last_fence(text: str, fences: list[_Fence], place: int) -> int:
    """The number of the fence that ends the block which fence `place` opens; len(fences) if none does.

    A fence inside a string does not, unless the string has no end before the next block.
    """
    opening = fences[place]
    is_code = opening.language in (*_PYTHON, None)
    quotes, at, in_string = "", opening.end, None
    for number in range(place + 1, len(fences)):
        fence = fences[number]
        if fence.marks[0] != opening.marks[0] or len(fence.marks) < len(opening.marks):
            continue
        if is_code:
            quotes, at = _open_string(text, at, fence.start, quotes), fence.start
        if not quotes:
            return number
        in_string = number if in_string is None else in_string
        if fence.language is not None and fence.margin <= opening.margin:  # a new block
            return in_string
    if in_string is not None and _open_string(text, at, len(text), quotes):
        return in_string
    return len(fences)


def _open_string(text: str, start: int, end: int, quotes: str) -> str:
    """The quotes of the string that is open at `end`; "" for none. quotes: of the one that is open at `start`."""
    at = start
    while True:
        if not quotes:
            token = _TOKEN.search(text, at, end)
            if token is None:
                return ""
            at = token.end()
            quotes = token[0] if token[0] in _STRING_ENDS else ""
        else:
            token = _STRING_ENDS[quotes].search(text, at, end)
            if token is None:
                return quotes
            at = token.end()
            quotes = "" if token[0] == quotes else quotes


# --- the program ------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[^\W\d]\w*")
_CODE = re.compile(  # how the first line of a program begins
    r"(?:from|import|def|class|async def)\s+\w|@\w|#|if __name__|(?:for|while|try|with)\b.*:$|print\("
    r"|[^\W\d][\w, \[\]]*=[^=]",
    re.MULTILINE,
)


def extract_code(completion: str, entry_point: str = "") -> str | None:
    """The program in a completion, without its indentation; None where there is no block of Python, or only empty ones.

    Of the blocks outside `<think>`, the last one that defines the entry point; before others those that are closed, and
    those that are called Python before those without a language. A text that begins with code and has no opening fence
    before its first bare fence is a block up to there.

    entry_point: expression for what is tested, whose first name a block may define; "" for programs that read stdin.
    """
    said = without_thinking(completion)
    name = next((name for name in _NAME.findall(entry_point) if not keyword.iskeyword(name)), "")
    defines = _definition(name) if name else re.compile("")
    programs = []
    for block in (*_never_opened(said), *blocks(said)):
        if block.language not in (*_PYTHON, ""):
            continue
        code = _unindented(said[block.start : block.end])
        rank = (bool(defines.search(code)), block.closed, block.language != "", block.start)
        if code.strip():
            programs.append((rank, code))
    return max(programs)[1] if programs else None


def _definition(name: str) -> re.Pattern[str]:
    """What defines a name: a function, a class, or an assignment."""
    return re.compile(
        rf"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*(?::[^=\n]+)?=[^=]", re.MULTILINE
    )


def _never_opened(text: str) -> Iterator[Block]:
    """The block from the start of a text that begins with code, if its first fence is bare."""
    fence = next(_fences(text), None)
    if fence and fence.closes and _CODE.match(text.lstrip()):
        yield Block(0, fence.start, True, "")


def _unindented(code: str) -> str:
    if code.lstrip().startswith(">"):  # a quotation
        code = re.sub(r"^[ \t]*(?:> ?)+", "", code, flags=re.MULTILINE)
    return textwrap.dedent(code)
