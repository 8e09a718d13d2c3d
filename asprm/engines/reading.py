"""Lean reading of packs on a CPU in fp32, forward and backward by hand, for Llama- and Mistral-style models.

Half of a small model's training on a CPU is bookkeeping: modules, repeated key-value heads, elementwise operations that
autograd does not fuse, one attention call per segment. Here a layer is one autograd function, with fused projections.
Segments of similar size attend in one batch of matrix products, where the query heads that share a key-value head are
rows of one matrix. The last layer computes keys and values of every token, and the rest only for tokens whose states
are wanted. The results are those of the model's own modules, up to rounding. `asprm.engines.packed.read` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

_BLOCK = 384  # rows of a layer's products at a time, without gradients
_WASTE = 1.6  # segments attend together while there are at most this many times as many scores as without padding


def supports(model: PreTrainedModel) -> bool:
    """Whether `states` can replace the model's own forward: Llama or Mistral, on a CPU in fp32, without dropout."""
    config = model.config.get_text_config()
    return (
        model.device.type == "cpu"
        and model.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and config.model_type in ("llama", "mistral")
        and config.hidden_act == "silu"
        and not getattr(config, "attention_bias", False)
        and not getattr(config, "mlp_bias", False)
        and not (model.training and (config.attention_dropout or model.is_gradient_checkpointing))
        and config.rope_parameters.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")
    )


def states(model: PreTrainedModel, packed: Any, at: np.ndarray | None = None) -> torch.Tensor:
    """The last hidden states (A, hidden) of the pack's tokens `at` (A,), repeated ones too; None: of all tokens.

    packed: an `asprm.engines.packed.Pack`.
    """
    backbone: Any = model.base_model
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    groups = config.num_attention_heads // config.num_key_value_heads
    size = packed.ids.shape[1]
    wanted, place = np.unique(np.arange(size) if at is None else at, return_inverse=True)
    x = backbone.embed_tokens(packed.ids[0])
    cosine, sine = backbone.rotary_emb(x, packed.positions)
    half = head_dim // 2
    angles = cosine[0, :, None, :half], sine[0, :, None, :half]
    plan = _plan(packed.segments, np.arange(size), window, groups)
    shape = (config.num_attention_heads, config.num_key_value_heads, head_dim)
    for number, layer in enumerate(backbone.layers):
        rows = None
        if number == len(backbone.layers) - 1 and len(wanted) < size:
            rows = torch.from_numpy(wanted)
            plan = _plan(packed.segments, wanted, window, groups)
        attention, mlp = layer.self_attn, layer.mlp
        x = (_Layer.apply if torch.is_grad_enabled() else _result)(
            x,
            layer.input_layernorm.weight,
            torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]),
            attention.o_proj.weight,
            layer.post_attention_layernorm.weight,
            torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            mlp.down_proj.weight,
            angles,
            plan,
            rows,
            shape,
            layer.input_layernorm.variance_epsilon,
        )
    return backbone.norm(x).index_select(0, torch.from_numpy(place)) if at is not None else backbone.norm(x)


@dataclass(frozen=True, eq=False)
class _Bucket:
    """B segments that attend together, padded to n queries and m keys.

    queries, keys: (B · n,) and (B · m,), which of all tokens they are.
    filled: (F,) which of the B · n queries are no padding. out: (F,) their rows among the layer's results.
    mask: (B, n · groups, m) additive.
    """

    size: tuple[int, int, int]  # B, n, m
    queries: torch.Tensor
    keys: torch.Tensor
    filled: torch.Tensor
    out: torch.Tensor
    mask: torch.Tensor


