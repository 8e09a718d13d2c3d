"""Executed copies are complete and have the parameters that were asked for, or they do not appear.

| the parameters cell says                   | -p             | the notebook sees |
|--------------------------------------------|----------------|-------------------|
| `share = None  # share = 0.02 means 2 %`   | share 0.04     | 0.04              |
| `policy = None; share = None`              | share 0.04     | 0.04              |
| `scratch = "a=b"`                          | scratch mine   | "mine"            |
| `scratch = None`                           | scratch a date | the text          |
"""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from asprm import REPOSITORY
from asprm.run.sections import ProfileError
from asprm.workflow.notebook import NotebookError, execute, main, normalised, value_of


def write(path, *sources, parameters='profile = "tiny"\nshare = None'):
    cells = [new_markdown_cell("# Title"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook = new_notebook(cells=[*cells, *map(new_code_cell, sources)])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)
    return path


def text(path):
    return "".join(o.get("text", "") for c in nbformat.read(path, 4).cells for o in c.get("outputs", []))


def test_a_line_that_arrives_in_pieces_is_one_line():
    pieces = [
        ("stderr", "» half of a"),
        ("stderr", " line\nkept"),
        ("stderr", "\n"),
        ("stdout", "a"),
        ("stdout", "b\n"),
    ]
    pieces += [("stderr", "» all marked\n"), ("stderr", "\n")]
    cell = new_code_cell("pass", outputs=[new_output("stream", name=name, text=text) for name, text in pieces])
    cells = normalised(new_notebook(cells=[cell])).cells
    assert [(output.name, output.text) for output in cells[0].outputs] == [("stderr", "kept\n"), ("stdout", "ab\n")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_an_executed_copy_has_the_parameters_and_nothing_that_varies(tmp_path, capfd):
    source = write(
        tmp_path / "01_toy.ipynb",
        "import os, sys\nfrom asprm.run.progress import log\nprint(profile, share, os.getcwd(), sys.executable)",
        "log('half done')\nprint('a warning', file=sys.stderr)\nlog('done')",
    )
    copies = []
    for name in ("a", "b"):
        assert (
            main([str(source), str(tmp_path / name / "01.ipynb"), "-p", "share", "1e-2", "-p", "profile", "smoke"]) == 0
        )
        assert names(tmp_path / name) == ["01.ipynb"]
        copies.append((tmp_path / name / "01.ipynb").read_bytes())
    assert copies[0] == copies[1]
    assert text(tmp_path / "a" / "01.ipynb") == f"smoke 0.01 {REPOSITORY} {sys.executable}\na warning\n"
    injected = [
        c for c in nbformat.read(tmp_path / "a" / "01.ipynb", 4).cells if "remove-cell" in c.metadata.get("tags", [])
    ]
    assert [cell.metadata.tags for cell in injected] == [["injected-parameters", "remove-cell"]]
    printed = capfd.readouterr().err
    assert "half done" in printed
    assert "01: done" in printed
    assert "warning" not in printed


@pytest.mark.slow
def test_a_failed_notebook_is_never_promoted(tmp_path, capfd):
    out = tmp_path / "out" / "02.ipynb"
    execute(write(tmp_path / "02_toy.ipynb", "print('well')"), out, {})
    before = out.read_bytes()
    broken = write(tmp_path / "02_toy.ipynb", "raise ValueError('no such number')")
    assert main([str(broken), str(out)]) == 1
    assert out.read_bytes() == before
    assert names(out.parent) == ["02.failed.ipynb", "02.ipynb"]
    printed = capfd.readouterr().err
    assert "ValueError: no such number" in printed
    assert "the copy with the error is" in printed
    assert "\x1b" not in printed
    execute(write(tmp_path / "02_toy.ipynb", "print('well')"), out, {})
    assert names(out.parent) == ["02.ipynb"]


@pytest.mark.slow
def test_a_long_cell_is_logged(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("asprm.workflow.notebook.EVERY", 0.0)
    execute(write(tmp_path / "02_toy.ipynb", "1 + 1"), tmp_path / "out.ipynb", {})
    assert "out: cell 3 took 0 s" in capfd.readouterr().err


@pytest.mark.slow
def test_a_dying_kernel_is_reported(tmp_path):
    source = write(tmp_path / "03_toy.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookError, match="its kernel died"):
        execute(source, tmp_path / "out" / "03.ipynb", {})
    assert names(tmp_path / "out") in (["03.failed.ipynb"], [])


def test_undeclared_parameters_are_refused_before_anything_runs(tmp_path, capfd):
    source = write(tmp_path / "04_toy.ipynb", "raise RuntimeError")
    with pytest.raises(ProfileError, match="04_toy: unknown parameter 'shares': did you mean 'share'"):
        execute(source, tmp_path / "out" / "04.ipynb", {"shares": 1})
    assert main([str(source), str(tmp_path / "out" / "04.ipynb"), "-p", "xyz", "L"]) == 2
    assert "unknown parameter 'xyz': known: profile, share" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "name", "value", "seen"),
    [
        ("share = None  # share = 0.02 means 2 %", "share", "0.04", 0.04),
        ("policy = None; share = None", "share", "0.04", 0.04),
        ('scratch = "a=b"', "scratch", "mine", "mine"),
        ("scratch = None", "scratch", "2024-01-01", "2024-01-01"),
        ("triggers = (0.5,\n            0.9)", "triggers", "[0.1, 0.2]", [0.1, 0.2]),
        ("share: float | None = None", "share", "null", None),
    ],
)
def test_a_parameter_is_declared_however_its_cell_assigns_it(tmp_path, cell, name, value, seen):
    source, out = write(tmp_path / "05_toy.ipynb", f"print(repr({name}))", parameters=cell), tmp_path / "out.ipynb"
    assert main([str(source), str(out), "-p", name, value]) == 0
    assert text(out) == f"{seen!r}\n"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1e-3", 0.001),
        ("7", 7),
        ("true", True),
        ("null", None),
        ("mine", "mine"),
        ("[M, 2, 0.5]", ["M", 2, 0.5]),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("", ""),
        ("# mine", "# mine"),
        ("~", "~"),
        ("[2024-01-01]", "[2024-01-01]"),
        ("{a: 1}", "{a: 1}"),
        ("[[1]]", "[[1]]"),
        ("a: b: c", "a: b: c"),  # not YAML
    ],
)
def test_only_values_of_parameters_are_read_as_yaml(typed, value):
    assert value_of(typed) == value
    assert type(value_of(typed)) is type(value)


