"""Nothing reruns that need not; what changed reruns exactly what depends on it; what failed is never promoted.

A toy study stands in for the real one: the real Snakefile and package, notebooks of three lines, no kernel.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, SECRET, snakemake

from asprm.run.artifacts import digest
from asprm.run.code import modules
from asprm.run.profile import READS, Profile, parse
from asprm.workflow import lock

STAGES = [
    "policy",
    "sample",
    "threshold",
    "split",
    "rollout",
    "prm",
    "best_of_n",
    "tvd",
    "generalize",
    "tokens",
    "truth",
    "claims",
    "rivals",
]
NUMBERS = [f"{number:02d}" for number in range(1, 14)]
ALONE = {"policy", "generalize", "claims", "rivals"}  # executed once, not once for each policy
TESTS = ["minigsm", "minimath", "minigsm-p2"]
LAST = ("generalize", "truth", "claims", "rivals")  # what reads the results of all others
UNKNOWN = {"truth", "rivals"}  # what is left out where no true solutions are known
WRITES = {
    "policy": "",
    "sample": "for s in ['train', 'validation', 'validation-greedy', *TESTS, *(t + '-greedy' for t in TESTS)]:\n"
    "    run.write(f'sample/M/{s}', TABLE)",
    "threshold": "run.write_json('threshold/M', {'tau': 0.5})",
    "split": "run.read_json('threshold/M')\nrun.write('split/M/adaptive', TABLE)",
    "rollout": "run.write('rollout/M/adaptive', TABLE)",
    "prm": "run.write('prm/ASPRM-M-log', TABLE)\nwith run.write_folder('prm/ASPRM-M') as f: (f / 'weights').touch()",
    "best_of_n": "for s in ['validation', *TESTS]: run.write(f'best_of_n/ASPRM-M/M-{s}', TABLE)",
    "tvd": "for s in ['validation', *TESTS, '0.5']: run.write(f'tvd/ASPRM-M/M-{s}', TABLE)\n"
    "for s in ['M', 'M-decision']: run.write_json(f'tvd/ASPRM-M/{s}', {'trigger': 0.5})",
    "generalize": "run.read('tvd/ASPRM-M/M-0.5')\nrun.write('generalize/results', TABLE)",
    "tokens": "run.write('tokens/M', TABLE)",
    "truth": "for s in ['entry', 'labels', 'first-error', 'interventions']: run.write(f'truth/M-{s}', TABLE)",
    "claims": "for s in ['ledger', 'costs']: run.write(f'claims/{s}', TABLE)\nrun.write_json('claims/tally', {})",
    "rivals": "for s in ['steps', 'tokens', 'drops', 'labels', 'noise', 'search', 'edits']:\n"
    "    run.write(f'rivals/M-{s}', TABLE)",
}
# The toy study has one policy and one reward model.
CAST = {
    "policies": {"M": {"path": "data/policies/M"}},
    "reward_models": {"ASPRM-M": {"base": "M", "data": ["M/adaptive"]}},
}
# Stands in for asprm/workflow/notebook.py: executes the cells without a kernel.
EXECUTOR = """
import json, shutil, sys
from pathlib import Path
notebook, out = sys.argv[1:3]
for cell in json.loads(Path(notebook).read_text())["cells"]:
    if cell["cell_type"] == "code":
        exec(cell["source"], {"profile": sys.argv[5]})
Path(out).parent.mkdir(parents=True, exist_ok=True)
shutil.copy(notebook, out)
print("executed", Path(out).stem, flush=True)
"""
# Stands in for the chunks of a shard, in asprm/workflow/shard.py; the first one of rollout is killed once.
SHARD = """
        import signal
        once = run.base / "killed"
        if (run.stage, shard.number) == ("rollout", 1) and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        print("computed", *filter(None, (run.stage, part)), shard, flush=True)
        return 1