def _plan(segments: Any, wanted: np.ndarray, window: int | None, groups: int) -> list[_Bucket]:
    """The buckets of the `wanted` tokens (sorted); each attends to the chain of its segment, up to itself."""
    starts = np.cumsum([0, *segments.lengths])
    cuts = np.searchsorted(wanted, starts)
    pieces = []  # number of keys, segment, its first wanted token and the one after its last, among `wanted`
    for number, chain in enumerate(segments.chains):
        if cuts[number] < cuts[number + 1]:
            last = int(wanted[cuts[number + 1] - 1])  # no key after it is needed
            seen = sum(segments.lengths[i] for i in chain[:-1]) + last + 1 - int(starts[number])
            pieces.append((seen, number, int(cuts[number]), int(cuts[number + 1])))
    pieces.sort(reverse=True)
    # Each bucket takes as many pieces, in the order of their keys, as `_WASTE` allows.
    buckets, first = [], 0
    while first < len(pieces):
        longest, most, area, end = pieces[first][0], 0, 0, first
        while end < len(pieces):
            count = pieces[end][3] - pieces[end][2]
            area += pieces[end][0] * count
            if end > first and max(most, count) * longest * (end + 1 - first) > _WASTE * area:
                break
            most, end = max(most, count), end + 1
        buckets.append(_bucket(pieces[first:end], segments, starts, wanted, most, longest, window, groups))
        first = end
    return buckets


def _bucket(
    pieces: Sequence[tuple[int, int, int, int]],
    segments: Any,
    starts: np.ndarray,
    wanted: np.ndarray,
    most: int,
    longest: int,
    window: int | None,
    groups: int,
) -> _Bucket:
    """A bucket of pieces as in `_plan`. most: queries of a piece. longest: keys of a piece."""
    queries, out = np.zeros((2, len(pieces), most), np.int64)
    keys = np.zeros((len(pieces), longest), np.int64)
    position = np.full((len(pieces), most), longest)  # padding sees all keys, and its results are dropped
    filled = np.zeros((len(pieces), most), bool)
    for i, (seen, number, low, high) in enumerate(pieces):
        chain, count = segments.chains[number], high - low
        keys[i, :seen] = np.concatenate([np.arange(int(starts[j]), int(starts[j + 1])) for j in chain])[:seen]
        queries[i, :count] = wanted[low:high]
        out[i, :count] = np.arange(low, high)
        filled[i, :count] = True
        before = sum(segments.lengths[j] for j in chain[:-1])
        position[i, :count] = before + wanted[low:high] - starts[number]
    column = np.arange(longest)
    hidden = column > position[:, :, None]
    if window is not None:
        hidden |= (column <= position[:, :, None] - window) & filled[:, :, None]
    mask = torch.from_numpy(np.where(hidden, np.float32("-inf"), np.float32(0)))
    mask = mask[:, :, None].expand(-1, -1, groups, -1).flatten(1, 2)
    kept = np.flatnonzero(filled)
    return _Bucket(
        size=(len(pieces), most, longest),
        queries=torch.from_numpy(queries.ravel()),
        keys=torch.from_numpy(keys.ravel()),
        filled=torch.from_numpy(kept),
        out=torch.from_numpy(out.ravel()[kept]),
        mask=mask,
    )


