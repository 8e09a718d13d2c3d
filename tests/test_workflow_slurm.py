"""The study on SLURM: the tables of a local run, also if a shard is killed. `make test-slurm` brings what it needs.

Where ASPRM_STUDY names a folder in which a study has run, its tables are those to compare with; ASPRM_PROFILE then says
of which profile (default: smoke).
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
import slurm_cluster
import yaml
from conftest import REPOSITORY
from test_benchmarks import benchmark

PROFILE = os.environ.get("ASPRM_PROFILE", "smoke")
SHARDS = 4
LACKS = slurm_cluster.missing()
if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
    LACKS = LACKS or "missing: snakemake-executor-plugin-slurm"


def test_every_stage_asks_for_partition_tasks_memory_and_time():
    jobs = yaml.safe_load((REPOSITORY / "profiles/slurm/jobs.yml").read_text())["jobs"]
    for stage in ("policy", "sample", "rollout", "prm", "best_of_n", "tvd", "rivals", "threshold", "claims", "site"):
        asked = jobs["default"] | jobs.get(stage, {})
        assert {"slurm_partition", "threads", "mem_mb", "runtime", "tasks"} <= asked.keys()
        assert ("gpu" in asked) == ("tasks_per_gpu" in asked) == (stage in jobs)


@pytest.mark.slow
@pytest.mark.study
@pytest.mark.skipif(bool(LACKS), reason=f"no SLURM here ({LACKS}): make test-slurm")
def test_a_study_on_slurm_gives_the_tables_of_a_local_one(request, tmp_path):
    kills, home = benchmark("kills"), tmp_path / "home"
    home.mkdir()
    jobs = tmp_path / "jobs.yml"
    asked = {"slurm_partition": "main", "tasks": 1, "threads": 1, "mem_mb": 1500, "runtime": 60}
    jobs.write_text(yaml.safe_dump({"jobs": {"default": asked}}))
    with slurm_cluster.cluster(tmp_path / "slurm") as environment:
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
        command += ["--profile", str(REPOSITORY / "profiles/slurm"), "--configfile", str(jobs)]
        command += ["--config", f"profile={PROFILE}", "--set-scatter", f"shards={SHARDS}", "--latency-wait", "10"]
        command += [
            "--slurm-keep-successful-logs",
            "--slurm-init-seconds-before-status-checks",
            "2",
            "--seconds-between-status-checks",
            "2",
            "claims",
        ]
        environment |= {"ASPRM_HOME": str(home), "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"}
        with open(home / "log", "w") as log:
            run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT)
        killed = None
        while run.poll() is None:
            time.sleep(0.2)
            begun = list(home.glob("data/runs/*/.work/rollout/*/*/[0-9]*.parquet"))
            working = [process for process, stage in kills.shards_at_work(home) if stage == "rollout"]
            if killed is None and begun and working:
                killed = working[0]
                os.kill(killed, signal.SIGKILL)
    said = (home / "log").read_text()
    assert run.returncode == 0, said[-6000:]
    assert killed is not None
    # Snakemake starts the shard again, within the job of SLURM where that goes on, else by another job.
    logs = [file.read_text() for file in (home / ".snakemake/slurm_logs").rglob("*.log")]
    assert any("Trying to restart" in text for text in [said, *logs])
    found, expected = kills.tables(home), kills.tables(request.getfixturevalue("study"))
    assert found == {name: expected.get(name) for name in found}
    assert {name.partition("/")[0] for name in found} >= {"sample", "rollout", "prm", "best_of_n", "tvd", "claims"}
