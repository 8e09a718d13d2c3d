"""CUDA graphs of a decoding step: its hundreds of kernels are launched by one call.

A graph has one shape, so rows and columns are rounded up, and it is made when its shape comes for the third time: until
then, as for the last rows of a stream, launching one by one is cheaper than capturing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

from asprm.engines.rows import Rows

_AFTER = 2  # steps of a shape before its graph is made

Forward = Callable[[Rows, torch.Tensor, torch.Tensor, int], torch.Tensor]


class Graphs:
    """The graphs of one executor's step over one cache, by shape."""

    def __init__(self) -> None:
        self.store: torch.Tensor | None = None  # the memory that the graphs read and write
        self.outputs = torch.empty(0, 0)  # of the last replay, whichever graph's
        self.made: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.seen: Counter[tuple[int, int]] = Counter()

    def step(
        self, forward: Forward, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, longest: int
    ) -> torch.Tensor:
        """What `forward` gives, (B, V) float32; the next call overwrites it.

        longest: the greatest of `lengths`, plus one. forward: always the same; (rows, tokens (B,), lengths (B,),
        columns) to outputs, of which those of row i depend on row i and its first `columns` columns. It does not wait
        for the accelerator.
        """
        count = len(tokens)
        columns = rows.visible(longest)
        shape = min(rounded(count, 2), rows.count), min(rounded(columns, 64), rows.length)
        if rows.store is not self.store:
            self.made.clear()
            self.store = rows.store
        if shape not in self.made:
            self.seen[shape] += 1
            if self.seen[shape] <= _AFTER:
                return forward(rows, tokens, lengths, columns)
            self.made[shape] = self._capture(forward, rows, tokens, lengths, *shape)
        graph, inputs = self.made[shape]
        _fill(inputs, tokens, lengths)
        graph.replay()
        return self.outputs[:count]

    def _capture(
        self, forward: Forward, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, count: int, columns: int
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        # Rows beyond the batch are nobody's: a first token is written there.
        inputs = torch.zeros(2, count, dtype=torch.int64, device=tokens.device)
        _fill(inputs, tokens, lengths)
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):  # libraries allocate at their first call, which a graph must not hold
            outputs = forward(rows, *inputs, columns)
        here.wait_stream(aside)
        if len(self.outputs) < count:
            self.made.clear()
            self.outputs = torch.empty(count, outputs.shape[1], device=outputs.device)
        del outputs
        # They share the memory of what lies between input and output. A pool ends with its last graph.
        pool = next((graph.pool() for graph, _ in self.made.values()), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self.outputs[:count].copy_(forward(rows, *inputs, columns))
        return graph, inputs


def _fill(inputs: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
    inputs[0, : len(tokens)] = tokens
    inputs[1, : len(tokens)] = lengths
    inputs[:, len(tokens) :] = 0


def rounded(size: int, least: int) -> int:
    """The next of `least`, an even number, times 1, 1.5, 2, 3, 4, 6, 8, …"""
    while size > least:
        if 2 * size <= 3 * least:
            return 3 * least // 2
        least *= 2
    return least
