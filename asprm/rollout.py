"""Rollout: labels of steps, from continuations of their prefixes (stage 5; paper §2, step 2).

From the end of each step the policy continues J times, each continuation is graded, and a label says how many came
right: hard (at least one; Math-Shepherd, ASPRM), soft (the share), or entropy-regularised (ER-PRM).

Hard labels stop early: a step's rollouts run in waves of 1, 1, 2, 4, … and end with the first wave that holds a right
one. A rollout's seed depends on the prefix and its number alone, so the label is the one that all J would give, and
solutions that begin alike share their labels and their cost.

An engine that computes rollouts of one prefix together until they part (`LocalEngine.share`) is faster at all J of a
step at once than at waves one after the other. It gets them at once, but for the steps of a right solution: most of
these are settled by two. Labels and counts are those of the waves all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asprm.engines.load import load_engine
from asprm.engines.protocol import Completion, Engine, Request, Sampling, request_seed
from asprm.grading.grade import grade
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set
from asprm.run.chunks import map_chunks
from asprm.run.names import Method
from asprm.run.open import Run

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "solution": pa.int32(),
        "step": pa.int32(),
        "end": pa.int32(),
        "char_end": pa.int32(),  # where it ends in the solution's text
        "right": pa.int32(),  # continuations that came right
        "rollouts": pa.int32(),  # continuations that were run; the step that ends a solution needs none: one, itself
        "tokens": pa.int32(),  # in these continuations; 0 where an equal prefix was labelled before
        "label": pa.float32(),
    }
)
_CHUNK = 128  # solutions


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
    ends: dict[str, tuple[np.ndarray, ...]]  # by method, one array of step ends per solution
    char_ends: dict[str, tuple[np.ndarray, ...]]
    correct: tuple[bool, ...]

    def all_ends(self, methods: Sequence[str]) -> list[np.ndarray]:
        """Per solution, where a step ends by any of the methods."""
        found = (np.concatenate(ends) for ends in zip(*(self.ends[method] for method in methods), strict=True))
        return [np.unique(ends) for ends in found]


class Labelling(NamedTuple):
    """Solutions of one problem whose steps are to be labelled, and how: ids and, in `ends`, the number of tokens up to
    each step's end, an array per solution; whether each is right; J; the estimate (`label`).
    """

    problem: Problem
    ids: Sequence[np.ndarray]
    ends: Sequence[np.ndarray]
    correct: Sequence[bool]
    rollouts: int
    estimate: str


@dataclass
class _Step:
    """The rollouts of one prefix so far."""

    context: np.ndarray
    start: int
    prompt: int  # tokens of the context that are the problem's
    problem: Problem
    rollouts: int
    early: bool  # a right one ends them
    likely: bool = False  # a right solution begins like this
    right: int = 0
    done: int = 0
    tokens: int = 0
    outcomes: list[tuple[int, int] | None] = field(default_factory=list)  # by number: right or not, tokens
    waits: int = 0  # of those asked for

    def waves(self) -> list[int]:
        """Sizes of the waves that the rollouts are counted in."""
        return list(waves(self.rollouts)) if self.early else [self.rollouts]

    def count(self) -> None:
        """Sum up the outcomes wave by wave; early: up to the first wave that holds a right one."""
        for size in self.waves():
            wave = self.outcomes[self.done : self.done + size]
            self.right += sum(right for right, _ in wave)
            self.tokens += sum(tokens for _, tokens in wave)
            self.done += size
            if self.early and self.right:
                return


def waves(rollouts: int) -> Iterator[int]:
    """Sizes 1, 1, 2, 4, … that sum to `rollouts`."""
    done, size = 0, 1
    while done < rollouts:
        wave = min(size, rollouts - done)
        yield wave
        done += wave
        size = done


def label_all(run: Run) -> dict[str, int]:
    """Label the training solutions by every method that the study or a reward model asks for; tokens by method.

    Writes `rollout/<policy>/<method>`. A prefix at which steps of several methods end is continued once for all of
    them; the tokens of each table are those that its method alone would cost.
    """
    methods = run.profile.methods(run.policy)
    with run.noting() as inputs:
        items = list(_items(run, methods))
        path = run.policy_path()
        run.inputs.update(origins(run.profile, run.domain))
    limit = run.profile.sample.max_new_tokens
    settings = run.settings.model_dump(mode="json")
    chunks = partial(
        map_chunks,
        partial(_label_chunk, methods=methods, settings=run.settings, limit=limit, seed=run.seed),
        items,
        size=max(1, _CHUNK // run.settings.solutions),
        folder=run.work(f"rollout/{run.policy}"),
        key={"settings": settings, "limit": limit, "seed": run.seed, "inputs": inputs, "methods": methods},
        setup=partial(load_engine, path),
        workers=run.workers,
        label=f"rollout {run.policy}",
    )
    tokens = dict.fromkeys(methods, 0)
    for method in methods:  # the first time chunks are computed, then they are there

        def counted(method: str = method) -> Iterator[pa.Table]:
            for table in chunks(kept=run.kept if method == methods[0] else None):
                table = table.filter(pc.equal(table["method"], method)).drop_columns("method")
                tokens[method] += pc.sum(table["tokens"]).as_py() or 0
                yield table

        run.write(f"rollout/{run.policy}/{method}", counted())
    return tokens


def label_some(run: Run, engine: Engine, problems: int) -> pd.DataFrame:
    """Label the steps of the first so many problems with all J rollouts of each; columns of `SCHEMA`, nothing saved."""
    items = list(islice(_items(run, [run.method]), problems))
    settings = run.settings.model_copy(update={"estimate": "soft"})
    limit = run.profile.sample.max_new_tokens
    options = {"methods": [run.method], "settings": settings, "limit": limit, "seed": run.seed}
    return _label_chunk(items, engine, **options).drop_columns("method").to_pandas()


def _items(run: Run, methods: Sequence[str]) -> Iterator[_Item]:
    """Problems with the first `settings.solutions` of their solutions, in the order of the samples."""
    problems = {problem.id: problem for problem in problem_set(run.profile, "train", run.domain)}
    samples = _rows(run, f"sample/{run.policy}/train", ["problem", "solution", "ids", "correct"])
    names = [Method.parse(method).split for method in methods]
    splits = [_rows(run, f"split/{run.policy}/{name}", ["problem", "solution", "ends", "char_ends"]) for name in names]
    rows: dict[str, list[tuple]] = {}
    for (problem, solution, ids, correct), *cuts in zip(samples, *splits, strict=True):
        for name, (*same, _, _) in zip(names, cuts, strict=True):
            if same != [problem, solution]:
                raise ValueError(
                    f"rollout: the split's row of {same} stands beside the sample's row of {[problem, solution]}\n"
                    f"  the split is of other samples; make it anew:  rm data/runs/*/split/{run.policy}/{name}.parquet"
                )
        some = rows.setdefault(problem, [])
        if len(some) < run.settings.solutions:
            ends, char_ends = ([np.asarray(cut[k], np.int32) for cut in cuts] for k in (2, 3))
            some.append((solution, np.asarray(ids, np.int32), correct, ends, char_ends))
    for name, some in rows.items():
        solutions, ids, correct, ends, char_ends = zip(*some, strict=True)
        by_method = [dict(zip(methods, zip(*cuts, strict=True), strict=True)) for cuts in (ends, char_ends)]
        yield _Item(problems[name], solutions, ids, *by_method, correct)


def _rows(run: Run, name: str, columns: list[str]) -> Iterator[tuple]:
    for batch in run.scan(name, columns):
        yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def _label_chunk(items: Sequence[_Item], engine: Engine, *, methods, settings, limit, seed) -> pa.Table:
    """One row of `SCHEMA`, with the method's name in front, per step of the items' solutions: method by method."""
    prompts = encode_prompts(engine.tokenizer, [item.problem.prompt for item in items])
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=limit)
    by_estimate: dict[str, list[str]] = {}
    for method in methods:
        by_estimate.setdefault(Method.parse(method).estimate or settings.estimate, []).append(method)
    # Those of one problem by all estimates stand beside each other, so that a solution is read once.
    asked = [
        Labelling(item.problem, item.ids, item.all_ends(some), item.correct, _rollouts(settings, estimate), estimate)
        for item in items
        for estimate, some in by_estimate.items()
    ]
    each = len(by_estimate)
    found = run_rollouts(asked, [prompt for prompt in prompts for _ in range(each)], engine, sampling, seed)
    tables = {}
    for place, (estimate, some) in enumerate(by_estimate.items()):
        for method in some:
            rows = [
                row
                for item, one, steps in zip(items, asked[place::each], found[place::each], strict=True)
                for row in _label_item(item, method, one.ends, steps)
            ]
            columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=False))
            columns["label"] = label(columns["right"], columns["rollouts"], estimate, settings.eta)
            table = pa.table({name: list(columns[name]) for name in SCHEMA.names}, schema=SCHEMA)
            tables[method] = table.add_column(0, "method", pa.array([method] * len(table)))
    return pa.concat_tables(tables[method] for method in methods)


def _rollouts(settings, estimate: str) -> int:
    """J. ER-PRM's is another, but where the run itself labels as ER-PRM does."""
    er_prm = estimate == "entropy" and settings.estimate != "entropy"
    return settings.entropy_rollouts if er_prm else settings.rollouts


