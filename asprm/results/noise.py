"""Noise of the engine: how far confidences, τ, step ends and labels move where nothing but the arithmetic differs.

The same texts are decoded or read with another batch size, number format or engine; what comes out is compared. Knows
arrays only: no model, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Reading:
    """What one setting makes of S texts.

    ids: (T,) of each text. confidences: (T,) of its tokens. ends: (K,) tokens up to each step's end, cut by `tau`,
    which was fitted to all of this setting's confidences.
    """

    ids: Sequence[np.ndarray]
    confidences: Sequence[np.ndarray]
    ends: Sequence[np.ndarray]
    tau: float


@dataclass(frozen=True)
class Noise:
    """How far a setting is from the one that it is compared with.

    texts: all. same: those with the same tokens, of which the rest speaks. tokens: theirs.
    log_p: the greatest difference of a token's log-probability, in nats.
    tau: of the first setting. delta_tau: the other setting's minus it.
    ends: step ends of either setting. moved: those that only one of the two has.
    """

    texts: int
    same: int
    tokens: int
    log_p: float
    tau: float
    delta_tau: float
    ends: int
    moved: int


def noise(first: Reading, other: Reading) -> Noise:
    """Compare two settings. ValueError: they have not the same number of texts, or no text with the same tokens."""
    if len(first.ids) != len(other.ids):
        raise ValueError(f"noise: {len(first.ids)} texts against {len(other.ids)}; expected the same texts")
    same = [i for i, (a, b) in enumerate(zip(first.ids, other.ids, strict=True)) if np.array_equal(a, b)]
    if not same:
        raise ValueError(f"noise: none of {len(first.ids)} texts has the same tokens; decode them with the same seeds")
    differences = [np.abs(np.log(first.confidences[i]) - np.log(other.confidences[i])) for i in same]
    ends = [(set(first.ends[i].tolist()), set(other.ends[i].tolist())) for i in same]
    return Noise(
        texts=len(first.ids),
        same=len(same),
        tokens=sum(map(len, differences)),
        log_p=float(max(x.max() for x in differences)),
        tau=first.tau,
        delta_tau=other.tau - first.tau,
        ends=sum(len(a | b) for a, b in ends),
        moved=sum(len(a ^ b) for a, b in ends),
    )


def changed_labels(first: Mapping[object, float], other: Mapping[object, float]) -> tuple[int, int]:
    """How many labels differ, and how many there are. ValueError: the two do not label the same steps."""
    if first.keys() != other.keys():
        raise ValueError(f"noise: {len(first)} labelled steps against {len(other)} others; expected the same steps")
    return sum(first[step] != other[step] for step in first), len(first)
