"""PRM: a policy's own weights learn which steps can still come right (paper §2, equation of R_θ).

The backbone keeps its weights; a value head of one output per token takes the place of the language-model head, and the
sigmoid of its output at a step's last token is held against the step's label by binary cross-entropy. Labels are in
[0, 1]: hard, soft, or entropy-regularised. The result is a Hugging Face folder that `asprm.reward.score` reads. Knows token
ids, ends and labels: not how they were made. `learn_all` is the stage: every reward model of the profile that starts
from a policy's weights.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from asprm.models.align import carry
from asprm.models.device import this_device
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.sets import origins, problem_set
from asprm.reward.score import ABOUT
from asprm.reward.train import hold_out, train
from asprm.reward.trainer import Example, Settings
from asprm.run.artifacts import atomic, copy_folder, digest
from asprm.run.chunks import forget_others, map_chunks, place_of
from asprm.run.open import Run
from asprm.run.progress import log


def examples(labels: pa.Table, samples: pa.Table, prompts: Mapping[str, np.ndarray]) -> list[Example]:
    """One `Example` per labelled solution, in the order of `labels`.

    labels: one row per step, columns problem, solution, end, label. samples: problem, solution, ids. prompts: token ids
    (L,) by problem. ValueError: a labelled solution that is not among the samples.
    """
    ids = {(p, s): i for i, (p, s) in enumerate(_keys(samples))}
    column = samples["ids"]
    out = []
    steps_of: dict[tuple, list[int]] = {}
    for step, key in enumerate(_keys(labels)):
        steps_of.setdefault(key, []).append(step)
    ends, values = labels["end"].to_numpy().astype(np.int32), labels["label"].to_numpy().astype(np.float32)
    for (problem, solution), steps in steps_of.items():
        if (problem, solution) not in ids:
            raise ValueError(
                f"prm: solution {solution} of problem {problem!r} has labels, but is not among the samples"
            )
        row = column[ids[problem, solution]]
        steps = np.array(steps)[ends[steps].argsort()]
        out.append(Example(prompts[problem], np.asarray(row.values, np.int32), ends[steps], values[steps]))
    return out


def tokenizer_of(run: Run, name: str) -> Any:
    """The tokenizer whose ids the reward model `name` reads: that of the policy it starts from."""
    return load_tokenizer(run.policy_path(run.profile.reward_models[name].base))


def data_of(run: Run, name: str) -> list[tuple[pa.Table, pa.Table, dict[str, np.ndarray]]]:
    """What the reward model `name` learns from: per table of its `data`, labels and samples in the tokens of its base,
    and the prompts by problem. With `equal`, each has as many solutions as the smallest, drawn by the training's seed.
    """
    model, tokenizer = run.profile.reward_models[name], tokenizer_of(run, name)
    found = []
    for table in model.data:
        policy, _, method = table.partition("/")
        labels = run.read(f"rollout/{policy}/{method}")
        samples = run.read(f"sample/{policy}/train", ["problem", "solution", "ids", "text", "finished"])
        if policy != model.base:
            labels, samples = carried(labels, samples, tokenizer)
        problems = problem_set(run.profile, "train", run.profile.policies[policy].domain)
        found.append((labels, samples, prompts_of(tokenizer, {problem.id: problem.prompt for problem in problems})))
    if model.equal:
        solutions = [labels.group_by(["problem", "solution"]).aggregate([]) for labels, *_ in found]
        fewest = min(map(len, solutions))
        for i, some in enumerate(solutions):
            rng = np.random.default_rng([run.profile.prm.seed, i])
            chosen = some.take(np.sort(rng.choice(len(some), fewest, replace=False)))
            labels = found[i][0].join(chosen, ["problem", "solution"], join_type="inner")
            found[i] = (labels.sort_by([(key, "ascending") for key in ("problem", "solution", "step")]), *found[i][1:])
    return found


def carried(labels: pa.Table, samples: pa.Table, tokenizer: Any) -> tuple[pa.Table, pa.Table]:
    """Labels and samples of another policy in the tokens of `tokenizer`. Of ends that fall together the last one stays.

    labels: columns problem, solution, step, char_end, label, …. samples: problem, solution, ids, text, finished.
    """
    frame = labels.to_pandas()
    ends = frame.groupby(["problem", "solution"], sort=False)["char_end"].apply(np.array)
    rows, places = [], []
    for row in samples.to_pylist():
        key = row["problem"], row["solution"]
        if key in ends.index:
            ids, token_ends = carry(row["text"], ends.loc[key], tokenizer, finished=row["finished"])
            rows.append(row | {"ids": ids})
            places.append(
                pd.DataFrame({"end": token_ends, "step": np.arange(len(token_ends))}).assign(
                    problem=key[0], solution=key[1]
                )
            )
    moved = frame.drop(columns="end").merge(pd.concat(places), on=["problem", "solution", "step"])
    moved = moved.drop_duplicates(["problem", "solution", "end"], keep="last")
    return pa.Table.from_pandas(moved, preserve_index=False), pa.Table.from_pylist(rows, samples.schema)


def learn(run: Run, name: str, seed: int, folder: Path, work: Path) -> pd.DataFrame:
    """Train the reward model `name` with one seed, save it in `folder`; its history. A tenth of the *problems* is held
    out to watch: of solutions of one problem, one tells what the others are.
    """
    policy = run.profile.reward_models[name].base
    base, tokenizer = run.reward_base(policy), tokenizer_of(run, name)
    check_tokens(load_tokenizer(base), tokenizer, base)
    train_examples, validation = watched(run, name)
    about = {"reward_model": name, "data": list(run.profile.reward_models[name].data), "solutions": len(train_examples)}
    options = {"validation": validation, "seed": seed, "work": work, "about": about, "tokenizer": tokenizer}
    return train(base, train_examples, settings_of(run.profile.training(name)), folder, **options)


def check_tokens(base: Any, policy: Any, name: str) -> None:
    """ValueError: a token of the policy's means another one to the base (of further ones the base has no weights)."""
    known = base.get_vocab()
    other = {token: i for token, i in policy.get_vocab().items() if known.get(token, i) != i}
    if other:
        raise ValueError(
            f"prm: {name} numbers {len(other)} tokens otherwise than the policy whose solutions it is to read "
            f"({', '.join(list(other)[:3])}); expected the base that the policy was tuned from"
        )


