"""A run finds, writes and accounts for artifacts, and says clearly what is wrong."""

import json
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from asprm.run import journal, provenance
from asprm.run.artifacts import DiskFull, digest, digest_path, manifest_path
from asprm.run.open import open_run
from asprm.run.profile import load_profile
from asprm.run.provenance import made_with
from asprm.run.root import study_root
from asprm.run.sections import ProfileError
from asprm.run.store import BrokenArtifact, MissingArtifact


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    return tmp_path


def run(stage="threshold", **parameters):
    return open_run(parameters.pop("profile", "tiny"), stage, parameters, quiet=True)


TABLE = pa.table({"problem": ["a", "b"], "confidences": [[0.5, 1.0], [0.25]]})


# Parameters


def test_none_means_the_profiles_value():
    opened = run(share=None, policy="M")
    assert opened.settings.share == load_profile("tiny").threshold.share
    assert opened.overrides == {}
    assert opened.folder.name == "tiny"


def test_the_profiles_own_value_is_no_experiment():
    own = load_profile("tiny").threshold
    assert run(share=own.share, sweep=list(own.sweep)).overrides == {}


def test_an_override_is_an_experiment_apart_from_the_study():
    opened = run(share=0.01)
    assert opened.settings.share == opened.profile.threshold.share == 0.01
    assert opened.overrides == {"share": 0.01}
    assert opened.folder.name == "tiny~scratch"
    assert run(share=0.01, scratch="mine").folder.name == "tiny~mine"
    assert run(seed=7).folder.name == "tiny~scratch"


def test_workers_are_no_experiment():
    assert run("split", workers=1).overrides == {}


@pytest.mark.parametrize("stage", ["split", "rollout", "best_of_n"])
def test_another_method_is_an_experiment(stage):
    opened = run(stage, method="line")
    assert opened.method == "line"
    assert opened.overrides == {"method": "line"}
    assert opened.experiment
    assert not run(stage, method="adaptive").experiment


def test_another_reward_model_is_an_experiment_where_no_table_is_named_by_it():
    assert run("truth", prm="MS-M").overrides == {"prm": "MS-M"}
    assert not run("truth", prm="ASPRM-M").experiment
    assert not run("best_of_n", prm="MS-M").experiment


@pytest.mark.parametrize(("given", "workers"), [("3", 3), ("", os.cpu_count()), ("0", os.cpu_count())])
def test_workers_are_the_profiles_or_the_jobs_cores(monkeypatch, given, workers):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run().workers == workers
    assert run(workers=5).workers == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # of which every worker would want all
    assert run().workers == 1
    assert run(workers=5).workers == 5


def test_vllm_decodes_in_one_process_and_is_noted_as_an_input(monkeypatch):
    opened = run(workers=5)
    assert (opened.engine(), opened.decoders, opened.inputs) == ("local", 5, {})
    monkeypatch.setattr("asprm.run.open.engine_kind", lambda kind, guided=False: {"local": "vllm"}[kind])
    monkeypatch.setattr("asprm.engines.vllm.version", lambda: "0.32.0")
    assert (opened.engine(), opened.decoders, opened.inputs) == ("vllm", 1, {"engine": "vllm 0.32.0"})


def test_the_seed_of_the_section_comes_first():
    opened = run("prm", seed=5)
    assert (opened.settings.seed, opened.seed) == (5, 0)
    assert opened.overrides == {"seed": 5}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"shares": 0.1}, "threshold: unknown parameter 'shares': did you mean 'share'?"),
        ({"polcy": "L"}, "threshold: unknown parameter 'polcy': did you mean 'policy'?"),
        ({"share": "0.1"}, "threshold: threshold.share = '0.1' (str): expected number"),
        ({"share": 3}, "threshold: threshold.share = 3 (int): expected less than 1"),
        ({"seed": "1"}, "threshold: seed = '1' (str): expected integer"),
        ({"workers": -1}, "threshold: workers = -1 (int): expected greater than or equal to 0"),
        ({"policy": "N"}, "threshold: unknown policy 'N': known: "),
        ({"policy": 3}, "threshold: policy = 3: expected a name"),
        ({"method": "lines"}, "threshold: split.method = 'lines' (str)"),
        ({"prm": "ASPRM-M@9"}, "threshold: no training 'ASPRM-M@9': did you mean 'ASPRM-M@"),
        ({"stage": "best_of_n", "prm": "ORM-D"}, "does not use 'ORM-D' here, with policy M, but ASPRM-M, "),
        ({"stage": "prm", "prm": "ASPRM-L"}, "does not use 'ASPRM-L' here, with policy M"),
        ({"profile": "tniy"}, "unknown profile 'tniy': did you mean 'tiny'?"),
        ({"stage": "treshold"}, "unknown stage 'treshold': did you mean 'threshold'?"),
    ],
)
def test_wrong_parameters_are_named(parameters, says):
    with pytest.raises(ProfileError) as error:
        run(**parameters)
    assert says in str(error.value)


