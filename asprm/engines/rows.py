"""The key-value cache: rows of fixed shape, written in place.

A row is one sequence; its columns are the sequence's positions. All layers lie in one tensor, with a token's keys and
values side by side, so that writing a token is one copy per layer and forking a prefix is one copy in all.
Rows hold no lengths: their owner knows them. Numbers beyond a row's length are finite and never attended to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache

_GRAIN = 16  # lengths are rounded up to this many columns, so that the kernels see few different shapes


@dataclass(frozen=True)
class Shape:
    """The shape of one token's keys and values, the same in every layer."""

    layers: int
    heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def width(self) -> int:
        """Numbers that one token takes in one layer."""
        return self.heads * (self.key_dim + self.value_dim)


class Rows:
    """Keys and values of `count` sequences of up to `length` tokens; `reserve` makes room for more.

    store: (layers, count, length, width). A new tensor takes its place when room is made.
    """

    def __init__(self, shape: Shape, count: int = 0, length: int = 0) -> None:
        self.shape = shape
        self.store = self._empty(count, length)

    def _empty(self, count: int, length: int) -> torch.Tensor:
        shape = self.shape
        return torch.zeros(shape.layers, count, length, shape.width, dtype=shape.dtype, device=shape.device)

    @property
    def count(self) -> int:
        return self.store.shape[1]

    @property
    def length(self) -> int:
        return self.store.shape[2]

    @torch.inference_mode()
    def reserve(self, count: int, length: int) -> None:
        """Make room for `count` rows of `length` columns; the rows keep their contents."""
        if count <= self.count and length <= self.length:
            return
        # By at least half, so that rows that grow token by token are seldom moved.
        if length > self.length:
            length = -(-max(length, self.length * 3 // 2) // _GRAIN) * _GRAIN
        grown = self._empty(max(count, self.count), max(length, self.length))
        grown[:, : self.count, : self.length] = self.store
        self.store = grown

    @torch.inference_mode()
    def copy(self, row: int, source: Rows, source_row: int, length: int) -> None:
        """Fork: copy the first `length` tokens of `source_row` of `source` into `row`."""
        self.store[:, row, :length] = source.store[:, source_row, :length]

    def visible(self, longest: int) -> int:
        """How many columns to read to see rows of up to `longest` tokens in full."""
        return min(-(-longest // _GRAIN) * _GRAIN, self.length)

    def flat(self, layer: int) -> torch.Tensor:
        """(count · length, width): the token in `column` of `row` is at row · length + column."""
        return self.store[layer].view(-1, self.shape.width)

    def split(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys (..., heads, key_dim) and values (..., heads, value_dim) of stored tokens (..., width), as views."""
        shape = self.shape
        keys, values = tokens.split([shape.heads * shape.key_dim, shape.heads * shape.value_dim], dim=-1)
        return keys.unflatten(-1, (shape.heads, -1)), values.unflatten(-1, (shape.heads, -1))


class RowsCache(Cache):
    """`rows` as the cache that one forward of a transformers model gets: `update` writes in place, then reads.

    rows_read: the rows of the batch, a slice (read as views) or an index (B,).
    at: (B · Q,) places of the batch's tokens in `Rows.flat`, row by row.
    columns: how many columns the attention reads.
    """

    def __init__(self, rows: Rows, rows_read: slice | torch.Tensor, at: torch.Tensor, columns: int) -> None:
        super().__init__(layers=[])
        self.rows, self.rows_read, self.at, self.columns = rows, rows_read, at, columns

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values (B, heads, Q, dim); return all those up to `columns`, (B, heads, columns, dim)."""
        tokens = torch.cat([key_states.transpose(1, 2).flatten(2), value_states.transpose(1, 2).flatten(2)], dim=-1)
        self.rows.flat(layer_idx).index_copy_(0, self.at, tokens.flatten(0, 1))
        keys, values = self.rows.split(self.rows.store[layer_idx, :, : self.columns][self.rows_read])
        return keys.transpose(1, 2), values.transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.columns

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.columns, 0
