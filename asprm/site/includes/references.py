"""Include about the reference runs: what was run on what, who plays which of the paper's parts, where and how long."""

from typing import Any

from asprm.problems.load import title
from asprm.run.open import Run
from asprm.site.includes.tables import code, duration, plain, table
from asprm.site.reference import references


def reference_runs(run: Run) -> str:
    """One row for each reference run that is shown beside this one, or a sentence that there is none."""
    rows = [_row(reference.about) for reference in references(run)]
    if not rows:
        return "No other run comes with this version of the project.\n"
    header = ["run", "what for", "policies", "plays the part of", "test problems", "N", "J", "machine", "time"]
    return table(header, rows, numbers=(5, 6))


def _row(about: dict[str, Any]) -> tuple[object, ...]:
    parts = {part: name for part, name in about["parts"].items() if part != name}
    return (
        code(about["name"]),
        plain(about["description"]),
        "<br>".join(f"{name}: {code(path)}" for name, path in about["policies"].items()),
        ", ".join(f"{name} of {part}" for part, name in parts.items()) or "all of their own",
        ", ".join(f"{count} of {title(name)}" for name, count in about["problems"]["test"].items()),
        about["candidates"],
        about["rollouts"],
        plain(about["device"]),
        duration(sum(about["seconds"].values())),
    )
