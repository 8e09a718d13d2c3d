"""Root: the folder that holds `data/`, where runs and converted models are kept."""

import os
from pathlib import Path


def study_root() -> Path:
    """The folder that holds `data/`: $ASPRM_HOME, else the nearest folder upwards with asprm's pyproject.toml."""
    if home := os.environ.get("ASPRM_HOME"):
        return Path(home).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "asprm"' in project.read_text():
            return folder
    raise FileNotFoundError(
        f"no study in {here} or above it: expected a folder with the pyproject.toml of asprm\n"
        "  work inside a clone of the project, or set ASPRM_HOME to the folder that is to hold data/runs"
    )
