"""Includes about what a run was asked to do: the packaged profiles, the settings of its own, and how it deviates from
the paper.
"""

from collections.abc import Callable
from typing import Any

import yaml

from asprm import REPOSITORY
from asprm.policy import about
from asprm.problems.families import FAMILIES
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.run.profile import load_profile, packaged_profiles
from asprm.run.sections import Section
from asprm.site.includes.tables import table

KINDS = {
    "scale": "This run is smaller",
    "release": "The released code does it otherwise",
    "choice": "Chosen here",
}


def profiles(run: Run) -> str:
    loaded = [load_profile(name) for name in packaged_profiles()]
    rows = [
        (f"`{p.name}`", p.description, sum(p.problems.train.values()), sum(p.problems.test.values())) for p in loaded
    ]
    return table(["profile", "for", "training problems", "test problems"], rows, numbers=(2, 3))


def settings(run: Run) -> str:
    """All fields of the run's profile with what they mean."""
    rows = []
    for name, field in type(run.profile).model_fields.items():
        value = getattr(run.profile, name)
        if isinstance(value, Section):
            for key, inner in type(value).model_fields.items():
                rows.append((f"`{name}.{key}`", f"`{_plain(getattr(value, key))}`", inner.description or ""))
        else:
            rows.append((f"`{name}`", f"`{_plain(value)}`", field.description or ""))
    return table(["setting", "value", "meaning"], rows)


ENDS = {  # of steps, by the kind of method; others go by their name
    "adaptive": "decision tokens",
    "line": "line breaks",
    "fixed": "a fixed number of tokens",
    "random": "random tokens",
    "whole": "the end of the solution",
}


def reward_models(run: Run) -> str:
    """What each reward model of the profile starts and learns from, and where it rates."""
    rows = []
    for name, model in run.profile.reward_models.items():
        base = f"`{model.published}`" if model.published else model.base
        data = "; ".join(_learned(*source.split("/", 1)) for source in model.data) or "published, not trained here"
        equal = ", as many solutions of each" if model.equal else ""
        rows.append((name, base, data + equal, ENDS.get(model.rates.kind, model.rates.kind)))
    return table(["reward model", "starts from", "learns from solutions of, cut at", "rates at"], rows)


def _learned(policy: str, method: str) -> str:
    parts = Method.parse(method)
    share = f" (share {parts.share:g})" if parts.share else ""
    estimate = f", {parts.estimate} labels" if parts.estimate else ""
    return f"{policy}, {ENDS.get(parts.kind, parts.kind)}{share}{estimate}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, Section):
        return ", ".join(_plain(v) for v in value.model_dump(exclude_defaults=True).values())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


_PAPER = load_profile("paper")
# What some deviations are of: they are left out where a run is not so.
HOLDS: dict[str, Callable[[Run], bool]] = {
    "small-policies": lambda run: any(_made_here(run)),
    "transplanted-layers": lambda run: any(recipe.get("start") for recipe in _made_here(run)),
    "synthetic-problems": lambda run: any(name in FAMILIES for name in run.profile.problems.test),
    "fewer-samples": lambda run: run.profile.sample.solutions < _PAPER.sample.solutions,
    "fewer-candidates": lambda run: run.profile.sample.candidates < _PAPER.sample.candidates,
    "prm-base": lambda run: any(policy.reward_base is None for policy in run.profile.policies.values()),
    "prm-training": lambda run: any(_made_here(run)),
    "threshold-share": lambda run: run.profile.threshold.share != _PAPER.threshold.share,
}


def _made_here(run: Run) -> list[dict[str, Any]]:
    """The recipes of those policies that have one: of all that the run makes, or those that come with the study."""
    policies = run.profile.policies
    if run.profile.policy.retrain:
        return [run.profile.recipe(name).model_dump() for name in policies]
    return [recipe for policy in policies.values() if (recipe := about(REPOSITORY / policy.path))]


def deviations(run: Run) -> str:
    """What this run does otherwise than the paper, from `data/paper/deviations.yml`."""
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text(encoding="utf-8"))
    p = run.profile
    facts = {"p": p, "train": sum(p.problems.train.values()), "triggers": _plain(p.tvd.triggers)}
    parts = []
    for kind, heading in KINDS.items():
        of_kind = [one for one in entries if one["kind"] == kind and HOLDS.get(one["id"], lambda _: True)(run)]
        if of_kind:
            parts.append(f"## {heading}\n")
        for entry in of_kind:
            words = {key: entry[key].format(**facts) for key in ("paper", "here", "effect")}
            parts.append(
                f"(dev-{entry['id']})=\n### {entry['title']}\n\n"
                f"Paper\n: {words['paper']}\n\nHere\n: {words['here']}\n\nExpected effect\n: {words['effect']}\n"
            )
    return "\n".join(parts)
