"""PRM: a policy's own weights learn which steps can still come right (stage 6; paper §2, equation of R_θ).

The backbone keeps its weights. A value head of one output per token takes the place of the language-model head. The
sigmoid of its output at a step's last token is trained on the step's label, in [0, 1], by binary cross-entropy. The
result is a Hugging Face folder that `asprm.reward.score` reads.

Here are the examples: from tables of labels and samples to token ids. `asprm.reward.train` trains on them.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from asprm.engines.packed import LOWER_READING
from asprm.models.align import carry
from asprm.models.device import this_device
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.sets import origins, problem_set
from asprm.reward.score import ABOUT
from asprm.reward.train import hold_out, train
from asprm.reward.trainer import Example, Settings
from asprm.run import names
from asprm.run.artifacts import atomic, copy_folder, digest
from asprm.run.chunks import forget_others, map_chunks, place_of
from asprm.run.names import Training
from asprm.run.open import Run
from asprm.run.progress import log
from asprm.run.sections import Prm

_LOWER = f"{LOWER_READING}, or `prm` in the profile (gradient_checkpointing: true, rank: 16, fewer layers)"
_VALIDATION = 0.1  # share of the problems


# --- the stage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One training of a reward model. training: its name, such as "ASPRM-M@1"."""

    training: str
    reward_model: str
    seed: int


def tasks_of(run: Run) -> list[Task]:
    """All trainings of this run; of an experiment, those of the reward model of `run.prm`."""
    models = [Training.parse(run.prm).reward_model] if run.experiment else run.profile.trained_on(run.policy)
    return [Task(training, name, seed) for name in models for training, seed in run.profile.seeds_of(name).items()]


def run_prm(run: Run) -> list[str]:
    """Train every reward model that learns from the run's policy and from no later one (`Profile.trained_on`).

    Writes, for each of its seeds, the model's folder `prm/<training>` and the table `prm/<training>-log`, the history
    that `asprm.reward.train.train` returns. Returns their names. An experiment trains one reward model only.

    Without an accelerator several are trained side by side, each in a process with one thread, so that the result does
    not depend on the number of cores.
    """
    # 1. What is trained, and from what.
    tasks = tasks_of(run)
    inputs = _inputs(run, [task.reward_model for task in tasks])
    key = {"settings": run.profile.reads("prm"), "tasks": list(map(astuple, tasks)), "inputs": inputs}
    place = place_of(run.work(f"prm/{run.policy}"), key, _train_chunk)

    # 2. Train. Models stay in `place`, so that they are taken over when the stage is executed again.
    if not all(_is_whole(place, task.training) for task in tasks):
        shutil.rmtree(place)
    histories = map_chunks(
        partial(_train_chunk, run=run, place=place),
        tasks,
        size=1,
        folder=place / "histories",
        key={},  # `place` depends on everything already
        workers=min(run.workers, len(tasks)),
        label=f"reward models of {run.policy}",
        lower=_LOWER,
        kept=run.kept,
    )

    # 3. Write.
    written = []
    for task, history in zip(tasks, histories, strict=True):
        folder, table = names.reward_model(task.training), names.training_log(task.training)
        kept = place / task.training
        with run.write_folder(folder, **json.loads((kept / ABOUT).read_text())) as temporary:
            copy_folder(kept, temporary)
        run.write(table, history)
        written += [folder, table]
    forget_others(place)
    return written


def _inputs(run: Run, models: Sequence[str]) -> dict[str, str]:
    """All that the reward models depend on, noted as the run's inputs: digests by name."""
    with run.noting() as inputs:
        tables = {str(table): table for name in models for table in run.profile.reward_models[name].tables}
        for _, table in sorted(tables.items()):
            run.find(f"{names.labels(table.policy, table.method)}.parquet")
            run.find(f"{names.samples(table.policy, 'train')}.parquet")
        for base in sorted({run.profile.base_of(name) for name in models}):
            run.policy_path(base)
            run.running(run.reward_base(base))
        run.inputs.update(origins(run.profile))
    return inputs


def _train_chunk(tasks: Sequence[Task], state: None, *, run: Run, place: Path) -> pa.Table:
    """The history of the only task's training; the model is saved in `place`, with its digest beside it."""
    [task] = tasks
    threads = torch.get_num_threads()
    if this_device() == "cpu":
        torch.set_num_threads(1)
    try:
        history = learn(run, task.reward_model, task.seed, place / task.training, place / f"{task.training}.work")
        with atomic(place / f"{task.training}.digest") as temporary:
            temporary.write_text(digest(place / task.training))
    finally:
        torch.set_num_threads(threads)
    return pa.Table.from_pandas(history, preserve_index=False)


