"""Corpus: what policies learn from, in batches: training problems with solutions by simulated students."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from asprm.models.prompts import encode_prompts
from asprm.problems.families import attempt, scenes
from asprm.problems.student import drill

DRILLS = "drills"
FIRST_PROBLEM = 1_000_000  # number of the first problem that policies learn from; the study's own come before it

Pairs = Iterator[tuple[str, str]]  # a problem's text, a student's solution
Row = tuple[np.ndarray, list[int]]  # ids of a problem and of its solution
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]  # ids (B, T), loss mask (B, T)


def corpus(mixture: Mapping[str, float], seed: int, care: float = 0.0) -> Pairs:
    """Endless pairs of the training split, families in the proportions of `mixture`.

    care: share of their misreadings that the students avoid. The family "drills" consists of pages of sums with right
    results: without them calculation is learned last.
    """
    rng = random.Random(f"corpus/{seed}")
    positions = dict.fromkeys(mixture, FIRST_PROBLEM)
    while True:
        family = rng.choices(list(mixture), list(mixture.values()))[0]
        if family == DRILLS:
            yield drill(rng)
            continue
        problem, scene = next(scenes(family, "train", 1, positions[family]))
        positions[family] += 1
        yield problem.prompt, attempt(scene, random.Random(f"{problem.id}/{seed}"), care)


def batches(tokenizer: Any, pairs: Pairs, batch_tokens: int, seed: int, pool: int = 8192) -> Batches:
    """Endless batches with hardly any padding.

    tokenizer: encodes the texts.
    pairs: endless examples.
    batch_tokens: tokens per batch, padding included; a longer example is a batch of its own.
    seed: of the order of the batches.
    pool: examples that are sorted by length and cut into batches together; the batches are then shuffled.

    Only solutions bear loss: a problem's numbers are drawn at random and cannot be learnt.
    """
    rng = random.Random(f"batches/{seed}")
    while True:
        examples = [next(pairs) for _ in range(pool)]
        prompts = encode_prompts(tokenizer, [problem for problem, _ in examples])
        solutions = tokenizer([solution for _, solution in examples], add_special_tokens=False)["input_ids"]
        rows = sorted(zip(prompts, solutions, strict=True), key=_length)
        cuts, start = [], 0
        for end in range(1, len(rows) + 1):
            longest = _length(rows[min(end, len(rows) - 1)])
            if end == len(rows) or (end + 1 - start) * longest > batch_tokens:
                cuts.append(rows[start:end])
                start = end
        rng.shuffle(cuts)
        for batch_rows in cuts:
            yield _padded(batch_rows, tokenizer)


def _length(row: Row) -> int:
    """Tokens of an example, with the end-of-text token."""
    return len(row[0]) + len(row[1]) + 1


def _padded(rows: Sequence[Row], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """ids (B, T) and loss mask (B, T) of one batch."""
    length = max(map(_length, rows))
    ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), length), dtype=torch.bool)
    for i, (prompt, solution) in enumerate(rows):
        example = [*prompt.tolist(), *solution, tokenizer.eos_token_id]
        ids[i, : len(example)] = torch.tensor(example)
        mask[i, len(prompt) : len(example)] = True
    return ids, mask
