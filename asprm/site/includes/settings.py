"""Includes about the settings: the packaged profiles, all settings of the run, and its deviations from the paper."""

from collections.abc import Callable
from typing import Any

import yaml

from asprm import REPOSITORY
from asprm.plan.shapes import shape_of
from asprm.policy import about
from asprm.problems.families import FAMILIES
from asprm.run.names import LabelTable
from asprm.run.open import Run
from asprm.run.profile import load_profile, packaged_profiles
from asprm.run.sections import Policy, Section
from asprm.site.includes.tables import code, plain, table

KINDS = {  # of deviations, with their headings
    "scale": "This run is smaller",
    "release": "The released code differs from the paper",
    "choice": "Choices of this study",
}


def profiles(run: Run) -> str:
    """The packaged profiles and their numbers of problems."""
    loaded = [load_profile(name) for name in packaged_profiles()]
    rows = [
        (f"`{p.name}`", plain(p.description), sum(p.problems.train.values()), sum(p.problems.test.values()))
        for p in loaded
    ]
    return table(["profile", "purpose", "training problems", "test problems"], rows, numbers=(2, 3))


def what_ran(run: Run) -> str:
    """A sentence that says what kind of models this run is about, and of problems."""
    profile = run.profile
    ours = trained_here(run)
    made = [name for name in profile.problems.test if name in FAMILIES]
    first = f"This is the run {code(profile.name)}"
    if len(ours) == len(profile.policies) and len(made) == len(profile.problems.test):
        first += (
            " of **small language models trained from scratch on synthetic word problems**, not of the paper's models "
            "of 7 and 8 billion parameters on GSM8K and MATH"
        )
    elif ours:
        first += f", in which {', '.join(ours)} are **small language models trained from scratch**"
    else:
        first += " of published language models, which others have trained"
    return f"{first}.\n"


def trained_here(run: Run) -> list[str]:
    """The policies that this run trained, or that come with the project."""
    policies = run.profile.policies
    return [name for name in policies if run.profile.policy.retrain or policies[name].path.startswith("data/policies/")]


def size(path: str, recipe: Policy) -> str:
    """A policy's number of weights, in words; what is not known without a download is said."""
    try:
        count = shape_of(path, recipe).parameters
    except ValueError:
        return "of a size that only its hub page says"
    return f"{count / 1e9:.2f} billion weights" if count > 1e9 else f"{count / 1e6:.3g} million weights"


def settings(run: Run) -> str:
    """All fields of the run's profile, with values and meanings."""
    rows = []
    for name, field in type(run.profile).model_fields.items():
        value = getattr(run.profile, name)
        if isinstance(value, Section):
            for key, field_of_section in type(value).model_fields.items():
                meaning = field_of_section.description or ""
                rows.append((f"`{name}.{key}`", code(_in_words(getattr(value, key))), meaning))
        else:
            rows.append((f"`{name}`", code(_in_words(value)), field.description or ""))
    return table(["setting", "value", "meaning"], rows)


ENDS = {  # where steps end, by kind of method; a kind that is not here goes by its name
    "adaptive": "decision tokens",
    "line": "line breaks",
    "fixed": "a fixed number of tokens",
    "random": "random tokens",
    "whole": "the end of the solution",
}


def reward_models(run: Run) -> str:
    """Each reward model of the profile: the weights it starts from, its training data, and where it scores."""
    rows = []
    for name, model in run.profile.reward_models.items():
        base = code(model.published) if model.published else model.base
        data = "; ".join(map(_table_in_words, model.tables)) or "published, not trained here"
        equal = ", as many solutions of each" if model.equal else ""
        rows.append((name, base, data + equal, ENDS.get(model.rates.kind, model.rates.kind)))
    return table(["reward model", "starts from", "learns from solutions of, split at", "scores at"], rows)


def _table_in_words(labels: LabelTable) -> str:
    method = labels.method
    share = f" (share {method.share:g})" if method.share else ""
    estimate = f", {method.estimate} labels" if method.estimate else ""
    return f"{labels.policy}, {ENDS.get(method.kind, method.kind)}{share}{estimate}"


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_in_words(v)}" for k, v in value.items())
    if isinstance(value, Section):
        return ", ".join(_in_words(v) for v in value.model_dump(exclude_defaults=True).values())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


_PAPER = load_profile("paper")
# The condition of some deviations, by id: a page leaves them out if it does not hold for the run.
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
    """The recipes of the policies that were trained here: by this run, or those that come with the project."""
    policies = run.profile.policies
    if run.profile.policy.retrain:
        return [run.profile.recipe(name).model_dump() for name in policies]
    return [recipe for policy in policies.values() if (recipe := about(REPOSITORY / policy.path))]


def deviations(run: Run) -> str:
    """What this run does differently from the paper, from `data/paper/deviations.yml`."""
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text(encoding="utf-8"))
    p = run.profile
    facts = {"p": p, "train": sum(p.problems.train.values()), "triggers": _in_words(p.tvd.triggers)}
    parts = []
    for kind, heading in KINDS.items():
        of_kind = [x for x in entries if x["kind"] == kind and (x["id"] not in HOLDS or HOLDS[x["id"]](run))]
        if of_kind:
            parts.append(f"## {heading}\n")
        for entry in of_kind:
            paper, here, effect = (entry[key].format(**facts) for key in ("paper", "here", "effect"))
            parts.append(
                f"(dev-{entry['id']})=\n### {entry['title']}\n\n"
                f"Paper\n: {paper}\n\nHere\n: {here}\n\nExpected effect\n: {effect}\n"
            )
    return "\n".join(parts)