"""
SITE = """
import sys
from asprm.run.open import open_run
page = open_run(sys.argv[2], "tvd", quiet=True).base / "site" / "index.html"
page.parent.mkdir(parents=True, exist_ok=True)
page.write_text("a page")
"""


def notebook_path(project, stage):
    return project / "notebooks" / f"{NUMBERS[STAGES.index(stage)]}_{stage}.ipynb"


def write_notebook(project, stage, more=""):
    # Each toy notebook imports a module of its own name, which the package may lack by now: an empty one is added.
    source = (
        f"import pyarrow as pa\nimport asprm.toy_{stage}\nfrom asprm.run.open import open_run\n"
        f"TABLE, TESTS = pa.table({{'x': [1]}}), {TESTS}\n"
        f"run = open_run(profile, '{stage}', quiet=True)\n{WRITES[stage]}\n{more}"
    )
    cell = {"cell_type": "code", "source": source, "outputs": [], "metadata": {}, "id": stage, "execution_count": None}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook_path(project, stage).write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy study that has run."""
    project = tmp_path_factory.mktemp("toy") / "project"
    shutil.copytree(REPOSITORY / "asprm", project / "asprm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "profiles", project / "profiles")
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, project)
    for folder in ("notebooks", "book", "data/policies/M", "data/paper"):
        (project / folder).mkdir(parents=True)
    for name in (
        "_config.yml",
        "_toc.yml",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "book/index.md",
        "data/policies/M/config.json",
        "data/paper/claims.yml",
    ):
        (project / name).write_text("{}")
    (project / "asprm" / "workflow" / "notebook.py").write_text(EXECUTOR)
    shard = project / "asprm" / "workflow" / "shard.py"
    real = "        return chunks_of(run, part).compute(shard)\n"
    assert real in shard.read_text()
    shard.write_text(shard.read_text().replace(real, SHARD))
    profile = project / "asprm" / "profiles" / "tiny.yml"
    values = parse(profile.read_text()) | CAST
    values["best_of_n"]["score"] = values["tvd"]["guide"] = {"M": ["ASPRM-M"]}
    values["problems"]["test"] = dict.fromkeys(TESTS, 4)
    profile.write_text(yaml.safe_dump(values))
    (project / "asprm" / "site" / "build.py").write_text(SITE)
    for stage in STAGES:
        (project / "asprm" / f"toy_{stage}.py").write_text("")
        write_notebook(project, stage)
    done = snakemake(source=project)
    assert done.returncode == 0, done.stdout
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the toy study to change: it has moved, which is no reason to run again."""
    return shutil.copytree(finished, tmp_path / "moved")


def planned(project, *arguments):
    """The rules that would run."""
    done = snakemake("--dry-run", "--quiet", "host", *arguments, source=project)
    assert done.returncode == 0, done.stdout
    rules = set(re.findall(r"^(\w+) +1$", done.stdout, re.MULTILINE)) - {"all", "parquet", "json", "ipynb"}
    assert all(rule.endswith("_M") != (rule in ALONE | {"site"}) for rule in rules)
    return {rule.removesuffix("_M") for rule in rules}


def ran(project, *arguments):
    """The stages whose notebooks are executed; the other jobs that were planned find that nothing has changed."""
    done = snakemake(*arguments, source=project)
    assert done.returncode == 0, done.stdout
    return set(re.findall(r"^executed \d+_([a-z_]+)", done.stdout, re.MULTILINE))


def digests(project):
    """The digests of all artifacts of the toy study, computed from their files."""
    run = project / "data/runs/tiny"
    made = [json.loads(path.read_text()) for path in run.rglob("*.manifest.json")]
    return {manifest["artifact"]: digest(run / manifest["artifact"]) for manifest in made}


def append(path, text):
    path.write_text(path.read_text() + text)


def test_a_file_that_is_only_touched_reruns_nothing(project):
    for path in (
        "asprm/run/open.py",
        "notebooks/02_sample.ipynb",
        "data/runs/tiny/sample/M/train.parquet",
        "book/index.md",
    ):
        os.utime(project / path)
    assert planned(project) == set()


@pytest.mark.parametrize(
    ("changed", "reruns"),
    [
        ("asprm/toy_tvd.py", {"tvd", *LAST}),
        ("asprm/toy_rollout.py", {"rollout", "prm", "best_of_n", "tvd", *LAST}),
        ("data/paper/claims.yml", {"policy", "tvd", "tokens", *LAST}),
        ("asprm/run/open.py", set(STAGES)),
        ("notebooks/04_split.ipynb", {"split", "rollout", "prm", "best_of_n", "tvd", *LAST}),
        ("data/policies/M/config.json", set(STAGES)),
        ("book/index.md", set()),
    ],
)
def test_a_changed_file_reruns_what_depends_on_it(project, changed, reruns):
    append(project / changed, "\nCHANGED = 1\n" if changed.endswith(".py") else "\n")
    assert planned(project) == reruns | {"site"}


def test_a_comment_or_a_docstring_computes_nothing(project):
    append(project / "asprm/run/open.py", "\n\n# A comment.\n")
    append(project / "asprm/site/build.py", "\n\n# A comment.\n")
    assert planned(project) == set()
    path = project / "asprm/run/names.py"
    path.write_text('"""Another docstring."""\n\n' + path.read_text().split('"""', 2)[2])
    assert planned(project) == {"site"}  # whose pages show docstrings of settings and commands


