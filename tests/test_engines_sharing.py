"""Which requests share a row, by hand: contexts are a few ids, and requests are known by (context, start)."""

from collections import deque

import numpy as np

from asprm.engines.protocol import Request
from asprm.engines.sharing import Members, row_of, shared_rows, take

A = np.array([1, 2, 3, 4], np.int32)
B = np.array([1, 2, 5, 6], np.int32)
C = np.array([7, 8, 9], np.int32)
NAMES = {id(A): "A", id(B): "B", id(C): "C"}


def request(context: np.ndarray, start: int, seed: int = 0) -> Request:
    return Request(context, start, seed, (NAMES[id(context)], start))


def keys(requests: list[Request]) -> list[tuple[str, int]]:
    return [request.key for request in requests]


def members(row: Request) -> tuple[list, list]:
    """Who draws in the row, and who waits."""
    return keys(row.key.drawing), [keys(alike) for alike in row.key.waiting]


def test_a_request_is_in_the_row_of_the_shortest_prefix_that_begins_its_own():
    rows = shared_rows([request(B, 4), request(A, 2), request(C, 1), request(A, 3), request(B, 2), request(C, 3)])
    assert [members(row) for row in rows] == [
        ([("A", 2), ("B", 2)], [[("A", 3)], [("B", 4)]]),
        ([("C", 1)], [[("C", 3)]]),
    ]


def test_prefixes_that_only_look_alike_are_rows_of_their_own():
    assert len(shared_rows([request(A, 3), request(B, 3)])) == 2


def test_a_row_splits_by_the_tokens_that_its_requests_draw():
    row = row_of([request(A, 2, seed=1), request(A, 2, seed=2), request(A, 4), request(B, 3), request(B, 4)]).key
    assert row.seeds.tolist() == [1, 2]
    assert not row.all_follow(2, 3)  # A goes on with 3, B with 5
    first, second = row.drawing
    parts, orphaned = row.split(2, {3: [first], 9: [second]})
    assert {token: [keys(alike) for alike in part.waiting] for token, part in parts.items()} == {3: [[("A", 4)]], 9: []}
    assert [part.drawing for part in parts.values()] == [[first], [second]]
    assert keys(orphaned) == [("B", 3), ("B", 4)]


def test_a_request_draws_from_the_end_of_its_prefix_on():
    row = Members([request(A, 1)], [[request(A, 2, seed=5), request(A, 4)], [request(B, 2)]])
    assert row.join(2) == 2
    assert keys(row.drawing) == [("A", 1), ("A", 2), ("B", 2)]
    assert (row.seeds.tolist(), row.starts.tolist()) == ([0, 5, 0], [1, 2, 2])
    assert [keys(alike) for alike in row.waiting] == [[("A", 4)]]
    assert row.join(3) == 0


def test_requests_that_wait_take_no_room():
    queue, rest = deque([request(A, 2)]), iter([request(A, 3), request(A, 4), request(A, 2), request(C, 1)])
    assert keys(list(take(queue, rest, room=1, most=9))) == [("A", 2), ("A", 3), ("A", 4), ("A", 2)]
    assert keys(list(queue)) == [("C", 1)]  # looked at, and left for the next time


def test_no_more_are_taken_than_asked_for():
    requests = [request(A, 2), request(A, 3), request(A, 4)]
    assert keys(list(take(deque(requests), iter([]), room=1, most=2))) == [("A", 2), ("A", 3)]
    assert list(take(deque(requests), iter([]), room=0, most=2)) == []
