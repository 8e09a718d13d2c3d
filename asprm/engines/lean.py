"""A lean executor for Llama- and Mistral-style models: the model's arithmetic without its modules.

For small models on a CPU most of a forward is Python, repeated key-value heads and padding. Here the projections are
fused, the queries that share a key-value head are read as one block, and chunks of text are packed end to end instead
of padded. The weights stay the model's own: its projections become views of the fused ones, so nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from asprm.engines.executor import Executor, Piece, additive_mask
from asprm.engines.linear import linear
from asprm.engines.rows import Rows

_BLOCK = 16  # rows; on an accelerator one block of all rows, for the launches


class LeanExecutor(Executor):
    """Same calls and results as `Executor`; only for models of which `supports` says True."""

    @staticmethod
    def supports(model: PreTrainedModel) -> bool:
        """True for Llama and Mistral backbones with unbiased projections, SiLU and rotary angles fixed by position."""
        config = model.config
        return (
            config.model_type in ("llama", "mistral")
            and config.hidden_act == "silu"
            and not getattr(config, "attention_bias", False)
            and not getattr(config, "mlp_bias", False)
            and config.rope_parameters.get("rope_type", "default") in ("default", "linear", "llama3", "yarn")
            and _head(model) is not None
        )

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        backbone = model.model
        self.embedding, self.rotary = backbone.embed_tokens.weight, backbone.rotary_emb
        self.head, self.norm = _head(model), backbone.norm
        self.layers = [_Layer(layer) for layer in backbone.layers]
        self.heads = self.config.num_attention_heads
        self.head_dim = self.shape.key_dim
        (self.window,) = self.windows.values()
        self.angles = self._angles(64)
        if self.device.type == "cpu":
            self.block = _BLOCK

    def _angles(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines, and sines with the sign that rotating a half gives them, (length, 1, head_dim)."""
        cosine, sine = self.rotary(self.embedding, torch.arange(length, device=self.device)[None])
        low, high = sine[0].chunk(2, dim=-1)
        return cosine[0, :, None].clone(), torch.cat([-low, high], dim=-1)[:, None]

    def _at(self, positions: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        if longest > len(self.angles[0]):
            self.angles = self._angles(2 * longest)
        cosine, sine = self.angles
        return cosine[positions], sine[positions]

    @torch.inference_mode()
    def step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, known: np.ndarray) -> torch.Tensor:
        count = len(tokens)
        at = torch.arange(count, device=self.device) * rows.length + lengths
        blocks = []  # rows, columns, mask
        for part, columns in self._blocks(rows, known):
            own = lengths[part, None]
            blocks.append((part, columns, additive_mask(own, own, columns, self.window, self.shape.dtype)[:, None]))
        angles = self._at(lengths, int(known.max()) + 1)
        # The queries of one group stand where a sequence's tokens would: their keys are read once for all.
        groups = (self.shape.heads, self.heads // self.shape.heads)
        x = self.embedding[tokens]
        for number, layer in enumerate(self.layers):
            queries, new = self._project(layer, x, angles)
            rows.flat(number).index_copy_(0, at, new)
            queries = queries.unflatten(1, groups)
            seen = []
            for part, columns, mask in blocks:
                keys, values = (x.transpose(1, 2) for x in rows.split(rows.store[number, part, :columns]))
                seen.append(F.scaled_dot_product_attention(queries[part], keys, values, attn_mask=mask))
            x = layer.finish(x, torch.cat(seen).flatten(1))
        return self._output(x)

    def _blocks(self, rows: Rows, known: np.ndarray) -> list[tuple[slice, int]]:
        """Neighbouring rows and how many columns they read; blocks that read equally far are one."""
        blocks: list[tuple[slice, int]] = []
        for start in range(0, len(known), self.block):
            stop = min(start + self.block, len(known))
            columns = rows.visible(int(known[start:stop].max()) + 1)
            if blocks and blocks[-1][1] == columns:
                start = blocks.pop()[0].start
            blocks.append((slice(start, stop), columns))
        return blocks

    def _read(self, rows: Rows, pieces: list[Piece]) -> Sequence[torch.Tensor]:
        # Tokens of all pieces end to end, (N,); only attention looks at one piece at a time.
        packed = np.concatenate(
            [np.stack([x.ids, x.positions, x.columns, np.full(len(x.ids), x.row)]) for x in pieces], axis=1
        )
        ids, positions, own, row = torch.from_numpy(packed.astype(np.int64)).to(self.device)
        at = row * rows.length + own
        angles = self._at(positions, int(packed[1].max()) + 1)
        groups = (self.shape.heads, self.heads // self.shape.heads)
        ends = [piece.start + len(piece.ids) for piece in pieces]
        # A row's beginning needs no mask where attention is plainly causal.
        plain = [
            not piece.start and not len(piece.branches) and end <= self.window
            for piece, end in zip(pieces, ends, strict=True)
        ]
        if not all(plain):
            masks = additive_mask(positions, own, max(ends), self.window, self.shape.dtype)
        parts, branches, offset = [], [], 0
        for piece, end, is_plain in zip(pieces, ends, plain, strict=True):
            part = slice(offset, offset := offset + len(piece.ids))
            mask = None if is_plain else masks[part, :end]
            # Of every layer: the row's keys and values, (heads, groups, end, dim).
            keys, values = (
                x.transpose(1, 2)[:, :, None].expand(-1, -1, groups[1], -1, -1)
                for x in rows.split(rows.store[:, piece.row, :end])
            )
            parts.append((part, keys, values, mask))
            branches += range(part.start + len(piece.chunk), part.stop)

        x = self.embedding[ids]
        for number, layer in enumerate(self.layers):
            queries, new = self._project(layer, x, angles)
            rows.flat(number).index_copy_(0, at, new)
            last = number == len(self.layers) - 1
            if last and not branches:  # nobody asked for more than keys and values
                return [x[:0]] * len(pieces)
            queries = queries.unflatten(1, groups)
            seen = torch.empty_like(queries)
            for piece, (part, keys, values, mask) in zip(pieces, parts, strict=True):
                if last:  # from here on, only the branches' outputs matter
                    if not len(piece.branches):
                        continue
                    part, mask = slice(part.start + len(piece.chunk), part.stop), mask[len(piece.chunk) :]
                heads = F.scaled_dot_product_attention(
                    queries[part].permute(1, 2, 0, 3),
                    keys[number],
                    values[number],
                    attn_mask=mask,
                    is_causal=mask is None,
                )
                seen[part] = heads.permute(2, 0, 1, 3)
            if last:
                x, seen = x[branches], seen[branches]
            x = layer.finish(x, seen.flatten(1))
        return self._output(x).split([len(piece.branches) for piece in pieces])

    def _project(
        self, layer: _Layer, x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated queries (N, heads, dim), and keys (rotated) and values as the cache stores them, (N, width)."""
        both = layer.project(x)
        rotated = both[:, : (self.heads + self.shape.heads) * self.head_dim].unflatten(1, (-1, self.head_dim))
        swapped = rotated.unflatten(2, (2, -1)).flip(2).flatten(2)
        rotated.mul_(angles[0]).addcmul_(swapped, angles[1])
        return rotated[:, : self.heads], both[:, self.heads * self.head_dim :]

    def _output(self, x: torch.Tensor) -> torch.Tensor:
        output = linear(_norm(x, self.norm), self.head.weight)
        return (output if self.head.bias is None else output + self.head.bias).float()


class _Layer:
    """One decoder layer with its projections fused; (N, hidden) in and out."""

    def __init__(self, layer: nn.Module) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.after = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv = _fuse(attention.q_proj, attention.k_proj, attention.v_proj)
        self.gate_up = _fuse(mlp.gate_proj, mlp.up_proj)
        self.out, self.down = attention.o_proj.weight, mlp.down_proj.weight

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return linear(_norm(x, self.before), self.qkv)

    def finish(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        x = linear(seen, self.out, plus=x)
        gate, up = linear(_norm(x, self.after), self.gate_up).chunk(2, dim=-1)
        return linear(F.silu(gate).mul_(up), self.down, plus=x)


def _norm(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)


def _fuse(*projections: nn.Linear) -> torch.Tensor:
    """The projections' weights in one matrix, of which they become views."""
    fused = torch.cat([x.weight.detach() for x in projections])
    for projection, weight in zip(projections, fused.split([x.out_features for x in projections]), strict=True):
        projection.weight.data = weight
    return fused


def _head(model: PreTrainedModel) -> nn.Module | None:
    """The language-model head, or a token classifier's."""
    return getattr(model, "lm_head", None) or getattr(model, "score", None)