def notebook(*cells, **values):
    """What locals() holds in a notebook that has executed these cells."""
    namespace = {"In": ["", *cells], "Out": {}, "get_ipython": lambda: None, "_i": "", "exit": object()}
    for cell in cells:
        exec(cell, namespace)
    return namespace | values


def test_a_notebooks_parameters_are_those_of_its_parameters_cell():
    later = ["import numpy as np\nfrom asprm.run.open import open_run", "samples = 3", "figure = [1]\nrun = open_run"]
    given = notebook('# comment\nprofile = "tiny"\npolicy = "M"\nshare = None', *later)
    assert open_run("tiny", "threshold", given, quiet=True).overrides == {}


def test_papermills_injected_cell_counts():
    given = notebook('profile = "tiny"\nshare = None', "# Parameters\nshare = 0.01\n", "x = 1")
    assert open_run("tiny", "threshold", given, quiet=True).settings.share == 0.01
    with pytest.raises(ProfileError, match="unknown parameter 'polcy'"):
        open_run("tiny", "threshold", notebook('profile = "tiny"', '# Parameters\npolcy = "L"'), quiet=True)


def test_a_mended_parameters_cell_counts_alone():
    given = notebook('profile = "tiny"\nshaer = 0.1', "x = 1", 'profile = "tiny"\nshare = 0.1')
    assert open_run("tiny", "threshold", given, quiet=True).overrides == {"share": 0.1}


PARAMETERS = 'profile = "tiny"\npolicy = None\nshare = None\nseed = None\nscratch = None\n'


@pytest.mark.parametrize(
    "cell",
    [
        "share = 1/25",
        'policy = "L"; share = 1/25',
        "share = 0.04\nprint(share)",
        "import os\nshare = 0.04",
        "import numpy as np\nshare = np.float64(0.04)",
        "%matplotlib inline\nshare = 0.04",
        "if True:\n    share = 0.04",
        "share, seed = 0.04, 0",
        "share = float(f'0.0{4}')",
        "share: float = 0.04",
    ],
)
def test_a_parameter_counts_however_it_is_assigned(cell):
    opened = open_run("tiny", "threshold", executed(PARAMETERS + cell), quiet=True)
    assert opened.settings.share == 0.04
    assert opened.overrides == {"share": 0.04}
    assert opened.policy == ("L" if "policy" in cell else "M")
    assert opened.folder.name == "tiny~scratch"


def test_a_cell_below_the_parameters_may_set_one():
    opened = open_run("tiny", "threshold", notebook(PARAMETERS, 'scratch = "mine"'), quiet=True)
    assert opened.folder.name == "tiny~mine"


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("other = 0.04\nshare = other", "unknown parameter 'other'"),
        ("def share(): pass", "share = <function share"),
        ("share = {1: 2}", "share = {1: 2} (dict): expected a number, a text or a list"),
        (
            "import datetime\nseed = datetime.date(2024, 1, 1)",
            "seed = datetime.date(2024, 1, 1) (date): expected a number",
        ),
        ('scratch = "x y\\n"', "scratch = 'x y\\n': expected a folder's name"),
        ('scratch = "../tiny"', "expected a folder's name"),
        ("scratch = 3", "scratch = 3: expected a name"),
        ("seed = True", "seed = True (bool): expected integer"),
    ],
)
def test_what_cannot_be_a_parameter_is_refused_by_name(cell, says):
    with pytest.raises(ProfileError) as error:
        open_run("tiny", "threshold", executed(PARAMETERS + cell), quiet=True)
    assert says in str(error.value)


