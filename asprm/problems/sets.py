"""Sets: the named lists of problems of a profile: `train`, `validation` and the test sets."""

from __future__ import annotations

from asprm.problems.families import FAMILIES
from asprm.problems.hub import SOURCES, describe, given_paths
from asprm.problems.load import domain_of, load
from asprm.problems.problem import Problem
from asprm.run.names import Training
from asprm.run.profile import Profile
from asprm.run.sections import ProfileError, nearest


def problem_set(profile: Profile, name: str, domain: str | None = None) -> list[Problem]:
    """The problems of the set `name`: "train", "validation" or a test set. KeyError: the profile has no such set.

    domain: only the problems of this domain, of "train" and "validation". A published set that has no split for
    validation gives the rows that follow its training problems.
    """
    paths = _paths(profile)
    families = {"train": profile.problems.train, "validation": profile.problems.validation}.get(name)
    if families is None:
        start = profile.problems.test_from if name in FAMILIES else 0
        return load(name, "test", profile.problems.test[name], start, path=paths.get(name))
    problems = []
    for family in (family for family in families if domain in (None, domain_of(family))):
        split = _split(family, name)
        start = profile.problems.train.get(family, 0) if split != name else 0
        problems += load(family, split, families[family], start, path=paths.get(family))
    return problems


def _paths(profile: Profile) -> dict[str, str]:
    """The file or folder of each set that is not read from the hub. ProfileError: the profile names an unknown set."""
    named = (("data", profile.data, SOURCES), ("problems.clusters", profile.problems.clusters, (*FAMILIES, *SOURCES)))
    for where, names, known in named:
        for name in names:
            if name not in known:
                raise ProfileError(f"profile {profile.name}: {where}: unknown set '{name}': {nearest(name, known)}")
    return dict(profile.data) | given_paths()


def _split(family: str, name: str) -> str:
    """The split of a family that the problems of a set come from: "train", "validation" or "test"."""
    lacking = name == "validation" and family in SOURCES and name not in SOURCES[family].splits
    return "train" if lacking else name


def origins(profile: Profile, domain: str | None = None) -> dict[str, str]:
    """Where published problems (of a domain) come from, noted as inputs: the commit on the hub, or digests of files."""
    paths, digests = _paths(profile), {}
    sets = profile.problems
    for name, families in (("train", sets.train), ("validation", sets.validation), ("test", sets.test)):
        for family in families:
            if family not in SOURCES or domain not in (None, domain_of(family)):
                continue
            split = _split(family, name)
            record = describe(family, split, paths.get(family))
            files = record.get("files") or {record.get("repository"): record.get("revision")}
            digests |= {f"{family}/{split}: {source}": digest for source, digest in files.items()}
    return digests


def test_sets(profile: Profile, domain: str) -> list[str]:
    """Names of the test sets of a domain."""
    return [name for name in profile.problems.test if domain == domain_of(name)]


def rated_sets(profile: Profile, training: str, policy: str) -> list[str]:
    """The sets whose candidates a training of a reward model rates: the test sets of the policy's domain.

    The first training of a reward model that starts from the policy also rates the validation set, on which cuts and
    aggregates are chosen.
    """
    parsed = Training.parse(training)
    own = parsed.number == 0 and profile.reward_models[parsed.reward_model].base == policy
    return [*(["validation"] if own else []), *test_sets(profile, profile.policies[policy].domain)]


def scoring(profile: Profile, prm: str, policy: str, shown: str) -> dict[str, list[str]]:
    """By training of the reward model `prm` that rates the policy's candidates, the sets that it rates.

    shown: the training that the policy's chapter looks at more closely: it compares aggregates on the validation set.
    """
    tests = test_sets(profile, profile.policies[policy].domain)
    return {
        training: ["validation", *tests] if training == shown else rated_sets(profile, training, policy)
        for training in profile.trainings(prm, policy)
    }


def solvers(profile: Profile, name: str) -> list[str]:
    """Names of the policies that solve the problems of a test set."""
    return [policy for policy, source in profile.policies.items() if source.domain == domain_of(name)]


def knows_truth(profile: Profile, policy: str) -> bool:
    """Whether the policy learns from and is tested on problems made here: their solutions' first errors are known."""
    domain, problems = profile.policies[policy].domain, profile.problems
    learned = [name for name in (*problems.train, *problems.validation) if domain_of(name) == domain]
    return all(name in FAMILIES for name in learned) and any(name in FAMILIES for name in test_sets(profile, domain))


def has_rivals(profile: Profile) -> bool:
    """Whether the last chapter is wanted and can be made. Its rivals are judged by the truth, on the first policy's
    mathematics, and use a reward model that starts from this policy, rates its candidates and guides it.
    """
    first, source = next(iter(profile.policies.items()))
    wanted = profile.rivals.problems > 0 and source.domain == "math" and bool(profile.tvd.guide[first])
    if not wanted or not knows_truth(profile, first):
        return False
    prm = profile.prm_of(first)
    return profile.reward_models[prm].base == first and prm in profile.best_of_n.score[first]


def templates(profile: Profile, name: str) -> dict[str, str] | None:
    """The template of each problem, by id, if the profile resamples templates in this set (`clusters`); else None."""
    if name not in profile.problems.clusters:
        return None
    return {problem.id: problem.template for problem in problem_set(profile, name)}
