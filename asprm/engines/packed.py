"""Packed reading: many sequences in one forward, no padding, every shared beginning read once.

Sequences that begin alike (the solutions of one problem, say) form a tree of *segments*: a segment is a run of tokens
that follows its parent's last one. The segments lie end to end in one row of N tokens; positions count from each
sequence's own start, and a segment attends to itself and to its ancestors, never to another branch. So a model gives
every token what it would give were its sequence read alone, gradients included. All but attention sees N tokens and no
structure. Serves any `transformers` model that takes its attention from `AttentionInterface`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from asprm.engines import reading

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None


ATTENTION = "asprm_packed"
_SHORTEST = 8  # a common beginning shorter than this is read again: a segment of its own would cost more
_GRAIN = 64  # packs are filled up to multiples of this: a CPU's bf16 kernels are made, and kept, for every new shape


def reading_size(device: str) -> int:
    """How many tokens to read in one forward: enough to keep the cores busy, few enough to stay in a CPU's caches."""
    return 2048 if device == "cpu" else 16384


def bf16_pays(device: str) -> bool:
    """Whether products in bf16 are faster: on accelerators that have them, on CPUs with instructions for them."""
    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()


@dataclass(eq=False)
class Segments:
    """How the N tokens of a pack hang together. lengths: (S,) sum to N. chains: each segment's ancestors and itself."""

    lengths: list[int]
    chains: list[tuple[int, ...]]
    _made: dict = field(default_factory=dict)  # what attention needs, the same in every layer

    def mask(self, segment: int, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """Additive (n, n + ancestors); None where plain causal attention is meant."""
        own = self.lengths[segment]
        seen = sum(self.lengths[i] for i in self.chains[segment])
        narrow = window is not None and seen > window
        if seen == own and not narrow:
            return None
        key = (segment, window, like.dtype)
        if key not in self._made:
            with torch.inference_mode(False):  # whoever comes next may want gradients
                column = torch.arange(seen, device=like.device)
                position = column[seen - own :, None]
                hidden = column > position
                if narrow:
                    hidden |= column <= position - window
                mask = torch.zeros(own, seen, dtype=like.dtype, device=like.device)
                self._made[key] = mask.masked_fill_(hidden, float("-inf"))
        return self._made[key]

    def flat(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, int]:
        """For kernels over ragged rows: the tokens that each segment sees, (K,), all segments end to end; where the
        segments' queries and keys begin and end, (S + 1,) int32 each; the most queries and the most keys of one.
        """
        if "flat" not in self._made:
            starts = np.cumsum([0, *self.lengths])
            seen = [np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chain]) for chain in self.chains]
            ends = np.cumsum([0, *map(len, seen)])
            with torch.inference_mode(False):
                index, queries, keys = (torch.from_numpy(x).to(device) for x in (np.concatenate(seen), starts, ends))
                self._made["flat"] = index, queries.int(), keys.int(), max(self.lengths), max(map(len, seen))
        return self._made["flat"]


@dataclass(frozen=True, eq=False)
class Pack:
    """Sequences ready for one forward.

    ids, positions: (1, N) int64. places: per sequence (L,) int64, where in the pack each of its tokens stands; shared
    tokens stand at one place, and nobody asks for the filling at the end.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    places: list[np.ndarray]
    segments: Segments


def pack(sequences: Sequence[np.ndarray], shortest: int = _SHORTEST, grain: int = _GRAIN) -> Pack:
    """Pack sequences of token ids, each (L,), L >= 1, in any order.

    Beginnings of fewer than `shortest` tokens are not shared. The pack is filled up to a multiple of `grain` tokens.
    ValueError: an empty sequence.
    """
    if not len(sequences) or not all(len(ids) for ids in sequences):
        raise ValueError("pack: expected at least one sequence, and at least one token in each")
    order = in_order(sequences)
    ordered = [sequences[i] for i in order]
    common = [0, *(common_length(a, b) for a, b in pairwise(ordered))]
    pieces: list[tuple[int, int, int]] = []  # of which ordered sequence, from, to
    chains: list[tuple[int, ...]] = []
    chain_of: list[tuple[int, ...]] = [()] * len(ordered)
    # A range of sequences that share their first `depth` tokens, which `chain` holds.
    work = [(0, len(ordered), 0, ())]
    while work:
        low, high, depth, chain = work.pop()
        shared = min(common[low + 1 : high], default=len(ordered[low]))
        whole = shared == len(ordered[high - 1])  # they are all equal
        if shared - depth >= shortest or (whole and shared > depth):
            chain = (*chain, len(pieces))
            chains.append(chain)
            pieces.append((low, depth, shared))
            depth = shared
        if whole:
            chain_of[low:high] = [chain] * (high - low)
            continue
        cuts = [low, *(i for i in range(low + 1, high) if common[i] == shared), high]
        work += [(a, b, depth, chain) for a, b in pairwise(cuts)][::-1]
    return _assemble(ordered, order, pieces, chains, chain_of, grain)


def _assemble(
    ordered: list[np.ndarray],
    order: list[int],
    pieces: list[tuple[int, int, int]],
    chains: list[tuple[int, ...]],
    chain_of: list[tuple[int, ...]],
    grain: int,
) -> Pack:
    lengths = [end - start for _, start, end in pieces]
    starts = np.cumsum([0, *lengths])
    ranges = [np.arange(a, b) for a, b in pairwise(starts)]
    places: list[np.ndarray] = [ranges[0]] * len(order)
    for i, chain in zip(order, chain_of, strict=True):
        places[i] = np.concatenate([ranges[segment] for segment in chain])
    filling = -int(starts[-1]) % grain
    if filling:
        pieces = [*pieces, (len(ordered), 0, filling)]
        ordered = [*ordered, np.zeros(filling, np.int64)]
        lengths.append(filling)
        chains.append((len(chains),))
    ids = np.concatenate([ordered[i][start:end] for i, start, end in pieces]).astype(np.int64)
    positions = np.concatenate([np.arange(start, end) for _, start, end in pieces])
    return Pack(torch.from_numpy(ids)[None], torch.from_numpy(positions)[None], places, Segments(lengths, chains))


def in_order(sequences: Sequence[np.ndarray]) -> list[int]:
    """Indices that sort the sequences by their ids, so that those which begin alike stand together."""
    keys = [np.ascontiguousarray(ids, ">u4").tobytes() for ids in sequences]
    return sorted(range(len(keys)), key=keys.__getitem__)


def groups(sequences: Sequence[np.ndarray], size: int) -> Iterator[list[int]]:
    """Indices of sequences to read together: neighbours in the order of their ids, of about `size` distinct tokens."""
    group: list[int] = []
    held, last = 0, np.empty(0, np.int32)
    for i in in_order(sequences):
        cost = len(sequences[i]) - common_length(last, sequences[i])  # what it adds to a pack of those before it
        if group and held + cost > size:
            yield group
            group, held = [], 0
        held += cost if group else len(sequences[i])
        group.append(i)
        last = sequences[i]
    if group:
        yield group


def common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the two sequences' common beginning."""
    size = min(len(a), len(b))
    differ = a[:size] != b[:size]
    return int(differ.argmax()) if differ.any() else size


