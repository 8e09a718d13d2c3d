"""Cells: where on the site a value was made."""

from __future__ import annotations

import json
import re
from pathlib import Path

from asprm import REPOSITORY
from asprm.run.artifacts import manifest_path
from asprm.run.open import Run


def cell(run: Run, artifact: str) -> str:
    """Link to the part of a chapter that wrote an artifact, such as `08_tvd.html#decode`.

    The artifact's manifest names the stage and so the notebook. The part is that of the cell which runs the stage.
    """
    stage, policy = artifact.partition("/")[0], run.policy
    for folder in (run.folder, run.base):
        manifest = manifest_path(folder / artifact)
        if manifest.is_file():
            facts = json.loads(manifest.read_text())
            stage, policy = facts["stage"], facts["policy"]
            break
    for notebook in sorted((REPOSITORY / "notebooks").glob(f"??_{stage}.ipynb")):
        # Of the first policy's copy the site makes the chapter, of the others' its sections.
        section = f"{notebook.stem}-{policy}"
        is_section = policy != next(iter(run.profile.policies)) and run.has(f"notebooks/{section}.ipynb")
        return f"{section if is_section else notebook.stem}.html{_anchor(notebook, stage)}"
    return ""


def _anchor(notebook: Path, stage: str) -> str:
    """The last heading above the cell that calls `run_<stage>`, as a link within its page; "" if there is none."""
    heading = ""
    for part in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(part["source"])
        if part["cell_type"] == "markdown":
            heading = [heading, *re.findall(r"^##+ (.+)$", source, re.MULTILINE)][-1]
        elif f"run_{stage}(" in source:
            slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
            return f"#{slug}" if slug else ""
    return ""
