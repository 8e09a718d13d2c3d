"""Ledger: each claim of the paper beside this run, with a verdict (stage 12).

One row per number (its level), per arrow, per contrast that a table shows without an arrow, and per statement. Levels
of 7B models on real problems cannot be met by small ones on synthetic problems; directions can. So a level is judged
only where a run has the paper's own policies and test sets. A direction is reproduced only if the estimate lies on the
paper's side *and* Holm's adjusted p of its family (a table, the figures, the prose) is below `alpha` *and* no two seeds
of a reward model disagree in sign. A level is reproduced if its interval lies within `margin` of the paper's number.
All else says so: opposite, inconclusive, not comparable at this scale, not run.

Estimates, intervals and tests are those of `asprm.results.evidence`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asprm import REPOSITORY
from asprm import statistics as s
from asprm.results.evidence import ALIKE, INCOMPARABLE, Evidence, arrow, contrast, level, problems_gained, prose
from asprm.results.outcomes import Measures, NotRun
from asprm.results.paper import Number, Statement, claim, load_claims, paper, table
from asprm.run.artifacts import manifest_path
from asprm.run.open import Run

VERDICTS = {  # in a word and a symbol
    "reproduced": "✓",
    "opposite": "✗",
    "inconclusive": "≈",
    INCOMPARABLE: "∦",
    "not run": "∅",
}
UP, DOWN, SAME = "up", "down", "same"
ARROWS = {UP: "↑", DOWN: "↓", SAME: "–"}  # as the paper prints them
_NARROW = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Row:
    """One line of the ledger before its verdict."""

    id: str  # of the claim
    aspect: str  # level, arrow, contrast or prose
    family: str  # of Holm's correction
    direction: str | None
    over: float
    found: Evidence | str  # or why there is none


def ledger(run: Run) -> pd.DataFrame:
    """The ledger of a run, in the order of `data/paper/claims.yml`; every row has a verdict.

    Columns: id, aspect, source, where, says, paper, direction, here, low, high, unit, n, seeds, test, p, p_holm,
    verdict, why, smallest, paper_could, artifact, cell. `paper_could` says whether the paper's own number of problems
    could have shown its own difference (exact McNemar). `cell` is where a page shows how the value was made.
    """
    measures = Measures(run)
    alpha, margin = run.profile.claims.alpha, 100 * run.profile.claims.margin
    rows = [row for one in load_claims() for row in _rows(one, measures)]
    adjusted = _holm(rows)
    verdicts: dict[str, tuple[str, float, str]] = {}  # of each claim's direction, for the claims that rest on others
    lines = []
    for row, p_holm in zip(rows, adjusted, strict=True):
        verdict, why = _verdict(row, p_holm, alpha, margin)
        if row.aspect != "level":
            verdicts[row.id] = verdict, p_holm, why
        lines.append(_line(row, verdict, why, p_holm, run))
    for i, row in enumerate(rows):
        if isinstance(one := claim(row.id), Statement) and getattr(one.compare, "kind", "") == "all":
            lines[i] |= _all(one.compare.of, verdicts)
            verdicts[row.id] = lines[i]["verdict"], lines[i]["p_holm"], lines[i]["why"]
    frame = pd.DataFrame(lines)
    assert frame["verdict"].isin(VERDICTS).all()
    return frame.astype({"n": "Int64"})


def tally(frame: pd.DataFrame) -> dict[str, Any]:
    """How many rows have which verdict, by aspect; what the release or this study says is counted apart."""
    of_paper = frame[frame["source"] == "paper"]
    counts = pd.crosstab(of_paper["verdict"], of_paper["aspect"])
    aspects = ["arrow", "contrast", "prose", "level"]
    counts = counts.reindex(index=list(VERDICTS), columns=aspects, fill_value=0)
    return {
        "verdicts": {v: {a: int(counts.loc[v, a]) for a in aspects} for v in VERDICTS},
        "claims": len(of_paper),
        "others": {v: int(n) for v, n in frame[frame["source"] != "paper"]["verdict"].value_counts().items()},
        "own_sample_too_small": int((of_paper["paper_could"] == "no").sum()),
    }


def side_by_side(frame: pd.DataFrame, number: int, unit: str = "percent") -> pd.DataFrame:
    """One of the paper's tables in its own shape, as text: below each of its columns, `paper` and `here`.

    An arrow stands beside the paper's number as printed; beside this run's, the symbol of the verdict on that arrow or
    contrast (VERDICTS). "–": the paper has no number there, or this run no value. KeyError as `asprm.results.paper.table`.
    """
    form = table(number, unit)
    shown = pd.DataFrame("–", form.index, pd.MultiIndex.from_product([form.columns, ["paper", "here"]]))
    lines = frame.set_index(["id", "aspect"])
    rows = list(form.index)
    for one in load_claims():
        if isinstance(one, Number) and (one.table, one.unit) == (number, unit):
            row = rows.index(one.row if len(one.row) > 1 else one.row[0])
            judged = [aspect for aspect in ("arrow", "contrast") if (one.id, aspect) in lines.index]
            marks = [VERDICTS[lines.loc[(one.id, aspect), "verdict"]] for aspect in judged]
            value = lines.loc[(one.id, "level"), "here"]
            printed = [_number(one.value), *([ARROWS[one.arrow]] if one.arrow else [])]
            column = list(form.columns).index(one.column)
            shown.iat[row, 2 * column] = _NARROW.join(printed)
            shown.iat[row, 2 * column + 1] = _NARROW.join([_number(value) if pd.notna(value) else "–", *marks])
    return shown


def page(frame: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Rows of the ledger as a table for a page: a verdict is a symbol and a word, a cell a link."""
    shown = frame[list(columns)].copy()
    if "verdict" in shown:
        shown["verdict"] = [f"{VERDICTS[verdict]} {verdict}" for verdict in shown["verdict"]]
    if "cell" in shown:
        shown["cell"] = [f'<a href="{link}">{link.partition(".")[0]}</a>' if link else "" for link in shown["cell"]]
    numbers = [name for name in ("paper", "here", "low", "high", "smallest") if name in shown]
    formats = dict.fromkeys(numbers, _number) | ({"p_holm": _p} if "p_holm" in shown else {})
    words = [name for name in ("says", "why") if name in shown]  # a narrow column would make each row a dozen lines
    wide = {"min-width": "18em", "text-align": "left"}
    return shown.style.format(formats, na_rep="–").set_properties(subset=words, **wide).hide(axis="index")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


