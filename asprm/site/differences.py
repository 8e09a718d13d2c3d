"""Differences: two runs beside each other: parameters, environment, results, tables and time (`asprm diff`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from asprm.problems.load import title
from asprm.run.manifests import Made
from asprm.site.beside import value_text
from asprm.site.includes.tables import code, plain, table
from asprm.site.records import Record
from asprm.workflow.runs import aligned

_NONE = "–"
_KEY = ["stage", "policy", "what", "set", "prm"]
_FEW = 30  # results that a page shows unfolded
_HEADS = ("stage", "policy", "result", "test set", "reward model")


class Change(NamedTuple):
    """A value that two runs do not share, as text; "–" where a run does not have it."""

    name: str
    first: str
    second: str


class Result(NamedTuple):
    """A quantity whose value or interval differs. first, second: rows of `quantities`."""

    stage: str
    policy: str
    what: str
    set: str
    prm: str
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def apart(self) -> bool:
        """Whether the two 95 % intervals do not overlap. An interval of no width, or none, says nothing."""
        a, b = self.first, self.second
        wide = a["low"] < a["high"] and b["low"] < b["high"]
        return wide and (a["high"] < b["low"] or b["high"] < a["low"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The cells that say which quantity it is."""
        return self.stage, self.policy, self.what, title(self.set) if self.set else "", self.prm


@dataclass(frozen=True)
class Difference:
    """What differs between two runs, and how much is equal."""

    first: Record
    second: Record
    parameters: list[Change]
    environment: list[Change]
    results: list[Result]
    equal_results: int
    alone: tuple[int, int]
    """results that only the first has, and only the second"""
    tables: tuple[int, int, int, int]
    """artifacts that are equal, that differ, that only the first has, and only the second"""


def compare(first: Record, second: Record) -> Difference:
    """What differs between two runs."""
    a, b = (_by_key(record.quantities) for record in (first, second))
    shared = [key for key in a if key in b]
    results = [Result(*key, a[key], b[key]) for key in shared if not _equal(a[key], b[key])]
    return Difference(
        first,
        second,
        _changes(first.parameters, second.parameters),
        _changes(first.environment, second.environment),
        results,
        len(shared) - len(results),
        (len(a) - len(shared), len(b) - len(shared)),
        _compared(first.digests, second.digests),
    )


def _by_key(frame: pd.DataFrame) -> dict[tuple[str, str, str, str, str], dict[str, Any]]:
    rows: Any = frame.to_dict("records")
    return {(row["stage"], row["policy"], row["what"], row["set"], row["prm"]): row for row in rows}


