"""Code tokens: at what kind of token does a policy that writes Python hesitate? (paper Tables 9, 10 and 12)

A solution is prose with fenced Python in it: only text inside a ```python fence is code. Every token gets one *type*
from its characters: a row of Table 9, one of a few types that the table leaves out, comment, or prose. The type gives
the *place* of Table 10: code, comment or prose. Comments are also told apart by what they *say*: what the program does
next, or something else.

Knows texts and offsets: no model and no tokenizer of a model.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asprm.grading.fences import python_blocks
from asprm.intervals import share_interval
from asprm.token_types.python import LAYOUT, Lexeme, Names, lexemes, names_in
from asprm.token_types.tables import first_characters, tabulate

TYPES = (
    "New line break",
    "Space Character",  # spaces alone: before a visible character they belong to its token
    "Number",
    "Boolean Operators",  # and, or, not
    "Arithmetic Operators",  # with bits, and with augmented assignment
    "Def / Class",
    "From / Import",
    "Type Defination",  # as the paper spells it: a built-in type, called or named, and any name in an annotation
    "Build-in Function",  # as the paper spells it
    "Instance Method",  # what follows `self.`
    "If / Else / Elif",
    "For / While",  # with the `in` of a `for`
    "Return",
    "Punctuation Mark",
    "Comparison",  # from here on not in Table 9
    "Assignment",
    "Name",
    "String",
    "Other Code",  # other keywords, True, False and None, and characters that are no Python
    "Comment",  # with docstrings
    "Prose",  # outside the fences, and the fences
    "End of text",  # spells nothing
)
(_NEWLINE, _SPACE, _NUMBER, _BOOLEAN, _ARITHMETIC, _DEFINITION, _IMPORT, _TYPE, _BUILTIN, _METHOD) = range(10)
(_IF, _LOOP, _RETURN, _PUNCTUATION, _COMPARISON, _ASSIGNMENT, _NAME, _STRING, _OTHER, _COMMENT, _PROSE, _END) = range(
    10, 22
)
OF_CODE = TYPES[:_COMMENT]

PLACES = ("Code", "Code comment", "Prose", "End of text")
_PLACE_OF_TYPE = np.array([0] * _COMMENT + [1, 2, 3], np.int8)
COMMENTS = ("plans the next step", "says something else", "no comment")
_PLANS, _SAYS, _NO_COMMENT = range(3)

# --- types of characters ----------------------------------------------------------------------------------------------

_BUILTIN_NAMES = {name for name in vars(builtins) if not name.startswith("_") and callable(getattr(builtins, name))}
_BUILTIN_TYPES = {name for name in _BUILTIN_NAMES if isinstance(getattr(builtins, name), type)}
_BUILTIN_TYPES -= {"enumerate", "filter", "map", "range", "reversed", "zip", "super", "property", "staticmethod"}
_BUILTIN_TYPES -= {"classmethod"}  # classes for Python, but people use these as functions
_KEYWORDS = {"def": _DEFINITION, "class": _DEFINITION, "import": _IMPORT, "return": _RETURN}
_KEYWORDS |= dict.fromkeys(("if", "else", "elif"), _IF) | dict.fromkeys(("for", "while"), _LOOP)
_KEYWORDS |= dict.fromkeys(("and", "or", "not"), _BOOLEAN) | dict.fromkeys(("in", "is"), _COMPARISON)
_OPERATORS: dict[str, int] = {"=": _ASSIGNMENT, ":=": _ASSIGNMENT}
_OPERATORS |= dict.fromkeys("== != <> < > <= >=".split(), _COMPARISON)
_OPERATORS |= dict.fromkeys("( ) [ ] { } , : . ; -> ...".split(), _PUNCTUATION)


@lru_cache(maxsize=4096)  # callers ask for a solution's types, places and comments one after the other
def character_types(text: str) -> NDArray[np.int8]:
    """(characters,) index in `TYPES` of every character of a solution."""
    types = np.full(len(text), _PROSE, np.int8)
    for block in python_blocks(text):
        types[block.start : block.end] = _code_types(text[block.start : block.end])
    types.flags.writeable = False
    return types


@lru_cache(maxsize=4096)
def _code_types(code: str) -> NDArray[np.int8]:
    types = np.array([_NEWLINE if c == "\n" else _SPACE if c.isspace() else _OTHER for c in code], np.int8)
    of_block = lexemes(code)
    for this, kind in zip(of_block, _lexeme_types(of_block, names_in(code)), strict=True):
        types[this.start : this.end] = kind
    return types


def _lexeme_types(of_block: Sequence[Lexeme], names: Names) -> Iterator[int]:
    """The type of each lexeme of a block, from itself, its neighbours and its place in the statement."""
    before, begins = "", True  # the statement's last lexeme, "self." for the dot after self; whether there is none
    depth = 0  # of brackets
    loops: list[int] = []  # depths at which a `for` waits for its `in`
    for i, this in enumerate(of_block):
        after = next((x for x in of_block[i + 1 : i + 2]), None)
        if this.kind in LAYOUT or this.kind == "COMMENT":
            if this.kind == "NEWLINE":
                before, begins, depth, loops = "", True, 0, []
            yield _COMMENT
            continue
        if this.kind == "STRING":
            yield _COMMENT if begins and _ends_statement(of_block, i) else _STRING
        elif this.kind == "NUMBER":
            yield _NUMBER
        elif this.kind == "OP":
            decorator = this.text == "@" and begins
            yield _PUNCTUATION if decorator else _OPERATORS.get(this.text, _ARITHMETIC)
            depth += (this.text in "([{") - (this.text in ")]}")
        elif this.kind != "NAME":
            yield _OTHER
        elif this.text == "in" and loops and loops[-1] == depth:
            loops.pop()
            yield _LOOP
        elif this.text == "not" and (before == "is" or (after and after.text == "in")):
            yield _COMPARISON
        elif this.text == "from":
            yield _IMPORT if begins else _OTHER  # `yield from`, `raise … from`
        elif this.text in _KEYWORDS:
            loops += [depth] * (this.text == "for")
            yield _KEYWORDS[this.text]
        elif keyword.iskeyword(this.text):
            yield _OTHER
        elif before in ("def", "class"):
            yield _NAME
        elif before.endswith("."):
            yield _METHOD if before == "self." else _NAME
        else:
            yield _name_type(this, names)
        before = "self." if this.text == "." and before == "self" else this.text
        begins = False


def _name_type(name: Lexeme, names: Names) -> int:
    if name.start in names.annotations:
        return _TYPE
    if name.text in _BUILTIN_NAMES and name.text not in names.bound:
        return _TYPE if name.text in _BUILTIN_TYPES else _BUILTIN
    return _NAME


def _ends_statement(of_block: Sequence[Lexeme], i: int) -> bool:
    """Whether only strings, comments and layout follow in the statement; if it also began it, it is a docstring."""
    for this in of_block[i + 1 :]:
        if this.kind in ("NEWLINE", "ENDMARKER"):
            return True
        if this.kind not in ("STRING", "COMMENT", "NL"):
            return False
    return True


# --- comments ---------------------------------------------------------------------------------------------------------

_LEAD_IN = re.compile(
    r"(?:(?:step|phase|part) ?\d+ ?[:.)-]? *|\(?\d+[:.)] *|[-*•] *|(?:first|second|third|then|next|now|finally|lastly|"
    r"otherwise|also|again|recursively|greedily|and|or|so|therefore|just|simply)\b[,:]? *)*",
    re.IGNORECASE,
)
_VERBS = """
    accumulate add adjust advance allocate append apply assign attempt backtrack break build calculate call change
    check choose clear close collect combine compare compute concatenate connect consider construct continue
    convert copy count create decide decrease decrement deduct define delete determine discard distribute divide
    do double drop enqueue ensure enumerate erase evaluate exclude expand explore extend extract fill filter find
    fix flatten flip follow form gather generate get give go group halve handle ignore include increase increment
    init initiali[sz]e insert intersect invert iterate join keep leave limit link loop maintain make map mark
    match memoi[sz]e merge minimi[sz]e maximi[sz]e modify move multiply normali[sz]e open parse partition perform
    pick place pop populate pre-?compute pre-?process prepare print process prune push put raise reach read
    rebuild record recurse reduce remove repeat replace reset restore return reverse rotate round run save scan
    search select separate set shift shrink simulate skip slide sort split square start stop store subtract swap
    take test toggle track transform translate traverse try turn unpack update use validate verify visit walk work
    write xor
