"""Packed reading: many sequences in one forward, without padding, every shared beginning read once.

Sequences with equal beginnings (the solutions of one problem) form a tree of *segments*: a segment is a run of tokens
that follows its parent's last one. The segments lie end to end in one row of N tokens. Positions count from each
sequence's own start, and a segment attends to itself and its ancestors, never to another branch. So every token gets
the state, and the gradients, that it gets when its sequence is read alone. Only attention knows the tree; everything
else sees N tokens. Works with any `transformers` model that takes its attention from `AttentionInterface`.
"""

from __future__ import annotations

import inspect
import os
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

from asprm.engines.pieces import some_ids

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None


ATTENTION = "asprm_packed"
READ_TOKENS = "ASPRM_READ_TOKENS"  # environment variable
LOWER_READING = f"${READ_TOKENS} to fewer than the 16384 tokens that are read at once"
"""What to lower where a GPU's memory is too small to read texts."""

_SHORTEST = 8  # tokens; a shorter common beginning is read again, as a segment of its own costs more
_GRAIN = 64  # packs are filled up to multiples of this, as a CPU compiles and keeps bf16 kernels for every new shape


def reading_size(device: str) -> int:
    """Tokens to read in one forward: enough to keep the cores busy, few enough for a CPU's caches.

    $ASPRM_READ_TOKENS says another number, for a GPU with little memory. ValueError: it is none.
    """
    given = os.environ.get(READ_TOKENS)
    if given is None:
        return 2048 if device == "cpu" else 16384
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"${READ_TOKENS} is {given!r}, expected a whole number of tokens above 0")
    return int(given)


@dataclass(frozen=True, eq=False)
class Ragged:
    """S segments for a kernel that attends over rows of different lengths.

    index: (K,) the tokens that each segment sees, segment after segment.
    queries, keys: (S + 1,) int32, where the segments' queries (tokens) and keys (in `index`) begin and end.
    most_queries, most_keys: of one segment.
    """

    index: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor
    most_queries: int
    most_keys: int


@dataclass(eq=False)
class Segments:
    """The tree of a pack's N tokens.

    lengths: of the S segments; they sum to N. chains: for each segment its ancestors, the root first, and itself.
    """

    lengths: list[int]
    chains: list[tuple[int, ...]]
    _masks: dict[tuple, torch.Tensor] = field(default_factory=dict)  # the same in every layer
    _ragged: Ragged | None = None  # too

    def mask(self, segment: int, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """Additive (n, n + ancestors' tokens), of the dtype and device of `like`; None for plain causal attention.

        window: how many tokens back a token sees; None for all.
        """
        own = self.lengths[segment]
        seen = sum(self.lengths[i] for i in self.chains[segment])
        narrow = window is not None and seen > window
        if seen == own and not narrow:
            return None
        key = (segment, window, like.dtype)
        if key not in self._masks:
            with torch.inference_mode(False):  # the next reading may need gradients
                column = torch.arange(seen, device=like.device)
                position = column[seen - own :, None]
                hidden = column > position
                if window is not None and narrow:
                    hidden |= column <= position - window
                mask = torch.zeros(own, seen, dtype=like.dtype, device=like.device)
                self._masks[key] = mask.masked_fill_(hidden, float("-inf"))
        return self._masks[key]

    def ragged(self, device: torch.device) -> Ragged:
        """The segments as rows of different lengths."""
        if self._ragged is None:
            starts = np.cumsum([0, *self.lengths])
            seen = [np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chain]) for chain in self.chains]
            ends = np.cumsum([0, *map(len, seen)])
            with torch.inference_mode(False):
                index, queries, keys = (torch.from_numpy(x).to(device) for x in (np.concatenate(seen), starts, ends))
                most = max(self.lengths), max(map(len, seen))
                self._ragged = Ragged(index, queries.int(), keys.int(), *most)
        return self._ragged