# --- what each claim asks for -----------------------------------------------------------------------------------------


def _rows(one: Number | Statement, measures: Measures) -> list[Row]:
    if isinstance(one, Statement):
        over = one.compare.over if one.compare else 0.0
        family = "figures" if one.section.startswith("Figure") else "prose"
        return [Row(one.id, "prose", family, UP, over, _found(prose, one, measures))]
    rows = [Row(one.id, "level", f"levels of table {one.table}", SAME, one.value, _found(level, one, measures))]
    if one.arrow:
        rows.append(Row(one.id, "arrow", f"table {one.table}", one.arrow, 0.0, _found(arrow, one, measures)))
    if one.contrast:
        difference = one.value - paper(one.contrast)
        direction = UP if difference > 0 else DOWN
        rows.append(Row(one.id, "contrast", f"table {one.table}", direction, 0.0, _found(contrast, one, measures)))
    return rows


def _found(get, one: Number | Statement, measures: Measures) -> Evidence | str:
    try:
        return get(one, measures)
    except NotRun as reason:
        return str(reason)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def _holm(rows: Sequence[Row]) -> list[float]:
    """Adjusted p by row, NaN where there was no test."""
    p = np.array([row.found.p if isinstance(row.found, Evidence) else np.nan for row in rows])
    adjusted = np.full(len(rows), np.nan)
    families = np.array([row.family for row in rows])
    for family in set(families):
        tested = np.flatnonzero((families == family) & ~np.isnan(p))
        adjusted[tested] = s.holm(p[tested])
    return adjusted.tolist()


def _verdict(row: Row, p: float, alpha: float, margin: float) -> tuple[str, str]:
    found = row.found
    if isinstance(found, str):
        return "not run", found
    if found.verdict:
        return found.verdict, found.why
    if not found.agree:
        return "inconclusive", "seeds disagree in sign"
    if row.aspect == "arrow" and found.why == ALIKE:
        return "inconclusive", ALIKE
    if row.direction == SAME:
        within = f"{margin:g} points"
        if row.over - margin < found.low and found.high < row.over + margin:
            return "reproduced", f"within {within}"
        if not p < alpha:
            return "inconclusive", f"may differ by more than {within}"
    if not p < alpha:
        return "inconclusive", found.why or "could be chance"
    side = UP if found.value > row.over else DOWN
    return ("reproduced" if side == row.direction else "opposite"), found.why


