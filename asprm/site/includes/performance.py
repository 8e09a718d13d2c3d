"""Includes about speed: the benchmarks beside what is promised, what a GPU was measured at, and where the time of a run
went.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from asprm import REPOSITORY
from asprm.run.open import Run
from asprm.site.includes.provenance import kept_seconds, manifests, seconds_of
from asprm.site.includes.tables import table


def promises(run: Run) -> str:
    """The last measured rows of every benchmark on each kind of machine, beside their targets."""
    file = REPOSITORY / "benchmarks" / "results" / "latest.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    if not rows:
        return "*Not measured.* `make bench` measures.\n"
    machines = sorted({row["machine"] for row in rows})
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row["command"]):
        against = re.sub(r", batch \d+$", "", row["against"])  # which is best differs between machines
        found.setdefault((row["promise"], against, row["target"]), {})[row["machine"]] = _cell(row)
    shown = [
        (f"{promise}, *against* {against}", *(cells.get(machine, "") for machine in machines), target)
        for (promise, against, target), cells in found.items()
    ]
    names = [machine.partition(",")[0] for machine in machines]
    commands = ", ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    return table(["promise", *names, "target"], shown) + (
        f"\nMedians of {min(row['repeats'] for row in rows)} or more paired repeats, with least and greatest, on "
        f"{'; '.join(machines)}. A ✗ stands where the median misses the target. What is compared with has its "
        f"best batch size. Made by {commands}.\n"
    )


def _cell(row: Mapping[str, Any]) -> str:
    """A ratio with its spread, and whether it is what was promised."""
    low, high = (_ratio(row[name]) for name in ("low", "high"))
    mark = {True: " ✓", False: " ✗", None: ""}[meets(row["ratio"], row["target"])]
    return f"{_ratio(row['ratio'], 4)} ({low} to {high}){mark}"  # one digit more than a target: 1.304 misses 1.3


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
    shown = table(["stage", "seconds", "largest process, MB"], rows, numbers=(1, 2))
    if kept := [stage for stage in stages if any(kept_seconds(m) for m in found if m["stage"] == stage)]:
        shown += (
            f"\nNotebooks of {', '.join(kept)} were executed again, and took over results that the same code had made "
            "before: their seconds are counted here, their memory is not.\n"
        )
    return shown
