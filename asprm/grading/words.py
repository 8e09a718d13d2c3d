"""Numbers in words: an answer that begins with one, in digits.

`forty-eight apples` is `48 apples`, `two thirds` is `2/3`, `two and a half hours` is `2 1/2 hours`. `3 squared` and
`3 to the power of 4` are `3^2` and `3^4`. Other words stay as they are, so that no name or choice becomes a number.
"""

import re
from dataclasses import dataclass, replace

from asprm.grading.units import ONES, PARTS, TENS

_SMALL = {word: n for n, word in enumerate(ONES.split())} | {w: 10 * n for n, w in enumerate(TENS.split(), 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
NUMBER_WORDS = "|".join([*_SMALL, "hundred", *_LARGE, *PARTS])
"""An expression for one word of a number."""
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth".split()
_SIGNS = {"minus": "-", "negative": "-"}
_FIRST = frozenset([*_SMALL, *_SIGNS, "a", "half", "quarter", "hundred", "thousand"])
_WORD = re.compile(r"(?:-| and | )?([a-z]+)(?![a-z])", re.IGNORECASE)
_PARTS_COUNTED = {"a": 1} | {word: n for word, n in _SMALL.items() if 0 < n < 10}
_AND_PART = re.compile(rf"(?<=[0-9]) and ({'|'.join(_PARTS_COUNTED)})[ -]({'|'.join(PARTS)})(?![a-z])", re.IGNORECASE)
_OF_TWO = re.compile(r"([0-9]+) (to|over|out of|in) ([a-z]+(?:-[a-z]+)?|[0-9]+)", re.IGNORECASE)
_POWER = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?) (squared|cubed|to the power of ([0-9]+|[a-z]+))", re.IGNORECASE)


def in_digits(text: str) -> str:
    """The text with the number in words that it begins with in digits; without one, as it is."""
    if text[:1].isalpha():
        first = re.split("[ -]", text, maxsplit=1)[0].lower()
        if first not in _FIRST:
            return text
        text = _leading(text)
    if not text[:1].isdigit() and text[:1] != "-":
        return text
    text = _AND_PART.sub(lambda m: f" {_PARTS_COUNTED[m[1].lower()]}/{PARTS[m[2].lower()]}", text)
    if power := _POWER.fullmatch(text):
        exponent = {"squared": "2", "cubed": "3"}.get(power[2].lower()) or _leading(power[3])
        return f"({power[1]})^{{{exponent}}}" if exponent.isdigit() else text
    if two := _OF_TWO.fullmatch(text):
        other = _leading(two[3])
        return f"{two[1]}{':' if two[2].lower() == 'to' else '/'}{other}" if other.isdigit() else text
    return text


@dataclass(frozen=True)
class _Word:
    """A word with its place in the text. joined: whether `and` stands before it."""

    text: str
    start: int
    end: int
    joined: bool


def _leading(text: str) -> str:
    """The text with the number at its beginning in digits; as it is where the words after it make another number."""
    words, place = [], 0
    while match := _WORD.match(text, place):
        words.append(_Word(match[1].lower(), match.start(), match.end(), " and " in match[0].lower()))
        place = match.end()
    sign = _SIGNS.get(words[0].text, "") if words else ""
    words = words[1:] if sign else words
    if words and words[0].text == "a":
        if len(words) == 1 or words[1].text not in ("hundred", "thousand", "million", "dozen", *PARTS):
            return text
        words[0] = replace(words[0], text="one")
    if words and words[0].text in ("half", "quarter"):
        if len(words) > 1 and words[1].text == "a":
            return text  # "half a dozen"
        return _joined(text, f"{sign}1/{PARTS[words[0].text]}", words[0].end)
    value, count = _value(words)
    if not count:
        return text
    after = words[count] if count < len(words) else None
    if after and after.text in PARTS and not after.joined:
        return _joined(text, f"{sign}{value}/{PARTS[after.text]}", after.end)
    if after and after.text == "point":
        digits = [_SMALL.get(word.text, 10) for word in words[count + 1 :]]
        return f"{sign}{value}.{''.join(map(str, digits))}" if digits and max(digits) < 10 else text
    if after and not after.joined and after.text in {*_SMALL, *_ORDINALS}:
        return text  # "seven thirty" and "twenty first" are no 7 and 20
    if after and ((after.text == "times" and len(words) > count + 1) or (after.text == "of" and value == 1)):
        return text  # "five times six" and "one of them" are no 5 and 1
    return _joined(text, f"{sign}{value}", words[count - 1].end)


def _joined(text: str, number: str, end: int) -> str:
    """The number and what follows it, which begins another word."""
    return text if text[end : end + 1] == "-" else number + text[end:]


def _value(words: list[_Word]) -> tuple[int, int]:
    """(value, how many words it has) of the number that the words begin with; `and` stands only behind a hundred."""
    total, group, last = 0, 0, 0  # group: below a thousand; last: the value of the word before, 0 at the beginning
    for count, word in enumerate(words):
        small = _SMALL.get(word.text)
        if small is not None and (last >= 100 or (not word.joined and (count == 0 or (0 < small < 10 and last >= 20)))):
            group, last = group + small, small
        elif word.text == "hundred" and 0 < last < 100 and not word.joined:
            group, last = group * 100, 100
        elif word.text in _LARGE and group and not word.joined:
            last = _LARGE[word.text]
            total, group = total + group * last, 0
        else:
            return total + group, count
    return total + group, len(words)
