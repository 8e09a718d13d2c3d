"""Rescore: the confidence of every token of any solution, under any causal language model; or the entropy there.

The model reads a solution once; a token's confidence is its softmax probability after the tokens before it, at
temperature 1, in fp32 (paper §2). The engine records the same while it samples. The entropy is that of the whole
distribution which the token was drawn from. Token ids only: no text, no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from asprm.engines.packed import groups, pack, read, reading_size, use_packs
from asprm.models.device import placement
from asprm.models.load import load_tokenizer, load_weights, quiet

_Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (N, V) float32 and the ids (N,) that follow to a number for each, (N,)."""
_SLICE = 1 << 26  # outputs (tokens × vocabulary) that exist at a time: 256 MB in fp32


@dataclass(frozen=True, eq=False)
class Reader:
    """A causal language model that reads. packs: texts with equal beginnings as one tree; else padded rows."""

    model: PreTrainedModel
    tokenizer: Any
    packs: bool

    @property
    def positions(self) -> int:
        """How many tokens a text may have."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**31)

    @property
    def eos(self) -> int | None:
        """The id that ends a solution: the tokenizer's end of text if the model has it too, else the model's first."""
        generation = self.model.generation_config
        ends = generation.eos_token_id if generation else None
        ends = ends or self.model.config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        own = self.tokenizer.eos_token_id if self.tokenizer else None
        return own if own in ends or not ends else ends[0]


def load_reader(
    path: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> Reader:
    """The reader of a Hugging Face folder or hub name. device, dtype: see `asprm.models.device.placement`."""
    device, dtype = placement(path, device, dtype)
    with quiet():
        model = cast(Any, load_weights(AutoModelForCausalLM, path, dtype=dtype, attn_implementation="sdpa"))
    return reader(model.to(device), load_tokenizer(path))


def reader(model: PreTrainedModel, tokenizer: Any = None) -> Reader:
    """The reader of a model: by packs if their confidences equal those of the plain forward, else by rows."""
    before = model.config._attn_implementation or "eager"
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
    """The confidences (T,) float32 in (0, 1] of each solution's tokens.

    prompts, solutions: ids, (L,) and (T,) each, L and T at least 1.
    tokens: how many are read in one forward (None: by the device). The other texts do not change a text's confidences.
    ValueError: an empty prompt or solution, a text longer than the model's positions, confidences that are not finite.
    """
    out = _measured(reader, prompts, solutions, tokens, _confidence)
    # A probability may be too small for a float32, but no confidence is 0: the token was written.
    return [np.clip(values, np.finfo(np.float32).tiny, 1.0) for values in out]


def entropies(
    reader: Reader, prompts: Sequence[np.ndarray], solutions: Sequence[np.ndarray], *, tokens: int | None = None
) -> list[np.ndarray]:
    """−Σ p log p of the distribution at each of a solution's tokens, in nats: (T,) float32; arguments as above."""
    return _measured(reader, prompts, solutions, tokens, _entropy)


def _measured(
    reader: Reader,
    prompts: Sequence[np.ndarray],
    solutions: Sequence[np.ndarray],
    tokens: int | None,
    measure: _Measure,
) -> list[np.ndarray]:
    """A measure (T,) float32 of each solution's tokens. ValueError as for `confidences`."""
    for number, (prompt, ids) in enumerate(zip(prompts, solutions, strict=True)):
        if not len(prompt) or not len(ids) or len(prompt) + len(ids) > reader.positions:
            raise ValueError(
                f"rescore: text {number} has {len(prompt)} prompt tokens and {len(ids)} solution tokens; expected at "
                f"least one of each, and at most {reader.positions} in all"
            )
    size = tokens or reading_size(reader.model.device.type)
    read_all = _in_packs if reader.packs else _in_rows
    out: list[np.ndarray] = [np.empty(0, np.float32)] * len(solutions)
    for number, values in read_all(reader.model, prompts, solutions, size, measure):
        if not np.isfinite(values).all():
            raise ValueError(f"rescore: text {number} has non-finite confidences; check the model's weights or dtype")
        out[number] = values
    return out


