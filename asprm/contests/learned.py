"""Learned: reward models from the labels of each contest, and their scores of the same candidates.

A model is trained, rates the candidates of the validation and the test set where steps of its own kind end, and is
thrown away: what is kept are its scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from asprm.contests.bench import Bench, Written, candidates_table, ends_table
from asprm.contests.places import CONFIDENCE
from asprm.models.load import load_tokenizer
from asprm.prm import settings_of
from asprm.results import selection
from asprm.results.candidates import candidates
from asprm.reward.rating import SCHEMA, score_table
from asprm.reward.score import load_prm
from asprm.reward.train import train
from asprm.reward.trainer import Example, Settings
from asprm.run.chunks import map_chunks
from asprm.run.open import Run

_VALIDATION = 0.1  # share of the problems


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one reward model learns from.

    name: what the table calls it. kind: of the steps that it learns from and rates.
    labels: by solution its labels (K,) in [0, 1], the last step's included.
    """

    name: str
    kind: str
    labels: Mapping[Written, NDArray[np.float64]]


@dataclass(frozen=True)
class Task:
    """One training. number: of the training, its seed."""

    name: str
    kind: str
    number: int


def learn_all(run: Run, bench: Bench, lessons: Sequence[Lesson]) -> dict[str, list[dict[str, pd.DataFrame]]]:
    """By the name of a lesson, for each of its trainings, by set: scored candidates (`asprm.reward.rating.SCHEMA`)."""
    settings = run.profile.rivals
    by_name = {lesson.name: lesson for lesson in lessons}
    tasks = [Task(one.name, one.kind, number) for one in lessons for number in range(settings.seeds)]
    sets = ("validation", bench.test)
    with run.noting() as inputs:
        base = run.running(run.reward_base(run.policy))
    base_prm = run.profile.prm_of(run.policy)
    tables = map_chunks(
        partial(
            _learn_chunk,
            examples={name: _examples(bench, one) for name, one in by_name.items()},
            rated={
                (name, kind): (candidates_table(bench, name), ends_table(bench, name, kind))
                for name in sets
                for kind in dict.fromkeys(one.kind for one in lessons)
            },
            prompts=bench.prompts,
            base=base,
            policy=run.policy_path(),
            settings=settings_of(run.profile.training(base_prm)),
            seed=run.profile.prm.seed,
        ),
        tasks,
        size=1,
        folder=run.work(f"rivals/{run.policy}/models"),
        key={
            "inputs": inputs | _digests(run),
            "settings": run.profile.reads("rivals"),
            "tasks": list(map(astuple, tasks)),
        },
        workers=min(run.workers, len(tasks)),
        label=f"rivals: reward models of {run.policy}",
        kept=run.kept,
    )
    scored: dict[str, list[dict[str, pd.DataFrame]]] = {name: [] for name in by_name}
    for task, table in zip(tasks, tables, strict=True):
        parts = {name: table.filter(pc.field("set") == name).drop_columns("set").to_pandas() for name in sets}
        scored[task.name].append(parts)
    return scored


def _digests(run: Run) -> dict[str, str]:
    """All that the stage has read so far: labels and candidates depend on it."""
    return {name: value for name, value in run.inputs.items() if not name.startswith("best_of_n/")}


def _examples(bench: Bench, lesson: Lesson) -> tuple[list[Example], list[Example]]:
    """What is learned from, and what it is validated on: a tenth of the problems."""
    problems = list(dict.fromkeys(one.problem for one in lesson.labels))
    order = np.random.default_rng(bench.seed).permutation(len(problems))
    held = {problems[i] for i in order[: round(_VALIDATION * len(problems))]}
    parts: tuple[list[Example], list[Example]] = ([], [])
    for one, labels in lesson.labels.items():
        ends = bench.ends(lesson.kind, one)
        example = Example(bench.prompts[one.problem], one.ids, ends, np.asarray(labels, np.float32))
        parts[one.problem in held].append(example)
    return parts


def _learn_chunk(
    tasks: Sequence[Task],
    state: None,
    *,
    examples: Mapping[str, tuple[list[Example], list[Example]]],
    rated: Mapping[tuple[str, str], tuple[pa.Table, pa.Table]],
    prompts: Mapping[str, Any],
    base: str,
    policy: str,
    settings: Settings,
    seed: int,
) -> pa.Table:
    """The scores of the only task's reward model: the set, then the columns of `asprm.reward.rating.SCHEMA`."""
    [task] = tasks
    learned, validation = examples[task.name]
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "prm"
        tokenizer = load_tokenizer(policy)
        train(base, learned, settings, place, validation=validation, seed=seed + task.number, tokenizer=tokenizer)
        prm = load_prm(place)
        for (name, kind), (samples, splits) in rated.items():
            if kind == task.kind:
                table = score_table(prm, samples, splits, prompts)
                parts.append(table.add_column(0, "set", pa.array([name] * len(table))))
    return pa.concat_tables(parts).select(["set", *SCHEMA.names])


# --- what came of it --------------------------------------------------------------------------------------------------


def best_of_n(trainings: Sequence[Mapping[str, pd.DataFrame]], name: str, how: str) -> NDArray[np.float64]:
    """(R, P) how often the best of all N candidates of a set is right, a row for each training. how: an aggregate."""
    rows = []
    for frames in trainings:
        rated = candidates(frames[name])
        rows.append(selection.best_of_n(rated.scores(how), rated.correct, rated.correct.shape[1]))
    return np.stack(rows)


def with_errors(bench: Bench, frame: pd.DataFrame, name: str, kind: str = CONFIDENCE) -> pd.DataFrame:
    """Scored candidates as `asprm.results.first_errors` takes them: problem, scores (K,) and error, row by row."""
    errors = [one.error_step(bench.ends(kind, one)) for one in bench.solutions[name]]
    return frame.assign(error=errors)
