"""From logits to tokens: inverse CDF sampling with one counter-based random generator per request.

The uniform number that draws token i of a request is a hash of (seed, i). No generator has a state, so neither the
batch nor the order of requests can change the tokens of a request. The hashes of a batch are computed at once.
"""

from __future__ import annotations

import torch

from asprm.engines.protocol import Sampling

_PART = 1 << 20  # numbers (rows × vocabulary) that a CPU draws from at a time: they and their copies stay in its caches
_NUCLEUS = 64  # top-p first looks at this many tokens: sorting a whole vocabulary costs more than the model's step
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, SplitMix64's increment


def uniforms(seeds: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Float32 in [0, 1): a hash of each seed and of the number of tokens drawn so far.

    seeds: int64. counts: int64, of the same shape or one that broadcasts to it. The hash is SplitMix64 started from the
    mixed seed: its (count + 1)-th output, top 24 bits (int64 arithmetic wraps).
    """
    bits = _mix(_mix(seeds + _GOLDEN) + (counts + 1) * _GOLDEN)
    return (bits >> 40 & 0xFFFFFF).float() * 2.0**-24


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ (x >> 31 & 0x1FFFFFFFF)


@torch.inference_mode()
def draw(
    logits: torch.Tensor, seeds: torch.Tensor, counts: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (int64) and their confidences (float32), both of the shape of `seeds`.

    logits: (B, V) float32.
    seeds: (B,) int64, or (B, K) for K draws from each row; equal seeds draw equal tokens in either shape.
    counts: int64, as `seeds` or (B, 1). Leave both in host memory: to hash few numbers there is cheaper than a launch.
    A confidence is the token's softmax probability at temperature 1, whatever the sampling.
    """
    if logits.device.type != "cpu":
        return _draw(logits, seeds, counts, sampling)
    size = max(1, _PART // logits.shape[-1])
    parts = zip(logits.split(size), seeds.split(size), counts.split(size), strict=True)
    drawn = [_draw(*part, sampling) for part in parts]
    return torch.cat([tokens for tokens, _ in drawn]), torch.cat([confidences for _, confidences in drawn])


def _draw(
    logits: torch.Tensor, seeds: torch.Tensor, counts: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """`draw` for some of the rows."""
    probabilities = logits.softmax(-1)
    if sampling.temperature == 0:
        confidences, tokens = probabilities.max(-1)
        shape = (len(logits), *[1] * (seeds.ndim - 1))
        return tokens.view(shape).expand_as(seeds), confidences.view(shape).expand_as(seeds)
    tempered = probabilities if sampling.temperature == 1 else (logits / sampling.temperature).softmax(-1)
    cumulative = _filter(tempered, sampling).cumsum(-1)
    # The first token at which the cumulative mass exceeds u times the total; there is one because u < 1.
    chance = uniforms(seeds, counts).to(logits.device, non_blocking=True)
    target = chance.view(len(logits), -1) * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, target, right=True)
    return tokens.view(seeds.shape), probabilities.gather(-1, tokens).view(seeds.shape)


def _filter(probabilities: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities (B, V), 0 where top-k and then top-p exclude the token; ties with the last token stay."""
    size = probabilities.shape[-1]
    if 0 < sampling.top_k < size:
        least = probabilities.topk(sampling.top_k).values[:, -1:]
        probabilities = probabilities.where(probabilities >= least, 0)
    if sampling.top_p < 1:
        enough = sampling.top_p * probabilities.sum(-1, keepdim=True)
        best = probabilities.topk(min(_NUCLEUS, size)).values
        # On an accelerator reading the result would stall it, and sorting is cheap there.
        if probabilities.device.type != "cpu" or (best.sum(-1, keepdim=True) < enough).any():
            best = probabilities.sort(descending=True).values
        before = best.cumsum(-1) - best
        last = (before < enough).sum(-1, keepdim=True) - 1
        probabilities = probabilities.where(probabilities >= best.gather(-1, last), 0)
    return probabilities
