"""The attention of texts that are read (`asprm.engines.lean`): one text at a time, or padded and together.

A `Piece` is what one row reads. The tokens of all pieces lie end to end, (N,). A reader knows which of these tokens are
its own, and which keys and values of the cache they attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from asprm.engines.pieces import Piece, additive_mask
from asprm.engines.rows import Rows

_PADDED = 8192  # up to this many tokens, padding included, are read together however different their lengths are


class Reader(Protocol):
    """The attention of some of the N tokens, in any layer."""

    def attend(self, queries: torch.Tensor, seen: torch.Tensor, number: int, last: bool) -> None:
        """Write the attention of the reader's own tokens in layer `number` to their places in `seen`.

        queries, seen: (N, heads, groups, dim), of all tokens. last: this is the last layer, where only branches count.
        """
        ...


@dataclass(frozen=True, eq=False)
class Alone:
    """The `Reader` of one piece.

    part: its tokens, the last `branches` of which are branches.
    keys, values: (layers, heads, groups, columns, dim) views of the cache.
    mask: additive (Q, columns), or None for plain causal attention without branches.
    """

    part: slice
    branches: int
    keys: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor | None

    def attend(self, queries: torch.Tensor, seen: torch.Tensor, number: int, last: bool) -> None:
        """See `Reader`. In the last layer the other tokens are left out."""
        part, mask = self.part, self.mask
        if last:
            if not self.branches or mask is None:
                return
            part, mask = slice(part.stop - self.branches, part.stop), mask[-self.branches :]
        heads = F.scaled_dot_product_attention(
            queries[part].permute(1, 2, 0, 3),  # (heads, groups, Q, dim)
            self.keys[number],
            self.values[number],
            attn_mask=mask,
            is_causal=mask is None,
        )
        seen[part] = heads.permute(2, 0, 1, 3)


def alone(rows: Rows, pieces: Sequence[Piece], groups: int, window: int) -> list[Alone]:
    """A reader for each piece, of views: fast where a call costs little. groups: query heads that share a key head."""
    # 1. Masks (N, columns) of all pieces. The beginning of a row, without branches, needs none: it is plainly causal.
    ends = [piece.start + len(piece.ids) for piece in pieces]
    plain = [
        not piece.start and not len(piece.branches) and end <= window for piece, end in zip(pieces, ends, strict=True)
    ]
    masks = None
    if not all(plain):
        places = np.concatenate([np.stack([piece.positions, piece.columns]) for piece in pieces], axis=1)
        positions, columns = torch.from_numpy(places).to(rows.shape.device)
        masks = additive_mask(positions, columns, max(ends), window, rows.shape.dtype)
    # 2. Readers.
    readers, start = [], 0
    for piece, end, is_plain in zip(pieces, ends, plain, strict=True):
        part = slice(start, start := start + len(piece.ids))
        keys, values = (
            x.transpose(1, 2)[:, :, None].expand(-1, -1, groups, -1, -1)
            for x in rows.split(rows.store[:, piece.row, :end])
        )
        mask = None if is_plain or masks is None else masks[part, :end]
        readers.append(Alone(part, len(piece.branches), keys, values, mask))
    return readers


@dataclass(frozen=True, eq=False)
class Together:
    """The `Reader` of P pieces, padded to Q tokens.

    which: (P,) the pieces' rows. places: (P, Q) where among the N their tokens are. filled: (F,) which of the P · Q
    tokens are no padding; out: (F,) where these are among the N. mask: additive (P, 1, groups · Q, columns).
    """

    rows: Rows
    which: torch.Tensor
    places: torch.Tensor
    filled: torch.Tensor
    out: torch.Tensor
    mask: torch.Tensor

    def attend(self, queries: torch.Tensor, seen: torch.Tensor, number: int, last: bool) -> None:
        """See `Reader`. In the last layer all tokens are computed, too."""
        read = self.rows.store[number, :, : self.mask.shape[-1]].index_select(0, self.which)
        keys, values = (x.transpose(1, 2) for x in self.rows.split(read))  # (P, heads, columns, dim)
        # The queries that share a key head stand behind each other, as if they were more tokens.
        heads = F.scaled_dot_product_attention(
            queries[self.places].permute(0, 2, 3, 1, 4).flatten(2, 3), keys, values, attn_mask=self.mask
        )
        heads = heads.unflatten(2, (queries.shape[2], -1)).permute(0, 3, 1, 2, 4).flatten(0, 1)  # (P · Q, …)
        seen.index_copy_(0, self.out, heads.index_select(0, self.filled))


def together(rows: Rows, pieces: Sequence[Piece], groups: int, window: int) -> list[Together]:
    """Few readers, each of pieces of similar length or of few tokens: fast where a call costs a lot."""
    # 1. Which pieces to pad together, the longest first. Above `_PADDED` tokens none is shorter than half of the first.
    starts = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
    alike: list[list[int]] = []
    for i in sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids)):
        longest = len(pieces[alike[-1][0]].ids) if alike else 0
        if not alike or (2 * len(pieces[i].ids) < longest and (len(alike[-1]) + 1) * longest > _PADDED):
            alike.append([])
        alike[-1].append(i)
    # 2. Readers. Padding stands for the first of the N tokens, sees its row's first column, and is thrown away.
    readers = []
    for members in alike:
        padded = np.zeros((3, len(members), len(pieces[members[0]].ids)), np.int64)  # places, positions, columns
        filled = np.zeros(padded.shape[1:], bool)
        for row, i in enumerate(members):
            piece, count = pieces[i], len(pieces[i].ids)
            padded[:, row, :count] = np.arange(starts[i], starts[i + 1]), piece.positions, piece.columns
            filled[row, :count] = True
        visible = rows.visible(int(padded[2].max()) + 1)
        which, kept, padded = (
            torch.from_numpy(x).to(rows.shape.device)
            for x in (np.array([pieces[i].row for i in members]), np.flatnonzero(filled), padded)
        )
        places, positions, columns = padded
        mask = additive_mask(positions, columns, visible, window, rows.shape.dtype).repeat(1, groups, 1)[:, None]
        readers.append(Together(rows, which, places, kept, places.flatten()[kept], mask))
    return readers
