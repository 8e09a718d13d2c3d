"""Rescore: the confidence of every token of any text, under any causal language model.

A solution need not have been sampled here: its tokens are read once, and a token's confidence is the softmax
probability that the model gives it after what stands before, at temperature 1, in fp32 (paper §2). That is what the
engine records while it samples. Knows token ids: no text, no step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from asprm.engines.packed import groups, pack, read, reading_size, use_packs
from asprm.models.device import this_device
from asprm.models.load import load_tokenizer, load_weights, quiet

_SLICE = 1 << 26  # outputs (tokens × vocabulary) computed at a time: 256 MB in fp32


@dataclass(frozen=True, eq=False)
class Reader:
    """A causal language model that reads. packs: it reads texts that begin alike as one tree, else padded rows."""

    model: PreTrainedModel
    tokenizer: Any
    packs: bool

    @property
    def positions(self) -> int:
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**31)

    @property
    def eos(self) -> int | None:
        """What ends a solution: the tokenizer's end of text, if the model ends with it, else the model's first."""
        ends = getattr(self.model.generation_config, "eos_token_id", None) or self.model.config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        own = self.tokenizer.eos_token_id if self.tokenizer else None
        return own if own in ends or not ends else ends[0]


def load_reader(
    path: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> Reader:
    """From a Hugging Face folder or hub name.

    device: the accelerator if there is one, else the CPU. dtype: bfloat16 on an accelerator, float32 on the CPU.
    """
    device = torch.device(device or this_device())
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    with quiet():
        model = load_weights(AutoModelForCausalLM, path, dtype=dtype, attn_implementation="sdpa").to(device)
    return reader(model, load_tokenizer(path))


def reader(model: PreTrainedModel, tokenizer: Any = None) -> Reader:
    """Packs if what they give is what the model's plain forward gives, else rows."""
    before = model.config._attn_implementation
    model.eval()
    try:
        made = Reader(use_packs(model), tokenizer, True)
        if _agrees(made):
            return made
    except ValueError:
        pass
    model.set_attn_implementation(before)
    return Reader(model, tokenizer, False)


def confidences(
    reader: Reader, prompts: Sequence[np.ndarray], solutions: Sequence[np.ndarray], *, tokens: int | None = None
) -> list[np.ndarray]:
    """(T,) float32 in (0, 1] for each solution (T,) ids after its prompt (L,) ids, L > 0.

    tokens: how many are read in one forward (None: by the device). What is read beside a text does not change its
    confidences. ValueError: an empty prompt or solution, a text longer than the model's positions, a model that gives
    no number.
    """
    for number, (prompt, ids) in enumerate(zip(prompts, solutions, strict=True)):
        if not len(prompt) or not len(ids) or len(prompt) + len(ids) > reader.positions:
            raise ValueError(
                f"rescore: text {number} has {len(prompt)} + {len(ids)} tokens; expected at least one of prompt and of "
                f"solution, and at most {reader.positions} in all"
            )
    size = tokens or reading_size(reader.model.device.type)
    read_all = _in_packs if reader.packs else _in_rows
    out: list[np.ndarray] = [np.empty(0, np.float32)] * len(solutions)
    for number, values in read_all(reader.model, prompts, solutions, size):
        if not np.isfinite(values).all():
            raise ValueError(f"rescore: text {number} got confidences that are no numbers; is the model broken?")
        # A probability below the least float32 is still not zero: the token was written.
        out[number] = np.clip(values, np.finfo(np.float32).tiny, 1.0)
    return out


@torch.inference_mode()
def _in_packs(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], solutions: Sequence[np.ndarray], size: int
) -> Iterator[tuple[int, np.ndarray]]:
    # The last token is asked about, not read.
    texts = [np.concatenate([p, s[:-1]]).astype(np.int32) for p, s in zip(prompts, solutions, strict=True)]
    for group in groups(texts, size):
        packed = pack([texts[i] for i in group])
        states = read(model, packed)
        at = [packed.places[j][len(prompts[i]) - 1 :] for j, i in enumerate(group)]
        ids = np.concatenate([solutions[i] for i in group])
        values = _probabilities(model, states[torch.from_numpy(np.concatenate(at)).to(model.device)], ids)
        yield from zip(group, np.split(values, np.cumsum([len(x) for x in at])[:-1]), strict=True)


@torch.inference_mode()
def _in_rows(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], solutions: Sequence[np.ndarray], size: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of like lengths, filled on the right: a causal model does not see what comes after."""
    lengths = np.array([len(p) + len(s) - 1 for p, s in zip(prompts, solutions, strict=True)])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * lengths[order[end]] <= size:
            end += 1
        rows = order[start:end]
        ids = torch.zeros(len(rows), int(lengths[rows].max()), dtype=torch.long)
        seen = torch.zeros_like(ids)
        for row, i in enumerate(rows):
            text = np.concatenate([prompts[i], solutions[i][:-1]]).astype(np.int64)
            ids[row, : len(text)], seen[row, : len(text)] = torch.from_numpy(text), 1
        logits = model(ids.to(model.device), attention_mask=seen.to(model.device), use_cache=False).logits
        for row, i in enumerate(rows):
            part = logits[row, len(prompts[i]) - 1 : lengths[i]]
            yield int(i), _pick(part, torch.from_numpy(np.asarray(solutions[i], np.int64)).to(model.device))
        start = end


def _probabilities(model: PreTrainedModel, states: torch.Tensor, ids: np.ndarray) -> np.ndarray:
    """(N,) of ids after states (N, width); the vocabulary's outputs exist for some of the N at a time."""
    head, wanted = model.get_output_embeddings(), torch.from_numpy(ids.astype(np.int64)).to(model.device)
    size = max(1, _SLICE // head.weight.shape[0])
    parts = [_pick(head(some), own) for some, own in zip(states.split(size), wanted.split(size), strict=True)]
    return np.concatenate(parts)


def _pick(logits: torch.Tensor, ids: torch.Tensor) -> np.ndarray:
    """Probabilities (N,) float32 of ids (N,) from logits (N, V)."""
    return logits.float().log_softmax(-1).gather(-1, ids[:, None])[:, 0].exp().cpu().numpy()


def _agrees(made: Reader) -> bool:
    """Whether packs and head give the plain forward's probabilities: some models do more to their outputs."""
    size = made.model.config.get_text_config().vocab_size
    ids = [(np.arange(12) * 7 + k) % size for k in (1, 1, 2)]
    cut = [x[:4] for x in ids], [x[4:] for x in ids]
    packs, rows = (
        np.log(np.stack([x for _, x in sorted(way(made.model, *cut, 2048))]).clip(1e-30))
        for way in (_in_packs, _in_rows)
    )
    error = np.abs(packs - rows).max() / max(1.0, np.abs(rows).max())
    return bool(error < (1e-4 if made.model.dtype == torch.float32 else 0.05))