def executed(cell):
    """The namespace of a notebook whose first cell this is; IPython takes its own lines out before it executes."""
    namespace = notebook("\n".join(line for line in cell.splitlines() if not line.startswith("%")))
    return namespace | {"In": ["", cell]}


def test_the_summary_is_printed(capsys):
    open_run("tiny", "threshold", {"share": 0.01})
    printed = capsys.readouterr().out
    assert "threshold: profile tiny, policy M, seed 0" in printed
    assert "reads data/runs/tiny, writes data/runs/tiny~scratch/threshold" in printed
    assert 'scratch = "scratch"' in printed


def test_the_summary_says_what_an_experiment_reads_of_its_own():
    run("sample", solutions=2).write("sample/M/train", TABLE)
    later = run("threshold", share=0.01)
    assert "reads sample of data/runs/tiny~scratch, what is not there of data/runs/tiny," in later.summary()
    assert "tiny~scratch" not in run("threshold").summary()


def test_an_experiment_may_use_any_reward_model():
    assert run("best_of_n", prm="ORM-D", scratch="mine").prm == "ORM-D"


# Where things are


def test_the_root_is_found_from_any_folder_of_the_study(tmp_path, monkeypatch):
    monkeypatch.delenv("ASPRM_HOME")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "asprm"\n')
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert study_root() == tmp_path


def test_outside_a_study_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("ASPRM_HOME")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="set ASPRM_HOME"):
        study_root()


def test_an_experiment_reads_its_own_artifacts_first():
    run("sample").write("sample/M/train", TABLE)
    experiment = run("sample", solutions=2)
    assert experiment.read("sample/M/train").equals(TABLE)
    experiment.write("sample/M/train", TABLE.slice(0, 1))
    assert run("sample", solutions=2).read("sample/M/train").num_rows == 1
    assert run("sample").read("sample/M/train").num_rows == 2


def test_an_experiment_is_carried_on_by_its_name():
    run("sample", solutions=2, scratch="mine").write("sample/M/train", TABLE)
    later = run("threshold", scratch="mine")
    assert later.overrides == {}
    assert later.read("sample/M/train").equals(TABLE)
    assert later.folder.name == "tiny~mine"
    with pytest.raises(MissingArtifact):
        run("threshold").read("sample/M/train")


def test_a_missing_artifact_says_what_makes_it():
    with pytest.raises(MissingArtifact) as error:
        run().read("sample/M/train")
    assert str(error.value) == (
        "threshold: no sample 'M/train' in data/runs/tiny/sample/M/train.parquet\n"
        "  this stage reads what `sample` writes; make it with:  make study   or   "
        "snakemake --cores 2 -- data/runs/tiny/sample/M/train.parquet"
    )


def test_a_table_of_a_method_that_the_study_does_not_use_is_made_by_its_notebook():
    with pytest.raises(MissingArtifact) as error:
        run("rollout", method="fixed").read("split/M/fixed")
    assert 'the notebook of `split` makes it, with policy = "M", method = "fixed"' in str(error.value)
    assert "snakemake" not in str(error.value)


def test_a_missing_artifact_of_another_profile_or_a_folder():
    with pytest.raises(MissingArtifact) as error:
        run("tvd", profile="smoke").find("prm/ASPRM-M")
    assert "PROFILE=smoke make study" in str(error.value)
    assert "--config profile=smoke -- data/runs/smoke/prm/ASPRM-M.digest" in str(error.value)


