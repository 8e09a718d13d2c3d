"""Families: synthetic problems made by seeded code, in any number, without files.

Splits share no problem: the text of a problem decides which split it may stand in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from asprm.problems import minicode, minigsm, minimath, programmer
from asprm.problems.problem import CodeProblem, Domain, Problem
from asprm.problems.scene import Scene
from asprm.problems.student import solve, stated_answer

DOMAINS: dict[str, Domain] = {  # of each family
    "minigsm": "math",
    "minimath": "math",
    "minigsm-p2": "math",
    "minicode": "code",
    "minicode-new": "code",
}
FAMILIES = tuple(DOMAINS)
SPLITS = {"train": range(0, 90), "validation": range(90, 95), "test": range(95, 100)}  # per cent of all texts


def scenes(name: str, split: str, count: int, start: int = 0) -> Iterator[tuple[Problem, Scene | minicode.Task]]:
    """As `load`: each problem with the scene that students read, or with the task that programmers get."""
    check_family(name, split)
    for index in range(start, start + count):
        yield _make(name, split, index)


def attempt(scene: Scene | minicode.Task, rng: random.Random, care: float = 0.0) -> str:
    """What a simulated student writes for a scene, or a simulated programmer for a task; drawn by `rng`.

    care: the share of all misreadings that a student avoids; programmers do not vary.
    """
    return programmer.write(scene, rng) if isinstance(scene, minicode.Task) else solve(scene, rng, care)


def check_family(name: str, split: str) -> None:
    """ValueError: unknown family or split."""
    if name not in FAMILIES:
        raise ValueError(f"unknown problem family {name!r}; known: {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(SPLITS)}")


@cache  # every stage asks for the same few hundred problems again and again, and making one takes milliseconds
def family_problem(name: str, split: str, index: int) -> Problem:
    """Problem number `index` of a family's split."""
    return _make(name, split, index)[0]


def _make(name: str, split: str, index: int) -> tuple[Problem, Scene | minicode.Task]:
    """Draw until the numbers suit the skeleton, or the pieces one another, and the text belongs to the split."""
    make = _make_math if DOMAINS[name] == "math" else _make_code
    rng = random.Random(f"{name}/{split}/{index}")
    return make(name, split, f"{name}-{split}-{index:06d}", rng)


def _make_math(name: str, split: str, id: str, rng: random.Random) -> tuple[Problem, Scene]:
    while True:
        scene = Scene(rng)
        try:
            template = _pose(scene, name)
        except ValueError:
            continue
        if minicode.bucket(scene.prompt) in SPLITS[split]:
            break
    solution = solve(scene)
    return Problem(id, "math", scene.prompt, stated_answer(solution), solution, template), scene


def _pose(scene: Scene, name: str) -> str:
    """Fill the scene with a problem of the family; returns the skeleton's name. ValueError: draw again."""
    if name == "minimath":
        skeleton = scene.rng.choices(minimath.SKELETONS, minimath.WEIGHTS)[0]
        minimath.build(scene, skeleton)
        return skeleton.__name__
    skeleton = scene.rng.choices(minigsm.SKELETONS, minigsm.WEIGHTS)[0]
    clauses = scene.rng.choices((0, 1, 2), (6, 3, 2))[0]
    minigsm.build(scene, skeleton, clauses + (2 if name == "minigsm-p2" else 0))
    if name == "minigsm" and not 2 <= len(scene.steps) <= 6:
        raise ValueError(f"{len(scene.steps)} steps; expected 2 to 6")
    return skeleton.__name__


def _make_code(name: str, split: str, id: str, rng: random.Random) -> tuple[Problem, minicode.Task]:
    while True:
        try:
            task = minicode.draw(rng, new=name == "minicode-new")
        except ValueError:
            continue
        prompt = minicode.describe(task, rng)
        if minicode.bucket(prompt) in SPLITS[split]:
            break
    programs = {(piece, kind): programmer.program(task, {piece: kind}) for piece, kind in programmer.misreadings(task)}
    test, harmless = minicode.make_test(task, rng, programs)
    problem = CodeProblem(
        id,
        "code",
        prompt,
        solution=programmer.write(task),
        template=f"{task.source.name} {task.outcome.name}",
        entry_point=task.name,
        test=test,
        cpu_seconds=1,
        synthetic=True,
    )
    return problem, replace(task, harmless=harmless)
