"""The include of the page on noise, from rows that are made up here."""

import json

from asprm.site.includes import noise


def test_the_noise_of_the_engine_is_summed_up_from_its_rows(monkeypatch, tmp_path):
    monkeypatch.setattr("asprm.site.includes.measured.REPOSITORY", tmp_path)
    assert "Not measured" in noise.noise(None)
    row = {
        "policy": "M",
        "format": "fp32",
        "setting": "read whole",
        "texts": 9,
        "same": 8,
        "tokens": 500,
        "log_p": 4e-6,
    }
    row |= {"tau": 0.5, "delta_tau": -0.001, "ends": 200, "moved": 1}
    chance = {"policy": "M", "format": "fp32", "setting": "another seed of the rollouts", "changed": 9, "labels": 60}
    rows = [row | {"changed": 3, "labels": 60}, row | {"format": "bf16", "delta_tau": 0.02, "moved": 5}, chance]
    measured = {"command": "x", "machine": "a CPU", "torch": "2", "vllm": "0.32.0", "share": 0.02, "rollouts": 4}
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/noise.json").write_text(json.dumps(measured | {"rows": rows}))
    page = noise.noise(None)
    assert "| M | read whole | fp32 | 8 of 9 | 4e-06 | 0.5 | 0.001 | 1 of 200 | 3 of 60 |" in page
    assert "| M | another seed of the rollouts | fp32 |  |  |  |  |  | 9 of 60 |" in page
    assert "In fp32, τ moved by at most 0.2 % of itself, and 1 of 200 step ends moved (0.500 %). " in page
    assert "In bf16, τ moved by at most 4 % of itself, and 5 of 200 step ends moved (2.500 %). " in page
    assert "5.00 % with the same random numbers in fp32, 15.00 % with another seed." in page
