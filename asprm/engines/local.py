"""The local engine: continuous batching over one transformers model, on the CPU or an accelerator.

A fixed number of rows is decoded side by side (asprm.engines.batch), a token each per step; the accelerator is waited
for once per step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from asprm.engines import Completion, Follow, Request, Sampling
from asprm.engines.batch import Batch, Prefixes
from asprm.engines.executor import load_executor
from asprm.engines.rows import Rows
from asprm.engines.sampling import draw
from asprm.models import load_tokenizer, load_weights


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
        self.rows = rows or 256
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
        """Completions in the order in which they end; requests are pulled only when there is room for them.

        follow: called with each completion, returns further requests, which go to the front of the queue.
        A completion ends with an end-of-text token, after max_new_tokens, or where the model's positions end.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        first: deque[Request] = deque()
        rest = iter(requests)
        with self.batch(sampling.max_new_tokens) as batch:
            while True:
                batch.admit(list(_take(first, rest, batch.room)))
                if not batch.live:
                    return
                tokens, confidences = draw(*batch.step(), sampling)
                # One transfer for both, which is the step's only wait for the accelerator.
                both = torch.stack([tokens.int(), confidences.view(torch.int32)]).cpu().numpy()
                for request, completion in batch.advance(np.arange(len(batch.live)), both[0], both[1].view(np.float32)):
                    if follow is not None:
                        first.extendleft(reversed(list(follow(request, completion) or ())))
                    yield request, completion

    @contextmanager
    def batch(self, max_new_tokens: int) -> Iterator[Batch]:
        """Rows to decode in, for `stream` and for those who choose tokens themselves (guided decoding)."""
        rows, read = (self._spare.pop() if self._spare else Rows(self.executor.shape) for _ in range(2))
        prefixes = Prefixes(self.executor, read, limit=max(1, self.rows // 2))
        try:
            yield Batch(self.executor, rows, prefixes, limit=self.rows, eos=self.eos, max_new_tokens=max_new_tokens)
        finally:
            self._spare += [read, rows]


def _take(first: deque[Request], rest: Iterator[Request], room: int) -> Iterator[Request]:
    for _ in range(room):
        request = first.popleft() if first else next(rest, None)
        if request is None:
            return
        yield request


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """The model's end-of-text ids, else the tokenizer's."""
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return [ids] if isinstance(ids, int) else list(ids)
    return []