def _is_whole(place: Path, training: str) -> bool:
    """Whether the kept model is as it was when it was trained, if there is one."""
    model, kept = place / training, place / f"{training}.digest"
    return not kept.exists() or (model.exists() and kept.read_text() == digest(model))


# --- one reward model -------------------------------------------------------------------------------------------------


def learn(run: Run, name: str, seed: int, folder: Path, work: Path) -> pd.DataFrame:
    """Train the reward model `name` with one seed, and save it. Returns the history of `asprm.reward.train.train`.

    seed: of this training. folder: where the model is saved. work: for checkpoints.
    """
    base, tokenizer = run.reward_base(run.profile.base_of(name)), tokenizer_of(run, name)
    check_tokens(load_tokenizer(base), tokenizer, base)
    examples, validation = train_and_validation(run, name)
    return train(
        base,
        examples,
        settings_of(run.profile.training(name)),
        folder,
        validation=validation,
        seed=seed,
        work=work,
        about={"reward_model": name, "data": list(run.profile.reward_models[name].data), "solutions": len(examples)},
        tokenizer=tokenizer,
    )


def settings_of(section: Prm) -> Settings:
    """`Settings` from the profile's section `prm`."""
    return Settings(**section.model_dump(exclude={"seed", "max_tokens"}))


def tokenizer_of(run: Run, name: str) -> Any:
    """The tokenizer whose ids a reward model reads: that of the policy it starts from.

    name: the reward model's, or a training's.
    """
    return load_tokenizer(run.policy_path(run.profile.base_of(Training.parse(name).reward_model)))


def check_tokens(base: Any, policy: Any, name: str) -> None:
    """ValueError: the tokenizers of the base and of the policy give different ids to a token.

    base, policy: the tokenizers. The base may lack tokens of the policy; it then has no weights for them.
    name: the base's.
    """
    known = base.get_vocab()
    different = [token for token, i in policy.get_vocab().items() if known.get(token, i) != i]
    if different:
        raise ValueError(
            f"prm: {name} and the policy give different ids to {len(different)} tokens "
            f"({', '.join(different[:3])}); expected the base that the policy was tuned from"
        )


