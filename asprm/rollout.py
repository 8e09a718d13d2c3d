"""Rollout: labels of steps, from continuations of their prefixes (stage 5; paper §2, step 2).

From the end of each step the policy continues J times, each continuation is graded, and a label says how many came
right: hard (at least one; Math-Shepherd, ASPRM), soft (the share), or entropy-regularised (ER-PRM).

Hard labels stop early: a step's rollouts run in waves of 1, 1, 2, 4, … and end with the first wave that holds a right
one. A rollout's seed depends on the prefix and its number alone, so the label is the one that all J would give, and
solutions that begin alike share their labels and their cost.

An engine that computes rollouts of one prefix together until they part (`LocalEngine.share`) is faster at all J of a
step at once than at waves one after the other. It gets them at once; labels and counts are those of the waves all the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from asprm.chunks import map_chunks
from asprm.engines import Completion, Engine, Request, Sampling, load_engine
from asprm.policy import encode_prompts
from asprm.problems import Problem
from asprm.run import Run
from asprm.sample import grade, problem_set, request_seed

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "solution": pa.int32(),
        "step": pa.int32(),
        "end": pa.int32(),
        "right": pa.int32(),  # continuations that came right
        "rollouts": pa.int32(),  # continuations that were run; the step that ends a solution needs none: one, itself
        "tokens": pa.int32(),  # in these continuations; 0 where an equal prefix was labelled before
        "label": pa.float32(),
    }
)
_CHUNK = 32  # problems


def label(right, rollouts, estimate: str, eta: float = 1.0) -> np.ndarray:
    """Labels in [0, 1], float64, from counts of right continuations among those that were run.

    estimate: "hard" 1 if any is right; "soft" right / rollouts; "entropy" (1/η) log mean exp(η · correct) (ER-PRM),
    which is 1 where all are right. ValueError: unknown estimate.
    """
    right, rollouts = np.asarray(right, float), np.asarray(rollouts, float)
    share = right / rollouts
    if estimate == "hard":
        return (right > 0).astype(float)
    if estimate == "soft":
        return share
    if estimate == "entropy":
        return np.log1p(share * np.expm1(eta)) / eta
    raise ValueError(f"unknown estimate {estimate!r}; known: hard, soft, entropy")


@dataclass(frozen=True)
class _Item:
    """A problem, and its solutions whose steps are to be labelled."""

    problem: Problem
    solutions: tuple[int, ...]
    ids: tuple[np.ndarray, ...]
    ends: tuple[np.ndarray, ...]
    correct: tuple[bool, ...]


@dataclass
class _Step:
    """The rollouts of one prefix so far."""

    context: np.ndarray
    start: int
    prompt: int  # tokens of the context that are the problem's
    problem: Problem
    right: int = 0
    done: int = 0
    tokens: int = 0
    rows: list[tuple[int, int]] = field(default_factory=list)  # (solution's place in the item, step)
    outcomes: list[tuple[int, int] | None] = field(default_factory=list)  # by number: right or not, tokens
    waits: int = 0  # of those asked for

    def count(self, waves: Sequence[int], *, early: bool) -> None:
        """Sum up the outcomes wave by wave; early: up to the first wave that holds a right one."""
        for size in waves:
            wave = self.outcomes[self.done : self.done + size]
            self.right += sum(right for right, _ in wave)
            self.tokens += sum(tokens for _, tokens in wave)
            self.done += size
            if early and self.right:
                return


def waves(rollouts: int) -> Iterator[int]:
    """Sizes 1, 1, 2, 4, … that sum to `rollouts`."""
    done, size = 0, 1
    while done < rollouts:
        wave = min(size, rollouts - done)
        yield wave
        done += wave
        size = done


def label_steps(run: Run, method: str | None = None) -> int:
    """Label the steps of the run's split and write the table `rollout/<policy>/<method>`; tokens generated."""
    settings, method = run.settings, method or run.method
    items = list(_items(run, method))
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=run.profile.sample.max_new_tokens)
    options = {"rollouts": settings.rollouts, "estimate": settings.estimate, "eta": settings.eta, "seed": run.seed}
    path = run.policy_path()
    tables = map_chunks(
        partial(_label_chunk, sampling=sampling, **options),
        items,
        size=_CHUNK,
        folder=run.work(f"rollout/{run.policy}/{method}"),
        key={**options, "solutions": settings.solutions, "temperature": settings.temperature, "inputs": run.inputs},
        setup=partial(load_engine, path),
        workers=run.workers,
        label="rollout",
    )
    tokens = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal tokens
        for table in tables:
            tokens += sum(table["tokens"].to_pylist())
            yield table

    run.write(f"rollout/{run.policy}/{method}", counted())
    return tokens


def label_some(run: Run, engine: Engine, problems: int) -> pd.DataFrame:
    """Label the steps of the first so many problems with all J rollouts of each; columns of `SCHEMA`, nothing saved."""
    settings = run.settings
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=run.profile.sample.max_new_tokens)
    items = list(islice(_items(run, run.method), problems))
    options = {"rollouts": settings.rollouts, "estimate": "soft", "eta": settings.eta, "seed": run.seed}
    return _label_chunk(items, engine, sampling=sampling, **options).to_pandas()


