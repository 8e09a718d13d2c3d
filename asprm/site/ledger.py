"""The ledger as one table of a page: every claim with its verdict, a link to each, to be sorted and filtered.

Without scripts it is a table like any other.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from asprm.results.format import number as number_text
from asprm.results.format import p_value
from asprm.results.verdicts import VERDICTS
from asprm.site.viewer import View, as_html

KINDS = {"arrow": "arrow", "contrast": "contrast", "prose": "statement", "level": "level"}
"""What pages call the aspects of claims."""
_HEADS = ("verdict", "claim", "paper", "here", "p (Holm)", "why, and how it was found")


def whole_ledger(frame: pd.DataFrame) -> View:
    """All rows of a ledger (`asprm.claims.ledger`), directions before levels.

    `here` has the 95 % interval. A row's address on the page is `claim-<id>`, that of a number's level
    `claim-<id>-level` where the number has a direction, too. With scripts a long ledger shows its first rows until all
    are asked for.
    """
    order = list(KINDS)
    ordered = frame.sort_values("aspect", key=lambda aspects: aspects.map(order.index), kind="stable")
    rows: Any = ordered.to_dict("records")
    seen: set[str] = set()
    body = []
    for row in rows:
        anchor = f"claim-{row['id']}" if row["id"] not in seen else f"claim-{row['id']}-{row['aspect']}"
        seen.add(row["id"])
        body.append(_row(row, anchor))
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    plain = f'<table class="ledger"><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return View("ledger", {}, plain, f"a ledger of {len(rows)} rows")


def _row(row: dict[str, Any], anchor: str) -> str:
    points = " points" if row["unit"] == "points" and pd.notna(row["here"]) else ""
    here = as_html(_number(row["here"]) + points)
    if pd.notna(row["low"]):
        here += f'<br><span class="interval">[{_number(row["low"])}, {_number(row["high"])}]</span>'
    link = f'<a href="#{as_html(anchor)}">{as_html(row["id"])}</a>'
    cells = [
        f'<th scope="row">{VERDICTS[row["verdict"]]} {as_html(row["verdict"])}</th>',
        f'<td class="words">{as_html(row["says"])}<br>{link}, {as_html(row["where"])}</td>',
        _valued(row["paper"], _number(row["paper"])),
        _valued(row["here"], here),
        _valued(row["p_holm"], _corrected(row)),
        f'<td class="words">{_found(row)}</td>',
    ]
    facts = {"verdict": row["verdict"], "part": row["where"], "kind": KINDS[row["aspect"]]}
    data = "".join(f' data-{name}="{as_html(value)}"' for name, value in facts.items())
    return f'<tr id="{as_html(anchor)}"{data}>{"".join(cells)}</tr>'


def _corrected(row: dict[str, Any]) -> str:
    """p after Holm's correction, and with which other tests it was corrected, where the ledger says it."""
    if pd.isna(row["p_holm"]):
        return "–"
    family = row.get("family")  # a run that was kept before ledgers had this column says nothing
    return as_html(p_value(row["p_holm"])) + (f'<br><span class="interval">{as_html(family)}</span>' if family else "")


def _found(row: dict[str, Any]) -> str:
    """Why the verdict is what it is; then test, problems, trainings, the smallest difference that counts, and where."""
    facts = [as_html(row["test"])] if row["test"] else []
    facts += [f"{row['n']:.0f} problems"] if pd.notna(row["n"]) else []
    facts += [f"{row['seeds']:.0f} trainings"] if pd.notna(row["seeds"]) and row["seeds"] > 1 else []
    facts += [f"smallest {_number(row['smallest'])}"] if pd.notna(row["smallest"]) else []
    if row["cell"]:
        facts.append(f'<a href="{as_html(row["cell"])}">{as_html(row["cell"].partition(".")[0])}</a>')
    how = f'<span class="how">{"; ".join(facts)}</span>' if facts else ""
    return "<br>".join(filter(None, [as_html(row["why"]), how])) or "–"


def _valued(value: Any, html: str) -> str:
    """A cell that is sorted by its value; one without value stands behind the others."""
    return f'<td data-value="{"" if pd.isna(value) else float(value)}">{html}</td>'


def _number(value: Any) -> str:
    return "–" if pd.isna(value) else number_text(value).replace("-", "\N{MINUS SIGN}")