""".split()
_PLAN = re.compile(
    r"(?:let(?:'s| us)|we(?:'ll| will| need| have to| must| should| can| want| are going to)|"
    r"to|if|when|while|until|for|"
    rf"{'|'.join(_VERBS)})\b(?! of\b|[\[(=])",
    re.IGNORECASE,
)


def plans_next_step(comment: str) -> bool:
    """Whether a comment (with its `#`) says what the code below it does: an order, a condition or an intention."""
    words = comment.lstrip("#!: \t")
    lead_in = _LEAD_IN.match(words)
    return _PLAN.match(words, lead_in.end() if lead_in else 0) is not None


def _comment_kinds(code: str) -> NDArray[np.int8]:
    """(characters,) index in `COMMENTS`. Only a comment on its own line plans; its next lines count like its first."""
    kinds = np.full(len(code), _NO_COMMENT, np.int8)
    kinds[_code_types(code) == _COMMENT] = _SAYS  # including docstrings
    above = None  # the comment on the line above: its column and kind
    for this in lexemes(code):
        if this.kind != "COMMENT":
            above = above if this.kind in LAYOUT else None
            continue
        column = this.start - (code.rfind("\n", 0, this.start) + 1)
        alone = not code[this.start - column : this.start].strip()
        plans = alone and (plans_next_step(this.text) or (above == (column, _PLANS) and this.text[1:2].isspace()))
        kinds[this.start : this.end] = _PLANS if plans else _SAYS
        above = (column, _PLANS if plans else _SAYS)
    return kinds


# --- tokens and lines -------------------------------------------------------------------------------------------------


def token_types(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `TYPES` of every token. char_ends: (T,), see `asprm.models.align.Speller`.

    A token with a line break of the code is a line break; any other has the type of its first visible character, or of
    its first space.
    """
    types = np.append(character_types(text), np.int8(_END))
    of_tokens = types[first_characters(text, char_ends)[0]]
    breaks = np.cumsum(types == _NEWLINE)
    ends = np.asarray(char_ends, np.int64)
    of_tokens[np.diff(np.append(0, breaks)[ends], prepend=0) > 0] = _NEWLINE
    return of_tokens


