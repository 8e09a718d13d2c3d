"""The paper's numbers as data: nothing missing, nothing invented, and every arrow points where the numbers say."""

import re
from collections import Counter
from itertools import count

import numpy as np
import pytest
from pydantic import ValidationError
from real_data import FOLDER
from scipy.stats import binomtest

from asprm.results import paper as claims
from asprm.results.paper import Number, Statement, claim, load_claims, paper, table

ARROWS = {"↑": "up", "↓": "down", "-": "same"}
FIRST = re.compile(r"A/P@1|Bo64|Base$|Position|Token type|Trigger type")  # the first column of numbers
SCALES = {"k": 1e3, "m": 1e6}
NUMBER = re.compile(r"(?P<value>\d+(?:\.\d+)?)(?P<scale>[km]?)(?P<unit>%?)(?P<space> ?)(?P<arrow>[↑↓]|-(?!\w))?")


def numbers() -> list[Number]:
    return [claim for claim in load_claims() if isinstance(claim, Number)]


def statements() -> list[Statement]:
    return [claim for claim in load_claims() if isinstance(claim, Statement)]


# --- the document, read without the data ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document() -> str:
    folder = FOLDER.parent / "paper"
    files = sorted(folder.glob("*.txt"))
    if not files:
        pytest.skip(f"no text of the paper in {folder}; set ASPRM_SHARED to the folder that holds paper/")
    return files[0].read_text(encoding="utf-8")


def read_document(text: str) -> Counter:
    """(table, row labels, column, value, unit, arrow) of every number that Tables 1 to 10 of the document print."""
    block = r"\{\{< table-caption >\}\}\n(.*?)\{\{< /table-caption >\}\}.*?\n> Table (\d+):"
    cells = Counter()
    for body, number in re.findall(block, text, re.DOTALL):
        if int(number) <= 10:
            rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in body.splitlines()]
            cells.update((int(number), *cell) for cell in read_table(rows))
    return cells


def read_table(rows: list[list[str]]):
    """(row labels, column, value, unit, arrow) of each number of a Markdown table."""
    ruler = next(i for i, row in enumerate(rows) if set("".join(row)) <= set("- "))
    heading, body = rows[:ruler], rows[ruler + 1 :]
    if not any(body[0][:2]):  # a second line of headings
        heading, body = [*heading, body[0]], body[1:]
    labels = next(i for i, name in enumerate(heading[0]) if FIRST.match(name))
    names = [re.sub(r"\s*\(.*\)$", "", name) for name in heading[-1]]
    for name, total in zip(names[labels:], heading[-1][labels:], strict=True):
        for found in re.findall(r"\((\d+[km])\)$", total):
            yield ("Total", "")[:labels], name, *read_cell(found)[0]
    above = [""] * labels
    for row in body:
        above = [label or old for label, old in zip(row[:labels], above, strict=True)]
        for name, cell in zip(names[labels:], row[labels:], strict=True):
            values = read_cell(cell)
            assert len(values) in (0, 1, 2), cell
            for part, value in zip(columns(name), values, strict=len(values) == 2):
                yield tuple(label.strip("*") for label in above), part, *value


def columns(name: str) -> list[str]:
    """The columns in the data for one of the document: one per number of its cells."""
    if name == "ASPRM-L / -M":
        return ["ASPRM-L", "ASPRM-M"]
    return name.split(" / ") if " / " in name else [name, name]


def read_cell(cell: str) -> list[tuple[float, str, str | None]]:
    """(value, unit, arrow) of each number. An arrow that stands apart belongs to all numbers of the cell."""
    found = [match.groupdict() for match in NUMBER.finditer(cell.replace("*", ""))]
    shared = found[-1]["arrow"] if found and found[-1]["space"] else None
    return [
        (
            float(number["value"]) * SCALES.get(number["scale"], 1),
            "count" if number["scale"] else "percent",
            ARROWS.get(number["arrow"] or shared),
        )
        for number in found
    ]


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ("**79.53**↑ / 77.33↑", [(79.53, "percent", "up"), (77.33, "percent", "up")]),
        ("37.71- / 28.00-", [(37.71, "percent", "same"), (28.0, "percent", "same")]),
        ("51.56 / 24.56 ↑", [(51.56, "percent", "up"), (24.56, "percent", "up")]),
        ("1280k(80.02%)", [(1280000, "count", None), (80.02, "percent", None)]),
        ("/", []),
    ],
)
def test_a_cell_is_read_as_a_person_reads_it(cell, values):
    assert read_cell(cell) == values


