"""Real data for tests: `$ASPRM_SHARED/data` or `../shared/data`. A test that finds none skips."""

import gzip
import json
import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("ASPRM_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"


def real_file(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no real data at {path}; set ASPRM_SHARED to the folder that holds data/{name}")
    return path


def real_rows(name: str) -> list[dict]:
    path = real_file(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]
