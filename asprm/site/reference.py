"""Reference runs: finished runs whose small results come with the project, so that pages can show them beside a run.

`data/reference/<name>/` holds what `asprm.site.keep` took from the run <name>: about.json, quantities.parquet, the
ledger, the costs, the tables of token types, thresholds, decisions, all manifests, and the executed notebooks with
their figures. Neither weights nor tables of solutions are among them. With `--tables` the tables that chapters read
come in place of the notebooks (`asprm.run.shipped`): samples, steps, labels, scores, guided solutions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from asprm import REPOSITORY
from asprm.run.open import Run
from asprm.run.root import study_root
from asprm.run.shipped import FOLDER

ABOUT, QUANTITIES, NOTEBOOKS = "about.json", "quantities", "notebooks"


@dataclass(frozen=True)
class Reference:
    """One reference run."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the run says of itself; the keys are those of `asprm.site.keep.about`."""
        return json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))

    def table(self, name: str) -> pd.DataFrame | None:
        """The table of that name, such as "quantities" or "claims/ledger"; None: it has none."""
        file = self.folder / f"{name}.parquet"
        return pd.read_parquet(file) if file.is_file() else None

    def playing(self, part: str) -> str | None:
        """The policy or reward model of this run that plays the paper's `part`; None: none does."""
        return self.about["parts"].get(part)


def references(run: Run) -> list[Reference]:
    """The reference runs other than `run`, by name."""
    roots = dict.fromkeys((study_root(), REPOSITORY))
    folders = {file.parent.name: file.parent for root in roots for file in (root / FOLDER).glob(f"*/{ABOUT}")}
    return [Reference(folders[name]) for name in sorted(folders) if name != run.profile.name]
