"""The rows that are decoded side by side, and the readings of contexts that they are forked from.

When a row ends, the next request takes its place at once; when there is none, the last row moves there, so that the
rows in use always are the first ones. A request enters with its prefix forked from a reading of its context and its
last prefix token pending, so that its first token comes out of the next step like all others. All bookkeeping is numpy,
vectorised over rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from asprm.engines.executor import Executor
from asprm.engines.protocol import Completion, Request
from asprm.engines.rows import Rows


class Batch:
    """Requests in the making. Row i of the cache, of `live` and of every array belong together.

    limit: how many are to be admitted; forks may go beyond it, and make the arrays longer.
    live: the requests being decoded. holes: rows that have ended, still among them until `admit`.
    state: (3, limit) int64: pending token, length before it, number of new tokens. stop: (limit,), the length, prefix
    included, with which a row ends. ids, confidences: (limit, at least max_new_tokens), the new tokens. A completion
    ends with an id in `eos`, after max_new_tokens, or where the model's positions end.
    """

    def __init__(
        self, executor: Executor, rows: Rows, prefixes: Prefixes, *, limit: int, eos: Sequence[int], max_new_tokens: int
    ) -> None:
        self.executor, self.rows, self.prefixes, self.limit = executor, rows, prefixes, limit
        self.eos, self.max_new_tokens = np.array(eos, np.int64), max_new_tokens
        self.live: list[Request] = []
        self.holes: list[int] = []
        self.state = np.zeros((3, limit), np.int64)
        self.stop = np.zeros(limit, np.int64)
        self.ids = np.zeros((limit, max_new_tokens), np.int32)
        self.confidences = np.zeros((limit, max_new_tokens), np.float32)

    @property
    def room(self) -> int:
        """How many requests `admit` can take."""
        return max(0, self.limit - len(self.live) + len(self.holes))

    def admit(self, requests: list[Request]) -> None:
        """Put requests into the holes and behind the last row; close the holes that remain."""
        appended = max(0, len(requests) - len(self.holes))
        # What a captured step reads is not to move: there rows get their whole length at once.
        lengths = [self.end(request) if self.executor.graphs else request.start for request in requests]
        self.rows.reserve(len(self.live) + appended, max(lengths, default=0))
        for i in range(0, len(requests), self.prefixes.limit):
            group = requests[i : i + self.prefixes.limit]
            sources = self.prefixes.find(group)
            for request, source in sorted(zip(group, sources, strict=True), key=lambda x: -x[0].start):
                self._place(request, source)
        self.holes.sort()
        while self.holes:
            self._move(len(self.live) - 1, self._shift(self.holes.pop(), 0))
            self.live.pop()

    def _place(self, request: Request, source: int) -> None:
        known = request.start - 1  # the last token of the prefix is the row's first step
        if self.holes:
            row = self._shift(self.holes.pop(), known)
            self.live[row] = request
        else:
            row = len(self.live)
            self.live.append(request)
        self.rows.copy(row, self.prefixes.rows, source, known)
        self.state[:, row] = request.context[known], known, 0
        self.stop[row] = self.end(request)

    def check(self, request: Request) -> None:
        """ValueError: a prefix that cannot be continued."""
        _checked(request, self.executor.positions)

    def end(self, request: Request) -> int:
        """The length, prefix included, at which the request is cut off."""
        return min(request.start + self.max_new_tokens, self.executor.positions)

    def fork(self, source: Request, request: Request, token: int, confidence: float) -> int:
        """A row for `request` that holds what the row of `source` holds, but for its newest token: where it is now."""
        origin = next(row for row, other in enumerate(self.live) if other is source)
        if not self.holes:
            size = len(self.live) + 1
            if size > self.rows.count:
                self.rows.reserve(max(size, min(self.rows.count * 3 // 2, self.limit)), 0)
            if size > len(self.stop):
                self._lengthen(size * 3 // 2)
            self.holes.append(len(self.live))
            self.live.append(request)
        row = self._shift(self.holes.pop(), int(self.state[1, origin]))  # moves rows, but none of this length
        self._move(origin, row)
        self.live[row] = request
        newest = self.state[2, row] - 1
        self.ids[row, newest] = self.state[0, row] = token
        self.confidences[row, newest] = confidence
        return row

    def _lengthen(self, size: int) -> None:
        more = size - len(self.stop)
        self.state = np.pad(self.state, [(0, 0), (0, more)])
        self.stop = np.pad(self.stop, (0, more))
        self.ids, self.confidences = (np.pad(x, [(0, more), (0, 0)]) for x in (self.ids, self.confidences))

    def part(self, row: int, tokens: Iterable[int]) -> tuple[int, list[int], list[int]]:
        """Of the tokens that are to follow a row: the one it is to `advance` by, those to `fork` by then, and those
        with which the text ends (`ending`). The first ends the row only where all do.
        """
        tokens = list(tokens)
        last = self.state[1, row] + 2 == self.stop[row]
        going = [] if last else [token for token in tokens if token not in self.eos]
        kept = going[0] if going else tokens[0]
        return kept, going[1:], [token for token in tokens if token != kept and token not in going]

    def ending(self, row: int, token: int, confidence: float) -> Completion:
        """What the row's completion is if `token` comes next and is its last."""
        length = self.state[2, row]
        ids, confidences = (
            np.append(self.ids[row, :length], token),
            np.append(self.confidences[row, :length], confidence),
        )
        return Completion(ids.astype(np.int32), confidences.astype(np.float32), token in self.eos)

    def _shift(self, hole: int, length: int) -> int:
        """Move a hole to a block of rows where `length` tokens fit in, and return its place there.

        Attention reads a block of rows as far as its longest one goes, so blocks hold rows of like length, the longest
        in the first. All rows grow alike: one move per block keeps that order, and no more than about.
        """
        size, lengths = self.executor.block, self.state[1, : len(self.live)].copy()
        lengths[self.holes] = 0
        for start in range(hole - hole % size + size, len(lengths), size):
            longest = start + int(lengths[start : start + size].argmax())
            if lengths[longest] <= length:
                break
            self._move(longest, hole)
            hole = longest
        lengths[self.holes] = self.executor.positions
        for start in range(hole - hole % size - size, -1, -size):
            shortest = start + int(lengths[start : start + size].argmin())
            if lengths[shortest] >= length:
                break
            self._move(shortest, hole)
            hole = shortest
        return hole

    def _move(self, source: int, hole: int) -> None:
        if hole != source:
            self.rows.copy(hole, self.rows, source, int(self.state[1, source]))
            for array in (self.state.T, self.stop, self.ids, self.confidences):
                array[hole] = array[source]
            self.live[hole] = self.live[source]

    def step(self) -> torch.Tensor:
        """The model's outputs after each row's pending token, (B, V) float32.

        Nothing changes until `advance`: a row that is not advanced gives the same outputs again.
        """
        state = self.state[:2, : len(self.live)]
        self.rows.reserve(len(self.live), int(state[1].max()) + 1)
        tokens, lengths = torch.from_numpy(state).to(self.executor.device, non_blocking=True)
        return self.executor.step(self.rows, tokens, lengths, state[1])

    def advance(
        self, rows: np.ndarray, tokens: np.ndarray, confidences: np.ndarray
    ) -> list[tuple[Request, Completion]]:
        """Append a token to each of `rows`; the requests that ended, whose rows become holes."""
        place = self.state[2, rows]
        if len(place) and (more := int(place.max()) + 1 - self.ids.shape[1]) > 0:
            more = max(more, self.max_new_tokens // 2)
            self.ids, self.confidences = (np.pad(x, [(0, 0), (0, more)]) for x in (self.ids, self.confidences))
        self.ids[rows, place] = self.state[0, rows] = tokens
        self.confidences[rows, place] = confidences
        self.state[1:, rows] += 1
        finished = np.isin(tokens, self.eos)
        ended = np.flatnonzero(finished | (self.state[1, rows] + 1 == self.stop[rows]))
        self.holes += rows[ended].tolist()
        return [(self.live[rows[i]], self._completion(rows[i], bool(finished[i]))) for i in ended]

    def _completion(self, row: int, finished: bool) -> Completion:
        length = self.state[2, row]
        return Completion(self.ids[row, :length].copy(), self.confidences[row, :length].copy(), finished)


class Prefixes:
    """Contexts that were read, the most recently used `limit` of them, each in a row to fork from."""

    def __init__(self, executor: Executor, rows: Rows, *, limit: int) -> None:
        self.executor, self.rows, self.limit = executor, rows, limit
        self.known: OrderedDict[bytes, int] = OrderedDict()

    def find(self, requests: Sequence[Request]) -> list[int]:
        """The row of each request's context (at most `limit` requests); those not known are read in one go."""
        keys, unread = [], {}
        for request in requests:
            context = _checked(request, self.executor.positions)
            keys.append(key := context.tobytes())
            if key in self.known:
                self.known.move_to_end(key)
            else:
                unread[key] = context[:-1]  # its last token is never looked back on, only stepped
        for key in unread:
            full = len(self.known) == self.limit
            self.known[key] = self.known.popitem(last=False)[1] if full else len(self.known)
        chunks = {self.known[key]: chunk for key, chunk in unread.items() if len(chunk)}
        self.rows.reserve(len(self.known), 0)
        if chunks:
            self.executor.read(self.rows, list(chunks), [0] * len(chunks), list(chunks.values()))
        return [self.known[key] for key in keys]


def _checked(request: Request, positions: int) -> np.ndarray:
    context = np.ascontiguousarray(request.context, np.int32)
    if not 0 < request.start <= len(context):
        raise ValueError(
            f"engine: request {request.key!r} starts at {request.start} in a context of {len(context)} tokens; "
            "expected 1 to the context's length (where there is no text to continue, give the model's first token)"
        )
    if len(context) > positions or request.start == positions:
        raise ValueError(
            f"engine: request {request.key!r} has a context of {len(context)} tokens and starts at {request.start}, "
            f"but the model has {positions} positions and the new tokens need one at least; shorten the context"
        )
    return context


def int64(seed: int) -> int:
    """The seed's low 64 bits, as a signed number."""
    seed = int(seed) & (2**64 - 1)
    return seed - 2**64 if seed >= 2**63 else seed
