"""Includes about the origin of a run's artifacts: commits, machines, versions, and a row for every artifact."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asprm.run.open import Run
from asprm.run.profile import READS
from asprm.site.includes.tables import duration, plain, table


def manifests(run: Run) -> list[dict[str, Any]]:
    """The manifests of all artifacts of the run, in the order of the stages."""
    order = list(READS)
    files = [path for path in run.base.rglob("*.manifest.json") if not _hidden(path, run.base)]
    contents = [json.loads(path.read_text()) for path in files]
    return sorted(contents, key=lambda m: (order.index(m["stage"]) if m["stage"] in order else -1, m["artifact"]))


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


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


def seconds_of(made: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each stage, the sum over its notebooks. made: manifests.

    A notebook counts up to its last artifact, with the seconds of what it took over from an earlier execution.
    """
    last: dict[tuple[str, str], float] = {}
    for m in made:
        key = m["stage"], m["policy"]
        last[key] = max(last.get(key, 0.0), m["seconds"] + kept_seconds(m))
    total: dict[str, float] = defaultdict(float)
    for (stage, _), seconds in last.items():
        total[stage] += seconds
    return {stage: round(seconds, 1) for stage, seconds in total.items()}


def kept_seconds(made: dict[str, Any]) -> float:
    """Seconds of an earlier execution whose results the stage took over. made: a manifest."""
    return made["kept"]["seconds"]


def provenance(run: Run) -> str:
    """Commit, machine, versions, time and memory of the run."""
    made = manifests(run)
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
            for m in manifests(run)
        ],
        numbers=(1, 2, 3),
    )
