"""Records: what is known of a run when it is compared with another: manifests and quantities.

A record is read from a run below the home, from a reference run, or from the history of a run. Whenever a site is built
of a run that has changed, its record is kept in `data/runs/<profile>/.history/<when>/`, so that the next run can be
compared with it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asprm import REPOSITORY
from asprm.run.artifacts import atomic, write_parquet
from asprm.run.manifests import ALL, Made, by_notebook, manifests, written
from asprm.run.open import Run, open_run
from asprm.run.root import study_root
from asprm.run.shipped import FOLDER, MANIFESTS
from asprm.run.store import MissingArtifact
from asprm.site.quantities import STAGES, Quantity, quantities
from asprm.site.reference import QUANTITIES

HISTORY = ".history"
PREVIOUS = "@previous"
"""Ends the name of a run's record in the history: smoke@previous."""
_WHEN = "%Y-%m-%dT%H-%M-%S"
_KEPT = 5  # records in a history


@dataclass(frozen=True)
class Record:
    """A run as it was at one time."""

    name: str
    manifests: Sequence[dict[str, Any]]
    quantities: pd.DataFrame
    """columns as `all_quantities` has them; stages that have not run are not in it"""
    lost: Sequence[str] = ()
    """why the quantities of a stage that has run are not in it, a sentence each: a table is gone"""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the stages read of the profile, by dotted name (sample.candidates), as they read it last."""
        settings: dict[str, Any] = {}
        for m in self.manifests:
            settings |= _flat(m["settings"])
            settings |= {f"{m['stage']}.{name} ({m['policy']})": value for name, value in m["overrides"].items()}
        return settings

    @property
    def environment(self) -> dict[str, str]:
        """Commit of the code, machine and versions; several where stages were made with several."""
        values: dict[str, dict[str, None]] = {}
        for m in self.manifests:
            commit = (m["commit"] or "unknown")[:10] + (" with uncommitted changes" if m["dirty"] else "")
            for name, value in {"commit": commit, "machine": m["device"], **m["versions"]}.items():
                values.setdefault(name, {})[value] = None
        return {name: ", ".join(those) for name, those in values.items()}

    @property
    def notebooks(self) -> dict[tuple[str, str], Made]:
        """What each notebook made, by stage and policy."""
        return {(made.stage, made.policy): made for made in by_notebook(self.manifests)}

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each artifact by its name."""
        return {m["artifact"]: m["digest"] for m in self.manifests}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            values |= _flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values


# --- of a run, of its history, of a folder ----------------------------------------------------------------------------


def record_of(run: Run) -> Record:
    """The record of a run as it is now. Its quantities come from the history where nothing was run since."""
    made = _made(run)
    kept = _history(run.folder)
    if kept and kept[-1].manifests == made:
        return Record(run.folder.name, made, kept[-1].quantities)
    return Record(run.folder.name, made, *_quantities(run, {(one.stage, one.policy) for one in by_notebook(made)}))


def remember(run: Run) -> None:
    """Keep the record of a run in its history, unless nothing was run or the newest one there is of the same run."""
    if not manifests(run.folder):
        return
    record = record_of(run)
    kept = _history(run.folder)
    if kept and kept[-1].manifests == record.manifests:
        return
    when = time.strftime(_WHEN, time.localtime(max(written(run.folder))))
    with atomic(run.folder / HISTORY / when) as temporary:
        temporary.mkdir()
        write_manifests(temporary, record.manifests)
        write_parquet(temporary / f"{QUANTITIES}.parquet", record.quantities)
    for old in _folders(run.folder)[:-_KEPT]:
        shutil.rmtree(old)


def previous(run: Run) -> Record | None:
    """The newest record in the run's history that is not of the run as it is now; None: there is none."""
    made = _made(run)
    return next((record for record in reversed(_history(run.folder)) if record.manifests != made), None)


def reference_of(name: str) -> Record | None:
    """The record of the reference run of that name; None: there is none."""
    for root in dict.fromkeys((study_root(), REPOSITORY)):
        if (folder := root / FOLDER / name / MANIFESTS).is_file():
            return _read(folder.parent, f"reference run {name}")
    return None


def find_record(name: str) -> Record:
    """The record that a person names.

    name: a profile or its file, <profile>~<experiment>, <profile>@previous, the name of a reference run of which there
    is no run here, or the folder of a reference run. ValueError: there is no such run.
    """
    if not name.strip():
        raise ValueError("a run without a name; `asprm runs` lists the runs that are here")
    if (Path(name) / MANIFESTS).is_file():
        return _read(Path(name), name)
    wanted = name.removesuffix(PREVIOUS)
    profile, _, scratch = wanted.partition("~")
    root = study_root()
    if not (root / "data" / "runs" / Path(wanted).name.removesuffix(".yml")).is_dir():
        if record := reference_of(name):
            return record
        here = sorted(path.name for path in (root / "data" / "runs").glob("*") if path.is_dir())
        raise ValueError(f"no run '{name}' here; there are: {', '.join(here) or 'none'}\n  `asprm runs` lists them")
    run = open_run(profile, "claims", {"scratch": scratch} if scratch else {}, quiet=True)
    if not name.endswith(PREVIOUS):
        return record_of(run)
    if record := previous(run):
        return record
    raise ValueError(
        f"no earlier run of '{wanted}' is recorded\n  a run is recorded when its site is built, and then shows here "
        "after the next run"
    )


def write_manifests(folder: Path, made: Sequence[dict[str, Any]]) -> None:
    """Write manifests as one file of JSON Lines into `folder`."""
    lines = [json.dumps(manifest, ensure_ascii=False, sort_keys=True) for manifest in made]
    (folder / MANIFESTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _made(run: Run) -> list[dict[str, Any]]:
    """The manifests of what the run reads: an experiment's own artifacts, and the study's where it has none.

    ValueError: there are none.
    """
    own = {m["artifact"]: m for folder in (run.base, run.folder) for m in manifests(folder)}
    if not own:
        raise ValueError(f"nothing was run yet in {run.shown(run.folder)}")
    return list(own.values())


def _folders(run: Path) -> list[Path]:
    return sorted(path.parent for path in (run / HISTORY).glob(f"[!.]*/{MANIFESTS}"))


def _history(run: Path) -> list[Record]:
    """The records in a run's history, the oldest first."""
    return [_read(folder, f"{run.name} of {_moment(folder.name)}") for folder in _folders(run)]


def _moment(name: str) -> str:
    """The name of a record's folder as people write times, without seconds."""
    return time.strftime("%Y-%m-%d %H:%M", time.strptime(name, _WHEN))


def _read(folder: Path, name: str) -> Record:
    lines = (folder / MANIFESTS).read_text(encoding="utf-8").splitlines()
    return Record(name, [json.loads(line) for line in lines], pd.read_parquet(folder / f"{QUANTITIES}.parquet"))


def _quantities(run: Run, ran: Set[tuple[str, str]]) -> tuple[pd.DataFrame, list[str]]:
    """`all_quantities` without the stages whose tables are missing; and what is missing of those that ran.

    ran: the stages that have run, each with its policy or ALL.
    """
    parts, lost = [pd.DataFrame(columns=["stage", "policy", *Quantity._fields])], []
    for stage in STAGES:
        for policy in run.profile.policies:
            try:
                parts.append(quantities(run, stage, policy).assign(stage=stage))
            except MissingArtifact as error:
                if {(stage, policy), (stage, ALL)} & ran:
                    lost.append(f"{stage} of {policy}: {error}")
    parts = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(parts, ignore_index=True).loc[:, parts[0].columns], lost
