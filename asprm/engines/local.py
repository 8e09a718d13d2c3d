"""The local engine: continuous batching over one transformers model, on the CPU or an accelerator.

A fixed number of requests is decoded side by side (asprm.engines.batch), a token each per step; the accelerator is
waited for once per step. Requests that continue the same prefix (the samples of a problem, the rollouts of a step) are
one row until they draw different tokens, and those whose prefix such a row is about to write (the rollouts of a later
step) join it there: a policy that is sure of most tokens is asked a third as often or less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from asprm.engines.batch import Batch, Prefixes, int64
from asprm.engines.executors import load_executor
from asprm.engines.protocol import Completion, Follow, Request, Sampling
from asprm.engines.sampling import draw
from asprm.models.load import load_tokenizer, load_weights

_PROMPT = 512  # tokens: of few problems' texts are more


class LocalEngine:
    """An `Engine` (see asprm.engines.protocol) over a transformers causal language model.

    rows: requests decoded side by side, fewer where a GPU's memory holds fewer. executor: runs the model; guided
    decoding drives it directly.
    eos: ids that end a completion. share: requests are one row while their tokens are the same, which changes none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        *,
        rows: int | None = None,
        share: bool = True,
    ):
        if rows is not None and rows < 1:
            raise ValueError(f"engine: rows is {rows}, expected at least 1")
        self.tokenizer = tokenizer
        self.executor = load_executor(model)
        self.rows, self.share = rows or (1024 if self.executor.device.type == "cpu" else 512), share
        self.eos = _eos(model, tokenizer)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        rows: int | None = None,
    ) -> LocalEngine:
        """From a Hugging Face folder; see `asprm.engines.load.load_engine`."""
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        model = load_weights(AutoModelForCausalLM, path, dtype=dtype, attn_implementation="sdpa").to(device)
        return cls(model, load_tokenizer(path), rows=rows)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """The completions in the order of the requests."""
        out: list[Completion | None] = [None] * len(requests)
        for request, completion in self.stream((replace(r, key=i) for i, r in enumerate(requests)), sampling):
            out[request.key] = completion
        return out

    def stream(
        self, requests: Iterable[Request], sampling: Sampling, follow: Follow | None = None
    ) -> Iterator[tuple[Request, Completion]]:
        """Completions in the order in which they end; requests are pulled only when there is room for them, and with
        the last of them those that follow it and whose prefix begins with its own.

        follow: called with each completion, returns further requests, which go to the front of the queue.
        A completion ends with an end-of-text token, after max_new_tokens, or where the model's positions end.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        first: deque[Request] = deque()
        rest = iter(requests)
        making, waiting = 0, 0  # requests in the making, and those of them that wait for their prefix
        with self.batch(sampling.max_new_tokens) as batch:
            while True:
                room = batch.limit - (making - waiting)  # each that draws may come to need its own row
                taken = list(_take(first, rest, room, 2 * batch.limit - making if self.share else room))
                for request in taken:
                    batch.check(request)
                rows = _together(taken) if self.share else [_row([request]) for request in taken]
                making += len(taken)
                waiting += len(taken) - sum(len(row.key.drawing) for row in rows)
                batch.admit(rows)
                if not batch.live:
                    return
                ended, left, joined = _step(batch, sampling)
                making -= len(ended) + len(left)
                waiting -= joined + len(left)
                first.extendleft(reversed(left))
                for request, completion in ended:
                    if follow is not None:
                        first.extendleft(reversed(list(follow(request, completion) or ())))
                    yield request, completion

    @contextmanager
    def batch(self, max_new_tokens: int) -> Iterator[Batch]:
        """Rows to decode in, for `stream` and for those who choose tokens themselves (guided decoding)."""
        length = min(_PROMPT + max_new_tokens, self.executor.positions)
        with self.executor.lend() as rows, self.executor.lend() as read:
            limit = min(self.rows, self.executor.fitting(length, rows.store.nbytes + read.store.nbytes))
            prefixes = Prefixes(self.executor, read, limit=max(1, limit // 4))
            yield Batch(self.executor, rows, prefixes, limit=limit, eos=self.eos, max_new_tokens=max_new_tokens)


class _Group:
    """The requests of a row, whose key this is.

    drawing: those that draw its tokens, and their seeds and starts, (K,) int64. waiting: those of which the row has so
    far written a part of the prefix; for each context those that have it. Both in the order of `start`.
    """

    def __init__(self, drawing: list[Request], waiting: list[list[Request]]) -> None:
        self.draw(drawing)
        self.waiting = waiting

    def draw(self, drawing: list[Request]) -> None:
        """Let these draw."""
        self.drawing = drawing
        self.seeds = np.array([int64(request.seed) for request in drawing], np.int64)
        self.starts = np.array([request.start for request in drawing], np.int64)

    def go_on(self, part: _Group) -> None:
        """With these of its requests."""
        self.drawing, self.seeds, self.starts, self.waiting = part.drawing, part.seeds, part.starts, part.waiting

    def holds(self, length: int, token: int) -> bool:
        """Whether all that wait go on with a row that has `length` tokens and writes `token` next."""
        return all(some[0].context[length] == token for some in self.waiting)

    def part(self, length: int, going: dict[int, list[Request]]) -> tuple[dict[int, _Group], list[Request]]:
        """Groups for those that go on with each token after `length`, and who waited for a text that nobody writes."""
        waiting: dict[int, list[list[Request]]] = {token: [] for token in going}
        left: list[Request] = []
        for some in self.waiting:
            token = int(some[0].context[length])
            if token in waiting:
                waiting[token].append(some)
            else:
                left += some
        return {token: _Group(drawing, waiting[token]) for token, drawing in going.items()}, left

    def join(self, length: int) -> int:
        """Let those draw whose prefix is written at this length: how many these are."""
        new = [request for some in self.waiting for request in some if request.start == length]
        if new:
            self.draw(self.drawing + new)
            self.waiting = [later for some in self.waiting if (later := [x for x in some if x.start > length])]
        return len(new)


def _row(requests: Sequence[Request]) -> Request:
    """One row for requests of which the first one's prefix begins all others'."""
    first = requests[0]
    later: dict[int, list[Request]] = {}
    for request in requests:
        if request.start > first.start:
            later.setdefault(id(request.context), []).append(request)
    drawing = [request for request in requests if request.start == first.start]
    return replace(first, key=_Group(drawing, list(later.values())))


def _together(requests: Sequence[Request]) -> list[Request]:
    """Rows for the requests: one for all whose prefix begins with its own."""
    alike: list[list[Request]] = []
    shortest = None
    for prefix, request in sorted(((_prefix(request), request) for request in requests), key=lambda pair: pair[0]):
        if shortest is None or not prefix.startswith(shortest):
            shortest = prefix
            alike.append([])
        alike[-1].append(request)
    return [_row(some) for some in alike]


def _step(batch: Batch, sampling: Sampling) -> tuple[list[tuple[Request, Completion]], list[Request], int]:
    """A token for every request of every row: those that ended, with what; those for whose prefix no row is left; how
    many begin to draw.

    A row goes on with the requests that drew one token, and a fork of it with those that drew another.
    """
    groups: list[_Group] = [row.key for row in batch.live]
    lengths = batch.state[1, : len(groups)] + 1
    tokens, confidences, parting = _draw(batch, groups, lengths, sampling)
    parting |= np.isin(tokens[:, 0], batch.eos) | (lengths + 1 == batch.stop[: len(groups)])
    for i, group in enumerate(groups):
        if group.waiting and not parting[i]:
            parting[i] = not group.holds(lengths[i], tokens[i, 0])
    chosen = np.zeros(len(groups), int)  # whose token the row goes on with
    ended: list[tuple[Request, Completion]] = []
    left: list[Request] = []
    forks, over = [], []
    for i in np.flatnonzero(parting).tolist():
        row, group = batch.live[i], groups[i]
        drawn, going = _part(batch, i, tokens[i].tolist(), confidences[i], ended)
        parts, lost = group.part(int(lengths[i]), going)
        left += lost
        if parts:
            kept, *others = parts
            group.go_on(parts[kept])
            chosen[i], batch.stop[i] = drawn[kept], batch.end(group.drawing[0])
            forks += [(row, replace(row, key=parts[token]), token, confidences[i, drawn[token]]) for token in others]
        else:
            group.go_on(_Group([], []))
            over.append(i)
    rows = np.setdiff1d(np.arange(len(groups)), over)
    batch.advance(rows, tokens[rows, chosen[rows]], confidences[rows, chosen[rows]])
    batch.holes += over
    joined = sum(g.join(length + 1) for g, length in zip(groups, lengths.tolist(), strict=True) if g.waiting)
    for source, request, token, confidence in forks:
        row = batch.fork(source, request, token, confidence)
        batch.stop[row] = batch.end(request.key.drawing[0])
        joined += request.key.join(int(batch.state[1, row]) + 1)
    return ended, left, joined


def _part(
    batch: Batch, row: int, tokens: Sequence[int], confidences: np.ndarray, ended: list[tuple[Request, Completion]]
) -> tuple[dict[int, int], dict[int, list[Request]]]:
    """For each token that a row's requests drew who drew it first, and who goes on with it; the others to `ended`."""
    drawn: dict[int, int] = {}
    going: dict[int, list[Request]] = {}
    endings: dict[int, Completion] = {}
    own = batch.live[row]
    for j, (token, request) in enumerate(zip(tokens, own.key.drawing, strict=False)):
        drawn.setdefault(token, j)
        if token not in batch.eos and batch.end(request) > batch.state[1, row] + 2:
            going.setdefault(token, []).append(request)
            continue
        if token not in endings:
            endings[token] = batch.ending(row, token, confidences[j])
        ended.append((request, _without(endings[token], request.start - own.start)))
    return drawn, going


