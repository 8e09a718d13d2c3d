"""Include about intervals: how often those of each method hold the truth, by simulation."""

from asprm.results.format import percent, points
from asprm.run.open import Run
from asprm.site.includes.measured import measured
from asprm.site.includes.tables import table

KINDS = {"share": "Shares", "difference": "Paired differences", "trainings": "Shares, over several trainings"}
FAR = 0.93  # a coverage below is marked


def coverage(run: Run) -> str:
    """A table for each kind of number: cases by methods, the method of this study last."""
    found = measured("coverage")
    parts = []
    for kind, title in KINDS.items():
        rows = [row for row in found["rows"] if row["kind"] == kind]
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
        f"Of {found['draws']:,} draws, the share whose interval holds the truth, and below it the mean width in "
        f"points. ✗: less than {percent(FAR, 0)}. *0*: some of the intervals have no width. A bootstrap has "
        f"{found['resamples']:,} resamples. Made by `{found['command']}`.\n"
    )


def _cell(row: dict) -> str:
    marks = [" ✗"] * (row["coverage"] < FAR) + [" *0*"] * (row["zero"] > 0)
    return f"{percent(row['coverage'])}{''.join(marks)}\n{100 * row['width']:.1f}"


_DECIMALS = "{:.3f}".format
BUDGET = {"gain over a random candidate": points, "spread": _DECIMALS, "rare": percent, "validation AUC": _DECIMALS}
"""Columns of results/undertrained.json that the page shows, and how."""


def budget(run: Run) -> str:
    """What reward models choose when they learn longer from the same labels."""
    found = measured("undertrained")
    if found is None:
        return "*Not measured.* `python benchmarks/undertrained.py` measures on a finished run `tiny`.\n"
    rows = [
        (f"{row['prm']}, {row['set']}", row["epochs"], *(show(row[column]) for column, show in BUDGET.items()))
        for row in found["rows"]
    ]
    return table(["reward model, its policy's candidates of", "passes", *BUDGET], rows, numbers=range(1, 6)) + (
        f"\n{_recovered(found['rows'])} The same solutions and labels of profile `tiny`, read more often; one "
        "training each. The gain is in points: how much more often the pick is right. `spread`: mean standard "
        "deviation of a problem's scores; `rare`: picks whose answer no other candidate gives. Made by "
        f"`{found['command']}`.\n"
    )


def _recovered(rows: list[dict]) -> str:
    """How many of the models that are broken after the fewest passes are less so after more, or not at all."""
    gains: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["epochs"]):
        gains.setdefault(row["prm"], []).append(row["gain over a random candidate"])
    broken = [each for each in gains.values() if each[0] < 0]
    better = sum(max(each[1:]) > each[0] for each in broken)
    whole = sum(max(each[1:]) >= 0 for each in broken)
    return (
        f"Of the {len(broken)} that choose worse than a random candidate after the fewest passes, {better} choose "
        f"better after more, {whole} of them no longer worse than a random candidate."
    )
