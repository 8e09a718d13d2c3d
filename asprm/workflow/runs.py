"""Runs: which runs a home holds, how far each is, and what made it (`asprm runs`).

Read from manifests, receipts and locks; no table is opened, and nothing is written.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asprm.run.artifacts import size
from asprm.run.manifests import manifests, seconds_of, written
from asprm.run.profile import READS
from asprm.workflow import job, lock

SITE = "site"
FINISHED, AT_WORK, STOPPED, FAILED, EXPERIMENT = "finished", "at work", "stopped", "failed", "experiment"
_HEADER = ("run", "state", "last written", "stages", "next", "time", "size", "policies", "code")


@dataclass(frozen=True)
class State:
    """Where one run stands. The fields are what `asprm runs --json` writes."""

    run: str
    """the profile, or <profile>~<name> of an experiment"""
    state: str
    """FINISHED; AT_WORK; STOPPED before its end; FAILED: a notebook did; EXPERIMENT: single notebooks, run by hand"""
    last_written: str | None
    """when its last artifact was written, local time; None: it has none"""
    jobs: dict[str, tuple[int, int]]
    """by stage, how many of its jobs have ended well, and how many there are"""
    seconds: float
    """computing time of all stages"""
    bytes: int
    """of all files in its folder, chunks and site included"""
    policies: tuple[str, ...]
    commits: tuple[str, ...]
    """of the code that made its artifacts; "unknown" where the code was in no git repository"""
    dirty: bool
    """whether files of the code differed from these commits"""

    @property
    def done(self) -> list[str]:
        """The stages whose jobs have all ended well."""
        return [stage for stage, (ended, of) in self.jobs.items() if ended == of]

    @property
    def next(self) -> str:
        """A stage of which some jobs have ended and some not, else the first that has jobs left; "" if none has."""
        left = [(stage, ended, of) for stage, (ended, of) in self.jobs.items() if ended < of]
        for stage, ended, of in sorted(left, key=lambda stage: not stage[1]):
            return f"{stage} ({ended} of {of})" if of > 1 else stage
        return ""


def runs(root: Path) -> list[State]:
    """The state of every run and experiment below `root`, the folder that holds `data/`, by name."""
    folders = (path for path in (root / "data" / "runs").glob("*") if path.is_dir())
    return [state_of(folder) for folder in sorted(folders)]


def state_of(folder: Path) -> State:
    """The state of the run in a folder `data/runs/<profile>` or of the experiment in `<profile>~<name>`."""
    made = manifests(folder)
    jobs = _jobs(folder, made)
    moments = written(folder)
    commits = dict.fromkeys((m["commit"] or "unknown")[:10] for m in made)
    return State(
        run=folder.name,
        state=_state(folder, jobs),
        last_written=_time(max(moments)) if moments else None,
        jobs=jobs,
        seconds=round(sum(seconds_of(made).values()), 1),
        bytes=size(folder),
        policies=_policies(made),
        commits=tuple(commits),
        dirty=any(m["dirty"] for m in made),
    )


def _jobs(folder: Path, made: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """`State.jobs`. Where the workflow planned nothing, as for experiments, the stages that wrote something count."""
    if not (ended := job.ended(folder)):
        return dict.fromkeys((m["stage"] for m in made), (1, 1))
    counts = {}
    for stage in (*READS, SITE):
        own = [well for name, well in ended.items() if name == stage or name.startswith(f"{stage}_")]
        if own:
            counts[stage] = sum(own), len(own)
    return counts


def _state(folder: Path, jobs: dict[str, tuple[int, int]]) -> str:
    if lock.at_work(folder):
        return AT_WORK
    if "~" in folder.name:
        return EXPERIMENT
    if any((folder / "notebooks").glob("*.failed.ipynb")):
        return FAILED
    return FINISHED if SITE in jobs and all(ended == of for ended, of in jobs.values()) else STOPPED


def _policies(made: list[dict[str, Any]]) -> tuple[str, ...]:
    """The policies in the profile's order, which the stages that load a model have in their settings."""
    order = next((m["settings"]["policies"] for m in made if "policies" in m["settings"]), {})
    named = {m["policy"] for m in made}
    return (*order, *sorted(named - order.keys()))


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def as_text(states: list[State], root: Path) -> str:
    """A table for a terminal, or a sentence that there are no runs."""
    if not states:
        return f"no runs below {root / 'data' / 'runs'}\n  make one with:  make study"
    rows = [
        (
            state.run,
            state.state,
            state.last_written or "never",
            f"{len(state.done)} of {len(state.jobs)}",
            state.next,
            _duration(state.seconds),
            f"{state.bytes / 1e6:,.0f} MB",
            " ".join(state.policies),
            " ".join(state.commits) + ("+" if state.dirty else ""),
        )
        for state in states
    ]
    notes = ["+ after a commit: the code had uncommitted changes"] if any(state.dirty for state in states) else []
    return "\n".join([*aligned([_HEADER, *rows]), *notes])


def as_row(state: State) -> dict[str, Any]:
    """The state as a row of JSON Lines."""
    return asdict(state)


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines in which the cells of a column begin at the same place; columns without content are left out."""
    header, *body = rows
    columns = [i for i in range(len(header)) if any(row[i] for row in body)]
    widths = [max(len(row[i]) for row in rows) for i in columns]
    return ["  ".join(row[i].ljust(w) for i, w in zip(columns, widths, strict=True)).rstrip() for row in rows]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