def use_packs(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model able to `read` packs; the same model, checked on a few tokens. Plain calls work as before.

    ValueError: it does not give in a pack what it gives a sequence alone, say because it takes its attention from
    elsewhere, or adds to it what packs do not know.
    """
    shared = np.arange(2 * _SHORTEST) % model.config.get_text_config().vocab_size
    sequences = [shared, np.append(shared, shared[:5]), np.append(shared, shared[5:9])]
    try:
        with (
            torch.inference_mode(),
            torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"),
        ):
            plain = [model.base_model(_row(ids, model)).last_hidden_state[0] for ids in sequences]
            model.set_attn_implementation(ATTENTION)
            packed = pack(sequences)
            states = read(model, packed)
        error = max(float((states[at] - x).abs().max()) for at, x in zip(packed.places, plain, strict=True))
        error /= max(float(x.abs().max()) for x in plain)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(_UNFIT.format(type(model).__name__)) from reason
    if not error < (1e-3 if model.device.type == "cpu" and model.dtype == torch.float32 else 0.1):
        raise ValueError(_UNFIT.format(f"{type(model).__name__} (relative error {error:.1e})"))
    return model


_UNFIT = (
    "packed: {} does not read a pack as it reads its sequences alone; expected a Llama-, Mistral- or Qwen-like model"
)


def _row(ids: np.ndarray, model: PreTrainedModel) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64))[None].to(model.device)


_NO_MASK = torch.empty(1, 1, 0, 0)  # with four axes transformers takes a mask for finished, and makes none of its own


def read(model: PreTrainedModel, packed: Pack, at: np.ndarray | None = None) -> torch.Tensor:
    """The last hidden states of a model that was made to read packs (`use_packs`): of the tokens `at` (A,) of the pack,
    which may repeat, (A, hidden), or of all, (N, hidden). Where `asprm.engines.reading` can, the rest is not computed.
    """
    if reading.supports(model):
        return reading.states(model, packed, at)
    states = model.base_model(
        input_ids=packed.ids.to(model.device),
        position_ids=packed.positions.to(model.device),
        attention_mask=_NO_MASK.to(model.device),
        segments=packed.segments,
        use_cache=False,
    ).last_hidden_state[0]
    return states if at is None else states[torch.from_numpy(at).to(states.device)]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    segments: Segments | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of (1, heads, N, dim) within segments, (1, N, heads, dim); transformers' own where there are none."""
    if segments is None:
        options["sliding_window"] = sliding_window
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **options)
    dtype = value.dtype
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":  # fused attention is slower in bf16 there than in fp32, its backward five times
            query, key, value = query.float(), key.float(), value.float()
        query, key = query.to(value.dtype), key.to(value.dtype)
        if varlen_attn is not None and query.is_cuda and dtype != torch.float32 and not dropout:
            seen = _ragged(query, key, value, segments, sliding_window, scaling)
        else:
            seen = _one_by_one(query, key, value, segments, sliding_window, scaling, dropout)
    return seen.to(dtype), None


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    window: int | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    queries, keys, values = (x.split(segments.lengths, 2) for x in (query, key, value))
    seen = []
    for i, chain in enumerate(segments.chains):
        mask = segments.mask(i, window, query)
        alone = len(chain) == 1
        seen.append(
            F.scaled_dot_product_attention(
                queries[i],
                keys[i] if alone else torch.cat([keys[j] for j in chain], 2),
                values[i] if alone else torch.cat([values[j] for j in chain], 2),
                attn_mask=mask,
                is_causal=mask is None,
                dropout_p=dropout,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(seen, 2).transpose(1, 2)


def _ragged(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    window: int | None,
    scale: float | None,
) -> torch.Tensor:
    """One kernel for all segments; the last query of a segment sees its last key."""
    index, queries, keys, most_queries, most_keys = segments.flat(query.device)
    groups = {"enable_gqa": query.shape[1] != key.shape[1]} if _asks_for_groups(varlen_attn) else {}
    seen = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[index],
        value[0].transpose(0, 1)[index],
        queries,
        keys,
        most_queries,
        most_keys,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        **groups,
    )
    return seen[None]


@cache
def _asks_for_groups(kernel: Callable) -> bool:
    """Torch before 2.12 groups heads unasked."""
    return "enable_gqa" in inspect.signature(kernel).parameters


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
