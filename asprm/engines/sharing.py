"""Sharing: which requests are one row of a batch.

Requests that continue the same prefix (the samples of a problem, the rollouts of a step) are one row until they draw
different tokens. A request whose prefix is longer waits in a row that has written the beginning of it, and draws from
there on once the row has written all of it. Token ids only: no model, no cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from asprm.engines.protocol import Request


class Members:
    """The requests of one row. A row is its shortest request, with its members as the key.

    drawing: requests whose whole prefix is in the row; each draws the row's next token with its own seed.
    seeds, starts: (K,) int64, those of `drawing`.
    waiting: requests whose prefix is in the row in part, one list for each context.
    Each list is in the order of `start`, so the first that draws is the first to reach its length limit.
    """

    def __init__(self, drawing: list[Request], waiting: list[list[Request]]) -> None:
        self.draw(drawing)
        self.waiting = waiting

    def draw(self, drawing: list[Request]) -> None:
        """Make `drawing` the requests that draw."""
        self.drawing = drawing
        self.seeds = np.array([_int64(request.seed) for request in drawing], np.int64)
        self.starts = np.array([request.start for request in drawing], np.int64)

    def keep(self, part: Members) -> None:
        """Continue with only the requests of `part`."""
        self.drawing, self.seeds, self.starts, self.waiting = part.drawing, part.seeds, part.starts, part.waiting

    def all_follow(self, length: int, token: int) -> bool:
        """Whether every waiting request's prefix has `token` at position `length`."""
        return all(alike[0].context[length] == token for alike in self.waiting)

    def split(self, length: int, going: dict[int, list[Request]]) -> tuple[dict[int, Members], list[Request]]:
        """The members of a row for each token at position `length`, and the orphaned requests.

        going: by token, the requests that drew it and go on. A waiting request is orphaned if nobody goes on with its
        token.
        """
        waiting: dict[int, list[list[Request]]] = {token: [] for token in going}
        orphaned: list[Request] = []
        for alike in self.waiting:
            token = int(alike[0].context[length])
            if token in waiting:
                waiting[token].append(alike)
            else:
                orphaned += alike
        return {token: Members(drawing, waiting[token]) for token, drawing in going.items()}, orphaned

    def join(self, length: int) -> int:
        """Let the requests draw whose prefix is complete at this length; returns how many they are."""
        joining = [request for alike in self.waiting for request in alike if request.start == length]
        if joining:
            self.draw(self.drawing + joining)
            self.waiting = [later for alike in self.waiting if (later := [x for x in alike if x.start > length])]
        return len(joining)


def row_of(requests: Sequence[Request]) -> Request:
    """One row for requests whose prefixes begin with the first one's; within a context in the order of `start`."""
    first = requests[0]
    later: dict[int, list[Request]] = {}  # by context
    for request in requests:
        if request.start > first.start:
            later.setdefault(id(request.context), []).append(request)
    drawing = [request for request in requests if request.start == first.start]
    return replace(first, key=Members(drawing, list(later.values())))


def shared_rows(requests: Sequence[Request]) -> list[Request]:
    """As few rows as possible: requests whose prefixes begin with the prefix of another one are in its row."""
    alike: list[list[Request]] = []
    shortest = None
    # Sorted, a prefix stands right before all those that begin with it.
    for prefix, request in sorted(((_prefix(request), request) for request in requests), key=lambda pair: pair[0]):
        if shortest is None or not prefix.startswith(shortest):
            shortest = prefix
            alike.append([])
        alike[-1].append(request)
    return [row_of(members) for members in alike]


def take(queue: deque[Request], rest: Iterator[Request], room: int, most: int) -> Iterator[Request]:
    """The next requests of `queue`, then of `rest`, that fit into a batch.

    room: a row may begin while room is above 0; a request that draws at once takes one. Requests that belong to the row
    that began last are taken anyway. most: the number of requests.
    """
    begun = None  # the prefix of the last request that began a row
    while most > 0:
        if not queue:
            queue.extend(islice(rest, 1))
        if not queue:
            return
        prefix = _prefix(queue[0])
        same_row = begun is not None and prefix.startswith(begun)
        if room <= 0 and not same_row:
            return
        if not same_row:
            begun = prefix
        room -= prefix == begun
        most -= 1
        yield queue.popleft()


def _prefix(request: Request) -> bytes:
    return np.asarray(request.context[: request.start], np.int32).tobytes()


def _int64(seed: int) -> int:
    """The seed's low 64 bits, as a signed number."""
    seed = int(seed) & (2**64 - 1)
    return seed - 2**64 if seed >= 2**63 else seed
