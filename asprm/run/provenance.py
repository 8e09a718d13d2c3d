"""Provenance: what a result was made with: commit, versions, device, memory. Manifests and pages show it."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from asprm import REPOSITORY

if TYPE_CHECKING:
    from IPython.core.display import HTML

VERSIONS = ("asprm", "torch", "transformers", "tokenizers", "numpy", "pyarrow", "math-verify", "sympy")


@dataclass
class Kept:
    """Chunks that a stage took over from an earlier execution, and the seconds that they had taken."""

    chunks: int = 0
    seconds: float = 0.0


def made_with(*packages: str) -> dict[str, Any]:
    """The project's commit, whether tracked files differ from it (dirty), and `versions`."""
    commit, dirty = _commit()
    return {"commit": commit, "dirty": dirty, "versions": versions(*packages)}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of the packages in VERSIONS and of these, as far as they are installed."""
    return dict(_versions((*VERSIONS, *packages)))


@cache
def _commit() -> tuple[str | None, bool | None]:
    """The project's commit and whether tracked files differ from it; None where it is no git repository of its own.

    A copy without history may lie inside another repository, whose commit says nothing about it.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if not os.path.samefile(git("rev-parse", "--show-toplevel"), REPOSITORY):
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device() -> str:
    """The accelerator's name, or the number of CPU cores. Torch is asked only if it is loaded already."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"


def peak_memory() -> dict[str, int]:
    """Peak memory so far in MB: this process, its largest worker that has ended, and the GPU if there is one."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    of = {"process": resource.RUSAGE_SELF, "largest worker": resource.RUSAGE_CHILDREN}
    found = {name: round(resource.getrusage(who).ru_maxrss / unit) for name, who in of.items()}
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        found["gpu"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return found


def provenance_table(facts: Mapping[str, Any], inputs: Mapping[str, str], outputs: Mapping[str, str]) -> "HTML":
    """What a stage was made with and from, as a small table for a page.

    facts: a manifest's (`Run.facts`), with a described profile. inputs, outputs: digests by name.
    """
    import pandas as pd
    from IPython.core.display import HTML

    changes = ", with uncommitted changes" if facts["dirty"] else ""
    rows = {
        "profile": facts["profile"],
        "parameters": ", ".join(f"{k} = {v}" for k, v in facts["overrides"].items()) or "the profile's own",
        "seed": facts["seed"],
        "commit": f"{facts['commit'] or 'unknown'}{changes}",
        "versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        "device": facts["device"],
        "seconds": facts["seconds"],
        "taken over": "{chunks} chunks that the same code had made in {seconds:.1f} seconds".format(**facts["kept"]),
        "peak memory (MB)": ", ".join(f"{k} {v}" for k, v in facts["peak_memory_mb"].items()),
    }
    if not facts["kept"]["chunks"]:
        del rows["taken over"]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows.values(), index=list(rows)).to_html(header=False)
    return HTML(table + _folded("read", inputs) + _folded("written", outputs))


def _folded(what: str, digests: Mapping[str, str]) -> str:
    """Files with their digests, behind a line that counts them: a stage may read hundreds."""
    rows = "\n".join(f"{value[:12]}  {escape(name)}" for name, value in digests.items())
    count = f"{len(digests)} file{'' if len(digests) == 1 else 's'} {what}"
    # JupyterLab with MyST hides the triangle of what can be unfolded.
    summary = f'<summary style="list-style: revert; cursor: pointer">{count}</summary>'
    return f"<details>{summary}<pre>{rows}</pre></details>" if digests else ""
