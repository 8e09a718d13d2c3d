"""Manifests: what the artifacts of a run's folder say of themselves, and sums over them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asprm.run.profile import READS

ALL = "all"
"""In place of a policy, for the notebooks that look at all policies."""
OF_ALL = ("policy", "generalize", "claims")


class Made(NamedTuple):
    """What one notebook made for one policy."""

    stage: str
    policy: str
    """the policy, or ALL"""
    digests: dict[str, str]
    """of each artifact that it wrote, by its name"""
    seconds: float
    """up to its last artifact, with those of results that it took over"""
    memory_mb: int
    """the largest of its processes"""
    commits: tuple[tuple[str | None, bool | None], ...]
    """commit of the code, and whether files differed from it"""

    @property
    def digest(self) -> str:
        """Of the names and digests of its artifacts: equal for equal tables."""
        lines = sorted(f"{name} {digest}\n" for name, digest in self.digests.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()


_FIELDS = {"stage": str, "artifact": str, "digest": str, "seconds": (int, float), "settings": dict, "inputs": dict}
_FIELDS |= {"kept": dict, "peak_memory_mb": dict, "versions": dict}  # those that are looked into


def manifests(folder: Path) -> list[dict[str, Any]]:
    """The manifests of all artifacts in a run's folder, in the order of the stages. ValueError: one is damaged."""
    order = list(READS)
    files = [path for path in folder.rglob("*.manifest.json") if not _hidden(path, folder)]
    contents = [_read(path) for path in files]
    return sorted(contents, key=lambda m: (order.index(m["stage"]) if m["stage"] in order else -1, m["artifact"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # neither JSON nor UTF-8
        manifest = None
    values = manifest if isinstance(manifest, dict) else {}
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(values.get(name), kind)]
    if wrong:
        raise ValueError(
            f"{path}: a damaged manifest; expected JSON with {', '.join(wrong)}. Delete it and run the study "
            "again, which makes its artifact anew"
        )
    return values


def written(folder: Path) -> list[float]:
    """When each artifact in a run's folder was written, in seconds since 1970."""
    return [path.stat().st_mtime for path in folder.rglob("*.manifest.json") if not _hidden(path, folder)]


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def by_notebook(manifests: Sequence[dict[str, Any]]) -> list[Made]:
    """What each notebook made for each policy, in the order of the manifests."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for m in manifests:
        groups[m["stage"], ALL if m["stage"] in OF_ALL else m["policy"]].append(m)
    return [
        Made(
            stage,
            policy,
            {m["artifact"]: m["digest"] for m in own},
            round(max(m["seconds"] + kept_seconds(m) for m in own), 1),
            max(max(m["peak_memory_mb"].values()) for m in own),
            tuple(dict.fromkeys((m["commit"], m["dirty"]) for m in own)),
        )
        for (stage, policy), own in groups.items()
    ]


def seconds_of(manifests: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each stage, the sum over its notebooks (see `Made.seconds`)."""
    total: dict[str, float] = defaultdict(float)
    for made in by_notebook(manifests):
        total[made.stage] += made.seconds
    return {stage: round(seconds, 1) for stage, seconds in total.items()}


def kept_seconds(manifest: dict[str, Any]) -> float:
    """Seconds of an earlier execution whose results the stage took over."""
    return manifest["kept"]["seconds"]