def watched(run: Run, name: str) -> tuple[list[Example], list[Example]]:
    """The examples of the reward model `name`: to learn from, and of the problems that are held out."""
    learned, held = [], []
    longest = run.profile.training(name).max_tokens or math.inf
    for labels, samples, prompts in data_of(run, name):
        for part, some in zip(hold_out(labels, share=0.1, seed=run.profile.prm.seed), (learned, held), strict=True):
            found = examples(part, samples, prompts)
            short = [one for one in found if len(one.prompt) + len(one.ids) <= longest]
            some += short
            if len(short) < len(found):
                log(f"prm: {name} leaves out {len(found) - len(short)} solutions of more than {longest} tokens")
    return learned, held


def learn_all(run: Run) -> list[str]:
    """Train every reward model of the run's policy (`Profile.trained_on`), with every seed; the artifacts' names.

    Writes `prm/<name>/` and `prm/<name>-log`; an experiment trains `run.prm` alone. Several are trained side by side,
    each in one process with one thread where there is no accelerator: the result does not depend on how many cores
    there are.
    """
    names = [run.prm] if run.experiment else run.profile.trained_on(run.policy)
    tasks = [(artifact, name, seed) for name in names for artifact, seed in run.profile.seeds_of(name).items()]
    with run.noting() as inputs:
        for table in sorted({table for _, name, _ in tasks for table in _tables(run, name)}):
            run.find(f"rollout/{table}.parquet")
            run.find(f"sample/{table.partition('/')[0]}/train.parquet")
        for base in sorted({run.profile.reward_models[name].base for name in names}):
            run.policy_path(base)
            run.reward_base(base)
        run.inputs.update(origins(run.profile))
    settings = run.profile.reads("prm")
    place = place_of(run.work(f"prm/{run.policy}"), {"settings": settings, "tasks": tasks, "inputs": inputs}, _learn)
    if not all(_is_whole(place, artifact) for artifact, *_ in tasks):
        shutil.rmtree(place)
    histories = map_chunks(
        partial(_learn, run=run, place=place),
        tasks,
        size=1,
        folder=place / "histories",
        key={},  # the place is of all that they depend on
        workers=min(run.workers, len(tasks)),
        label=f"reward models of {run.policy}",
        kept=run.kept,
    )
    for (artifact, *_), history in zip(tasks, histories, strict=True):
        with run.write_folder(f"prm/{artifact}", **json.loads((place / artifact / ABOUT).read_text())) as folder:
            copy_folder(place / artifact, folder)
        run.write(f"prm/{artifact}-log", history)
    forget_others(place)
    return [artifact for artifact, *_ in tasks]


def _is_whole(place: Path, artifact: str) -> bool:
    """Whether a kept model, if there is one, is as it was when it was trained."""
    model, told = place / artifact, place / f"{artifact}.digest"
    return not told.exists() or (model.exists() and told.read_text() == digest(model))


def _tables(run: Run, name: str) -> tuple[str, ...]:
    return run.profile.reward_models[name].data


def _learn(tasks: Sequence[tuple[str, str, int]], state: None, *, run: Run, place: Path) -> pa.Table:
    [(artifact, name, seed)] = tasks
    threads = torch.get_num_threads()
    if this_device() == "cpu":
        torch.set_num_threads(1)
    try:
        history = learn(run, name, seed, place / artifact, place / f"{artifact}.work")
        with atomic(place / f"{artifact}.digest") as temporary:
            temporary.write_text(digest(place / artifact))
    finally:
        torch.set_num_threads(threads)
    return pa.Table.from_pandas(history, preserve_index=False)


def settings_of(section: Any) -> Settings:
    """`Settings` from the profile's section `prm`."""
    return Settings(**section.model_dump(exclude={"seed", "max_tokens"}))


def _keys(table: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(table["problem"].to_pylist(), table["solution"].to_pylist(), strict=True)
