"""Rollout: labels of steps, from continuations of their prefixes (stage 5; paper §2, step 2).

From the end of each step the policy continues J times, each continuation is graded, and the step's label says how many
came right: hard (at least one; Math-Shepherd, ASPRM), soft (the share), or entropy-regularised (ER-PRM).

Hard labels stop early: a step's rollouts run in waves of 1, 1, 2, 4, … up to the first wave that holds a right one. The
label is the one that all J would give. Rollout j of a prefix depends on (seed, problem, prefix, j) alone, so stopping
leaves rollouts out and changes none. If a wave holds a right one, the label is 1, whatever the others would be; if no
wave does, all J have run. For the same reason solutions that begin alike share their labels and their cost.

An engine that computes rollouts of one prefix together until they part (`Engine.share`) is faster at all J of a step at
once than at waves one after the other. It is asked for all at once, except at steps of a right solution: most of these
are settled by two. Outcomes are counted wave by wave in either case, so labels and counts are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from asprm.engines.load import LOWER, load_engine
from asprm.engines.protocol import Completion, Engine, Request, Sampling, request_seed
from asprm.grading.grade import grade
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import Problem
from asprm.problems.sets import origins, problem_set
from asprm.run import names
from asprm.run.chunks import Chunks
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.run.sections import Rollout

SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "solution": pa.int32(),
        "step": pa.int32(),
        "end": pa.int32(),  # tokens of the solution up to the step's end
        "char_end": pa.int32(),  # the same in characters of the solution's text
        "right": pa.int32(),  # continuations that came right
        "rollouts": pa.int32(),  # continuations that count; 1 for the last step: the solution is its own rollout
        "tokens": pa.int32(),  # of these continuations; 0 for the last step and where an equal prefix has them
        "label": pa.float32(),
    }
)
_GREAT = 500.0  # an η of which the exponential still is a number


def label(right: ArrayLike, rollouts: ArrayLike, estimate: str, eta: float = 1.0) -> NDArray[np.float64]:
    """Labels in [0, 1], from counts of right continuations among those that were run.

    estimate: "hard" 1 if any is right; "soft" right / rollouts; "entropy" (1/η) log mean exp(η · correct) (ER-PRM),
    which is 1 where all are right, and for a great η where any is. ValueError: unknown estimate.
    """
    right, rollouts = np.asarray(right, float), np.asarray(rollouts, float)
    share = right / rollouts
    if estimate == "hard":
        return (right > 0).astype(float)
    if estimate == "soft":
        return share
    if estimate == "entropy":
        if eta < _GREAT:
            return np.minimum(np.log1p(share * np.expm1(eta)) / eta, 1.0)  # by rounding it may be a little above
        # exp(η) would overflow, and 1 is nothing beside it: log(share · exp(η)) = η + log share
        return np.where(share > 0, 1 + np.log(np.where(share > 0, share, 1)) / eta, 0.0)
    raise ValueError(f"unknown estimate {estimate!r}; known: hard, soft, entropy")


# --- the rollouts of steps --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Labelling:
    """Solutions of one problem whose steps are to be labelled."""

    problem: Problem  # decides whether a continuation is right
    prompt: np.ndarray  # (L,) ids of the problem
    ids: Sequence[np.ndarray]  # (T,) of each solution
    ends: Sequence[np.ndarray]  # (K,) of each solution: the number of tokens up to each step's end
    correct: Sequence[bool]  # of each solution
    rollouts: int  # J
    estimate: str  # see `label`


@dataclass(frozen=True)
class Outcome:
    """What came of one rollout. tokens: its length."""

    right: bool
    tokens: int


@dataclass(eq=False)
class Step:
    """One prefix and its rollouts, which are asked for in waves.

    right, done, tokens: the right rollouts, the rollouts and their tokens, in the waves that count (`count`).
    """

    problem: Problem
    context: np.ndarray  # ids of the problem, then of a solution that begins with the prefix
    prompt: int  # ids of the problem
    start: int  # where the rollouts begin: ids of the problem and of the prefix
    rollouts: int  # J
    early: bool  # a right rollout settles the label
    likely: bool = False  # a right solution begins with the prefix
    outcomes: list[Outcome | None] = field(default_factory=list)  # of those asked for, by number; None: still running
    right: int = 0
    done: int = 0
    tokens: int = 0

    @property
    def prefix(self) -> np.ndarray:
        return self.context[self.prompt : self.start]

    @property
    def running(self) -> bool:
        return None in self.outcomes

    @property
    def settled(self) -> bool:
        """Whether no further rollout can change the label."""
        return self.early and any(outcome and outcome.right for outcome in self.outcomes)

    def waves(self) -> list[int]:
        """Sizes of the waves in which the rollouts are counted."""
        return list(waves(self.rollouts)) if self.early else [self.rollouts]

    def next_numbers(self, together: bool) -> range:
        """The numbers of the rollouts to ask for next; none where all J have been.

        together: the engine is faster at many rollouts at once than at one wave after the other.
        """
        sizes = self.waves()
        if together:  # at least the first two waves
            first = sum(sizes[:2]) if self.likely else self.rollouts
            sizes = [first, self.rollouts - first]
        asked = len(self.outcomes)
        return range(asked, next((end for end in accumulate(sizes) if end > asked), asked))

    def count(self) -> None:
        """Sum up the outcomes wave by wave; early: up to the first wave that holds a right one."""
        for size in self.waves():
            wave = [outcome for outcome in self.outcomes[self.done : self.done + size] if outcome]
            self.right += sum(outcome.right for outcome in wave)
            self.tokens += sum(outcome.tokens for outcome in wave)
            self.done += size
            if self.early and self.right:
                return


Steps = dict[tuple[int, int], Step]  # by (place of the solution in its labelling, number of the step)


def waves(rollouts: int) -> Iterator[int]:
    """Sizes 1, 1, 2, 4, … that sum to `rollouts`."""
    done, size = 0, 1
    while done < rollouts:
        wave = min(size, rollouts - done)
        yield wave
        done += wave
        size = done


def roll_out(labellings: Sequence[Labelling], engine: Engine, sampling: Sampling, seed: int) -> list[Steps]:
    """The steps of each labelling with their counts, without the last step of each solution: it needs no rollout.

    Equal prefixes of a labelling are one `Step`.
    """
    by_labelling = [_steps_of(labelling) for labelling in labellings]
    steps = list(dict.fromkeys(step for of_labelling in by_labelling for step in of_labelling.values()))
    asking = _Asking(engine, seed)
    first = (request for step in steps for request in asking.next_wave(step))
    for _ in engine.stream(first, sampling, asking.follow, confidences=False):
        pass
    for step in steps:
        step.count()
    return by_labelling


def _steps_of(labelling: Labelling) -> Steps:
    known: dict[bytes, Step] = {}
    steps = {}
    problem, prompt, early = labelling.problem, labelling.prompt, labelling.estimate == "hard"
    solutions = zip(labelling.ids, labelling.ends, labelling.correct, strict=True)
    for place, (ids, ends, correct) in enumerate(solutions):
        context = np.concatenate([prompt, ids]).astype(np.int32)
        for number, end in enumerate(ends[:-1].tolist()):
            new = Step(problem, context, len(prompt), len(prompt) + end, labelling.rollouts, early)
            step = known.setdefault(ids[:end].tobytes(), new)
            step.likely |= bool(correct)
            steps[place, number] = step
    return steps


class _Asking:
    """Asks an engine for rollouts: the first wave of each step, and the next one when a wave has left it open."""

    def __init__(self, engine: Engine, seed: int):
        self.engine, self.seed = engine, seed

    def next_wave(self, step: Step) -> list[Request]:
        numbers = step.next_numbers(self.engine.share)
        step.outcomes += [None] * len(numbers)
        prefix = request_seed(self.seed, step.problem.id, step.prefix.tobytes().hex())
        return [Request(step.context, step.start, request_seed(prefix, j), (step, j)) for j in numbers]

    def follow(self, request: Request, completion: Completion) -> list[Request]:
        """Grade a rollout. Returns the requests of the next wave once this one is complete, if the label is open."""
        step, number = request.key
        ids = np.concatenate([step.prefix, completion.ids])
        text = self.engine.tokenizer.decode(ids, skip_special_tokens=True)
        right = completion.finished and grade(step.problem, text).correct
        step.outcomes[number] = Outcome(right, len(completion.ids))
        return [] if step.running or step.settled else self.next_wave(step)


# --- the stage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Solution:
    number: int
    ids: np.ndarray  # (T,)
    correct: bool
    ends: dict[str, np.ndarray]  # by method, (K,): tokens up to each step's end
    char_ends: dict[str, np.ndarray]  # the same in characters

    def all_ends(self, methods: Sequence[str]) -> np.ndarray:
        """Where a step ends by any of the methods, sorted."""
        return np.unique(np.concatenate([self.ends[method] for method in methods]))


@dataclass(frozen=True, eq=False)
class _Item:
    """A problem, and its solutions whose steps are to be labelled."""

    problem: Problem
    solutions: tuple[_Solution, ...]


def run_rollout(run: Run) -> list[str]:
    """Label the training solutions by every method that the study or a reward model asks for.

    Writes the table `rollout/<policy>/<method>` (`SCHEMA`) of each method; returns the tables' names. A prefix at which
    steps of several methods end is continued once for all of them; the tokens of each table are those that its method
    alone would cost.
    """
    work, methods = chunks(run), run.profile.methods(run.policy)
    for method in methods:  # the first pass computes the chunks of all methods, the others read them
        tables = work.tables(run.kept if method == methods[0] else None)
        run.write(names.labels(run.policy, method), map(partial(_of_method, method=method), tables))
    return [names.labels(run.policy, method) for method in methods]


def chunks(run: Run) -> Chunks:
    """The stage's work in pieces: labels of some problems each, by all methods."""
    methods, settings = run.profile.methods(run.policy), run.profile.rollout
    with run.noting() as inputs:
        items = list(_items(run, methods))
        path, engine = run.running(run.policy_path()), run.engine()
        run.inputs.update(origins(run.profile, run.domain))
    limit = run.profile.sample.max_new_tokens
    dumped = settings.model_dump(mode="json")
    return Chunks(
        partial(_label_chunk, methods=methods, settings=settings, limit=limit, seed=run.seed),
        items,
        size=max(1, 2 * run.profile.chunk // settings.solutions),
        folder=run.work(f"rollout/{run.policy}"),
        key={"settings": dumped, "limit": limit, "seed": run.seed, "inputs": inputs, "methods": methods},
        setup=partial(load_engine, path, kind=engine),
        workers=run.decoders,
        label=f"rollout {run.policy}",
        lower=LOWER,
    )


def label_fully(run: Run, engine: Engine, problems: int) -> pd.DataFrame:
    """The steps of the first problems, labelled softly, with all J rollouts of each: columns of `SCHEMA`, not saved."""
    items = list(islice(_items(run, [run.method]), problems))
    settings = run.profile.rollout.model_copy(update={"estimate": "soft"})
    limit = run.profile.sample.max_new_tokens
    table = _label_chunk(items, engine, methods=[run.method], settings=settings, limit=limit, seed=run.seed)
    return _of_method(table, run.method).to_pandas()


def _of_method(table: pa.Table, method: str) -> pa.Table:
    rows = pc.equal(table["method"], method)  # pyright: ignore[reportAttributeAccessIssue]
    return table.filter(rows).drop_columns("method")


def _items(run: Run, methods: Sequence[str]) -> Iterator[_Item]:
    """Problems with the first `settings.solutions` of their solutions, in the order of the samples."""
    splits = {method: Method.parse(method).split for method in methods}
    samples = _rows(run, names.samples(run.policy, "train"), ["problem", "solution", "ids", "correct"])
    tables = {
        split: _rows(run, names.step_ends(run.policy, split), ["problem", "solution", "ends", "char_ends"])
        for split in splits.values()
    }
    by_problem: dict[str, list[_Solution]] = {}
    for (problem, number, ids, correct), *split_rows in zip(samples, *tables.values(), strict=True):
        rows = dict(zip(tables, split_rows, strict=True))
        for split, row in rows.items():
            _check_same(run, split, row[:2], (problem, number))
        solutions = by_problem.setdefault(problem, [])
        if len(solutions) < run.profile.rollout.solutions:
            ends, char_ends = (
                {method: np.asarray(rows[split][column], np.int32) for method, split in splits.items()}
                for column in (2, 3)
            )
            solutions.append(_Solution(number, np.asarray(ids, np.int32), correct, ends, char_ends))
    problems = {problem.id: problem for problem in problem_set(run.profile, "train", run.domain)}
    for name, solutions in by_problem.items():
        yield _Item(problems[name], tuple(solutions))


def _check_same(run: Run, split: str, of_split: tuple, of_samples: tuple) -> None:
    """ValueError: a row of step ends is not of the solution beside it."""
    if of_split != of_samples:
        name = names.step_ends(run.policy, split)
        raise ValueError(
            f"rollout: {name} has problem {of_split[0]}, solution {of_split[1]} where the samples have problem "
            f"{of_samples[0]}, solution {of_samples[1]}: it was made from other samples\n"
            f"  delete it and make it anew:  rm data/runs/*/{name}.parquet"
        )


def _rows(run: Run, name: str, columns: list[str]) -> Iterator[tuple]:
    for batch in run.scan(name, columns):
        yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def _label_chunk(
    items: Sequence[_Item], engine: Engine, *, methods: Sequence[str], settings: Rollout, limit: int, seed: int
) -> pa.Table:
    """One row per step of the items' solutions, method by method: the method's name, then the columns of `SCHEMA`."""
    # 1. Steps that are labelled alike are rolled out together. Those of one problem stand beside each other, so that
    # the engine reads each of its solutions once.
    estimates = {method: Method.parse(method).estimate or settings.estimate for method in methods}
    asked: dict[tuple[int, str], Labelling] = {}  # by the item's place and the estimate
    prompts = encode_prompts(engine.tokenizer, [item.problem.prompt for item in items])
    for place, (item, prompt) in enumerate(zip(items, prompts, strict=True)):
        for estimate in dict.fromkeys(estimates.values()):
            alike = [method for method in methods if estimates[method] == estimate]
            asked[place, estimate] = Labelling(
                item.problem,
                prompt,
                ids=[solution.ids for solution in item.solutions],
                ends=[solution.all_ends(alike) for solution in item.solutions],
                correct=[solution.correct for solution in item.solutions],
                rollouts=_rollouts(settings, estimate),
                estimate=estimate,
            )

    # 2. The rollouts.
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=limit)
    steps = dict(zip(asked, roll_out(list(asked.values()), engine, sampling, seed), strict=True))

    # 3. The rows of each method, from the steps that are its own.
    tables = []
    for method, estimate in estimates.items():
        rows = [
            row
            for place, item in enumerate(items)
            for row in _rows_of(item, method, asked[place, estimate].ends, steps[place, estimate])
        ]
        columns = dict(zip(SCHEMA.names[:-1], zip(*rows, strict=True), strict=True))
        columns["label"] = tuple(label(columns["right"], columns["rollouts"], estimate, settings.eta))
        table = pa.table({name: list(columns[name]) for name in SCHEMA.names}, schema=SCHEMA)
        tables.append(table.add_column(0, "method", pa.array([method] * len(table))))
    return pa.concat_tables(tables)


def _rollouts(settings: Rollout, estimate: str) -> int:
    """J: ER-PRM has its own, unless the run itself labels as ER-PRM does."""
    er_prm = estimate == "entropy" and settings.estimate != "entropy"
    return settings.entropy_rollouts if er_prm else settings.rollouts


def _rows_of(item: _Item, method: str, all_ends: Sequence[np.ndarray], steps: Steps) -> Iterator[tuple]:
    """The item's rows by one method, without their labels. Of equal prefixes the first row bears the tokens.

    all_ends: of each solution, the ends of `steps`, among them the method's own.
    """
    counted: set[Step] = set()
    for place, solution in enumerate(item.solutions):
        ends, char_ends = solution.ends[method].tolist(), solution.char_ends[method].tolist()
        for number, (end, char_end) in enumerate(zip(ends, char_ends, strict=True)):
            if number == len(ends) - 1:  # nothing is left to continue: the solution is its own rollout
                right, done, tokens = int(solution.correct), 1, 0
            else:
                step = steps[place, int(np.searchsorted(all_ends[place], end))]
                right, done = step.right, step.done
                tokens = 0 if step in counted else step.tokens
                counted.add(step)
            yield item.problem.id, solution.number, number, end, char_end, right, done, tokens
