"""The local engine: continuous batching over one transformers model, on the CPU or an accelerator.

A fixed number of requests is decoded side by side (`asprm.engines.batch`), one token each per step. A step waits for
the accelerator once. Requests with equal beginnings are one row while their tokens are the same
(`asprm.engines.sharing`): a policy that is sure of most tokens then computes a third of the tokens or less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from asprm.engines.batch import LENGTH, Batch, Fork, Prefixes
from asprm.engines.ends import ends_of
from asprm.engines.executor import Executor
from asprm.engines.executors import load_executor
from asprm.engines.protocol import Completion, Follow, Request, Sampling, in_order
from asprm.engines.sampling import draw
from asprm.engines.sharing import Members, row_of, shared_rows, take
from asprm.models.device import placement
from asprm.models.load import load_tokenizer, load_weights

_PROMPT = 512  # tokens; few problems are longer
_OUTPUTS = 1 << 24  # numbers (rows × vocabulary) that a step on a CPU gives at most: 64 MB


class LocalEngine:
    """An `Engine` (`asprm.engines.protocol`) over a transformers causal language model.

    rows: requests decoded side by side. None: 512 on a GPU; on a CPU 1024, or fewer where the vocabulary is large (110
        of 152 thousand words, 341 of 49 thousand). Fewer where the GPU's memory holds fewer.
    share: requests with equal beginnings are one row while their tokens are the same.
    executor: runs the model; guided decoding uses it directly. ends: where a completion ends (`asprm.engines.ends`).
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
        self.rows, self.share = rows or _side_by_side(self.executor), share
        self.ends = ends_of(tokenizer, model.generation_config, model.config)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        rows: int | None = None,
    ) -> LocalEngine:
        """From a Hugging Face folder or hub name; see `asprm.engines.load.load_engine`."""
        device, dtype = placement(path, device, dtype)
        model = cast(Any, load_weights(AutoModelForCausalLM, path, dtype=dtype, attn_implementation="sdpa"))
        return cls(model.to(device), load_tokenizer(path), rows=rows)

    @property
    def vocabulary(self) -> int:
        """See `Engine`."""
        return self.executor.config.vocab_size

    @property
    def positions(self) -> int:
        """See `Engine`."""
        return self.executor.positions

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """The completions in the order of the requests."""
        return in_order(self, requests, sampling)

    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling,
        follow: Follow | None = None,
        *,
        confidences: bool = True,
    ) -> Iterator[tuple[Request, Completion]]:
        """Completions in the order in which they end, always with their confidences, which cost nothing here.

        Requests are pulled only when there is room for them. Those that come next and can wait in the row of the last
        one are pulled with it.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        queue: deque[Request] = deque()  # before the rest of the requests: followers, and requests that lost their row
        rest = iter(requests)
        active, waiting = 0, 0  # requests that have a row and have not ended, and those of them that do not draw yet
        with self.batch(sampling.max_new_tokens) as batch:
            while True:
                # 1. New requests get rows. Each that draws counts as one row, which it may come to need for itself.
                room = batch.limit - (active - waiting)
                taken = list(take(queue, rest, room, 2 * batch.limit - active if self.share else room))
                for request in taken:
                    batch.check(request)
                rows = shared_rows(taken) if self.share else [row_of([request]) for request in taken]
                active += len(taken)
                waiting += len(taken) - sum(len(row.key.drawing) for row in rows)
                batch.admit(rows)
                if not batch.live:
                    return
                # 2. A token for every row.
                step = _step(batch, sampling)
                active -= len(step.ended) + len(step.orphaned)
                waiting -= step.joined + len(step.orphaned)
                # 3. Requests that lost their row come first again, but after the followers of what ended.
                queue.extendleft(reversed(step.orphaned))
                for request, completion in step.ended:
                    if follow is not None:
                        queue.extendleft(reversed(list(follow(request, completion) or ())))
                    yield request, completion

    @contextmanager
    def batch(self, max_new_tokens: int) -> Iterator[Batch]:
        """Rows to decode in, for `stream` and for guided decoding, which chooses tokens itself."""
        length = min(_PROMPT + max_new_tokens, self.executor.positions)
        with self.executor.lend() as rows, self.executor.lend() as contexts:
            limit = min(self.rows, self.executor.fitting(length, rows.store.nbytes + contexts.store.nbytes))
            prefixes = Prefixes(self.executor, contexts, limit=max(1, limit // 4))
            yield Batch(self.executor, rows, prefixes, limit=limit, ends=self.ends, max_new_tokens=max_new_tokens)


@dataclass(frozen=True, eq=False)
class _Step:
    """What one step changed.

    ended: requests that are complete, with their completions.
    orphaned: requests that waited for a token that no row goes on with; they need a row of their own.
    joined: how many waiting requests draw from the next step on.
    """

    ended: list[tuple[Request, Completion]]
    orphaned: list[Request]
    joined: int


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The next tokens of B rows with up to K drawing requests each; rows with fewer are padded.

    tokens: (B, K) int32. confidences: (B, K) float32. differ: (B,) bool, a row's requests drew different tokens.
    """

    tokens: np.ndarray
    confidences: np.ndarray
    differ: np.ndarray


@dataclass(frozen=True, eq=False)
class _Split:
    """One row's requests by the token that they drew, in the order in which the tokens were drawn first.

    column: for each token, the first request that drew it. going: the requests that go on with it, where there are any.
    """

    column: dict[int, int]
    going: dict[int, list[Request]]


