"""Code tokens: at what kind of token does a policy that writes Python hesitate? (paper Tables 9, 10 and 12)

A solution is prose with fenced Python in it: only what stands inside a ```python fence is code. Every token gets one
*type*, from its characters: one of the rows of Table 9, one of a few more for what that table leaves out, a comment, or
prose. The type says the *place* of Table 10: code, comment or prose. Comments are also told apart by what they *say*:
what the program does next, or something else.

Python's own `tokenize` reads the code and its `ast` tells built-in names from the program's own and finds annotations.
Solutions are cut anywhere: what cannot be tokenized is one token of its own, and `ast` reads as many lines as it can.
Knows texts and offsets: no model, no tokenizer of a model. Runs nothing.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import tokenize
import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asprm import statistics as s
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
    "Other Code",  # other keywords, True, False and None, what is no Python
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

# --- fences -----------------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^[ \t]*```+[ \t]*(\w*)[^\n`]*$", re.MULTILINE)


def python_blocks(text: str) -> list[tuple[int, int]]:
    """(start, end) of the code in every ```python fence; the last may lack its closing fence.

    As in `asprm.grading.code.extract_code`, a fence with a language always opens: the block before it was never closed.
    """
    blocks: list[tuple[int, int]] = []
    opened: re.Match | None = None
    fences = [*_FENCE.finditer(text)]
    for fence in [*fences, None]:
        if opened is not None and opened[1].lower() in ("python", "python3", "py"):
            start = min(opened.end() + 1, len(text))  # after the newline
            blocks.append((start, max(start, fence.start() if fence else len(text))))
        opened = fence if fence and (opened is None or fence[1]) else None
    return blocks


# --- lexemes of a block -----------------------------------------------------------------------------------------------


class Lexeme(NamedTuple):
    """A token of Python. kind: of `tokenize`, by name; ERRORTOKEN for what is none."""

    start: int  # in the code
    end: int
    kind: str
    text: str


_UNSAFE = re.compile("[\0\r\f\ufeff\ud800-\udfff]")  # where versions of `tokenize` differ or stumble
_QUOTE = re.compile(r"(?i:[rbfu]{0,2})('{3}|\"{3}|['\"])")
_LAYOUT = ("NEWLINE", "NL", "INDENT", "DEDENT", "ENDMARKER")


@lru_cache(maxsize=4096)
def lexemes(code: str) -> tuple[Lexeme, ...]:
    """Python's tokens in any text, in order. Layout has no width; a string without an end runs as far as it can."""
    code = _UNSAFE.sub(lambda m: " " if m[0] in "\r\f" else "?", code)
    lines = re.findall(r"[^\n]*\n|[^\n]+", code)
    found: list[Lexeme] = []
    place = _visible(code, 0)
    while place < len(code):
        reached = _visible(code, _read_on(code, lines, place, found))
        if reached <= place:  # not a step further
            reached = _unreadable(code, place)
            kind = "STRING" if _QUOTE.match(code, place) else "ERRORTOKEN"
            found.append(Lexeme(place, reached, kind, code[place:reached]))
        place = reached
    return tuple(found)


def _visible(code: str, place: int) -> int:
    return next((i for i in range(place, len(code)) if not code[i].isspace()), len(code))


def _read_on(code: str, lines: list[str], place: int, found: list[Lexeme]) -> int:
    """Adds what `tokenize` finds from `place` on, until it fails; returns where it got to."""
    offsets = np.cumsum([0, *map(len, lines)])
    first = int(np.searchsorted(offsets, place, side="right")) - 1
    rest = chain([lines[first][place - offsets[first] :]], islice(lines, first + 1, None))
    offsets = [place, *offsets[first + 1 :].tolist(), len(code)]
    opening, depth = place, 0  # of f-strings, which newer versions take apart
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
                    found.append(Lexeme(opening, end, "STRING", code[opening:end]))
                    place = end
            elif kind in _LAYOUT and not depth:
                found.append(Lexeme(place, place, kind, ""))
            elif kind == "ERRORTOKEN" and _QUOTE.match(token.string):  # a string that does not end on its line
                return place
            elif not depth and not token.string.isspace():
                found.append(Lexeme(start, end, kind, token.string))
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


# --- what only the tree knows -----------------------------------------------------------------------------------------


class _Facts(NamedTuple):
    bound: set[str]  # names that the program gives to things of its own
    annotations: set[int]  # where names in annotations start


def _facts(code: str) -> _Facts:
    """Of the longest beginning of whole lines that parses, as far as Python's own complaints lead there."""
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
        except (ValueError, RecursionError, MemoryError):  # a null byte, a tower of brackets
            break
        count = max(count, 0)
    return _Facts(set(), set())


def _read_tree(tree: ast.Module, lines: list[str], above: int) -> _Facts:
    bound, annotations = set(), set()
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
    return _Facts(bound, annotations)


# --- types of characters ----------------------------------------------------------------------------------------------

_BUILTIN_NAMES = {name for name in vars(builtins) if not name.startswith("_") and callable(getattr(builtins, name))}
_BUILTIN_TYPES = {name for name in _BUILTIN_NAMES if isinstance(getattr(builtins, name), type)}
_BUILTIN_TYPES -= {"enumerate", "filter", "map", "range", "reversed", "zip", "super", "property", "staticmethod"}
_BUILTIN_TYPES -= {"classmethod"}  # these are classes to Python and functions to who writes them
_KEYWORDS = {"def": _DEFINITION, "class": _DEFINITION, "import": _IMPORT, "return": _RETURN}
_KEYWORDS |= dict.fromkeys(("if", "else", "elif"), _IF) | dict.fromkeys(("for", "while"), _LOOP)
_KEYWORDS |= dict.fromkeys(("and", "or", "not"), _BOOLEAN) | dict.fromkeys(("in", "is"), _COMPARISON)
_OPERATORS = dict.fromkeys("== != <> < > <= >=".split(), _COMPARISON) | dict.fromkeys(("=", ":="), _ASSIGNMENT)
_OPERATORS |= dict.fromkeys("( ) [ ] { } , : . ; -> ...".split(), _PUNCTUATION)


@lru_cache(maxsize=4096)  # a solution's types, places and comments are asked for one after the other
def character_types(text: str) -> NDArray[np.int8]:
    """(characters,) index in `TYPES` of every character of a solution."""
    types = np.full(len(text), _PROSE, np.int8)
    for start, end in python_blocks(text):
        types[start:end] = _code_types(text[start:end])
    types.flags.writeable = False
    return types


@lru_cache(maxsize=4096)
def _code_types(code: str) -> NDArray[np.int8]:
    types = np.array([_NEWLINE if c == "\n" else _SPACE if c.isspace() else _OTHER for c in code], np.int8)
    found, facts = lexemes(code), _facts(code)
    for this, kind in zip(found, _lexeme_types(found, facts), strict=True):
        types[this.start : this.end] = kind
    return types


def _lexeme_types(found: Sequence[Lexeme], facts: _Facts) -> Iterator[int]:
    """The type of each lexeme, from itself, the one before it, and where it stands in its statement."""
    before, begins = "", True  # the last word or sign of this statement; whether there is none
    depth, loops = 0, []  # open brackets, and those in which a `for` waits for its `in`
    for i, this in enumerate(found):
        after = next((x for x in found[i + 1 : i + 2]), None)
        if this.kind in _LAYOUT or this.kind == "COMMENT":
            if this.kind == "NEWLINE":
                before, begins, depth, loops = "", True, 0, []
            yield _COMMENT
            continue
        if this.kind == "STRING":
            yield _COMMENT if begins and _ends_statement(found, i) else _STRING
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
            yield _name_type(this, facts)
        before = "self." if this.text == "." and before == "self" else this.text
        begins = False


def _name_type(name: Lexeme, facts: _Facts) -> int:
    if name.start in facts.annotations:
        return _TYPE
    if name.text in _BUILTIN_NAMES and name.text not in facts.bound:
        return _TYPE if name.text in _BUILTIN_TYPES else _BUILTIN
    return _NAME


def _ends_statement(found: Sequence[Lexeme], i: int) -> bool:
    """Whether nothing but strings, comments and layout follows: a docstring, if it also began the statement."""
    for this in found[i + 1 :]:
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
    """Whether a comment, `#` and all, says what the code below it does: an order, a condition or an intention."""
    words = comment.lstrip("#!: \t")
    return _PLAN.match(words, _LEAD_IN.match(words).end()) is not None


