"""Keep: take the small results of a finished run into the project, as a reference run (`asprm.site.reference`).

python -m asprm.site.keep --profile real
python -m asprm.site.keep --profile tiny --tables
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from asprm.claims import ledger, tally
from asprm.results import costs
from asprm.run import names
from asprm.run.artifacts import atomic, size, to_json, write_parquet
from asprm.run.manifests import manifests, seconds_of
from asprm.run.open import Run, open_run
from asprm.run.root import study_root
from asprm.run.sections import ProfileError
from asprm.run.shipped import FOLDER
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.site.quantities import all_quantities
from asprm.site.records import write_manifests
from asprm.site.reference import ABOUT, NOTEBOOKS, QUANTITIES

_LARGEST = 20_000_000  # bytes of one reference run
_COPIED = (
    "threshold/*.json",
    "tokens/*.parquet",
    "truth/*.parquet",
    "tvd/*/*.json",
    "generalize/*.parquet",
    "rivals/*.parquet",
)
_OF_CHAPTERS = (  # but not the scores at other rating positions, which are ten times as large
    "sample/*/*.parquet",
    "split/*/*.parquet",
    "rollout/*/*.parquet",
    "prm/*.parquet",
    "best_of_n/*/*.parquet",
    "tvd/*/*.parquet",
    "claims/*.json",
)


def keep(run: Run, folder: Path, *, tables: bool = False) -> Path:
    """Take the small results of a finished run into `folder`, in place of what is there. Returns it.

    tables: also take the tables that chapters read, in place of the executed notebooks.

    The quantities, the ledger, its tally and the costs are computed anew from the run's tables, by today's code.
    MissingArtifact: the run has not finished. ValueError: the results are too large to come with the project.
    """
    with atomic(folder) as temporary:
        (temporary / names.LEDGER).parent.mkdir(parents=True)
        write_parquet(temporary / f"{QUANTITIES}.parquet", all_quantities(run))
        rows = ledger(run)
        write_parquet(temporary / f"{names.LEDGER}.parquet", rows)
        write_parquet(temporary / f"{names.COSTS}.parquet", costs.cost_ledger(run))
        for pattern in (*_COPIED, *(_OF_CHAPTERS if tables else [f"{NOTEBOOKS}/*.ipynb"])):
            for file in sorted(run.base.glob(pattern)):
                if not file.name.endswith(".manifest.json") and not _at_other_positions(file):
                    target = temporary / file.relative_to(run.base)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        if tables:  # in place of the run's own, which may be of older code
            (temporary / f"{names.TALLY}.json").write_text(to_json(tally(rows)), encoding="utf-8")
        made = manifests(run.base)
        write_manifests(temporary, [m for m in made if not tables or _comes_along(temporary, m["artifact"])])
        (temporary / ABOUT).write_text(to_json(about(run, made)), encoding="utf-8")
        if (total := size(temporary)) > _LARGEST:
            raise ValueError(f"{folder}: {total:,} bytes, expected at most {_LARGEST:,}: too large to come along")
    return folder


def _at_other_positions(file: Path) -> bool:
    """Whether a table holds scores at other rating positions than the reward model's own, such as `…@line`."""
    return file.parts[-3] == "best_of_n" and "@" in file.stem


def _comes_along(folder: Path, artifact: str) -> bool:
    """Whether the artifact was taken, or is a reward model, whose cost is shown though its weights are not taken."""
    return (folder / artifact).is_file() or not artifact.endswith((".parquet", ".json"))


def about(run: Run, made: list[dict[str, Any]]) -> dict[str, Any]:
    """What a reference run says of itself.

    made: the run's manifests. Keys: name, description; device, versions, commits; seconds by stage; policies (hub name
    or folder, by name), parts (by the paper's name, who plays it); problems, candidates, rollouts.
    """
    profile = run.profile
    return {
        "name": profile.name,
        "description": profile.description,
        "device": made[0]["device"],
        "versions": made[0]["versions"],
        "commits": sorted({manifest["commit"] for manifest in made if manifest["commit"]}),
        "seconds": seconds_of(made),
        "policies": {name: policy.path for name, policy in profile.policies.items()},
        "parts": {name: name for name in (*profile.policies, *profile.reward_models)} | profile.cast,
        "problems": profile.problems.model_dump(mode="json"),
        "candidates": profile.sample.candidates,
        "rollouts": profile.rollout.rollouts,
    }


def main(arguments: list[str] | None = None) -> int:
    """Keep a finished run as a reference. Exit status: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(
        prog="python -m asprm.site.keep", description="Keep a finished run as a reference."
    )
    parser.add_argument("--profile", required=True, help="a profile's name or file")
    parser.add_argument(
        "--tables", action="store_true", help="take the tables that chapters read, in place of the executed notebooks"
    )
    options = parser.parse_args(arguments)
    try:
        run = open_run(options.profile, stage="claims", quiet=True)
        kept = keep(run, study_root() / FOLDER / run.profile.name, tables=options.tables)
    except (ProfileError, MissingArtifact, BrokenArtifact, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"reference: {run.shown(kept)}, {size(kept):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
