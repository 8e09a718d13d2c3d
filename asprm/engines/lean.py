"""A lean executor for models like Llama, Mistral and Qwen2: the model's arithmetic without its modules.

On a CPU, most of a small model's forward is Python, repeated key-value heads and padding. Here the projections are
fused, the queries that share a key-value head attend as one block, and chunks of text lie end to end without padding.
The weights stay the model's own: its projections become views of the fused ones, so nothing is held twice.

Shapes: N tokens, `groups` query heads share each of `heads` key-value heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    LlamaForCausalLM,
    LlamaForTokenClassification,
    MistralForCausalLM,
    MistralForTokenClassification,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
)

from asprm.engines.attend import alone, together
from asprm.engines.executor import Executor
from asprm.engines.linear import linear
from asprm.engines.pieces import Piece, additive_mask
from asprm.engines.rows import Rows

_BLOCK = 16  # rows, on a CPU; on an accelerator all rows are one block, which takes fewer launches


class LeanExecutor(Executor):
    """Same calls and results as `Executor`, for models that it `supports`.

    together: pieces of similar length are read together, else each alone (`asprm.engines.attend`).
    """

    @staticmethod
    def supports(model: PreTrainedModel) -> bool:
        """Whether it is Llama, Mistral or Qwen2, with one kind of attention, no bias but that of queries, keys and
        values, SiLU, and rotary angles fixed by position.
        """
        if _head(model) is None:
            return False
        config = model.config
        backbone: Any = model.base_model
        return (
            config.hidden_act == "silu"
            and config.rope_parameters.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")
            and len(set(getattr(config, "layer_types", None) or ())) <= 1
            and all(
                projection.bias is None
                for layer in backbone.layers
                for projection in (layer.self_attn.o_proj, layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
            )
        )

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        backbone: Any = model.base_model
        self.embedding, self.rotary = backbone.embed_tokens.weight, backbone.rotary_emb
        self.head: Any = _head(model)
        self.norm = backbone.norm
        self.layers = [_Layer(layer) for layer in backbone.layers]
        self.query_heads = self.config.num_attention_heads
        self.head_shape = (self.shape.heads, self.query_heads // self.shape.heads)  # (heads, groups)
        self.head_dim = self.shape.key_dim
        (self.window,) = self.windows.values()
        # A captured step keeps the address of the angles, so there they must not move.
        self.angles = self._angles(self.positions if self.graphs else 64)
        self.together = self.device.type != "cpu"
        if not self.together:
            self.block = _BLOCK

    def _angles(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines, and sines with the signs that `_project` needs, (length, 1, head_dim) each."""
        cosine, sine = self.rotary(self.embedding, torch.arange(length, device=self.device)[None])
        low, high = sine[0].chunk(2, dim=-1)
        return cosine[0, :, None].clone(), torch.cat([-low, high], dim=-1)[:, None]

    def _at(self, positions: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines at the positions (N,), all below `longest`: (N, 1, head_dim) each."""
        if longest > len(self.angles[0]):
            self.angles = self._angles(2 * longest)
        cosine, sine = self.angles
        return cosine[positions], sine[positions]

    @torch.inference_mode()
    def step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, known: np.ndarray) -> torch.Tensor:
        """See `Executor.step`."""
        if self.graphs is not None:
            return super().step(rows, tokens, lengths, known)
        return self._step_blocks(rows, tokens, lengths, self._blocks(rows, known))

    def _step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, columns: int) -> torch.Tensor:
        return self._step_blocks(rows, tokens, lengths, [(slice(0, len(tokens)), columns)])

    def _step_blocks(
        self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, parts: list[tuple[slice, int]]
    ) -> torch.Tensor:
        """`step` in blocks. parts: neighbouring rows, and how many columns they read."""
        # 1. Where the tokens are written, the blocks' masks, the tokens' angles.
        at = torch.arange(len(tokens), device=self.device) * rows.length + lengths  # (B,), in `Rows.flat`
        blocks = []  # rows, columns, mask
        for part, columns in parts:
            own = lengths[part, None]
            blocks.append((part, columns, additive_mask(own, own, columns, self.window, self.shape.dtype)[:, None]))
        angles = self._at(lengths, min(max(columns for _, columns in parts), self.positions))
        # 2. The layers. The queries of a group stand where a sequence's tokens would, so keys are read once for all.
        x = self.embedding[tokens]  # (B, hidden)
        for number, layer in enumerate(self.layers):
            queries, new = self._project(layer, x, angles)
            rows.flat(number).index_copy_(0, at, new)
            queries = queries.unflatten(1, self.head_shape)  # (B, heads, groups, dim)
            seen = []
            for part, columns, mask in blocks:
                keys, values = (x.transpose(1, 2) for x in rows.split(rows.store[number, part, :columns]))
                seen.append(F.scaled_dot_product_attention(queries[part], keys, values, attn_mask=mask))
            x = layer.finish(x, (seen[0] if len(seen) == 1 else torch.cat(seen)).flatten(1))
        return self._output(x)

    def _blocks(self, rows: Rows, known: np.ndarray) -> list[tuple[slice, int]]:
        """Neighbouring rows and how many columns they read; neighbouring blocks that read equally far are merged."""
        blocks: list[tuple[slice, int]] = []
        for start in range(0, len(known), self.block):
            stop = min(start + self.block, len(known))
            columns = rows.visible(int(known[start:stop].max()) + 1)
            if blocks and blocks[-1][1] == columns:
                start = blocks.pop()[0].start
            blocks.append((slice(start, stop), columns))
        return blocks

    def _read(self, rows: Rows, pieces: list[Piece]) -> Sequence[torch.Tensor]:
        """See `Executor._read`."""
        # 1. Tokens of all pieces end to end, (N,): ids, positions, columns, rows. Only attention knows pieces.
        packed = np.concatenate(
            [np.stack([x.ids, x.positions, x.columns, np.full(len(x.ids), x.row)]) for x in pieces], axis=1
        )
        ids, positions, own, row = torch.from_numpy(packed.astype(np.int64)).to(self.device)
        at = row * rows.length + own
        angles = self._at(positions, int(packed[1].max()) + 1)
        readers = (together if self.together else alone)(rows, pieces, self.head_shape[1], self.window)
        ends = np.cumsum([len(piece.ids) for piece in pieces]).tolist()
        branches = [i for x, end in zip(pieces, ends, strict=True) for i in range(end - len(x.branches), end)]
        # 2. The layers. In the last one only the branches count beyond keys and values.
        x = self.embedding[ids]  # (N, hidden)
        for number, layer in enumerate(self.layers):
            queries, new = self._project(layer, x, angles)
            rows.flat(number).index_copy_(0, at, new)
            last = number == len(self.layers) - 1
            if last and not branches:
                return [x[:0]] * len(pieces)
            queries = queries.unflatten(1, self.head_shape)  # (N, heads, groups, dim)
            seen = torch.empty_like(queries)
            for reader in readers:
                reader.attend(queries, seen, number, last)
            if last:
                x, seen = x[branches], seen[branches]
            x = layer.finish(x, seen.flatten(1))
        return self._output(x).split([len(piece.branches) for piece in pieces])

    def _project(
        self, layer: _Layer, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (N, query heads, dim), and keys and values as the cache stores them (N, width); x is (N, hidden)."""
        projected = layer.project(x)  # (N, queries, keys, values)
        # Rotate queries and keys in place; rolling by half a head puts the partner of each number at its place.
        width = (self.query_heads + self.shape.heads) * self.head_dim
        rotated = projected[:, :width].unflatten(1, (-1, self.head_dim))
        swapped = rotated.roll(self.head_dim // 2, 2)
        rotated.mul_(angles[0]).addcmul_(swapped, angles[1])
        return rotated[:, : self.query_heads], projected[:, self.query_heads * self.head_dim :]

    def _output(self, x: torch.Tensor) -> torch.Tensor:
        """The head's outputs (N, V) float32."""
        output = linear(_norm(x, self.norm), self.head.weight)
        return (output if self.head.bias is None else output + self.head.bias).float()


class _Layer:
    """One decoder layer with its projections fused. x is (N, hidden)."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.after = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv = _fuse(attention.q_proj, attention.k_proj, attention.v_proj)
        biases = [x.bias for x in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self.bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        self.gate_up = _fuse(mlp.gate_proj, mlp.up_proj)
        self.out, self.down = attention.o_proj.weight, mlp.down_proj.weight

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values, not rotated, side by side."""
        projected = linear(_norm(x, self.before), self.qkv)
        return projected if self.bias is None else projected.add_(self.bias)

    def finish(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The layer's output, from its input and the attention's results (N, query heads · dim)."""
        x = linear(seen, self.out, plus=x)
        gate, up = linear(_norm(x, self.after), self.gate_up).chunk(2, dim=-1)
        return linear(F.silu(gate).mul_(up), self.down, plus=x)


def _norm(x: torch.Tensor, norm: Any) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)


def _fuse(*projections: nn.Linear) -> torch.Tensor:
    """The projections' weights in one matrix; the weights become views of it."""
    fused = torch.cat([x.weight.detach() for x in projections])
    for projection, weight in zip(projections, fused.split([x.out_features for x in projections]), strict=True):
        projection.weight.data = weight
    return fused


def _head(model: PreTrainedModel) -> nn.Module | None:
    """The head of a language model or of a token classifier; None for other models."""
    if isinstance(model, LlamaForCausalLM | MistralForCausalLM | Qwen2ForCausalLM):
        return model.lm_head
    if isinstance(model, LlamaForTokenClassification | MistralForTokenClassification | Qwen2ForTokenClassification):
        return model.score
    return None
