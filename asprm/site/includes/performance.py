"""Includes about speed: benchmarks beside their targets, measurements on a GPU, and the seconds of each stage."""

import re
from collections.abc import Mapping
from typing import Any

from asprm.results.format import percent
from asprm.run.manifests import kept_seconds, manifests, seconds_of
from asprm.run.open import Run
from asprm.site.includes.measured import measured
from asprm.site.includes.tables import table


def promises(run: Run) -> str:
    """The latest ratios of every benchmark on each kind of machine, beside their targets."""
    rows = measured("latest")
    if not rows:
        return "*Not measured.* `make bench` measures.\n"
    machines = sorted({row["machine"] for row in rows})
    by_promise: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row["command"]):
        against = re.sub(r", batch \d+$", "", row["against"])  # the best batch size differs between machines
        by_promise.setdefault((row["promise"], against, row["target"]), {})[row["machine"]] = _cell(row)
    shown = [
        (f"{promise}, *against* {against}", *(cells.get(machine, "") for machine in machines), target)
        for (promise, against, target), cells in by_promise.items()
    ]
    names = [machine.partition(",")[0] for machine in machines]
    commands = ", ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    return table(["promise", *names, "target"], shown) + (
        f"\nMedians of {min(row['repeats'] for row in rows)} or more paired repeats, with the least and the greatest "
        f"ratio, on {'; '.join(machines)}. A ✗ marks a median that misses the target. The alternative runs with its "
        f"best batch size. Measured by {commands}.\n"
    )


def _cell(row: Mapping[str, Any]) -> str:
    """A ratio with its spread, and whether it meets its target."""
    low, high = (_ratio(row[name]) for name in ("low", "high"))
    mark = {True: " ✓", False: " ✗", None: ""}[meets(row["ratio"], row["target"])]
    return f"{_ratio(row['ratio'], 4)} ({low} to {high}){mark}"  # more digits than a target has: 1.304 misses 1.3


def meets(ratio: float, target: str) -> bool | None:
    """Whether a ratio meets a target such as "≥ 3" or "≤ 1.3"; None if the target is neither."""
    sense, _, limit = target.partition(" ")
    if sense not in ("≥", "≤"):
        return None
    return ratio >= float(limit) if sense == "≥" else ratio <= float(limit)


def _ratio(x: float, digits: int = 3) -> str:
    """A number with this many digits, or as a whole number from 100 on."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.{digits}g}"


def gpu(run: Run) -> str:
    """The measurements on a GPU, or that there are none."""
    found = measured("gpu")
    if found is None:
        return "*Not measured.* `python benchmarks/gpu.py` measures on a machine with CUDA.\n"
    rows = [
        (
            row["model"],
            row["what"],
            _ratio(row["value"]),
            f"{_ratio(row['low'])} to {_ratio(row['high'])}",
            row["unit"],
            _ratio(row["limit"]),
            percent(row["share of limit"], 0),
        )
        for row in found["rows"]
    ]
    return (
        table(["model", "task", "median", "spread", "unit", "limit", "share of the limit"], rows, numbers=(2, 5, 6))
        + f"\nMedians of {min(row['repeats'] for row in found['rows'])} or more repeats after a warm-up, with the "
        f"least and the greatest, on one {found['gpu']}, torch {found['torch']}, by `{found['command']}`. "
        f"This device copies {found['bytes_per_second'] / 1e12:.2f} TB/s and multiplies large matrices at "
        f"{found['operations_per_second'] / 1e12:.0f} TFLOP/s in bf16; the limits follow from these two numbers.\n"
    )


def stage_seconds(run: Run) -> str:
    """Seconds and memory of each stage of this run."""
    made = manifests(run.base)
    seconds = seconds_of(made)
    stages = dict.fromkeys(m["stage"] for m in made)
    memory = {stage: max(max(m["peak_memory_mb"].values()) for m in made if m["stage"] == stage) for stage in stages}
    rows = [(stage, seconds[stage], memory[stage]) for stage in stages]
    shown = table(["stage", "seconds", "largest process, MB"], rows, numbers=(1, 2))
    if kept := [stage for stage in stages if any(kept_seconds(m) for m in made if m["stage"] == stage)]:
        shown += (
            f"\nNotebooks of {', '.join(kept)} were executed again and took over earlier results of the same code. The "
            "seconds of these results are counted, their memory is not.\n"
        )
    return shown
