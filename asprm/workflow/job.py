"""Job: run one job of the workflow, unless nothing that it is made from has changed.

    python -m asprm.workflow.job RUN JOB MODULE ARGUMENT …

Snakemake plans every job that comes after one that has to run, since it cannot know what that one will write. A job is
passed over here, when its turn comes, if its receipt fits: the files and numbers that it depends on and every artifact
that it read or looked for are as they were, and everything that it wrote is still there. The receipt is written when a
job ends well. Where none fits, MODULE runs as `python -m MODULE ARGUMENT …` would.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asprm.run import names
from asprm.run.artifacts import atomic, digest, digest_path, read_digest, to_json, unchanged, write_digest
from asprm.run.journal import JOURNAL, events
from asprm.run.progress import log
from asprm.workflow import devices, lock

NOTEBOOK = "asprm.workflow.notebook"  # the module that executes notebooks
_LARGE = 100_000_000  # bytes; larger input files go by size and time, as they do for Snakemake


@dataclass(frozen=True)
class Receipt:
    """What a job was made from, and what it wrote. Paths are relative to the folder that holds `data/`."""

    key: str
    """digest of its files and parameters"""
    read: dict[str, str] = field(default_factory=dict)
    """what stood in the digest files of the artifacts that it read"""
    looked_for: dict[str, bool] = field(default_factory=dict)
    """whether the digest files were there of the artifacts that it only looked for"""
    wrote: dict[str, str] = field(default_factory=dict)
    """digests of its artifacts"""
    pages: dict[str, str] = field(default_factory=dict)
    """what belongs in the digest files of its pages: an executed notebook, the site"""

    def fits(self, key: str) -> bool:
        """Whether the job would be made from the same again."""
        return (
            self.key == key
            and all(read_digest(Path(file)) == value for file, value in self.read.items())
            and all(Path(file).exists() == there for file, there in self.looked_for.items())
        )

    def lost(self) -> list[Path]:
        """Digest files of what it wrote that is missing or has changed. People may edit pages: they have to exist."""
        artifacts = [digest_path(Path(path)) for path, value in self.wrote.items() if not unchanged(Path(path), value)]
        return artifacts + [Path(file) for file in self.pages if _page(file) is None]

    def write_digests(self) -> None:
        """Write the digest files of all that the job wrote."""
        for path, value in self.wrote.items():
            write_digest(digest_path(Path(path)), value)
        for file, value in self.pages.items():
            write_digest(Path(file), value)


# --- for the Snakefile ------------------------------------------------------------------------------------------------


def describe(run: Path, rules: Iterable[Any], forced: Iterable[str]) -> None:
    """Write down what the jobs of a run depend on, for `main`. Into how many shards a stage is cut does not count.

    run: the run's folder. rules: Snakemake's, with name, input, output, params and resources. forced: the names of the
    jobs that run in any case.
    """
    jobs = {
        rule.name: {
            "input": [str(path) for path in rule.input if not names.is_shard(str(path))],
            "output": [str(path) for path in rule.output],
            "params": [str(value) for value in rule.params],
            "forced": rule.name in forced,
            "gpu": "gpu" in rule.resources,
        }
        for rule in rules
    }
    with atomic(_jobs(run)) as temporary:
        temporary.write_text(to_json(jobs))


def forget_changed(run: Path, rules: Iterable[Any]) -> None:
    """Remove digests that Snakemake would believe, so that it plans the job that makes the artifacts anew.

    These are the digests of artifacts that are missing or have changed, and the first output of each job that has no
    receipt or has lost something.
    """
    for rule in rules:
        receipt = _receipt(run, rule.name)
        lost = receipt.lost() if receipt else []
        if lost or not receipt:
            for file in [Path(rule.output[0]), *lost]:
                file.unlink(missing_ok=True)


def ended(run: Path) -> dict[str, bool]:
    """Whether each job that was last planned for the run has ended well, by name. Empty: none was planned here."""
    try:
        planned = json.loads(_jobs(run).read_text())
    except (OSError, ValueError):
        return {}
    return {name: _receipt(run, name) is not None for name in planned}


def is_kept(run: Path, name: str) -> bool:
    """Whether a notebook's job would be passed over if its turn came now, so that no shard of it need compute."""
    job = json.loads(_jobs(run).read_text())[name]
    receipt = _receipt(run, name)
    return receipt is not None and _is_kept(job, receipt, _key(job, NOTEBOOK))