def _draw(
    batch: Batch, groups: Sequence[_Group], lengths: np.ndarray, sampling: Sampling
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each row's requests draw: tokens and confidences, (B, most requests of a row); whether not all the same."""
    sizes = np.array([len(group.seeds) for group in groups])
    drawn = np.arange(sizes.max()) < sizes[:, None]
    seeds, counts = both = np.zeros((2, *drawn.shape), np.int64)
    seeds[drawn] = np.concatenate([group.seeds for group in groups])
    counts[drawn] = np.repeat(lengths, sizes) - np.concatenate([group.starts for group in groups])
    outputs = batch.step()
    found = draw(outputs, *torch.from_numpy(both), sampling)
    # One transfer for both, which is the step's only wait for the accelerator.
    both = torch.stack([found[0].int(), found[1].view(torch.int32)]).cpu().numpy()
    tokens, confidences = both[0], both[1].view(np.float32)
    return tokens, confidences, ((tokens != tokens[:, :1]) & drawn).any(1)


def _without(completion: Completion, known: int) -> Completion:
    """The completion without so many of its first tokens."""
    if not known:
        return completion
    return Completion(completion.ids[known:], completion.confidences[known:], completion.finished)


def _take(first: deque[Request], rest: Iterator[Request], room: int, most: int) -> Iterator[Request]:
    """The next `room` requests, and behind each those whose prefix begins like its own: in its row. `most` in all."""
    begun = None  # the prefix of the last one that begins a row
    while most > 0:
        if not first:
            first.extend(islice(rest, 1))
        if not first:
            return
        prefix = _prefix(first[0])
        same = begun is not None and prefix.startswith(begun)
        if room <= 0 and not same:
            return
        if not same:
            begun = prefix
        room -= prefix == begun
        most -= 1
        yield first.popleft()


def _prefix(request: Request) -> bytes:
    return np.asarray(request.context[: request.start], np.int32).tobytes()


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """The model's end-of-text ids, else the tokenizer's."""
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
