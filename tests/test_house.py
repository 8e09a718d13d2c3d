"""The house: where modules live, what may import what, how long things are, and what a notebook may assign.

CONTRIBUTING.md says the same in words. Everything here is read from the files' syntax; nothing is imported or run.
"""

import ast
import json
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import REPOSITORY

from asprm.run.parameters import COMMON, assigned_names
from asprm.run.profile import Profile

STAGES = "policy sample threshold split rollout prm best_of_n tvd generalize tokens truth claims rivals".split()
MODULES = {"__init__", "__main__", "cli", "intervals", "statistics"}
FOLDERS = set(
    "run models engines reward problems grading results figures site rows plan workflow profiles token_types "
    "exercises contests".split()
)
NOTEBOOKS_USE = {f"asprm.site.{name}" for name in "glue beside lessons solutions explorer walks ledger".split()}
USE_STAGES = {
    "figures",
    "site",
    "rows",
    "cli",
    "exercises",
    "contests",
    *STAGES,
}  # the other folders hold what stages are made of

LONGEST_MODULE, LONGEST_FUNCTION = 420, 60
LONG_MODULES = {  # tables of words, which a reader looks things up in
    "asprm/problems/minigsm.py",
    "asprm/problems/outcomes.py",
    "asprm/problems/selections.py",
}
NAMED_BY_WHAT_THEY_SAY = {  # registries of short functions, each one kind of clause: the name is the description
    "asprm/problems/minigsm.py",
    "asprm/problems/minimath.py",
}
NEEDS_A_DOCSTRING = 6  # lines; what is shorter may say all by its name

PACKAGE = REPOSITORY / "asprm"
FILES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def shown(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_name(path): path for path in FILES}


def imported(tree: ast.AST) -> set[str]:
    """The modules of asprm that a file names in any import: at its top, in functions, and for type checkers only."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"line {node.lineno}: imports in asprm are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= inner & NAMES.keys() or {node.module}
    return {name for name in modules if name.partition(".")[0] == "asprm"}


IMPORTS = {module_name(path): imported(tree) - {"asprm"} for path, tree in TREES.items()}


def part(module: str) -> str:
    """The stage, module or folder of the top level that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef)]


def public(path: Path) -> list[ast.FunctionDef]:
    """The functions of a module that others may call: not methods, not nested ones."""
    return [node for node in TREES[path].body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def lines(node: ast.FunctionDef) -> int:
    return node.end_lineno - node.lineno + 1


# --- where modules live -----------------------------------------------------------------------------------------------


def test_the_top_level_shows_the_study():
    entries = {path.stem if path.suffix == ".py" else path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert entries == {*STAGES, *MODULES, *FOLDERS}


def test_the_folders_own_files_hold_a_docstring_only():
    for path in FILES:
        if path.name == "__init__.py" and path.parent != PACKAGE:
            assert len(TREES[path].body) == 1, shown(path)
            assert ast.get_docstring(TREES[path]), shown(path)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_entry_point_with_its_name(stage):
    path = PACKAGE / f"{stage}.py"
    [entry] = [node for node in public(path) if node.name.startswith("run_")]
    assert entry.name == f"run_{stage}"
    assert ast.unparse(entry.args) == "run: Run"
    assert entry.returns is not None
    assert ast.unparse(entry.returns) == "list[str]"
    assert ast.get_docstring(entry)


def test_a_stage_has_the_same_name_everywhere():
    assert [path.stem.partition("_")[2] for path in NOTEBOOKS] == STAGES
    assert [name for name in Profile.model_fields if name in STAGES] == STAGES
    for stage in STAGES:
        assert (REPOSITORY / f"tests/test_{stage}.py").exists()


# --- what may import what ---------------------------------------------------------------------------------------------


def test_every_import_of_the_package_finds_its_module():
    for module, targets in IMPORTS.items():
        assert targets <= NAMES.keys(), f"{module} imports {sorted(targets - NAMES.keys())}"


def test_no_import_makes_a_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1][::-1]), pytrace=False)


def test_a_stage_imports_earlier_stages_only():
    for place, stage in enumerate(STAGES):
        stages = {part(name) for name in IMPORTS[f"asprm.{stage}"]} & set(STAGES)
        assert stages <= set(STAGES[:place]), f"{stage} imports {sorted(stages - set(STAGES[:place]))}"


def test_what_stages_are_made_of_imports_no_stage():
    for module, targets in IMPORTS.items():
        if part(module) not in USE_STAGES:
            assert not {part(name) for name in targets} & set(STAGES), module


def test_only_the_site_and_the_command_line_import_the_site():
    for module, targets in IMPORTS.items():
        if part(module) not in {"site", "cli"}:
            assert not [name for name in targets if part(name) == "site"], module
    for path in NOTEBOOKS:
        code = "\n".join(source for source, _ in code_cells(path))
        targets = {name for name in imported(ast.parse(code)) if part(name) == "site"}
        assert targets <= NOTEBOOKS_USE, path.name


def test_vllm_ray_and_snakemake_are_loaded_only_where_they_are_asked_for():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            unwanted = {name.split(".")[0] for name in named} & {"vllm", "ray", "snakemake"}
            assert not unwanted | {name for name in named if name.startswith("snakemake_")}, shown(path)
        for node in tree.body:
            inner = ast.walk(node) if not isinstance(node, ast.FunctionDef | ast.ClassDef) else ()
            calls = [ast.unparse(call.func) for call in inner if isinstance(call, ast.Call)]
            assert not [name for name in calls if name.endswith("import_module")], shown(path)


# --- how long things are, and what they say ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_a_module_fits_into_a_reader_s_head(path):
    count = len(path.read_text().splitlines())
    assert count <= LONGEST_MODULE or shown(path) in LONG_MODULES, f"{count} lines"
    long = {node.name: lines(node) for node in functions(path) if lines(node) > LONGEST_FUNCTION}
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_a_module_and_its_public_functions_say_what_they_are_for(path):
    assert ast.get_docstring(TREES[path]) or path.name == "__main__.py"
    if shown(path) not in NAMED_BY_WHAT_THEY_SAY:
        silent = [f.name for f in public(path) if not ast.get_docstring(f) and lines(f) > NEEDS_A_DOCSTRING]
        assert silent == []


def test_no_list_of_exceptions_is_longer_than_it_need_be():
    for name in LONG_MODULES:
        assert len((REPOSITORY / name).read_text().splitlines()) > LONGEST_MODULE, name
    for name in NAMED_BY_WHAT_THEY_SAY:
        assert any(not ast.get_docstring(node) for node in public(REPOSITORY / name)), name


# --- notebooks --------------------------------------------------------------------------------------------------------


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_later_cell_assigns_no_parameter(path):
    stage = path.stem.partition("_")[2]
    parameters = {*COMMON, *Profile.model_fields[stage].annotation.model_fields}
    (first, tags), *later = code_cells(path)
    assert "parameters" in tags
    assert {"profile", "seed", "scratch"} <= assigned_names(first)
    for source, _ in later:
        assert assigned_names(source) & parameters == set(), source


def test_the_chapters_are_numbered_in_their_order():
    numbers = [int(path.stem.partition("_")[0]) for path in NOTEBOOKS]
    assert all(b - a == 1 for a, b in pairwise([0, *numbers]))
