r"""Numbers as people and LaTeX write them, read exactly.

`-3`, `1,234.50`, `\frac{1}{2}`, `2 1/2`, `$5`, `50\%`, `3 million`, `5 cm`. Values are `fractions.Fraction`, so that
they compare exactly. Anything else is None here; `asprm.grading.compare` deals with it.
"""

import re
from dataclasses import dataclass
from fractions import Fraction


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


# Commands for spacing and size do not change a value. `\!` joins the groups of digits in "10,\!080".
_NOTHING = re.compile(r"\\(?:left|right|displaystyle|limits|[bB]igg?[lr]?)(?![a-zA-Z])|(?<!\\)\\[!,;:> ]|\{\}")
_GROUPED = re.compile(r",\\!\s*(?=[0-9]{3})")
_GROUP = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit|hbox|rm|bf|operatorname)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*([0-9]+)\s*\}|\s([0-9])|([0-9]))\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_SIMPLE = str.maketrans({"−": "-", "–": "-", "×": "*", "\u00a0": " ", "\u202f": " ", "\n": " ", "~": " "})


def tidy(text: str) -> str:
    r"""The text without what does not change its value: extra spaces, `$…$` around it, `\text{}`, a last period."""
    text = text.translate(_SIMPLE).strip()
    if "\\" in text or "{" in text:
        text = text.replace("\\%", "%").replace("\\$", "$").replace("{,}", ",").replace("\\degree", "^\\circ")
        text = _GROUPED.sub(",", text).strip()
        if text[:2] in ("\\(", "\\[") and text[-2:] in ("\\)", "\\]"):
            text = text[2:-2]
        text = _NOTHING.sub("", _GROUP.sub(r" \1 ", text))
        text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    text = text.strip(" *`\"'").rstrip(".").rstrip()
    if text.startswith("$") and text.endswith("$"):
        text = text.strip("$")
    return " ".join(text.split())


_PLAIN = re.compile(
    r"(?P<sign>[+-]?) ?(?P<currency>[$€£]?) ?(?P<inner>[+-]?) ?"
    r"(?:(?:(?P<whole>[0-9]+) )?(?P<over>[0-9]+) ?/ ?(?P<under>[0-9]+)"
    r"|(?P<decimal>(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?))"
    r"(?P<unit>.*)"
)
_UNIT = re.compile(
    r" ?(%|\^ ?\{? ?\\circ ?\}?|°|[a-zA-Z]{2,}|(?<= )[a-zA-Z](?=$|\^))(?: [a-zA-Z]+){0,3}(?: ?\^ ?\{?([23])\}?)?"
)
# Words after a number that make it part of a longer expression.
_NO_UNIT = re.compile(
    r"\b(?:and|or|to|by|over|plus|minus|times|less|more|than|mod|if|when|pi|sqrt|sin|cos|tan|cot|sec|csc|log|ln|exp)\b"
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def parse_number(text: str) -> Number | None:
    """The number that a tidied text consists of; None where it is anything else (an expression, a list, words)."""
    if "\\" in text:
        text = _FRACTION.sub(lambda m: f" {m[1] or m[2] or m[3]}/{m[4] or m[5]}", text)
        text = " ".join(text.replace("- ", "-").split())
    match = _PLAIN.fullmatch(text)
    if match is None or (match["sign"] and match["inner"]):
        return None
    dimension, factor, scale = _read_unit(match["unit"], match["currency"])
    if dimension is None:
        return None
    try:
        if match["decimal"] is not None:
            value = Fraction(match["decimal"].replace(",", ""))
        else:
            value = Fraction(int(match["over"]), int(match["under"])) + int(match["whole"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
    value *= scale * (-1 if "-" in match["sign"] + match["inner"] else 1)
    return Number(value * factor, value, dimension)


def _read_unit(text: str, currency: str) -> tuple[str | None, Fraction, int]:
    """(dimension, factor to the base unit, factor of a word like "million") of the text after a number.

    The dimension is None where the text is no unit. currency: the sign before the number, or "".
    """
    symbol = {"": ("", Fraction(1)), "$": ("money", Fraction(1))}.get(currency, (currency, Fraction(1)))
    attached = not text.startswith(" ")
    text = text.strip()
    if not text:
        return *symbol, 1
    words = text.lower().split()
    scale = _SCALES.get(words[0], 1)
    if scale > 1:
        text = " ".join(words[1:])
        if not text:
            return *symbol, scale
    match = _UNIT.fullmatch(" " + text)
    if match is None or _NO_UNIT.search(text.lower()):
        return None, Fraction(1), 1
    name, power = match[1].lower(), int(match[2] or 1)
    if name in ("square", "sq", "cubic", "cu"):
        power = 2 if name.startswith("s") else 3
        name = [*text.lower().split(), ""][1]
    if "circ" in name:
        name = "°"
    known = _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))
    if known is None and (attached or len(text) < 3):
        return None, Fraction(1), 1  # 2ab is a product, and so is 2 ab
    dimension, factor = known or symbol
    return (dimension if power == 1 or not dimension else f"{dimension}^{power}"), factor**power, scale


def _unit_table() -> dict[str, tuple[str, Fraction]]:
    """(dimension, factor to its base unit) by name or abbreviation, in the singular where the plural ends in s."""
    rows = {
        "percent": "% 1/100, percent 1/100, pct 1/100",
        "money": "dollar 1, usd 1, buck 1, cent 1/100, penny 1/100, pennies 1/100",
        "angle": "° 1, degree 1, deg 1",
        "time": "s 1, second 1, sec 1, minute 60, min 60, h 3600, hour 3600, hr 3600, day 86400, week 604800",
        "months": "month 1, year 12, yr 12",
        "length": "mm 1/1000, millimeter 1/1000, cm 1/100, centimeter 1/100, centimetre 1/100, m 1, meter 1, metre 1, "
        "km 1000, kilometer 1000, kilometre 1000, inch 127/5000, inches 127/5000, foot 381/1250, feet 381/1250, "
        "ft 381/1250, yard 1143/1250, yd 1143/1250, mile 201168/125",
        "mass": "mg 1/1000, milligram 1/1000, g 1, gram 1, kg 1000, kilogram 1000, "
        "pound 45359237/100000, lb 45359237/100000, ounce 45359237/1600000, oz 45359237/1600000",
        "volume": "ml 1/1000, milliliter 1/1000, liter 1, litre 1, l 1",
        "gallons": "gallon 1, quart 1/4, pint 1/8, cup 1/16",
    }
    table = {}
    for dimension, units in rows.items():
        for unit in units.split(","):
            name, factor = unit.split()
            table[name] = (dimension, Fraction(factor))
    return table


_UNITS = _unit_table()