def test_a_notebook_without_a_parameters_cell_takes_none(tmp_path):
    notebook = new_notebook(cells=[new_code_cell("share = None")])
    nbformat.write(notebook, tmp_path / "06_toy.ipynb")
    with pytest.raises(ProfileError, match="06_toy: unknown parameter 'share': it has no cell tagged 'parameters'"):
        execute(tmp_path / "06_toy.ipynb", tmp_path / "out.ipynb", {"share": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "printed"),
    [
        (
            "from asprm.run.open import open_run\nopen_run('smok', 'tvd')",
            "unknown profile 'smok': did you mean 'smoke'?",
        ),
        (
            "from asprm.run.chunks import ChunkError\nraise ChunkError('sample: chunk 3 failed')",
            "sample: chunk 3 failed",
        ),
        (
            "raise ValueError('split: 3 tokens, 2 confidences\\n  sample anew')",
            "split: 3 tokens, 2 confidences\n  samp",
        ),
    ],
)
def test_our_own_errors_are_shown_without_a_traceback(tmp_path, capfd, cell, printed):
    out = tmp_path / "07.ipynb"
    assert main([str(write(tmp_path / "07_toy.ipynb", cell)), str(out)]) == 1
    lines = "".join(x for x in capfd.readouterr().err.splitlines(keepends=True) if not x.startswith("»"))
    assert lines.startswith(printed)
    assert "Traceback" not in lines
    assert len(lines.splitlines()) <= 3
    assert lines.splitlines()[-1] == f"07 failed; the copy with the error is {tmp_path / '07.failed.ipynb'}"
    errors = [o for c in nbformat.read(tmp_path / "07.failed.ipynb", 4).cells for o in c.get("outputs", [])]
    assert [error.output_type for error in errors][-1] == "error"
    assert errors[-1].traceback


@pytest.mark.slow
def test_other_errors_keep_their_traceback(tmp_path, capfd):
    assert (
        main([str(write(tmp_path / "08_toy.ipynb", "raise ValueError('no: such')")), str(tmp_path / "08.ipynb")]) == 1
    )
    assert "Traceback (most recent call last)" in capfd.readouterr().err


def test_a_notebook_that_does_not_exist(tmp_path):
    with pytest.raises(NotebookError, match="no notebook at"):
        execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {})


def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path, capfd):
    source = tmp_path / "09_toy.ipynb"
    for content in (
        "",
        "{",
        "profile = 1",
        "[]",
        "{}",
        '{"cells": 3}',
        '{"cells": [1]}',
        '{"cells": [{"source": []}]}',
    ):
        source.write_text(content)
        assert main([str(source), str(tmp_path / "out.ipynb"), "-p", "share", "1"]) == 1
        printed = capfd.readouterr().err
        assert printed == f"{source} is no notebook: expected an .ipynb file of nbformat 4 (JSON)\n"


def test_a_parameter_that_is_given_twice_is_refused(tmp_path, capfd):
    source = write(tmp_path / "10_toy.ipynb", "raise RuntimeError")
    for values in (("0.1", "0.2"), ("0.1", "0.1")):
        given = [item for value in values for item in ("-p", "share", value)]
        assert main([str(source), str(tmp_path / "out.ipynb"), *given, "-p", "profile", "smoke"]) == 2
        assert capfd.readouterr().err == "-p share: given 2 times, expected once\n"


@pytest.mark.parametrize("magic", ["%%time", "%%timeit -n 1", "\n%%capture", "%%script python", "%%writefile x.py"])
def test_a_cell_magic_before_the_parameters_is_refused_because_it_may_hide_them(tmp_path, magic):
    source = write(tmp_path / "11_toy.ipynb", "raise RuntimeError", parameters=f"{magic}\nshare = None")
    words = f"11_toy: its parameters cell begins with {magic.split()[0]}, which hides what the cell assigns"
    with pytest.raises(ProfileError, match=words):
        execute(source, tmp_path / "out.ipynb", {"share": 0.04})
    with pytest.raises(ProfileError, match=words):
        execute(source, tmp_path / "out.ipynb", {})


def test_the_source_is_not_written_over_by_any_name_of_it(tmp_path):
    source = write(tmp_path / "12_toy.failed.ipynb", "raise RuntimeError")
    before = source.read_bytes()
    (tmp_path / "link.ipynb").symlink_to(source)
    (tmp_path / "hard.ipynb").hardlink_to(source)
    outs = [source, tmp_path / "link.ipynb", tmp_path / "hard.ipynb"]
    for out in [*outs, tmp_path / "12_toy.ipynb"]:  # the last one's failed copy would be the source
        with pytest.raises(NotebookError, match="expected the path of another notebook"):
            execute(source, out, {})
    assert source.read_bytes() == before
