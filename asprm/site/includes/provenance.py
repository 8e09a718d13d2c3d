"""Includes about the origin of a run's artifacts: commits, machines, versions, and a row for every artifact."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from asprm.run.manifests import by_notebook, manifests, seconds_of
from asprm.run.open import Run
from asprm.site.includes.tables import duration, plain, table


def commit_of(made: dict[str, Any]) -> str:
    """The commit of the code that made something, in words. made: with the fields commit and dirty."""
    name = f"`{made['commit'][:10]}`" if made["commit"] else "an unknown commit"
    return name + (" with uncommitted changes" if made["dirty"] else "")


def commits(made: Sequence[dict[str, Any]]) -> str:
    """The commit that made all artifacts, or each commit with its stages, in words. made: manifests."""
    stages = defaultdict(list)
    for m in made:
        stages[commit_of(m)].append(m["stage"])
    if len(stages) == 1:
        return next(iter(stages))
    return "; ".join(f"{name} ({', '.join(dict.fromkeys(of))})" for name, of in stages.items())


def provenance(run: Run) -> str:
    """Commit, machine, versions, time and memory of the run."""
    made = manifests(run.base)
    devices = sorted({m["device"] for m in made})
    versions = {f"{name} {value}" for m in made for name, value in m["versions"].items()}
    return table(
        ["fact", "value"],
        [
            ("profile", f"`{run.profile.name}`: {plain(run.profile.description)}"),
            ("seed", run.seed),
            ("commit", commits(made)),
            ("machine", ", ".join(devices)),
            ("versions", ", ".join(sorted(versions, key=str.lower))),
            ("computing time", duration(sum(seconds_of(made).values()))),
            ("largest process", f"{max(max(m['peak_memory_mb'].values()) for m in made):,} MB"),
        ],
    )


def notebooks(run: Run) -> str:
    """A row for every notebook and policy of the run that wrote something."""
    made = by_notebook(manifests(run.base))
    several = len({of for one in made for of in one.commits}) > 1
    rows = [
        (
            one.stage,
            one.policy,
            one.seconds,
            one.memory_mb,
            len(one.digests),
            f"`{one.digest[:10]}`",
            *([", ".join(commit_of({"commit": commit, "dirty": dirty}) for commit, dirty in one.commits)] * several),
        )
        for one in made
    ]
    header = ["notebook", "policy", "seconds", "largest process, MB", "artifacts", "digest", *(["commit"] * several)]
    return table(header, rows, numbers=(2, 3, 4))


def artifacts(run: Run) -> str:
    """A row for every artifact of the run."""
    return table(
        ["artifact", "rows", "seconds", "kB", "digest"],
        [
            (
                f"`{m['artifact']}`",
                m["facts"].get("rows", ""),
                m["seconds"],
                m["bytes"] // 1000,
                f"`{m['digest'][:10]}`",
            )
            for m in manifests(run.base)
        ],
        numbers=(1, 2, 3),
    )
