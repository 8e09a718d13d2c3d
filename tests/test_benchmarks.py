"""What of the benchmarks can break unseen: the GPU's parts that a CPU can run, and the stages that growth times."""

import importlib.util
import math

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import REPOSITORY
from tiny_models import config


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu():
    return benchmark("gpu")


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


def test_every_promise_gets_a_row_beside_its_limit(gpu):
    device, dtype = torch.device("cpu"), torch.float32
    ceiling = gpu.ceilings(device, dtype, size=256)
    assert all(value > 1e6 for value in ceiling)
    rows = gpu.measured("tiny", config("mistral"), device, dtype, ceiling, requests=8, prompt=6, new=5, repeats=1)
    assert [row["what"].split(",")[0] for row in rows] == [
        "rollouts", "PRM scoring", "TVD at 2 % decisions", "PRM training"
    ]  # fmt: skip
    assert all(row["value"] > 0 and math.isfinite(row["limit"]) for row in rows)


def test_without_a_gpu_nothing_is_written(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "OUT", tmp_path / "gpu.json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="nothing is measured"):
        gpu.main()
    assert not gpu.OUT.exists()
