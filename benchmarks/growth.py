"""What the stages cost as problems grow from 1 to 16 times: seconds against linear growth, and peak memory.

Samples, splits and labels run in a process of their own for each size, in one worker. Seconds are the process's own
(CPU time), loading and compiling left out. Memory is the process's peak, with all that torch and pandas need.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from common import ROOT, publish, row

BASE = {"minigsm": 24, "minimath": 16}
REPEATS = 3  # of the whole growth


def main() -> list:
    costs, memory = [], []
    for _ in range(REPEATS):
        found = {times: measured(times) for times in (1, 4, 16)}
        for times, (seconds, peak) in found.items():
            print(f"{times:2} ×: {seconds:.1f} s, peak {peak:,.0f} MB", flush=True)
        costs.append(found[16][0] / (16 * found[1][0]))
        memory.append(found[16][1] / found[1][1])
    return publish(
        [
            row("cost as problems grow 1 → 16×", "linear", costs, "≤ 1.1"),
            row("peak memory as problems grow 1 → 16×", "the same", memory, "≤ 1.3"),
        ]
    )


def measured(times: int) -> tuple[float, float]:
    """Seconds and MB of one process that samples, splits and labels so many times the problems."""
    with tempfile.TemporaryDirectory() as home:
        profile = Path(home) / "growth.yml"
        problems = {
            "train": {family: count * times for family, count in BASE.items()},
            "validation": {"minimath": 1},
            "test": {"minimath": 1},
        }
        settings = {"extends": "smoke", "name": "growth", "description": "A benchmark.", "workers": 1}
        profile.write_text(yaml.safe_dump(settings | {"problems": problems}))
        environment = os.environ | {"ASPRM_HOME": home, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, str(profile)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def stages(profile: str) -> tuple[float, float]:
    """Run the stages in this process: their CPU seconds, and its peak memory in MB."""
    from asprm.engines import load_engine
    from asprm.rollout import label_steps
    from asprm.run import open_run
    from asprm.sample import sample_all
    from asprm.split import split_table

    torch.set_num_threads(1)
    run = open_run(profile, "sample", quiet=True)
    tokenizer = load_engine(run.policy_path()).tokenizer
    start = time.process_time()
    sample_all(run)
    run = open_run(profile, "split", quiet=True)
    name = f"sample/{run.policy}/train"
    parts = (split_table(batch_table(batch), "adaptive", tokenizer, tau=0.4) for batch in run.scan(name, rows=256))
    run.write(f"split/{run.policy}/adaptive", parts)
    label_steps(open_run(profile, "rollout", {"method": "adaptive"}, quiet=True))
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def batch_table(batch):
    import pyarrow as pa

    return pa.Table.from_batches([batch])


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(stages(sys.argv[1])))
    else:
        main()
