"""MiniMATH: equations, systems, sequences, fractions, percentages, factor pairs, geometry.

A skeleton poses a problem in a `Scene` and returns its answer: one quantity, or numerator and denominator. The verb
that opens the question fixes the voice. Keyword arguments of `Scene.find` name the misconceptions of `student.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from asprm.problems.scene import Quantity, Scene
from asprm.problems.student import VERBS

Skeleton = Callable[[Scene], Quantity | tuple[Quantity, Quantity]]


def build(scene: Scene, skeleton: Skeleton) -> None:
    """Fill the scene with the skeleton's problem. ValueError: the numbers drawn do not suit the skeleton."""
    scene.opener = scene.pick(VERBS)
    answer = skeleton(scene)
    scene.answer = (answer,) if isinstance(answer, Quantity) else answer


def ask(s: Scene, wanted: str, given: str = "") -> None:
    """Say what is given, if anything, then ask: "Find x." or "What is x?"."""
    if given:
        s.say(given)
    s.question = f"{s.opener} {wanted}" + ("?" if s.opener == "What is" else ".")


def linear(s: Scene) -> Quantity:
    a, x, b = s.number(2, 9), s.number(2, 15), s.number(2, 30)
    ask(s, "x", f"Solve {a}x + {b} = {a * x + b}.")
    q = s.find(f"{a}x =", "", a * x + b, "-", b, sign=(a * x + b, "+", b))
    return s.find("x =", "", q, "/", a, inverse=(q, "*", a))


def linear_minus(s: Scene) -> Quantity:
    a, x = s.number(2, 9), s.number(4, 15)
    b = s.number(2, a * x - 2)
    ask(s, "x", f"Solve {a}x - {b} = {a * x - b}.")
    q = s.find(f"{a}x =", "", a * x - b, "+", b, sign_minus=(a * x - b, "-", b))
    return s.find("x =", "", q, "/", a, inverse=(q, "*", a))


def quotient_equation(s: Scene) -> Quantity:
    a, y, b = s.number(2, 9), s.number(2, 12), s.number(2, 20)
    ask(s, "x", f"Solve x/{a} + {b} = {y + b}.")
    q = s.find(f"x/{a} =", "", y + b, "-", b, sign=(y + b, "+", b))
    return s.find("x =", "", q, "*", a, inverse=(q, "/", a))


def distribute(s: Scene) -> Quantity:
    a, x, b = s.number(2, 9), s.number(2, 12), s.number(2, 9)
    c = a * (x + b)
    ask(s, "x", f"Solve {a}(x + {b}) = {c}.")
    p = s.find("the constant is", "", a, "*", b, distribute=b)
    q = s.find(f"{a}x =", "", c, "-", p, sign=(c, "+", p))
    return s.find("x =", "", q, "/", a, inverse=(q, "-", a))


def both_sides(s: Scene) -> Quantity:
    c, k, x, b = s.number(2, 5), s.number(2, 5), s.number(2, 12), s.number(1, 20)
    a = c + k
    ask(s, "x", f"Solve {a}x + {b} = {c}x + {k * x + b}.")
    p = s.find("the coefficient is", "", a, "-", c, collect=(a, "+", c))
    q = s.find("the constant is", "", k * x + b, "-", b, sign=(k * x + b, "+", b))
    return s.find("x =", "", q, "/", p, inverse=(q, "-", p))


def system_sum(s: Scene) -> Quantity:
    x, y = s.number(6, 30), s.number(1, 5)
    ask(s, "x", f"We have x + y = {x + y} and x - y = {x - y}.")
    q = s.find("2x =", "", x + y, "+", x - y, sign=(x + y, "-", x - y))
    return s.find("x =", "", q, "/", 2, system_half=q)


