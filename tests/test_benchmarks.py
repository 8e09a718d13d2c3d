"""What of the benchmarks can break unseen: gpu.py and grading.py on a few cases, the stages that growth.py times."""

import importlib.util
import json
import math
from dataclasses import asdict

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import REPOSITORY
from test_grading_sandbox import needs_bwrap
from tiny_models import config

from asprm.problems.problem import CodeProblem


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu():
    return benchmark("gpu")


@pytest.mark.slow
def test_growth_runs_every_stage(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    growth = benchmark("growth")
    monkeypatch.setattr(growth, "PROBLEMS", {part: {"minigsm": 3} for part in growth.PROBLEMS})
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)  # a test leaves the others' threads alone
    (tmp_path / "growth.yml").write_text(yaml.safe_dump(growth.settings(2)))
    seconds, megabytes = growth.stages(str(tmp_path / "growth.yml"))
    assert seconds > 0
    assert megabytes > 100
    [table] = tmp_path.glob("data/runs/*/tvd/ASPRM-M/M-minigsm.parquet")
    assert len(set(pq.read_table(table)["problem"].to_pylist())) == 6


def test_a_scripts_rows_take_the_place_of_all_that_it_wrote_before_on_such_a_machine(monkeypatch, tmp_path):
    common = benchmark("common")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "latest.json")
    for script, against, machine in (
        ("labels", "batch 256", "this"),
        ("labels", "batch 64", "other"),
        ("tvd", "greedy", "this"),
        ("labels", "batch 128", "this"),
    ):
        monkeypatch.setattr(common.sys, "argv", [f"benchmarks/{script}.py"])
        monkeypatch.setattr(common, "machine", lambda machine=machine: machine)
        common.publish([common.row("labels per second", against, [2.0, 3.0, 4.0], "≥ 3")])
    kept = json.loads((tmp_path / "latest.json").read_text())
    assert [(row["command"], row["against"], row["machine"]) for row in kept] == [
        ("python benchmarks/labels.py", "batch 64", "other"),
        ("python benchmarks/tvd.py", "greedy", "this"),
        ("python benchmarks/labels.py", "batch 128", "this"),
    ]


@pytest.mark.slow
def test_every_promise_gets_a_row_beside_its_limit(gpu):
    device, dtype = torch.device("cpu"), torch.float32
    ceiling = gpu.ceilings(device, dtype, size=256)
    assert all(value > 1e6 for value in ceiling)
    shape = config("mistral", tie_word_embeddings=False)
    rows = list(gpu.measured("tiny", shape, device, dtype, ceiling, requests=(8, 2), prompt=6, new=5, repeats=2))
    each = ["rollouts", "the same without CUDA graphs", "the same by transformers.generate", "TVD at 2 % decisions"]
    decoding = [f"{what}, {count} at once" for count in (8, 2) for what in each]
    assert [row["what"] for row in rows] == [*decoding, "PRM scoring", "PRM training, forward and backward"]
    assert all(0 < row["low"] <= row["value"] <= row["high"] and math.isfinite(row["limit"]) for row in rows)


@pytest.mark.slow
def test_vllm_gets_rows_where_it_is_installed(gpu, monkeypatch, tmp_path):
    """The local engine stands in for vLLM's."""
    loaded, closed = [], []

    def load(folder, rows):
        engine = gpu.LocalEngine.load(folder, device="cpu", rows=rows)
        loaded.append((sorted(path.name for path in gpu.Path(folder).iterdir()), rows))
        engine.close = lambda: closed.append(rows)
        return engine

    monkeypatch.setattr(gpu.vllm, "installed", lambda: True)
    monkeypatch.setattr(gpu.vllm, "load", load)
    device, shape = torch.device("cpu"), config("mistral", tie_word_embeddings=False, vocab_size=1280)
    rows = list(gpu.measured("t", shape, device, torch.float32, (1e9, 1e9), requests=(4,), prompt=6, new=5, repeats=2))
    by_vllm = {row["what"]: row for row in rows if "vLLM" in row["what"]}
    assert list(by_vllm) == ["rollouts by vLLM, 4 at once", "samples by vLLM, with confidences, 4 at once"]
    own = next(row for row in rows if row["what"] == "rollouts, 4 at once")
    assert all(row["limit"] == own["limit"] and row["value"] > 0 for row in by_vllm.values())
    [(files, most)] = loaded
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert closed == [most] == [4]


def test_without_a_gpu_nothing_is_written(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "OUT", tmp_path / "gpu.json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="nothing is measured"):
        gpu.main()
    assert not gpu.OUT.exists()


# Grading


@pytest.fixture
def grading(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    module = benchmark("grading")
    monkeypatch.setattr(module, "REPEATS", 2)
    monkeypatch.setattr(module, "publish", lambda rows: rows)
    return module


def programs(*bodies):
    test = "def check(candidate):\n    assert candidate(1) == 2\n"
    problem = CodeProblem("p", "code", "", entry_point="f", imports="import os", test=test)
    return [(f"```python\ndef f(n):\n    {body}\n```", problem) for body in bodies]


@needs_bwrap
def test_programs_in_one_process_are_under_limits(grading):
    harm = ("bytearray(2 << 30)", "open('/usr/owned', 'w')", "os.listdir('/home')")
    harmful = [f"return 2 if {what} else 0" for what in harm]
    honest = ("return n + 1", "return 2 if os.getuid() else 0", "return n")
    passed, seconds = grading.one_by_one(programs(*harmful, *honest))
    assert passed == 2
    assert seconds > 0


@needs_bwrap
def test_every_way_of_grading_gets_a_row(grading, monkeypatch, tmp_path):
    rows = {
        "gsm8k": {"question": "a", "answer": "So 18.\n#### 18"},
        "math500": {"problem": "p", "solution": "It is $\\boxed{5}$.", "answer": "5"},
    }
    for name, one in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text(json.dumps(one) + "\n")
    monkeypatch.setattr(grading, "real_programs", lambda folder: programs("return n + 1"))
    found = [asdict(one) for one in grading.main(tmp_path)]
    ways = {(one["promise"].split()[0], one["against"]) for one in found}
    assert ways >= {("grading", "20 s"), ("grading", "a regular expression"), ("running", "60 s")}
    assert ("running", "exec in one process") in ways
    known = json.loads((REPOSITORY / "benchmarks" / "results" / "latest.json").read_text())
    assert all(set(one) == set(known[0]) and one["ratio"] > 0 and one["repeats"] == 2 for one in found)
