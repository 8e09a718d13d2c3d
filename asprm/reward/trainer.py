"""Trainer: training on packs. It decides which examples form an optimiser step, what their loss is, and what is logged.

transformers' Trainer does the rest: optimiser, schedule, checkpoints, resuming. Knows examples, a model and a folder
for checkpoints, but not where the model comes from or where it is saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from asprm.engines.packed import in_order, pack, reading_size
from asprm.models.device import bf16_pays, large, this_device
from asprm.models.load import quiet
from asprm.reward.score import Item, logits, outputs_at
from asprm.run.progress import EVERY, log


@dataclass(frozen=True, eq=False)
class Example(Item):
    """A solution, its step ends, and their labels (K,) in [0, 1]."""

    labels: np.ndarray


@dataclass(frozen=True)
class Settings:
    """How a PRM is trained. A profile gives the first five; the others have a value that is good nearly everywhere."""

    epochs: int
    learning_rate: float  # peak (AdamW); it falls to zero along a cosine
    batch_tokens: int  # tokens per optimiser step, prompts included
    warmup: float  # share of the steps over which the learning rate rises
    weight_decay: float
    micro_tokens: int | None = None  # tokens read in one forward; does not change the result; None: by the device
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of matrix products; auto: bf16 where that is much faster
    gradient_checkpointing: bool = False  # a third more work for far less memory: for models of billions of weights
    evaluations: int = 4  # number of evenly spread steps at which it validates and writes a checkpoint
    patience: int | None = None  # stop after so many validations without a better loss; None: never
    keep: Literal["best", "last"] = "best"  # save the weights with the least validation loss, or the last ones
    rank: int | None = None  # of low-rank adapters (`asprm.reward.adapters`); None: the weights themselves learn
    layers: int | None = None  # how many of the last layers learn; None: all


class Batches:
    """The order in which examples are learned from: a sampler of micro-batches for torch's DataLoader.

    Each epoch has `steps` optimiser steps of about `batch_tokens` tokens, and each step has `parts` micro-batches. Both
    numbers are the same in every epoch. Which examples form a step does not depend on the parts.

    The examples of one problem come together, so that their common beginning is read once: less than half the tokens.
    """

    def __init__(self, examples: Sequence[Item], settings: Settings, seed: int) -> None:
        problems: dict[bytes, list[int]] = {}
        for number, example in enumerate(examples):
            problems.setdefault(np.asarray(example.prompt, np.int32).tobytes(), []).append(number)
        self.problems = [np.array(numbers) for numbers in problems.values()]
        self.lengths = np.array([len(x.prompt) + len(x.ids) for x in examples])
        self.texts = [x.tokens for x in examples]
        self.steps = min(math.ceil(self.lengths.sum() / settings.batch_tokens), len(examples))
        self.least = max(1, len(examples) // self.steps // 2)  # examples of a step, so that it has enough for its parts
        micro = settings.micro_tokens or reading_size(this_device())
        self.parts = min(math.ceil(settings.batch_tokens / micro), self.least)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch; called by transformers."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        shuffled = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.problems))
        order = np.concatenate([self.problems[i] for i in shuffled])
        for batch in _cut(order, self.lengths[order], self.steps, self.least):
            # The order within a step is free: examples that begin alike come together, and are read as one tree.
            batch = batch[in_order([self.texts[i] for i in batch])]
            for part in _cut(batch, self.lengths[batch], self.parts):
                yield part.tolist()


def _cut(order: np.ndarray, lengths: np.ndarray, parts: int, least: int = 1) -> list[np.ndarray]:
    """`order` in consecutive parts of nearly equal total length, each of at least `least` elements.

    order, lengths: (E,), the elements and their lengths.
    """
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends - lengths / 2, ends[-1] * np.arange(1, parts) / parts)
    for i in range(len(cuts)):
        cuts[i] = min(max(cuts[i], (cuts[i - 1] if i else 0) + least), len(order) - (parts - 1 - i) * least)
    return np.split(order, cuts)


def collate(examples: Sequence[Example]) -> dict[str, Any]:
    """Examples as one pack, with the places (E,) of their step ends and the labels (E,) there."""
    packed = pack([example.tokens for example in examples])
    at = [places[len(x.prompt) + np.asarray(x.ends) - 1] for places, x in zip(packed.places, examples, strict=True)]
    labels = np.concatenate([example.labels for example in examples]).astype(np.float32)
    return {"packed": packed, "at": np.concatenate(at), "labels": torch.from_numpy(labels)}


class PackTrainer(Trainer):
    """transformers' Trainer on packs.

    The labels of all micro-batches of an optimiser step are counted before any of them is run, and the loss is divided
    by that number, so that the gradient does not depend on how a step is cut.

    model: reads packs, with one output per token; it is trained in place.
    examples: to learn from.
    validation: to validate on; may be empty.
    settings: how.
    place: folder for checkpoints.
    seed: of the order of the examples.
    wrapped: what checkpoints are made of, if not the model itself: adapters that act in it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        examples: Sequence[Example],
        validation: Sequence[Example],
        settings: Settings,
        place: Path,
        seed: int,
        wrapped: Any = None,
    ) -> None:
        self.prm, self.examples, self.validation = model, list(examples), list(validation)
        self.batches = Batches(examples, settings, seed)
        self.settings, self.tokens = settings, 0
        self.steps = self.batches.steps * settings.epochs
        # In fp32 a small model learns the same on every CPU, up to rounding.
        pays = (this_device() != "cpu" or large(model.config)) and bf16_pays(this_device())
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and pays)
        callbacks: list[TrainerCallback] = [Schedule(self.steps, settings.evaluations), Log(self)]
        if settings.patience is not None:
            callbacks.append(EarlyStoppingCallback(settings.patience))
        data: dict[str, Any] = {"train_dataset": self.examples, "eval_dataset": self.validation or None}
        with quiet():
            super().__init__(wrapped or model, self._arguments(place, seed), callbacks=callbacks, **data)
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True  # makes it count the labels of a step

    def _arguments(self, place: Path, seed: int) -> TrainingArguments:
        settings, validated, cuda = self.settings, bool(self.validation), this_device() == "cuda"
        arguments = TrainingArguments(
            output_dir=str(place),
            num_train_epochs=settings.epochs,
            gradient_accumulation_steps=self.batches.parts,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=round(settings.warmup * self.steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            gradient_checkpointing=settings.gradient_checkpointing,
            seed=seed,
            use_cpu=not cuda,
            # `Schedule` decides when to validate and to save; here it is only switched on.
            eval_strategy="steps" if validated else "no",
            eval_steps=self.steps,
            save_strategy="steps",
            save_steps=self.steps,
            save_total_limit=1,
            load_best_model_at_end=validated and settings.keep == "best",
            metric_for_best_model="loss" if validated else None,
            greater_is_better=False if validated else None,
            restore_callback_states_from_checkpoint=True,
            logging_steps=1,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        )
        if cuda:
            arguments._n_gpu = 1  # one device: several would split packs, which have no batch axis
        return arguments

    def get_train_dataloader(self) -> DataLoader:
        """The examples as packs, one for each micro-batch."""
        examples: Any = self.examples  # a list is a data set
        loader = DataLoader(examples, batch_sampler=self.batches, collate_fn=collate)
        return self.accelerator.prepare_data_loader(loader)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The micro-batch's share of the mean binary cross-entropy over all labels of the optimiser step."""
        with self._autocast():
            outputs = outputs_at(self.prm, inputs["packed"], inputs["at"])
        loss = F.binary_cross_entropy_with_logits(outputs.float(), inputs["labels"], reduction="sum")
        self.tokens += sum(len(places) for places in inputs["packed"].places)
        assert num_items_in_batch is not None, "transformers counts the labels: see model_accepts_loss_kwargs"
        return loss / num_items_in_batch

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.bf16)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The measures on the validation examples, named as transformers expects them."""
        self.prm.eval()
        with self._autocast():
            outputs = logits(self.prm, self.validation)
        self.prm.train()
        measures = measure(np.concatenate(outputs), np.concatenate([example.labels for example in self.validation]))
        measures = {f"eval_{name}": value for name, value in measures.items()}
        self.log(measures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, measures)
        return measures

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers would look for inputs that packs do not have."""
        return 0


