"""Shipped: the tables of finished runs that come with the project, for a chapter that is opened where no run is.

`data/reference/<name>/` holds what `asprm.site.keep` took from the run <name> (`asprm.site.reference`). Where it took
the tables that chapters read, a person who opens a notebook on a fresh clone starts from these. A study that was begun
here, and the workflow, never read them: results of two machines are not mixed.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from os import environ
from pathlib import Path
from typing import Any

from asprm import REPOSITORY
from asprm.run.artifacts import stem

FOLDER = Path("data/reference")
MANIFESTS = "manifests.jsonl"
_SIGN = "sample"  # the folder of tables that tells a run with chapters' tables from one with results alone


def by_hand() -> bool:
    """Whether a person runs this in Jupyter or IPython, and not the workflow."""
    ipython = sys.modules.get("IPython")
    return not environ.get("ASPRM_BATCH") and ipython is not None and ipython.get_ipython() is not None


def shipped_run(own: Path) -> Path | None:
    """The folder of a run that comes with the project, with the tables that chapters read.

    own: the folder of the same run here, there or not.

    None: nobody works by hand, a study was begun in `own`, or no such run comes along.
    """
    folder = REPOSITORY / FOLDER / own.name
    begun = (own / "notebooks").exists()  # by the workflow; a notebook that is run by hand makes no such folder
    return folder if by_hand() and not begun and (folder / _SIGN).is_dir() else None


@cache
def manifests_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of a shipped run by artifact; those of its reward models too, whose weights do not come along."""
    lines = (folder / MANIFESTS).read_text(encoding="utf-8").splitlines()
    return {manifest["artifact"]: manifest for manifest in map(json.loads, lines)}


def tables_of(folder: Path, stage: str, policy: str) -> list[str]:
    """The names of the tables that a stage wrote for a policy, of those that come along."""
    made = manifests_of(folder).values()
    names = [m["artifact"] for m in made if (m["stage"], m["policy"]) == (stage, policy)]
    return [stem(name) for name in names if (folder / name).is_file()]
