r"""Sets of real numbers as unions of intervals, whichever way they are written.

`x < 1 \text{ or } x > 2`, `\{x : x \ne 0\}`, `(-\infty,3)\setminus\{0\}`, `\mathbb{R}` and `1 \le x < 2` become texts
of intervals and unions, which `asprm.grading.compare` compares element by element. All texts are tidied.
"""

import re
from fractions import Fraction

from asprm.grading.numbers import parse_number

_RELATIONS = {"<": ("(", ")"), "\\le": ("[", "]"), ">": (")", "("), "\\ge": ("]", "[")}
_TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_RELATION = re.compile(r"(<|>|\\le(?![a-z])|\\ge(?![a-z]))")
_NOT_EQUAL = re.compile(r"([a-zA-Z]) ?\\neq?(?![a-z]) ?(.+)")
_SUCH_THAT = re.compile(
    r"\\\{ ?([a-zA-Z]) ?(?:\\in ?(?:\\mathbb ?\{R\}|\\mathbb R|R))? ?"
    r"(?::|\||\\mid(?![a-z])|\\vert(?![a-z])) ?(.+?) ?\\\}"
)
_REALS = re.compile(
    r"\\mathbb ?(?:\{ ?R ?\}|R)|\\R|(?:the )?(?:set of )?all (?:real numbers|reals|real [a-z])", re.IGNORECASE
)
_MINUS = re.compile(r"(.+?) ?(?:\\setminus(?![a-z])|\\backslash(?![a-z])|-(?= ?\\\{)) ?\\\{(.+)\\\}")
_VARIABLE = re.compile(r"[a-zA-Z]")


_DISTANCE = re.compile(r"\|([a-zA-Z])\| ?(<|\\le(?![a-z])) ?([^|]+)")


def interval_text(text: str) -> str | None:
    r"""The interval or union that a text describes, such as `-2 \le x < 7`; None for anything else."""
    text = re.sub(
        r"\\(?:leqslant|leq?)(?![a-z])|<=", r"\\le ", re.sub(r"\\(?:geqslant|geq?)(?![a-z])|>=", r"\\ge ", text)
    )
    text = re.sub(r"\\lt(?![a-z])", "<", re.sub(r"\\gt(?![a-z])", ">", text)).strip()
    if distance := _DISTANCE.fullmatch(text):
        opening, closing = _RELATIONS[distance[2]]
        closing = {"(": ")", "[": "]"}[opening]
        return f"{opening}-{distance[3]},{distance[3]}{closing}"
    if text.replace(" ", "") in ("\\mathbb{R}^+", "\\mathbb{R}^{+}", "\\mathbb{R}_{>0}"):
        return "(0,\\infty)"
    if such_that := _SUCH_THAT.fullmatch(text):
        return interval_text(such_that[2]) if _mentions(such_that[2], such_that[1]) else None
    if _REALS.fullmatch(text):
        return "(-\\infty,\\infty)"
    if apart := _NOT_EQUAL.fullmatch(text):
        return f"(-\\infty,{apart[2]})\\cup({apart[2]},\\infty)"
    if minus := _MINUS.fullmatch(text):
        return _without_points(interval_text(minus[1]) or minus[1], minus[2].split(","))
    either = re.split(r"\s+or\s+|\\vee(?![a-z])|\\lor(?![a-z])", text)
    if len(either) > 1:
        parts = [_chain(part) for part in either]
        return "\\cup".join(part for part in parts if part) if all(parts) else None
    both = re.split(r"\s*,?\s+and\s+|\\wedge(?![a-z])|\\land(?![a-z])", text)
    if len(both) == 2:
        return _overlap(_chain(both[0]), _chain(both[1]))
    return _chain(text)


def _mentions(condition: str, variable: str) -> bool:
    return re.search(rf"(?<![a-zA-Z]){variable}(?![a-zA-Z])", condition) is not None


def _chain(text: str) -> str | None:
    """The interval of one inequality, or of one with two sides."""
    pieces = [piece.strip() for piece in _RELATION.split(text)]
    if len(pieces) == 3 and _VARIABLE.fullmatch(pieces[2]):  # 3 < x
        pieces = [pieces[2], _TURNED[pieces[1]], pieces[0]]
    if len(pieces) == 3 and _VARIABLE.fullmatch(pieces[0]) and not _VARIABLE.fullmatch(pieces[2]):
        bracket = _RELATIONS[pieces[1]]
        if pieces[1] in ("<", "\\le"):
            return f"(-\\infty,{pieces[2]}{bracket[1]}"
        return f"{bracket[1]}{pieces[2]},\\infty)"
    if len(pieces) == 5 and _VARIABLE.fullmatch(pieces[2]):
        low, first, _, second, high = pieces
        if {first, second} <= {">", "\\ge"}:
            low, high = high, low
            first, second = (_TURNED[r] for r in (second, first))
        if {first, second} <= {"<", "\\le"}:
            return f"{_RELATIONS[first][0]}{low},{high}{_RELATIONS[second][1]}"
    return None


_LINE = re.compile(r"([(\[]) ?(.+?) ?, ?(.+?) ?([)\]])")


def _overlap(left: str | None, right: str | None) -> str | None:
    """Of a half-line to the right and one to the left, what both hold."""
    lines = [_LINE.fullmatch(text or "") for text in (left, right)]
    upper = [line for line in lines if line and line[3] == "\\infty"]
    lower = [line for line in lines if line and line[2] == "-\\infty"]
    if len(upper) == len(lower) == 1:
        return f"{upper[0][1]}{upper[0][2]},{lower[0][3]}{lower[0][4]}"
    return None


def _end(text: str) -> Fraction | float | None:
    """The value of an interval's end, if it is a plain number or infinite."""
    text = text.replace(" ", "").removeprefix("+")
    if text in ("\\infty", "-\\infty"):
        return float(text.replace("\\infty", "inf"))
    number = parse_number(text)
    return number.bare if number else None


def _without_points(text: str, points: list[str]) -> str | None:
    """The union of intervals `text` without single points; None where an end or a point is no plain number."""
    pieces = []
    for part in re.split(r" ?\\cup(?![a-z]) ?", text):
        line = _LINE.fullmatch(part)
        if line is None or _end(line[2]) is None or _end(line[3]) is None:
            return None
        pieces.append((line[1], line[2], line[3], line[4]))
    for point in points:
        value = _end(point.strip())
        if value is None:
            return None
        pieces = [rest for piece in pieces for rest in _split_at(piece, point.strip(), value)]
    return "\\cup".join(f"{opening}{low},{high}{closing}" for opening, low, high, closing in pieces)


def _split_at(piece: tuple[str, str, str, str], point: str, value: Fraction | float) -> list[tuple[str, str, str, str]]:
    opening, low, high, closing = piece
    lowest, highest = _end(low), _end(high)
    assert lowest is not None
    assert highest is not None
    if value == lowest:
        return [("(", low, high, closing)]
    if value == highest:
        return [(opening, low, high, ")")]
    if lowest < value < highest:
        return [(opening, low, point, ")"), ("(", point, high, closing)]
    return [piece]