def _all(of: Iterable[str], verdicts: dict[str, tuple[str, float, str]]) -> dict[str, Any]:
    """The verdict of a claim that holds only if all of its parts do."""
    parts = {other: verdicts[other] for other in of}
    said = [verdict for verdict, _, _ in parts.values()]
    for verdict in ("opposite", "not run", "inconclusive", INCOMPARABLE):
        if verdict in said:
            break
    else:
        verdict = "reproduced"
    p = [p for _, p, _ in parts.values()]
    counts = ", ".join(f"{said.count(v)} {v}" for v in VERDICTS if v in said)
    known = verdict == "reproduced" and not np.isnan(p).any()
    return {
        "here": 100 * said.count("reproduced") / len(said),
        "test": f"all of {len(said)} claims",
        "p_holm": max(p) if known else np.nan,
        "verdict": verdict,
        "why": f"{counts}: {', '.join(parts)}",
    }


def _line(row: Row, verdict: str, why: str, p_holm: float, run: Run) -> dict[str, Any]:
    one = claim(row.id)
    found = Evidence(np.nan) if isinstance(row.found, str) else row.found
    is_number = isinstance(one, Number)
    return {
        "id": row.id,
        "aspect": row.aspect,
        "source": "paper" if is_number else one.source,
        "where": f"Table {one.table}" if is_number else one.section,
        "says": _says(one, row),
        "paper": _paper(one, row),
        "direction": None if row.aspect == "level" else row.direction,
        "here": found.value,
        "low": found.low,
        "high": found.high,
        "unit": _unit(one, row),
        "n": found.n,
        "seeds": found.seeds,
        "test": found.test,
        "p": found.p,
        "p_holm": p_holm,
        "verdict": verdict,
        "why": why,
        "smallest": found.smallest,
        "paper_could": _paper_could(one, row),
        "artifact": found.artifact,
        "cell": cell(run, found.artifact) if found.artifact else "",
    }


_WORDS = {UP: "above", DOWN: "below", SAME: "equal to"}


def _says(one: Number | Statement, row: Row) -> str:
    if isinstance(one, Statement):
        return one.says
    label = f"{', '.join(x for x in one.row if x)}: {one.column}"
    if row.aspect == "level":
        return label
    other = one.against_figure
    if other is None:
        rival = claim(one.against or one.contrast)
        same = rival.row == one.row
        other = rival.column if same else f"{', '.join(rival.row)}: {rival.column}"
    return f"{label} is {_WORDS[row.direction]} {other}"


def _paper(one: Number | Statement, row: Row) -> float:
    if isinstance(one, Statement) or row.aspect == "level":
        return np.nan if one.value is None else one.value
    other = one.against or one.contrast
    return round(one.value - paper(other), 2) if other else np.nan


def _unit(one: Number | Statement, row: Row) -> str:
    if isinstance(one, Number):
        return one.unit if row.aspect == "level" else "points"
    kind = one.compare.kind if one.compare else ""
    return {"pool": "points", "best": "points", "confidence": "points", "harder": "rank correlation, %"}.get(
        kind, "percent"
    )


def _paper_could(one: Number | Statement, row: Row) -> str:
    """Whether the paper's own sample could have shown the difference, by exact McNemar; "" where it does not apply."""
    if row.aspect != "arrow" or one.arrow == SAME:
        return ""
    if not (one.against and one.n):
        return "unknown: the other number is not printed"
    most = s.most_discordance(one.n, problems_gained(one))
    return f"if they differ on at most {100 * most / one.n:.0f} % of its problems" if most else "no"


# --- where it was made ------------------------------------------------------------------------------------------------


def cell(run: Run, artifact: str) -> str:
    """Link to the part of the chapter that wrote an artifact: `08_tvd.html#decode`.

    The artifact's manifest names the stage, the stage its notebook, and the last heading above the first cell that
    mentions the artifact's kind the part.
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
        others = (run.base / "notebooks" / f"{section}.ipynb").is_file() and policy != next(iter(run.profile.policies))
        page = section if others else notebook.stem
        return f"{page}.html{_anchor(notebook, artifact.partition('/')[0])}"
    return ""


def _anchor(notebook: Path, kind: str) -> str:
    heading = ""
    writes = re.compile(rf"run\.write\w*\(\s*f?[\"']{kind}/|\b(sample_all|label_\w+|decode_\w+|score_all|split_\w+)\(")
    for one in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(one["source"])
        if one["cell_type"] == "markdown" and (found := re.findall(r"^##+ (.+)$", source, re.MULTILINE)):
            heading = found[-1]
        if one["cell_type"] == "code" and writes.search(source):
            break
    else:
        return ""
    slug = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    return f"#{slug}" if slug else ""
