"""Simulated students: they write the solutions that policies of mathematics learn from.

A student reads a scene step by step. At each step the student may fall for one of the misconceptions that the step
invites, at the rates below; the rest of the solution then follows from the wrong reading. With all rates zero the
student writes the true solution. The scene's *voice* fixes the wording, so that a policy seldom has to guess a word:
what remains in doubt is what to do with which number.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from asprm.problems.scene import Quantity, Reading, Scene, Step, evaluate, spell
from asprm.problems.words import NAMES, capital


class Misconception(NamedTuple):
    """A kind of mistake.

    rate: the share of students (or programmers) who fall for it where a problem invites it.
    description: one line, which the book shows: what invites it, a colon, what is done wrong.
    """

    rate: float
    description: str


# Some contexts (reversed, both, school) are visible in the problem's text and mislead most students, so that even the
# policy's greedy choice is wrong there.
MISCONCEPTIONS: dict[str, Misconception] = {
    # comparisons
    "more": Misconception(0.04, '"5 more than Anna": subtracts 5'),
    "more-reversed": Misconception(0.62, '"Anna has 5 more than Ben", asked for Ben: adds 5'),
    "fewer": Misconception(0.08, '"5 fewer than Anna": adds 5'),
    "fewer-reversed": Misconception(0.59, '"Anna has 5 fewer than Ben", asked for Ben: subtracts 5'),
    "times": Misconception(0.10, '"3 times as many", or another product: adds'),
    "twice": Misconception(0.08, '"twice as many": adds 2; legs of animals: confuses two legs with four'),
    "twice-reversed": Misconception(0.40, '"Anna has twice as many as Ben", asked for Ben: doubles'),
    "half": Misconception(0.10, '"half as many", "loses half": doubles'),
    "half-reversed": Misconception(0.65, '"Anna has half as many as Ben", asked for Ben: halves'),
    # gains and losses
    "gets": Misconception(0.03, "a gain: subtracts it"),
    "gives": Misconception(0.04, "a loss: adds it"),
    "gives-to": Misconception(0.59, '"a friend gives 5 to Anna": subtracts 5 from what Anna has'),
    "doubles": Misconception(0.08, '"doubles": adds 2'),
    "left": Misconception(0.26, "what is left: gives the part that is gone, or adds it"),
    # groups
    "each": Misconception(0.12, "groups of equal size: adds where one multiplies, or the other way round"),
    "each-both": Misconception(0.45, '"3 pens and 2 books for 4 dollars each": counts only the books'),
    "friends": Misconception(0.60, '"5 to each of 3 friends": takes 5 in all'),
    "share": Misconception(0.08, '"shared equally among 3": subtracts 3'),
    "self-too": Misconception(0.63, '"shares them with 3 friends": divides by 3, without counting oneself'),
    # money, time, units
    "dozen": Misconception(0.32, "a dozen: takes ten"),
    "week": Misconception(0.10, "a week: takes five days"),
    "week-school": Misconception(0.61, "a week, in a story about school: takes five days"),
    "hour": Misconception(0.20, "an hour: takes 100 minutes"),
    "metre": Misconception(0.18, "a meter: takes 10 centimeters"),
    "fence": Misconception(0.62, "posts of a fence, or days from the 3rd to the 7th: counts one too few"),
    "change": Misconception(0.10, "money left after paying: gives the price instead"),
    "discount": Misconception(0.30, "a price that is 3 dollars lower: adds 3, or takes 3 for the price"),
    # percent and fractions
    "percent": Misconception(0.15, '"25% of": takes 25, or subtracts 25'),
    "percent-more": Misconception(0.40, '"25% more": takes only the increase'),
    "percent-off": Misconception(0.60, '"25% off": takes only the reduction'),
    "fraction": Misconception(0.14, '"1/4 of": subtracts 4; unlike fractions: does not expand, or adds denominators'),
    "fraction-left": Misconception(0.42, "what a fraction leaves: takes the part that is gone; 3/4 of: takes 1/4"),
    "fraction-add": Misconception(0.62, "a sum of fractions: adds denominators, or numerators as they are"),
    # totals
    "total": Misconception(0.08, "a sum: leaves a part out, or combines the parts by another operation"),
    "difference": Misconception(0.07, "a difference: adds"),
    "average": Misconception(0.20, "an average of three or more: divides by 2"),
    # mathematics
    "sign": Misconception(0.18, "moves a term to the other side of an equation: keeps its sign"),
    "sign-minus": Misconception(0.61, "moves a subtracted term to the other side of an equation: keeps its sign"),
    "inverse": Misconception(0.10, "undoes a multiplication or a division: takes the wrong operation"),
    "distribute": Misconception(0.61, "a(x + b): multiplies only x by a"),
    "collect": Misconception(0.38, "x on both sides, or in two terms: combines the coefficients wrongly"),
    "system-half": Misconception(0.36, "a system of equations: stops one step early"),
    "precedence": Misconception(0.60, "a + b * c: adds first"),
    "precedence-minus": Misconception(0.63, "a − b + c: subtracts b + c"),
    "brackets": Misconception(0.12, "a * (b − c): adds a instead of multiplying"),
    "term": Misconception(0.62, "the nth term: takes n steps instead of n − 1, or one step too many"),
    "power": Misconception(0.62, "a squared: takes 2a"),
    "negative": Misconception(0.60, "a − (−b): subtracts b"),
    "series": Misconception(0.30, "1 + 2 + … + n: forgets to halve"),
    "perimeter": Misconception(0.60, "a perimeter: adds only two sides"),
    "triangle": Misconception(0.61, "the area of a triangle: forgets to halve"),
    "pairs": Misconception(0.40, "factor pairs: forgets 1 and the number itself"),
    "divisors": Misconception(0.15, "the number of factors: gives the number of pairs"),
    "remainder": Misconception(0.30, "a remainder: gives the quotient"),
    "ratio": Misconception(0.36, "shares of a ratio: counts only one side"),
    "exponent": Misconception(0.63, "a product of powers: multiplies the exponents"),
}
SLIP = 0.008  # share of calculations whose result is off by one or ten
RESTLESS = 0.03  # share of lines, in voices 0 and 4, that open with one of ALTERNATIVES
ALTERNATIVES = ("So ", "Now ", "Thus ", "Here ")

VOICES = 6
VERBS = ("Find", "Compute", "Work out", "Determine", "What is", "Calculate")  # openers of MiniMATH, one for each voice
ANSWER = "The answer is:"


def voice_of(opener: str) -> int:
    """The voice 0..5 of a problem with this opener: its first name, or its verb."""
    return VERBS.index(opener) if opener in VERBS else NAMES.index(opener) % VOICES


def solve(scene: Scene, rng: random.Random | None = None, care: float = 0.0) -> str:
    """A student's solution of the scene, ending in `The answer is: …`. Without `rng`: the true solution.

    care: the share of all misreadings that this student avoids, in [0, 1).
    """
    values: list[int] = []  # this student's value of each quantity, by its index
    voice = voice_of(scene.opener)
    lines: list[str] = []
    for step in scene.steps:
        reading = step.true if rng is None else _read(step, values, rng, care)
        if not isinstance(reading, tuple):  # the student leaves the step out
            values.append(values[reading.index] if isinstance(reading, Quantity) else reading)
            continue
        expression = spell(reading, lambda quantity: values[quantity.index])
        result = _calculate(expression)
        if rng is not None and rng.random() < SLIP:
            result += rng.choice((-10, -1, 1, 10))
        values.append(result)
        line = _line(voice, step, expression, result, number=len(lines), last=step is scene.steps[-1])
        if rng is not None and voice in (0, 4) and rng.random() < RESTLESS:
            line = rng.choice(ALTERNATIVES) + line
        lines.append(_sentence(line))
    answer = "/".join(str(values[quantity.index]) for quantity in scene.answer)
    return _layout(voice, lines, answer)


def drill(rng: random.Random) -> tuple[str, str]:
    """A page of sums, all of them right, as (prompt, solution): practice in calculation alone."""
    sums = []
    for operation in rng.choices("+-*/", (7, 6, 4, 3), k=12):
        a, b = rng.randint(1, 150), rng.randint(1, 99)
        if operation in "*/":
            a, b = rng.randint(2, 60), rng.randint(2, 12)
        left = f"{a + b if operation == '-' else a * b if operation == '/' else a} {operation} {b}"
        sums.append(f"{left} = {_calculate(left)}")
    return "Practise.", ". ".join(sums) + "."


def stated_answer(solution: str) -> str:
    """The answer of a solution that ends in `The answer is: …`, without its box."""
    return solution.rpartition(ANSWER)[2].strip().removeprefix("\\boxed{").removesuffix("}")


def _read(step: Step, values: list[int], rng: random.Random, care: float) -> Reading:
    """What a student takes the step to be. One draw decides between the truth and all misconceptions."""
    draw = rng.random() / (1 - care)
    for kind, reading in step.wrong:
        draw -= MISCONCEPTIONS[kind].rate
        if draw < 0:
            return reading if _sensible(reading, values) else step.true
    return step.true


def _sensible(reading: Reading, values: list[int]) -> bool:
    """Whether the result is a whole number that is not negative: a student would notice minus three or half a plum."""
    if not isinstance(reading, tuple):
        return True
    value = evaluate(spell(reading, lambda quantity: values[quantity.index]))
    return value is not None and value.denominator == 1 and value >= 0


def _calculate(expression: str) -> int:
    """The value, rounded down where it is no whole number, which happens only after an earlier error."""
    value = evaluate(expression)
    return 0 if value is None else value.__floor__()


def _line(voice: int, step: Step, expression: str, result: int, *, number: int, last: bool) -> str:
    """The step in the voice's words. number: of steps before it. last: whether it is the scene's last step."""
    body = f"{step.subject} {expression} = {result} {step.unit}".rstrip()
    if voice == 1:
        body = f"{expression} = {result}, so {step.subject} {result} {step.unit}".rstrip()
    elif voice == 2:
        body = ("Finally, " if last else "First, " if number == 0 else "Then ") + body
    elif voice == 3:
        body = f"Step {number + 1}: {body}"
    elif voice == 5:
        body = ("Therefore " if last else "We see that ") + body
    return body


def _sentence(line: str) -> str:
    """The line with a period, and with a capital unless a variable opens it."""
    return (line if line.startswith(("x", "n ", "y ")) else capital(line)) + "."


def _layout(voice: int, lines: list[str], answer: str) -> str:
    """The solution's text. Voice 4 writes a paragraph, the others a step on a line; voices 3 and 5 box the answer."""
    boxed = f"\\boxed{{{answer}}}" if voice in (3, 5) else answer
    body = (" " if voice == 4 else "\n").join(lines)
    return f"{body}\n{ANSWER} {boxed}"