@pytest.mark.parametrize(
    ("section", "field", "value", "reruns"),
    [
        (None, "seed", 1, set(STAGES)),
        (None, "description", "Another.", set()),
        ("threshold", "share", 0.07, set(STAGES) - {"policy", "sample"}),
        ("rollout", "rollouts", 3, {"rollout", "prm", "best_of_n", "tvd", *LAST}),
        ("best_of_n", "aggregate", "mean", {"best_of_n", *LAST}),
        ("tokens", "tagger", "textblob", {"tokens", "claims"}),
    ],
)
def test_a_changed_number_reruns_what_depends_on_it(project, section, field, value, reruns):
    profile = project / "asprm" / "profiles" / "tiny.yml"
    values = parse(profile.read_text())
    (values[section] if section else values)[field] = value
    profile.write_text(yaml.safe_dump(values))
    assert planned(project) == reruns | {"site"}


def test_what_was_deleted_or_damaged_is_made_again_and_no_more(project):
    run, before = project / "data/runs/tiny", digests(project)
    lost = {
        "sample/M/train.parquet": "sample",
        "threshold/M.json": "threshold",
        "split/M/adaptive.manifest.json": "split",
        "prm/ASPRM-M": "prm",
        "notebooks/07_best_of_n-M.ipynb": "best_of_n",
        "tvd/ASPRM-M/M-0.5.parquet": "tvd",  # of which the Snakefile knows nothing
        "tokens/M.digest": None,  # it is written again from the receipt
        "claims": "claims",
    }
    for path in lost:
        shutil.rmtree(run / path) if (run / path).is_dir() else (run / path).unlink()
    append(run / "rollout/M/adaptive.manifest.json", "{")
    labels = run / "truth/M-labels.parquet"
    labels.write_bytes(labels.read_bytes() + b"x")
    shutil.rmtree(run / "site")
    assert ran(project) == {*lost.values(), "rollout", "truth"} - {None}
    assert all((run / path).exists() for path in lost)
    assert digests(project) == before
    assert (run / "site/index.html").exists()
    assert planned(project) == set()


def test_the_advice_of_the_message_makes_what_is_missing(project):
    folder = project / "data/runs/tiny/prm/ASPRM-M"
    shutil.rmtree(folder)
    code = "from asprm.run.open import open_run; open_run('tiny', 'tvd', quiet=True).find('prm/ASPRM-M')"
    environment = os.environ | {"ASPRM_HOME": str(project), "PYTHONPATH": str(project)}
    message = subprocess.run([sys.executable, "-c", code], env=environment, cwd=project, capture_output=True, text=True)
    target = re.search(r"snakemake --cores 2 -- (\S+)", message.stderr)[1]
    assert ran(project, "--", target) == {"prm"}
    assert folder.exists()