def _items(run: Run, method: str) -> Iterator[_Item]:
    """Problems with the first `settings.solutions` of their solutions, in the order of the samples."""
    problems = {problem.id: problem for problem in problem_set(run.profile, "train")}
    samples = _rows(run, f"sample/{run.policy}/train", ["problem", "solution", "ids", "correct"])
    splits = _rows(run, f"split/{run.policy}/{method}", ["problem", "solution", "ends"])
    rows: dict[str, list[tuple]] = {}
    for (problem, solution, ids, correct), (*same, ends) in zip(samples, splits, strict=True):
        if same != [problem, solution]:
            raise ValueError(
                f"rollout: the split's row of {same} stands beside the sample's row of {[problem, solution]}\n"
                f"  the split is of other samples; make it anew:  rm data/runs/*/split/{run.policy}/{method}.parquet"
            )
        some = rows.setdefault(problem, [])
        if len(some) < run.settings.solutions:
            some.append((solution, np.asarray(ids, np.int32), np.asarray(ends, np.int32), correct))
    for name, some in rows.items():
        yield _Item(problems[name], *(tuple(column) for column in zip(*some, strict=True)))


def _rows(run: Run, name: str, columns: list[str]) -> Iterator[tuple]:
    for batch in run.scan(name, columns):
        yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def _label_chunk(items: Sequence[_Item], engine: Engine, *, sampling, rollouts, estimate, eta, seed) -> pa.Table:
    """One row of `SCHEMA` per step of the items' solutions, in order."""
    prompts = encode_prompts(engine.tokenizer, [item.problem for item in items])
    rows = []
    for item, steps in zip(
        items, run_rollouts(items, prompts, engine, sampling, rollouts, estimate, seed), strict=True
    ):
        for place, (solution, ends) in enumerate(zip(item.solutions, item.ends, strict=True)):
            for step, end in enumerate(ends.tolist()):
                if step == len(ends) - 1:  # nothing is left to continue: the solution is its own rollout
                    right, run, tokens = int(item.correct[place]), 1, 0
                else:
                    found = steps[place, step]
                    right, run = found.right, found.done
                    tokens = found.tokens if found.rows[0] == (place, step) else 0
                value = float(label(right, run, estimate, eta))
                rows.append((item.problem.id, solution, step, end, right, run, tokens, value))
    columns = zip(*rows, strict=True)
    return pa.table({name: list(column) for name, column in zip(SCHEMA.names, columns, strict=True)}, schema=SCHEMA)


def run_rollouts(items, prompts, engine: Engine, sampling: Sampling, rollouts: int, estimate: str, seed: int):
    """For each item a mapping (solution's place, step) -> its `_Step` with all counts; equal prefixes share one."""
    found = [_steps_of(item, prompt) for item, prompt in zip(items, prompts, strict=True)]
    counted = list(waves(rollouts)) if estimate == "hard" else [rollouts]
    plan = [rollouts] if getattr(engine, "share", False) else counted

    def wave(step: _Step) -> list[Request]:
        asked = len(step.outcomes)
        if asked == rollouts:
            return []
        size = plan[sum(asked >= total for total in np.cumsum(plan))]
        step.outcomes += [None] * size
        step.waits = size
        prefix = request_seed(seed, step.problem.id, step.context[step.prompt : step.start].tobytes().hex())
        numbers = range(asked, asked + size)
        return [Request(step.context, step.start, request_seed(prefix, j), (step, j)) for j in numbers]

    def follow(request: Request, completion: Completion) -> list[Request]:
        step, number = request.key
        ids = np.concatenate([step.context[step.prompt : step.start], completion.ids])
        text = engine.tokenizer.decode(ids, skip_special_tokens=True)
        right = completion.finished and grade(step.problem, text).correct
        step.outcomes[number] = int(right), len(completion.ids)
        step.waits -= 1
        settled = estimate == "hard" and any(outcome and outcome[0] for outcome in step.outcomes)
        return [] if step.waits or settled else wave(step)

    distinct = {id(step): step for steps in found for step in steps.values()}
    first = (request for step in distinct.values() for request in wave(step))
    for _ in engine.stream(first, sampling, follow):
        pass
    for step in distinct.values():
        step.count(counted, early=estimate == "hard")
    return found


def _steps_of(item: _Item, prompt: np.ndarray) -> dict[tuple[int, int], _Step]:
    """The prefixes of the item's steps, the last of each solution left out; equal ones are one."""
    known: dict[bytes, _Step] = {}
    steps = {}
    for place, (ids, ends) in enumerate(zip(item.ids, item.ends, strict=True)):
        context = np.concatenate([prompt, ids]).astype(np.int32)
        for number, end in enumerate(ends[:-1].tolist()):
            prefix = ids[:end].tobytes()
            step = known.setdefault(prefix, _Step(context, len(prompt) + end, len(prompt), item.problem))
            step.rows.append((place, number))
            steps[place, number] = step
    return steps