def system_multiple(s: Scene) -> Quantity:
    k, x = s.number(2, 5), s.number(2, 15)
    ask(s, "y", f"We have y = {k}x and x + y = {x * (k + 1)}.")
    n = s.find("the coefficient is", "", k, "+", 1, collect=k)
    q = s.find("x =", "", x * (k + 1), "/", n, inverse=(x * (k + 1), "-", n))
    return s.find("y =", "", q, "*", k, system_half=q)


def precedence(s: Scene) -> Quantity:
    a, b, c, d = s.number(2, 20), s.number(2, 9), s.number(2, 9), s.number(2, 20)
    ask(s, f"{a} + {b} * {c} + {d}")
    q = s.find("the first part is", "", a, "+", b, "*", c, precedence=("(", a, "+", b, ")", "*", c))
    return s.find("the value is", "", q, "+", d, total=q)


def minus_plus(s: Scene) -> Quantity:
    b, c = s.number(2, 15), s.number(2, 15)
    a, k = s.number(b + c + 1, 60), s.number(2, 5)
    ask(s, f"({a} - {b} + {c}) * {k}")
    q = s.find("the bracket is", "", a, "-", b, "+", c, precedence_minus=(a, "-", "(", b, "+", c, ")"))
    return s.find("the value is", "", q, "*", k, times=(q, "+", k))


def brackets(s: Scene) -> Quantity:
    a, c, d = s.number(2, 9), s.number(1, 10), s.number(2, 30)
    b = s.number(c + 1, c + 12)
    ask(s, f"{a} * ({b} - {c}) + {d}")
    q = s.find("the bracket is", "", b, "-", c, sign=(b, "+", c))
    r = s.find("the product is", "", a, "*", q, brackets=(a, "+", q))
    return s.find("the value is", "", r, "+", d, total=r)


def minus_quotient(s: Scene) -> Quantity:
    d, q = s.number(2, 9), s.number(2, 10)
    a = s.number(q + 1, 60)
    c = s.number(1, 20)
    ask(s, f"{a} - {d * q} / {d} + {c}")
    p = s.find("the quotient is", "", d * q, "/", d, inverse=(d * q, "-", d))
    return s.find("the value is", "", a, "-", p, "+", c, precedence_minus=(a, "-", "(", p, "+", c, ")"))


def nth_term(s: Scene) -> Quantity:
    a, d, n = s.number(1, 20), s.number(2, 9), s.number(6, 15)
    ask(s, f"term {n}", f"A sequence begins {a}, {a + d}, {a + 2 * d}, {a + 3 * d}.")
    p = s.find("the difference is", "", a + d, "-", a, difference=(a + d, "+", a))
    k = s.find("the number of steps is", "", n, "-", 1, term=n)
    q = s.find("the steps add", "", k, "*", p, times=(k, "+", p))
    return s.find("the term is", "", a, "+", q, total=q)


def geometric(s: Scene) -> Quantity:
    a, r, n, c = s.number(1, 5), s.number(2, 3), s.number(4, 5), s.number(2, 20)
    ask(s, f"term {n} plus {c}", f"A sequence begins {a}, {a * r}, {a * r * r}, and each term is {r} times the last.")
    q = s.find("term 4 is", "", a * r * r, "*", r, times=(a * r * r, "+", r))
    if n == 5:
        q = s.find("term 5 is", "", q, "*", r, times=(q, "+", r))
    return s.find("the value is", "", q, "+", c, term=(q, "*", r, "+", c))


def series(s: Scene) -> Quantity:
    n = s.number(5, 20)
    m = s.number(2, 5)
    ask(s, f"{m} times the sum 1 + 2 + ... + {n}")
    p = s.find("the next number is", "", n, "+", 1, fence=n)
    q = s.find("the product is", "", n, "*", p, total=(n, "+", p))
    r = s.find("the sum is", "", q, "/", 2, series=q)
    return s.find("the value is", "", r, "*", m, times=(r, "+", m))


