"""The attention of texts that are read (`asprm.engines.lean`): one by one, or padded and together.

A `Piece` is what one row is to read. The tokens of all pieces lie end to end, (N,); a reader knows which of them are
its own, and which keys and values of the cache they see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from asprm.engines.pieces import Piece, additive_mask
from asprm.engines.rows import Rows

_PADDED = 8192  # tokens that are read together, padding included, however little their lengths are alike


class Alone:
    """One piece. part: its tokens, of which the last `branches` are that. keys, values: (layers, heads, groups,
    columns, dim). mask: additive (Q, columns), or None where plain causal attention is meant.
    """

    def __init__(
        self, part: slice, branches: int, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> None:
        self.part, self.branches, self.keys, self.values, self.mask = part, branches, keys, values, mask

    def attend(self, queries: torch.Tensor, seen: torch.Tensor, number: int, last: bool) -> None:
        """What the queries (N, heads, groups, dim) of layer `number` see, into the same place of `seen`; of the last
        layer only what branches see.
        """
        part, mask = self.part, self.mask
        if last:
            if not self.branches:
                return
            part, mask = slice(part.stop - self.branches, part.stop), mask[-self.branches :]
        heads = F.scaled_dot_product_attention(
            queries[part].permute(1, 2, 0, 3),
            self.keys[number],
            self.values[number],
            attn_mask=mask,
            is_causal=mask is None,
        )
        seen[part] = heads.permute(2, 0, 1, 3)


def alone(rows: Rows, pieces: Sequence[Piece], groups: int, window: int) -> list[Alone]:
    """One reader a piece, of views: what is fast where a call costs little. groups: queries that share a key."""
    ends = [piece.start + len(piece.ids) for piece in pieces]
    # A row's beginning needs no mask where attention is plainly causal.
    plain = [
        not piece.start and not len(piece.branches) and end <= window for piece, end in zip(pieces, ends, strict=True)
    ]
    if not all(plain):
        both = np.concatenate([np.stack([piece.positions, piece.columns]) for piece in pieces], axis=1)
        positions, own = torch.from_numpy(both).to(rows.shape.device)
        masks = additive_mask(positions, own, max(ends), window, rows.shape.dtype)
    readers, start = [], 0
    for piece, end, is_plain in zip(pieces, ends, plain, strict=True):
        part = slice(start, start := start + len(piece.ids))
        keys, values = (
            x.transpose(1, 2)[:, :, None].expand(-1, -1, groups, -1, -1)
            for x in rows.split(rows.store[:, piece.row, :end])
        )
        readers.append(Alone(part, len(piece.branches), keys, values, None if is_plain else masks[part, :end]))
    return readers


class Together:
    """P pieces, padded to Q tokens. which: (P,) their rows. places: (P, Q) their tokens. filled: which of the P · Q are
    no padding. mask: additive (P, 1, groups · Q, columns).
    """

    def __init__(
        self, rows: Rows, which: torch.Tensor, places: torch.Tensor, filled: torch.Tensor, mask: torch.Tensor
    ) -> None:
        self.rows, self.which, self.places, self.filled, self.mask = rows, which, places, filled, mask
        self.out = places.flatten()[filled]

    def attend(self, queries: torch.Tensor, seen: torch.Tensor, number: int, last: bool) -> None:
        """As `Alone.attend`, but of the last layer, too, what all see."""
        read = self.rows.store[number, :, : self.mask.shape[-1]].index_select(0, self.which)
        keys, values = (x.transpose(1, 2) for x in self.rows.split(read))
        heads = F.scaled_dot_product_attention(
            queries[self.places].permute(0, 2, 3, 1, 4).flatten(2, 3), keys, values, attn_mask=self.mask
        )
        heads = heads.unflatten(2, (queries.shape[2], -1)).permute(0, 3, 1, 2, 4).flatten(0, 1)
        seen.index_copy_(0, self.out, heads.index_select(0, self.filled))


def together(rows: Rows, pieces: Sequence[Piece], groups: int, window: int) -> list[Together]:
    """Few readers, of pieces of like length or of few tokens: what is fast where a call costs what many tokens do."""
    starts = np.cumsum([0, *(len(piece.ids) for piece in pieces)])
    alike: list[list[int]] = []
    for i in sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids)):
        longest = len(pieces[alike[-1][0]].ids) if alike else 0
        if not alike or (2 * len(pieces[i].ids) < longest and (len(alike[-1]) + 1) * longest > _PADDED):
            alike.append([])
        alike[-1].append(i)
    readers = []
    for some in alike:
        # Padding stands for the first token of all, sees a row's first column, and is thrown away.
        padded = np.zeros((3, len(some), len(pieces[some[0]].ids)), np.int64)  # places, positions, columns
        filled = np.zeros(padded.shape[1:], bool)
        for row, i in enumerate(some):
            piece, count = pieces[i], len(pieces[i].ids)
            padded[:, row, :count] = np.arange(starts[i], starts[i + 1]), piece.positions, piece.columns
            filled[row, :count] = True
        columns = rows.visible(int(padded[2].max()) + 1)
        which = np.array([pieces[i].row for i in some])
        which, kept, padded = (
            torch.from_numpy(x).to(rows.shape.device) for x in (which, np.flatnonzero(filled), padded)
        )
        mask = additive_mask(padded[1], padded[2], columns, window, rows.shape.dtype)
        readers.append(Together(rows, which, padded[0], kept, mask.repeat(1, groups, 1)[:, None]))
    return readers
