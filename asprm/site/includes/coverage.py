"""Include about intervals: how often those of each method hold the truth, by simulation."""

import json

from asprm import REPOSITORY
from asprm.results.format import percent
from asprm.run.open import Run
from asprm.site.includes.tables import table

KINDS = {"share": "Shares", "difference": "Paired differences", "trainings": "Shares, over several trainings"}
FAR = 0.93  # a coverage below is marked


def coverage(run: Run) -> str:
    """A table for each kind of number: cases by methods, the method of this study last."""
    measured = json.loads((REPOSITORY / "benchmarks" / "results" / "coverage.json").read_text())
    parts = []
    for kind, title in KINDS.items():
        rows = [row for row in measured["rows"] if row["kind"] == kind]
        methods = list(dict.fromkeys(row["method"] for row in rows))
        cells = {(row["case"], row["method"]): _cell(row) for row in rows}
        cases = dict.fromkeys(row["case"] for row in rows)
        shown = [(case, *(cells[case, method] for method in methods)) for case in cases]
        header = [title, *methods[:-1], f"**{methods[-1]}**"]
        parts.append(table(header, shown, numbers=range(1, len(header))))
        below = {method: sum(row["coverage"] < FAR for row in rows if row["method"] == method) for method in methods}
        counts = ", ".join(f"{method} {count}" for method, count in below.items())
        parts.append(f"\nCases of {len(shown)} in which fewer than {percent(FAR, 0)} are held: {counts}.\n\n")
    return "\n".join(parts) + (
        f"Of {measured['draws']:,} draws, the share whose interval holds the truth, and below it the mean width in "
        f"points. ✗: less than {percent(FAR, 0)}. *0*: some of the intervals have no width. A bootstrap has "
        f"{measured['resamples']:,} resamples. Made by `{measured['command']}`.\n"
    )


def _cell(row: dict) -> str:
    marks = [" ✗"] * (row["coverage"] < FAR) + [" *0*"] * (row["zero"] > 0)
    return f"{percent(row['coverage'])}{''.join(marks)}\n{100 * row['width']:.1f}"
