r"""Numbers as people and LaTeX write them, read exactly.

`-3`, `1,234.50`, `1 000`, `\frac{1}{2}`, `2 1/2`, `$5`, `50\%`, `3 million`, `5 cm`, `10 km/h`, `1.5*10^3`. Values are
`fractions.Fraction`, so that they compare exactly. Anything else is None; `asprm.grading.compare` deals with it.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from asprm.grading.units import CURRENCIES, NO_UNIT, read_unit


@dataclass(frozen=True)
class Number:
    """A number with its unit.

    value: in the base unit of its dimension (metres, dollars, …). bare: as written, whatever the unit.
    dimension: "length", "money", "percent" …; "" without a known unit.
    """

    value: Fraction
    bare: Fraction
    dimension: str = ""


def same_number(left: Number, right: Number) -> bool:
    """Whether the values are equal. A unit on one side only is ignored; a percent sign on one side may mean 1/100."""
    if left.dimension == right.dimension:
        return left.value == right.value
    if left.dimension and right.dimension:
        return False
    return left.bare == right.bare or ("percent" in (left.dimension, right.dimension) and left.value == right.value)


_FRACTION = re.compile(r"\\frac\s*(?:\{\s*([0-9]+)\s*\}|\s([0-9])|([0-9]))\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_SIGNS = "".join(CURRENCIES)
_PLAIN = re.compile(
    rf"(?P<sign>[+-]?) ?(?P<currency>[{_SIGNS}]?) ?(?P<inner>[+-]?) ?"
    r"(?:(?:(?P<whole>[0-9]+) )?(?P<over>[0-9]+) ?/ ?(?P<under>[0-9]+)"
    r"|(?P<decimal>(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+(?![0-9/])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?:[eE]| ?(?:\*|x|\\times|\\cdot) ?10 ?\^ ?\{? ?)(?P<exponent>[+-]?[0-9]{1,3}) ?\}?)?))"
    r"(?P<unit>.*)"
)


_MIXED = re.compile(r"(?:[$]?[0-9][0-9.,]* ?[a-z]+\.?(?:,? and |, | )?){2,4}")
_PIECE = re.compile(r"[$]?[0-9][0-9.,]* ?[a-z]+")


def _sum(text: str) -> Number | None:
    """The value of "1 hour 30 minutes": parts in units of one dimension. Bare it is 1.5, in the first of the units."""
    parts = [parse_number(part) for part in _PIECE.findall(text)]
    known = [part for part in parts if part is not None and part.dimension]
    if len(known) < len(parts) or len({part.dimension for part in known}) > 1:
        return None
    value = sum((part.value for part in known), Fraction(0))
    first = read_unit(f" {re.sub('[^a-z]', '', _PIECE.findall(text)[0])}")
    return Number(value, value / first.factor if first else value, known[0].dimension)


@lru_cache(maxsize=1 << 14)
def parse_number(text: str) -> Number | None:
    """The number that a tidied text consists of; None where it is anything else (an expression, a list, words)."""
    if "\\" in text:
        text = _FRACTION.sub(lambda m: f" {m[1] or m[2] or m[3]}/{m[4] or m[5]}", text)
        text = " ".join(text.replace("- ", "-").split())
    match = _PLAIN.fullmatch(text)
    if match is None or (match["sign"] and match["inner"]):
        return None
    if match["unit"] and _MIXED.fullmatch(text):
        return _sum(text)
    unit = read_unit(match["unit"], match["currency"])
    if unit is None:
        return None
    try:
        if match["decimal"] is not None:
            digits = re.match(r"[0-9, ]*\.?[0-9]*", match["decimal"])
            value = Fraction(digits[0].replace(",", "").replace(" ", "")) if digits else Fraction(0)
            if match["exponent"]:
                value *= Fraction(10) ** int(match["exponent"])
        else:
            value = Fraction(int(match["over"]), int(match["under"])) + int(match["whole"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
    if "-" in match["sign"] + match["inner"]:
        value = -value
    if unit is NO_UNIT:
        return Number(value, value)
    value *= unit.scale
    return Number(value * unit.factor, value, unit.dimension)
