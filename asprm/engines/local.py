"""The local engine: continuous batching over one transformers model, on the CPU or an accelerator.

A fixed number of rows is decoded side by side. When a row ends, the next request takes its place at once; when there
is none, the last row moves there, so that the rows in use always are the first ones. A request enters with its prefix
forked from a reading of its context and its last prefix token pending, so that its first token comes out of the next
step like all others. All bookkeeping is numpy, vectorised over rows; the accelerator is waited for once per step.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from asprm.engines import Completion, Follow, Request, Sampling
from asprm.engines.executor import Executor, load_executor
from asprm.engines.rows import Rows
from asprm.engines.sampling import draw


class LocalEngine:
    """An `Engine` (see asprm.engines) over a transformers causal language model.

    rows: sequences decoded side by side. executor: runs the model; guided decoding drives it directly.
    eos: ids that end a completion.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, *, rows: int | None = None):
        if rows is not None and rows < 1:
            raise ValueError(f"engine: rows is {rows}, expected at least 1")
        self.tokenizer = tokenizer
        self.executor = load_executor(model)
        self.rows = rows or (128 if self.executor.device.type == "cpu" else 256)
        self.eos = _eos(model, tokenizer)
        self._spare: list[Rows] = []  # memory of earlier streams

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        rows: int | None = None,
    ) -> LocalEngine:
        """From a Hugging Face folder; see `asprm.engines.load_engine`."""
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa").to(device)
        return cls(model, AutoTokenizer.from_pretrained(path), rows=rows)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """The completions in the order of the requests."""
        out: list[Completion | None] = [None] * len(requests)
        for request, completion in self.stream((replace(r, key=i) for i, r in enumerate(requests)), sampling):
            out[request.key] = completion
        return out

    def stream(
        self, requests: Iterable[Request], sampling: Sampling, follow: Follow | None = None
    ) -> Iterator[tuple[Request, Completion]]:
        """Completions in the order in which they end; requests are pulled only when there is room for them.

        follow: called with each completion, returns further requests, which go to the front of the queue.
        A completion ends with an end-of-text token, after max_new_tokens, or where the model's positions end.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        rows, prefixes = (self._spare.pop() if self._spare else Rows(self.executor.shape) for _ in range(2))
        batch = _Batch(self, sampling, rows, _Prefixes(self.executor, prefixes, max(1, self.rows // 2)))
        first: deque[Request] = deque()
        rest = iter(requests)
        try:
            while True:
                batch.admit(list(_take(first, rest, batch.room)))
                if not batch.live:
                    return
                for request, completion in batch.step():
                    if follow is not None:
                        first.extendleft(reversed(list(follow(request, completion) or ())))
                    yield request, completion
        finally:
            self._spare += [prefixes, rows]


def _take(first: deque[Request], rest: Iterator[Request], room: int) -> Iterator[Request]:
    for _ in range(room):
        request = first.popleft() if first else next(rest, None)
        if request is None:
            return
        yield request


class _Batch:
    """The rows of one stream. Row i of the cache, of `live` and of every array belong together.

    live: the requests being decoded. holes: rows that ended in the last step, still among them until `admit`.
    state: (4, rows) int64: pending token, length before it, seed, tokens drawn.
    """

    def __init__(self, engine: LocalEngine, sampling: Sampling, rows: Rows, prefixes: _Prefixes) -> None:
        self.executor, self.sampling, self.limit = engine.executor, sampling, engine.rows
        self.rows, self.prefixes = rows, prefixes
        self.eos = np.array(engine.eos, np.int64)
        self.live: list[Request] = []
        self.holes: list[int] = []
        self.state = np.zeros((4, engine.rows), np.int64)
        self.stop = np.zeros(engine.rows, np.int64)
        self.ids = np.zeros((engine.rows, sampling.max_new_tokens), np.int32)
        self.confidences = np.zeros((engine.rows, sampling.max_new_tokens), np.float32)

    @property
    def room(self) -> int:
        return self.limit - len(self.live) + len(self.holes)

    def admit(self, requests: list[Request]) -> None:
        """Put requests into the holes and behind the last row; close the holes that remain."""
        appended = max(0, len(requests) - len(self.holes))
        self.rows.reserve(len(self.live) + appended, max((request.start for request in requests), default=0))
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
        self.state[:, row] = request.context[known], known, _int64(request.seed), 0
        self.stop[row] = min(self.sampling.max_new_tokens, self.executor.positions - request.start)

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

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, Completion]]:
        """Draw one token for every row; the requests that ended, whose rows become holes."""
        count = len(self.live)
        state = self.state[:, :count]
        self.rows.reserve(count, int(state[1].max()) + 1)
        tokens, lengths, seeds, drawn = torch.from_numpy(state).to(self.executor.device, non_blocking=True)
        logits = self.executor.step(self.rows, tokens, lengths, state[1])
        tokens, confidences = draw(logits, seeds, drawn, self.sampling)
        # One transfer for both, which is the step's only wait for the accelerator.
        both = torch.stack([tokens.int(), confidences.view(torch.int32)]).cpu().numpy()
        every = np.arange(count)
        self.ids[every, state[3]] = both[0]
        self.confidences[every, state[3]] = both[1].view(np.float32)
        state[0] = both[0]
        state[[1, 3]] += 1
        finished = np.isin(both[0], self.eos)
        self.holes = np.flatnonzero(finished | (state[3] == self.stop[:count])).tolist()
        return [(self.live[row], self._completion(row, bool(finished[row]))) for row in self.holes]

    def _completion(self, row: int, finished: bool) -> Completion:
        length = self.state[3, row]
        return Completion(self.ids[row, :length].copy(), self.confidences[row, :length].copy(), finished)


class _Prefixes:
    """Contexts that were read, the most recently used `limit` of them, each in a row to fork from."""

    def __init__(self, executor: Executor, rows: Rows, limit: int) -> None:
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


def _int64(seed: int) -> int:
    """The seed's low 64 bits, as a signed number."""
    seed = int(seed) & (2**64 - 1)
    return seed - 2**64 if seed >= 2**63 else seed


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """The model's end-of-text ids, else the tokenizer's."""
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
