"""The local engine: continuous batching over one transformers model, on the CPU or an accelerator.

A fixed number of requests is decoded side by side (asprm.engines.batch), a token each per step; the accelerator is
waited for once per step. Requests that continue the same prefix (the samples of a problem, the rollouts of a step) are
one row until they draw different tokens: a policy that is sure of most tokens is asked a half or a third as often.
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

from asprm.engines import Completion, Follow, Request, Sampling
from asprm.engines.batch import Batch, Prefixes, int64
from asprm.engines.executor import load_executor
from asprm.engines.rows import Rows
from asprm.engines.sampling import draw
from asprm.models import load_tokenizer, load_weights


class LocalEngine:
    """An `Engine` (see asprm.engines) over a transformers causal language model.

    rows: requests decoded side by side. executor: runs the model; guided decoding drives it directly.
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
        the last of them those that follow it and continue the same prefix.

        follow: called with each completion, returns further requests, which go to the front of the queue.
        A completion ends with an end-of-text token, after max_new_tokens, or where the model's positions end.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        first: deque[Request] = deque()
        rest = iter(requests)
        with self.batch(sampling.max_new_tokens) as batch:
            room = batch.limit  # for requests: each may come to need a row of its own
            while True:
                taken = list(_take(first, rest, room, batch.limit if self.share else 0))
                room -= len(taken)
                batch.admit(_together(taken) if self.share else [_row([request]) for request in taken])
                if not batch.live:
                    return
                for requests, completion in _step(batch, sampling):
                    room += len(requests)
                    for request in requests:
                        if follow is not None:
                            first.extendleft(reversed(list(follow(request, completion) or ())))
                        yield request, completion

    @contextmanager
    def batch(self, max_new_tokens: int) -> Iterator[Batch]:
        """Rows to decode in, for `stream` and for those who choose tokens themselves (guided decoding)."""
        rows, read = (self._spare.pop() if self._spare else Rows(self.executor.shape) for _ in range(2))
        prefixes = Prefixes(self.executor, read, limit=max(1, self.rows // 4))
        try:
            yield Batch(self.executor, rows, prefixes, limit=self.rows, eos=self.eos, max_new_tokens=max_new_tokens)
        finally:
            self._spare += [read, rows]


def _row(requests: list[Request]) -> Request:
    """One row for requests of the same prefix: they are its key."""
    return replace(requests[0], key=requests)


def _together(requests: Sequence[Request]) -> list[Request]:
    """Rows for the requests, one for each prefix."""
    alike: dict[tuple[int, bytes], list[Request]] = {}
    for request in requests:
        alike.setdefault(_prefix(request), []).append(request)
    return [_row(some) for some in alike.values()]


def _step(batch: Batch, sampling: Sampling) -> list[tuple[list[Request], Completion]]:
    """A token for every request of every row; those that ended, and with what.

    A row goes on with the requests that drew one token, and a fork of it with those that drew another.
    """
    rows = list(batch.live)
    sizes = np.array([len(row.key) for row in rows])
    drawn = np.arange(sizes.max()) < sizes[:, None]
    seeds = np.zeros(drawn.shape, np.int64)
    seeds[drawn] = [int64(request.seed) for row in rows for request in row.key]
    outputs, _, counts = batch.step()
    found = draw(outputs, torch.from_numpy(seeds).to(outputs.device), counts[:, None], sampling)
    # One transfer for both, which is the step's only wait for the accelerator.
    both = torch.stack([found[0].int(), found[1].view(torch.int32)]).cpu().numpy()
    tokens, confidences = both[0], both[1].view(np.float32)
    chosen = np.zeros(len(rows), int)  # whose token the row goes on with
    ended, forks = [], []
    for i in np.flatnonzero(((tokens != tokens[:, :1]) & drawn).any(1)).tolist():
        parts: dict[int, list[int]] = {}
        for j, token in enumerate(tokens[i, : sizes[i]].tolist()):
            parts.setdefault(token, []).append(j)
        kept, forked, ending = batch.part(i, parts)
        requests, chosen[i] = list(rows[i].key), parts[kept][0]
        rows[i].key[:] = (requests[j] for j in parts[kept])
        for token in forked:
            forks.append((rows[i], _row([requests[j] for j in parts[token]]), token, confidences[i, parts[token][0]]))
        for token in ending:
            end = batch.ending(i, token, confidences[i, parts[token][0]])
            ended.append(([requests[j] for j in parts[token]], end))
    index = np.arange(len(rows))
    ended += [(row.key, end) for row, end in batch.advance(index, tokens[index, chosen], confidences[index, chosen])]
    for fork in forks:
        batch.fork(*fork)
    return ended


def _take(first: deque[Request], rest: Iterator[Request], room: int, more: int) -> Iterator[Request]:
    """The next `room` requests, and up to `more` behind them that continue the last one's prefix: in its row."""
    last = None
    while True:
        if not first:
            first.extend(islice(rest, 1))
        if not first or room <= -more or (room <= 0 and not (last and _prefix(first[0]) == _prefix(last))):
            return
        last = first.popleft()
        room -= 1
        yield last


def _prefix(request: Request) -> tuple[int, bytes]:
    return request.start, np.asarray(request.context[: request.start], np.int32).tobytes()


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """The model's end-of-text ids, else the tokenizer's."""
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
