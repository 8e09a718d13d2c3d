"""Training the PRM: packed sequences in lanes, against transformers' Trainer on padded batches at its best batch size.

Both take optimiser steps of 64 solutions, from the shipped policy. Labels are random: speed does not depend on them.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import MAX_NEW_TOKENS, POLICY, REPEATS, TEMPERATURE, policy, problems, publish, requests, row, seconds
from transformers import PrinterCallback, Trainer, TrainingArguments

from asprm.engines import Sampling
from asprm.packed import bf16_pays
from asprm.score import load_classifier, quiet
from asprm.split import fixed
from asprm.trainer import Example, PackTrainer, Settings

STEP = 64  # solutions
SIZES = (4, 8, 16, 32)  # of the padded batches


def main() -> list:
    engine = policy()
    asked = requests(engine, problems(96), samples=4)
    done = engine.generate(asked, Sampling(TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS))
    rng = np.random.default_rng(0)
    examples = []
    for request, completion in zip(asked, done, strict=True):
        ends = fixed(len(completion.ids), 20)
        labels = rng.integers(0, 2, len(ends)).astype(np.float32)
        examples.append(Example(request.context, completion.ids, ends, labels))
    rows = []
    for precision in ("fp32", "bf16") if bf16_pays("cpu") else ("fp32",):
        rates = {size: padded(examples[: 4 * STEP], size, precision) for size in SIZES}
        size = max(rates, key=rates.get)
        packed(examples[: 4 * STEP], precision)
        ratios = []
        for _ in range(REPEATS):
            ours, theirs = packed(examples, precision), padded(examples, size, precision)
            print(f"{precision}: packed {ours:,.0f} tokens/s, padded {theirs:,.0f}", flush=True)
            ratios.append(ours / theirs)
        rows.append(row(f"PRM training, tokens/s, {precision}", f"padded batches of {size}", ratios, "≥ 1.3"))
    return publish(rows)


def packed(examples: list[Example], precision: str) -> float:
    """Tokens a second, padding not counted; loading, saving and validating not timed."""
    tokens = sum(len(x.tokens) for x in examples)
    step = round(tokens * STEP / len(examples))
    settings = Settings(1, 5e-4, step, warmup=0.1, weight_decay=0.01, evaluations=1, precision=precision)
    model, _ = load_classifier(POLICY, torch.float32, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        trainer = PackTrainer(model, examples, [], settings, Path(folder), seed=0)
        trainer._save_checkpoint = lambda *_: None
        return tokens / seconds(trainer.train)[0]


def padded(examples: list[Example], size: int, precision: str) -> float:
    model, _ = load_classifier(POLICY, torch.float32, "cpu")
    model.set_attn_implementation("sdpa")
    with tempfile.TemporaryDirectory() as folder, quiet():
        arguments = TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=STEP // size,
            learning_rate=5e-4,
            bf16=precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        )
        trainer = Padded(model, arguments, data_collator=pad, train_dataset=examples)
        trainer.remove_callback(PrinterCallback)
        return sum(len(x.tokens) for x in examples) / seconds(trainer.train)[0]


class Padded(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(inputs["ids"], attention_mask=inputs["mask"]).logits[:, :, 0].float()
        outputs = outputs[inputs["row"], inputs["at"]]
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, inputs["labels"])


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
