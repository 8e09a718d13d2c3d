r"""Mathematical answers: the one that a completion states, and whether it is right (paper §4).

`grade_math` takes the last answer that a completion states (`asprm.grading.extract`) and compares it with the true one
*by value*: `0.5`, `\frac12` and `50\%` are equal, `1/3` and `0.333` are not. Plain numbers are compared here, exactly
and in microseconds. Everything else goes through `asprm.grading.compare` to math-verify, in a process with limited
processor time and memory, so that no text can stop a study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from asprm.grading.extract import LONGEST_ANSWER, extract_answer
from asprm.grading.numbers import parse_number, same_number
from asprm.grading.tidy import tidy


@dataclass(frozen=True)
class MathVerdict:
    """extracted: the completion's answer as written; None where it states none. reason: why it is right or wrong."""

    correct: bool
    extracted: str | None
    reason: str


def grade_math(completion: str, gold: str) -> MathVerdict:
    """Whether the last answer stated in `completion` has the value of the true answer (see `gold_answer`).

    ValueError: `gold` is empty.
    """
    true = gold_answer(gold)
    extracted = extract_answer(completion)
    if extracted is None:
        return MathVerdict(False, None, "no answer found")
    correct, reason = compare_answers(extracted, true)
    return MathVerdict(correct, extracted, reason)


@lru_cache(maxsize=1 << 12)
def gold_answer(text: str) -> str:
    """The true answer in `text`: what it states behind a marker, as a worked solution does, or else the whole text.

    ValueError: the text is empty.
    """
    if not text.strip():
        raise ValueError("the true answer is empty; expected an answer such as 18, or a solution that states one")
    return extract_answer(text) or text


@lru_cache(maxsize=1 << 17)
def compare_answers(answer: str, gold: str) -> tuple[bool, str]:
    """Whether two answers have the same value, and why. Cached: solutions of a problem repeat a few answers."""
    if answer == gold:
        return True, "same text"
    if len(answer) > LONGEST_ANSWER or len(gold) > LONGEST_ANSWER:
        return False, f"longer than {LONGEST_ANSWER} characters"
    left, right = tidy(answer), tidy(gold)
    if left == right:
        return True, "same text"
    number, true_number = parse_number(left), parse_number(right)
    if number is not None and true_number is not None:
        return (True, "same value") if same_number(number, true_number) else (False, "different value")

    from asprm.grading.compare import compare_expressions  # late: plain numbers need neither
    from asprm.grading.symbolic import one_limit

    with one_limit():
        return compare_expressions(left, right)


def one_spelling(answers: Sequence[str | None]) -> list[str | None]:
    """The answers, each in the spelling of the first one that has its value, so that equal answers are equal texts.

    Texts of several lines, such as programs, are compared as they are.
    """
    spelling: dict[str, str] = {}  # by answer
    by_value: dict[Fraction, str] = {}  # of numbers without a unit
    others: list[str] = []  # the first of each other value
    for answer in dict.fromkeys(answer for answer in answers if answer is not None):
        spelling[answer] = answer
        if "\n" in answer.strip():
            continue
        number = parse_number(tidy(answer)) if len(answer) <= LONGEST_ANSWER else None
        if number is not None and not number.dimension:
            spelling[answer] = by_value.setdefault(number.value, answer)
            continue
        equal = (first for first in (*by_value.values(), *others) if compare_answers(answer, first)[0])
        spelling[answer] = next(equal, answer)
        if spelling[answer] == answer:
            others.append(answer)
    return [None if answer is None else spelling[answer] for answer in answers]
