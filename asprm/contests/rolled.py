"""Rolled: the rollouts that the contests share, from step ends of all kinds at once, and from every single token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asprm.contests.bench import Bench, Written
from asprm.contests.cheap import Rolled
from asprm.contests.places import KINDS
from asprm.engines.load import load_engine
from asprm.engines.protocol import Engine, Sampling
from asprm.problems.problem import Problem
from asprm.rollout import Labelling, roll_out
from asprm.run.chunks import map_chunks
from asprm.run.open import Run

_SCHEMA = pa.schema(
    {
        "right": pa.list_(pa.list_(pa.bool_())),  # by prefix and rollout
        "tokens": pa.list_(pa.list_(pa.int32())),
    }
)


@dataclass(frozen=True, eq=False)
class _Item:
    """One problem and its solutions, each with the numbers of tokens (E,) after which rollouts begin."""

    problem: Problem
    prompt: NDArray[np.int32]
    solutions: list[Written]
    ends: list[NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """J rollouts from each of a solution's prefixes. ends: (E,) sorted; right: (E, J); tokens: (E, J)."""

    ends: NDArray[np.int32]
    right: NDArray[np.bool_]
    tokens: NDArray[np.int64]

    def at(self, ends: NDArray[np.int32], correct: bool) -> Rolled:
        """Those of the steps with these ends (K,), the last of which needs none. correct: the solution itself."""
        rows = np.searchsorted(self.ends, ends[:-1])
        return Rolled(self.right[rows], self.tokens[rows], correct)


def at_step_ends(run: Run, bench: Bench) -> dict[Written, Rollouts]:
    """Rollouts from the inner step ends of all kinds of each training solution, J of the profile's section rollout."""
    solutions = bench.solutions["train"]
    ends = [np.unique(np.concatenate([bench.ends(kind, one)[:-1] for kind in KINDS])) for one in solutions]
    return _rolled(run, bench, solutions, ends, run.profile.rollout.rollouts, "steps")


def at_tokens(run: Run, bench: Bench) -> dict[Written, Rollouts]:
    """Rollouts from before the first token and after each but the last of some training solutions (`chosen`)."""
    solutions = chosen(bench.solutions["train"], run.profile.rivals.tokens)
    ends = [np.arange(len(one.ids), dtype=np.int32) for one in solutions]
    return _rolled(run, bench, solutions, ends, run.profile.rivals.rollouts, "tokens")


def chosen(solutions: Sequence[Written], count: int) -> list[Written]:
    """Evenly spaced solutions, half of them (if there are as many) with an error, in their old order."""
    finished = [one for one in solutions if one.finished]
    wrong = [one for one in finished if one.departs is not None]
    others = [one for one in finished if one.departs is None]
    half = max(count // 2, count - len(others))
    parts = ((wrong, half), (others, count - min(half, len(wrong))))
    picked = {
        id(part[i])
        for part, most in parts
        if part
        for i in np.linspace(0, len(part) - 1, min(most, len(part))).astype(int)
    }
    return [one for one in finished if id(one) in picked]


def _rolled(
    run: Run, bench: Bench, solutions: Sequence[Written], ends: Sequence[NDArray[np.int32]], rollouts: int, label: str
) -> dict[Written, Rollouts]:
    """`rollouts` continuations from each of the solutions' prefixes, in chunks of problems."""
    pairs = zip(solutions, ends, strict=True)
    items = []
    for problem, of_problem in groupby(pairs, key=lambda pair: pair[0].problem):
        own = list(of_problem)
        item = _Item(bench.problems[problem], bench.prompts[problem], [x for x, _ in own], [y for _, y in own])
        items.append(item)
    with run.noting() as inputs:
        path, engine = run.running(run.policy_path()), run.engine()
    options = {"limit": run.profile.sample.max_new_tokens, "temperature": run.profile.rollout.temperature}
    tables = map_chunks(
        partial(_roll_chunk, rollouts=rollouts, seed=run.seed, **options),
        items,
        size=max(1, run.profile.chunk // (8 if label == "tokens" else 2)),
        folder=run.work(f"rivals/{run.policy}/{label}"),
        key={"inputs": inputs | dict(run.inputs), "settings": run.profile.reads("rivals"), "rollouts": rollouts},
        setup=partial(load_engine, path, kind=engine),
        workers=run.decoders,
        label=f"rivals: rollouts of {run.policy} from {label}",
        kept=run.kept,
    )
    rows: list[dict[str, Any]] = [row for table in tables for row in table.to_pylist()]
    return {
        one: Rollouts(own, _matrix(row["right"], rollouts, bool), _matrix(row["tokens"], rollouts, np.int64))
        for one, own, row in zip(solutions, ends, rows, strict=True)
    }


def _matrix(rows: list[list], columns: int, dtype: Any) -> NDArray[Any]:
    return np.array(rows, dtype).reshape(-1, columns)


def _roll_chunk(
    items: Sequence[_Item], engine: Engine, *, rollouts: int, seed: int, limit: int, temperature: float
) -> pa.Table:
    """One row for each solution of the items, in order: columns of `_SCHEMA`."""
    asked = [
        Labelling(
            item.problem,
            item.prompt,
            ids=[one.ids for one in item.solutions],
            ends=[np.append(ends, len(one.ids)) for one, ends in zip(item.solutions, item.ends, strict=True)],
            correct=[one.correct for one in item.solutions],
            rollouts=rollouts,
            estimate="soft",
        )
        for item in items
    ]
    sampling = Sampling(temperature=temperature, max_new_tokens=limit)
    rows = []
    for item, steps in zip(items, roll_out(asked, engine, sampling, seed), strict=True):
        for place, ends in enumerate(item.ends):
            outcomes = [[x for x in steps[place, number].outcomes if x] for number in range(len(ends))]
            rows.append(
                {
                    "right": [[x.right for x in of_step] for of_step in outcomes],
                    "tokens": [[x.tokens for x in of_step] for of_step in outcomes],
                }
            )
    return pa.Table.from_pylist(rows, _SCHEMA)
