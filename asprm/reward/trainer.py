"""Training on packs: which examples form an optimiser step, what its loss is, and what is told on the way.

transformers' Trainer does the rest: optimiser, schedule, checkpoints, resuming. Knows examples and a model: no folder
but the one for checkpoints, and nothing of where the model came from.
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

from asprm.engines import reading
from asprm.engines.packed import bf16_pays, in_order, pack, read, reading_size
from asprm.models.device import this_device
from asprm.models.load import quiet
from asprm.reward.score import Item, logits
from asprm.run.progress import EVERY, log


@dataclass(frozen=True, eq=False)
class Example(Item):
    """A solution, its step ends, and their labels (K,) in [0, 1]."""

    labels: np.ndarray


@dataclass(frozen=True)
class Settings:
    """How a PRM is trained. The first five are the profile's; the rest have one good value nearly everywhere."""

    epochs: int
    learning_rate: float  # peak; it falls to zero along a cosine
    batch_tokens: int  # tokens per optimiser step, prompts included
    warmup: float  # share of the steps over which the learning rate rises
    weight_decay: float
    micro_tokens: int | None = None  # read in one forward: speed and memory, never the result; None: by the device
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of products; auto: bf16 where that is much faster
    gradient_checkpointing: bool = False  # a third more work for far less memory: for models of billions of weights
    evaluations: int = 4  # how often, evenly spread: validate, and write a checkpoint to resume from
    patience: int | None = None  # stop after so many validations without a better loss; None: never
    keep: Literal["best", "last"] = "best"  # which weights are saved: of the least validation loss, or the last


class Batches:
    """The order in which examples are learned from: in each epoch, optimiser steps of about `batch_tokens` tokens, each
    in `parts` micro-batches. Both numbers are the same in every epoch, and the steps do not depend on the parts.

    The examples of one problem come together, so that what they begin with is read once: less than half the tokens.
    """

    def __init__(self, examples: Sequence[Item], settings: Settings, seed: int) -> None:
        problems: dict[bytes, list[int]] = {}
        for number, example in enumerate(examples):
            problems.setdefault(np.asarray(example.prompt, np.int32).tobytes(), []).append(number)
        self.problems = [np.array(numbers) for numbers in problems.values()]
        self.lengths = np.array([len(x.prompt) + len(x.ids) for x in examples])
        self.texts = [x.tokens for x in examples]
        self.steps = min(math.ceil(self.lengths.sum() / settings.batch_tokens), len(examples))
        self.least = max(1, len(examples) // self.steps // 2)  # examples in a step, so that it can be cut
        micro = settings.micro_tokens or reading_size(this_device())
        self.parts = min(math.ceil(settings.batch_tokens / micro), self.least)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        shuffled = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.problems))
        order = np.concatenate([self.problems[i] for i in shuffled])
        for batch in _cut(order, self.lengths[order], self.steps, self.least):
            # Within a step the order is free: what begins alike comes together, to be read once.
            batch = batch[in_order([self.texts[i] for i in batch])]
            for part in _cut(batch, self.lengths[batch], self.parts):
                yield part.tolist()


def _cut(order: np.ndarray, lengths: np.ndarray, parts: int, least: int = 1) -> list[np.ndarray]:
    """`order` in so many consecutive parts of nearly equal total length, each of `least` elements or more."""
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends - lengths / 2, ends[-1] * np.arange(1, parts) / parts)
    for i in range(len(cuts)):
        cuts[i] = min(max(cuts[i], (cuts[i - 1] if i else 0) + least), len(order) - (parts - 1 - i) * least)
    return np.split(order, cuts)


def collate(some: Sequence[Example]) -> dict[str, Any]:
    """Examples as one pack, with the places (E,) of their step ends and the labels (E,) there."""
    packed = pack([example.tokens for example in some])
    at = [places[len(x.prompt) + np.asarray(x.ends) - 1] for places, x in zip(packed.places, some, strict=True)]
    labels = np.concatenate([example.labels for example in some]).astype(np.float32)
    return {"packed": packed, "at": np.concatenate(at), "labels": torch.from_numpy(labels)}


