"""How a command runs: what it refuses before it starts, and that nothing is lost when it is interrupted."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from test_grading_sandbox import needs_bwrap
from typer.testing import CliRunner

from asprm import REPOSITORY
from asprm.cli import app
from asprm.rows.options import write_text

M = str(REPOSITORY / "data" / "policies" / "M")
RIGHT = {"problem": "2 + 3?", "answer": "5", "solution": "2 + 3 = 5\nThe answer is: 5"}


def refused(*arguments, rows=(), status=2):
    """The one line that a command says which it does not do."""
    given = "".join(json.dumps(row) + "\n" for row in rows)
    result = CliRunner().invoke(app, [str(x) for x in arguments], input=given)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.stderr
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["question"], "expected THEIRS=OURS"),
        (["=problem"], "expected THEIRS=OURS"),
        (["question="], "expected THEIRS=OURS"),
        (["question=problem", "prompt=problem"], "--rename prompt=problem: problem is in another --rename already"),
        (["a=problem", "a=solution"], "--rename a=solution: a is in another --rename already"),
    ],
)
def test_a_rename_that_would_lose_a_value_is_refused(pairs, words):
    assert words in refused("grade", *[item for pair in pairs for item in ("--rename", pair)], rows=[RIGHT])


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("label", "--eta", "inf"),  # NaN is outside of its range
        ("label", "--temperature", "inf"),
        ("split", "--share", "nan"),
        ("split", "--tau", "inf"),
        ("train", "--learning-rate", "nan"),
    ],
)
def test_an_option_that_is_no_number_is_refused(tmp_path, command, option, value):
    needed = ["--base", M, "--prm", tmp_path / "prm"] if command == "train" else ["--model", M]
    assert f"{option} {value}: expected a finite number" in refused(command, *needed, option, value)


def test_the_folder_of_the_output_has_to_be_there(tmp_path):
    told = refused("grade", "-o", tmp_path / "new" / "out.jsonl", rows=[RIGHT])
    assert told == f"asprm grade: --output {tmp_path}/new/out.jsonl: there is no folder {tmp_path}/new; make it first"
    assert not (tmp_path / "new").exists()


def test_a_page_without_rows_is_not_written(tmp_path):
    told = refused("view", "-o", tmp_path / "page.html", rows=[])
    assert told == "asprm view: standard input has no rows to show, so no page was written"
    assert not (tmp_path / "page.html").exists()


def test_the_output_is_no_file_that_is_read_as_something_else(tmp_path):
    template, model = tmp_path / "t.txt", tmp_path / "model"
    template.write_text("Q: {problem}")
    model.mkdir()
    (model / "config.json").write_text("{}")
    (tmp_path / "hard").hardlink_to(template)
    (tmp_path / "link").symlink_to(model / "config.json")
    given = ["split", "--model", model, "--template", template]
    assert "it is read as --template; write to another file" in refused(*given, "-o", template)
    assert "it is read as --template" in refused(*given, "-o", tmp_path / "hard")
    assert "it is read as --model" in refused(*given, "-o", model / "config.json")
    assert "it is read as --model" in refused(*given, "-o", tmp_path / "link")
    assert template.read_text() == "Q: {problem}"
    assert (model / "config.json").read_text() == "{}"


@needs_bwrap
def test_floats_of_programs_are_exact_unless_a_tolerance_is_given():
    program = "```python\ndef f():\n    return 0.1 + 0.2\n```"
    row = {"problem": "p", "entry_point": "f", "test": "def check(f):\n    assert f() == 0.3", "solution": program}
    for options, correct in (([], False), (["--tolerance", "1e-6"], True)):
        result = CliRunner().invoke(app, ["grade", *options], input=json.dumps(row) + "\n")
        assert json.loads(result.stdout)["correct"] == correct
    assert CliRunner().invoke(app, ["grade", "--tolerance", "2"]).exit_code == 2


def grade(shell, folder):
    """Grade through a shell, whose redirections are part of the case."""
    command = shell.replace("asprm", f"{sys.executable} -m asprm")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "asprm grade f -o f",
        "asprm grade f -o ./sub/../f",
        "asprm grade f -o hard",
        "asprm grade hard -o link",
        "asprm grade - < f -o f",
        "asprm grade < f -o hard",
        "asprm grade f >> f",
        "asprm grade - < f >> hard",
        "asprm grade f 1<> f",
        "asprm grade /dev/stdin < f -o f",
        "asprm grade f -o /dev/stdout 1<> hard",
    ],
)
def test_no_input_is_emptied_by_another_name_of_itself(tmp_path, command):
    (tmp_path / "sub").mkdir()
    (tmp_path / "f").write_text(json.dumps(RIGHT) + "\n")
    (tmp_path / "hard").hardlink_to(tmp_path / "f")
    (tmp_path / "link").symlink_to("f")
    done = grade(command, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"asprm grade: .* is the file that is read; write to another file\n", done.stderr)
    assert (tmp_path / "f").read_text() == json.dumps(RIGHT) + "\n"


@pytest.mark.slow
def test_pipes_with_names_are_read_to_their_end(tmp_path):
    (tmp_path / "f").write_text((json.dumps(RIGHT) + "\n") * 3)
    for command in ("asprm grade <(cat f)", "cat f | asprm grade /dev/stdin", "asprm grade f > g; cat g"):
        assert len(grade(command, tmp_path).stdout.splitlines()) == 3, command


@needs_bwrap
@pytest.mark.slow
def test_ctrl_c_keeps_the_verdicts_that_are_found_and_waits_for_no_program(tmp_path):
    program = "```python\nimport time\ndef f(x):\n    {}\n    return x\n```"
    problem = {"problem": "p", "test": "def check(f):\n    assert f(1) == 1", "entry_point": "f"}
    quick, endless = (problem | {"solution": program.format(line)} for line in ("pass", "time.sleep(10000)"))
    (tmp_path / "f").write_text("".join(json.dumps(row) + "\n" for row in [quick, quick, *[endless] * 40]))
    grading = subprocess.Popen(
        [sys.executable, "-m", "asprm", "grade", str(tmp_path / "f")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    rows = [json.loads(grading.stdout.readline()) for _ in range(2)]
    grading.send_signal(signal.SIGINT)
    rest, said = grading.communicate(timeout=60)  # the programs would take hours
    assert grading.returncode == 130
    assert [row["correct"] for row in rows] == [True, True]
    late = [json.loads(line) for line in rest.splitlines()]  # of programs that ran into their limit on a busy machine
    assert not any(row["correct"] for row in late)
    told, interrupted = said.decode().splitlines()
    assert told.startswith(f"» 2 of {2 + len(late)} right")
    assert (interrupted, len(late) < 40) == ("asprm grade: interrupted", True)


def test_a_text_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "keep.html").write_text("kept")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        write_text(str(tmp_path / "keep.html"), "Ros\udce9")
    assert (tmp_path / "keep.html").read_text() == "kept"
