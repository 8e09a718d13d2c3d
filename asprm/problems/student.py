"""Simulated students: who writes the solutions that policies learn from.

A student reads a scene step by step. At each step the misconceptions that the step invites are drawn at the rates
below; a wrong reading is carried on consistently, so the rest of the solution fits it. With all rates zero the student
writes the true solution. A solution's wording is fixed by the scene's *voice*, so that the choice of a word seldom is
a coin toss: what remains doubtful is what to do with which number.
"""

from __future__ import annotations

import random

from asprm.problems.scene import Quantity, Scene, evaluate, spell
from asprm.problems.words import NAMES, capital

# How often a student falls for each misreading. Contexts (reversed, both, school) are visible in the problem's text;
# in some of them most students are wrong, so that even the policy's greedy choice is wrong there.
MISCONCEPTIONS: dict[str, float] = {
    # comparisons
    "more": 0.04,  # "5 more than": subtracts
    "more-reversed": 0.57,  # "that is 5 more than Anna has": adds
    "fewer": 0.08,
    "fewer-reversed": 0.54,
    "times": 0.10,  # "3 times as many": adds 3
    "twice": 0.08,
    "twice-reversed": 0.40,
    "half": 0.10,  # doubles
    "half-reversed": 0.60,
    # changes
    "gets": 0.03,
    "gives": 0.04,
    "gives-to": 0.54,  # "Tom gives 5 to Anna": taken as Anna's loss
    "doubles": 0.08,
    "left": 0.26,  # takes the part given away for the part that is left
    # groups
    "each": 0.12,  # adds where one multiplies
    "each-both": 0.45,  # "3 pens and 2 books for 4 dollars each": only the last
    "friends": 0.55,  # "5 to each of 3 friends": takes 5
    "share": 0.08,  # "shared equally": subtracts
    "self-too": 0.58,  # "with 3 friends": forgets to count oneself
    # money, time, units
    "dozen": 0.32,  # ten
    "week": 0.10,
    "week-school": 0.56,  # five school days against seven days
    "hour": 0.20,  # an hour as 100 minutes
    "metre": 0.18,
    "fence": 0.57,  # posts along a fence, days from the 3rd to the 7th: one too few
    "change": 0.10,  # the price instead of the change
    "discount": 0.30,
    # percent and fractions
    "percent": 0.15,  # "25% of": takes 25
    "percent-more": 0.40,  # only the increase
    "percent-off": 0.55,
    "fraction": 0.14,
    "fraction-left": 0.42,
    "fraction-add": 0.57,  # adds denominators
    # totals
    "total": 0.08,  # leaves one summand out
    "difference": 0.07,
    "average": 0.20,  # divides by the wrong count
    # mathematics
    "sign": 0.18,  # moves a term without changing its sign
    "sign-minus": 0.56,
    "inverse": 0.10,  # multiplies where one divides
    "distribute": 0.56,  # a(x + b): a reaches only x
    "collect": 0.38,
    "system-half": 0.36,
    "precedence": 0.55,
    "precedence-minus": 0.58,  # a - b + c as a - (b + c)
    "brackets": 0.12,
    "term": 0.57,  # nth term: n steps instead of n - 1
    "power": 0.57,  # a squared as 2a
    "negative": 0.55,  # a - (-b)
    "series": 0.30,
    "perimeter": 0.55,
    "triangle": 0.56,
    "pairs": 0.40,  # forgets 1 * n
    "divisors": 0.15,
    "remainder": 0.30,
    "ratio": 0.36,
    "exponent": 0.58,
}
SLIP = 0.008  # a plain slip of calculation: one or ten off
RESTLESS = 0.03  # a line opens with a word that is not its voice's

VOICES = 6
VERBS = ("Find", "Compute", "Work out", "Determine", "What is", "Calculate")  # openers of MiniMATH, one a voice
ALTERNATIVES = ("So ", "Now ", "Thus ", "Here ")


def voice_of(opener: str) -> int:
    """The voice 0..5 of a problem whose first name, or whose verb, is `opener`."""
    return VERBS.index(opener) if opener in VERBS else NAMES.index(opener) % VOICES


def solve(scene: Scene, rng: random.Random | None = None) -> str:
    """A student's solution of the scene, ending in `The answer is: …`. Without `rng`: the true solution."""
    values: list[int] = []
    voice = voice_of(scene.opener)
    lines: list[str] = []
    for step in scene.steps:
        reading = _read(step, values, rng)
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


def _read(step, values, rng):
    if rng is None:
        return step.true
    draw = rng.random()
    for kind, reading in step.wrong:
        draw -= MISCONCEPTIONS[kind]
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
