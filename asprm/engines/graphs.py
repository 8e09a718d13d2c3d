"""CUDA graphs of a decoding step: one call launches its hundreds of kernels.

A graph has one shape, so rows and columns are rounded up. It is captured when its shape comes for the third time: for a
shape that comes less often (the last rows of a stream), launching kernels one by one is cheaper than a capture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch

from asprm.engines.rows import Rows

_AFTER = 2  # steps of a shape before its graph is captured

Forward = Callable[[Rows, torch.Tensor, torch.Tensor, int], torch.Tensor]
"""(rows, tokens (B,), lengths (B,), columns) -> outputs (B, V).

Output i depends on row i's first `columns` columns only, and the call does not wait for the accelerator.
"""


class Graphs:
    """The graphs of one executor's step over one cache.

    store: the memory that the graphs read and write. outputs: where every graph writes its outputs.
    made: graphs and their inputs (2, rows), tokens and lengths, by shape (rows, columns). seen: how often a shape came.
    """

    def __init__(self) -> None:
        self.store: torch.Tensor | None = None
        self.outputs = torch.empty(0, 0)
        self.made: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.seen: Counter[tuple[int, int]] = Counter()

    def step(
        self, forward: Forward, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, longest: int
    ) -> torch.Tensor:
        """The outputs of `forward`, (B, V) float32; the next call overwrites them.

        forward: the same in all calls. tokens, lengths: (B,) int64. longest: the greatest of `lengths`, plus one.
        """
        # 1. The shape. Graphs of memory that `rows` has left are useless.
        count = len(tokens)
        columns = rows.visible(longest)
        shape = min(rounded(count, 2), rows.count), min(rounded(columns, 64), rows.length)
        if rows.store is not self.store:
            self.made.clear()
            self.store = rows.store
        # 2. A shape that came too seldom is launched without a graph.
        if shape not in self.made:
            self.seen[shape] += 1
            if self.seen[shape] <= _AFTER:
                return forward(rows, tokens, lengths, columns)
            self.made[shape] = self._capture(forward, rows, tokens, lengths, *shape)
        # 3. Replay.
        graph, inputs = self.made[shape]
        _fill(inputs, tokens, lengths)
        graph.replay()
        return self.outputs[:count]

    def _capture(
        self, forward: Forward, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, count: int, columns: int
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        # 1. Inputs. Rows beyond the batch are in no use, so the graph may write a first token there.
        inputs = torch.zeros(2, count, dtype=torch.int64, device=tokens.device)
        _fill(inputs, tokens, lengths)
        own_tokens, own_lengths = inputs
        # 2. A first call aside: libraries allocate at their first call, and a graph must not hold that memory.
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            outputs = forward(rows, own_tokens, own_lengths, columns)
        here.wait_stream(aside)
        # 3. Outputs. Graphs that write to a smaller tensor are made anew.
        if len(self.outputs) < count:
            self.made.clear()
            self.outputs = torch.empty(count, outputs.shape[1], device=outputs.device)
        del outputs
        # 4. Capture. All graphs share the memory of their intermediate results; a pool ends with its last graph.
        pool = next((graph.pool() for graph, _ in self.made.values()), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self.outputs[:count].copy_(forward(rows, own_tokens, own_lengths, columns))
        return graph, inputs


def _fill(inputs: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
    inputs[0, : len(tokens)] = tokens
    inputs[1, : len(tokens)] = lengths
    inputs[:, len(tokens) :] = 0


def rounded(size: int, least: int) -> int:
    """`size` rounded up to `least` times 1, 1.5, 2, 3, 4, 6, 8, … `least` is even."""
    while size > least:
        if 2 * size <= 3 * least:
            return 3 * least // 2
        least *= 2
    return least
