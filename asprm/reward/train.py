"""Train: from labelled solutions to a process reward model, a Hugging Face folder (paper §2, equation of R_θ)."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import PreTrainedModel

from asprm.models.device import this_device
from asprm.models.load import load_tokenizer, quiet
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
    """Train a PRM from the weights in `base` and save it, with its tokenizer and `prm.json`, in `folder`.

    base: a Hugging Face folder or hub name, a policy or its base model. work: where checkpoints live while training
    (default: beside `folder`); a run that was killed goes on from the last one, on a CPU to the same bits. about: more
    facts for `prm.json`. tokenizer: whose ids the examples hold, saved with the PRM (None: that of `base`).

    Returns the history, one row per optimiser step: step, epoch, loss (per labelled step), gradient_norm,
    learning_rate, and where it was validated validation_loss, validation_auc, validation_accuracy (else NaN).

    The value head starts at zero, its bias at the log odds of the mean label, so that training starts from the loss
    of always guessing the base rate. ValueError: no examples, one that the model cannot read, labels outside [0, 1],
    `base` is no language model, patience without validation. FloatingPointError: the loss is no number.
    """
    validation = list(validation or [])
    model, missing = load_classifier(base, torch.float32, this_device())
    if [name for name in missing if not name.startswith("score.")]:
        raise ValueError(f"prm: {base} lacks weights {missing[:3]}; expected a language model to start from")
    bounds = limits(model)
    for name, some in (("example", examples), ("validation example", validation)):
        for number, example in enumerate(some):
            _check(example, *bounds, f"prm: {name} {number}")
    if not len(examples):
        raise ValueError("prm: no examples to learn from")
    if settings.patience is not None and not validation:
        raise ValueError("prm: patience needs validation examples to judge by; give some, or set patience to None")
    rate = _start_at_base_rate(model, examples)

    place = Path(work or Path(folder).with_name(f".{Path(folder).name}.work")) / _digest(
        base, examples, validation, settings, seed
    )
    trainer = PackTrainer(model, examples, validation, settings, place, seed)
    checkpoint = _last_checkpoint(place)
    if checkpoint:
        log(f"prm: going on from {checkpoint.name} of {trainer.steps}")
    with quiet():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = history_of(trainer.state.log_history)
    _save(model, tokenizer or load_tokenizer(base), folder, {**_facts(trainer, history, rate), **(about or {})})
    shutil.rmtree(place, ignore_errors=True)
    if not work:
        place.parent.rmdir()
    return history


def hold_out(labels: pa.Table, share: float, seed: int) -> tuple[pa.Table, pa.Table]:
    """The rows of `labels` in two tables, the second with the given share of the *problems*, drawn by the seed."""
    names = labels["problem"].unique().to_pylist()
    count = round(share * len(names))
    held = np.random.default_rng(seed).choice(len(names), count, replace=False) if count else []
    inside = pc.is_in(labels["problem"], pa.array([names[i] for i in held], pa.string()))
    return labels.filter(pc.invert(inside)), labels.filter(inside)


def _start_at_base_rate(model: PreTrainedModel, examples: Sequence[Example]) -> float:
    """Set the value head so that it guesses the mean label everywhere; that mean."""
    labels = np.concatenate([example.labels for example in examples])
    rate = float(np.mean(labels, dtype=np.float64))
    bounded = min(max(rate, 1 / (len(labels) + 1)), 1 - 1 / (len(labels) + 1))
    with torch.no_grad():
        model.score.weight.zero_()
        model.score.bias.fill_(math.log(bounded / (1 - bounded)))
    return rate


def _facts(trainer: PackTrainer, history: pd.DataFrame, rate: float) -> dict[str, Any]:
    best = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
    kept = int(best or trainer.state.global_step)
    row = history.loc[history["step"] == kept].iloc[0]
    return {
        "score": "sigmoid of the output at a step's last token",
        "examples": len(trainer.train_dataset),
        "labels": int(sum(len(example.labels) for example in trainer.train_dataset)),
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


def _save(model: PreTrainedModel, tokenizer: Any, folder: str | Path, facts: Mapping[str, Any]) -> None:
    folder = Path(folder)
    model.config.use_cache = True  # the trainer turned it off
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / ABOUT).write_text(json.dumps(dict(facts), indent=1) + "\n")


def _check(example: Example, positions: int, vocabulary: int, name: str) -> None:
    check(example, positions, vocabulary, name)
    labels = np.asarray(example.labels)
    if len(labels) != len(example.ends):
        raise ValueError(f"{name}: {len(labels)} labels for {len(example.ends)} step ends; expected one each")
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"{name}: labels are {labels.tolist()}, expected numbers in [0, 1]")


def _last_checkpoint(place: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's state is the last file of one."""
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
    """Names weights (by size and time), examples, settings and seed: no other training's checkpoint is taken."""
    found = hashlib.sha256(json.dumps([str(base), asdict(settings), seed, len(examples)]).encode())
    for file in sorted(Path(base).glob("*.safetensors")):
        found.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    for x in (*examples, *validation):
        for array in (x.prompt, x.ids, x.ends, np.asarray(x.labels, np.float32)):
            found.update(np.asarray(array).tobytes() + b"|")
    return found.hexdigest()[:16]
