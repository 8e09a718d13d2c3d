"""Ledger: each claim of the paper beside this run's evidence, with a verdict (stage 12).

One row for each number (its level), each arrow, each contrast that a table shows without an arrow, and each statement.
Small models on synthetic problems cannot meet the levels of 7B models on real ones, but they can meet directions. So:

- A level is judged only where a run has the paper's own policies and test sets. It is reproduced if its interval lies
  within `margin` of the paper's number.
- A direction is reproduced only if the estimate lies on the paper's side, Holm's adjusted p is below `alpha`, and all
  trainings of a reward model agree in sign. A comparison that a chapter tests has the p of that chapter
  (`asprm.generalize.tests`); the others are corrected within one of the paper's tables, the figures, or the statements.
- An arrow is no difference if p is not below `alpha` and the interval lies within `margin` of 0, on both sides: then a
  difference that large is ruled out, which is more than not to have seen one.
- To beat a reward model that chooses worse than a random candidate says little: "broken baseline", not reproduced.
- All else has one of the other verdicts: opposite, inconclusive, not tested (where nothing could differ), not
  comparable at this scale, not run.

Estimates, intervals and tests come from `asprm.results.evidence`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from asprm import statistics as s
from asprm.generalize import Test, tests
from asprm.results import costs
from asprm.results.cells import cell
from asprm.results.evidence import (
    INCOMPARABLE,
    UNTESTED,
    Evidence,
    arrow,
    contrast,
    level,
    papers_discordance,
    prose,
)
from asprm.results.format import number as number_text
from asprm.results.format import one_interval, p_value
from asprm.results.measures import Measures, NotRun
from asprm.results.paper import All, Claim, Number, Pool, Statement, load_claims, number, paper, table
from asprm.results.verdicts import (
    ARROWS,
    ASPECTS,
    BROKEN,
    DOWN,
    NO_DIFFERENCE,
    SAME,
    TESTED,
    UP,
    VERDICTS,
    Row,
    Verdict,
    judge,
)
from asprm.run import names
from asprm.run.open import Run
from asprm.run.store import MissingArtifact

ASPECT_NAMES = {  # as heads of columns
    "arrow": "arrows of its tables",
    "contrast": "numbers set side by side",
    "prose": "statements and figures",
    "level": "levels",
}
_FIRST = ("id", "verdict", "here", "low", "high", "unit", "paper", "p_holm")  # columns of a page
_NARROW = "\N{NARROW NO-BREAK SPACE}"


def run_claims(run: Run) -> list[str]:
    """Judge every claim of the paper by this run's tables, and count what the labels cost.

    Writes `claims/ledger` (see `ledger`), `claims/tally` (JSON, see `tally`) and `claims/costs`
    (see `asprm.results.costs.cost_ledger`). Returns their names.
    """
    rows = ledger(run)
    run.write(names.LEDGER, rows)
    run.write_json(names.TALLY, tally(rows))
    run.write(names.COSTS, costs.cost_ledger(run))
    return [names.LEDGER, names.TALLY, names.COSTS]


def ledger(run: Run) -> pd.DataFrame:
    """The ledger of a run, in the order of `data/paper/claims.yml`; every row has a verdict.

    Columns: id, aspect, source, where, says, paper, direction, here, low, high, unit, n, seeds, test, p, p_holm,
    family, verdict, why, smallest, paper_could, composite, artifact, cell. `family` names the tests with which p is
    corrected. `paper_could` says whether the paper's own number of problems could have shown its own difference (exact
    McNemar). `cell` is a link to where a page shows how the value was made. `composite` marks statements that only put
    together other rows.
    """
    measures = Measures(run)
    alpha, margin = run.profile.claims.alpha, 100 * run.profile.claims.margin

    # 1. Evidence, and p corrected: by the chapter that made the same comparison, else within each family.
    tested = tests(run)
    rows = [_as_tested(row, tested) for claim in load_claims() for row in _rows(claim, measures)]
    adjusted = _holm(rows)

    # 2. Verdicts from evidence.
    lines = []
    for row, p_holm in zip(rows, adjusted, strict=True):
        lines.append(_line(row, judge(row, p_holm, alpha, margin), p_holm, run))

    # 3. Verdicts of claims that hold only if others do: of these the directions count, not the levels.
    judged = {line["id"]: line for line in lines if line["aspect"] != "level"}
    for row, line in zip(rows, lines, strict=True):
        if isinstance(row.claim, Statement) and isinstance(row.claim.compare, All):
            line |= _all([judged[other] for other in row.claim.compare.of])
    return pd.DataFrame(lines).astype({"n": "Int64"})


def tally(frame: pd.DataFrame) -> dict[str, Any]:
    """How many rows of a ledger have which verdict, by aspect. Claims of the release or of this study count apart, and
    so do statements that only put together rows which are counted themselves.

    Keys: verdicts (counts by verdict and aspect), claims (the paper's rows without composites), composites and others
    (counts by verdict),
    own_sample_too_small (arrows of the paper that its own number of problems could not have shown).
    """
    papers, composite = frame["source"] == "paper", frame["composite"]
    of_paper, others = frame.loc[papers & ~composite], frame.loc[~papers]
    counts = Counter(zip(of_paper["verdict"], of_paper["aspect"], strict=True))
    return {
        "verdicts": {v: {aspect: counts[v, aspect] for aspect in ASPECTS} for v in VERDICTS},
        "claims": len(of_paper),
        "composites": dict(Counter(frame.loc[papers & composite, "verdict"]).most_common()),
        "others": dict(Counter(others["verdict"]).most_common()),
        "own_sample_too_small": int((of_paper["paper_could"] == "no").sum()),
    }


# --- what pages show --------------------------------------------------------------------------------------------------


def tally_table(counts: dict[str, Any]) -> pd.DataFrame:
    """A tally as a table that adds up to the rows of the ledger.

    One row per verdict, with its symbol, and one for all. One column per aspect of the paper's claims, one for
    statements that only put together others, one for claims of the release and of this study, and one for all.
    """
    frame = pd.DataFrame(counts["verdicts"]).T.rename(columns=ASPECT_NAMES)
    for name, key in (("put together from others", "composites"), ("of the release, of this study", "others")):
        frame[name] = [counts[key].get(verdict, 0) for verdict in frame.index]
    frame["all rows"] = frame.sum(axis=1)
    frame.index = pd.Index([f"{VERDICTS[str(verdict)]} {verdict}" for verdict in frame.index], name="verdict")
    frame.loc["all"] = frame.sum()
    return frame


def directions(counts: dict[str, Any]) -> dict[str, int]:
    """How many arrows, contrasts and statements of the paper have which verdict; and how many were tested, "tested"."""
    each = counts["verdicts"].items()
    by = {verdict: sum(n for aspect, n in of.items() if aspect != "level") for verdict, of in each}
    return by | {"tested": sum(by[verdict] for verdict in TESTED)}


def cost_by_unit(frame: pd.DataFrame) -> str:
    """The verdicts of a ledger on what labels cost, each with its unit and value, in one sentence."""
    rows = frame.loc[frame["id"].str.contains("-cost-")]
    parts = [
        f"{line['says'].removesuffix('.')}: {'not run' if pd.isna(line['here']) else _saved(line)}"
        for line in rows.to_dict("records")
    ]
    return "; ".join(parts) + "."


def _saved(line: dict[Any, Any]) -> str:
    sign = 1 if line["here"] > 0 else -1
    low, high = sorted(sign * line[end] for end in ("low", "high"))
    more = "less" if sign > 0 else "more"
    return f"{sign * line['here']:.0f} % {more} [{low:.0f}, {high:.0f}], {line['verdict']}"


def surest_opposites(frame: pd.DataFrame, most: int = 5) -> pd.DataFrame:
    """The rows of a ledger that contradict the paper with the smallest p."""
    return frame.loc[frame["verdict"] == "opposite"].sort_values(by="p_holm").head(most)


def by_one_family(frame: pd.DataFrame, alpha: float) -> dict[str, int]:
    """How many tests of directions a ledger has, and how many are significant: as it corrects them, and as one family.

    Keys: tests, significant, as one family.
    """
    tested = frame.loc[(frame["aspect"] != "level") & ~frame["composite"] & frame["p"].notna()]
    corrected = {"significant": tested["p_holm"].to_numpy(), "as one family": s.holm(tested["p"])}
    return {"tests": len(tested)} | {name: int((p < alpha).sum()) for name, p in corrected.items()}


def sizes_of_arrows(frame: pd.DataFrame) -> pd.DataFrame:
    """Quartiles, over a ledger's arrows, of the difference and of the smallest that could have been significant."""
    arrows = frame.loc[frame["aspect"] == "arrow"]
    sizes = {"difference found, in points": np.abs(arrows["here"]), "smallest that could be seen": arrows["smallest"]}
    quartiles = (0.25, 0.5, 0.75)
    rows = {name: [float(column.quantile(q)) for q in quartiles] for name, column in sizes.items()}
    return pd.DataFrame(rows, [f"{q:.0%}" for q in quartiles])


def side_by_side(frame: pd.DataFrame, table_number: int, unit: Literal["percent", "count"] = "percent") -> pd.DataFrame:
    """One of the paper's tables in its own shape, as text: below each of its columns, `paper` and `here`.

    An arrow stands beside the paper's number, as printed; beside this run's number stands the symbol of the verdict on
    that arrow or contrast (VERDICTS). "–": the paper has no number there, or this run no value.
    KeyError: as `asprm.results.paper.table`.
    """
    form = table(table_number, unit)
    shown = pd.DataFrame("–", form.index, pd.MultiIndex.from_product([form.columns, ["paper", "here"]]))
    lines = {(line["id"], line["aspect"]): line for line in frame.to_dict("records")}
    rows, columns = list(form.index), list(form.columns)
    for claim in load_claims():
        if isinstance(claim, Number) and (claim.table, claim.unit) == (table_number, unit):
            row = rows.index(claim.row if form.index.nlevels > 1 else claim.row[0])
            column = 2 * columns.index(claim.column)
            value = lines[claim.id, "level"]["here"]
            judged = [lines[claim.id, aspect] for aspect in ("arrow", "contrast") if (claim.id, aspect) in lines]
            marks = [VERDICTS[line["verdict"]] for line in judged]
            printed = [number_text(claim.value), *([ARROWS[claim.arrow]] if claim.arrow else [])]
            shown.iat[row, column] = _NARROW.join(printed)
            shown.iat[row, column + 1] = _NARROW.join([number_text(value) if pd.notna(value) else "–", *marks])
    return shown


def page(frame: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Rows of the ledger as a styled table for a page: a verdict is a symbol and a word, a cell a link.

    What was found stands in front, in the order of _FIRST, and the interval in one column.
    """
    order = [*(name for name in _FIRST if name in columns), *(name for name in columns if name not in _FIRST)]
    shown = frame.loc[:, order].copy()
    if "low" in shown:
        shown = one_interval(shown, number_text)
    if "verdict" in shown:
        shown["verdict"] = [f"{VERDICTS[verdict]} {verdict}" for verdict in shown["verdict"]]
    if "cell" in shown:
        shown["cell"] = [f'<a href="{link}">{link.partition(".")[0]}</a>' if link else "" for link in shown["cell"]]
    formats = dict.fromkeys(["paper", "here", "smallest"], number_text)
    formats |= {"p_holm": p_value, "n": "{:.0f}".format}
    texts = [name for name in ("says", "why") if name in shown]  # a narrow column would make each row a dozen lines
    wide = {"min-width": "18em", "text-align": "left"}
    style: Any = shown.style.format({name: formats[name] for name in formats if name in shown}, na_rep="–")
    return style.set_properties(subset=texts, **wide).hide(axis="index")


# --- rows and their evidence ------------------------------------------------------------------------------------------


def _rows(claim: Claim, measures: Measures) -> list[Row]:
    """A statement has one row; a number has one for its level, and one for its arrow or contrast."""
    if isinstance(claim, Statement):
        over = claim.compare.over if claim.compare else 0.0
        family = "figures" if claim.section.startswith("Figure") else "statements"
        return [Row(claim, "prose", family, UP, over, _evidence(prose, claim, measures))]
    levels, family = f"levels of Table {claim.table}", f"Table {claim.table}"
    rows = [Row(claim, "level", levels, SAME, claim.value, _evidence(level, claim, measures))]
    if claim.arrow:
        rows.append(Row(claim, "arrow", family, claim.arrow, 0.0, _evidence(arrow, claim, measures)))
    if claim.contrast:
        direction = UP if claim.value > paper(claim.contrast) else DOWN
        rows.append(Row(claim, "contrast", family, direction, 0.0, _evidence(contrast, claim, measures)))
    return rows


def _evidence(get: Callable[[Any, Measures], Evidence], claim: Claim, measures: Measures) -> Evidence | str:
    """The evidence, or why the run has none."""
    try:
        return get(claim, measures)
    except MissingArtifact as missing:
        return f"no {missing.artifact}"
    except NotRun as reason:
        return str(reason)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def _as_tested(row: Row, tested: Mapping[tuple[str, str], Test]) -> Row:
    """The row with the p of the chapter that tests the same comparison, if one does."""
    evidence = row.evidence
    test = tested.get(evidence.compared) if isinstance(evidence, Evidence) and evidence.compared else None
    if isinstance(evidence, str) or test is None:
        return row
    return replace(row, family=test.where, evidence=replace(evidence, p=test.p), corrected=test.p_holm)


def _holm(rows: Sequence[Row]) -> list[float]:
    """Adjusted p by row, NaN where there was no test."""
    adjusted = np.array([np.nan if row.corrected is None else row.corrected for row in rows])
    open_p = [
        row.evidence.p if isinstance(row.evidence, Evidence) and row.corrected is None else np.nan for row in rows
    ]
    families = np.array([row.family for row in rows])
    for family in {row.family for row in rows if row.corrected is None}:
        adjusted[families == family] = s.holm(np.array(open_p)[families == family])
    return adjusted.tolist()


def _all(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What changes in the line of a claim that holds only if all its parts do. parts: the lines of the other claims.

    Its verdict is the worst of theirs, in the order below.
    """
    said = [part["verdict"] for part in parts]
    worst = ("opposite", "not run", NO_DIFFERENCE, "inconclusive", UNTESTED, BROKEN, INCOMPARABLE)
    verdict = next((verdict for verdict in worst if verdict in said), "reproduced")
    p = [part["p_holm"] for part in parts]
    counts = ", ".join(f"{said.count(v)} {v}" for v in VERDICTS if v in said)
    return {
        "here": 100 * said.count("reproduced") / len(said),
        "test": f"all of {len(said)} claims",
        "p_holm": max(p) if verdict == "reproduced" and not np.isnan(p).any() else np.nan,
        "verdict": verdict,
        "why": f"{counts}: {', '.join(part['id'] for part in parts)}",
    }


def _line(row: Row, verdict: Verdict, p_holm: float, run: Run) -> dict[str, Any]:
    claim = row.claim
    evidence = row.evidence if isinstance(row.evidence, Evidence) else Evidence(np.nan)
    return {
        "id": claim.id,
        "aspect": row.aspect,
        "source": "paper" if isinstance(claim, Number) else claim.source,
        "where": f"Table {claim.table}" if isinstance(claim, Number) else claim.section,
        "says": _says(row),
        "paper": _paper(row),
        "direction": None if row.aspect == "level" else row.direction,
        "here": evidence.value,
        "low": evidence.low,
        "high": evidence.high,
        "unit": _unit(row),
        "n": evidence.n,
        "seeds": evidence.seeds,
        "test": evidence.test,
        "p": evidence.p,
        "p_holm": p_holm,
        "family": row.family,
        "verdict": verdict.verdict,
        "why": verdict.why,
        "smallest": evidence.smallest,
        "paper_could": _paper_could(row),
        "composite": _is_composite(claim),
        "artifact": evidence.artifact,
        "cell": cell(run, evidence.artifact) if evidence.artifact else "",
    }


def _is_composite(claim: Claim) -> bool:
    """Whether a claim only puts together other rows, by the same measure."""
    compare = claim.compare if isinstance(claim, Statement) else None
    return isinstance(compare, All) or (isinstance(compare, Pool) and bool(compare.of) and not compare.over)


_WORDS = {UP: "above", DOWN: "below", SAME: "equal to"}


def _says(row: Row) -> str:
    """The claim as a sentence."""
    claim = row.claim
    if isinstance(claim, Statement):
        return claim.says
    label = f"{', '.join(x for x in claim.row if x)}: {claim.column}"
    if row.aspect == "level":
        return label
    other = claim.against_figure
    if rival_id := claim.against or claim.contrast:
        rival = number(rival_id)
        other = rival.column if rival.row == claim.row else f"{', '.join(rival.row)}: {rival.column}"
    return f"{label} is {_WORDS[row.direction]} {other}"


def _paper(row: Row) -> float:
    """The paper's number or difference; NaN where it prints none."""
    claim = row.claim
    if isinstance(claim, Statement) or row.aspect == "level":
        return np.nan if claim.value is None else claim.value
    other = claim.against or claim.contrast
    return round(claim.value - paper(other), 2) if other else np.nan


def _unit(row: Row) -> str:
    claim = row.claim
    if isinstance(claim, Number):
        return claim.unit if row.aspect == "level" else "points"
    units = {"pool": "points", "best": "points", "confidence": "points", "harder": "rank correlation, %"}
    return units.get(claim.compare.kind, "percent") if claim.compare else "percent"


def _paper_could(row: Row) -> str:
    """Whether the paper's own sample could have shown the difference, by exact McNemar; "" where it does not apply."""
    claim = row.claim
    if isinstance(claim, Statement) or row.aspect != "arrow" or claim.arrow == SAME:
        return ""
    if not (claim.against and claim.n):
        return "unknown: the other number is not printed"
    most = papers_discordance(claim)
    return f"if they differ on at most {100 * most / claim.n:.0f} % of its problems" if most else "no"
