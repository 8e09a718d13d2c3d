"""Pieces: what one forward reads, a few ids of each row, and the mask under which it reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class Piece:
    """What one row is to read: a chunk of ids that follows `start` tokens, then branches that follow the chunk.

    ids, positions, columns: (Q,) of chunk and branches. Branches share one position, the first after the chunk, and lie
    in columns of their own.
    """

    def __init__(self, row: int, start: int, chunk: np.ndarray, branches: np.ndarray) -> None:
        self.row, self.start, self.chunk, self.branches = row, start, chunk, branches
        self.ids = np.concatenate([chunk, branches])
        self.columns = start + np.arange(len(self.ids))
        self.positions = np.minimum(self.columns, start + len(chunk))


def additive_mask(
    positions: torch.Tensor, columns: torch.Tensor, visible: int, window: int, dtype: torch.dtype
) -> torch.Tensor:
    """(..., Q, visible): 0 where the token at `position`, stored in `column`, looks, else the least finite number.

    It looks at its own column and at the columns before its position, at most `window` tokens back.
    """
    column = torch.arange(visible, device=positions.device)
    position = positions[..., None]
    seen = (column < position) & (column > position - window) | (column == columns[..., None])
    mask = torch.zeros(seen.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def packs(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of consecutive items whose sizes together stay within `limit` (an item above it stands alone)."""
    out: list[list[int]] = []
    room = 0
    for i, size in enumerate(sizes):
        if not out or size > room:
            out.append([])
            room = limit
        out[-1].append(i)
        room -= size
    return out
