"""What an engine takes and gives: requests in, completions (token ids and confidences) out. No problems, no steps.

Everything is token ids. A request continues the first `start` ids of its context with a seed of its own, so its tokens
depend on (seed, context[:start], sampling) and not on the requests decoded beside it. Requests that share a context
(the samples of one problem, the rollouts of all steps of one solution) make the engine read it once and fork it.

A confidence is the policy's softmax probability of the token it emitted, at temperature 1, in fp32, before top-p and
top-k (paper §2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    temperature: 0 is greedy decoding. top_p: share of the probability mass to draw from, 1 for all. top_k: number of
    tokens to draw from, 0 for all. max_new_tokens: length limit of a completion.

    ValueError: temperature < 0, top_p outside (0, 1], top_k < 0, max_new_tokens < 1.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"sampling: temperature is {self.temperature}, expected 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampling: top_p is {self.top_p}, expected a share in (0, 1]; 1 switches it off")
        if self.top_k < 0:
            raise ValueError(f"sampling: top_k is {self.top_k}, expected 0 (off) or a number of tokens")
        if self.max_new_tokens < 1:
            raise ValueError(f"sampling: max_new_tokens is {self.max_new_tokens}, expected at least 1")


@dataclass(frozen=True, eq=False)
class Request:
    """Continue `context[:start]`.

    context: (L,) int32 ids; contexts with equal ids are read once.
    start: length of the prefix to continue, 1 to L.
    seed: of the request's own random numbers.
    key: anything; the engine hands it back with the completion.
    """

    context: np.ndarray
    start: int
    seed: int
    key: Any = None


@dataclass(frozen=True, eq=False)
class Completion:
    """The new tokens of a request.

    ids: (T,) int32, with the end-of-text token where there is one. confidences: (T,) float32 in (0, 1], or (0,) where
    nobody asked for them. finished: the last id is an end-of-text token, or completes a stop text (False: the length
    limit cut the text off).
    """

    ids: np.ndarray
    confidences: np.ndarray
    finished: bool


Follow = Callable[[Request, Completion], Iterable[Request] | None]
"""Called with each completion; the requests that it returns go to the front of the queue."""


class Engine(Protocol):
    """What every engine offers.

    tokenizer: the policy's own. vocabulary: how many tokens the policy has outputs for.
    positions: how many tokens a text may have, its prompt included.
    share: whether requests that continue the same prefix cost less when they are asked for together, because the engine
    computes their common tokens once. It changes the cost only, never a token.
    """

    tokenizer: Any
    share: bool

    @property
    def vocabulary(self) -> int: ...

    @property
    def positions(self) -> int: ...

    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling,
        follow: Follow | None = None,
        *,
        confidences: bool = True,
    ) -> Iterator[tuple[Request, Completion]]:
        """Completions in the order in which they end; requests are pulled only when there is room for them.

        confidences: False lets an engine leave them out, where they cost time.
        """
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """The completions in the order of the requests."""
        ...


def request_seed(*parts: object) -> int:
    """A 63-bit seed from the parts that identify a request: the same in every run, whatever else is sampled."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def checked(request: Request, positions: int) -> np.ndarray:
    """The request's context, (L,) int32. ValueError: a model with so many positions cannot continue its prefix."""
    context = np.ascontiguousarray(request.context, np.int32)
    if not 0 < request.start <= len(context):
        raise ValueError(
            f"engine: request {request.key!r} starts at {request.start} in a context of {len(context)} tokens; "
            "expected 1 to the context's length (to continue an empty text, start with the model's first token)"
        )
    if len(context) > positions or request.start == positions:
        raise ValueError(
            f"engine: request {request.key!r} has a context of {len(context)} tokens and starts at {request.start}, "
            f"but the model has {positions} positions and a new token needs one; shorten the context"
        )
    return context


def in_order(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
    """`Engine.generate` by way of `Engine.stream`."""
    numbered = (replace(request, key=i) for i, request in enumerate(requests))
    completions = {request.key: completion for request, completion in engine.stream(numbered, sampling)}
    return [completions[i] for i in range(len(requests))]