def test_the_policy_is_the_shipped_one_unless_retrained(home, monkeypatch):
    with pytest.raises(MissingArtifact, match="git checkout"):
        open_run("tiny", "sample", quiet=True).__class__.policy_path(
            run("sample", profile=own_policy(home, "data/none"))
        )
    (home / "data" / "policies" / "M").mkdir(parents=True)
    opened = run("sample", profile=own_policy(home, "data/policies/M"))
    assert opened.policy_path() == str(home / "data" / "policies" / "M")
    retrained = run("policy", retrain=True)
    with retrained.write_folder("policy/M") as folder:
        (folder / "weights").write_text("new")
    assert retrained.policy_path() == str(home / "data" / "runs" / "tiny~scratch" / "policy" / "M")
    on_hub = run("sample", profile=own_policy(home, "hub/model@abc"))
    assert on_hub.policy_path() == on_hub.reward_base("M") == "hub/model@abc"
    assert on_hub.inputs == {"hub/model": "abc"}
    # Without a commit, the one that is read is found out and recorded.
    monkeypatch.setattr("asprm.models.load.load_config", lambda name: SimpleNamespace(_commit_hash=f"newest of {name}"))
    newest = run("sample", profile=own_policy(home, "hub/model"))
    assert newest.policy_path() == "hub/model@newest of hub/model"
    assert newest.inputs == {"hub/model": "newest of hub/model"}


def own_policy(home, path):
    file = home / "mine.yml"
    file.write_text(f"extends: tiny\nname: mine\npolicies: {{M: {{path: {path}}}}}\n")
    return str(file)


# Reading and writing


def test_a_table_comes_back_whole_or_by_columns_or_in_batches():
    run("sample").write("sample/M/train", TABLE)
    reader = run()
    assert reader.read("sample/M/train").equals(TABLE)
    assert reader.read("sample/M/train", ["problem"]).column_names == ["problem"]
    assert [batch.num_rows for batch in reader.scan("sample/M/train", rows=1)] == [1, 1]


def test_json_comes_back():
    run().write_json("threshold/M", {"tau": np.float64(0.25)})
    assert run("split").read_json("threshold/M") == {"tau": 0.25}


def test_a_missing_column_names_the_nearest():
    run("sample").write("sample/M/train", TABLE)
    with pytest.raises(BrokenArtifact, match="no column 'confidence': did you mean 'confidences'"):
        run().read("sample/M/train", ["confidence"])


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_table_is_told(home, keep, manifest):
    path = run("sample").write("sample/M/train", TABLE)
    path.write_bytes(path.read_bytes()[:keep])
    if not manifest:
        manifest_path(path).unlink()
    for read in (run().read, lambda name: list(run().scan(name))):
        with pytest.raises(BrokenArtifact) as error:
            read("sample/M/train")
        assert "threshold: cannot use data/runs/tiny/sample/M/train.parquet: it is truncated" in str(error.value)
        assert "rm data/runs/tiny/sample/M/train.parquet" in str(error.value)


@pytest.mark.parametrize(("manifest", "says"), [(True, "truncated or damaged"), (False, "not valid JSON")])
def test_damaged_json_is_told(manifest, says):
    path = run().write_json("threshold/M", {"tau": 0.25})
    path.write_text(path.read_text()[:5])
    if not manifest:
        manifest_path(path).unlink()
    with pytest.raises(BrokenArtifact, match=says):
        run("split").read_json("threshold/M")


def flip(path, bit):
    """Change one bit of a file, and neither its size nor its times."""
    data, state = bytearray(path.read_bytes()), path.stat()
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_every_flipped_bit_of_a_table_is_found():
    path = run("sample").write("sample/M/train", TABLE)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 37):
        flip(path, bit)
        with pytest.raises(
            BrokenArtifact, match=r"delete it and make it anew:  rm data/runs/tiny/sample/M/train\.parquet"
        ):
            run().read("sample/M/train")
        flip(path, bit)
    assert path.read_bytes() == whole
    assert run().read("sample/M/train").equals(TABLE)