# --- one job ----------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job's module unless the receipt fits. Exit status: the module's."""
    run_text, name, *rest = sys.argv[1:] if arguments is None else arguments
    run = Path(run_text)
    job = json.loads(_jobs(run).read_text())[name]
    with lock.one_at_a_time(run / ".jobs" / f"{name}.lock", name):
        return _main(run, name, job, *rest)


def _main(run: Path, name: str, job: Mapping[str, Any], module: str, *arguments: str) -> int:
    key = _key(job, module)
    receipt = _receipt(run, name)
    if receipt and _is_kept(job, receipt, key):
        receipt.write_digests()  # Snakemake has removed them
        log(f"{name}: nothing that it reads has changed")
        return 0
    _receipt_path(run, name).unlink(missing_ok=True)
    for page in map(_page, job["output"]):  # a failed notebook leaves no earlier copy; a failed site stays
        if page and page.suffix == ".ipynb":
            page.unlink()
    journal = run / ".jobs" / f"{name}.journal"
    journal.write_text("")
    os.environ[JOURNAL] = str(journal.resolve())
    with devices.claimed() if job["gpu"] else nullcontext():
        if status := _run(module, arguments):
            return status
    receipt = _receipt_of(key, journal, job["output"])
    with atomic(_receipt_path(run, name)) as temporary:
        temporary.write_text(to_json(asdict(receipt)))
    receipt.write_digests()
    journal.unlink()
    return 0


def _is_kept(job: Mapping[str, Any], receipt: Receipt, key: str) -> bool:
    return not job["forced"] and receipt.fits(key) and not receipt.lost()


def _run(module: str, arguments: Sequence[str]) -> int:
    """Run a module as `__main__`. Returns its exit status; an exit with a message is passed on."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0
    return 0


def _receipt_of(key: str, journal: Path, outputs: Sequence[str]) -> Receipt:
    """The receipt of a job that has just ended. outputs: the digest files that Snakemake expects."""
    receipt = Receipt(key)
    happened = [event._replace(path=os.path.relpath(event.path)) for event in events(journal)]
    receipt.wrote.update({event.path: event.digest for event in happened if event.what == "wrote"})
    own = {*outputs, *(str(digest_path(Path(path))) for path in receipt.wrote)}
    for event in happened:
        file = str(digest_path(Path(event.path)))
        if file in own:
            continue
        if event.what == "read":
            receipt.read[file] = event.digest
        else:
            receipt.looked_for[file] = event.what == "seen"
    receipt.pages.update({file: digest(page) for file in outputs if (page := _page(file))})
    return receipt


def _page(output: str) -> Path | None:
    """The page for which a digest file stands: an executed notebook, the site's first page. None if there is none."""
    name = output.removesuffix(".digest")
    pages = Path(f"{name}.ipynb"), Path(name, "index.html")
    return next((page for page in pages if page.exists()), None)


def _key(job: Mapping[str, Any], module: str) -> str:
    """A digest of what Snakemake knows that the job depends on, wherever the project's folder is."""
    files = [(Path(path).name, _fingerprint(Path(path))) for path in job["input"]]
    return hashlib.sha256(json.dumps([files, job["output"], job["params"], module]).encode()).hexdigest()


def _fingerprint(file: Path) -> str:
    if file.suffix == ".digest":
        return file.read_text()
    state = file.stat()
    return digest(file) if state.st_size <= _LARGE else f"{state.st_size} {state.st_mtime_ns}"


def _jobs(run: Path) -> Path:
    return run / ".jobs" / "all.json"


def _receipt_path(run: Path, name: str) -> Path:
    return run / ".jobs" / f"{name}.receipt.json"


def _receipt(run: Path, name: str) -> Receipt | None:
    """The receipt of the last time that the job ended well; None where there is none, or it is damaged."""
    try:
        return Receipt(**json.loads(_receipt_path(run, name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
