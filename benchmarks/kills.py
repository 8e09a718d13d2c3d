"""Shards that are killed: the tables stay the same, and at most one chunk is lost with each.

    make hunt        or: python benchmarks/kills.py FOLDER

runs the smoke study in FOLDER twice: as one process after the other, and cut into three shards, of which one that is at
work is killed by SIGKILL at a random moment, twenty times in all. A study that ends before is run again from the start.
A shard computes one chunk after the other, so a kill loses the chunk that it computes and no other: a finished chunk
that is ever written a second time counts as lost, too. Takes some twenty minutes on two cores.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from asprm import REPOSITORY
from asprm.run.manifests import manifests

OUT = REPOSITORY / "benchmarks/results/kills.json"
SHARDS, KILLS = 3, 20
PAUSE = (0.5, 6.0)  # seconds between two kills, at least and at most
PATIENCE = 25  # times that Snakemake may give up on a shard that was killed too often


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="an empty folder for the two runs")
    parser.add_argument("--profile", default="smoke", help="name, or path of a .yml file (default: smoke)")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="claims", help="the last stage that runs (default: claims)")
    options = parser.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty; name a folder that is, or that is not there yet")
    plain, killed = (options.folder.resolve() / name for name in ("plain", "killed"))
    start = time.monotonic()
    if snakemake(plain, options.profile, options.target).wait():
        sys.exit("the study without shards failed")
    expected = tables(plain)
    rng, kills, restarts, remade, studies, different = random.Random(options.seed), [], 0, 0, 0, set()
    while len(kills) < options.kills:
        shutil.rmtree(killed, ignore_errors=True)  # made here
        studies += 1
        own, again, lost = attack(killed, options.profile, options.target, options.kills - len(kills), rng)
        kills, restarts, remade = kills + own, restarts + again, remade + lost
        found = tables(killed)
        different |= {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        print(f"{len(kills)} kills, {len(different)} tables differ, {remade} finished chunks lost", flush=True)
    result = {
        "command": " ".join(["python", "benchmarks/kills.py", *sys.argv[2:]]),
        "profile": Path(options.profile).stem,
        "target": options.target,
        "shards": SHARDS,
        "kills": len(kills),
        "killed": {stage: kills.count(stage) for stage in sorted(set(kills))},
        "studies": studies,
        "restarts": restarts,
        "tables": len(expected),
        "tables that differ": sorted(different),
        "finished chunks lost": remade,
        "minutes": round((time.monotonic() - start) / 60),
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    sys.exit(bool(different or remade))


def snakemake(home: Path, profile: str, target: str, *more: str) -> subprocess.Popen:
    """The study in `home` up to the rule `target`; what it says goes to `log` there."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    command += ["--config", f"profile={profile}", *more, "--", target]
    with open(home / "log", "a") as log:
        environment = os.environ | {"ASPRM_HOME": str(home)}
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT)


def attack(home: Path, profile: str, target: str, kills: int, rng: random.Random) -> tuple[list[str], int, int]:
    """Run the study in shards and kill some of them.

    Returns the stage of each that was killed, how often the same command had to go on after Snakemake had given up, and
    how many finished chunks were written again.
    """
    killed: list[str] = []
    written: dict[str, int] = {}  # when each chunk was written
    remade = 0
    for restarts in range(PATIENCE):
        run = snakemake(home, profile, target, "--set-scatter", f"shards={SHARDS}")
        due = time.monotonic() + rng.uniform(*PAUSE)
        while run.poll() is None:
            time.sleep(0.05)
            for chunk in home.glob("data/runs/*/.work/**/[0-9]*.parquet"):
                try:
                    now = chunk.stat().st_mtime_ns
                except FileNotFoundError:  # of a temporary name
                    continue
                remade += written.setdefault(str(chunk), now) != now
                written[str(chunk)] = now
            if len(killed) < kills and time.monotonic() > due and (working := shards_at_work(home)):
                process, stage = rng.choice(working)
                os.kill(process, signal.SIGKILL)
                killed.append(stage)
                due = time.monotonic() + rng.uniform(*PAUSE)
        if run.returncode == 0:
            return killed, restarts, remade
    sys.exit(f"the study did not end; see {home / 'log'}")


def shards_at_work(home: Path) -> list[tuple[int, str]]:
    """Processes that compute a shard of a run in `home`, each with its stage: they hold the lock of their shard.

    A child that a shard has forked, to grade say, holds it too, and is no shard.
    """
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            files = [os.readlink(file) for file in (process / "fd").iterdir()]
        except OSError:  # it has ended, or is another user's
            continue
        for file in files:
            held = re.fullmatch(rf"{re.escape(str(home))}/data/runs/[^/]+/\.jobs/(\w+?)-.*-\d+-\d+\.lock", file)
            if held:
                found[int(process.name)] = held[1]
    return [(process, stage) for process, stage in found.items() if parent_of(process) not in found]


def parent_of(process: int) -> int:
    """The id of a process's parent; 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def tables(home: Path) -> dict[str, str]:
    """The digests of all that a run has written, by name."""
    [run] = (home / "data/runs").iterdir()
    return {manifest["artifact"]: manifest["digest"] for manifest in manifests(run)}


if __name__ == "__main__":
    main()