def test_every_printed_number_and_arrow_is_in_the_data_and_no_other(document):
    printed = read_document(document)
    ours = Counter((c.table, c.row, c.column, c.value, c.unit, c.arrow) for c in numbers())
    assert printed - ours == Counter(), "printed, and not in claims.yml"
    assert ours - printed == Counter(), "in claims.yml, and not printed"


def test_no_number_or_arrow_of_the_tables_escapes_the_reader(document):
    """Counted without a look at rows and columns; the arrows of Table 4 stand once for two numbers."""
    tables = "".join(re.findall(r"table-caption >\}\}\n(.*?)\{\{< /table-caption", document, re.DOTALL)[:10])
    assert Counter(map(float, re.findall(r"\d+\.\d+", tables))) == Counter(
        c.value for c in numbers() if c.unit == "percent"
    )
    assert len(re.findall(r"\b\d+[km]\b", tables)) == sum(c.unit == "count" for c in numbers())
    assert len(re.findall("[↑↓]", tables)) + 2 == sum(c.arrow in ("up", "down") for c in numbers())


# --- the data in itself -----------------------------------------------------------------------------------------------


def test_counts():
    assert Counter(c.unit for c in numbers()) == {"percent": 128, "count": 15}
    assert Counter(c.arrow for c in numbers() if c.arrow) == {"up": 30, "down": 13, "same": 3}
    assert len(statements()) == 34


def test_every_arrow_points_where_the_numbers_say():
    compared = [c for c in numbers() if c.against]
    for c in compared:
        sign = np.sign(c.value - paper(c.against))
        assert {1: "up", -1: "down", 0: "same"}[sign] == c.arrow, c.id
        assert claim(c.against).n == c.n, c.id
    assert len(compared) == 38


def test_every_contrast_is_of_two_numbers_of_one_table_and_unit():
    compared = [c for c in numbers() if c.contrast]
    for c in compared:
        other = claim(c.contrast)
        assert (other.table, other.unit) == (c.table, c.unit), c.id
        assert c.arrow is None, c.id
        assert c.value != other.value, c.id
    assert Counter(c.table for c in compared) == {3: 4, 7: 8, 8: 8, 9: 14, 10: 2}


def test_measures_follow_rows_and_columns():
    """A second reading of the labels: which policy, reward model and test set a printed number is of."""
    sets = {"GSM8k": "minigsm", "MATH500": "minimath", "LCD": "minicode", "LeetCodeDataset": "minicode"}
    sets |= {"LCB": "minicode-new", "LiveCodeBench": "minicode-new"}
    prms = {"Math-Shepherd": "MS-M", "ER-PRM": "ER-PRM-L", "L to M": "L-to-M"}
    for c in numbers():
        words = re.split(r"[ -]", c.row[0] if c.table == 1 else c.row[-1])
        if c.table in (1, 2, 5, 6):
            [named] = {sets[word] for word in words if word in sets}
            assert c.measure.set == named, c.id
        if c.table <= 6:
            kinds = {"Bo64": "bon", "TVD": "tvd", "A/P@1": "greedy", "Base": "greedy"}
            assert c.measure.kind == kinds.get(c.column, "tvd"), c.id
        if c.table == 1 and c.measure.kind == "tvd":
            assert c.measure.prm == prms.get(c.column, c.column), c.id
            assert c.measure.policy == {"MetaMath-M": "M", "MetaMath-L": "L", "LCD-DS": "D"}[c.row[1]], c.id
        if c.rival:
            assert (c.rival.policy, c.rival.set, c.rival.kind) == (c.measure.policy, c.measure.set, c.measure.kind)


def possible(value: float, n: int) -> bool:
    """Is the percentage a share of n, rounded or cut to two digits?"""
    right = round(value * n / 100)
    return any(-0.005 <= 100 * k / n - value < 0.01 for k in (right, right + 1))


def test_every_accuracy_is_a_share_of_its_test_set():
    assert [c.id for c in numbers() if c.n and not possible(c.value, c.n)] == []
    assert all(c.n for c in numbers() if c.table <= 6)
    assert not any(c.n for c in numbers() if c.table > 6)


