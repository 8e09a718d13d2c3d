"""MiniGSM: grade-school word problems of 2-6 arithmetic steps; MiniGSM-P2: the same with two more clauses.

A skeleton tells a story in a `Scene`. It returns how the story ends (`End`), so that clauses can be added before the
question is asked. Keyword arguments of `Scene.find` name the misconceptions of `student.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from asprm.problems.scene import Amount, Quantity, Scene
from asprm.problems.words import (
    ANIMALS,
    CONTAINERS,
    DAYS,
    FLOWERS,
    JOBS,
    NAMES,
    PLACES,
    THINGS,
    capital,
    does,
    gives,
    has,
)

ABSTRACT = {"years", "minutes", "points", "legs", "miles", "teams", "people", "nails"}  # units that nobody owns


class End(NamedTuple):
    """How a story ends: who has how many of what, and the question about it."""

    holder: str  # "Anna", "they", "the shop"
    unit: str
    quantity: Quantity
    question: str


Skeleton = Callable[[Scene], End]


def build(scene: Scene, skeleton: Skeleton, clauses: int = 0) -> None:
    """Fill the scene with the skeleton's story, that many clauses more, and the question.

    ValueError: the numbers drawn do not suit the skeleton, or two sentences begin with "That is": a reader could not
    tell what the second one means.
    """
    scene.opener = scene.pick(NAMES)
    end = skeleton(scene)
    for _ in range(clauses):
        end = _clause(scene, end)
    if sum(sentence.startswith("That is ") for sentence in scene.sentences) > 1:
        raise ValueError('two sentences begin with "That is"; draw the wording again')
    scene.question, scene.answer = end.question, (end.quantity,)


# -- pieces that skeletons share ---------------------------------------------------------------------------------


def people(s: Scene, count: int) -> list[str]:
    """So many names: first the scene's opener, which fixes the voice, then others."""
    others = [name for name in s.rng.sample(NAMES, count) if name != s.opener]
    return [s.opener, *others][:count]


def two_things(s: Scene) -> list[str]:
    """Two different units."""
    return s.rng.sample(THINGS, 2)


def how_many(holder: str, unit: str, rest: str = "") -> str:
    """The usual question: "How many plums does Anna have left?"."""
    return f"How many {unit} {does(holder)} have{rest}?"


def relate(s: Scene, a: str, qa: Amount, b: str, unit: str) -> Quantity:
    """Say how b's number compares with a's, and find b's. Reversed wordings invite the opposite operation.

    a, b: who is compared. qa: a's number of `unit`.
    """
    value = qa.value if isinstance(qa, Quantity) else qa
    kinds = ["more", "fewer", "times", "twice", "more", "fewer", "more-reversed", "fewer-reversed"]
    if value % 2 == 0:
        kinds += ["half", "half", "twice-reversed"]
    if value <= 60:
        kinds += ["half-reversed"]
    if value > 60:
        kinds = [kind for kind in kinds if kind not in ("times", "twice")]
    kind = s.pick(kinds)
    n = s.number(2, max(2, min(20, value - 1)))
    subject = has(b)
    if kind == "more":
        s.say(f"{capital(subject)} {n} more {unit} than {a}.")
        return s.find(subject, unit, qa, "+", n, more=(qa, "-", n))
    if kind == "fewer":
        s.say(f"{capital(subject)} {n} fewer {unit} than {a}.")
        return s.find(subject, unit, qa, "-", n, fewer=(qa, "+", n))
    if kind == "times":
        n = s.number(3, 6)
        s.say(f"{capital(subject)} {n} times as many {unit} as {a}.")
        return s.find(subject, unit, qa, "*", n, times=(qa, "+", n))
    if kind == "twice":
        s.say(f"{capital(subject)} twice as many {unit} as {a}.")
        return s.find(subject, unit, qa, "*", 2, twice=(qa, "+", 2))
    if kind == "half":
        s.say(f"{capital(subject)} half as many {unit} as {a}.")
        return s.find(subject, unit, qa, "/", 2, half=(qa, "*", 2))
    if kind == "more-reversed":
        s.say(f"That is {n} more {unit} than {b} {'have' if b == 'they' else 'has'}.")
        return s.find(subject, unit, qa, "-", n, more_reversed=(qa, "+", n))
    if kind == "fewer-reversed":
        s.say(f"That is {n} fewer {unit} than {b} {'have' if b == 'they' else 'has'}.")
        return s.find(subject, unit, qa, "+", n, fewer_reversed=(qa, "-", n))
    if kind == "twice-reversed":
        s.say(f"That is twice as many {unit} as {b} {'have' if b == 'they' else 'has'}.")
        return s.find(subject, unit, qa, "/", 2, twice_reversed=(qa, "*", 2))
    s.say(f"That is half as many {unit} as {b} {'have' if b == 'they' else 'has'}.")
    return s.find(subject, unit, qa, "*", 2, half_reversed=(qa, "/", 2))


