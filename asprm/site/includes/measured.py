"""What the benchmarks measured, for the includes that show it."""

import json
from typing import Any

from asprm import REPOSITORY


def measured(name: str) -> Any:
    """The content of `benchmarks/results/<name>.json`, or None where it was not measured."""
    file = REPOSITORY / "benchmarks" / "results" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