class _Layer(torch.autograd.Function):
    """One decoder layer: from x (N, hidden) to the states (A, hidden) of `rows`, or of all tokens if `rows` is None."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        before: torch.Tensor,
        qkv: torch.Tensor,
        out: torch.Tensor,
        after: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        plan: list[_Bucket],
        rows: torch.Tensor | None,
        shape: tuple[int, int, int],
        epsilon: float,
    ) -> torch.Tensor:
        heads, kv_heads, dim = shape
        scale1 = _scale(x, epsilon)
        h1 = (x * scale1).mul_(before)
        projected = h1 @ qkv.t()
        _rotate(projected[:, : (heads + kv_heads) * dim].unflatten(1, (-1, dim)), *angles)
        seen, kept = _attend(projected, plan, len(x) if rows is None else len(rows), shape)
        y = (x if rows is None else x.index_select(0, rows)).addmm(seen, out.t())
        scale2 = _scale(y, epsilon)
        h2 = (y * scale2).mul_(after)
        gate, up = (h2 @ gate_up.t()).chunk(2, dim=1)
        gated = torch.sigmoid(gate)
        active = gate * gated
        tensors = x, before, qkv, out, after, gate_up, down, scale1, h1, seen, y, scale2, h2, gated, active, up
        ctx.save_for_backward(*tensors)
        ctx.rest = angles, plan, rows, shape, kept
        return y.addmm(active * up, down.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_result: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, before, qkv, out, after, gate_up, down, scale1, h1, seen, y, scale2, h2, gated, active, up = (
            ctx.saved_tensors
        )
        angles, plan, rows, shape, kept = ctx.rest
        heads, kv_heads, dim = shape
        d_result = d_result.contiguous()
        d_down = d_result.t() @ (active * up)
        d_hidden = d_result @ down
        d_gate_up = d_hidden.new_empty(len(d_hidden), 2 * up.shape[1])
        d_gate, d_up = d_gate_up.chunk(2, dim=1)
        torch.mul(d_hidden, active, out=d_up)
        # The slope of gate · sigmoid(gate) is sigmoid + active · (1 − sigmoid).
        torch.mul(d_hidden.mul_(up), gated.add(active).addcmul_(active, gated, value=-1), out=d_gate)
        d_y, d_after = _norm_back(d_gate_up @ gate_up, y, scale2, after)
        d_y += d_result
        d_seen = d_y @ out
        d_projected = _attend_back(d_seen, kept, plan, len(x), shape)
        _rotate(d_projected[:, : (heads + kv_heads) * dim].unflatten(1, (-1, dim)), angles[0], -angles[1])
        d_x, d_before = _norm_back(d_projected @ qkv, x, scale1, before)
        d_x = d_x.add_(d_y) if rows is None else d_x.index_add_(0, rows, d_y)
        d_qkv, d_out, d_both = d_projected.t() @ h1, d_y.t() @ seen, d_gate_up.t() @ h2
        return d_x, d_before, d_qkv, d_out, d_after, d_both, d_down, None, None, None, None, None


def _result(
    x: torch.Tensor,
    before: torch.Tensor,
    qkv: torch.Tensor,
    out: torch.Tensor,
    after: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
    angles: tuple[torch.Tensor, torch.Tensor],
    plan: list[_Bucket],
    rows: torch.Tensor | None,
    shape: tuple[int, int, int],
    epsilon: float,
) -> torch.Tensor:
    """`_Layer` without a backward, in blocks of rows that stay in a core's cache."""
    heads, kv_heads, dim = shape
    projected = x.new_empty(len(x), len(qkv))
    for block, room in zip(x.split(_BLOCK), projected.split(_BLOCK), strict=True):
        torch.mm((block * _scale(block, epsilon)).mul_(before), qkv.t(), out=room)
    _rotate(projected[:, : (heads + kv_heads) * dim].unflatten(1, (-1, dim)), *angles)
    seen, _ = _attend(projected, plan, len(x) if rows is None else len(rows), shape)
    x = x if rows is None else x.index_select(0, rows)
    result = torch.empty_like(x)
    for block, attended, room in zip(x.split(_BLOCK), seen.split(_BLOCK), result.split(_BLOCK), strict=True):
        y = block.addmm(attended, out.t())
        gate, up = ((y * _scale(y, epsilon)).mul_(after) @ gate_up.t()).chunk(2, dim=1)
        torch.addmm(y, F.silu(gate).mul_(up), down.t(), out=room)
    return result


