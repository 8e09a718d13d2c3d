"""Decisions: the positions at which a reward model chooses the token, and what guided decoding gives back.

What the decoder of the local engine (`asprm.engines.guided`) and that of vLLM (`asprm.engines.guided_vllm`) share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asprm.engines.protocol import Completion

Where = Callable[[np.ndarray], bool]
"""Whether the PRM may choose the next token, from the solution's ids so far (T,)."""


@dataclass(frozen=True, eq=False)
class Guided:
    """One prompt's guided decoding: T tokens, D decisions, W candidates each.

    ids: (T,) int32, with the end-of-text token where there is one (`finished`).
    confidences: (T,) float32, the policy's top-1 probability at each position, whichever token was emitted.
    decisions: (D,) int32, the positions in `ids` where it was below the trigger.
    candidates: (D, W) int32, the most probable tokens there, the most probable first.
    probabilities: (D, W) float32, the policy's.
    scores: (D, W) float32 in [0, 1], the PRM's.
    """

    ids: np.ndarray
    confidences: np.ndarray
    finished: bool
    decisions: np.ndarray
    candidates: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """The decisions at which a token other than the most probable one was emitted."""
        return self.decisions[self.ids[self.decisions] != self.candidates[:, 0]]


@dataclass(frozen=True)
class Walk:
    """A decoding by one guide at one trigger. ValueError: a trigger out of range."""

    guide: str
    trigger: float

    def __post_init__(self) -> None:
        if not 0 <= self.trigger <= 1:
            raise ValueError(f"tvd: trigger is {self.trigger}, expected a probability in [0, 1]")


@dataclass(frozen=True, eq=False)
class Decision:
    """A position below the trigger. candidates: (W,) int32, the most probable first. probabilities: (W,) float32."""

    position: int
    candidates: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Made:
    """A decision that was made, with the candidates' scores (W,)."""

    decision: Decision
    scores: np.ndarray


def guided_of(completion: Completion, made: Sequence[Made], width: int) -> Guided:
    """The outcome of a decoding: its completion and its decisions, of `width` candidates each."""

    def table(rows: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.array(rows, dtype).reshape(-1, width)

    return Guided(
        ids=completion.ids,
        confidences=completion.confidences,
        finished=completion.finished,
        decisions=np.array([x.decision.position for x in made], np.int32),
        candidates=table([x.decision.candidates for x in made], np.int32),
        probabilities=table([x.decision.probabilities for x in made], np.float32),
        scores=table([x.scores for x in made], np.float32),
    )


def best_of(probabilities: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `width` greatest of each row of (B, V) float32, and their indices; the first of equals, as argmax does."""
    # topk takes any of equals. So they are made unequal: the bits of a positive float, read as an integer, keep its
    # order, and the index goes behind them.
    places = torch.arange(probabilities.shape[-1], device=probabilities.device)
    order = (probabilities.view(torch.int32).long() << 32) - places
    best = order.topk(width).indices
    return probabilities.gather(-1, best), best