def change(s: Scene, holder: str, q: Amount, unit: str) -> Quantity:
    """Say that the holder gains or loses some of `q`, and find the new number."""
    value = q.value if isinstance(q, Quantity) else q
    kinds = ["gets", "gives", "gives-to", "half-left"] if value % 2 == 0 else ["gets", "gives", "gives-to"]
    if value <= 80:
        kinds.append("doubles")
    if value < 3:
        kinds = ["gets", "doubles"]
    kind = s.pick(kinds)
    n = s.number(2, max(2, min(20, value - 1)))
    if unit in ABSTRACT:
        return _change_number(s, q, unit, kind, n)
    subject = f"{holder} now {has(holder).rsplit(' ', 1)[1]}"
    if kind == "gets":
        s.say(f"Then {gives(holder, 'get')} {n} more {unit}.")
        return s.find(subject, unit, q, "+", n, gets=(q, "-", n))
    if kind == "gives":
        s.say(f"Then {gives(holder, s.pick(['lose', 'use', 'sell']))} {n} {unit}.")
        return s.find(subject, unit, q, "-", n, gives=(q, "+", n))
    if kind == "gives-to":
        s.say(f"Then a friend gives {n} {unit} to {'them' if holder == 'they' else holder}.")
        return s.find(subject, unit, q, "+", n, gives_to=(q, "-", n))
    if kind == "doubles":
        s.say(f"Then the number of {unit} doubles.")
        return s.find(subject, unit, q, "*", 2, doubles=(q, "+", 2))
    s.say(f"Then {gives(holder, 'lose')} half of the {unit}.")
    return s.find(subject, unit, q, "/", 2, half=(q, "*", 2))


def _change_number(s: Scene, q: Amount, unit: str, kind: str, n: int) -> Quantity:
    """`change` for a unit that nobody owns, such as years: its kind, and the number `n` by which it changes."""
    subject = "the number is now"
    if kind == "doubles":
        s.say(f"Later this number of {unit} doubles.")
        return s.find(subject, unit, q, "*", 2, doubles=(q, "+", 2))
    if kind == "half-left":
        s.say(f"Later this number of {unit} is halved.")
        return s.find(subject, unit, q, "/", 2, half=(q, "*", 2))
    if kind == "gives":
        s.say(f"Later this number of {unit} falls by {n}.")
        return s.find(subject, unit, q, "-", n, gives=(q, "+", n))
    s.say(f"Later this number of {unit} grows by {n}.")
    return s.find(subject, unit, q, "+", n, gets=(q, "-", n))


def changes_of(s: Scene, holder: str, n: int, unit: str, times: int) -> Quantity:
    """So many changes, one after the other, at least one."""
    q = change(s, holder, n, unit)
    for _ in range(times - 1):
        q = change(s, holder, q, unit)
    return q


def _clause(s: Scene, end: End) -> End:
    """Add a change to the story."""
    quantity = change(s, end.holder, end.quantity, end.unit)
    if end.unit in ABSTRACT:
        return end._replace(quantity=quantity, question=f"How many {end.unit} is it in the end?")
    return end._replace(quantity=quantity, question=how_many(end.holder, end.unit, " in the end"))