# Equal results


def test_equal_results_rerun_only_what_has_changed_itself_and_what_is_forced(project):
    path, before = notebook_path(project, "threshold"), digests(project)
    notebook = json.loads(path.read_text())
    notebook["cells"].append({"cell_type": "markdown", "source": "A sentence.", "metadata": {}, "id": "text"})
    path.write_text(json.dumps(notebook))
    append(project / "asprm/toy_prm.py", "CHANGED = 1\n")
    page = project / "data/runs/tiny/site/index.html"
    page.write_text("an old page")
    assert ran(project, "--forcerun", "tokens_M") == {"threshold", "prm", "tokens"}
    assert digests(project) == before
    assert page.read_text() == "a page"  # which shows the sentence
    assert planned(project) == set()


def test_a_changed_table_reruns_who_reads_it(project):
    write_notebook(project, "tvd", more="run.write('tvd/ASPRM-M/M-0.5', pa.table({'x': [2]}))")
    assert ran(project) == {"tvd", "generalize"}  # the Snakefile knows nothing of this table
    write_notebook(project, "threshold", more="run.write_json('threshold/M', {'tau': 0.25})")
    assert ran(project) == {"threshold", "split", "best_of_n", "tokens", *LAST}


# Shards


def test_a_finished_study_is_cut_into_shards_and_computes_nothing(project):
    shards = ("--set-scatter", "shards=2")
    before = digests(project)
    done = snakemake(*shards, source=project)
    assert done.returncode == 0, done.stdout
    assert "computed" not in done.stdout
    assert "executed" not in done.stdout
    assert planned(project, *shards) == set()
    assert digests(project) == before


def test_shards_compute_before_their_notebook_what_it_needs(project):
    append(project / "asprm/toy_rollout.py", "CHANGED = 1\n")
    write_notebook(project, "prm", more="with run.write_folder('prm/ASPRM-M') as f: (f / 'weights').write_text('new')")
    shards = ("--set-scatter", "shards=3")
    done = snakemake(*shards, source=project)
    assert done.returncode == 0, done.stdout
    assert "Trying to restart job" in done.stdout  # rollout's first shard was killed
    said = re.findall(r"^(executed [^-\n]+|computed .+)", done.stdout, re.MULTILINE)
    place = {re.sub(r"^executed \d+_", "", line): number for number, line in enumerate(said)}
    for stage, part in (("rollout", ""), ("best_of_n", ""), ("tvd", "validation "), ("tvd", "test ")):
        parts = [place[f"computed {stage} {part}{number}/3"] for number in (1, 2, 3)]
        assert max(parts) < place[stage]
        if part == "test ":
            assert min(parts) > max(place[f"computed tvd validation {number}/3"] for number in (1, 2, 3))
    assert not [line for line in said if "sample" in line]
    assert not list((project / "data/runs/tiny/.work").rglob("*.shard"))
    assert planned(project, *shards) == set()


# Files that a profile names


