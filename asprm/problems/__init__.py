"""Problems: the record that every stage reads, and where problems come from.

The synthetic families are made by seeded code, in any number, without files: `load("minigsm", "test", 300)`.
Splits share no problem: the text of a problem decides which split it may stand in.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from asprm.problems import minicode, minigsm, minimath, programmer
from asprm.problems.scene import Scene, evaluate
from asprm.problems.student import solve


@dataclass(frozen=True)
class Problem:
    """A problem and its truth. `solution` (a true worked one, where known) is for analysis, never for training."""

    id: str
    domain: str  # "math" or "code"
    prompt: str
    answer: str | None = None
    solution: str | None = None
    template: str = ""  # the skeleton it was made from: the cluster of a bootstrap


Domain = Literal["math", "code"]
DOMAINS: dict[str, Domain] = {  # of each family
    "minigsm": "math",
    "minimath": "math",
    "minigsm-p2": "math",
    "minicode": "code",
    "minicode-new": "code",
}
FAMILIES = tuple(DOMAINS)
TITLES = {  # of families and of the paper's test sets, as pages call them
    "minigsm": "MiniGSM",
    "minimath": "MiniMATH",
    "minigsm-p2": "MiniGSM-P2",
    "minicode": "MiniCode",
    "minicode-new": "MiniCode-New",
    "gsm8k": "GSM8K",
    "math500": "MATH500",
    "gsm-symbolic-p2": "GSM-Symbolic P2",
    "leetcode": "LeetCodeDataset",
    "livecodebench": "LiveCodeBench",
}
PAPERS = dict(zip(FAMILIES, ("gsm8k", "math500", "gsm-symbolic-p2", "leetcode", "livecodebench"), strict=True))
"""The paper's test set that each family stands for."""
SPLITS = {"train": range(0, 90), "validation": range(90, 95), "test": range(95, 100)}  # per cent of all texts


def load(name: str, split: str = "test", count: int | None = None, start: int = 0, path=None) -> list[Problem]:
    """Problems of a synthetic family, or of a real data set (`asprm.problems.hub`) by its name.

    A family gives the problems number start … start+count-1 of its split, the same for ever, and so does a data set,
    or all from `start` on; path: a local file or folder of its rows in place of the hub. ValueError: unknown name or
    split, a family without a count, fewer rows than that.
    """
    if name in FAMILIES:
        if count is None:
            raise ValueError(f"the family {name!r} has no end: say how many problems, load({name!r}, {split!r}, 100)")
        _check(name, split)
        return [_problem(name, split, index) for index in range(start, start + count)]
    from asprm.problems import hub

    if name not in hub.SOURCES:
        known = ", ".join([*FAMILIES, *hub.SOURCES])
        raise ValueError(f"no problems called {name!r}; there are {known}")
    return hub.load(name, split, path=path, count=count, start=start)


def domain_of(name: str) -> str:
    """The domain of a family or data set: "math" or "code". ValueError: no such problems."""
    if name in DOMAINS:
        return DOMAINS[name]
    from asprm.problems import hub

    if name not in hub.SOURCES:
        raise ValueError(f"no problems called {name!r}; there are {', '.join([*FAMILIES, *hub.SOURCES])}")
    return hub.SOURCES[name].domain


def title(name: str) -> str:
    """How pages call a family or data set: "MiniGSM"."""
    return TITLES.get(name, name)


def scenes(name: str, split: str, count: int, start: int = 0) -> Iterator[tuple[Problem, Scene | minicode.Task]]:
    """As `load`, each problem with the scene that students read, or the task that programmers get."""
    _check(name, split)
    for index in range(start, start + count):
        yield _make(name, split, index)


def attempt(scene: Scene | minicode.Task, rng: random.Random, care: float = 0.0) -> str:
    """What a simulated student, or programmer, writes for a scene or a task; drawn by `rng`.

    care: the share of all misreadings that a student avoids; programmers are as they are.
    """
    return programmer.write(scene, rng) if isinstance(scene, minicode.Task) else solve(scene, rng, care)


def _check(name: str, split: str) -> None:
    if name not in FAMILIES:
        raise ValueError(f"no problem family {name!r}; there are {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")


@cache
def _problem(name: str, split: str, index: int) -> Problem:
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
    from asprm.problems.code import CodeProblem  # which is a `Problem` itself

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


# "x = 21 / 3 = 7" holds one; the second half of "4 + 3 = 7 = 7" is none.
_EQUATION = re.compile(r"(?<![\d)/^] )(?<![\d)] = )(?<![\w/^.])([-\d(][\d\s+\-*/()]*?)\s*=\s*(-?\d+)")


def first_error(problem: Problem, solution: str) -> int | None:
    """Offset of the line (or sentence) in which a solution first departs from the truth; None if it never does.

    A program is compared with the true one line by line (`programmer.first_error`). Other solutions are compared with
    the problem's true solution equation by equation, in order: an equation departs when it does not hold, or does not
    state the true next quantity from the same numbers (order of summands and factors aside).
    The last line departs when its answer is not the true one. ValueError: the problem knows no true solution.
    """
    if problem.solution is None:
        raise ValueError(f"problem {problem.id} has no true solution to compare with")
    if problem.domain == "code":
        return programmer.first_error(problem.solution, solution)
    truth = [_canonical(match) for match in _EQUATION.finditer(problem.solution)]
    found = list(_EQUATION.finditer(solution))
    for number, match in enumerate(found):
        if number >= len(truth) or _canonical(match) != truth[number]:
            return _line_start(solution, match.start())
    ending = solution.rfind("The answer is:")
    if ending < 0:
        return len(solution)
    if len(found) < len(truth):
        return ending
    answer = solution[ending:].removeprefix("The answer is:").strip().removeprefix("\\boxed{").removesuffix("}")
    return None if answer == problem.answer else ending


def _canonical(match: re.Match) -> tuple | str:
    left, right = match[1], match[2]
    value = evaluate(left)
    if value is None or value.__floor__() != int(right):
        return match[0]  # a false equation equals no true one
    return (right, tuple(sorted(re.findall(r"\d+|[-+*/]", left))))


def _line_start(text: str, position: int) -> int:
    """Start of the line, or of the sentence in a paragraph, that holds the position."""
    return max(text.rfind("\n", 0, position) + 1, text.rfind(". ", 0, position) + 2 if ". " in text[:position] else 0)
