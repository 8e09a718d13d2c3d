"""Executed copies appear whole, with the parameters that were asked for, or not at all."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from asprm import REPOSITORY
from asprm.run.sections import ProfileError
from asprm.workflow.notebook import NotebookError, execute, main


def write(path, *sources, parameters='profile = "tiny"\nshare = None'):
    cells = [new_markdown_cell("# Title"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook = new_notebook(cells=[*cells, *map(new_code_cell, sources)])
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)
    return path


def text(path):
    return "".join(o.get("text", "") for c in nbformat.read(path, 4).cells for o in c.get("outputs", []))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
    told = capfd.readouterr().err
    assert "half done" in told
    assert "01: done" in told
    assert "warning" not in told


def test_a_failed_notebook_is_never_promoted(tmp_path, capfd):
    out = tmp_path / "out" / "02.ipynb"
    execute(write(tmp_path / "02_toy.ipynb", "print('well')"), out, {})
    before = out.read_bytes()
    broken = write(tmp_path / "02_toy.ipynb", "raise ValueError('no such number')")
    assert main([str(broken), str(out)]) == 1
    assert out.read_bytes() == before
    assert names(out.parent) == ["02.failed.ipynb", "02.ipynb"]
    told = capfd.readouterr().err
    assert "ValueError: no such number" in told
    assert "the copy with the error is" in told
    assert "\x1b" not in told
    execute(write(tmp_path / "02_toy.ipynb", "print('well')"), out, {})
    assert names(out.parent) == ["02.ipynb"]


def test_a_long_cell_is_told(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("asprm.workflow.notebook.EVERY", 0.0)
    execute(write(tmp_path / "02_toy.ipynb", "1 + 1"), tmp_path / "out.ipynb", {})
    assert "out: cell 3 took 0 s" in capfd.readouterr().err


def test_a_dying_kernel_is_told(tmp_path):
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


def test_a_notebook_that_is_not_there(tmp_path):
    with pytest.raises(NotebookError, match="no notebook at"):
        execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {})