def fraction_same(s: Scene) -> tuple[Quantity, Quantity]:
    d = s.pick([5, 7, 9, 11, 13])
    a, b = s.number(1, d // 2), s.number(1, d // 2)
    ask(s, f"{a}/{d} + {b}/{d} as a fraction")
    p = s.find("the numerator is", "", a, "+", b, times=(a, "*", b))
    q = s.find("the denominator is", "", d, "*", 1, fraction_add=(d, "+", d))
    return p, q


def fraction_unlike(s: Scene) -> tuple[Quantity, Quantity]:
    b = s.pick([2, 3, 4, 5])
    d = s.pick([n for n in (3, 5, 7, 2) if gcd(n, b) == 1])
    a, c = s.number(1, b - 1), s.number(1, d - 1)
    ask(s, f"{a}/{b} + {c}/{d} as a fraction")
    p = s.find("the first part is", "", a, "*", d, fraction_add=a)
    q = s.find("the second part is", "", c, "*", b, fraction=c)
    r = s.find("the numerator is", "", p, "+", q, times=(p, "*", q))
    return r, s.find("the denominator is", "", b, "*", d, fraction=(b, "+", d))


def fraction_of(s: Scene) -> Quantity:
    d = s.number(3, 8)
    k = s.number(2, d - 1)
    n, m = d * s.number(2, 9), s.number(2, 20)
    ask(s, f"{k}/{d} of {n} plus {m}")
    q = s.find(f"1/{d} is", "", n, "/", d, fraction=(n, "-", d))
    r = s.find(f"{k}/{d} is", "", q, "*", k, fraction_left=q)
    return s.find("the value is", "", r, "+", m, total=r)


def percent_of(s: Scene) -> Quantity:
    percent, n, m = s.pick([5, 10, 20, 25, 50, 75]), s.number(20, 200, 20), s.number(2, 20)
    ask(s, f"{percent}% of {n} plus {m}")
    q = s.find(f"{percent}% is", "", n, "*", percent, "/", 100, percent=percent)
    return s.find("the value is", "", q, "+", m, total=q)


def percent_up(s: Scene) -> Quantity:
    percent, n = s.pick([5, 10, 20, 25, 50]), s.number(20, 200, 20)
    ask(s, "the new value", f"The number {n} grows by {percent}%.")
    q = s.find("the growth is", "", n, "*", percent, "/", 100, percent=percent)
    return s.find("the new value is", "", n, "+", q, percent_more=q)


def percent_down(s: Scene) -> Quantity:
    percent, n, k = s.pick([5, 10, 20, 25, 50]), s.number(20, 200, 20), s.number(2, 4)
    ask(s, f"{k} times the new value", f"The number {n} falls by {percent}%.")
    q = s.find("the fall is", "", n, "*", percent, "/", 100, percent=percent)
    r = s.find("the new value is", "", n, "-", q, percent_off=q)
    return s.find("the result is", "", r, "*", k, times=(r, "+", k))


def divisors(s: Scene) -> Quantity:
    n, pairs = s.pick([(n, p) for n in range(6, 61) if (p := _pairs(n)) and len(p) in (2, 3, 4)])
    ask(s, "the number of factors", f"The number is {n}.")
    for a, b in pairs[1:]:
        s.find("a factor pair is", "", a, "*", b)
    k = len(pairs)
    p = s.find(f"with 1 * {n} the number of pairs is", "", k - 1, "+", 1, pairs=k - 1)
    return s.find("the number of factors is", "", p, "*", 2, divisors=p)


def _pairs(n: int) -> list[tuple[int, int]]:
    """Factor pairs of n; empty for a square, whose root has no partner."""
    if round(n**0.5) ** 2 == n:
        return []
    return [(a, n // a) for a in range(1, int(n**0.5) + 1) if n % a == 0]


def remainder(s: Scene) -> Quantity:
    d, k = s.number(3, 12), s.number(2, 9)
    r = s.number(1, d - 1)
    n, m = d * k + r, s.number(2, 9)
    ask(s, f"{m} times the remainder of {n} divided by {d}")
    p = s.find(f"the largest multiple of {d} is", "", k, "*", d, times=(k, "+", d))
    q = s.find("the remainder is", "", n, "-", p, remainder=k)
    return s.find("the value is", "", q, "*", m, times=(q, "+", m))


def perimeter(s: Scene) -> Quantity:
    a, b, cost = s.number(3, 25), s.number(3, 25), s.number(2, 6)
    ask(s, f"{cost} times the perimeter", f"A rectangle is {a} by {b}.")
    q = s.find("two sides are", "", a, "+", b, each=(a, "*", b))
    p = s.find("the perimeter is", "", q, "*", 2, perimeter=q)
    return s.find("the value is", "", p, "*", cost, times=(p, "+", cost))


def triangle(s: Scene) -> Quantity:
    a, b, k = s.number(2, 12), 2 * s.number(2, 6), s.number(2, 20)
    ask(s, "the area of both", f"A triangle has base {a} and height {b}. A square tile next to it has area {k}.")
    q = s.find("the product is", "", a, "*", b, each=(a, "+", b))
    p = s.find("the triangle has", "", q, "/", 2, triangle=q)
    return s.find("together it is", "", p, "+", k, total=p)


def average(s: Scene) -> Quantity:
    n = s.number(3, 4)
    mean = s.number(6, 30)
    numbers = [s.number(2, mean + 4) for _ in range(n - 1)]
    numbers.append(n * mean - sum(numbers))
    ask(s, "the average", "The numbers are " + ", ".join(map(str, numbers)) + ".")
    expression = [term for number in numbers for term in (number, "+")][:-1]
    q = s.find("the sum is", "", *expression, total=tuple(expression[2:]))
    return s.find("the average is", "", q, "/", n, average=(q, "/", 2))


def power(s: Scene) -> Quantity:
    a, b, c = s.number(3, 12), s.number(2, 6), s.number(2, 30)
    ask(s, f"{b} * {a}^2 + {c}")
    q = s.find(f"{a}^2 is", "", a, "*", a, power=(a, "*", 2))
    r = s.find("the product is", "", b, "*", q, times=(b, "+", q))
    return s.find("the value is", "", r, "+", c, total=r)


def negative(s: Scene) -> Quantity:
    a, b, c = s.number(5, 40), s.number(2, 20), s.number(2, 9)
    ask(s, f"({a} - (-{b})) * {c}")
    q = s.find("the bracket is", "", a, "+", b, negative=(a, "-", b))
    return s.find("the value is", "", q, "*", c, times=(q, "+", c))


def ratio(s: Scene) -> Quantity:
    a, k = s.number(2, 5), s.number(2, 9)
    b = s.number(a + 1, 7)
    ask(s, "the larger part", f"Split {(a + b) * k} in the ratio {a} : {b}.")
    n = s.find("the number of shares is", "", a, "+", b, ratio=b)
    q = s.find("a share is", "", (a + b) * k, "/", n, share=((a + b) * k, "-", n))
    return s.find("the larger part is", "", q, "*", b, times=(q, "+", b))


def exponent(s: Scene) -> Quantity:
    base, m, n = s.pick([2, 3, 5]), s.number(2, 9), s.number(2, 9)
    k = s.number(2, 5)
    ask(s, "the exponent n", f"We have {base}^{m} * {base}^{n} = {base}^(n - {k}).")
    q = s.find(f"n - {k} =", "", m, "+", n, exponent=(m, "*", n))
    return s.find("n =", "", q, "+", k, sign_minus=(q, "-", k))


SKELETONS: tuple[Skeleton, ...] = (
    linear, linear_minus, quotient_equation, distribute, both_sides, system_sum, system_multiple, precedence,
    minus_plus, brackets, minus_quotient, nth_term, geometric, series, fraction_same, fraction_unlike, fraction_of,
    percent_of, percent_up, percent_down, divisors, remainder, perimeter, triangle, average, power, negative, ratio,
    exponent,
)  # fmt: skip
WEIGHTS = (1,) * len(SKELETONS)  # how often each is drawn