class PackTrainer(Trainer):
    """transformers' Trainer on packs. It counts the labels of all micro-batches of a step before it runs them, and the
    loss is divided by that number, so that the gradient does not depend on how a step is cut.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        examples: Sequence[Example],
        validation: Sequence[Example],
        settings: Settings,
        place: Path,
        seed: int,
    ) -> None:
        self.batches = Batches(examples, settings, seed)
        self.settings, self.tokens = settings, 0
        self.steps = self.batches.steps * settings.epochs
        cuda = this_device() == "cuda"
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
            # When to validate and to save is `Schedule`'s decision; these only say that it happens.
            eval_strategy="steps" if validation else "no",
            eval_steps=self.steps,
            save_strategy="steps",
            save_steps=self.steps,
            save_total_limit=1,
            load_best_model_at_end=bool(validation) and settings.keep == "best",
            metric_for_best_model="loss" if validation else None,
            greater_is_better=False if validation else None,
            restore_callback_states_from_checkpoint=True,
            logging_steps=1,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        )
        if cuda:
            arguments._n_gpu = 1  # one device: several would make it split packs, which have no batch axis
        # What is read by hand (`asprm.engines.reading`) is nearly as fast in fp32, holds less memory, and learns the same on
        # every CPU, up to rounding.
        pays = bf16_pays(this_device()) and not reading.supports(model)
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and pays)
        callbacks: list[TrainerCallback] = [Schedule(self.steps, settings.evaluations), Log(self)]
        if settings.patience is not None:
            callbacks.append(EarlyStoppingCallback(settings.patience))
        with quiet():
            super().__init__(
                model, arguments, train_dataset=list(examples), eval_dataset=validation or None, callbacks=callbacks
            )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True  # makes it count the labels of a step

    def get_train_dataloader(self) -> DataLoader:
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=collate)
        return self.accelerator.prepare_data_loader(loader)

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        with self._autocast():
            outputs = model.score(read(model, inputs["packed"], inputs["at"]))[:, 0]
        loss = F.binary_cross_entropy_with_logits(outputs.float(), inputs["labels"], reduction="sum")
        self.tokens += sum(len(places) for places in inputs["packed"].places)
        return loss / num_items_in_batch

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.bf16)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        with self._autocast():
            found = logits(self.model, self.eval_dataset)
        self.model.train()
        measures = measure(np.concatenate(found), np.concatenate([x.labels for x in self.eval_dataset]))
        measures = {f"eval_{name}": value for name, value in measures.items()}
        self.log(measures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, measures)
        return measures

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # nobody asks, and it looks for inputs that packs do not have


class Schedule(TrainerCallback):
    """Validate and save a checkpoint at `count` evenly spread steps, the last one included."""

    def __init__(self, steps: int, count: int) -> None:
        self.at = {round(steps * i / count) for i in range(1, count + 1)}

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.at:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True


class Log(TrainerCallback):
    """A line now and then; an error as soon as the loss is no number."""

    def __init__(self, trainer: PackTrainer) -> None:
        self.trainer, self.start, self.told, self.validation = trainer, time.monotonic(), time.monotonic(), ""

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
        if now - self.told >= EVERY:
            self.told = now
            speed = self.trainer.tokens / (now - self.start)
            log(
                f"prm: step {state.global_step} of {state.max_steps}, loss {logs['loss']:.4f}{self.validation}, "
                f"{speed:,.0f} tokens/s"
            )


def measure(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well outputs (E,) before the sigmoid fit labels (E,) in [0, 1]: loss, auc and accuracy.

    loss: mean binary cross-entropy. A soft label counts as right with its own weight and as wrong with the rest: auc is
    the probability that a right step scores above a wrong one (ties half; NaN if there are none of one kind), accuracy
    the weight on the right side of a score of one half.
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
    rows: dict[int, dict[str, float]] = {}
    names = {"epoch": "epoch", "loss": "loss", "grad_norm": "gradient_norm", "learning_rate": "learning_rate"}
    names |= {f"eval_{name}": f"validation_{name}" for name in ("loss", "auc", "accuracy")}
    for entry in entries:
        if "loss" in entry or "eval_loss" in entry:
            row = rows.setdefault(int(entry["step"]), {})
            row |= {names[name]: float(value) for name, value in entry.items() if name in names}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(names.values()), dtype=np.float64)
    return frame.rename_axis("step").reset_index()
