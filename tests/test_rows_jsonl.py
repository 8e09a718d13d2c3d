"""Rows in and out: what fails is told by its line and left out, everything else goes on."""

import io
import json
import sys

import numpy as np
import pytest

from asprm.rows.jsonl import Failed, Line, Lines, each, take


def written(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text('{"n": 1}\n\n{"n": 0}\nnonsense\n[1]\n{"n": 4}\n')
    return str(file)


def halves(lines):
    for line, found in each(
        lines, lines.read("test"), lambda row: 1 / row["n"], lambda xs: [{"x": x} for x in xs], size=2
    ):
        lines.write(line.row | found)


def test_rows_that_fail_are_told_by_line_and_counted(rows, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    with pytest.raises(Failed, match="3 of 5 rows failed"), Lines(rows, str(out)) as lines:
        halves(lines)
    assert written(out) == [{"n": 1, "x": 1.0}, {"n": 4, "x": 0.25}]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("line")]
    assert [line.split(":")[0] for line in told] == ["line 3", "line 4", "line 5"]
    assert "not JSON" in told[1]
    assert "not a list" in told[2]


def test_strict_stops_at_the_first(rows, tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(Failed, match="line 3: division"), Lines(rows, str(out), strict=True) as lines:
        for line in lines.read("test"):
            with lines.row(line.number):
                lines.write({"x": 1 / line.row["n"]})
    assert written(out) == [{"x": 1.0}]


def test_a_failing_batch_is_computed_one_by_one():
    lines = Lines("-")
    given = [Line(n, {"n": n}) for n in range(1, 8)]

    def compute(items):
        if 3 in items:
            raise RuntimeError("three")
        return [{"sum": sum(items)} for _ in items]

    found = [(line.number, result["sum"]) for line, result in each(lines, given, lambda row: row["n"], compute, size=4)]
    # 1, 2, 4 alone, for 3 was among them; 5, 6, 7 together.
    assert found == [(1, 1), (2, 2), (4, 4), (5, 18), (6, 18), (7, 18)]
    assert lines.failed == 1


def test_pipes_and_new_names(monkeypatch, capsysbinary):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"frage": "π?"}\n'.encode())))
    with Lines("-", rename={"frage": "problem"}) as lines:
        for line in lines.read("test"):
            lines.write(line.row)
    assert capsysbinary.readouterr().out == '{"problem": "π?"}\n'.encode()


def test_numbers_of_numpy_are_written_as_short_as_they_can_be_read_back(tmp_path):
    values = np.random.default_rng(0).random(50, np.float32)
    with Lines("-", str(tmp_path / "out")) as lines:
        lines.write({"x": values, "n": np.arange(2), "one": values[0], "yes": np.bool_(True)})
        with pytest.raises(ValueError, match="JSON"):
            lines.write({"x": float("nan")})
    [row] = written(tmp_path / "out")
    assert np.array_equal(np.array(row["x"], np.float32), values)
    assert len(json.dumps(row["x"])) < 13 * len(values)
    assert (row["n"], row["yes"]) == ([0, 1], True)


def test_a_file_is_not_written_over_itself(rows):
    with pytest.raises(ValueError, match="is the file that is read"):
        Lines(rows, rows)


def test_a_missing_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"no field 'solution' .*did you mean 'solutions'"):
        take({"solutions": "x"}, "solution", str, "the text")
    with pytest.raises(ValueError, match="'n' is true, expected a number"):
        take({"n": True}, "n", int, "a number")
