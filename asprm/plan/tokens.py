"""Tokens: how many are generated, read and learned from, whatever machine does it."""

from __future__ import annotations

from dataclasses import dataclass

from asprm.plan.lengths import Lengths
from asprm.run.profile import Profile

KINDS, FILTERS = 5, 4  # ways to end a step; reward models from other labels: `asprm.contests.places`, `asprm.rivals`


def expected_rollouts(rollouts: int, solved: float, early: bool = True) -> float:
    """The expected number of continuations of a prefix, of at most `rollouts`.

    solved: the mean share of right continuations. early: they run in waves of 1, 1, 2, 4, … until one is right.
    """
    if not early:
        return rollouts
    total, done, none_right = 0.0, 0, 1.0  # none_right: E[(1 - p)^done], p ~ Beta(solved, 1 - solved)
    while done < rollouts:
        wave = min(max(done, 1), rollouts - done)
        total += wave * none_right
        for k in range(done, done + wave):
            none_right *= (1 - solved + k) / (1 + k)
        done += wave
    return total


@dataclass(frozen=True)
class Tokens:
    """What a stage takes."""

    generated: float
    read: float
    trained: float


def of_rivals(profile: Profile, train: Lengths, test: Lengths) -> Tokens:
    """What the contests of the last chapter take. train, test: lengths of the policy's solutions of these sets.

    Rollouts begin at step ends of all kinds, and after each token of some solutions; half of a solution is then left.
    All searches, and Best-of-N once for each N, write whole solutions, which the reward model reads. The policy reads
    all candidates once, for their entropies, and each reward model reads them once.
    """
    p, settings, candidates = profile, profile.rivals, profile.sample.candidates
    labelled = settings.problems * min(p.rollout.solutions, p.sample.solutions)
    ends = labelled * KINDS * p.threshold.share * (train.solution - 1)
    rollouts = ends * p.rollout.rollouts + settings.tokens * train.solution * settings.rollouts
    searched = 2 + sum(settings.widths) * (1 + p.tvd.candidates) + sum(n for n in p.best_of_n.n if n <= candidates)
    written = settings.test * searched * test.solution
    models = (KINDS + FILTERS) * settings.seeds
    rated = 2 * settings.test * (test.prompt + candidates * test.solution)
    texts = labelled * (train.prompt + train.solution)
    return Tokens(
        generated=rollouts * train.solution / 2 + written,
        read=texts + rated * (models + 1) + written,
        trained=texts * models * p.prm.epochs,
    )
