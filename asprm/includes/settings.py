"""Includes about what a run was asked to do: the packaged profiles, the settings of its own, and how it deviates from
the paper.
"""

from typing import Any

import yaml

from asprm.includes.tables import table
from asprm.profile import Section, load_profile, packaged_profiles
from asprm.run import REPOSITORY, Run

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


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, Section):
        return ", ".join(_plain(v) for v in value.model_dump(exclude_defaults=True).values())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def deviations(run: Run) -> str:
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text(encoding="utf-8"))
    p = run.profile
    facts = {"p": p, "train": sum(p.problems.train.values()), "triggers": _plain(p.tvd.triggers)}
    parts = []
    for kind, heading in KINDS.items():
        parts.append(f"## {heading}\n")
        for entry in entries:
            if entry["kind"] == kind:
                words = {key: entry[key].format(**facts) for key in ("paper", "here", "effect")}
                parts.append(
                    f"(dev-{entry['id']})=\n### {entry['title']}\n\n"
                    f"Paper\n: {words['paper']}\n\nHere\n: {words['here']}\n\nExpected effect\n: {words['effect']}\n"
                )
    return "\n".join(parts)
