"""Wrong inputs, one table: each gets a message that names the field and says what was expected, and no traceback."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from asprm import REPOSITORY
from asprm.cli import app

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "bad-input.yml").read_text(encoding="utf-8"))
M = REPOSITORY / "data" / "policies" / "M"


def content(case):
    """The bytes of the input file; None: there is none."""
    if "rows" in case:
        return "".join(json.dumps(row) + "\n" for row in case["rows"]).encode()
    if "text" in case:
        return case["text"].encode("utf-8", "surrogatepass")
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "repeat" in case:
        text, count = case["repeat"]
        return text.encode() * count + b"\n"
    if "long" in case:
        field, characters = case["long"]
        return json.dumps({"problem": "p", "solution": "ab"} | {field: "ab " * characters}).encode()
    return None


def test_there_are_many_rows_and_each_says_something():
    assert len(CASES) >= 120
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert all(case["says"] for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_wrong_input_is_told_by_field_and_expectation(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    files = {"in.jsonl": content(case)} | {name: text.encode() for name, text in case.get("others", {}).items()}
    if "weights" in case:
        files["model.safetensors"] = b"\2\0\0\0\0\0\0\0{}"
    for name, data in files.items():
        if data is not None:
            Path(name).write_bytes(data)
    done = CliRunner().invoke(app, [argument.format(M=M) for argument in shlex.split(case["run"])])
    said = " ".join(done.output.split())
    expected = case["exit"] if isinstance(case["exit"], list) else [case["exit"]]
    assert done.exit_code in expected, said
    assert "Traceback" not in said
    assert all(words in said for words in case["says"]), said
    assert {path.name for path in tmp_path.iterdir()} <= {*files, "data"}  # nothing was written
