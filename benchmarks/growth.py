"""What the stages cost as problems grow from 1 to 16 times: seconds against linear growth, and peak memory.

All stages of one policy, from sampling to guided decoding, run in a process of their own for each size, in one worker.
Seconds are the process's own (CPU time), loading and compiling left out. Memory is the process's peak, with all that
torch and pandas need.
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

PROBLEMS = {"train": {"minigsm": 24, "minimath": 16}, "validation": {"minigsm": 4}, "test": {"minigsm": 12}}
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
            row("cost of all stages as problems grow 1 → 16×", "linear", costs, "≤ 1.1"),
            row("peak memory of all stages as problems grow 1 → 16×", "the same", memory, "≤ 1.3"),
        ]
    )


def measured(times: int) -> tuple[float, float]:
    """Seconds and MB of one process that runs all stages on so many times the problems."""
    with tempfile.TemporaryDirectory() as home:
        profile = Path(home) / "growth.yml"
        profile.write_text(yaml.safe_dump(settings(times)))
        environment = os.environ | {"ASPRM_HOME": home, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, str(profile)]
        done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def settings(times: int) -> dict:
    """Profile smoke with policy M and its own reward model alone, on `times` the problems."""
    from asprm.run.profile import load_profile

    prm = "ASPRM-M"
    whole = load_profile("smoke").model_dump(mode="json")
    few = {
        "name": "growth",
        "workers": 1,
        "policies": {"M": whole["policies"]["M"]},
        "reward_models": {prm: whole["reward_models"][prm] | {"seeds": 1}},
        "problems": {part: {name: n * times for name, n in sets.items()} for part, sets in PROBLEMS.items()},
        "best_of_n": whole["best_of_n"] | {"score": {"M": [prm]}},
        "tvd": whole["tvd"] | {"guide": {"M": [prm]}},
    }
    return whole | few


def stages(profile: str) -> tuple[float, float]:
    """Run all stages in this process: their CPU seconds, and its peak memory in MB."""
    from asprm.best_of_n import run_best_of_n
    from asprm.engines.load import load_engine
    from asprm.prm import run_prm
    from asprm.rollout import run_rollout
    from asprm.run.open import open_run
    from asprm.sample import run_sample
    from asprm.split import run_split
    from asprm.threshold import run_threshold
    from asprm.tvd import run_tvd

    torch.set_num_threads(1)
    load_engine(ROOT / "data/policies/M")
    work = {
        "sample": run_sample,
        "threshold": run_threshold,
        "split": run_split,
        "rollout": run_rollout,
        "prm": run_prm,
        "best_of_n": run_best_of_n,
        "tvd": run_tvd,
    }
    start = time.process_time()
    for stage, act in work.items():
        act(open_run(profile, stage, quiet=True))
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(stages(sys.argv[1])))
    else:
        main()