@torch.inference_mode()
def _in_packs(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    solutions: Sequence[np.ndarray],
    size: int,
    measure: _Measure,
) -> Iterator[tuple[int, np.ndarray]]:
    """The number and the measure of each text, in any order. size: tokens of a pack."""
    # The last token is not read: no confidence depends on it.
    texts = [np.concatenate([p, s[:-1]]).astype(np.int32) for p, s in zip(prompts, solutions, strict=True)]
    for group in groups(texts, size):
        packed = pack([texts[i] for i in group])
        states = read(model, packed)
        at = [packed.places[j][len(prompts[i]) - 1 :] for j, i in enumerate(group)]
        ids = np.concatenate([solutions[i] for i in group])
        values = _at_states(model, states[torch.from_numpy(np.concatenate(at)).to(model.device)], ids, measure)
        yield from zip(group, np.split(values, np.cumsum([len(x) for x in at])[:-1]), strict=True)


@torch.inference_mode()
def _in_rows(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    solutions: Sequence[np.ndarray],
    size: int,
    measure: _Measure,
) -> Iterator[tuple[int, np.ndarray]]:
    """As `_in_packs`, by rows of similar lengths, padded on the right, where a causal model does not see."""
    lengths = np.array([len(p) + len(s) - 1 for p, s in zip(prompts, solutions, strict=True)])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # 1. The next rows, with at most `size` tokens, padding included.
        end = start + 1
        while end < len(order) and (end + 1 - start) * lengths[order[end]] <= size:
            end += 1
        rows = order[start:end]
        ids = torch.zeros(len(rows), int(lengths[rows].max()), dtype=torch.long)
        seen = torch.zeros_like(ids)
        for row, i in enumerate(rows):
            text = np.concatenate([prompts[i], solutions[i][:-1]]).astype(np.int64)
            ids[row, : len(text)], seen[row, : len(text)] = torch.from_numpy(text), 1
        # 2. One forward.
        logits = model(ids.to(model.device), attention_mask=seen.to(model.device), use_cache=False).logits
        for row, i in enumerate(rows):
            part = logits[row, len(prompts[i]) - 1 : lengths[i]]
            following = torch.from_numpy(np.asarray(solutions[i], np.int64)).to(model.device)
            yield int(i), measure(part.float(), following).cpu().numpy()
        start = end


def _at_states(model: PreTrainedModel, states: torch.Tensor, ids: np.ndarray, measure: _Measure) -> np.ndarray:
    """The measure (N,) after states (N, hidden), of which the ids (N,) follow; a slice of the N at a time."""
    head: Any = model.get_output_embeddings()
    wanted = torch.from_numpy(ids.astype(np.int64)).to(model.device)
    size = max(1, _SLICE // head.weight.shape[0])
    slices = zip(states.split(size), wanted.split(size), strict=True)
    return np.concatenate([measure(head(part).float(), own).cpu().numpy() for part, own in slices])


def _confidence(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Probabilities (N,) of ids (N,) from logits (N, V)."""
    return logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0].exp()


def _entropy(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Entropies (N,) of the distributions; they do not depend on which tokens follow."""
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def _agrees(made: Reader) -> bool:
    """Whether packs give the plain forward's probabilities: some models change their head's outputs afterwards."""
    size = made.model.config.get_text_config().vocab_size
    ids = [(np.arange(12) * 7 + k) % size for k in (1, 1, 2)]
    cut = [x[:4] for x in ids], [x[4:] for x in ids]
    packs, rows = (
        np.log(np.stack([x for _, x in sorted(way(made.model, *cut, 2048, _confidence))]).clip(1e-30))
        for way in (_in_packs, _in_rows)
    )
    error = np.abs(packs - rows).max() / max(1.0, np.abs(rows).max())
    return bool(error < (1e-4 if made.model.dtype == torch.float32 else 0.05))
