"""Shard: compute some of a stage's chunks, so that several processes, GPUs or machines share a stage.

    python -m asprm.workflow.shard rollout --shard 3/8 -p profile paper -p policy M

computes those of the stage's chunks whose numbers are 3 modulo 8, into the run's folder for chunks, and nothing else.
The notebook of the stage then finds all chunks there and writes the tables. Shards that are killed, or started twice,
do no harm: a chunk is there whole or not at all, and depends on nothing but its key.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from asprm.run.chunks import ChunkError, Chunks, Shard
from asprm.run.open import Run, open_run
from asprm.run.progress import log
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.workflow import devices, job, lock

SCATTERED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sample": {"": "chunks"},
        "rollout": {"": "chunks"},
        "best_of_n": {"": "chunks"},
        "tvd": {"validation": "validation_chunks", "test": "test_chunks"},  # what comes second needs the whole first
    }
)
"""By stage that can be shared, its parts in their order, each with the function of the stage's module that gives its
chunks; "" names the only part of a stage."""


def chunks_of(run: Run, part: str = "") -> Chunks:
    """The chunks of a part of the run's stage. ChunkError: it needs an earlier part that is not complete."""
    module = importlib.import_module(f"asprm.{run.stage}")
    return getattr(module, SCATTERED[run.stage][part])(run)


def compute(run: Run, shard: Shard, part: str = "") -> int:
    """Compute the shard's missing chunks, one process at a time. Returns how many there were.

    ChunkError: one failed; those before it are kept.
    """
    name = "-".join(filter(None, (run.stage, run.policy, part, str(shard.number), str(shard.count))))
    alone = lock.one_at_a_time(run.base / ".jobs" / f"{name}.lock", f"shard {shard} of {run.stage}")
    with alone, devices.claimed():
        return chunks_of(run, part).compute(shard)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 if the shard's chunks are there, 1 if one failed, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    os.environ["ASPRM_BATCH"] = "1"  # shards run side by side: log lines in place of bars
    stage, part, parts = options.stage, options.part, SCATTERED[options.stage]
    try:
        shard = Shard.parse(options.shard)
        if part not in parts:
            raise ValueError(f"{stage}: --part {part!r}: expected {' or '.join(filter(None, parts)) or 'none'}")
        if options.unless_kept and job.is_kept(Path(options.unless_kept[0]), options.unless_kept[1]):
            return 0
        parameters = dict(options.parameter)
        run = open_run(parameters.pop("profile", "tiny"), stage, parameters, quiet=True)
        count = compute(run, shard, part)
    except (ChunkError, MissingArtifact, BrokenArtifact) as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:  # ProfileError is one
        print(error, file=sys.stderr)
        return 2
    log(f"{' '.join(filter(None, (stage, run.policy, part)))}: shard {shard} is done, {count} chunks computed")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m asprm.workflow.shard", description="Compute some of a stage's chunks."
    )
    parser.add_argument("stage", choices=SCATTERED, help="the stage")
    parser.add_argument("--shard", required=True, metavar="I/K", help="the chunks whose numbers are I modulo K")
    parser.add_argument("--part", default="", help="of tvd: validation, then test")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="profile or policy, and its name; repeatable",
    )
    parser.add_argument(
        "--unless-kept",
        nargs=2,
        metavar=("RUN", "JOB"),
        help="do nothing if this job of the workflow, which reads the chunks, would be passed over",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
