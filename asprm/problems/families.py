"""Families: synthetic problems made by seeded code, in any number, without files.

Splits share no problem: the text of a problem decides which split it may stand in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import cache

from asprm.problems import minicode, minigsm, minimath, programmer
from asprm.problems.problem import CodeProblem, Domain, Problem
from asprm.problems.scene import Scene
from asprm.problems.student import solve

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
    """As `load`, each problem with the scene that students read, or the task that programmers get."""
    check_family(name, split)
    for index in range(start, start + count):
        yield _make(name, split, index)


def attempt(scene: Scene | minicode.Task, rng: random.Random, care: float = 0.0) -> str:
    """What a simulated student, or programmer, writes for a scene or a task; drawn by `rng`.

    care: the share of all misreadings that a student avoids; programmers are as they are.
    """
    return programmer.write(scene, rng) if isinstance(scene, minicode.Task) else solve(scene, rng, care)


def check_family(name: str, split: str) -> None:
    if name not in FAMILIES:
        raise ValueError(f"no problem family {name!r}; there are {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")


@cache
def family_problem(name: str, split: str, index: int) -> Problem:
    """Kept: every stage asks for the same few hundred again and again, and one takes milliseconds to draw."""
    return _make(name, split, index)[0]


def _make(name: str, split: str, index: int) -> tuple[Problem, Scene | minicode.Task]:
    """Draw until the text belongs to the split (and the numbers suit the skeleton)."""
    if DOMAINS[name] == "code":
        return _make_code(name, split, index)
    module = minimath if name == "minimath" else minigsm
    rng = random.Random(f"{name}/{split}/{index}")
    weights = [getattr(module, "WEIGHTS", {}).get(skeleton, 1) for skeleton in module.SKELETONS]
    while True:
        skeleton = rng.choices(module.SKELETONS, weights)[0]
        scene = Scene(rng)
        try:
            if name == "minimath":
                minimath.build(scene, skeleton)
            else:
                clauses = rng.choices((0, 1, 2), (6, 3, 2))[0]
                minigsm.build(scene, skeleton, clauses + (2 if name == "minigsm-p2" else 0))
                if name == "minigsm" and not 2 <= len(scene.steps) <= 6:
                    continue
        except ValueError:
            continue
        if _bucket(scene.prompt) in SPLITS[split]:
            break
    solution = solve(scene)
    answer = solution.rsplit("The answer is: ", 1)[1].removeprefix("\\boxed{").removesuffix("}")
    problem = Problem(f"{name}-{split}-{index:06d}", "math", scene.prompt, answer, solution, skeleton.__name__)
    return problem, scene


def _make_code(name: str, split: str, index: int) -> tuple[Problem, minicode.Task]:
    rng = random.Random(f"{name}/{split}/{index}")
    while True:
        try:
            task = minicode.draw(rng, new=name == "minicode-new")
        except ValueError:
            continue
        prompt = minicode.describe(task, rng)
        if _bucket(prompt) in SPLITS[split]:
            break
    wrong = {f"{piece} {kind}": programmer.program(task, {piece: kind}) for piece, kind in programmer.misreadings(task)}
    problem = CodeProblem(
        f"{name}-{split}-{index:06d}",
        "code",
        prompt,
        solution=programmer.write(task),
        template=f"{task.source.name} {task.outcome.name}",
        entry_point=task.name,
        test=minicode.make_test(task, rng, wrong),
        cpu_seconds=1,
        synthetic=True,
    )
    return problem, task


def _bucket(prompt: str) -> int:
    """0..99, decided by the text alone."""
    return int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=4).digest()) % 100