def _comment_kinds(code: str) -> NDArray[np.int8]:
    """(characters,) index in `COMMENTS`. A line of its own can plan; a comment's further lines go with its first."""
    kinds = np.full(len(code), _NO_COMMENT, np.int8)
    kinds[_code_types(code) == _COMMENT] = _SAYS  # docstrings among them
    above = None  # the comment on the line above: its column and kind
    for this in lexemes(code):
        if this.kind != "COMMENT":
            above = above if this.kind in _LAYOUT else None
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

    A token is what its first visible character is; a newline of the code in it decides; spaces alone are spaces.
    """
    types = np.append(character_types(text), np.int8(_END))
    found = types[first_characters(text, char_ends)[0]]
    breaks = np.cumsum(types == _NEWLINE)
    ends = np.asarray(char_ends, np.int64)
    found[np.diff(np.append(0, breaks)[ends], prepend=0) > 0] = _NEWLINE
    return found


def token_places(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `PLACES` of every token. The line break after a comment is code."""
    return _PLACE_OF_TYPE[token_types(text, char_ends)]


def token_comments(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `COMMENTS` of every token."""
    kinds = np.full(len(text) + 1, _NO_COMMENT, np.int8)
    for start, end in python_blocks(text):
        kinds[start:end] = _comment_kinds(text[start:end])
    found = kinds[first_characters(text, char_ends)[0]]
    found[token_types(text, char_ends) != _COMMENT] = _NO_COMMENT
    return found


def line_counts(text: str) -> NDArray[np.int64]:
    """(places,) how many lines with something on them begin in each of `PLACES`; code before a comment is code."""
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
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which tokens are decision tokens (confidence < tau): the table of `asprm.token_types.mathematics.token_table`, for programs.

    by: "type" (Table 9), "place" (Table 10; with columns lines and line_share, its interval too), or "comment".
    only: the rows, whose tokens the shares are of. By default those that the paper counts: types of code without
    comments and prose, code against comments, the two kinds of comment. All rows: only=TYPES, PLACES or COMMENTS.
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
    frame = tabulate(by, names, classes, confidences, problem, tau, only=only, resamples=resamples, seed=seed)
    if by == "place":
        lines = pd.DataFrame([line_counts(text) for text in texts], columns=names)[list(only)]
        lines = lines.groupby(pd.Series(problem), sort=False).sum().to_numpy()
        share = s.bootstrap_ratio(lines, lines.sum(1), resamples=resamples, seed=seed)
        frame["lines"] = lines.sum(0)
        frame[["line_share", "line_share_low", "line_share_high"]] = np.stack(share, axis=1)
    return frame