def altogether(s: Scene, unit: str, *parts: Amount) -> Quantity:
    """Find the sum of two or more parts. The misreading leaves out the first of three or subtracts the first of two."""
    expression: list[Amount | str] = [term for part in parts for term in (part, "+")][:-1]
    short = (parts[1], "-", parts[0]) if len(parts) == 2 else tuple(expression[2:])
    return s.find(has("they"), unit, *expression, total=short)


def start(s: Scene, holder: str, unit: str, low: int = 6, high: int = 60, multiple: int = 1) -> int:
    """Say how many of `unit` the holder has: a multiple of `multiple` in [low, high]."""
    n = s.number(low, high, multiple)
    s.say(f"{capital(has(holder))} {n} {unit}.")
    return n


# -- skeletons ---------------------------------------------------------------------------------------------------


def compare_two(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    n = start(s, a, unit)
    q = relate(s, a, n, b, unit)
    return End("they", unit, altogether(s, unit, n, q), f"How many {unit} do they have altogether?")


def compare_three(s: Scene) -> End:
    (a, b, c), (unit, _) = people(s, 3), two_things(s)
    n = start(s, a, unit, 6, 40)
    q = relate(s, a, n, b, unit)
    r = relate(s, b, q, c, unit)
    return End("they", unit, altogether(s, unit, n, q, r), f"How many {unit} do they have in total?")


def compare_chain(s: Scene) -> End:
    (a, b, c), (unit, _) = people(s, 3), two_things(s)
    n = start(s, a, unit, 6, 40)
    q = relate(s, a, n, b, unit)
    r = relate(s, b, q, c, unit)
    return End(c, unit, r, how_many(c, unit))


def compare_then_change(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    n = start(s, a, unit, 6, 40)
    q = change(s, b, relate(s, a, n, b, unit), unit)
    return End(b, unit, q, how_many(b, unit, " now"))


def changes(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    n = start(s, a, unit, 8, 60)
    q = changes_of(s, a, n, unit, times=s.number(2, 4))
    return End(a, unit, q, how_many(a, unit, " now"))


def place_changes(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    place = "the " + s.pick(PLACES)
    s.say(f"{a} works at {place}.")
    n = start(s, place, unit, 20, 80)
    q = changes_of(s, place, n, unit, times=s.number(2, 3))
    return End(place, unit, q, how_many(place, unit, " now"))


def groups(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    boxes, box = s.pick(list(CONTAINERS.items()))
    n, k, m = s.number(3, 9), s.number(4, 12), s.number(3, 15)
    s.say(f"{a} has {n} {boxes} with {k} {unit} in each {box}.")
    q = s.find(f"the {boxes} hold", unit, n, "*", k, each=(n, "+", k))
    s.say(f"{a} also has {m} loose {unit}.")
    return End(a, unit, s.find(has(a), unit, q, "+", m, total=(q, "-", m)), how_many(a, unit))


def groups_lost(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    boxes, box = s.pick(list(CONTAINERS.items()))
    n, k = s.number(3, 9), s.number(4, 12)
    m = s.number(2, n - 1)
    s.say(f"{a} fills {n} {boxes} with {k} {unit} in each {box} and gives {m} of the {boxes} to {b}.")
    left = s.find(f"{a} keeps", boxes, n, "-", m, gives=(n, "+", m))
    return End(a, unit, s.find(has(a), unit, left, "*", k, each=(left, "+", k)), how_many(a, unit, " left"))


def two_kinds_of_groups(s: Scene) -> End:
    (a,), (u, v) = people(s, 1), two_things(s)
    boxes, box = s.pick(list(CONTAINERS.items()))
    n, k, m, j = s.number(2, 6), s.number(3, 9), s.number(2, 6), s.number(3, 9)
    s.say(f"{a} buys {n} {boxes} with {k} {u} in each {box} and {m} {boxes} with {j} {v} in each {box}.")
    p = s.find("there are", u, n, "*", k, each=(n, "+", k))
    q = s.find("there are", v, m, "*", j, each=(m, "+", j))
    total = s.find(has(a), "things", p, "+", q, total=(p, "-", q))
    return End(a, "things", total, f"How many things {does(a)} have in total?")


def each_for_dollars(s: Scene) -> End:
    (a,), (u, v) = people(s, 1), two_things(s)
    n, m, price = s.number(2, 8), s.number(2, 8), s.number(2, 9)
    s.say(f"{a} buys {n} {u} and {m} {v} for {price} dollars each.")
    count = s.find("there are", "things", n, "+", m, each_both=m)
    cost = s.find("they cost", "dollars", count, "*", price, each=(count, "+", price))
    paid = s.number(cost.value + 1, cost.value + 40)
    s.say(f"{a} pays with {paid} dollars.")
    rest = s.find(has(a), "dollars", paid, "-", cost, change=cost)
    return End(a, "dollars", rest, f"How many dollars {does(a)} have left?")


def shopping(s: Scene) -> End:
    (a,), (u, v) = people(s, 1), two_things(s)
    n, x, m, y = s.number(2, 7), s.number(2, 9), s.number(2, 7), s.number(2, 9)
    s.say(f"{a} buys {n} {u} for {x} dollars each and {m} {v} for {y} dollars each.")
    p = s.find(f"the {u} cost", "dollars", n, "*", x, each=(n, "+", x))
    q = s.find(f"the {v} cost", "dollars", m, "*", y, each=(m, "+", y))
    cost = s.find(f"{a} pays", "dollars", p, "+", q, total=(p, "-", q))
    budget = s.number(cost.value + 2, cost.value + 50)
    s.say(f"{a} had {budget} dollars.")
    rest = s.find(has(a), "dollars", budget, "-", cost, change=cost)
    return End(a, "dollars", rest, f"How many dollars {does(a)} have left?")


def discount(s: Scene) -> End:
    (a,), (u, _) = people(s, 1), two_things(s)
    price, off, n = s.number(8, 30), s.number(2, 6), s.number(2, 6)
    s.say(f"A box of {u} costs {price} dollars. Today each box is {off} dollars cheaper. {a} buys {n} boxes.")
    new = s.find("a box costs", "dollars", price, "-", off, discount=(price, "+", off))
    cost = s.find(f"{a} pays", "dollars", new, "*", n, each=(new, "+", n))
    had = s.number(cost.value + 5, cost.value + 60)
    s.say(f"{a} came with {had} dollars.")
    rest = s.find(has(a), "dollars", had, "-", cost, change=cost)
    return End(a, "dollars", rest, f"How many dollars {does(a)} have now?")


def friends_gift(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    k, n = s.number(2, 6), s.number(2, 8)
    q = start(s, a, unit, k * n + 3, k * n + 40)
    s.say(f"{a} gives {n} {unit} to each of {k} friends.")
    given = s.find(f"{a} gives away", unit, n, "*", k, friends=n)
    left = s.find(has(a), unit, q, "-", given, left=given)
    return End(a, unit, left, how_many(a, unit, " left"))


def share_equally(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    k, n, m = s.number(3, 6), s.number(4, 12), s.number(2, 12)
    q = start(s, a, unit, k * n, k * n)
    s.say(f"{a} shares them equally among {k} children. {b}, one of the children, already had {m} {unit}.")
    part = s.find("each child gets", unit, q, "/", k, share=(q, "-", k))
    return End(b, unit, s.find(has(b), unit, part, "+", m, gets=(part, "-", m)), how_many(b, unit, " now"))


def share_with_friends(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    k, n = s.number(2, 4), s.number(1, 6)
    total = n * k * (k + 1)  # divisible either way, so that the misreading is tempting
    q = start(s, a, unit, total, total)
    s.say(f"{a} shares them equally with {k} friends.")
    persons = s.find("there are", "people", k, "+", 1, self_too=k)
    part = s.find("each one gets", unit, q, "/", persons, share=(q, "-", persons))
    return End(a, unit, part, how_many(a, unit, " then"))


def dozens(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    n = s.number(2, 6)
    m = s.number(3, 20)
    s.say(f"{a} buys {n} dozen {unit} and uses {m} of them.")
    q = s.find(f"{a} buys", unit, n, "*", 12, dozen=(n, "*", 10))
    return End(a, unit, s.find(has(a), unit, q, "-", m, left=m), how_many(a, unit, " left"))


def weeks(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    n, w = s.number(2, 9), s.number(2, 4)
    had = s.number(3, 30)
    school = s.rng.random() < 0.5
    where = f"At school {a} makes" if school else f"{a} makes"
    s.say(f"{a} has {had} {unit}. {where} {n} {unit} every day of the week for {w} weeks.")
    misreading = {"week_school" if school else "week": (w, "*", 5)}
    days = s.find("there are", "days", w, "*", 7, **misreading)
    made = s.find(f"{a} makes", unit, days, "*", n, each=(days, "+", n))
    return End(a, unit, s.find(has(a), unit, made, "+", had, total=made), how_many(a, unit, " then"))


def hours(s: Scene) -> End:
    (a,) = people(s, 1)
    n, m, job = s.number(2, 5), s.number(5, 45, 5), s.pick(JOBS)
    s.say(f"{a} spends {n} hours and {m} minutes {job}.")
    p = s.find("the hours are", "minutes", n, "*", 60, hour=(n, "*", 100))
    q = s.find("in all it takes", "minutes", p, "+", m, total=p)
    t = s.number(10, 60, 5)
    s.say(f"{a} takes a break of {t} minutes during that time.")
    rest = s.find(f"{a} works", "minutes", q, "-", t, left=t)
    return End(a, "minutes", rest, f"How many minutes does {a} work?")


def metres(s: Scene) -> End:
    (a, b) = people(s, 2)
    n, c = s.number(2, 6), s.number(10, 90, 10)
    s.say(f"{a} has a rope of {n} meters. {a} cuts off {c} centimeters and gives them to {b}.")
    p = s.find("the rope has", "centimeters", n, "*", 100, metre=(n, "*", 10))
    left = s.find(has(a), "centimeters", p, "-", c, left=c)
    return End(a, "centimeters", left, f"How many centimeters {does(a)} have left?")


def fence(s: Scene) -> End:
    (a,) = people(s, 1)
    d, n = s.number(2, 6), s.number(4, 12)
    k = s.number(2, 5)
    s.say(f"{a} builds a straight fence of {d * n} meters with a post every {d} meters, one at both ends too.")
    s.say(f"Each post needs {k} nails.")
    gaps = s.find("there are", "gaps", d * n, "/", d, inverse=(d * n, "*", d))
    posts = s.find("there are", "posts", gaps, "+", 1, fence=gaps)
    nails = s.find(f"{a} needs", "nails", posts, "*", k, each=(posts, "+", k))
    return End(a, "nails", nails, f"How many nails does {a} need?")


def days_between(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    first = s.number(2, 12)
    last = s.number(first + 2, first + 14)
    n = s.number(2, 9)
    s.say(f"From May {first} to May {last}, both days included, {a} finds {n} {unit} a day.")
    gap = s.find("the dates differ by", "days", last, "-", first, difference=(last, "+", first))
    days = s.find("there are", "days", gap, "+", 1, fence=gap)
    total = s.find(f"{a} finds", unit, days, "*", n, each=(days, "+", n))
    return End(a, unit, total, f"How many {unit} does {a} find?")


def wages(s: Scene) -> End:
    (a,) = people(s, 1)
    pay, h, d, job = s.number(5, 15), s.number(2, 6), s.number(2, 5), s.pick(JOBS)
    s.say(f"{a} earns {pay} dollars an hour {job} and works {h} hours a day for {d} days.")
    t = s.find(f"{a} works", "hours", h, "*", d, each=(h, "+", d))
    money = s.find(f"{a} earns", "dollars", t, "*", pay, each=(t, "+", pay))
    spent = s.number(5, max(5, money.value - 5))
    s.say(f"{a} spends {spent} dollars.")
    rest = s.find(has(a), "dollars", money, "-", spent, left=spent)
    return End(a, "dollars", rest, f"How many dollars {does(a)} have left?")


def savings(s: Scene) -> End:
    (a,), (_, unit) = people(s, 1), two_things(s)
    had, w, n = s.number(5, 40), s.number(3, 9), s.number(3, 12)
    s.say(f"{a} has {had} dollars and saves {n} dollars a week for {w} weeks.")
    saved = s.find(f"{a} saves", "dollars", n, "*", w, each=(n, "+", w))
    total = s.find(has(a), "dollars", saved, "+", had, total=saved)
    cost = s.number(5, max(6, total.value - 3))
    s.say(f"Then {a} spends {cost} dollars on {unit}.")
    rest = s.find(has(a), "dollars", total, "-", cost, left=cost)
    return End(a, "dollars", rest, f"How many dollars {does(a)} have left?")


def percent_given(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    percent = s.pick([10, 20, 25, 50])
    n = start(s, a, unit, 20, 160, 20)
    s.say(f"{a} gives {percent}% of them to {b}.")
    part = s.find(f"{b} gets", unit, n, "*", percent, "/", 100, percent=(n, "-", percent))
    left = s.find(has(a), unit, n, "-", part, left=part)
    return End(a, unit, left, how_many(a, unit, " left"))


def percent_more(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    percent = s.pick([10, 20, 25, 50])
    n = start(s, a, unit, 20, 120, 20)
    s.say(f"{b} has {percent}% more {unit} than {a}.")
    part = s.find("the difference is", unit, n, "*", percent, "/", 100, percent=percent)
    q = s.find(has(b), unit, n, "+", part, percent_more=part)
    return End("they", unit, altogether(s, unit, n, q), f"How many {unit} do they have altogether?")


def percent_off(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    percent = s.pick([10, 20, 25, 50])
    price, k = s.number(20, 100, 20), s.number(2, 4)
    s.say(f"A pack of {unit} costs {price} dollars. {a} buys {k} packs at {percent}% off.")
    off = s.find("a pack is cheaper by", "dollars", price, "*", percent, "/", 100, percent=percent)
    new = s.find("a pack costs", "dollars", price, "-", off, percent_off=off)
    cost = s.find(f"{a} pays", "dollars", new, "*", k, each=(new, "+", k))
    return End(a, "dollars", cost, f"How many dollars does {a} pay?")


def fraction_given(s: Scene) -> End:
    (a, b), (unit, _) = people(s, 2), two_things(s)
    d = s.number(3, 6)
    m = s.number(2, 15)
    n = start(s, a, unit, 2 * d, 60, d)
    s.say(f"{a} gives 1/{d} of them to {b} and then finds {m} more.")
    part = s.find(f"{b} gets", unit, n, "/", d, fraction=(n, "-", d))
    left = s.find(f"{a} keeps", unit, n, "-", part, fraction_left=part)
    q = s.find(has(a), unit, left, "+", m, gets=(left, "-", m))
    return End(a, unit, q, how_many(a, unit, " now"))


def fraction_kinds(s: Scene) -> End:
    (a,) = people(s, 1)
    d = s.number(3, 6)
    n = s.number(2 * d, 72, d)
    u, v = s.rng.sample(FLOWERS, 2)
    s.say(f"{a} plants {n} flowers. 1/{d} of them are {u} and the rest are {v}.")
    part = s.find("there are", u, n, "/", d, fraction=(n, "-", d))
    rest = s.find("there are", v, n, "-", part, fraction_left=part)
    more = s.find(f"the {v} exceed the {u} by", "flowers", rest, "-", part, difference=(rest, "+", part))
    return End(a, "flowers", more, f"How many more {v} than {u} does {a} have?")


def legs(s: Scene) -> End:
    (a,) = people(s, 1)
    n, m = s.number(3, 12), s.number(3, 12)
    u, v = s.pick(["cows", "sheep", "goats", "horses", "pigs"]), s.pick(["hens", "ducks", "geese"])
    s.say(f"{a} has {n} {u} and {m} {v}.")
    p = s.find(f"the {u} have", "legs", n, "*", 4, twice=(n, "*", 2))
    q = s.find(f"the {v} have", "legs", m, "*", 2, twice=(m, "*", 4))
    return End("they", "legs", altogether(s, "legs", p, q), "How many legs do they have in total?")


def farm(s: Scene) -> End:
    (a,) = people(s, 1)
    x, y, z = s.rng.sample(ANIMALS, 3)
    n = s.number(6, 30, 2)
    k = s.number(2, 6)
    s.say(f"{a} has {n} {x}, half as many {y} and {k} fewer {z} than {x}.")
    p = s.find("there are", y, n, "/", 2, half=(n, "*", 2))
    q = s.find("there are", z, n, "-", k, fewer=(n, "+", k))
    total = s.find(has(a), "animals", n, "+", p, "+", q, total=(p, "+", q))
    return End(a, "animals", total, how_many(a, "animals", " in all"))


def travel(s: Scene) -> End:
    (a,) = people(s, 1)
    v, t, w, u = s.number(3, 12, 1) * 5, s.number(2, 4), s.number(2, 8) * 5, s.number(2, 3)
    s.say(f"{a} drives {t} hours at {v} miles an hour, then {u} hours at {w} miles an hour.")
    p = s.find("the first part is", "miles", v, "*", t, each=(v, "+", t))
    q = s.find("the second part is", "miles", w, "*", u, each=(w, "+", u))
    return End(a, "miles", s.find(f"{a} drives", "miles", p, "+", q, total=q), f"How many miles does {a} drive?")


def pages(s: Scene) -> End:
    (a,) = people(s, 1)
    n, d, k = s.number(5, 20), s.number(3, 7), s.number(10, 60)
    total = n * d + k
    day = s.pick(DAYS)
    s.say(f"A book has {total} pages. From {day} on, {a} reads {n} pages a day for {d} days.")
    read = s.find(f"{a} reads", "pages", n, "*", d, each=(n, "+", d))
    left = s.find(has(a), "pages", total, "-", read, left=read)
    return End(a, "pages", left, f"How many pages {does(a)} have left to read?")


def average_score(s: Scene) -> End:
    a, b, c = people(s, 3)
    mean = s.number(5, 25)
    x, y = s.number(2, mean + 5), s.number(2, mean)
    z = 3 * mean - x - y
    s.say(f"{a} scores {x} points, {b} scores {y} points and {c} scores {z} points.")
    total = altogether(s, "points", x, y, z)
    q = s.find("the average is", "points", total, "/", 3, average=(total, "/", 2))
    return End("they", "points", q, "What is the average number of points?")


def ages(s: Scene) -> End:
    a, b, c = people(s, 3)
    n, k, y = s.number(6, 30), s.number(2, 9), s.number(2, 10)
    s.say(f"{a} is {n} years old. {b} is {k} years older than {a}.")
    p = s.find(f"{b} is", "years old", n, "+", k, more=(n, "-", k))
    s.say(f"{c} is twice as old as {b}.")
    q = s.find(f"{c} is", "years old", p, "*", 2, twice=(p, "+", 2))
    s.say(f"Now think of {c} in {y} years.")
    r = s.find(f"{c} will be", "years old", q, "+", y, gets=(q, "-", y))
    return End(c, "years", r, f"How old will {c} be then?")


def ages_back(s: Scene) -> End:
    a, b = people(s, 2)
    n, k, y = s.number(16, 50), s.number(2, 9), s.number(2, 6)
    s.say(f"{a} is {n} years old. That is {k} years more than the age of {b}.")
    p = s.find(f"{b} is", "years old", n, "-", k, more_reversed=(n, "+", k))
    s.say(f"Now think of {b} {y} years ago.")
    q = s.find(f"{b} was", "years old", p, "-", y, gives=(p, "+", y))
    return End(b, "years", q, f"How old was {b} then?")


def seats(s: Scene) -> End:
    (a,) = people(s, 1)
    place = "the " + s.pick(["cinema", "bus", "hall", "theater", "train"])
    r, c, empty = s.number(4, 12), s.number(4, 12), s.number(3, 15)
    s.say(f"{a} counts {r} rows of {c} seats in {place}. {empty} seats are empty.")
    q = s.find(f"{place} has", "seats", r, "*", c, each=(r, "+", c))
    taken = s.find("there are", "people", q, "-", empty, left=(q, "+", empty))
    return End(place, "people", taken, f"How many people are in {place}?")


def recipe(s: Scene) -> End:
    (a,) = people(s, 1)
    n, k, c, m = s.number(2, 6), s.number(2, 5), s.number(2, 5), s.number(2, 12)
    s.say(f"One cake needs {n} eggs and {c} cups of flour. {a} bakes {k} cakes and drops {m} eggs.")
    q = s.find("the cakes need", "eggs", n, "*", k, each=(n, "+", k))
    r = s.find(f"{a} uses up", "eggs", q, "+", m, gets=(q, "-", m))
    return End(a, "eggs", r, f"How many eggs does {a} use up?")


def teams(s: Scene) -> End:
    (a,) = people(s, 1)
    k, n = s.number(3, 8), s.number(4, 9)
    boys = s.number(2, k * n - 2)
    s.say(f"In the class of {a} there are {boys} boys and {k * n - boys} girls. They form teams of {k}.")
    q = s.find("there are", "children", boys, "+", k * n - boys, total=(boys, "-", k * n - boys))
    r = s.find("they form", "teams", q, "/", k, share=(q, "-", k))
    return End("they", "teams", r, "How many teams do they form?")


def trees(s: Scene) -> End:
    a, b = people(s, 2)
    n, k = s.number(3, 9), s.number(6, 15)
    m = s.number(2, k - 1)
    fruit = s.pick(["apples", "pears", "plums", "oranges", "lemons", "cherries"])
    s.say(f"{a} has {n} trees with {k} {fruit} on each tree. {b} picks {m} {fruit} from each of {n} trees.")
    q = s.find("there are", fruit, n, "*", k, each=(n, "+", k))
    p = s.find(f"{b} picks", fruit, m, "*", n, friends=m)
    left = s.find(has(a), fruit, q, "-", p, left=p)
    return End(a, fruit, left, how_many(a, fruit, " left"))


def tickets(s: Scene) -> End:
    (a,) = people(s, 1)
    x, n, m = s.number(5, 12), s.number(2, 4), s.number(2, 6)
    y = s.number(2, x - 1)
    s.say(f"A ticket costs {x} dollars for an adult and {y} dollars less for a child.")
    s.say(f"{a} buys tickets for {n} adults and {m} children.")
    child = s.find("a child pays", "dollars", x, "-", y, discount=y)
    p = s.find("the adults pay", "dollars", x, "*", n, each=(x, "+", n))
    q = s.find("the children pay", "dollars", child, "*", m, each=(child, "+", m))
    return End("they", "dollars", s.find("they pay", "dollars", p, "+", q, total=q), "How many dollars do they pay?")


def packing(s: Scene) -> End:
    (a,), (unit, _) = people(s, 1), two_things(s)
    k, n = s.number(3, 9), s.number(4, 12)
    extra = s.number(2, 20)
    s.say(f"{a} makes {k * n} {unit} and packs them in packs of {k}. Each pack sells for {extra} dollars.")
    packs = s.find(f"{a} fills", "packs", k * n, "/", k, inverse=(k * n, "-", k))
    money = s.find(has(a), "dollars", packs, "*", extra, each=(packs, "+", extra))
    return End(a, "dollars", money, f"How many dollars does {a} get?")


SKELETONS: tuple[Skeleton, ...] = (
    compare_two, compare_three, compare_chain, compare_then_change, changes, place_changes, groups, groups_lost,
    two_kinds_of_groups, each_for_dollars, shopping, discount, friends_gift, share_equally, share_with_friends, dozens,
    weeks, hours, metres, fence, days_between, wages, savings, percent_given, percent_more, percent_off,
    fraction_given, fraction_kinds, legs, farm, travel, pages, average_score, ages, ages_back, seats, recipe, teams,
    trees, tickets, packing,
)  # fmt: skip
_OFTEN: dict[Skeleton, int] = {
    compare_two: 3, compare_three: 3, compare_chain: 3, compare_then_change: 3, changes: 2,
}  # fmt: skip
WEIGHTS = tuple(_OFTEN.get(skeleton, 1) for skeleton in SKELETONS)  # how often each is drawn
