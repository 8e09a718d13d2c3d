"""Pieces: the ids that one forward reads in each row, and the attention mask that it reads them with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class Piece:
    """The ids that one row reads: a chunk that follows the row's `start` tokens, then branches that follow the chunk.

    Branches are alternatives for the next token: they share one position, the first after the chunk, and each has a
    column of its own. ids, positions, columns: (Q,), chunk first.
    """

    def __init__(self, row: int, start: int, chunk: np.ndarray, branches: np.ndarray) -> None:
        self.row, self.start, self.chunk, self.branches = row, start, chunk, branches
        self.ids = np.concatenate([chunk, branches])
        self.columns = start + np.arange(len(self.ids))
        self.positions = np.minimum(self.columns, start + len(chunk))


def some_ids(vocabulary: int, size: int) -> np.ndarray:
    """(size,) ids from all over the vocabulary, on which ways to run a model are compared.

    The first ids are often special tokens, of which some models' states are so large that bf16 says nothing.
    """
    return np.arange(1, size + 1) * vocabulary // (size + 2)


def additive_mask(
    positions: torch.Tensor, columns: torch.Tensor, visible: int, window: int, dtype: torch.dtype
) -> torch.Tensor:
    """(..., Q, visible): 0 at the columns that a token attends to, the least finite number elsewhere.

    A token attends to its own column and to the columns before its position, at most `window` tokens back.
    positions, columns: (..., Q) int64, where each token stands. visible: how many columns are read.
    """
    column = torch.arange(visible, device=positions.device)
    position = positions[..., None]
    seen = (column < position) & (column > position - window) | (column == columns[..., None])
    mask = torch.zeros(seen.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def batches(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of consecutive items whose sizes sum to at most `limit`; a larger item stands alone."""
    out: list[list[int]] = []
    room = 0
    for i, size in enumerate(sizes):
        if not out or size > room:
            out.append([])
            room = limit
        out[-1].append(i)
        room -= size
    return out