def test_the_unnamed_test_set_of_table_3_can_only_be_gsm8k():
    sizes = {c.n for c in numbers() if c.n}
    assert sizes == {1319, 500, 2500, 175, 713}
    assert {n for n in sizes if all(possible(c.value, n) for c in numbers() if c.table == 3)} == {1319}


def test_the_unnamed_policy_of_table_5_can_only_be_m():
    rows = [c for c in numbers() if c.table == 5 and c.row[1].startswith("Math")]
    fits = {
        policy
        for policy in "ML"
        if all((c.value > paper(re.sub("-[ML]-", f"-{policy}-", c.against))) == (c.arrow == "up") for c in rows)
    }
    assert fits == {"M"}


def test_gains_that_no_paired_test_can_tell_from_chance():
    """Exact McNemar, every discordant problem in favour: six are needed."""
    needed = next(k for k in count(1) if binomtest(k, k).pvalue <= 0.05)
    gains = {
        c.id: round((c.value - paper(c.against)) * c.n / 100)
        for c in map(claim, claim("prose-tvd-beats-greedy").rests_on)
    }
    small = {id: gain for id, gain in gains.items() if gain < needed}
    assert needed == 6
    assert small == dict(zip(claim("study-chance").rests_on, (3, 3, 5), strict=True))


def test_conjunctions_and_formulas_lead_among_decision_tokens():
    for number in (7, 8):
        frame = table(number).droplevel(0)
        decisions = frame["decision token proportion"].sort_values(ascending=False)
        assert list(decisions.index[:2]) == ["Conjunction", "Math Formula"]
        assert (frame.loc["Math Formula"] / frame.loc["Math Formula"].iloc[0]).iloc[1] > 5


def test_the_prose_claims_that_the_study_speaks_of_are_there():
    named = {
        "prose-threshold-best",
        "prose-newline-confident",
        "prose-cost",
        "prose-decision-types",
        "prose-code-comments",
        "prose-positions-generalise",
        "prose-mixing-helps",
    }
    assert named <= {s.id for s in statements() if s.source == "paper"}


# --- looking up -------------------------------------------------------------------------------------------------------


def test_a_number_by_its_id():
    assert paper("t1-gsm8k-M-asprm-L") == 79.53
    assert paper("t8-total-decisions") == 1_413_000
    assert paper("prose-cost") == 30


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("t1-gsm8k-M-aspm-L", "no claim 't1-gsm8k-M-aspm-L': did you mean 't1-gsm8k-M-asprm-L'?"),
        ("prose-new-line", "did you mean 'prose-newline-confident'?"),
        ("???", "did you mean '"),
        ("prose-newline-confident", "is a statement without a number"),
    ],
)
def test_an_id_without_number_is_an_error(id, says):
    with pytest.raises(KeyError) as error:
        paper(id)
    assert says in error.value.args[0]


def test_a_statement_is_no_number_of_a_table():
    assert claims.number("t1-gsm8k-M-asprm-L").column == "ASPRM-L"
    with pytest.raises(KeyError, match="'prose-cost' is a statement, expected a number of a table"):
        claims.number("prose-cost")


def test_a_table_has_the_papers_shape():
    first = table(1)
    assert first.index.names == ["Dataset", "Inference Model"]
    assert list(first.columns) == ["A/P@1", "Math-Shepherd", "ER-PRM", "ASPRM-L", "ASPRM-M", "ASPRM-D"]
    assert first.loc[("GSM8k", "MetaMath-L"), "ER-PRM"] == 81.58
    assert first.loc["LiveCodeBench"].notna().sum(axis=1).to_list() == [2]
    assert table(4).index.name == "PRM Model"
    assert table(10).loc["Code comment", "Trigger type"] == 80.05
    assert table(10, unit="count").loc["Total", "Line number"] == 1_599_000
    shapes = [table(number).shape for number in range(1, 11)]
    assert shapes == [(6, 6), (4, 2), (8, 1), (2, 3), (4, 2), (4, 2), (8, 2), (8, 2), (14, 2), (2, 3)]
    assert "GSM8k" in table(3).attrs["note"]


