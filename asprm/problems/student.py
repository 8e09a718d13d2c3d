"""Simulated students: who writes the solutions that policies learn from.

A student reads a scene step by step. At each step the misconceptions that the step invites are drawn at the rates
below; a wrong reading is carried on consistently, so the rest of the solution fits it. With all rates zero the student
writes the true solution. A solution's wording is fixed by the scene's *voice*, so that the choice of a word seldom is
a coin toss: what remains doubtful is what to do with which number.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from asprm.problems.scene import Quantity, Scene, evaluate, spell
from asprm.problems.words import NAMES, capital


class Misconception(NamedTuple):
    rate: float  # the share of students who fall for it where a step invites it
    says: str  # what invites it, and what they do


# How often a student falls for each misreading. Contexts (reversed, both, school) are visible in the problem's text;
# in some of them most students are wrong, so that even the policy's greedy choice is wrong there.
MISCONCEPTIONS: dict[str, Misconception] = {
    # comparisons
    "more": Misconception(0.04, '"5 more than Anna": subtracts'),
    "more-reversed": Misconception(0.62, '"Anna has 5 more than Ben", Ben is asked for: adds'),
    "fewer": Misconception(0.08, '"5 fewer than Anna": adds'),
    "fewer-reversed": Misconception(0.59, '"Anna has 5 fewer than Ben", Ben is asked for: subtracts'),
    "times": Misconception(0.10, '"3 times as many": adds 3'),
    "twice": Misconception(0.08, '"twice as many", four legs for two: adds, or confuses the numbers'),
    "twice-reversed": Misconception(0.40, '"Anna has twice as many as Ben", Ben is asked for: doubles'),
    "half": Misconception(0.10, '"half as many": doubles'),
    "half-reversed": Misconception(0.65, '"Anna has half as many as Ben", Ben is asked for: halves'),
    # changes
    "gets": Misconception(0.03, "a gain: subtracts"),
    "gives": Misconception(0.04, "a loss: adds"),
    "gives-to": Misconception(0.59, '"a friend gives 5 to Anna": takes it for a loss of Anna'),
    "doubles": Misconception(0.08, '"doubles": adds 2'),
    "left": Misconception(0.26, "what is left: takes one part for another"),
    # groups
    "each": Misconception(0.12, "groups of equal size: adds where one multiplies"),
    "each-both": Misconception(0.45, '"3 pens and 2 books for 4 dollars each": counts only the last'),
    "friends": Misconception(0.60, '"5 to each of 3 friends": takes 5 in all'),
    "share": Misconception(0.08, '"shared equally": subtracts'),
    "self-too": Misconception(0.63, '"shares with 3 friends": forgets to count oneself'),
    # money, time, units
    "dozen": Misconception(0.32, "a dozen: ten"),
    "week": Misconception(0.10, "a week: five days"),
    "week-school": Misconception(0.61, "a week, in a story about school: five days"),
    "hour": Misconception(0.20, "an hour: 100 minutes"),
    "metre": Misconception(0.18, "a meter: 10 centimeters"),
    "fence": Misconception(0.62, "posts of a fence, days from the 3rd to the 7th: one too few"),
    "change": Misconception(0.10, "change: gives the price instead"),
    "discount": Misconception(0.30, "a lower price: adds"),
    # percent and fractions
    "percent": Misconception(0.15, '"25 % of": takes 25'),
    "percent-more": Misconception(0.40, '"25 % more": takes only the increase'),
    "percent-off": Misconception(0.60, '"25 % off": takes only the reduction'),
    "fraction": Misconception(0.14, '"1/4 of": subtracts 4, or adds the other term'),
    "fraction-left": Misconception(0.42, "what a fraction leaves: takes the part away for the rest"),
    "fraction-add": Misconception(0.62, "a sum of fractions: adds the denominators, or leaves them as they are"),
    # totals
    "total": Misconception(0.08, "a sum: leaves one part out"),
    "difference": Misconception(0.07, "a difference: adds"),
    "average": Misconception(0.20, "an average: divides by 2"),
    # mathematics
    "sign": Misconception(0.18, "moves a term to the other side with its sign"),
    "sign-minus": Misconception(0.61, "moves a subtracted term to the other side with its sign"),
    "inverse": Misconception(0.10, "multiplies where one divides, or the other way round"),
    "distribute": Misconception(0.61, "a(x + b): multiplies only x"),
    "collect": Misconception(0.38, "x on both sides: combines the coefficients wrongly"),
    "system-half": Misconception(0.36, "a system of equations: stops one step early"),
    "precedence": Misconception(0.60, "a + b * c: adds first"),
    "precedence-minus": Misconception(0.63, "a − b + c: takes b + c away"),
    "brackets": Misconception(0.12, "a * (b − c): adds"),
    "term": Misconception(0.62, "the nth term: takes n steps instead of n − 1, or one too many"),
    "power": Misconception(0.62, "a squared: takes 2a"),
    "negative": Misconception(0.60, "a − (−b): subtracts"),
    "series": Misconception(0.30, "1 + 2 + … + n: forgets to halve"),
    "perimeter": Misconception(0.60, "a perimeter: adds only two sides"),
    "triangle": Misconception(0.61, "a triangle: forgets to halve"),
    "pairs": Misconception(0.40, "factor pairs: forgets 1 and the number itself"),
    "divisors": Misconception(0.15, "factors: counts the pairs"),
    "remainder": Misconception(0.30, "a remainder: takes the quotient"),
    "ratio": Misconception(0.36, "shares of a ratio: counts only one side"),
    "exponent": Misconception(0.63, "a product of powers: multiplies the exponents"),
}
SLIP = 0.008  # a plain slip of calculation: one or ten off
RESTLESS = 0.03  # a line opens with a word that is not its voice's

VOICES = 6
VERBS = ("Find", "Compute", "Work out", "Determine", "What is", "Calculate")  # openers of MiniMATH, one a voice
ALTERNATIVES = ("So ", "Now ", "Thus ", "Here ")


def voice_of(opener: str) -> int:
    """The voice 0..5 of a problem whose first name, or whose verb, is `opener`."""
    return VERBS.index(opener) if opener in VERBS else NAMES.index(opener) % VOICES


def solve(scene: Scene, rng: random.Random | None = None, care: float = 0.0) -> str:
    """A student's solution of the scene, ending in `The answer is: …`. Without `rng`: the true solution.

    care: the share of all misreadings that this student avoids.
    """
    values: list[int] = []
    voice = voice_of(scene.opener)
    lines: list[str] = []
    for step in scene.steps:
        reading = _read(step, values, rng, care)
        if not isinstance(reading, tuple):  # the step is left out
            values.append(values[reading.index] if isinstance(reading, Quantity) else reading)
            continue
        expression = spell(reading, lambda quantity: values[quantity.index])
        result = _calculate(expression)
        if rng is not None and rng.random() < SLIP:
            result += rng.choice((-10, -1, 1, 10))
        values.append(result)
        last = step is scene.steps[-1]
        lines.append(_line(voice, len(lines), last, step.subject, step.unit, expression, result, rng))
    answer = "/".join(str(values[quantity.index]) for quantity in scene.answer)
    return _layout(voice, lines, answer)


def drill(rng: random.Random) -> tuple[str, str]:
    """A page of sums and its solution: no story, nothing to misread."""
    sums = []
    for operation in rng.choices("+-*/", (7, 6, 4, 3), k=12):
        a, b = rng.randint(1, 150), rng.randint(1, 99)
        if operation in "*/":
            a, b = rng.randint(2, 60), rng.randint(2, 12)
        left = f"{a + b if operation == '-' else a * b if operation == '/' else a} {operation} {b}"
        sums.append(f"{left} = {_calculate(left)}")
    return "Practise.", ". ".join(sums) + "."


def _read(step, values, rng, care):
    if rng is None:
        return step.true
    draw = rng.random() / (1 - care)
    for kind, reading in step.wrong:
        draw -= MISCONCEPTIONS[kind].rate
        if draw < 0:
            return reading if _sensible(reading, values) else step.true
    return step.true


def _sensible(reading, values) -> bool:
    """A student notices that one cannot have minus three apples or half a plum, and reads again."""
    if not isinstance(reading, tuple):
        return True
    value = evaluate(spell(reading, lambda quantity: values[quantity.index]))
    return value is not None and value.denominator == 1 and value >= 0


def _calculate(expression: str) -> int:
    """The value; what does not divide is rounded down, as happens only after an earlier error."""
    value = evaluate(expression)
    return 0 if value is None else value.__floor__()


def _line(voice, number, last, subject, unit, expression, result, rng) -> str:
    body = f"{subject} {expression} = {result} {unit}".rstrip()
    if voice == 1:
        body = f"{expression} = {result}, so {subject} {result} {unit}".rstrip()
    elif voice == 2:
        body = ("Finally, " if last else "First, " if number == 0 else "Then ") + body
    elif voice == 3:
        body = f"Step {number + 1}: {body}"
    elif voice == 5:
        body = ("Therefore " if last else "We see that ") + body
    if rng is not None and voice in (0, 4) and rng.random() < RESTLESS:
        body = rng.choice(ALTERNATIVES) + body
    return (body if body.startswith(("x", "n ", "y ")) else capital(body)) + "."  # variables stay small


def _layout(voice: int, lines: list[str], answer: str) -> str:
    """Voices 0-3 and 5 put a step on a line, voice 4 writes a paragraph; voices 3 and 5 box the answer."""
    boxed = f"\\boxed{{{answer}}}" if voice in (3, 5) else answer
    body = (" " if voice == 4 else "\n").join(lines)
    return f"{body}\nThe answer is: {boxed}"
