"""Rows in and out: what fails is told by its line and left out, everything else goes on."""

import gzip
import io
import json
import os
import sys
from pathlib import Path

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


def test_a_file_is_not_written_over_itself(rows, tmp_path, monkeypatch):
    before = Path(rows).read_bytes()
    (tmp_path / "link").symlink_to(rows)
    (tmp_path / "hard").hardlink_to(rows)
    for target in (rows, tmp_path / "link", tmp_path / "hard", tmp_path / "." / "in.jsonl"):
        with pytest.raises(ValueError, match="is the file that is read"), Lines(rows, str(target)):
            pass
    with open(rows, "rb") as given, open(rows, "ab") as appended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
        with pytest.raises(ValueError, match=r"in\.jsonl is the file that is read"), Lines("-", rows):  # - < f -o f
            pass
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(appended))
        for source in ("-", rows):  # - < f >> f; f >> f
            with pytest.raises(ValueError, match="standard output is the file that is read"), Lines(source):
                pass
        monkeypatch.undo()
    assert Path(rows).read_bytes() == before


def test_devices_may_be_read_and_written_at_once():
    with Lines("/dev/null", "/dev/null") as lines:
        assert list(lines.read("test")) == []
        lines.write({"x": 1})


def test_an_old_output_stays_until_there_is_a_row(rows, tmp_path, capsys):
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    bad.write_text("nonsense\n{\n")
    for strict, said in ((True, "line 1: it is not JSON"), (False, "2 of 2 rows failed; nothing was written to")):
        out.write_text("old\n" * 9)
        with pytest.raises(Failed, match=said), Lines(str(bad), str(out), strict=strict) as lines:
            halves(lines)
        assert out.read_text() == "old\n" * 9
    with pytest.raises(KeyboardInterrupt), Lines(rows, str(out)):
        raise KeyboardInterrupt
    assert out.read_text() == "old\n" * 9
    with pytest.raises(Failed, match="line 3: division"), Lines(rows, str(out), strict=True) as lines:
        halves(lines)
    assert [row["n"] for row in written(out)] == [1]
    out.write_text("old\n" * 9)
    with pytest.raises(Failed, match=r"3 of 5 rows failed$"), Lines(rows, str(out)) as lines:
        halves(lines)
    assert [row["n"] for row in written(out)] == [1, 4]
    (tmp_path / "empty.jsonl").touch()
    capsys.readouterr()
    with Lines(str(tmp_path / "empty.jsonl"), str(out)) as lines:
        halves(lines)
    assert out.read_bytes() == b""
    assert capsys.readouterr().err == f"» {tmp_path / 'empty.jsonl'} has no rows\n"


def test_no_row_ends_the_others(tmp_path, capsys):
    hostile = [
        b'{"a": 1, "a": 2}', b"nul\0", b"\xff\xfe", b"[" * 10**5, b'"text"', b"7", b"null", b"9" * 5000, b"[{}]",
        b'{"n": ' + b"9" * 5000 + b"}", b'{"n": "\xed\xa0\x80"}', b"{'n': 1}", b'{"n": 1}{"n": 2}', b'{"n": 1',
    ]  # fmt: skip
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"n": 0}\n' + b"\n".join(hostile) + b'\n\xef\xbb\xbf{"n": 5}\r\n{"n": 6}')
    with pytest.raises(Failed, match=f"{len(hostile)} of {len(hostile) + 3} rows failed"):  # noqa: SIM117
        with Lines(str(source), str(out)) as lines:
            for line in lines.read("test"):
                lines.put(line, {})
    assert written(out) == [{"n": 0}, {"n": 5}, {"n": 6}]
    told = capsys.readouterr().err.splitlines()
    assert [int(said.split()[1][:-1]) for said in told] == list(range(2, len(hostile) + 2))
    assert all(len(said) < 200 for said in told)


@pytest.mark.parametrize(
    "error", [TypeError("odd"), KeyError("k"), IndexError("i"), AttributeError("a"), MemoryError()]
)
def test_whatever_a_row_causes_is_its_own_failure(rows, tmp_path, capsys, error):
    def compute(items):
        for n in items:
            if n == 0:
                raise error
            yield {"x": n}

    out = tmp_path / "out.jsonl"
    with pytest.raises(Failed, match="3 of 5"), Lines(rows, str(out)) as lines:
        for line, found in each(lines, lines.read("test"), lambda row: row["n"], compute, size=9):
            lines.put(line, found)
    assert [row["x"] for row in written(out)] == [1, 4]
    assert f"line 3: {type(error).__name__}: " in capsys.readouterr().err


def test_what_concerns_all_rows_ends_the_command(rows):
    for error in (OSError("no space left"), ImportError("no package")):

        def compute(items, error=error):
            raise error

        with pytest.raises(type(error)), Lines(rows) as lines:
            list(each(lines, lines.read("test"), dict, compute, size=2))


