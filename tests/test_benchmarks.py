"""The parts of benchmarks/gpu.py that a CPU can run, on a tiny random model."""

import importlib.util
import math

import pytest
import torch
from conftest import REPOSITORY
from tiny_models import config


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", REPOSITORY / "benchmarks" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
