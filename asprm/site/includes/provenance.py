"""Includes about where a run's artifacts come from: commits, machines, versions, and a line for every artifact."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from asprm.run.open import Run
from asprm.run.profile import READS
from asprm.site.includes.tables import duration, table


def manifests(run: Run) -> list[dict[str, Any]]:
    """The manifests of all artifacts of the run, in the order of the stages."""
    order = list(READS)
    found = [json.loads(path.read_text()) for path in run.base.rglob("*.manifest.json") if not _hidden(path, run.base)]
    return sorted(found, key=lambda m: (order.index(m["stage"]) if m["stage"] in order else -1, m["artifact"]))


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def commit_of(made: dict[str, Any]) -> str:
    """The commit that something was made with, in words."""
    name = f"`{made['commit'][:10]}`" if made["commit"] else "an unknown commit"
    return name + (" with uncommitted changes" if made["dirty"] else "")


def commits(found: list[dict[str, Any]]) -> str:
    """The commit, or commits, that made the artifacts, in words."""
    stages = defaultdict(list)
    for m in found:
        stages[commit_of(m)].append(m["stage"])
    if len(stages) == 1:
        return next(iter(stages))
    return "; ".join(f"{name} ({', '.join(dict.fromkeys(of))})" for name, of in stages.items())


def seconds_of(found: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each stage: of every policy's notebook up to its last artifact, and those that what it took over from
    an earlier execution had taken, added up.
    """
    last: dict[tuple[str, str], float] = {}
    for m in found:
        key = m["stage"], m["policy"]
        last[key] = max(last.get(key, 0.0), m["seconds"] + kept_seconds(m))
    total: dict[str, float] = defaultdict(float)
    for (stage, _), seconds in last.items():
        total[stage] += seconds
    return {stage: round(seconds, 1) for stage, seconds in total.items()}


def kept_seconds(made: dict[str, Any]) -> float:
    """Seconds that an earlier execution took for what an artifact's stage took over from it."""
    return made.get("kept", {}).get("seconds", 0.0)


def provenance(run: Run) -> str:
    found = manifests(run)
    seconds = seconds_of(found)
    devices = sorted({m["device"] for m in found})
    versions = {f"{name} {value}" for m in found for name, value in m["versions"].items()}
    return table(
        ["of the run", "value"],
        [
            ("profile", f"`{run.profile.name}`: {run.profile.description}"),
            ("seed", run.seed),
            ("commit", commits(found)),
            ("machine", ", ".join(devices)),
            ("versions", ", ".join(sorted(versions, key=str.lower))),
            ("computed for", duration(sum(seconds.values()))),
            ("largest process", f"{max(max(m['peak_memory_mb'].values()) for m in found):,} MB"),
        ],
    )


def artifacts(run: Run) -> str:
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
