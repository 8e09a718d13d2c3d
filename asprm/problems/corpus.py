"""Corpus: what policies learn from, problems of the training split with solutions by simulated students."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from asprm.problems.families import attempt, scenes
from asprm.problems.student import drill

DRILLS = "drills"
FIRST_PROBLEM = 1_000_000  # number of the first problem that policies learn from; the study's own come before it

Pairs = Iterator[tuple[str, str]]  # a problem's text, a student's solution


def corpus(mixture: Mapping[str, float], seed: int, care: float = 0.0) -> Pairs:
    """Endless pairs of the training split, families in the proportions of `mixture`.

    care: share of their misreadings that the students avoid. The family "drills" consists of pages of sums with right
    results: without them calculation is learned last.
    """
    rng = random.Random(f"corpus/{seed}")
    positions = dict.fromkeys(mixture, FIRST_PROBLEM)
    while True:
        family = rng.choices(list(mixture), list(mixture.values()))[0]
        if family == DRILLS:
            yield drill(rng)
            continue
        problem, scene = next(scenes(family, "train", 1, positions[family]))
        positions[family] += 1
        yield problem.prompt, attempt(scene, random.Random(f"{problem.id}/{seed}"), care)
