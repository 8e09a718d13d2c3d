r"""Mathematical answers: the one that a completion states, and whether it is right (paper §4).

`grade_math` takes the last answer that a completion states (`The answer is:`, `####`, `\boxed{}`) and compares it with
the true one *by value*: `0.5`, `\frac12` and `50\%` are equal, `1/3` and `0.333` are not. Plain numbers are compared
here, exactly and in microseconds. Everything else goes through `asprm.grading.compare` to math-verify, in a process
with limited processor time and memory, so that no text can stop a study.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from asprm.grading.numbers import parse_number, same_number, tidy

LONGEST_ANSWER = 1000  # characters; longer ones are not compared
_TRIES = 8  # markers that are tried, from the last one backwards, until one has a complete answer

_MARKER = re.compile(r"answer is(?::|(?=[ *$(-]*[0-9\\]))|\\(?:boxed|fbox)\b|####", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[0-9)\]}$%])\.(?=\s)|(?<=[a-z]{3})\.(?=\s+[A-Z])")


@dataclass(frozen=True)
class MathVerdict:
    """extracted: the completion's answer as written; None where it states none. reason: why it is right or wrong."""

    correct: bool
    extracted: str | None
    reason: str


def grade_math(completion: str, gold: str) -> MathVerdict:
    """Whether the last answer stated in `completion` has the value of the true answer `gold`, which has no marker."""
    extracted = extract_answer(completion)
    if extracted is None:
        return MathVerdict(False, None, "no answer found")
    correct, reason = compare_answers(extracted, gold)
    return MathVerdict(correct, extracted, reason)


def extract_answer(completion: str) -> str | None:
    r"""The last complete answer, after `The answer is:` or `####` or in `\boxed{}`; None where there is none."""
    for marker in reversed([*_MARKER.finditer(completion)][-_TRIES:]):
        tail = completion[marker.end() : marker.end() + LONGEST_ANSWER + 2]
        answer = _boxed(tail) if marker[0].startswith("\\") else _rest_of_line(tail)
        if answer:
            return answer
    return None


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

    from asprm.grading.compare import compare_expressions  # late: plain numbers do not need it

    return compare_expressions(left, right)


def _rest_of_line(tail: str) -> str | None:
    """The first line with text among the first three, without the sentence that may follow the answer."""
    for line in tail.split("\n", 3)[:3]:
        answer = _SENTENCE_END.split(line, maxsplit=1)[0].strip().strip("*").strip().rstrip(".").rstrip()
        if answer.strip("$*:. "):
            answer = answer.removeprefix(":").strip().removeprefix("**").strip()
            while answer.endswith("}") and answer.count("}") > answer.count("{"):  # the marker was inside a group
                answer = answer[:-1].rstrip().rstrip(".")
            return answer if answer.count("{") == answer.count("}") else None  # else the answer was cut off
    return None


def _boxed(tail: str) -> str | None:
    r"""The group after `\boxed`, or the token (`\boxed 5`). None where the group is not closed."""
    tail = tail.lstrip(" ")
    if not tail.startswith("{"):
        token = re.match(r"-?[0-9A-Za-z.,/]+", tail)
        return token[0].rstrip(".,") if token else None
    depth = 0
    for place, character in enumerate(tail):
        if character in "{}" and tail[place - 1] != "\\":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return tail[1:place].strip()
    return None