def test_files_that_a_profile_names_are_watched(project):
    for path in ("rows.jsonl", "models/base/weights", "models/base/.cache/x", "models/other/weights"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("1")
    values = {
        "extends": "tiny",
        "name": "mine",
        "problems": {"train": {"gsm8k": 1}},
        "data": {"gsm8k": "rows.jsonl"},
        "policies": {"M": {"path": "data/policies/M", "reward_base": "models/base"}},
        "reward_models": {"P": {"published": "models/other"}},
        "best_of_n": {"score": {"M": ["ASPRM-M", "P"]}},
    }
    own = project / "mine.yml"
    own.write_text(yaml.safe_dump(values))
    write_notebook(
        project, "best_of_n", more="[run.write(f'best_of_n/P/M-{s}', TABLE) for s in ['validation', *TESTS]]"
    )
    given = ("--config", f"profile={own}")
    done = snakemake(*given, source=project)
    assert done.returncode == 0, done.stdout
    append(project / "models/base/.cache/x", "2")  # no file of the model
    append(project / "models/other/weights", "2")
    assert planned(project, *given) == {"best_of_n", *LAST, "site"} - UNKNOWN
    append(project / "models/base/weights", "2")
    assert planned(project, *given) == {"prm", "best_of_n", "tvd", *LAST, "site"} - UNKNOWN
    append(project / "rows.jsonl", "2")
    assert planned(project, *given) == {*STAGES, "site"} - UNKNOWN


# A run that was killed


def test_a_killed_run_goes_on_by_itself(project):
    run, before = project / "data/runs/tiny", digests(project)
    # The folder is as an earlier version left it: nothing says what was made from what.
    for path in [*run.rglob("*.digest"), *run.glob(".jobs/*")]:
        path.unlink()
    write_notebook(project, "prm", more="import os, signal; os.kill(int(os.environ['VICTIM']), signal.SIGKILL)")
    command = 'export VICTIM=$$; exec "$0" -m snakemake -s Snakefile --cores all'
    environment = os.environ | {"ASPRM_HOME": str(project), "PYTHONPATH": str(project)}
    killed = subprocess.run(["bash", "-c", command, sys.executable], cwd=project, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    write_notebook(project, "prm")
    # Snakemake's own lock, as that version left it.
    locks = project / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text("data/runs/tiny/threshold/M.digest\n")
    assert ran(project) >= {"prm", "best_of_n", "tvd", *LAST}
    assert digests(project) == before


def test_the_lock_of_a_live_run_is_respected_and_named(project):
    append(project / "asprm/toy_prm.py", "CHANGED = 1\n")
    held = lock.take(project / "data/runs/tiny")
    try:
        done = snakemake(source=project)
        assert done.returncode != 0
        assert f"another run of tiny is at work: process {os.getpid()} on " in done.stdout
        assert "executed" not in done.stdout
        assert planned(project) >= {"prm"}  # one may look
    finally:
        os.close(held)


def test_a_single_table_can_be_asked_for(project):
    table = project / "data/runs/tiny/threshold/M.json"
    assert ran(project, "--", "data/runs/tiny/threshold/M.json") == set()
    assert table.exists()
    shutil.rmtree(project / "data/runs")
    assert planned(project, "--", "data/runs/tiny/threshold/M.json") == {"sample", "threshold"}


def test_another_profile_is_another_run(project):
    assert planned(project, "--config", "profile=smoke") == {*STAGES, "site"}
    own = project / "mine.yml"
    own.write_text("extends: tiny\nname: mine\n")
    done = snakemake("--config", f"profile={own}", "--until", "threshold_M", source=project)
    assert done.returncode == 0, done.stdout
    assert (project / "data/runs/mine/threshold/M.json").exists()


def test_a_failed_notebook_is_not_promoted_and_runs_again(project):
    run = project / "data/runs/tiny"
    append(project / "asprm/toy_prm.py", "CHANGED = 1\n")
    write_notebook(project, "prm", more="raise ValueError('no loss')")
    done = snakemake(source=project)
    assert done.returncode != 0
    assert "no loss" in done.stdout
    assert not (run / "notebooks/06_prm-M.ipynb").exists()
    assert (run / "prm/ASPRM-M/weights").exists()  # what it made is there to be looked at
    assert (run / "site/index.html").read_text() == "a page"  # and the old site is still there
    assert planned(project) == {"prm", "best_of_n", "tvd", *LAST, "site"}
    # As it was, but for what the failure left behind: still all of it has to run.
    write_notebook(project, "prm")
    assert planned(project) == {"prm", "best_of_n", "tvd", *LAST, "site"}
    assert planned(project, "--", "data/runs/tiny/tvd/ASPRM-M/M-minigsm.parquet") == {"prm", "tvd"}
    assert snakemake(source=project).returncode == 0
    assert planned(project) == set()


def test_a_site_that_cannot_be_built_leaves_the_old_one(project):
    (project / "asprm" / "site" / "build.py").write_text("raise SystemExit('a warning')")
    done = snakemake(source=project)
    assert done.returncode != 0
    assert "a warning" in done.stdout
    assert (project / "data/runs/tiny/site/index.html").read_text() == "a page"
    assert planned(project) == {"site"}


def test_paths_may_have_spaces_and_any_letters(finished, tmp_path):
    folder = tmp_path / "mein Ort 数"
    project = shutil.copytree(finished, folder / "project")
    (folder / "venv").symlink_to(sys.prefix)
    profile = folder / "mine.yml"
    profile.write_text((project / "asprm/profiles/tiny.yml").read_text().replace("name: tiny", "name: mine"))
    python = folder / "venv" / "bin" / "python"
    done = snakemake("--config", f"profile={profile}", source=project, python=python)
    assert done.returncode == 0, done.stdout
    assert len(re.findall("^executed ", done.stdout, re.MULTILINE)) == len(STAGES)


def test_the_home_may_be_a_link(finished, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "home").symlink_to("far/away")
    done = snakemake(source=finished, home=tmp_path / "home")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "far/away/data/runs/tiny/site/index.html").is_file()


def test_a_home_that_cannot_be_written_is_one_line(finished):
    done = snakemake(source=finished, home=Path("/proc"))  # in which root cannot write either
    assert done.returncode == 1
    assert "cannot write in /proc (No such file or directory): set ASPRM_HOME to a folder of your own" in done.stdout
    assert "Traceback" not in done.stdout


def test_an_unknown_profile_is_one_line(project):
    done = snakemake("--config", "profile=tyni", source=project)
    assert done.returncode != 0
    assert "unknown profile 'tyni': did you mean 'tiny'?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_missing_notebook_is_named(project):
    notebook_path(project, "split").unlink()
    done = snakemake("--config", "profile=smoke", source=project)
    assert done.returncode != 0
    assert "notebooks/04_split.ipynb" in done.stdout


# Which modules a source depends on


@pytest.fixture
def package(tmp_path):
    sources = {
        "__init__": "",
        "a": "import numpy\nfrom asprm import b",
        "b": "def f():\n    from asprm.sub.inner import g",
        "sub/__init__": "from .inner import g",
        "sub/inner": "from .. import c\nfrom . import other\nimport asprm.nothing",
        "sub/other": "import asprm.a",
        "c": "this does not parse",
        "unused": "",
    }
    for name, source in sources.items():
        path = tmp_path / "asprm" / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(source)
    return tmp_path


def found(package, start):
    return {str(path.relative_to(package / "asprm")).removesuffix(".py") for path in modules(start, package)}


EVERYTHING = {"__init__", "a", "b", "c", "sub/__init__", "sub/inner", "sub/other"}


def test_modules_are_followed_through_packages_circles_and_functions(package):
    assert found(package, package / "asprm" / "a.py") == EVERYTHING
    assert found(package, package / "asprm" / "unused.py") == set()


def test_modules_of_a_notebook(package):
    cells = [
        {"cell_type": "markdown", "source": "import asprm.unused"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import asprm.b"]},
        {"cell_type": "code", "source": "this does not parse"},
    ]
    (package / "n.ipynb").write_text(json.dumps({"cells": cells}))
    assert found(package, package / "n.ipynb") == EVERYTHING


def test_modules_of_nothing(package):
    assert found(package, package / "none.ipynb") == set()


# The real study


def test_there_is_one_notebook_for_each_stage():
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in notebooks] == [f"{n}_{s}" for n, s in zip(NUMBERS, STAGES, strict=True)]


@pytest.mark.parametrize("stage", STAGES)
def test_the_workflow_watches_every_section_that_a_notebook_reads(stage):
    """In the notebook itself and in the stage's module; the stage's own section is `run.settings`."""
    module = REPOSITORY / "asprm" / f"{stage}.py"
    text = notebook_path(REPOSITORY, stage).read_text() + (module.read_text() if module.is_file() else "")
    used = set(re.findall(r"profile\.(\w+)\.", text)) & set(Profile.model_fields)
    assert used <= set(READS[stage]), "name them in asprm.run.profile.READS"


def test_the_smoke_study_does_nothing_the_second_time(study):
    done = snakemake("--config", "profile=smoke", home=study)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout
    assert "started" not in done.stdout


@pytest.mark.study
@pytest.mark.skipif("ASPRM_STUDY" in os.environ, reason="that study was run without the token that is looked for")
def test_a_token_of_the_environment_is_written_nowhere(study):
    files = [path for path in study.rglob("*") if path.is_file()]
    assert any(path.suffix == ".html" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_what_security_promises_names_tests_that_exist():
    named = re.findall(r"`(tests/\w+\.py)`", (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) >= 7
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


@pytest.mark.study
def test_what_is_left_out_changes_nothing_of_the_rest(study, tmp_path):
    """The study of one policy, as a page shows it, gives the whole study's tables: every stage is run twice."""
    page = (REPOSITORY / "book/run-it.md").read_text()
    [shown] = (text for text in re.findall(r"```yaml\n(.+?)```", page, re.DOTALL) if "name: only-m" in text)
    profile = tmp_path / "only-m.yml"
    profile.write_text(shown.replace("extends: tiny", "extends: smoke"))
    done = snakemake("--config", f"profile={profile}", home=tmp_path)
    assert done.returncode == 0, done.stdout

    def digests(folder):
        manifests = folder.rglob("*.manifest.json")
        return {str(path.relative_to(folder)): json.loads(path.read_text())["digest"] for path in manifests}

    whole, part = (digests(home) for home in (study / "data/runs/smoke", tmp_path / "data/runs/only-m"))
    across = {"generalize", "claims"}  # stages that look at all policies, or at all reward models
    same = {name for name in part if name.split("/")[0] not in across and "first-error" not in name}
    assert {name: part[name] for name in same} == {name: whole.get(name) for name in same}
    assert {name.split("/")[0] for name in same} >= {"sample", "split", "rollout", "prm", "best_of_n", "tvd", "truth"}
    site = tmp_path / "data/runs/only-m/site"
    assert (site / "notebooks/07_best_of_n.html").exists()
    assert ">L</button>" not in (site / "notebooks/07_best_of_n.html").read_text()


# Installing


def requirement_names(lines):
    return {re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines if line.strip()}


def test_the_lock_pins_all_that_the_project_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lock = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    extras = project["optional-dependencies"]
    asked = requirement_names([*project["dependencies"], *extras["book"], *extras["test"]])
    assert asked <= requirement_names(lock)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lock)  # no local builds, no paths, no addresses


def test_what_the_lock_pins_is_what_the_project_allows():
    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = {name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines)}
    for group in (
        project["dependencies"],
        project["optional-dependencies"]["book"],
        project["optional-dependencies"]["test"],
    ):
        for requirement in map(Requirement, group):
            assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    [through_pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "--constraint requirements.lock" in through_pip
    assert "--editable .[book,test]" in through_pip
    python = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    assert any(str(entry).startswith(f"python {python}") for entry in environment["dependencies"])


def test_an_old_python_is_refused_clearly(tmp_path):
    old = tmp_path / "python"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1, 0, 0); $2"\n')
    old.chmod(0o755)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_text("")
    done = subprocess.run(["make", "study", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "asprm needs Python 3.11 or newer, this is 3.9: say PYTHON=python3.12 make study" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
def test_no_module_of_the_package_loads_torch_on_import():
    modules = "asprm.run.open, asprm.run.chunks, asprm.run.code, asprm.workflow.notebook"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_what_runs_in_the_sandbox_counts_among_a_graders_modules():
    assert REPOSITORY / "asprm/grading/runner.py" in modules(REPOSITORY / "asprm/sample.py")


def test_a_module_of_another_package_may_import_relatively(tmp_path):
    (tmp_path / "mine.py").write_text("from . import other\nfrom asprm.split import cutter\n")
    assert REPOSITORY / "asprm/split.py" in modules(tmp_path / "mine.py")
