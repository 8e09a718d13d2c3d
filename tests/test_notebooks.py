"""The notebooks as files, and as the smoke study executed them."""

import json
import re

import pytest
from conftest import REPOSITORY

from asprm.run.profile import READS, Profile

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
HOW_TOS = sorted((REPOSITORY / "book").glob("*.ipynb"))
COMMON = {"profile", "policy", "method", "prm", "scratch", "seed", "workers"}


def cells(path):
    return json.loads(path.read_text())["cells"]


def source(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_laid_out_like_its_siblings(path):
    all_cells = cells(path)
    code = [cell for cell in all_cells if cell["cell_type"] == "code"]
    stage = path.stem.partition("_")[2]
    assert stage in READS
    assert re.match(r"\(ch-[a-z]+\)=\n# \S", source(all_cells[0]))  # a label and a title
    for word in ("paper", "reads", "writes"):
        assert f"| {word} |" in source(all_cells[1])
    parameters = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert parameters == [code[0]]
    assert f'open_run(profile, stage="{stage}", parameters=locals())' in source(code[1])
    assert source(code[-1]) == "run.provenance()"
    assert any("Check against the paper" in source(cell) for cell in all_cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin_and_stored_without_outputs(path):
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            assert cell["execution_count"] is None
            assert len(source(cell).splitlines()) <= 15
            assert "\ndef " not in f"\n{source(cell)}"


@pytest.mark.parametrize("path", HOW_TOS, ids=lambda path: path.stem)
def test_a_how_to_comes_with_a_copy_that_was_executed_as_it_stands(path):
    shipped = cells(REPOSITORY / "data" / "reference" / path.name)
    for cell, copy in zip(cells(path), shipped, strict=True):
        assert source(cell) == source(copy), "make the copy anew, as CONTRIBUTING.md says"
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            assert copy["execution_count"]
    printed = json.dumps([cell.get("outputs") for cell in shipped])
    assert not re.search(r"/(tmp|home|root|work|Users|var)/", printed)  # no path of the machine where it ran


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_ones_that_the_stage_knows(path):
    stage = path.stem.partition("_")[2]
    known = COMMON | set(Profile.model_fields[stage].annotation.model_fields)
    [parameters] = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assigned = dict(re.findall(r"^(\w+) = (\S+)", source(parameters), flags=re.M))
    assert set(assigned) <= known
    assert assigned.pop("profile") == '"tiny"'
    assert set(assigned.values()) == {"None"}  # numbers stand in the profile alone


def test_the_smoke_study_executes_every_notebook(study):
    copies = sorted((study / "data/runs/smoke/notebooks").glob("*.ipynb"))
    assert {re.sub(r"-[MLD]$", "", path.stem) for path in copies} == {path.stem for path in NOTEBOOKS}
    for path in copies:
        executed = json.loads(path.read_text())["cells"]
        code = [cell for cell in executed if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]
        shown = "".join("".join(out.get("data", {}).get("text/html", "")) for out in code[-1]["outputs"])
        assert "smoke" in shown
        assert "digest" in shown or "written" in shown or path.stem == "01_policy"


def test_a_notebook_alone_says_what_makes_its_inputs(tmp_path, monkeypatch):
    from asprm.run.open import open_run
    from asprm.run.store import MissingArtifact

    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("tiny", stage="threshold", quiet=True)
    with pytest.raises(MissingArtifact, match="make study"):
        run.read("sample/M/train")