def _equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether both have the same value and interval; NaN, where there is none, equals NaN."""
    return all(a[name] == b[name] or (a[name] != a[name] and b[name] != b[name]) for name in ("value", "low", "high"))


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    names = [*a, *(name for name in b if name not in a)]
    return [
        Change(name, *(_value(values[name]) if name in values else _NONE for values in (a, b)))
        for name in names
        if (name in a) != (name in b) or a[name] != b[name]
    ]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- in words ---------------------------------------------------------------------------------------------------------


def as_text(d: Difference) -> str:
    """The difference for a terminal."""
    names = d.first.name, d.second.name
    costs = ("stage", "policy", "tables", *(f"{name}: s, MB" for name in names))
    parts = [
        _section("Parameters", [("parameter", *names), *d.parameters]),
        _section("Environment", [("", *names), *d.environment]),
        _section("Results", [(*_HEADS, *names, ""), *map(_row, d.results)]) + f"\n{_counted(d)}",
        *([_section("Left out of the results", [(text,) for text in _lost(d)])] if _lost(d) else []),
        f"Tables and models\n{_tables(d)}",
        _section("Notebooks", [costs, *_notebooks(d)]),
    ]
    return "\n\n".join(parts)


def as_markdown(d: Difference) -> str:
    """The difference for a page. Texts of users are escaped."""
    names = [code(record.name) for record in (d.first, d.second)]
    results = table([*_HEADS, *names, ""], (tuple(map(plain, _row(result))) for result in d.results))
    if len(d.results) > _FEW:
        apart = [tuple(map(plain, _row(result))) for result in d.results if result.apart]
        shown = table([*_HEADS, *names, ""], apart) if apart else "No two intervals lie apart.\n"
        results = f"{shown}\n:::{{dropdown}} All {len(d.results)} results that differ\n{results}:::\n"
    lost = "".join(f"- {plain(text)}\n" for text in _lost(d))
    parts = [
        "### Parameters\n\n" + _pairs("parameter", names, d.parameters),
        "### Environment\n\n" + _pairs("", names, d.environment),
        "### Results\n\n" + (f"{results}\n" if d.results else "") + f"{_counted(d)}\n",
        *([f"### Left out of the results\n\n{lost}"] if lost else []),
        f"### Tables and models\n\n{_tables(d)}\n",
        "### Notebooks\n\n"
        + table(["stage", "policy", "tables", *(f"{name}: s, MB" for name in names)], _notebooks(d), numbers=(3, 4)),
    ]
    return "\n".join(parts)


def as_rows(d: Difference) -> list[dict[str, Any]]:
    """The difference as rows of JSON Lines: section, then what `asprm diff --help` says."""
    rows: list[dict[str, Any]] = []
    for section, changes in (("parameters", d.parameters), ("environment", d.environment)):
        rows += [{"section": section, **change._asdict()} for change in changes]
    for result in d.results:
        values = {
            name: {key: None if row[key] != row[key] else row[key] for key in ("value", "low", "high")}
            for name, row in (("first", result.first), ("second", result.second))
        }
        rows.append(
            {"section": "results"} | dict(zip(_KEY, result[:5], strict=True)) | values | {"apart": result.apart}
        )
    return rows + [{"section": "left out", "name": text} for text in _lost(d)]


def _section(heading: str, rows: list[tuple[str, ...]]) -> str:
    return "\n".join([heading, *(aligned(rows) if len(rows) > 1 else ["none differs"])])


def _pairs(head: str, names: list[str], changes: list[Change]) -> str:
    if not changes:
        return "None differs.\n"
    return table([head, *names], ((code(name), plain(first), plain(second)) for name, first, second in changes))


def _row(result: Result) -> tuple[str, ...]:
    return (*result.labels, value_text(result.first), value_text(result.second), "apart" if result.apart else "")


def _counted(d: Difference) -> str:
    apart = sum(result.apart for result in d.results)
    text = f"{d.equal_results} results are equal, {len(d.results)} differ; of these {apart} lie apart"
    text += " (their 95 % intervals do not overlap)."
    if any(d.alone):
        text += f" {d.alone[0]} are in the first run only, {d.alone[1]} in the second only."
    return text


def _lost(d: Difference) -> list[str]:
    """What results are missing although their stage has run, a line each."""
    return [f"{record.name}, {' '.join(text.split())}" for record in (d.first, d.second) for text in record.lost]


def _tables(d: Difference) -> str:
    equal, differ, first, second = d.tables
    return (
        f"{equal} have equal digests, {differ} differ, {first} are in the first run only, {second} in the second only."
    )


def _notebooks(d: Difference) -> list[tuple[str, ...]]:
    """For each stage and policy, how its tables differ, and what it cost in both runs."""
    a, b = d.first.notebooks, d.second.notebooks
    keys = [*a, *(key for key in b if key not in a)]
    return [(*key, _tables_of(a.get(key), b.get(key)), _cost(a.get(key)), _cost(b.get(key))) for key in keys]


def _tables_of(first: Made | None, second: Made | None) -> str:
    """How many artifacts of one notebook are equal, differ, or are in one run only: these add up to `_tables`."""
    if first is None or second is None:
        return _NONE
    equal, differ, *alone = _compared(first.digests, second.digests)
    if not differ and not any(alone):
        return "equal"
    counts = {"equal": equal, "differ": differ, "in the first only": alone[0], "in the second only": alone[1]}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)


def _compared(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Artifacts, by their digests, that are equal, that differ, that only the first has, and only the second."""
    both = first.keys() & second.keys()
    equal = sum(first[name] == second[name] for name in both)
    return equal, len(both) - equal, len(first) - len(both), len(second) - len(both)


def _cost(made: Made | None) -> str:
    return f"{made.seconds:.1f}, {made.memory_mb:,}" if made else _NONE