def _step(batch: Batch, sampling: Sampling) -> _Step:
    """Draw a token for every request of every row.

    A row goes on with the requests that drew one token; those that drew another one get a fork of the row.
    """
    members: list[Members] = [row.key for row in batch.live]  # (B,)
    lengths = batch.state[LENGTH, : len(members)] + 1  # (B,), with the pending token: where the new token stands
    ended: list[tuple[Request, Completion]] = []
    orphaned: list[Request] = []

    # 1. Draw.
    drawn = _draw(batch, members, lengths, sampling)
    tokens, confidences = drawn.tokens, drawn.confidences  # (B, K)

    # 2. Rows that do not just append their token: requests differ, one may end, or one waits for another token.
    parting = drawn.differ | batch.closing(np.arange(len(members)), tokens[:, 0])
    parting |= lengths + 1 == batch.stop[: len(members)]
    for i, of_row in enumerate(members):
        if of_row.waiting and not parting[i]:
            parting[i] = not of_row.all_follow(lengths[i], tokens[i, 0])

    # 3. Split these by token: the row keeps the requests of the first token that goes on, every other one gets a fork.
    column = np.zeros(len(members), int)  # the request whose token the row appends
    forks: list[Fork] = []
    over: list[int] = []  # rows in which all requests ended
    for i in np.flatnonzero(parting).tolist():
        row, of_row = batch.live[i], members[i]
        split = _split(batch, i, tokens[i].tolist(), confidences[i], ended)
        parts, lost = of_row.split(int(lengths[i]), split.going)
        orphaned += lost
        if not parts:
            of_row.keep(Members([], []))
            over.append(i)
            continue
        kept, *others = parts
        of_row.keep(parts[kept])
        column[i], batch.stop[i] = split.column[kept], batch.end(of_row.drawing[0])
        for token in others:
            confidence = confidences[i, split.column[token]]
            forks.append(Fork(row, replace(row, key=parts[token]), token, confidence))

    # 4. Append the tokens. `advance` ends no row: requests that end were split off, and `stop` was set anew.
    rows = np.setdiff1d(np.arange(len(members)), over)
    batch.advance(rows, tokens[rows, column[rows]], confidences[rows, column[rows]])
    batch.holes += over
    joined = sum(x.join(length + 1) for x, length in zip(members, lengths.tolist(), strict=True) if x.waiting)

    # 5. Fork: after the sources have advanced, as a fork replaces the newest token, and into the holes of step 4.
    for fork in forks:
        place = batch.fork(fork)
        batch.stop[place] = batch.end(fork.request.key.drawing[0])
        joined += fork.request.key.join(int(batch.state[LENGTH, place]) + 1)
    return _Step(ended, orphaned, joined)


def _draw(batch: Batch, members: Sequence[Members], lengths: np.ndarray, sampling: Sampling) -> _Drawn:
    """The next token of every request that draws. lengths: (B,), of the rows with their pending tokens."""
    # 1. Seeds and token numbers, (B, K); the padding is zeros.
    sizes = np.array([len(of_row.seeds) for of_row in members])
    drawing = np.arange(sizes.max()) < sizes[:, None]  # (B, K), False at the padding
    seeds, counts = np.zeros(drawing.shape, np.int64), np.zeros(drawing.shape, np.int64)
    seeds[drawing] = np.concatenate([of_row.seeds for of_row in members])
    counts[drawing] = np.repeat(lengths, sizes) - np.concatenate([of_row.starts for of_row in members])
    # 2. The model's outputs and the draws. One transfer for both results is the step's only wait for the accelerator.
    outputs = batch.step()  # (B, V)
    ids, probabilities = draw(outputs, torch.from_numpy(seeds), torch.from_numpy(counts), sampling)
    both = torch.stack([ids.int(), probabilities.view(torch.int32)]).cpu().numpy()
    tokens, confidences = both[0], both[1].view(np.float32)
    return _Drawn(tokens, confidences, ((tokens != tokens[:, :1]) & drawing).any(1))


def _split(
    batch: Batch, row: int, tokens: Sequence[int], confidences: np.ndarray, ended: list[tuple[Request, Completion]]
) -> _Split:
    """Sort a row's requests by their tokens (K,); those that end are appended to `ended`.

    confidences: (K,), of the tokens.
    """
    split = _Split({}, {})
    completions: dict[int, Completion] = {}  # by token, of the whole row
    own = batch.live[row]  # whose `start` is where the row's new tokens begin
    for column, (token, request) in enumerate(zip(tokens, own.key.drawing, strict=False)):  # without the padding
        split.column.setdefault(token, column)
        if not batch.closes(row, token) and batch.end(request) > batch.state[LENGTH, row] + 2:
            split.going.setdefault(token, []).append(request)
            continue
        if token not in completions:
            completions[token] = batch.ending(row, token, confidences[column])
        ended.append((request, _without(completions[token], request.start - own.start)))
    return split


def _without(completion: Completion, known: int) -> Completion:
    """The completion without its first `known` tokens, which are the request's prefix."""
    if not known:
        return completion
    return Completion(completion.ids[known:], completion.confidences[known:], completion.finished)


def _side_by_side(executor: Executor) -> int:
    """How many requests are decoded side by side, unless the caller says it."""
    if executor.device.type != "cpu":
        return 512
    return min(1024, max(16, _OUTPUTS // executor.config.vocab_size))
