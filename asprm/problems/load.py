"""Load problems by the name of a synthetic family or of a published data set."""

from __future__ import annotations

from asprm.problems import hub
from asprm.problems.families import DOMAINS, FAMILIES, check_family, family_problem
from asprm.problems.problem import Problem

TITLES = {  # of families and of the paper's test sets, as pages call them
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


def load(name: str, split: str = "test", count: int | None = None, start: int = 0, path=None) -> list[Problem]:
    """Problems of a synthetic family, or of a real data set (`asprm.problems.hub`) by its name.

    A family gives the problems number start … start+count-1 of its split, the same for ever, and so does a data set,
    or all from `start` on; path: a local file or folder of its rows in place of the hub. ValueError: unknown name or
    split, a family without a count, fewer rows than that.
    """
    if name in FAMILIES:
        if count is None:
            raise ValueError(f"the family {name!r} has no end: say how many problems, load({name!r}, {split!r}, 100)")
        check_family(name, split)
        return [family_problem(name, split, index) for index in range(start, start + count)]
    if name not in hub.SOURCES:
        known = ", ".join([*FAMILIES, *hub.SOURCES])
        raise ValueError(f"no problems called {name!r}; there are {known}")
    return hub.load(name, split, path=path, count=count, start=start)


def domain_of(name: str) -> str:
    """The domain of a family or data set: "math" or "code". ValueError: no such problems."""
    if name in DOMAINS:
        return DOMAINS[name]
    if name not in hub.SOURCES:
        raise ValueError(f"no problems called {name!r}; there are {', '.join([*FAMILIES, *hub.SOURCES])}")
    return hub.SOURCES[name].domain


def title(name: str) -> str:
    """How pages call a family or data set: "MiniGSM"."""
    return TITLES.get(name, name)
