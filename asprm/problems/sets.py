"""Sets: the named lists of problems that a profile asks for: `train`, `validation` and the test sets."""

from __future__ import annotations

from asprm.problems.families import FAMILIES
from asprm.problems.hub import SOURCES, describe, given_paths
from asprm.problems.load import domain_of, load
from asprm.problems.problem import Problem
from asprm.run.names import GREEDY
from asprm.run.profile import Profile


def problem_set(profile: Profile, name: str, domain: str | None = None) -> list[Problem]:
    """The problems of the set `name`: "train", "validation" or a test family, `-greedy` or not.

    domain: only those of "train" and "validation" that are of this domain. A published set without a split of its own
    for validation gives the rows that follow its training problems. KeyError: the profile has no such set.
    """
    paths = dict(profile.data) | given_paths()
    name = name.removesuffix(GREEDY)
    families = {"train": profile.problems.train, "validation": profile.problems.validation}.get(name)
    if families is None:
        start = profile.problems.test_from if name in FAMILIES else 0
        return load(name, "test", profile.problems.test[name], start, path=paths.get(name))
    problems = []
    for family in (family for family in families if domain in (None, domain_of(family))):
        follow = name == "validation" and family in SOURCES and name not in SOURCES[family].splits
        split, start = ("train", profile.problems.train.get(family, 0)) if follow else (name, 0)
        problems += load(family, split, families[family], start, path=paths.get(family))
    return problems


def origins(profile: Profile, domain: str | None = None) -> dict[str, str]:
    """Where published problems (of a domain) come from, an input like others: the hub's commit, or files' digests."""
    paths, found = dict(profile.data) | given_paths(), {}
    of = profile.problems
    for name, families in (("train", of.train), ("validation", of.validation), ("test", of.test)):
        for family in (one for one in families if one in SOURCES and domain in (None, domain_of(one))):
            split = "train" if name == "validation" and name not in SOURCES[family].splits else name
            record = describe(family, split, paths.get(family))
            files = record.get("files") or {record.get("repository"): record.get("revision")}
            found |= {f"{family}/{split}: {source}": digest for source, digest in files.items()}
    return found


def test_sets(profile: Profile, domain: str) -> list[str]:
    """Names of the test sets of a domain."""
    return [name for name in profile.problems.test if domain == domain_of(name)]


def knows_truth(profile: Profile, policy: str) -> bool:
    """Whether the policy learns and is tested on problems made here: it is known where a solution goes wrong."""
    domain, problems = profile.policies[policy].domain, profile.problems
    seen = [name for name in (*problems.train, *problems.validation) if domain_of(name) == domain]
    return all(name in FAMILIES for name in seen) and any(name in FAMILIES for name in test_sets(profile, domain))


def templates(profile: Profile, name: str) -> dict[str, str] | None:
    """The template of each problem of a set whose profile resamples templates (`problems.clusters`); None for others."""
    if name not in profile.problems.clusters:
        return None
    return {problem.id: problem.template for problem in problem_set(profile, name)}