def test_a_table_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="no numbers of a Table 11: expected 1 to 10"):
        table(11)
    with pytest.raises(KeyError, match="Table 1 has no numbers in count"):
        table(1, unit="count")


def test_claims_cannot_be_changed():
    with pytest.raises(ValidationError):
        claim("t1-gsm8k-M-greedy").value = 80.0


# --- a faulty file ----------------------------------------------------------------------------------------------------

FORM = "tables:\n- {number: 1, title: x, index: [a], columns: [b]}\nnumbers:\n"
NOTHING = "statements: []\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that loads a file of the given text instead of the study's."""

    def load(text: str):
        file = tmp_path / claims.FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        monkeypatch.setattr(claims, "REPOSITORY", tmp_path)
        claims._load.cache_clear()
        return load_claims()

    yield load
    claims._load.cache_clear()


def test_a_file_of_ones_own(load):
    (only,) = load(FORM + "- {id: t1-a, table: 1, row: [r], column: b, value: 1}\n" + NOTHING)
    assert only == Number(id="t1-a", table=1, row=("r",), column="b", value=1.0)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ("- {id: t1-a, table: 1, row: [r], column: b, value: 1, valeu: 2}", "numbers.0.valeu"),
        ("- {id: t1-a, table: 1, row: [r], column: b, value: '1'}", "numbers.0.value"),
        ("- {id: t1-a, table: 1, row: [r], column: c, value: 1}", "t1-a: row .* or column 'c' is not of its table"),
        ("- {id: t1-a, table: 1, row: [r, s], column: b, value: 1}", "t1-a: row .* is not of its table"),
        ("- {id: t1-a, table: 2, row: [r], column: b, value: 1}", "t1-a: row .* is not of its table"),
        ("- {id: t1-a, table: 1, row: [r], column: b, value: 1, arrow: up}", "t1-a: arrow up, compared with"),
        ("- {id: t1-a, table: 1, row: [r], column: b, value: 1, against: t1-b}", "t1-a: arrow None, compared with"),
        (
            "- {id: t1-a, table: 1, row: [r], column: b, value: 1, against: t1-b, against_figure: x}",
            "t1-a: arrow None, compared with",
        ),
        (
            "- {id: t1-a, table: 1, row: [r], column: b, value: 1, arrow: up, against: t1-b}",
            "t1-a: refers to 't1-b', expected the id of another number",
        ),
        ("- {id: t1-a, table: 1, row: [r], column: b, value: 1}\n" * 2, "t1-a: occurs twice"),
        (
            "- {id: t1-a, table: 1, row: [r], column: b, value: 1, measure: {kind: tvd, policy: M, set: minigsm}}",
            "a measure of kind tvd needs prm",
        ),
        (
            "- {id: t1-a, table: 1, row: [r], column: b, value: 1, "
            "measure: {kind: tokens, policy: M, column: x, set: y}}",
            "a measure of kind tokens has no set",
        ),
        (
            "- {id: t1-a, table: 1, row: [r], column: b, value: 1}\n"
            "- {id: t1-b, table: 1, row: [r], column: b, value: 2}",
            "t1-b: occurs twice",
        ),
    ],
)
def test_a_fault_in_the_file_is_named(load, numbers, says):
    with pytest.raises(ValueError, match=says):
        load(FORM + numbers + "\n" + NOTHING)


@pytest.mark.parametrize(
    ("compare", "says"),
    [
        ("{kind: all, of: [t1-b]}", "s-a: compare refers to 't1-b', expected the id of another claim"),
        ("{kind: pool}", "a pool needs either `of`, or as many measures in `a` as in `b`"),
        ("{kind: bset, of: []}", "bset"),
    ],
)
def test_a_fault_in_a_comparison_is_named(load, compare, says):
    with pytest.raises(ValueError, match=says):
        load(
            FORM.replace("numbers:", "numbers: []")
            + "statements:\n- {id: s-a, source: paper, section: x, says: y, compare: "
            + compare
            + "}\n"
        )


def test_a_package_installed_elsewhere_reads_the_file_of_the_study(tmp_path, monkeypatch):
    root = claims.REPOSITORY
    monkeypatch.setattr(claims, "REPOSITORY", tmp_path)
    monkeypatch.setenv("ASPRM_HOME", str(root))
    assert claims._file() == root / claims.FILE
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no data/paper/claims\.yml in"):
        claims._file()
