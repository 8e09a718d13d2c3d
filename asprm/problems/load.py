"""Load problems by the name of a synthetic family or of a published data set."""

from __future__ import annotations

from pathlib import Path

from asprm.problems import hub
from asprm.problems.families import DOMAINS, FAMILIES, check_family, family_problem
from asprm.problems.problem import Domain, Problem

TITLES = {  # of families and of the paper's test sets, as pages write them
    "minigsm": "MiniGSM",
    "minimath": "MiniMATH",
    "minigsm-p2": "MiniGSM-P2",
    "minicode": "MiniCode",
    "minicode-new": "MiniCode-New",
    "gsm8k": "GSM8K",
    "math500": "MATH500",
    "gsm-symbolic-p2": "GSM-Symbolic P2",
    "leetcode": "LeetCodeDataset",
    "livecodebench": "LiveCodeBench",
}
PAPERS = dict(zip(FAMILIES, ("gsm8k", "math500", "gsm-symbolic-p2", "leetcode", "livecodebench"), strict=True))
"""The paper's test set that each family stands for."""


def load(
    name: str, split: str = "test", count: int | None = None, start: int = 0, path: str | Path | None = None
) -> list[Problem]:
    """Problems number start … start+count-1 of a split of a synthetic family or of a published data set.

    name: of a family, or of a data set (`asprm.problems.hub`).
    split: "train", "validation" or "test"; data sets do not have all of them.
    count: how many problems; a data set may go without, which gives all from `start` on.
    start: number of the first problem, from 0.
    path: a file or folder with the data set's rows, instead of the hub.

    A family's problem of a number is always the same. ValueError: unknown name or split, a family without a count, or
    fewer rows than asked for.
    """
    if name in FAMILIES:
        if count is None:
            raise ValueError(f"the family {name!r} is endless; say how many problems:  load({name!r}, {split!r}, 100)")
        check_family(name, split)
        return [family_problem(name, split, index) for index in range(start, start + count)]
    _check_known(name)
    return hub.load(name, split, path=path, count=count, start=start)


def domain_of(name: str) -> Domain:
    """The domain of a family or data set. ValueError: unknown name."""
    _check_known(name)
    return DOMAINS[name] if name in DOMAINS else hub.SOURCES[name].domain


def _check_known(name: str) -> None:
    if name not in DOMAINS and name not in hub.SOURCES:
        raise ValueError(f"unknown problems {name!r}; known: {', '.join([*FAMILIES, *hub.SOURCES])}")


def title(name: str) -> str:
    """A family's or data set's name as pages write it: "MiniGSM"."""
    return TITLES.get(name, name)
