"""Units: what the words after a number say about its value.

Any words may follow a number (`7 wrong guesses`), and do not change it, unless they calculate (`3 squared`, `2 fifths`,
`12 base six`, `5 percent of x`): then the whole is no plain number. Units of the table are converted; a rate
(`10 km/h`, `10 miles per hour`) has the units of both sides.
"""

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Unit:
    """dimension: "length", "money", "length/time"; "" for words. factor: to its base unit. scale: of "million"."""

    dimension: str = ""
    factor: Fraction = Fraction(1)
    scale: Fraction = Fraction(1)


NO_UNIT = Unit()
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALES |= {"dozen": 12, "score": 20, "gross": 144, "lakh": 10**5, "crore": 10**7}
_PARTS = "half quarter third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
PARTS = {"halves": 2, "twentieth": 20, "twentieths": 20, "hundredth": 100, "hundredths": 100}
PARTS |= {"thousandth": 1000, "thousandths": 1000, "millionth": 10**6, "millionths": 10**6}
PARTS |= {f"{word}{s}": n for word, n in zip(_PARTS.split(), (2, 4, *range(3, 13)), strict=True) for s in ("", "s")}
CURRENCIES = {"$": "money", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee", "₽": "rouble"}

_ORDINALS = (
    "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth thousandth millionth"
)
# Words that calculate with the number before them, or with the next one.
_CALCULATES = frozenset(
    "or by over plus minus mod modulo if when unless pi sqrt sin cos tan cot sec csc log ln exp squared cubed "
    "choose root roots base factorial half halves quarter quarters divided multiplied remainder power to not "
    "less past point nor versus vs tens hundreds thousands millions billions below binary octal hexadecimal nths nth "
    "billionth billionths trillionth trillionths".split()
    + _ORDINALS.split()
    + [f"{word}s" for word in _ORDINALS.split()]
)
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = frozenset(f"{ONES} {TENS}".split()) - {"one"}  # which also stands for a thing
_WORD = re.compile(r"[a-z][a-z'.-]*[a-z.]|a|i")
_NAMED = re.compile(
    r"(?:(square|sq|cubic|cu) )?(%|°(?: ?[cf])?|[a-z][a-z.]*)(?: ?\^ ?\{? ?([23]) ?\}?| (squared|cubed))?"
)
_DEGREE = re.compile(r"\^? ?\{? ?\\circ ?\}?")
_MOST_WORDS = 12


def read_unit(text: str, currency: str = "") -> Unit | None:
    """The unit that the text after a number says; None where the text is no unit.

    currency: the sign before the number, or "". The text begins with a space where the number ended with one.
    """
    if not text and not currency:
        return NO_UNIT
    money = Unit(CURRENCIES.get(currency, currency))
    if not text:
        return money
    if text.strip() == "¢":
        return Unit("money", Fraction(1, 100))
    attached = text[0] not in " \\^-"
    words = _DEGREE.sub("°", text).replace("(", " ").replace(")", " ").lower().replace("°", " ° ").split()
    words = " ".join(words).replace("° c", "°c").replace("° f", "°f").split()
    scale = Fraction(1)
    while words and not attached and words[0] in SCALES:
        scale *= SCALES[words.pop(0)]
    if len(words) == 1 and not attached and words[0] in PARTS:
        scale /= PARTS[words.pop()]
    if words and words[0] in ("and", "&"):
        return None  # "2 and three" are two numbers
    if _NUMBERS.intersection(words[1:]):
        return None  # "3 hours and ten minutes" are more than three hours
    if not words:
        return Unit(money.dimension, money.factor, scale)
    rest = " ".join(words)
    if rest in CURRENCIES:
        return Unit(CURRENCIES[rest], Fraction(1), scale)
    if rest in ("units", "unit"):
        return Unit(money.dimension, money.factor, scale)
    known = _rate(rest) or _first_known(words) or (None if attached else _product(text))
    if known is not None:
        alone = attached and re.fullmatch("[a-z]", words[0])  # 2m is a product
        return None if alone else Unit(known.dimension, known.factor, scale)
    if attached or len(rest) < 3 or len(words) > _MOST_WORDS or not all(map(_is_harmless, words)):
        return None  # 2ab is a product, and so is 2 ab
    return Unit(money.dimension, money.factor, scale)


def known_unit(text: str) -> Unit | None:
    """The unit of the table, or the rate, that the text is; None for anything else. For the end of an expression."""
    text = _DEGREE.sub("°", text).lower().strip()
    plain = text.removeprefix("square ").removeprefix("cubic ").removeprefix("sq ").removeprefix("sq. ")
    return Unit() if plain in ("unit", "units") else _rate(text) or _one(text)


def _is_harmless(word: str) -> bool:
    return _WORD.fullmatch(word.strip(",")) is not None and word.strip(",") not in _CALCULATES


def _rate(text: str) -> Unit | None:
    """The unit of `km/h`, `m / s^2` or `miles per hour`; also of `apples/day`, which has no dimension."""
    above, mark, below = re.sub(r" per | ?/ ?(?:a )?", "/", text).partition("/")
    if not mark or "/" in below:
        return None
    left, right = _one(above), _one(below)
    if left is not None and right is not None and left.dimension and right.dimension:
        return Unit(f"{left.dimension}/{right.dimension}", left.factor / right.factor)
    words = all(_is_harmless(word) and len(word) > 1 for word in f"{above} {below}".split())
    if words or (right is not None and _is_harmless(above)):
        return Unit(f"/{right.dimension}", 1 / right.factor) if right is not None else Unit()
    return Unit() if left is not None and _is_harmless(below) else None


_FACTOR = re.compile(r"(?:\s|\*|\\cdot(?![a-z]))*(/?) ?([a-zA-Z]+)\.?(?: ?\^ ?\{? ?(-?[1-9]) ?\}?)?\s*")


def _product(text: str) -> Unit | None:
    """The unit that units of the table make with powers, of which one is negative: `m s^{-1}`, `kg m/s^2`."""
    powers: dict[str, int] = {}
    factor, place = Fraction(1), 0
    while place < len(text):
        match = _FACTOR.match(text, place)
        unit = match and _one(match[2].lower())
        if not match or not unit or not unit.dimension:
            return None
        power = int(match[3] or 1) * (-1 if match[1] else 1)
        powers[unit.dimension] = powers.get(unit.dimension, 0) + power
        factor *= unit.factor**power
        place = match.end()
    above, below = (
        "*".join(name if n == 1 else f"{name}^{n}" for name, power in sorted(powers.items()) if (n := sign * power) > 0)
        for sign in (1, -1)
    )
    return Unit(f"{above}/{below}" if above else f"/{below}", factor) if below else None


def _first_known(words: list[str]) -> Unit | None:
    """The known unit that the first words are; the words after it must be harmless."""
    for count in (3, 2, 1):
        unit = _one(" ".join(words[:count]))
        if unit is not None and len(words) >= count:
            rest = words[count:]
            harmless = len(rest) <= _MOST_WORDS and all(map(_is_harmless, rest))
            return unit if harmless else None
    return None


def _one(text: str) -> Unit | None:
    """A unit of the table, with its power: `cm^2`, `square metres`, `sq. ft.`."""
    match = _NAMED.fullmatch(" ".join(text.replace(".", "").split()))
    if match is None:
        return None
    name = match[2].replace("° ", "°")
    known = UNITS.get(name) or (UNITS.get(name.removesuffix("s")) if len(name) > 2 else None)
    power = {"s": 2, "c": 3}[match[1][0]] if match[1] else int(match[3] or {"squared": 2, "cubed": 3}.get(match[4], 1))
    if known is None:
        return None
    dimension, factor = known
    return Unit(dimension if power == 1 or not dimension else f"{dimension}^{power}", factor**power)


def _unit_table() -> dict[str, tuple[str, Fraction]]:
    """(dimension, factor to its base unit) by name or abbreviation, in the singular where the plural ends in s."""
    rows = {
        "percent": "% 1/100, percent 1/100, pct 1/100",
        "money": "dollar 1, usd 1, buck 1, cent 1/100, penny 1/100, pennies 1/100",
        "euro": "euro 1, eur 1",
        "pound sterling": "gbp 1",
        "angle": "° 1, degree 1, deg 1",
        "radian": "radian 1, rad 1",
        "celsius": "°c 1",
        "fahrenheit": "°f 1",
        "time": "s 1, second 1, sec 1, minute 60, min 60, h 3600, hour 3600, hr 3600, day 86400, week 604800",
        "months": "month 1, year 12, yr 12",
        "morning": "am 1",
        "evening": "pm 1",
        "length": "mm 1/1000, millimeter 1/1000, millimetre 1/1000, cm 1/100, centimeter 1/100, centimetre 1/100, m 1, "
        "meter 1, metre 1, km 1000, kilometer 1000, kilometre 1000, in 127/5000, inch 127/5000, inches 127/5000, "
        "foot 381/1250, feet 381/1250, ft 381/1250, yard 1143/1250, yd 1143/1250, mile 201168/125",
        "length/time": "mph 201168/450000, kph 1000/3600, kmh 1000/3600",
        "frequency": "hz 1, khz 1000",
        "power": "kw 1000, watt 1",
        "energy": "kwh 1, joule 1, kj 1000",
        "mass": "mg 1/1000, milligram 1/1000, g 1, gram 1, kg 1000, kilogram 1000, "
        "pound 45359237/100000, lb 45359237/100000, ounce 45359237/1600000, oz 45359237/1600000",
        "volume": "ml 1/1000, milliliter 1/1000, millilitre 1/1000, liter 1, litre 1, l 1",
        "gallons": "gallon 1, quart 1/4, pint 1/8, cup 1/16",
    }
    table = {}
    for dimension, units in rows.items():
        for unit in units.split(","):
            name, factor = unit.split()
            table[name] = (dimension, Fraction(factor))
    return table


UNITS = _unit_table()