def token_places(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `PLACES` of every token. The line break after a comment is code."""
    return _PLACE_OF_TYPE[token_types(text, char_ends)]


def token_comments(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `COMMENTS` of every token."""
    kinds = np.full(len(text) + 1, _NO_COMMENT, np.int8)
    for block in python_blocks(text):
        kinds[block.start : block.end] = _comment_kinds(text[block.start : block.end])
    of_tokens = kinds[first_characters(text, char_ends)[0]]
    of_tokens[token_types(text, char_ends) != _COMMENT] = _NO_COMMENT
    return of_tokens


def line_counts(text: str) -> NDArray[np.int64]:
    """(places,) the number of lines that are not empty, by the place of their first visible character."""
    places = _PLACE_OF_TYPE[character_types(text)]
    firsts = [m.end() - 1 for m in re.finditer(r"^[^\S\n]*\S", text, re.MULTILINE)]
    return np.bincount(places[firsts], minlength=len(PLACES))


_BY = {
    "type": (TYPES, token_types, OF_CODE),
    "place": (PLACES, token_places, PLACES[:2]),
    "comment": (COMMENTS, token_comments, COMMENTS[:2]),
}


def token_table(
    texts: Iterable[str],
    char_ends: Iterable[ArrayLike],
    confidences: Iterable[ArrayLike],
    problem: Iterable[Hashable],
    tau: float,
    *,
    by: str = "type",
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Which tokens are decision tokens (confidence < tau): the table of `mathematics.token_table`, for programs.

    texts, char_ends, confidences, problem, tau: as there.
    by: "type" (Table 9), "place" (Table 10; with columns lines and line_share and its interval), or "comment".
    only: the rows; shares are of their tokens. None for those that the paper counts: types of code without comments and
        prose, code and comments, the two kinds of comment. Pass TYPES, PLACES or COMMENTS for all rows.

    ValueError: unknown `by` or row, offsets and confidences of unequal length, no tokens.
    """
    if by not in _BY:
        raise ValueError(f"by is {by!r}; it must be one of {', '.join(_BY)}")
    names, classify, rows = _BY[by]
    only = rows if only is None else tuple(only)
    if unknown := set(only) - set(names):
        raise ValueError(f"no row is called {', '.join(sorted(unknown))}; by {by} there are {', '.join(names)}")
    problem, texts = list(problem), list(texts)
    classes = (classify(text, ends) for text, ends in zip(texts, char_ends, strict=True))
    frame = tabulate(by, names, classes, confidences, problem, tau, only=only)
    if by == "place":
        lines_SK = np.array([line_counts(text) for text in texts])[:, [names.index(name) for name in only]]
        of_problem, known = pd.factorize(np.array(problem, object))
        lines = np.zeros((len(known), len(only)), np.int64)
        np.add.at(lines, of_problem, lines_SK)
        share = share_interval(lines, lines.sum(1))
        frame["lines"] = lines.sum(0)
        frame[["line_share", "line_share_low", "line_share_high"]] = np.stack(share, axis=1)
    return frame