def _scale(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """(N, 1): the factors that make the mean square of each row one."""
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().div_(x.shape[1]).add_(epsilon).rsqrt_()


def _norm_back(d: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor):
    """Gradients of x and of the norm's weight, from the gradient `d` of its result, which is overwritten."""
    unit = x * scale
    d_weight = torch.linalg.vecdot(d.t(), unit.t())
    d.mul_(weight)
    share = torch.linalg.vecdot(d, unit)[:, None].div_(x.shape[1])
    return d.sub_(unit.mul_(share)).mul_(scale), d_weight


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> None:
    """Rotate each pair (i, i + half) of x (N, heads, dim) by the angle of its token, in place."""
    low, high = x.chunk(2, dim=2)
    kept = low * cosine
    kept.addcmul_(high, sine, value=-1)
    high.mul_(cosine).addcmul_(low, sine)
    low.copy_(kept)


def _attend(projected: torch.Tensor, plan: list[_Bucket], count: int, shape: tuple[int, int, int]):
    """Attention's results (count, heads · dim), and for each bucket the tensors that its backward needs."""
    heads, _, dim = shape
    seen, kept = projected.new_empty(count, heads * dim), []
    for bucket in plan:
        query = _stack(projected[:, : heads * dim].index_select(0, bucket.queries), bucket.size[0], shape)
        key, value = _keys(projected[:, heads * dim :].index_select(0, bucket.keys), bucket.size[0], shape)
        weights = torch.baddbmm(_mask(bucket, shape), query, key.transpose(1, 2), alpha=dim**-0.5).softmax(-1)
        result = _unstack(torch.bmm(weights, value), bucket.size[0], shape)
        if len(bucket.filled) < len(result):
            result = result.index_select(0, bucket.filled)
        seen.index_copy_(0, bucket.out, result)
        kept.append((query, key, value, weights))
    return seen, kept


def _attend_back(d_seen: torch.Tensor, kept: list, plan: list[_Bucket], count: int, shape: tuple[int, int, int]):
    """The gradient (N, width) of the projections."""
    heads, kv_heads, dim = shape
    d_projected = d_seen.new_zeros(count, (heads + 2 * kv_heads) * dim)
    for bucket, (query, key, value, weights) in zip(plan, kept, strict=True):
        size = bucket.size[0]
        d_result = d_seen.new_zeros(len(bucket.queries), heads * dim)
        d_result.index_copy_(0, bucket.filled, d_seen.index_select(0, bucket.out))
        d_result = _stack(d_result, size, shape)
        d_value = torch.bmm(weights.transpose(1, 2), d_result)
        d_scores = torch._softmax_backward_data(  # pyright: ignore[reportPrivateImportUsage]
            torch.bmm(d_result, value.transpose(1, 2)), weights, -1, weights.dtype
        ).mul_(dim**-0.5)
        d_query = _unstack(torch.bmm(d_scores, key), size, shape)
        filled = bucket.filled
        d_projected[:, : heads * dim].index_copy_(0, bucket.queries[filled], d_query.index_select(0, filled))
        d_keys = torch.stack([torch.bmm(d_scores.transpose(1, 2), query), d_value], 1)  # (B · kv, 2, m, dim)
        d_keys = d_keys.unflatten(0, (size, kv_heads)).permute(0, 3, 2, 1, 4).flatten(2).flatten(0, 1)
        d_projected[:, heads * dim :].index_add_(0, bucket.keys, d_keys)
    return d_projected


def _stack(x: torch.Tensor, size: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """(B · n, heads · dim) as (B · kv, n · groups, dim); a view if there is one key-value head."""
    heads, kv_heads, dim = shape
    return x.view(size, -1, kv_heads, heads // kv_heads, dim).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _unstack(x: torch.Tensor, size: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """The reverse of `_stack`."""
    heads, kv_heads, dim = shape
    return x.view(size, kv_heads, -1, heads // kv_heads, dim).transpose(1, 2).reshape(-1, heads * dim)


def _keys(x: torch.Tensor, size: int, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B · m, 2 · kv · dim) as keys and values, (B · kv, m, dim) each."""
    key, value = x.view(size, -1, 2, shape[1], shape[2]).permute(2, 0, 3, 1, 4).flatten(1, 2)
    return key, value


def _mask(bucket: _Bucket, shape: tuple[int, int, int]) -> torch.Tensor:
    return bucket.mask if shape[1] == 1 else bucket.mask.repeat_interleave(shape[1], 0)
