"""CONTRIBUTING.md: each of its recipes, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from textwrap import indent

import pytest
from conftest import REPOSITORY, snakemake

from asprm.problems.sets import problem_set
from asprm.run.open import open_run
from asprm.run.profile import load_profile

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
COPIED = ("asprm", "notebooks", "profiles", "book", "data/policies", "data/paper", "Snakefile", "pyproject.toml",
          "_config.yml", "_toc.yml", "CONTRIBUTING.md")  # fmt: skip


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of one language below a heading."""
    section = re.split(r"^#+ ", TEXT.split(f"\n### {heading}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def append(path, text):
    path.write_text(f"{path.read_text()}\n\n{text}")


def insert(path, before, text):
    """Put `text` after the first place where `before` ends."""
    head, found, tail = path.read_text().partition(before)
    assert found, f"{path.name} has no {before!r}"
    path.write_text(f"{head}{found}\n{text}{tail}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project in which the recipes that need code have been followed."""
    root = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "generated"))
        else:
            shutil.copy(REPOSITORY / name, root / name)
    function, case, row = blocks("A way to split", "python")
    append(root / "asprm/split.py", function)
    insert(root / "asprm/split.py", "match method:", case)
    insert(root / "asprm/run/names.py", "METHODS: dict[str, str | None] = {", row)
    function, row = blocks("A set of problems", "python")
    append(root / "asprm/problems/rows.py", function)
    insert(root / "asprm/problems/hub.py", "SOURCES = {", row)
    [row] = blocks("An aggregate", "python")
    insert(root / "asprm/reward/aggregates.py", "AGGREGATES: dict[str, Aggregate] = {", row)
    [exercise] = blocks("An exercise", "yaml")
    append(root / "asprm/exercises/07_best_of_n.yml", exercise)
    function, row = blocks("An exercise", "python")
    using = root / "asprm/exercises/using.py"
    using.write_text(using.read_text().replace("\nRIGHT = {\n", f"\n{function}\n\nRIGHT = {{\n{row}"))
    return root


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes a recipe's profile, with the files that it names, and returns its path."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-problems.jsonl").write_text(blocks("A set of problems", "json")[0])
    shutil.copytree(REPOSITORY / "data/policies/M", tmp_path / "my-model")

    def write(heading: str) -> str:
        [profile] = blocks(heading, "yaml")
        path = tmp_path / f"{re.search('^name: (.*)$', profile, flags=re.MULTILINE)[1]}.yml"
        path.write_text(profile)
        return path.name

    return write


def said(root, script: str) -> str:
    """What a script prints that imports the package of the folder `root`."""
    environment = os.environ | {"PYTHONPATH": str(root), "ASPRM_HOME": str(root)}
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, indent(done.stderr, "  ")
    return done.stdout.strip()


@pytest.mark.slow
def test_a_way_to_split(copy):
    script = """
import pyarrow as pa
from asprm.models.load import load_tokenizer
from asprm.run.open import open_run
from asprm.split import cut, split_table
run = open_run("smoke", "split", {"method": "sentence"}, quiet=True)
tokenizer = load_tokenizer(run.policy_path())
text = "Ann has 2 pens. She buys 3. Now 5"
ids = tokenizer(text, add_special_tokens=False)["input_ids"]
row = {"problem": "p", "solution": 0, "ids": ids, "confidences": [1.0] * len(ids), "text": text}
[ends] = split_table(pa.Table.from_pylist([row]), run.method, tokenizer)["char_ends"].to_pylist()
print(cut(text, ends))
"""
    assert said(copy, script) == "['Ann has 2 pens.', ' She buys 3.', ' Now 5']"


@pytest.mark.slow
def test_a_set_of_problems_in_a_form_of_its_own(copy):
    (copy / "test.jsonl").write_text('{"problem": "1 + 1 = ?", "answer": "2"}\n')
    script = "from asprm.problems.load import load\nprint(load('mine', path='test.jsonl'))"
    assert "prompt='1 + 1 = ?', answer='2'" in said(copy, script)


@pytest.mark.slow
def test_an_aggregate(copy):
    (copy / "mine.yml").write_text("extends: smoke\nname: mine\nbest_of_n: {aggregate: median}\n")
    script = """
from asprm.reward.aggregates import aggregate
from asprm.run.profile import load_profile
print(aggregate([0.2, 0.25, 1.0], load_profile("mine.yml").best_of_n.aggregate))
"""
    assert said(copy, script) == "0.25"


@pytest.mark.slow
def test_an_exercise(copy):
    script = """
from asprm.exercises.exercise import exercises
from asprm.exercises.using import RIGHT
from asprm.exercises.write import main
main()
print(exercises("07_best_of_n")[-1].number, RIGHT["7.4"].__name__)
"""
    assert said(copy, script) == "07_best_of_n: 4 exercises\n7.4 finished_candidates"
    assert 'check(\\"7.4\\", finished)' in (copy / "notebooks/07_best_of_n.ipynb").read_text()


def test_a_reward_model(written):
    profile = load_profile(written("A reward model"))
    assert "fixed" in profile.methods("M")
    assert "Fixed-M" in profile.trained_on("M")


def test_a_set_of_problems_in_a_known_form(written):
    profile = load_profile(written("A set of problems"))
    assert [problem.answer for problem in problem_set(profile, "gsm8k")] == ["5", "1"]


def test_a_policy(written, tmp_path):
    run = open_run(written("A policy"), "prm", {"policy": "X"}, quiet=True)
    assert run.policy_path() == str(tmp_path / "my-model")
    assert run.prm == "ASPRM-X"
    assert run.profile.trained_on("X") == ["ASPRM-X"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "artifact"),
    [
        ("A reward model", "best_of_n/Fixed-M/M-minigsm.parquet"),
        ("A set of problems", "best_of_n/ASPRM-M/M-gsm8k.parquet"),
        ("A policy", "best_of_n/ASPRM-X/X-minigsm.parquet"),
    ],
)
def test_the_workflow_makes_what_a_profile_adds(written, tmp_path, heading, artifact):
    name = written(heading)
    target = f"data/runs/{name.removesuffix('.yml')}/{artifact}"
    done = snakemake("--dry-run", "--config", f"profile={name}", "--", target, home=tmp_path)
    assert done.returncode == 0, done.stdout


def test_every_folder_of_the_package_is_named():
    for folder in (path.name for path in (REPOSITORY / "asprm").iterdir() if path.is_dir()):
        assert f"`{folder}/`" in TEXT or folder == "__pycache__"


def test_every_command_exists():
    rules = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    for page in ("CONTRIBUTING.md", "README.md", "book/run-it.md"):
        assert set(re.findall(r"\bmake ([\w-]+)[`\s]", (REPOSITORY / page).read_text())) <= rules
    for path in re.findall(r"`((?:asprm|tests|notebooks|book)/[\w/.]+)`", TEXT):
        assert (REPOSITORY / path).exists(), path
