"""Names: the strings that carry structure, made and read in one place.

An artifact is named by its path below the run's folder, without suffix: `best_of_n/ASPRM-M@1/L-minigsm@line` holds the
scores that the second training of ASPRM-M gives to policy L's candidates of the set `minigsm`, at line breaks.
Stages, notebooks, pages and the Snakefile build such names here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import numpy as np

GREEDY = "-greedy"  # ends the name of a set's greedy solutions

# --- where steps end --------------------------------------------------------------------------------------------------

METHODS: dict[str, str | None] = {"adaptive": "tau", "line": None, "fixed": "length", "random": "count", "whole": None}
"""The ways to split a solution, each with the parameter that it needs. `asprm.split` has a function for each."""


@dataclass(frozen=True)
class Method:
    """A way to split and label solutions: "adaptive", "adaptive-0.01", "line-entropy".

    kind: one of METHODS. share: of tokens below the threshold, None for the profile's. estimate: of the labels, None
    for the profile's.
    """

    kind: str
    share: float | None = None
    estimate: str | None = None

    @classmethod
    def parse(cls, name: str) -> Self:
        """ValueError: not the name of a method."""
        share = r"((?<=adaptive)-0\.[0-9]*[1-9][0-9]*)?"
        parts = re.fullmatch(rf"({'|'.join(METHODS)}){share}(?:-(hard|soft|entropy))?", name)
        if not parts:
            raise ValueError(f"unknown split method {name!r}; known: {', '.join(METHODS)}, or one like adaptive-0.01")
        kind, given, estimate = parts.groups()
        return cls(kind, float(given.removeprefix("-")) if given else None, estimate)

    @property
    def split(self) -> str:
        """The name of the table of step ends, which does not depend on how the steps are labelled."""
        return f"{self.kind}-{_decimal(self.share)}" if self.share else self.kind

    def __str__(self) -> str:
        return f"{self.split}-{self.estimate}" if self.estimate else self.split


def _decimal(share: float) -> str:
    """The shortest text without an exponent that reads back as the same number."""
    return np.format_float_positional(share, trim="-")


@dataclass(frozen=True)
class LabelTable:
    """Labels that one policy's solutions got by one method: "M/line-entropy"."""

    policy: str
    method: Method

    @classmethod
    def parse(cls, name: str) -> Self:
        """ValueError: expected <policy>/<method>."""
        policy, slash, method = name.partition("/")
        if not (policy and slash):
            raise ValueError(f"'{name}': expected <policy>/<method>, such as M/adaptive")
        return cls(policy, Method.parse(method))

    def __str__(self) -> str:
        return f"{self.policy}/{self.method}"


# --- reward models ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """One training of a reward model: "ASPRM-M" is the first, "ASPRM-M@1" the second."""

    reward_model: str
    number: int = 0

    @classmethod
    def parse(cls, name: str) -> Self:
        """ValueError: what follows the @ is not a whole number above 0."""
        reward_model, at, number = name.partition("@")
        if at and not re.fullmatch("[1-9][0-9]*", number):
            raise ValueError(f"'{name}': expected a reward model, or one of its further trainings, such as ASPRM-M@1")
        return cls(reward_model, int(number) if at else 0)

    def __str__(self) -> str:
        return f"{self.reward_model}@{self.number}" if self.number else self.reward_model


OWN, CONFIDENCE, LINE = "", "@confidence", "@line"
"""Rating positions: a reward model's own step ends, the policy's decision tokens, line breaks."""


def random_position(number: int) -> str:
    """Rating positions drawn at random with the seed of this number."""
    return f"@random{number}"


# --- artifacts --------------------------------------------------------------------------------------------------------


def policy_weights(policy: str) -> str:
    """Folder of a policy that was trained here."""
    return f"policy/{policy}"


def samples(policy: str, problems: str) -> str:
    """Sampled solutions of a set of problems; of `<set>-greedy` the greedy ones."""
    return f"sample/{policy}/{problems}"


def greedy_samples(policy: str, problems: str) -> str:
    return samples(policy, problems + GREEDY)


def threshold(policy: str) -> str:
    """The policy's fitted threshold (JSON)."""
    return f"threshold/{policy}"


def step_ends(policy: str, split: str) -> str:
    """Where the steps of the training solutions end. split: `Method.split`."""
    return f"split/{policy}/{split}"


def labels(policy: str, method: str | Method) -> str:
    return f"rollout/{policy}/{method}"


def reward_model(training: str | Training) -> str:
    """Folder of a reward model that was trained here."""
    return f"prm/{training}"


def training_log(training: str | Training) -> str:
    return f"prm/{training}-log"


def scores(training: str | Training, policy: str, problems: str, position: str = OWN) -> str:
    """Step scores of the policy's candidates, at one kind of rating positions."""
    return f"best_of_n/{training}/{policy}-{problems}{position}"


def guided(training: str | Training, policy: str, problems: str) -> str:
    """Solutions by guided decoding, at every trigger that was tried."""
    return f"tvd/{training}/{policy}-{problems}"


def trigger(training: str | Training, policy: str) -> str:
    """The trigger that was chosen on validation problems (JSON)."""
    return f"tvd/{training}/{policy}"


def decision(training: str | Training, policy: str) -> str:
    """The decision that Figure 3 shows (JSON)."""
    return f"tvd/{training}/{policy}-decision"


def token_types(policy: str) -> str:
    return f"tokens/{policy}"


def token_places(policy: str) -> str:
    """Tokens of programs by place: code, comment, prose."""
    return f"tokens/{policy}-place"


TRUTH = ("entry", "labels", "first-error", "interventions")
"""The tables of the stage `truth`."""


def truth(policy: str, table: str) -> str:
    """table: one of TRUTH."""
    return f"truth/{policy}-{table}"


RIVALS = ("steps", "tokens", "drops", "labels", "noise", "search", "edits")
"""The tables of the stage `rivals`."""


def rivals(policy: str, table: str) -> str:
    """table: one of RIVALS."""
    return f"rivals/{policy}-{table}"


RESULTS = "generalize/results"
LEDGER = "claims/ledger"
TALLY = "claims/tally"
COSTS = "claims/costs"


# --- jobs that share a stage's chunks ---------------------------------------------------------------------------------

_SHARD = ".shard"


def shard(stage: str, policy: str, part: str, item: str) -> str:
    """The file, below the run's folder, that says that a shard's chunks are there.

    part: of the stage; "" for its only one. item: which shard, as Snakemake writes it: "3-of-8".
    """
    return f".work/{stage}/{policy}/{f'{part}-' if part else ''}{item}{_SHARD}"


def is_shard(path: str) -> bool:
    """Whether a path is one of `shard`."""
    return path.endswith(_SHARD)