# --- its examples -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """A table of labels in the tokens of a reward model, and what its ends refer to.

    labels: columns problem, solution, step, end, label, ….
    samples: columns problem, solution, ids, ….
    prompts: token ids (L,) by problem.
    """

    labels: pa.Table
    samples: pa.Table
    prompts: Mapping[str, np.ndarray]


def train_and_validation(run: Run, name: str) -> tuple[list[Example], list[Example]]:
    """The examples that a reward model learns from, and those on which it is validated.

    name: the reward model's, or a training's.

    A tenth of the *problems* is held out for validation: solutions of one problem resemble each other, so a tenth of
    the solutions would not do. Solutions of more than `prm.max_tokens` tokens are left out, and of what is learned from
    as many as exceed the reward model's `most_steps`.
    """
    name = Training.parse(name).reward_model
    longest = run.profile.training(name).max_tokens or math.inf
    parts: tuple[list[Example], list[Example]] = ([], [])
    for source in data_of(run, name):
        for labels, part in zip(hold_out(source.labels, _VALIDATION, run.profile.prm.seed), parts, strict=True):
            every = examples(labels, source.samples, source.prompts)
            short = [example for example in every if len(example.prompt) + len(example.ids) <= longest]
            part += short
            if len(short) < len(every):
                log(f"prm: {name} leaves out {len(every) - len(short)} solutions of more than {longest} tokens")
    train, validation = parts
    return _within(train, run.profile.reward_models[name].most_steps, run.profile.prm.seed), validation


def _within(solutions: list[Example], most: int | None, seed: int) -> list[Example]:
    """Solutions drawn by the seed, in their old order, as long as they have no more than `most` steps together.

    ValueError: they have fewer, so that reward models with the same `most_steps` would learn from unequal amounts.
    """
    if most is None:
        return solutions
    if (steps := sum(len(example.labels) for example in solutions)) < most:
        raise ValueError(f"prm: most_steps = {most:,}, but there are {steps:,} labelled steps; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(solutions))
    total = np.cumsum([len(solutions[i].labels) for i in order])
    return [solutions[i] for i in sorted(order[total <= most])]


def data_of(run: Run, name: str) -> list[LabelledSamples]:
    """What the reward model `name` learns from, one for each table of its `data`, in the tokens of its base."""
    model, base, tokenizer = run.profile.reward_models[name], run.profile.base_of(name), tokenizer_of(run, name)
    sources = []
    for table in model.tables:
        labels = run.read(names.labels(table.policy, table.method))
        columns = ["problem", "solution", "ids", "text", "finished"]
        samples = run.read(names.samples(table.policy, "train"), columns)
        if table.policy != base:
            labels, samples = carried(labels, samples, tokenizer)
        problems = problem_set(run.profile, "train", run.profile.policies[table.policy].domain)
        prompts = prompts_of(tokenizer, {problem.id: problem.prompt for problem in problems})
        sources.append(LabelledSamples(labels, samples, prompts))
    return _equal_amounts(sources, run.profile.prm.seed) if model.equal else sources


def _equal_amounts(sources: Sequence[LabelledSamples], seed: int) -> list[LabelledSamples]:
    """As many solutions of each source as the smallest has, drawn by the seed."""
    solutions = [source.labels.group_by(["problem", "solution"]).aggregate([]) for source in sources]
    fewest = min(map(len, solutions))
    equal = []
    for i, (source, own) in enumerate(zip(sources, solutions, strict=True)):
        rng = np.random.default_rng([seed, i])
        drawn = own.take(np.sort(rng.choice(len(own), fewest, replace=False)))
        labels = source.labels.join(drawn, ["problem", "solution"], join_type="inner")
        order = [(column, "ascending") for column in ("problem", "solution", "step")]  # a join keeps no order
        equal.append(replace(source, labels=labels.sort_by(order)))
    return equal


def carried(labels: pa.Table, samples: pa.Table, tokenizer: Any) -> tuple[pa.Table, pa.Table]:
    """Labels and samples of another policy in the tokens of `tokenizer`. Of labels at one token the last one stays.

    labels: columns problem, solution, step, char_end, label, …. samples: problem, solution, ids, text, finished.
    """
    frame = labels.to_pandas()
    char_ends = frame.groupby(["problem", "solution"], sort=False)["char_end"].apply(np.array)
    rows, ends = [], []
    for row in samples.to_pylist():
        key = row["problem"], row["solution"]
        if key in char_ends.index:
            ids, token_ends = carry(row["text"], char_ends.loc[key], tokenizer, finished=row["finished"])
            rows.append(row | {"ids": ids})
            ends += [(*key, step, end) for step, end in enumerate(token_ends.tolist())]
    steps = ["problem", "solution", "step"]
    moved = frame.drop(columns="end").merge(pd.DataFrame(ends, columns=[*steps, "end"]), on=steps)
    moved = moved.drop_duplicates(["problem", "solution", "end"], keep="last")
    return pa.Table.from_pandas(moved, preserve_index=False), pa.Table.from_pylist(rows, samples.schema)


def examples(labels: pa.Table, samples: pa.Table, prompts: Mapping[str, np.ndarray]) -> list[Example]:
    """One `Example` per labelled solution, in the order of `labels`; the arguments are those of `LabelledSamples`.

    ValueError: a labelled solution that is not among the samples.
    """
    row_of = {key: row for row, key in enumerate(_keys(samples))}
    steps_of: dict[tuple[str, int], list[int]] = {}  # by solution, its rows of labels
    for step, key in enumerate(_keys(labels)):
        steps_of.setdefault(key, []).append(step)
    column = samples["ids"]
    ends, values = labels["end"].to_numpy().astype(np.int32), labels["label"].to_numpy().astype(np.float32)
    made = []
    for (problem, solution), rows in steps_of.items():
        if (problem, solution) not in row_of:
            raise ValueError(
                f"prm: solution {solution} of problem {problem!r} has labels, but is not among the samples"
            )
        ids = np.asarray(column[row_of[problem, solution]].values, np.int32)
        steps = np.array(rows)[ends[rows].argsort()]
        made.append(Example(prompts[problem], ids, ends[steps], values[steps]))
    return made


def _keys(table: pa.Table) -> Iterator[tuple[str, int]]:
    """The problem and the solution's number of each row."""
    return zip(table["problem"].to_pylist(), table["solution"].to_pylist(), strict=True)