def _label_item(
    item: _Item, method: str, all_ends: Sequence[np.ndarray], steps: Mapping[tuple[int, int], _Step]
) -> Iterator[tuple]:
    """The item's rows by one method, without their labels. Of equal prefixes the first bears the tokens."""
    counted = set()
    for place, solution in enumerate(item.solutions):
        ends, char_ends = item.ends[method][place], item.char_ends[method][place]
        for step, (end, char_end) in enumerate(zip(ends.tolist(), char_ends.tolist(), strict=True)):
            if step == len(ends) - 1:  # nothing is left to continue: the solution is its own rollout
                right, run, tokens = int(item.correct[place]), 1, 0
            else:
                found = steps[place, int(np.searchsorted(all_ends[place], end))]
                right, run = found.right, found.done
                tokens = 0 if id(found) in counted else found.tokens
                counted.add(id(found))
            yield item.problem.id, solution, step, end, char_end, right, run, tokens


def run_rollouts(
    items: Sequence[Labelling], prompts: Sequence[np.ndarray], engine: Engine, sampling: Sampling, seed: int
) -> list[dict[tuple[int, int], _Step]]:
    """For each item a mapping (solution's place, step) -> its `_Step` with all counts; equal prefixes share one.

    prompts: ids of each item's problem, (L,).
    """
    found = [_steps_of(item, prompt) for item, prompt in zip(items, prompts, strict=True)]
    distinct = {id(step): step for steps in found for step in steps.values()}
    share = getattr(engine, "share", False)

    def plan(step: _Step) -> list[int]:
        """Sizes asked for one after the other."""
        sizes = step.waves()
        if not share:
            return sizes
        first = sum(sizes[:2]) if step.likely else step.rollouts
        return [first, step.rollouts - first]

    def wave(step: _Step) -> list[Request]:
        asked = len(step.outcomes)
        if asked == step.rollouts:
            return []
        sizes = plan(step)
        size = sizes[sum(asked >= total for total in np.cumsum(sizes))]
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
        settled = step.early and any(outcome and outcome[0] for outcome in step.outcomes)
        return [] if step.waits or settled else wave(step)

    first = (request for step in distinct.values() for request in wave(step))
    for _ in engine.stream(first, sampling, follow):
        pass
    for step in distinct.values():
        step.count()
    return found


def _steps_of(item: Labelling, prompt: np.ndarray) -> dict[tuple[int, int], _Step]:
    """The prefixes of the item's steps, the last of each solution left out; equal ones are one."""
    known: dict[bytes, _Step] = {}
    steps = {}
    for place, (ids, ends, correct) in enumerate(zip(item.ids, item.ends, item.correct, strict=True)):
        context = np.concatenate([prompt, ids]).astype(np.int32)
        for number, end in enumerate(ends[:-1].tolist()):
            prefix = ids[:end].tobytes()
            asked = item.problem, item.rollouts, item.estimate == "hard"
            step = known.setdefault(prefix, _Step(context, len(prompt) + end, len(prompt), *asked))
            step.likely |= bool(correct)
            steps[place, number] = step
    return steps
