"""The rows that are decoded side by side, and the contexts that they are forked from.

A row that ended is a hole. The next request fills it; where there is none, the last row moves there, so that the rows
in use are always the first ones. A request's row starts as a fork of its context, without the prefix's last token. That
token is pending: the next step reads it and gives the request's first new token, as for all other rows. The bookkeeping
is numpy, vectorised over rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asprm.engines.ends import Ends
from asprm.engines.executor import Executor
from asprm.engines.protocol import Completion, Request, checked
from asprm.engines.rows import Rows

PENDING, LENGTH, NEW = range(3)  # what the three rows of `Batch.state` hold


@dataclass(frozen=True, eq=False)
class Fork:
    """A row to copy because another token may follow its text, too.

    source: the request of the row to copy. request: that of the copy. token, confidence: the copy's newest token, which
    replaces the source's.
    """

    source: Request
    request: Request
    token: int
    confidence: float


@dataclass(frozen=True)
class Parting:
    """Tokens that follow one row: `kept` in the row itself, `forked` in copies of it; with `ending` its text ends."""

    kept: int
    forked: list[int]
    ending: list[int]


class Batch:
    """Requests that are being decoded. Row i of the cache, of `live` and of every array belong together.

    limit: how many requests `admit` takes; forks may exceed it, and make the arrays longer.
    live: the request of each row, (B,). holes: rows among them that have ended; `admit` removes them.
    state: (3, limit) int64; PENDING: the token that the next step reads, LENGTH: tokens before it, NEW: tokens drawn.
    stop: (limit,) int64, the length at which a row is cut off, prefix included.
    ids, confidences: (limit, at least max_new_tokens), the new tokens.
    A text ends where `ends` says, after max_new_tokens, or at the model's last position.
    """

    def __init__(
        self, executor: Executor, rows: Rows, prefixes: Prefixes, *, limit: int, ends: Ends, max_new_tokens: int
    ) -> None:
        self.executor, self.rows, self.prefixes, self.limit = executor, rows, prefixes, limit
        self.ends, self.max_new_tokens = ends, max_new_tokens
        self.live: list[Request] = []
        self.holes: list[int] = []
        self.state = np.zeros((3, limit), np.int64)
        self.stop = np.zeros(limit, np.int64)
        self.ids = np.zeros((limit, max_new_tokens), np.int32)
        self.confidences = np.zeros((limit, max_new_tokens), np.float32)

    @property
    def room(self) -> int:
        """How many more requests `admit` can take."""
        return max(0, self.limit - len(self.live) + len(self.holes))

    def admit(self, requests: list[Request]) -> None:
        """Put requests into the holes and behind the last row; close the holes that remain."""
        # 1. Make room. Memory that a CUDA graph reads must not move: with graphs, rows get their whole length at once.
        appended = max(0, len(requests) - len(self.holes))
        lengths = [self.end(request) if self.executor.graphs else request.start for request in requests]
        self.rows.reserve(len(self.live) + appended, max(lengths, default=0))
        # 2. Read the contexts, as many at once as are kept, and fork a row from each, the longest first.
        for i in range(0, len(requests), self.prefixes.limit):
            group = requests[i : i + self.prefixes.limit]
            sources = self.prefixes.find(group)
            for request, source in sorted(zip(group, sources, strict=True), key=lambda pair: -pair[0].start):
                self._place(request, source)
        # 3. Close the remaining holes, the highest first: so no row behind it is a hole, and the last row may move in.
        self.holes.sort()
        while self.holes:
            self._move(len(self.live) - 1, self._shift(self.holes.pop(), 0))
            self.live.pop()

    def _place(self, request: Request, source: int) -> None:
        """Start the request's row as a fork of the row `source` of the prefixes."""
        known = request.start - 1  # all of the prefix but its last token, which is pending
        if self.holes:
            row = self._shift(self.holes.pop(), known)
            self.live[row] = request
        else:
            row = len(self.live)
            self.live.append(request)
        self.rows.copy(row, self.prefixes.rows, source, known)
        self.state[:, row] = request.context[known], known, 0  # PENDING, LENGTH, NEW
        self.stop[row] = self.end(request)

    def check(self, request: Request) -> None:
        """ValueError: the request's prefix cannot be continued."""
        checked(request, self.executor.positions)

    def end(self, request: Request) -> int:
        """The length, prefix included, at which the request is cut off."""
        return min(request.start + self.max_new_tokens, self.executor.positions)

    def fork(self, fork: Fork) -> int:
        """Copy a row and replace its newest token; returns the copy's place. `advance` the source first."""
        origin = next(row for row, request in enumerate(self.live) if request is fork.source)
        # 1. A place for the copy: a hole, else a new row behind the last one.
        if not self.holes:
            size = len(self.live) + 1
            if size > self.rows.count:
                self.rows.reserve(max(size, min(self.rows.count * 3 // 2, self.limit)), 0)
            if size > len(self.stop):
                self._grow(size * 3 // 2)
            self.holes.append(len(self.live))
            self.live.append(fork.request)
        row = self._shift(self.holes.pop(), int(self.state[LENGTH, origin]))  # moves no row of this length
        # 2. The copy, and its newest token.
        self._move(origin, row)
        self.live[row] = fork.request
        newest = self.state[NEW, row] - 1
        self.ids[row, newest] = self.state[PENDING, row] = fork.token
        self.confidences[row, newest] = fork.confidence
        return row

    def _grow(self, size: int) -> None:
        """Make the arrays long enough for `size` rows."""
        more = size - len(self.stop)
        self.state = np.pad(self.state, [(0, 0), (0, more)])
        self.stop = np.pad(self.stop, (0, more))
        self.ids, self.confidences = (np.pad(x, [(0, more), (0, 0)]) for x in (self.ids, self.confidences))

    def part(self, row: int, tokens: Iterable[int]) -> Parting:
        """How the distinct `tokens` follow the row. The row keeps one that ends its text only where all of them do."""
        tokens = list(tokens)
        last = self.state[LENGTH, row] + 2 == self.stop[row]  # the next token reaches the limit
        going = [] if last else [token for token in tokens if not self.closes(row, token)]
        kept = going[0] if going else tokens[0]
        return Parting(kept, going[1:], [token for token in tokens if token != kept and token not in going])

    def ending(self, row: int, token: int, confidence: float) -> Completion:
        """The row's completion if `token` comes next and is its last."""
        length = self.state[NEW, row]
        ids = np.append(self.ids[row, :length], token)
        confidences = np.append(self.confidences[row, :length], confidence)
        return Completion(ids.astype(np.int32), confidences.astype(np.float32), self.closes(row, token))

    def closes(self, row: int, token: int) -> bool:
        """Whether the row's text ends if `token` comes next, whatever its length."""
        return self.ends.closes(self._tail(row), token)

    def closing(self, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """`closes` for several rows and their next tokens, (R,) each: (R,) bool."""
        closing = np.isin(tokens, self.ends.eos)
        if self.ends.stops:
            both = zip(rows.tolist(), tokens.tolist(), strict=True)
            closing |= np.array([self.closes(row, token) for row, token in both], bool)
        return closing

    def _tail(self, row: int) -> np.ndarray:
        """The newest tokens of a row's text, its prefix included: as many as `ends` wants to see."""
        if not self.ends.stops:
            return self.ids[row, :0]
        request, new = self.live[row], self.ids[row, : self.state[NEW, row]][-self.ends.reach :]
        more = min(self.ends.reach - len(new), request.start)
        return np.concatenate([request.context[request.start - more : request.start], new])

    def _shift(self, hole: int, length: int) -> int:
        """Move a hole to a block of rows of about `length` tokens, and return its new place.

        Attention reads every row of a block as far as the block's longest row goes. So a block holds rows of similar
        length, the first block the longest ones. All rows grow at the same rate: moving one row per block keeps this
        order, approximately.
        """
        size, lengths = self.executor.block, self.state[LENGTH, : len(self.live)].copy()
        # Towards shorter rows: the longest row of the next block moves into the hole.
        lengths[self.holes] = 0
        for start in range(hole - hole % size + size, len(lengths), size):
            longest = start + int(lengths[start : start + size].argmax())
            if lengths[longest] <= length:
                break
            self._move(longest, hole)
            hole = longest
        # Towards longer rows: the shortest row of the block before moves into the hole.
        lengths[self.holes] = self.executor.positions
        for start in range(hole - hole % size - size, -1, -size):
            shortest = start + int(lengths[start : start + size].argmin())
            if lengths[shortest] >= length:
                break
            self._move(shortest, hole)
            hole = shortest
        return hole

    def _move(self, source: int, hole: int) -> None:
        """Copy everything about the row `source` to the place `hole`."""
        if hole != source:
            self.rows.copy(hole, self.rows, source, int(self.state[LENGTH, source]))
            for array in (self.state.T, self.stop, self.ids, self.confidences):
                array[hole] = array[source]
            self.live[hole] = self.live[source]

    def step(self) -> torch.Tensor:
        """The model's outputs after each row's pending token, (B, V) float32.

        Until `advance` the batch stays as it is: a row that is not advanced gives the same outputs in the next step.
        """
        state = self.state[:NEW, : len(self.live)]  # pending tokens and lengths, in one transfer
        self.rows.reserve(len(self.live), int(state[LENGTH].max()) + 1)
        tokens, lengths = torch.from_numpy(state).to(self.executor.device, non_blocking=True)
        return self.executor.step(self.rows, tokens, lengths, state[LENGTH])

    def advance(
        self, rows: np.ndarray, tokens: np.ndarray, confidences: np.ndarray
    ) -> list[tuple[Request, Completion]]:
        """Append a token to each of `rows`; returns the requests that ended, whose rows become holes.

        rows, tokens, confidences: (R,) each; the rows are distinct.
        """
        # 1. Which texts end. Then columns: a row that requests joined late holds more new tokens than max_new_tokens.
        finished = self.closing(rows, tokens)
        place = self.state[NEW, rows]
        if len(place) and (more := int(place.max()) + 1 - self.ids.shape[1]) > 0:
            more = max(more, self.max_new_tokens // 2)
            self.ids, self.confidences = (np.pad(x, [(0, 0), (0, more)]) for x in (self.ids, self.confidences))
        # 2. The new token is pending now; the one that was pending is in the cache.
        self.ids[rows, place] = self.state[PENDING, rows] = tokens
        self.confidences[rows, place] = confidences
        self.state[LENGTH:, rows] += 1
        # 3. Rows that ended: the length with the pending token is the limit, or the text ends with the token.
        ended = np.flatnonzero(finished | (self.state[LENGTH, rows] + 1 == self.stop[rows]))
        self.holes += rows[ended].tolist()
        return [(self.live[rows[i]], self._completion(rows[i], bool(finished[i]))) for i in ended]

    def _completion(self, row: int, finished: bool) -> Completion:
        length = self.state[NEW, row]
        return Completion(self.ids[row, :length].copy(), self.confidences[row, :length].copy(), finished)


class Prefixes:
    """The `limit` most recently used contexts, each read into a row to fork from.

    known: the row of each context, by the bytes of its ids, the least recently used first.
    """

    def __init__(self, executor: Executor, rows: Rows, *, limit: int) -> None:
        self.executor, self.rows, self.limit = executor, rows, limit
        self.known: OrderedDict[bytes, int] = OrderedDict()

    def find(self, requests: Sequence[Request]) -> list[int]:
        """The row of each request's context (at most `limit` requests); new contexts are read in one call."""
        # 1. Which contexts are new. A used one moves to the end, so that step 2 replaces none of this call's.
        keys, unread = [], {}
        for request in requests:
            context = checked(request, self.executor.positions)
            keys.append(key := context.tobytes())
            if key in self.known:
                self.known.move_to_end(key)
            else:
                unread[key] = context[:-1]  # the last token is never part of a fork: it is pending there
        # 2. A row for each new context: a free one, else that of the least recently used context.
        for key in unread:
            full = len(self.known) == self.limit
            self.known[key] = self.known.popitem(last=False)[1] if full else len(self.known)
        # 3. Read them.
        chunks = {self.known[key]: chunk for key, chunk in unread.items() if len(chunk)}
        self.rows.reserve(len(self.known), 0)
        if chunks:
            self.executor.read(self.rows, list(chunks), [0] * len(chunks), list(chunks.values()))
        return [self.known[key] for key in keys]