def test_results_are_there_as_soon_as_they_are_computed_and_errors_belong_to_their_row(capsys):
    lines, asked = Lines("-"), []

    def compute(items):
        for n in items:
            asked.append(n)
            yield ValueError("odd") if n == 2 else None if n == 3 else {"x": n}

    found = each(lines, [Line(n, {"n": n}) for n in range(1, 5)], lambda row: row["n"], compute, size=4)
    assert next(found)[1] == {"x": 1}
    assert asked == [1]
    assert [result for _, result in found] == [{"x": 4}]  # 2 failed, 3 has no result
    assert asked == [1, 2, 3, 4]  # nothing was computed twice
    assert capsys.readouterr().err == "line 2: odd\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"n": 1}\n{"n": 2}\n'.encode("utf-16"), "in.jsonl: it is UTF-16, expected UTF-8; convert it with `iconv"),
        ('{"n": 1}\n'.encode("utf-16-le"), "it is UTF-16LE, expected UTF-8"),
        (gzip.compress(b'{"n": 1}\n', mtime=0), "it is a gzip file"),
        (b'[\n  {"n": 1},\n  {"n": 2}\n]\n', "one JSON text over several lines, expected JSON Lines"),
        (b'\n[{"n": 1},\n{"n": 2}]\n', "jq -c '.\\[\\]'"),
        (b'\xef\xbb\xbf{\n  "n": 1\n}\n{\n  "n": 2\n}\n', "jq -c .`"),
        (b"[\n[1]\n]", "over several lines"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused_in_one_message(tmp_path, capsys, content, words):
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=words), Lines(str(source)) as lines:
        list(lines.read("test"))
    assert capsys.readouterr().err == ""


def test_a_first_row_that_is_cut_off_is_a_row_that_fails(tmp_path, capsys):
    for cut in ("{", '{"n":', '{"n": 1,', "["):
        source = tmp_path / "in.jsonl"
        source.write_text(cut + '\n{"n": 2}\n')
        with pytest.raises(Failed, match="1 of 2"), Lines(str(source)) as lines:
            assert [line.row for line in lines.read("test")] == [{"n": 2}]
        source.write_text(cut)
        with pytest.raises(Failed, match="1 of 1"), Lines(str(source)) as lines:
            assert list(lines.read("test")) == []


def test_a_pipe_with_a_name_is_read_once(tmp_path):
    read, write = os.pipe()
    os.write(write, b'{"n": 1}\n{"n": 2}\n')
    os.close(write)
    with Lines(f"/dev/fd/{read}") as lines:
        assert [line.row["n"] for line in lines.read("test")] == [1, 2]
    os.close(read)


def renamed(tmp_path, rename, *rows):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Lines(str(source), rename=rename) as lines:
        return [line.row for line in lines.read("test")]


def test_new_names_of_fields_lose_no_value(tmp_path, capsys):
    assert renamed(tmp_path, {"a": "b", "b": "a"}, {"a": 1, "b": 2}) == [{"b": 1, "a": 2}]
    assert renamed(tmp_path, {"a": "a"}, {"a": 1}) == [{"a": 1}]
    for row in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        with pytest.raises(Failed, match="1 of 1"):
            renamed(tmp_path, {"a": "b"}, row)
        assert "line 1: --rename makes two fields 'b' of this row" in capsys.readouterr().err
    renamed(tmp_path, {"a": "b", "done": "finished"}, {"a": 1}, {"x": 1})
    assert capsys.readouterr().err == "» --rename done=finished: no row has a field 'done'\n"


def test_fields_that_came_are_kept_as_they_came(tmp_path, capsys):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = ['{"x": NaN, "y": [Infinity, {"z": -Infinity}]}', '{"half": "\\ud83d", "\\udc00": "é"}', '{"new": 0}']
    source.write_text("\n".join(rows))
    with Lines(str(source), str(out)) as lines:
        for line in lines.read("test"):
            lines.put(line, {"new": 1})
    assert out.read_text().splitlines() == [*(f'{row[:-1]}, "new": 1}}' for row in rows[:2]), '{"new": 1}']
    assert capsys.readouterr().err == "» line 3: its own new is replaced, and so in later rows\n"


def test_a_computed_number_that_is_not_finite_is_a_failure_of_its_row(tmp_path, capsys):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"x": NaN}\n{"x": 1}\n')
    with pytest.raises(Failed, match="1 of 2"), Lines(str(source), str(out)) as lines:
        for line in lines.read("test"):
            lines.put(line, {"score": np.float32(line.row["x"])})
    assert written(out) == [{"x": 1, "score": 1.0}]
    assert "line 1: Out of range float values" in capsys.readouterr().err


def test_a_missing_field_names_the_nearest():
    with pytest.raises(ValueError, match=r"no field 'solution' .*did you mean 'solutions'"):
        take({"solutions": "x"}, "solution", str, "the text")
    with pytest.raises(ValueError, match="'n' is true, expected a number"):
        take({"n": True}, "n", int, "a number")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1], "1", True])
def test_a_value_of_another_kind_is_refused(value):
    with pytest.raises(ValueError, match=r"'n' is .*, expected a number"):
        take({"n": value}, "n", (int, float), "a number")


def test_texts_are_whole_and_perhaps_not_empty():
    assert take({"t": " "}, "t", str, "a text") == " "
    with pytest.raises(ValueError, match="'t' is empty, expected a text"):
        take({"t": " "}, "t", str, "a text", empty=False)
    with pytest.raises(ValueError, match="'t' holds half a character"):
        take({"t": "\ud83d"}, "t", str, "a text")