@dataclass(frozen=True, eq=False)
class Pack:
    """Sequences ready for one forward.

    ids, positions: (1, N) int64, with a filling at the end that belongs to no sequence.
    places: per sequence (L,) int64, where in the pack its tokens are; sequences share places.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    places: list[np.ndarray]
    segments: Segments


@dataclass(frozen=True)
class _Segment:
    """A segment of the tree: tokens `start` to `end` of a sequence."""

    ids: np.ndarray
    start: int
    end: int


def pack(sequences: Sequence[np.ndarray], shortest: int = _SHORTEST, grain: int = _GRAIN) -> Pack:
    """Pack sequences of token ids, each (L,), L >= 1, in any order.

    Beginnings of fewer than `shortest` tokens are not shared. The pack is filled up to a multiple of `grain` tokens.
    ValueError: an empty sequence.
    """
    if not len(sequences) or not all(len(ids) for ids in sequences):
        raise ValueError("pack: expected at least one sequence, and at least one token in each")
    # 1. Sorted, the sequences below a node of the tree are neighbours. common[i]: tokens that i shares with i - 1.
    order = in_order(sequences)
    ordered = [sequences[i] for i in order]
    common = [0, *(common_length(a, b) for a, b in pairwise(ordered))]

    # 2. Walk down the tree, depth first and in order, so that a segment comes after its ancestors.
    segments: list[_Segment] = []
    chains: list[tuple[int, ...]] = []
    chain_of: list[tuple[int, ...]] = [()] * len(ordered)
    # A node: sequences low to high share their first `depth` tokens, which the segments of `chain` hold.
    nodes: list[tuple[int, int, int, tuple[int, ...]]] = [(0, len(ordered), 0, ())]
    while nodes:
        low, high, depth, chain = nodes.pop()
        shared = min(common[low + 1 : high], default=len(ordered[low]))
        whole = shared == len(ordered[high - 1])  # the sequences are equal
        if shared - depth >= shortest or (whole and shared > depth):
            chain = (*chain, len(segments))
            chains.append(chain)
            segments.append(_Segment(ordered[low], depth, shared))
            depth = shared
        if whole:
            chain_of[low:high] = [chain] * (high - low)
            continue
        cuts = [low, *(i for i in range(low + 1, high) if common[i] == shared), high]
        nodes += [(a, b, depth, chain) for a, b in pairwise(cuts)][::-1]

    # 3. Where the sequences' tokens are.
    starts = np.cumsum([0, *(x.end - x.start for x in segments)])
    ranges = [np.arange(a, b) for a, b in pairwise(starts.tolist())]
    places: list[np.ndarray] = [ranges[0]] * len(order)
    for i, chain in zip(order, chain_of, strict=True):
        places[i] = np.concatenate([ranges[segment] for segment in chain])

    # 4. The filling is a segment of its own.
    filling = -int(starts[-1]) % grain
    if filling:
        segments.append(_Segment(np.zeros(filling, np.int64), 0, filling))
        chains.append((len(chains),))
    ids = np.concatenate([x.ids[x.start : x.end] for x in segments]).astype(np.int64)
    positions = np.concatenate([np.arange(x.start, x.end) for x in segments])
    tree = Segments([x.end - x.start for x in segments], chains)
    return Pack(torch.from_numpy(ids)[None], torch.from_numpy(positions)[None], places, tree)


def in_order(sequences: Sequence[np.ndarray]) -> list[int]:
    """Indices that sort the sequences by their ids, so that those with equal beginnings are neighbours."""
    keys = [np.ascontiguousarray(ids, ">u4").tobytes() for ids in sequences]
    return sorted(range(len(keys)), key=keys.__getitem__)


def groups(sequences: Sequence[np.ndarray], size: int) -> Iterator[list[int]]:
    """Indices of sequences to pack together: neighbours in the order of their ids, of about `size` distinct tokens."""
    group: list[int] = []
    held, last = 0, np.empty(0, np.int32)
    for i in in_order(sequences):
        cost = len(sequences[i]) - common_length(last, sequences[i])  # tokens that it adds to the group's pack
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
    """Make a model able to `read` packs, and check it on a few tokens; returns the same model. Plain calls still work.

    ValueError: the states of a pack differ from those of its sequences read alone, for example because the model does
    not take its attention from `AttentionInterface`.
    """
    # Three sequences of which two branch off the first one.
    shared = some_ids(model.config.get_text_config().vocab_size, 2 * _SHORTEST)
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
    "packed: {}: the states of a pack differ from those of its sequences read alone; expected a Llama-, Mistral- or "
    "Qwen-like model"
)


def _row(ids: np.ndarray, model: PreTrainedModel) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64))[None].to(model.device)


_NO_MASK = torch.empty(1, 1, 0, 0)  # transformers takes a mask with four axes as it is and makes none of its own


def read(model: PreTrainedModel, packed: Pack, at: np.ndarray | None = None) -> torch.Tensor:
    """The last hidden states of a pack, (A, hidden), by a model that `use_packs` made ready.

    at: (A,) the pack's tokens to return, repeated ones too; None: all N.
    """
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
    """Attention of (1, heads, N, dim) within segments: (1, N, heads, dim). Without segments transformers' own."""
    if segments is None:
        options["sliding_window"] = sliding_window
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **options)
    dtype = value.dtype
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":  # there fused attention is slower in bf16 than in fp32, its backward five times
            query, key, value = query.float(), key.float(), value.float()
        query, key = query.to(value.dtype), key.to(value.dtype)
        if varlen_attn is not None and query.is_cuda and dtype != torch.float32 and not dropout:
            attended = _ragged(query, key, value, segments, sliding_window, scaling)
        else:
            attended = _one_by_one(query, key, value, segments, sliding_window, scaling, dropout)
    return attended.to(dtype), None


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    window: int | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    """One call of fused attention per segment."""
    queries, keys, values = (x.split(segments.lengths, 2) for x in (query, key, value))
    attended = []
    for i, chain in enumerate(segments.chains):
        mask = segments.mask(i, window, query)
        alone = len(chain) == 1
        attended.append(
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
    return torch.cat(attended, 2).transpose(1, 2)


def _ragged(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    window: int | None,
    scale: float | None,
) -> torch.Tensor:
    """One kernel for all segments. It is causal from the right end: a segment's last query sees its last key."""
    kernel: Any = varlen_attn
    rows = segments.ragged(query.device)
    options = {"enable_gqa": query.shape[1] != key.shape[1]} if _takes_groups(kernel) else {}
    attended = kernel(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[rows.index],
        value[0].transpose(0, 1)[rows.index],
        rows.queries,
        rows.keys,
        rows.most_queries,
        rows.most_keys,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        **options,
    )
    return attended[None]


@cache
def _takes_groups(kernel: Callable) -> bool:
    """Whether the kernel is to be asked for groups of query heads; torch before 2.12 makes them unasked."""
    return "enable_gqa" in inspect.signature(kernel).parameters


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
