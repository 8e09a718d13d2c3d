"""Train: from labelled solutions to a process reward model, a Hugging Face folder (paper §2, equation of R_θ)."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn
from transformers import PreTrainedModel

from asprm.models.device import this_device
from asprm.models.load import load_tokenizer, quiet
from asprm.reward.adapters import adapted, freeze, write_base
from asprm.reward.score import ABOUT, check, limits, load_classifier
from asprm.reward.trainer import Example, PackTrainer, Settings, history_of
from asprm.run.progress import log


def train(
    base: str | Path,
    examples: Sequence[Example],
    settings: Settings,
    folder: str | Path,
    *,
    validation: Sequence[Example] | None = None,
    seed: int,
    work: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
) -> pd.DataFrame:
    """Train a PRM from the weights in `base`, and save it in `folder` with its tokenizer and `prm.json`.

    base: a Hugging Face folder or hub name: a policy or its base model.
    examples: labelled solutions to learn from.
    settings: how.
    folder: where the PRM is saved.
    validation: labelled solutions on which it is validated.
    seed: of the order of the examples.
    work: folder for checkpoints (None: beside `folder`). A training that was killed goes on from its last checkpoint,
        on a CPU to the same bits.
    about: more facts for `prm.json`.
    tokenizer: gives the ids of the examples, and is saved with the PRM (None: that of `base`).

    Returns the history, one row per optimiser step: step, epoch, loss (per labelled step), gradient_norm,
    learning_rate; and validation_loss, validation_auc, validation_accuracy, which are NaN where it was not validated.

    The value head's weights start at zero, its bias at the log odds of the mean label, so that training starts from the
    loss of always guessing the base rate.

    ValueError: no examples, one that the model cannot read, labels outside [0, 1], `base` is not a language model,
    patience without validation. FloatingPointError: the loss is not finite.
    """
    validation = list(validation or [])
    model, missing = load_classifier(base, torch.float32, this_device())
    if [name for name in missing if not name.startswith("score.")]:
        raise ValueError(f"prm: {base} lacks weights {missing[:3]}; expected a language model to start from")
    _check_all(model, examples, validation, settings)
    rate = _start_at_base_rate(model, examples)
    learning = _learning(model, settings, seed)

    # Each training has a folder of its own, so that none goes on from another's checkpoint.
    parent = Path(work) if work else Path(folder).with_name(f".{Path(folder).name}.work")
    place = parent / _digest(base, examples, validation, settings, seed)
    trainer = PackTrainer(model, examples, validation, settings, place, seed, learning)
    checkpoint = _last_checkpoint(place)
    if checkpoint:
        log(f"prm: going on from {checkpoint.name} of {trainer.steps}")
    with quiet():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = history_of(trainer.state.log_history)
    _save(learning, tokenizer or load_tokenizer(base), folder, {**_facts(trainer, history, rate), **(about or {})})
    if settings.rank:
        write_base(Path(folder), base)
    shutil.rmtree(place, ignore_errors=True)
    if not work:
        parent.rmdir()
    return history


def _learning(model: PreTrainedModel, settings: Settings, seed: int) -> Any:
    """What is trained and saved: the model, with the weights frozen that do not learn, or adapters that act in it."""
    if settings.rank:
        return adapted(model, settings.rank, settings.layers, seed)
    if settings.layers:
        freeze(model, settings.layers)
    return model


def hold_out(labels: pa.Table, share: float, seed: int) -> tuple[pa.Table, pa.Table]:
    """The rows of `labels` in two tables, the second with the given share of the *problems*, drawn by the seed."""
    names = labels["problem"].unique().to_pylist()
    count = round(share * len(names))
    held = np.random.default_rng(seed).choice(len(names), count, replace=False) if count else []
    is_held = pc.is_in(  # pyright: ignore[reportAttributeAccessIssue]
        labels["problem"], pa.array([names[i] for i in held], pa.string())
    )
    return labels.filter(pc.invert(is_held)), labels.filter(is_held)  # pyright: ignore[reportAttributeAccessIssue]


def _check_all(
    model: PreTrainedModel, examples: Sequence[Example], validation: Sequence[Example], settings: Settings
) -> None:
    """ValueError: the model cannot be trained on these examples in this way."""
    positions, vocabulary = limits(model)
    for kind, several in (("example", examples), ("validation example", validation)):
        for number, example in enumerate(several):
            _check(example, positions, vocabulary, f"prm: {kind} {number}")
    if not len(examples):
        raise ValueError("prm: no examples to learn from")
    if settings.patience is not None and not validation:
        raise ValueError("prm: patience needs validation examples to judge by; give some, or set patience to None")


def _start_at_base_rate(model: PreTrainedModel, examples: Sequence[Example]) -> float:
    """Set the value head so that it gives the mean label everywhere. Returns the mean."""
    labels = np.concatenate([example.labels for example in examples])
    rate = float(np.mean(labels, dtype=np.float64))
    bounded = min(max(rate, 1 / (len(labels) + 1)), 1 - 1 / (len(labels) + 1))
    head = cast(nn.Linear, model.score)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(math.log(bounded / (1 - bounded)))
    return rate


def _facts(trainer: PackTrainer, history: pd.DataFrame, rate: float) -> dict[str, Any]:
    """What `prm.json` says. rate: the mean label."""
    best = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
    kept = int(best or trainer.state.global_step)
    row = history.loc[history["step"] == kept].iloc[0]
    return {
        "score": "sigmoid of the output at a step's last token",
        "examples": len(trainer.examples),
        "labels": int(sum(len(example.labels) for example in trainer.examples)),
        "base_rate": rate,
        "tokens": int(trainer.batches.lengths.sum()) * trainer.settings.epochs,
        "steps": trainer.state.global_step,
        "kept_step": kept,
        "validation": {
            name: float(row[f"validation_{name}"])
            for name in ("loss", "auc", "accuracy")
            if not math.isnan(row[f"validation_{name}"])
        },
        "settings": asdict(trainer.settings),
        "seed": trainer.args.seed,
    }


def _save(model: Any, tokenizer: Any, folder: str | Path, facts: Mapping[str, Any]) -> None:
    folder = Path(folder)
    model.config.use_cache = True  # the trainer turned it off
    with quiet():
        model.save_pretrained(folder)
        model.config.save_pretrained(folder)  # adapters would come without
        tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form of a model card, not filled in
    (folder / ABOUT).write_text(json.dumps(dict(facts), indent=1) + "\n")


def _check(example: Example, positions: int, vocabulary: int, name: str) -> None:
    """ValueError, naming the example: the model cannot read it, or its labels are wrong."""
    check(example, positions, vocabulary, name)
    labels = np.asarray(example.labels)
    if len(labels) != len(example.ends):
        raise ValueError(f"{name}: {len(labels)} labels for {len(example.ends)} step ends; expected one each")
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"{name}: labels are {labels.tolist()}, expected numbers in [0, 1]")


def _last_checkpoint(place: Path) -> Path | None:
    """The newest complete checkpoint: the trainer's state is the last file that is written."""
    whole = [path.parent for path in place.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _digest(
    base: str | Path, examples: Sequence[Example], validation: Sequence[Example], settings: Settings, seed: int
) -> str:
    """A name for this training: a digest of the weights' sizes and times, the examples, the settings and the seed."""
    state = hashlib.sha256(json.dumps([str(base), asdict(settings), seed, len(examples)]).encode())
    for file in sorted(Path(base).glob("*.safetensors")):
        state.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    for example in (*examples, *validation):
        for array in (example.prompt, example.ids, example.ends, np.asarray(example.labels, np.float32)):
            state.update(np.asarray(array).tobytes() + b"|")
    return state.hexdigest()[:16]