class Schedule(TrainerCallback):
    """Validates and saves a checkpoint at `count` evenly spread steps, the last one included."""

    def __init__(self, steps: int, count: int) -> None:
        self.at = {round(steps * i / count) for i in range(1, count + 1)}

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.at:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True


class Log(TrainerCallback):
    """A line of progress now and then. FloatingPointError, as soon as it happens: the loss is not finite."""

    def __init__(self, trainer: PackTrainer) -> None:
        self.trainer, self.validation = trainer, ""
        self.start = self.last_line = time.monotonic()

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "eval_loss" in logs:
            self.validation = f", validation loss {logs['eval_loss']:.4f}, AUC {logs['eval_auc']:.3f}"
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"prm: the loss of step {state.global_step} is {logs['loss']}; lower the learning rate, now "
                f"{args.learning_rate}, or train in fp32"
            )
        now = time.monotonic()
        if now - self.last_line >= EVERY:
            self.last_line = now
            speed = self.trainer.tokens / (now - self.start)
            log(
                f"prm: step {state.global_step} of {state.max_steps}, loss {logs['loss']:.4f}{self.validation}, "
                f"{speed:,.0f} tokens/s"
            )


def measure(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well outputs (E,) before the sigmoid fit labels (E,) in [0, 1].

    loss: mean binary cross-entropy.
    auc: probability that a right step scores above a wrong one; ties count half; NaN if all are right or all wrong.
    accuracy: share of steps whose score is on their label's side of one half.

    In auc and accuracy a soft label y counts as a right step with weight y and a wrong one with weight 1 - y.
    """
    outputs, labels = outputs.astype(np.float64), labels.astype(np.float64)
    loss = np.mean(np.logaddexp(0, outputs) - labels * outputs)
    accuracy = np.mean(np.where(outputs >= 0, labels, 1 - labels))
    _, rank = np.unique(outputs, return_inverse=True)
    right, wrong = np.bincount(rank, labels), np.bincount(rank, 1 - labels)
    pairs = right.sum() * wrong.sum()
    above = (right * (np.cumsum(wrong) - wrong / 2)).sum()
    return {"loss": float(loss), "auc": float(above / pairs) if pairs else math.nan, "accuracy": float(accuracy)}


def history_of(entries: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """The trainer's log as a table, one row per optimiser step; `asprm.reward.train.train` lists its columns."""
    rows: dict[int, dict[str, float]] = {}
    names = {"epoch": "epoch", "loss": "loss", "grad_norm": "gradient_norm", "learning_rate": "learning_rate"}
    names |= {f"eval_{name}": f"validation_{name}" for name in ("loss", "auc", "accuracy")}
    for entry in entries:
        if "loss" in entry or "eval_loss" in entry:
            row = rows.setdefault(int(entry["step"]), {})
            row |= {names[name]: float(value) for name, value in entry.items() if name in names}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(names.values()), dtype=np.float64)
    return frame.rename_axis("step").reset_index()