def test_a_flipped_bit_in_a_page_is_found_without_a_manifest():
    path = run("sample").write("sample/M/train", pa.table({"x": np.random.default_rng(0).random(5000)}))
    manifest_path(path).unlink()
    flip(path, 8 * (path.stat().st_size // 2))
    for read in (run().read, lambda name: list(run().scan(name))):
        with pytest.raises(BrokenArtifact, match="truncated or damaged"):
            read("sample/M/train")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_flipped_bit_in_a_model_is_found(file):
    with run("prm").write_folder("prm/ASPRM-M") as folder:
        for name in ("model.safetensors", "config.json"):
            (folder / name).write_bytes(bytes(100))
    path = run("prm").find("prm/ASPRM-M")
    flip(path / file, 444)
    with pytest.raises(BrokenArtifact) as error:
        run("tvd").reward_model("ASPRM-M")
    assert "rm -r data/runs/tiny/prm/ASPRM-M\n" in str(error.value)
    assert "make it with:  make study" in str(error.value)


def test_a_damaged_manifest_is_told():
    path = run("sample").write("sample/M/train", TABLE)
    for text in ("{", "{}"):
        manifest_path(path).write_text(text)
        with pytest.raises(BrokenArtifact, match="its manifest is damaged"):
            run().read("sample/M/train")


def test_weights_are_digested_once_in_a_process(monkeypatch):
    with run("prm").write_folder("prm/ASPRM-M") as folder:
        (folder / "weights").write_bytes(bytes(100))
    first = run("tvd")
    first.find("prm/ASPRM-M")
    monkeypatch.setattr("asprm.run.artifacts.digest", None)
    again = run("tvd")
    again.find("prm/ASPRM-M")
    assert again.inputs == first.inputs


def test_the_digest_beside_an_artifact_is_rewritten_only_when_it_changes():
    path = run("sample").write("sample/M/train", TABLE)
    noted = digest_path(path)
    assert noted.name == "train.digest"
    assert noted.read_text() == f"{digest(path)}\n"
    before = noted.stat()
    run("sample").write("sample/M/train", TABLE)
    assert (noted.stat().st_ino, noted.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    run("sample").write("sample/M/train", TABLE.slice(0, 1))
    assert noted.read_text() == f"{digest(path)}\n"


def test_a_journal_tells_what_is_read_looked_for_and_written(home, monkeypatch):
    path = run("sample").write("sample/M/train", TABLE)
    monkeypatch.setenv(journal.JOURNAL, str(home / "journal"))
    reader = run()
    reader.read("sample/M/train")
    assert [reader.has(name) for name in ("sample/M/train", "sample/M/test")] == [True, False]
    written = reader.write_json("threshold/M", {"tau": 0.5})
    assert journal.events(home / "journal") == [
        ("read", str(path), digest(path)),
        ("seen", str(path), ""),
        ("missed", str(path.with_name("test")), ""),
        ("wrote", str(written), digest(written)),
    ]


def test_a_stage_writes_only_its_own():
    with pytest.raises(ValueError, match="a stage writes only its own"):
        run("threshold").write("sample/M/train", TABLE)


def test_the_manifest_tells_what_an_artifact_is_and_came_from(home):
    run("sample").write("sample/M/train", TABLE, tokens=3)
    stage = run(share=0.01)
    stage.read("sample/M/train")
    stage.write_json("threshold/M", {"tau": 0.25})
    sample = json.loads((home / "data/runs/tiny/sample/M/train.manifest.json").read_text())
    threshold = json.loads((home / "data/runs/tiny~scratch/threshold/M.manifest.json").read_text())
    assert sample["facts"] == {"tokens": 3, "rows": 2}
    assert sample["digest"] == digest(home / "data/runs/tiny/sample/M/train.parquet")
    assert threshold["inputs"] == {"sample/M/train.parquet": sample["digest"]}
    assert threshold["overrides"] == {"share": 0.01}
    assert threshold["settings"]["threshold"]["share"] == 0.01
    assert {"profile", "policy", "seed", "commit", "dirty", "versions", "device", "seconds", "peak_memory_mb"} < set(
        sample
    )


def test_the_same_table_twice_has_the_same_digest():
    first, second = run("sample"), run("sample")
    first.write("sample/M/train", TABLE)
    second.write("sample/M/train", [TABLE.slice(0, 1), TABLE.slice(1)])
    assert first.outputs == second.outputs != {}


def test_an_input_changed_by_hand_is_refused():
    path = run("sample").write_json("sample/M", {"x": 1})
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(BrokenArtifact, match=r"rm data/runs/tiny/sample/M\.json"):
        run().read_json("sample/M")


def test_an_input_without_a_manifest_is_taken_as_it_is():
    path = run("sample").write_json("sample/M", {"x": 1})
    manifest_path(path).unlink()
    reader = run()
    assert reader.read_json("sample/M") == {"x": 1}
    assert reader.inputs == {"sample/M.json": digest(path)}


def test_an_artifact_comes_before_its_manifest(monkeypatch):
    moved = []
    monkeypatch.setattr("asprm.run.artifacts._replace", lambda old, new: (moved.append(new.name), os.replace(old, new)))
    run("sample").write("sample/M/train", TABLE)
    assert moved == ["train.parquet", "train.manifest.json", "train.digest"]


def test_a_full_disk_keeps_the_earlier_artifact_and_its_manifest(home, monkeypatch):
    run("sample").write("sample/M/train", TABLE)
    folder = home / "data/runs/tiny/sample/M"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    # The table still fits, its manifest does not.
    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(DiskFull, match="nothing was lost"):
        run("sample").write("sample/M/train", TABLE.slice(0, 1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_read_in_a_block_is_noted_whatever_was_read_before():
    for name in "ab":
        run("sample").write(f"sample/M/{name}", TABLE)
    stage = run()
    stage.read("sample/M/a")
    with stage.noting() as inputs:
        stage.read("sample/M/a")
    assert inputs == stage.inputs
    with stage.noting() as inputs:
        stage.read("sample/M/b")
    assert list(inputs) == ["sample/M/b.parquet"]
    assert list(stage.inputs) == ["sample/M/a.parquet", "sample/M/b.parquet"]


def test_work_outlives_the_run():
    stage = run("rollout")
    chunks = stage.work("rollout/M/adaptive")
    (chunks / "00000.parquet").write_text("")
    stage.write("rollout/M/adaptive", TABLE)
    stage.provenance()
    assert run("rollout").work("rollout/M/adaptive") == chunks
    assert (chunks / "00000.parquet").exists()


def test_what_was_taken_over_is_told():
    stage = run("rollout")
    stage.write("rollout/M/adaptive", TABLE)
    assert "taken over" not in stage.provenance().data
    stage.kept.chunks, stage.kept.seconds = 3, 12.34
    stage.write("rollout/M/adaptive", TABLE)
    manifest = json.loads(manifest_path(stage.path("rollout/M/adaptive.parquet")).read_text())
    assert manifest["kept"] == {"chunks": 3, "seconds": 12.34}
    assert "<td>3 chunks that the same code had made in 12.3 seconds</td>" in stage.provenance().data


def test_provenance_is_a_table_with_what_was_read_and_written_folded():
    run("sample").write("sample/M/train", TABLE)
    stage = run()
    stage.read("sample/M/train")
    stage.write_json("threshold/M", {})
    html = stage.provenance().data
    digest = stage.inputs["sample/M/train.parquet"][:12]
    for text in ("<th>commit</th>", f">1 file read</summary><pre>{digest}  sample/M/train.parquet</pre>"):
        assert text in html
    assert ">1 file written</summary>" in html.partition("1 file read")[2]


def test_what_is_made_is_made_with_a_commit_and_versions():
    made = made_with("pyyaml")
    assert set(made) == {"commit", "dirty", "versions"}
    assert {"python", "pyarrow", "pyyaml"} <= set(made["versions"])
    assert "pyyaml" not in made_with()["versions"]


@pytest.mark.parametrize("own", [True, False])
def test_a_copy_inside_another_repository_does_not_take_that_ones_commit(tmp_path, monkeypatch, own):
    def git(folder, *arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)

    project = tmp_path / "outer" / "asprm-main"
    project.mkdir(parents=True)
    for folder in [project.parent, *([project] if own else [])]:
        git(folder, "init")
        git(folder, "commit", "--allow-empty", "--message", "first")
    monkeypatch.setattr(provenance, "REPOSITORY", project)
    provenance._commit.cache_clear()
    made = provenance.made_with()
    provenance._commit.cache_clear()
    assert (made["commit"] is not None, made["dirty"]) == (own, False if own else None)
