"""Training the PRM: packed sequences against padded batches, through the same Trainer and the same optimiser steps.

Labels are random: speed does not depend on what is learned.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import MAX_NEW_TOKENS, POLICY, REPEATS, TEMPERATURE, policy, problems, publish, requests, row, seconds
from torch.utils.data import DataLoader

from asprm.engines.protocol import Sampling
from asprm.models.device import bf16_pays
from asprm.reward import trainer
from asprm.reward.score import load_classifier
from asprm.reward.trainer import Example, Settings
from asprm.split import fixed

SETTINGS = Settings(
    epochs=1, learning_rate=5e-4, batch_tokens=8192, warmup=0.1, weight_decay=0.01, evaluations=1, precision="fp32"
)
MICRO = (1024, 2048, 4096)  # tokens of a padded batch; they run at the best of these


def main() -> list:
    engine = policy()
    asked = requests(engine, problems(96), samples=4)
    examples = labelled(asked, engine.generate(asked, Sampling(TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS)))
    rows = []
    for precision in ("fp32", "bf16") if bf16_pays("cpu") else ("fp32",):
        settings = replace(SETTINGS, precision=precision)
        choices = {x: tokens_per_second(Padded, examples, replace(settings, micro_tokens=x)) for x in MICRO}
        best = max(choices, key=choices.get)
        ratios = []
        for _ in range(REPEATS):
            ours = tokens_per_second(trainer.PackTrainer, examples, settings)
            theirs = tokens_per_second(Padded, examples, replace(settings, micro_tokens=best))
            print(f"{precision}: packed {ours:,.0f} tokens/s, padded {theirs:,.0f}", flush=True)
            ratios.append(ours / theirs)
        rows.append(row(f"PRM training, tokens/s, {precision}", f"padded batches of {best} tokens", ratios, "≥ 1.3"))
    return publish(rows)


def labelled(asked, done) -> list[Example]:
    """Sampled solutions with a random label for every twenty tokens."""
    rng, examples = np.random.default_rng(0), []
    for request, completion in zip(asked, done, strict=True):
        ends = fixed(len(completion.ids), 20)
        labels = rng.integers(0, 2, len(ends)).astype(np.float32)
        examples.append(Example(request.context, completion.ids, ends, labels))
    return examples


def tokens_per_second(kind, examples, settings, base=POLICY) -> float:
    """Tokens of prompts and solutions per second, without padding; loading, saving and validating are not timed."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model, _ = load_classifier(base, torch.float32, "cpu")
        work = kind(model, examples, [], settings, Path(folder), seed=0)
        work._save_checkpoint = lambda *_: None
        taken, _ = seconds(work.train)
    return sum(len(x.tokens) for x in examples) / taken


class Padded(trainer.PackTrainer):
    """The same Trainer with padded batches and a mask."""

    def get_train_dataloader(self) -> DataLoader:
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=pad)
        return self.accelerator.prepare_data_loader(loader)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with self._autocast():
            outputs = model(inputs["ids"], attention_mask=inputs["mask"], use_cache=False).logits[:, :, 0]
        outputs = outputs.float()[inputs["row"], inputs["at"]]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, inputs["labels"], reduction="sum")
        return loss / num_items_in_batch


def pad(some: list[Example]) -> dict:
    longest = max(len(x.tokens) for x in some)
    ids = torch.zeros(len(some), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, x in enumerate(some):
        ids[i, : len(x.tokens)] = torch.from_numpy(x.tokens.astype(np.int64))
        mask[i, : len(x.tokens)] = 1
    return {
        "ids": ids,
        "mask": mask,
        "row": torch.tensor(np.repeat(np.arange(len(some)), [len(x.ends) for x in some])),
        "at": torch.from_numpy(np.concatenate([len(x.prompt) + x.ends - 1 for x in some])),
        "labels": torch.from_numpy(np.concatenate([x.labels for x in some])),
    }


if __name__ == "__main__":
    main()
