"""Mathematics tokens: at what kind of token does the policy hesitate? (paper Tables 7, 8 and 11)

Every token gets two classes from its characters, so that any tokenizer will do:
- its *type* is the paper's: newline, punctuation, number in running text, formula, or a word by its part of speech;
- its *role* is finer: operation, operand, equals sign, result, final answer, number in running text.
Texts are read line by line: a formula does not cross a newline. Knows texts and offsets: no model, no tokenizer.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asprm.token_types.tables import first_characters, tabulate

TYPES = (
    "New line break",
    "Punctuation",
    "Symbolic Reasoning",  # a number in running text ("gives them 3 points"), in digits or words
    "Math Formula",  # part of an expression or equation: operands, operators, "=", result, LaTeX
    "Noun",
    "Conjunction",  # with prepositions and connecting adverbs: "and", "if", "of", "so", "then", "therefore"
    "Verb",
    "Determiner",
    "Split word",  # starts within a word
    "Other",  # adjectives, pronouns, other adverbs
    "End of text",  # spells nothing
)
ROLES = ("operation", "operand", "equals", "result", "answer", "number", "other")
_NEWLINE, _PUNCTUATION, _NUMBER, _FORMULA, _NOUN, _CONJUNCTION, _VERB, _DETERMINER, _SPLIT, _OTHER, _END = range(11)
_OPERATION, _OPERAND, _EQUALS, _RESULT, _ANSWER, _IN_TEXT, _NO_ROLE = range(7)

# --- parts of speech --------------------------------------------------------------------------------------------------

_SPACY_MODEL = "en_core_web_sm"
_CONNECTIVES = re.compile(
    "(?i:so|then|therefore|thus|hence|however|finally|(?:first|second|third|last)ly|also|consequently|otherwise|instead|"
    "meanwhile|moreover|afterwards|accordingly|respectively)|First|Second|Third|Next|Last"
)
_UNIVERSAL = {"NOUN": _NOUN, "PROPN": _NOUN, "VERB": _VERB, "AUX": _VERB, "DET": _DETERMINER, "NUM": _NUMBER}
_UNIVERSAL |= dict.fromkeys(("CCONJ", "SCONJ", "ADP"), _CONJUNCTION)
_PENN = {"NN": _NOUN, "VB": _VERB, "MD": _VERB, "DT": _DETERMINER, "PD": _DETERMINER, "WD": _DETERMINER}
_PENN |= {"CC": _CONJUNCTION, "IN": _CONJUNCTION, "CD": _NUMBER}


@dataclass(frozen=True)
class Tagger:
    """tag: gives each word of a line (numbers and punctuation included) its part of speech, an index in `TYPES`."""

    name: str
    tag: Callable[[list[str]], list[int]]


@lru_cache(maxsize=1)
def load_tagger(which: str = "auto") -> Tagger:
    """A tagger by name: spacy, textblob, or auto for spaCy where its small English model is installed, else TextBlob.

    TextBlob's pattern tagger brings its lexicon with it: nothing is downloaded. Pages show `Tagger.name`.
    ValueError: unknown name. ModuleNotFoundError: spaCy's model is not installed.
    """
    if which not in ("auto", "spacy", "textblob"):
        raise ValueError(f"unknown tagger {which!r}; known: auto, spacy, textblob")
    installed = all(importlib.util.find_spec(name) for name in ("spacy", _SPACY_MODEL))
    if which == "spacy" and not installed:
        raise ModuleNotFoundError(f"spaCy's model is not installed: python -m spacy download {_SPACY_MODEL}")
    if which != "textblob" and installed:
        import spacy  # pyright: ignore[reportMissingImports]

        nlp = spacy.load(_SPACY_MODEL, disable=["parser", "ner", "lemmatizer"])
        return Tagger(f"spaCy {_SPACY_MODEL}", lambda words: _spacy_tags(nlp, words))
    from textblob.en import parser

    return Tagger("TextBlob PatternTagger", lambda words: _pattern_tags(parser, words))


def _spacy_tags(nlp: Any, words: list[str]) -> list[int]:
    from spacy.tokens import Doc  # pyright: ignore[reportMissingImports]

    return [_UNIVERSAL.get(token.pos_, _OTHER) for token in nlp(Doc(nlp.vocab, words=words))]


def _pattern_tags(parser: Any, words: list[str]) -> list[int]:
    return [_PENN.get(tag[:2], _OTHER) for _, tag in parser.find_tags(words)]


# --- one line: lexemes, formulas, roles -------------------------------------------------------------------------------

_LEXEME = re.compile(
    r"""(?P<operator>\\(?:times|cdot|div|pm)(?![A-Za-z])|[+*×·÷/^−–-])
      | (?P<relation>[=≈<>≤≥≠])
      | (?P<unit>\\?[$%]|[€£°])
      | (?P<open>[(\[{]|\\[(\[]|\\(?:boxed|left|text)(?![A-Za-z]))
      | (?P<close>[)\]}]|\\[)\]]|\\right(?![A-Za-z]))
      | (?P<latex>\\[A-Za-z]+|\\.)
      | (?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)
      | (?P<clitic>['’]s\b)
      | (?P<word>[^\W\d_]+(?:['’](?:t|ll|re|ve|d|m)\b)?)
      | (?P<mark>\S)""",
    re.VERBOSE,
)
_UNIT_WORDS = 4  # "2 bolts of blue fiber + 1 bolt": words that may stand between an operand and its operator
_REACH = 16  # most lexemes between an operator and its operand: broken texts pile up brackets
_DOLLAR_MATH = re.compile(r"(?<!\\)\$(?=[^$]*[=+*/^_<>\\])(?:\\[A-Za-z]+|\\.|[A-Za-z](?![A-Za-z])|[^A-Za-z$\\])+\$")
_LATEX_SPAN = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|\\[A-Za-z]+(?:\{(?:[^{}]|\{[^{}]*\})*\})+")
_FINAL = re.compile(r"(?:\bthe (?:final )?answer is:?|####)(.*)|\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", re.IGNORECASE)


@dataclass
class _Lexeme:
    start: int
    end: int
    kind: str
    text: str
    formula: bool = False
    linked: bool = False  # a unit word between an operand and its operator
    role: int = _NO_ROLE


@lru_cache(maxsize=20_000)  # policies write the same lines again and again
def _read(line: str) -> tuple[_Lexeme, ...]:
    """The lexemes of a line with `formula` and `role` set."""
    matches = _LEXEME.finditer(line)
    lexemes = _join_fractions([_Lexeme(m.start(), m.end(), m.lastgroup or "mark", m.group()) for m in matches])
    _mark_letters(lexemes)
    _mark_formulas(line, lexemes)
    _mark_roles(lexemes)
    _mark_answer(line, lexemes)
    return tuple(lexemes)


def _join_fractions(lexemes: list[_Lexeme]) -> list[_Lexeme]:
    """Make one number of a/b without spaces, unless a further operator shows that it is a division."""
    joined: list[_Lexeme] = []
    for i, this in enumerate(lexemes):
        if len(joined) > 1 and joined[-1].text == "/" and this.kind == joined[-2].kind == "number":
            a, bar = joined[-2:]
            tight = a.end == bar.start and bar.end == this.start
            before, after = _next_kind(joined, len(joined) - 2, -1), _next_kind(lexemes, i, +1)
            if tight and before != "operator" and after not in ("operator", "relation"):
                joined[-2:] = [_Lexeme(a.start, this.end, "number", a.text + "/" + this.text)]
                continue
        joined.append(this)
    return joined


def _next_kind(lexemes: Sequence[_Lexeme], i: int, step: int) -> str:
    i += step
    while 0 <= i < len(lexemes) and lexemes[i].kind in ("open", "close", "unit"):
        i += step
    return lexemes[i].kind if 0 <= i < len(lexemes) else "edge"


def _mark_letters(lexemes: list[_Lexeme]) -> None:
    """A single letter may be a variable; an x with spaces around it between two quantities multiplies them."""
    for i, this in enumerate(lexemes):
        if this.kind == "word" and len(this.text) == 1:
            this.kind = "letter"
            if this.text in "xX" and 0 < i < len(lexemes) - 1:
                before, after = lexemes[i - 1], lexemes[i + 1]
                spaced = before.end < this.start and this.end < after.start
                quantities = before.kind in ("number", "close", "unit", "word") and after.kind in (
                    "number",
                    "open",
                    "unit",
                )
                this.kind = "operator" if spaced and quantities else "letter"


def _mark_formulas(line: str, lexemes: list[_Lexeme]) -> None:
    # 1. Operators and relations with their operands.
    for i, this in enumerate(lexemes):
        if this.kind not in ("operator", "relation"):
            continue
        left, right = _operand(lexemes, i, -1), _operand(lexemes, i, +1)
        if this.text in "-–−":  # a subtraction or a sign, but no hyphen and no dash
            this.formula = right is not None and (left is not None or _is_sign(lexemes, i))
        elif this.text == "/":  # "grams/day" is no division
            rate = i > 0 and lexemes[i - 1].kind == "word" and lexemes[i - 1].end == this.start
            this.formula = left is not None and right is not None and not rate
        else:  # "total = 5"
            this.formula = left is not None or right is not None
        for j in (left, right):
            if this.formula and j is not None:
                lexemes[j].formula = True
                for word in lexemes[j + 1 : i]:
                    word.linked = True
    # 2. Letters beside numbers, and LaTeX.
    for before, this in pairwise(lexemes):
        if this.kind == "letter" and before.kind == "number" and before.end == this.start:
            this.formula = before.formula = this.formula or before.formula  # both of 4x
    spans = [m.span() for pattern in (_DOLLAR_MATH, _LATEX_SPAN) for m in pattern.finditer(line)]
    for this in lexemes:
        if this.kind != "word" and any(a <= this.start and this.end <= b for a, b in spans):
            this.formula = True
    # 3. Brackets and units, once it is known whether what they belong to is a formula.
    for i, this in enumerate(lexemes):
        if this.kind in ("open", "close", "unit"):
            this.formula |= _owner(lexemes, i).formula


def _operand(lexemes: Sequence[_Lexeme], i: int, step: int) -> int | None:
    """Index of the quantity beside operator i: behind brackets, currency, a sign or, to its left, its unit."""
    words = 0
    j = i + step
    while 0 <= j < len(lexemes) and abs(j - i) <= _REACH:
        this = lexemes[j]
        if this.kind in ("number", "latex") or (this.kind == "letter" and not words):
            return j
        words += this.kind in ("word", "letter")
        sign = step > 0 and this.text in "-–−"
        if words > _UNIT_WORDS * (step < 0) or (this.kind in ("mark", "relation", "operator") and not sign):
            return None
        j += step
    return None


def _is_sign(lexemes: Sequence[_Lexeme], i: int) -> bool:
    if i + 1 == len(lexemes) or lexemes[i + 1].start > lexemes[i].end:
        return False
    return (
        i == 0
        or lexemes[i - 1].kind in ("relation", "operator", "open", "unit")
        or lexemes[i - 1].end < lexemes[i].start
    )


def _owner(lexemes: Sequence[_Lexeme], i: int) -> _Lexeme:
    """What a bracket or unit belongs to: the lexeme inside the bracket, before a %, after a $."""
    j = i - 1 if lexemes[i].kind == "close" or lexemes[i].text[-1] in "%°" else i + 1
    return lexemes[j] if 0 <= j < len(lexemes) else lexemes[i]


def _mark_roles(lexemes: list[_Lexeme]) -> None:
    """Quantities are operands, except a side of an equation right of a relation without an operation: a result."""
    side: list[_Lexeme] = []
    after_relation = operated = False
    for i, this in enumerate(lexemes):
        quantity = this.formula and this.kind in ("number", "letter", "latex", "unit")
        sign = this.formula and this.text in "-–−" and _operand(lexemes, i, -1) is None
        if quantity or sign:
            side.append(this)
        elif this.formula and this.kind == "operator":
            this.role, operated = _OPERATION, True
        elif not this.linked and not (this.formula and this.kind in ("open", "close")):  # the side ends
            _close_side(side, after_relation and not operated)
            after_relation, operated, side = this.formula and this.kind == "relation", False, []
            if after_relation:
                this.role = _EQUALS
            elif this.kind == "number" or (this.kind == "unit" and _owner(lexemes, i).kind == "number"):
                this.role = _IN_TEXT
    _close_side(side, after_relation and not operated)


def _close_side(side: list[_Lexeme], is_result: bool) -> None:
    for lexeme in side:
        lexeme.role = _RESULT if is_result else _OPERAND


def _mark_answer(line: str, lexemes: list[_Lexeme]) -> None:
    for match in _FINAL.finditer(line):
        start, end = match.span(1) if match[1] is not None else match.span(2)
        inside = [x for x in lexemes if start <= x.start and x.end <= end]
        quantities = [x for x in inside if x.kind not in ("word", "clitic", "mark", "open", "close")]
        for lexeme in quantities or inside:  # an answer in words, where there is no number
            lexeme.role = _ANSWER


# --- tokens -----------------------------------------------------------------------------------------------------------


def token_types(text: str, char_ends: ArrayLike, tagger: Tagger | None = None) -> NDArray[np.int8]:
    """(T,) index in `TYPES` of every token. char_ends: (T,), see `asprm.models.align.Speller`.

    A token with a newline is a newline; any other has the type of its first visible character. A token of spaces alone
    has the type of the next visible character in its line.
    """
    tagger = tagger or load_tagger()
    chars = [_line_types(line, tagger) for line in _lines(text)]
    types, inside = np.concatenate([np.zeros((2, 0), np.int8), *chars, [[_END], [0]]], axis=1)
    first, newline = first_characters(text, char_ends)
    of_tokens = np.where(inside[first], _SPLIT, types[first])
    of_tokens[newline] = _NEWLINE
    return of_tokens.astype(np.int8)


def token_roles(text: str, char_ends: ArrayLike) -> NDArray[np.int8]:
    """(T,) index in `ROLES` of every token; every digit of a number has the number's role."""
    roles = np.concatenate([*(_line_roles(line) for line in _lines(text)), [_NO_ROLE]])
    first, newline = first_characters(text, char_ends)
    of_tokens = roles[first]
    of_tokens[newline] = _NO_ROLE
    return of_tokens.astype(np.int8)


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


@lru_cache(maxsize=20_000)
def _line_types(line: str, tagger: Tagger) -> NDArray[np.int8]:
    """(2, characters): the types, and 1 for characters inside a word, 0 for others."""
    lexemes = _read(line)
    chars = np.zeros((2, len(line)), np.int8)
    chars[0] = -1
    for i, (this, tag) in enumerate(zip(lexemes, tagger.tag([x.text for x in lexemes]), strict=True)):
        if this.formula:
            of = _FORMULA
        elif this.kind == "number" or (this.kind == "unit" and _owner(lexemes, i).kind == "number"):
            of = _NUMBER
        elif this.kind in ("word", "letter", "clitic"):
            of = _CONJUNCTION if _CONNECTIVES.fullmatch(this.text) else tag
            chars[1, this.start + 1 : this.end] = 1
        else:
            of = _PUNCTUATION
        chars[0, this.start : this.end] = of
    return np.stack([_fill_spaces(chars[0], _NEWLINE if line.endswith("\n") else _OTHER), chars[1]])


@lru_cache(maxsize=20_000)
def _line_roles(line: str) -> NDArray[np.int8]:
    """(characters,) index in `ROLES`."""
    chars = np.full(len(line), -1, np.int8)
    for this in _read(line):
        chars[this.start : this.end] = this.role
    return _fill_spaces(chars, _NO_ROLE)


def _fill_spaces(chars: NDArray[np.int8], at_end: int) -> NDArray[np.int8]:
    """Give every space (−1) the value of the next visible character of its line."""
    visible = np.append(np.flatnonzero(chars >= 0), len(chars))
    return np.append(chars, np.int8(at_end))[visible[np.searchsorted(visible, np.arange(len(chars)))]]


# --- counts -----------------------------------------------------------------------------------------------------------


def token_table(
    texts: Iterable[str],
    char_ends: Iterable[ArrayLike],
    confidences: Iterable[ArrayLike],
    problem: Iterable[Hashable],
    tau: float,
    *,
    by: str = "type",
    tagger: Tagger | None = None,
) -> pd.DataFrame:
    """Which tokens are decision tokens (confidence < tau): one row per type or role.

    texts: one per solution, like all below; iterators will do.
    char_ends: (T,) of the tokens, see `asprm.models.align.Speller`.
    confidences: (T,).
    problem: that each solution solves.
    tau: the threshold.
    by: "type" or "role".
    tagger: of types; None for `load_tagger`'s own choice.

    Columns: the type or role; tokens and decision_tokens (counts); share and decision_share (of all tokens and of all
    decision tokens); rate (decision tokens among the tokens of the row). The last three come with 95 % intervals
    (…_low, …_high) that resample problems, since solutions of one problem hesitate at the same places.
    ValueError: unknown `by`, offsets and confidences of unequal length, no tokens.
    """
    if by not in ("type", "role"):
        raise ValueError(f"by is {by!r}; it must be 'type' or 'role'")
    names = TYPES if by == "type" else ROLES
    classes = (
        token_types(text, ends, tagger) if by == "type" else token_roles(text, ends)
        for text, ends in zip(texts, char_ends, strict=True)
    )
    return tabulate(by, names, classes, confidences, problem, tau)
