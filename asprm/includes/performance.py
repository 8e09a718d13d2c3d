"""Includes about speed: the benchmarks beside what is promised, what a GPU was measured at, and where the time of a run
went.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from asprm.includes.provenance import manifests, seconds_of
from asprm.includes.tables import table
from asprm.run import REPOSITORY, Run


def promises(run: Run) -> str:
    """The last measured rows of every benchmark, beside their targets."""
    file = REPOSITORY / "benchmarks" / "results" / "latest.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    if not rows:
        return "*Not measured.* `make bench` measures.\n"
    commands = ", ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    tables = [_on(machine, rows) for machine in sorted({row["machine"] for row in rows})]
    return "\n".join(tables) + (
        f"\nMedians of {min(row['repeats'] for row in rows)} or more paired repeats, with least and greatest. A ✗ "
        f"stands where the median misses the target. Made by {commands}.\n"
    )


def _on(machine: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows that were measured on the machine, under its name."""
    marks = {True: "✓", False: "✗", None: ""}
    shown = []
    for row in rows:
        if row["machine"] == machine:
            ratio = _ratio(row["ratio"], 4)  # one digit more than its target: 1.304 misses 1.3
            low, high = (_ratio(row[name]) for name in ("low", "high"))
            met = marks[meets(row["ratio"], row["target"])]
            shown.append((row["promise"], row["against"], ratio, f"{low} to {high}", row["target"], met))
    columns = ["promise", "against", "ratio", "spread", "target", "met"]
    return f"**{machine}**\n\n" + table(columns, shown, numbers=(2,))


def meets(ratio: float, target: str) -> bool | None:
    """Whether a ratio keeps a target such as "≥ 3" or "≤ 1.3"; None: the row has none."""
    sense, _, limit = target.partition(" ")
    if sense not in ("≥", "≤"):
        return None
    return ratio >= float(limit) if sense == "≥" else ratio <= float(limit)


def _ratio(x: float, digits: int = 3) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.{digits}g}"


def gpu(run: Run) -> str:
    """What was measured on a GPU, or that nothing was."""
    file = REPOSITORY / "benchmarks" / "results" / "gpu.json"
    if not file.is_file():
        return "*Not measured.* `python benchmarks/gpu.py` measures on a machine with CUDA; nothing is invented.\n"
    found = json.loads(file.read_text())
    rows = [
        (
            row["model"],
            row["what"],
            _ratio(row["value"]),
            f"{_ratio(row['low'])} to {_ratio(row['high'])}",
            row["unit"],
            _ratio(row["limit"]),
            f"{100 * row['share of limit']:.0f} %",
        )
        for row in found["rows"]
    ]
    return (
        table(["model", "what", "value", "spread", "unit", "limit", "of the limit"], rows, numbers=(2, 5, 6))
        + f"\nMedians of {min(row['repeats'] for row in found['rows'])} or more repeats after one that warms up, with "
        f"least and greatest, on one {found['gpu']}, torch {found['torch']}, by `{found['command']}`. This device "
        f"copies {found['bytes_per_second'] / 1e12:.2f} TB/s and multiplies large matrices at "
        f"{found['operations_per_second'] / 1e12:.0f} TFLOP/s in bf16: the limits are made of these two.\n"
    )


def stage_seconds(run: Run) -> str:
    """Where the time of this run went."""
    found = manifests(run)
    seconds = seconds_of(found)
    stages = dict.fromkeys(m["stage"] for m in found)
    memory = {stage: max(max(m["peak_memory_mb"].values()) for m in found if m["stage"] == stage) for stage in stages}
    rows = [(stage, seconds[stage], memory[stage]) for stage in stages]
    return table(["stage", "seconds", "largest process, MB"], rows, numbers=(1, 2))
