"""Claims: what the paper says, as data (its Tables 1 to 10 and its prose).

`data/paper/claims.yml` holds every number and every arrow of the tables and the claims made in prose, each under an id
that never changes, with the measure that a run compares with it. Pages and tests take numbers from here by their ids.
This module knows the paper only; `asprm.claims` compares.
"""

import difflib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from asprm import REPOSITORY
from asprm.run.profile import parse
from asprm.run.root import study_root

if TYPE_CHECKING:
    import pandas as pd


FILE = Path("data/paper/claims.yml")

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+(-[A-Za-z0-9]+)+$")]
# YAML writes sequences as lists; frozen records keep tuples.
Labels = Annotated[tuple[str, ...], Field(strict=False)]
Ids = Annotated[tuple[Id, ...], Field(strict=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Measure(_Record):
    """What gives this run's value of one of the paper's numbers; `asprm.results.measures` computes it."""

    kind: Literal["greedy", "single", "bon", "tvd", "tokens", "comments"]
    policy: str
    prm: str | None = None
    set: str | None = None
    """a test family, for accuracies"""
    positions: Literal["random", "line"] | None = None
    """where the reward model rates in Best-of-N; None: where its own kind of step ends"""
    column: str | None = None
    """of a table of token types"""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        table = self.kind in ("tokens", "comments")
        needs = {"column": table, "set": not table, "prm": self.kind in ("bon", "tvd")}
        for name, needed in needs.items():
            if (getattr(self, name) is not None) != needed:
                raise ValueError(f"a measure of kind {self.kind} {'needs' if needed else 'has no'} {name}")
        return self


Measures = Annotated[tuple[Measure, ...], Field(strict=False)]


class _Compare(_Record):
    """How a run tests a statement: an estimate, and what it must exceed. Each kind is a class below."""

    over: float = 0.0
    """what the estimate must exceed, in the estimate's unit"""


class Pool(_Compare):
    """The mean gain of a over b by problem, or over the comparisons of the numbers in `of`."""

    kind: Literal["pool"]
    of: Ids = ()
    a: Measures = ()
    b: Measures = ()

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.of) == bool(self.a) or len(self.a) != len(self.b):
            raise ValueError("a pool needs either `of`, or as many measures in `a` as in `b`")
        return self


class All(_Compare):
    """Every claim in `of` must hold."""

    kind: Literal["all"]
    of: Ids


class Best(_Compare):
    """The first group of measures against each of the others, by problem."""

    kind: Literal["best"]
    of: Annotated[tuple[Measures, ...], Field(strict=False)]


class Share(_Compare):
    """A row of a table of token types."""

    kind: Literal["share"]
    a: Measures
    row: str


class Saving(_Compare):
    """How much less the labels of the reward model a cost than those of b."""

    kind: Literal["saving"]
    a: str
    b: str
    count: Literal["paper_rollouts", "paper_tokens", "rollouts", "tokens"] = "paper_rollouts"
    """what is counted, as `asprm.results.costs.COUNTS` says"""


class OfPolicy(_Compare):
    """An estimate from a policy's training samples: confidence at line ends, or steps by difficulty."""

    kind: Literal["confidence", "harder"]
    policy: str


class Types(_Compare):
    """The share of a table's types of token that have decision tokens."""

    kind: Literal["types"]
    policy: str
    table: int


class Chance(_Compare):
    """Whether the paper's own differences can be significant: arithmetic of its numbers alone."""

    kind: Literal["chance"]


class Outside(_Compare):
    """This study's problems cannot show it, and why."""

    kind: Literal["outside"]
    why: str


Compare = Annotated[
    Pool | All | Best | Share | Saving | OfPolicy | Types | Chance | Outside, Field(discriminator="kind")
]


class Number(_Record):
    """One number of one table, and the arrow after it, if there is one."""

    id: Id
    table: Annotated[int, Field(ge=1, le=10)]
    row: Labels
    """labels as printed, one per column of labels"""
    column: str
    value: float
    unit: Literal["percent", "count"] = "percent"
    n: Annotated[int, Field(gt=0)] | None = None
    """problems of the test set, where the number is an accuracy"""
    arrow: Literal["up", "down", "same"] | None = None
    """how the paper marks the number against another; None where it prints no mark"""
    against: Id | None = None
    """id of that other number, if the paper prints it"""
    against_figure: str | None = None
    """where the paper draws it, if it does not print it"""
    contrast: Id | None = None
    """id of the number that the table sets beside this one without an arrow"""
    measure: Measure | None = None
    """what gives this run's value"""
    rival: Measure | None = None
    """what gives this run's value of what the paper only draws"""

    @model_validator(mode="after")
    def _an_arrow_compares_with_one_thing(self) -> Self:
        others = [other for other in (self.against, self.against_figure) if other is not None]
        if len(others) != (self.arrow is not None):
            raise ValueError(
                f"{self.id}: arrow {self.arrow}, compared with {others}: an arrow needs either against or "
                "against_figure, and without an arrow there is neither"
            )
        return self


class Statement(_Record):
    """A claim made in prose, in our own words."""

    id: Id
    source: Literal["paper", "release", "study"]
    """who makes the claim: the paper, the authors' released code and data, or this study, from the paper's tables"""
    section: str
    """where the claim is made"""
    says: str
    value: float | None = None
    """the number that it states, if it states one"""
    unit: Literal["percent", "points"] | None = None
    """of the value; points are percentage points"""
    rests_on: Ids = ()
    """ids of the numbers that support it"""
    note: str | None = None
    compare: Compare | None = None
    """how this run tests it"""


Claim = Number | Statement


class _Table(_Record):
    number: int
    title: str
    index: Labels
    columns: Labels
    note: str | None = None


class _Paper(_Record):
    tables: tuple[_Table, ...] = Field(strict=False)
    numbers: tuple[Number, ...] = Field(strict=False)
    statements: tuple[Statement, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        tables = {table.number: table for table in self.tables}
        seen: set[object] = set()
        for claim in (*self.numbers, *self.statements):
            _once(seen, claim.id, claim.id)
        numbers = {number.id for number in self.numbers}
        for number in self.numbers:
            table = tables.get(number.table)
            if table is None or number.column not in table.columns or len(number.row) != len(table.index):
                raise ValueError(f"{number.id}: row {number.row} or column '{number.column}' is not of its table")
            _once(seen, (number.table, number.row, number.column, number.unit), number.id)
        for claim, other in self._references():
            if other not in numbers or other == claim:
                raise ValueError(f"{claim}: refers to '{other}', expected the id of another number")
        for statement in self.statements:
            for other in getattr(statement.compare, "of", ()):
                if isinstance(other, str) and (other not in seen or other == statement.id):
                    raise ValueError(f"{statement.id}: compare refers to '{other}', expected the id of another claim")
        return self

    def _references(self) -> list[tuple[str, str]]:
        beside = [(n.id, other) for n in self.numbers for other in (n.against, n.contrast) if other]
        return beside + [(statement.id, other) for statement in self.statements for other in statement.rests_on]


def load_claims() -> list[Claim]:
    """All claims: the numbers in the order of the paper's tables, then the statements.

    FileNotFoundError: there is no data/paper/claims.yml. ValueError: an unknown key, a wrong type, an id that occurs
    twice or refers to nothing.
    """
    paper = _load()
    return [*paper.numbers, *paper.statements]


def claim(id: str) -> Claim:
    """The claim with this id. KeyError with the nearest id: there is none."""
    claims = {claim.id: claim for claim in load_claims()}
    if id not in claims:
        close = difflib.get_close_matches(id, claims, n=1, cutoff=0)
        raise KeyError(f"the paper has no claim '{id}': did you mean '{close[0]}'?")
    return claims[id]


def number(id: str) -> Number:
    """The number of a table by its id. KeyError: there is none, or the claim is a statement."""
    named = claim(id)
    if not isinstance(named, Number):
        raise KeyError(f"the claim '{id}' is a statement, expected a number of a table")
    return named


def paper(id: str) -> float:
    """The value of a claim, as the paper prints it: 77.1 is a percentage, 78m is 78,000,000.

    KeyError with the nearest id: there is no such claim, or it is a statement without a number.
    """
    named = claim(id)
    if named.value is None:
        raise KeyError(f"the claim '{id}' is a statement without a number")
    return named.value


def table(number: int, unit: Literal["percent", "count"] = "percent") -> "pd.DataFrame":
    """One of the paper's Tables 1 to 10: its rows and columns under their printed labels.

    `attrs` holds its title and its note (what a reader of the table must know; None for most tables). A cell of two
    numbers ("Bo64 / TVD") is two columns; NaN where the paper has no number. unit: "count" gives the counts of tokens
    and lines of Tables 7 to 10, with the totals of their headings as the row Total.
    KeyError: no such table, or one without numbers of that unit.
    """
    import pandas as pd

    data = _load()
    form = {table.number: table for table in data.tables}.get(number)
    if form is None:
        raise KeyError(f"no numbers of a Table {number}: expected 1 to 10")
    cells = [cell for cell in data.numbers if cell.table == number and cell.unit == unit]
    if not cells:
        raise KeyError(f"Table {number} has no numbers in {unit}; Tables 7 to 10 have counts, and all have percentages")
    rows = list(dict.fromkeys(cell.row for cell in cells))
    index = pd.MultiIndex.from_tuples(rows, names=form.index)
    if len(form.index) == 1:
        index = index.get_level_values(0)
    frame = pd.DataFrame(float("nan"), index=index, columns=list(form.columns))
    for cell in cells:
        frame.iat[rows.index(cell.row), form.columns.index(cell.column)] = cell.value
    frame.attrs |= {"title": form.title, "note": form.note}
    return frame


def _once(seen: set[object], key: object, id: str) -> None:
    if key in seen:
        raise ValueError(f"{id}: occurs twice")
    seen.add(key)


@cache
def _load() -> _Paper:
    return _Paper.model_validate(parse(_file().read_text(encoding="utf-8")))


def _file() -> Path:
    """In the clone that holds the package; if the package is installed elsewhere, in the current study."""
    for root in (lambda: REPOSITORY, study_root):
        if (file := root() / FILE).is_file():
            return file
    raise FileNotFoundError(
        f"no {FILE} in {REPOSITORY} or {study_root()}: it holds the paper's numbers and comes with the project\n"
        "  work inside a clone of the project"
    )
