r"""Sets of real numbers as unions of intervals, whichever way they are written.

`x < 1 \text{ or } x > 2`, `\{x : x \ne 0\}`, `(-\infty,3)\setminus\{0\}`, `\mathbb{R}` and `1 \le x < 2` become texts
of intervals and unions, which `asprm.grading.compare` compares element by element. All texts are tidied.

Inequalities and distances that are linear with plain numbers are solved (`2x > 10`, `|x - 1| \le 2`); a comma between
inequalities means *and* where both can hold, else *or*; an outward bracket is an open end (`]1, 2[`); intervals that
overlap or touch are one interval.
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


_DISTANCE = re.compile(r"\|([^|]+)\| ?(<|>|\\le(?![a-z])|\\ge(?![a-z])) ?([^|]+)")
_REAL = re.compile(r"([a-zA-Z]) ?\\in ?\\mathbb ?\{? ?R ?\}? ?,(?= ?\1(?![a-zA-Z]))")
_EXCEPT = re.compile(rf"({_REALS.pattern}) (?:except|but|other than|apart from) (?:for )?(.+)", re.IGNORECASE)
_OUTWARD = re.compile(r"([\[\](]) ?([^\[\]()]+,[^\[\]()]+?) ?([\[\])])")
_LIST = re.compile(r" ?, ?(?:and )?| and ")


def interval_text(text: str) -> str | None:
    r"""The interval or union that a text describes, such as `-2 \le x < 7`; None for anything else."""
    text = re.sub(
        r"\\(?:leqslant|leq?)(?![a-z])|<=", r"\\le ", re.sub(r"\\(?:geqslant|geq?)(?![a-z])|>=", r"\\ge ", text)
    )
    text = re.sub(r"\\lt(?![a-z])", "<", re.sub(r"\\gt(?![a-z])", ">", text)).strip()
    text = _REAL.sub("", text).strip()
    if text.startswith("]") or text.endswith("["):
        return _OUTWARD.sub(lambda m: f"{m[1].replace(']', '(')}{m[2]}{m[3].replace('[', ')')}", text)
    if distance := _DISTANCE.fullmatch(text):
        return _around(distance[1].strip(), distance[2], distance[3].strip())
    if text.replace(" ", "") in ("\\mathbb{R}^+", "\\mathbb{R}^{+}", "\\mathbb{R}_{>0}"):
        return "(0,\\infty)"
    if such_that := _SUCH_THAT.fullmatch(text):
        return interval_text(such_that[2]) if _mentions(such_that[2], such_that[1]) else None
    if _REALS.fullmatch(text):
        return "(-\\infty,\\infty)"
    if points := _left_out(text):
        if len(points) == 1:
            return f"(-\\infty,{points[0]})\\cup({points[0]},\\infty)"
        return _without_points("(-\\infty,\\infty)", points)
    if minus := _MINUS.fullmatch(text):
        return _without_points(interval_text(minus[1]) or minus[1], minus[2].split(","))
    either = re.split(r"\s+or\s+|\\vee(?![a-z])|\\lor(?![a-z])", text)
    if len(either) > 1:
        parts = [_chain(part) for part in either]
        return "\\cup".join(part for part in parts if part) if all(parts) else None
    both = re.split(r"\s*,?\s+and\s+|\\wedge(?![a-z])|\\land(?![a-z])", text)
    if len(both) == 2:
        return _overlap(_chain(both[0]), _chain(both[1]))
    if apart := re.fullmatch(r"([^,]+), ?([a-zA-Z]) ?\\neq?(?![a-z]) ?([^,]+)", text):
        chain = _chain(apart[1]) if _mentions(apart[1], apart[2]) else None
        return _without_points(chain, [apart[3]]) if chain else None
    both = text.split(",")
    if len(both) == 2 and len({*re.findall("[a-zA-Z]", re.sub(r"\\[a-z]+", "", text))}) == 1:
        overlap = _overlap(_chain(both[0]), _chain(both[1]))
        ends = _LINE.fullmatch(overlap or "")
        low, high = (_end(ends[2]), _end(ends[3])) if ends else (None, None)
        if low is not None and high is not None:
            return overlap if low < high else "\\cup".join(filter(None, map(_chain, both)))
    return _chain(text)


def _left_out(text: str) -> list[str]:
    r"""The points of `x \ne 1, 2`, `x \ne 1 and x \ne 2` or `all real numbers except 1 and 2`; none for other texts."""
    if real := _EXCEPT.fullmatch(text):
        return _LIST.split(real[2])
    variable, points = None, []
    for part in _LIST.split(text):
        apart = _NOT_EQUAL.fullmatch(part)
        if (apart is None and variable is None) or (apart and variable not in (None, apart[1])):
            return []
        variable = apart[1] if apart else variable
        points.append(apart[2] if apart else part)
    return points


_LINEAR = re.compile(r"(-?[0-9./]*) ?\*? ?([a-zA-Z])(?: ?/ ?([0-9]+))?(?: ?([+-]) ?([0-9./]+))?")
_TURNED_LINEAR = re.compile(r"(-?[0-9./]+) ?([+-]) ?([0-9./]*) ?([a-zA-Z])")


def _linear(text: str) -> tuple[Fraction, Fraction] | None:
    """(a, b) of a x + b, whose variable is one letter; None for anything else."""
    text = text.strip()
    if match := _LINEAR.fullmatch(text):
        slope, part = _fraction(match[1]), _fraction(f"1/{match[3] or 1}")
        slope, constant = slope and part and slope * part, _fraction(f"{match[4] or ''}{match[5] or '0'}")
    elif match := _TURNED_LINEAR.fullmatch(text):
        slope, constant = _fraction(match[2] + match[3]), _fraction(match[1])
    else:
        return None
    return (slope, constant) if slope and constant is not None else None


def _fraction(text: str) -> Fraction | None:
    """The number that a coefficient is: 1 of an empty one, -1 of a sign alone."""
    number = parse_number(f"{text}1" if text in ("", "+", "-") else text)
    return number.bare if number else None


def _around(inside: str, relation: str, distance: str) -> str | None:
    """The interval of `|inside| < distance`, or the union of `|inside| > distance`."""
    if _VARIABLE.fullmatch(inside):
        low, high = f"-{distance}", distance
    else:
        line, number = _linear(inside), parse_number(distance)
        if line is None or number is None:
            return None
        low, high = map(str, sorted((end - line[1]) / line[0] for end in (-number.bare, number.bare)))
    opening, closing = {"<": "()", "\\le": "[]", ">": ")(", "\\ge": "]["}[relation]
    if relation in ("<", "\\le"):
        return f"{opening}{low},{high}{closing}"
    return f"(-\\infty,{low}{opening}\\cup{closing}{high},\\infty)"


def _mentions(condition: str, variable: str) -> bool:
    return re.search(rf"(?<![a-zA-Z]){variable}(?![a-zA-Z])", condition) is not None


def _chain(text: str) -> str | None:
    """The interval of one inequality, or of one with two sides."""
    pieces = _solved([piece.strip() for piece in _RELATION.split(text)])
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


def _solved(pieces: list[str]) -> list[str]:
    """Sides and relations of an inequality for x, if they are those of one for a x + b with plain numbers as bounds."""
    lines = [(place, _linear(piece)) for place, piece in enumerate(pieces[::2])]
    [(place, line), *others] = [(place, line) for place, line in lines if line] or [(0, None)]
    if line is None or others or line == (1, 0) or len(pieces) not in (3, 5) or (len(pieces) == 5 and place != 1):
        return pieces
    solved = list(pieces)
    for side in range(0, len(pieces), 2):
        number = parse_number(pieces[side])
        if side == 2 * place:
            solved[side] = "x"
        elif number is None:
            return pieces
        else:
            solved[side] = str((number.bare - line[1]) / line[0])
    return [_TURNED.get(piece, piece) for piece in solved] if line[0] < 0 else solved


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


def join_intervals(parts: list[str]) -> list[str]:
    """The parts of a union in which intervals that overlap or touch are one; as they are where an end is no number."""
    pieces = []
    for part in parts:
        point = re.fullmatch(r"\\\{([^,]+)\\\}", part)
        line = _LINE.fullmatch(f"[{point[1]},{point[1]}]" if point else part)
        low, high = (_end(line[2]), _end(line[3])) if line else (None, None)
        if line is None or low is None or high is None or low > high:
            return parts
        pieces.append((low, line[1] == "(", high, line[4] == "]", line[2], line[3]))
    pieces.sort()
    joined = pieces[:1]
    for piece in pieces[1:]:
        last = joined[-1]
        if piece[0] < last[2] or (piece[0] == last[2] and (last[3] or not piece[1])):
            end = max(last, piece, key=lambda one: one[2:4])
            joined[-1] = (*last[:2], *end[2:4], last[4], end[5])
        else:
            joined.append(piece)
    return [f"{'(' if open_ else '['}{low},{high}{']' if closed else ')'}" for _, open_, _, closed, low, high in joined]
