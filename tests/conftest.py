"""What several test modules share: the smoke study, run once; the devices to test on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.register_assert_rewrite("plots")  # so that a figure that fails shows its values

REPOSITORY = Path(__file__).resolve().parent.parent
COSTLY = {"study": "study", "browser": "browser", "finished": "slow", "server": "slow"}
"""Fixtures that take long to set up, and the marker of the tests that need them."""
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request):
    """Each device that is here, in turn, as the one where new tensors and models are made."""
    with torch.device(request.param):
        yield torch.device(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the costly fixtures that they need, so that `-m "not study"` leaves them out."""
    for item in items:
        for fixture in COSTLY.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(COSTLY[fixture])


def snakemake(*arguments: str, source: Path = REPOSITORY, home: Path | None = None) -> subprocess.CompletedProcess:
    """Run the workflow of `source` on the data of `home`; both outputs are in `stdout`."""
    environment = os.environ | {"ASPRM_HOME": str(home or source), "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "snakemake", "-s", str(source / "Snakefile"), "--cores", "all", *arguments]
    return subprocess.run(
        command, cwd=home or source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """The folder in which the smoke study has run, its site included: data are in `data/runs/smoke`."""
    home = tmp_path_factory.mktemp("study")
    done = snakemake("--config", "profile=smoke", home=home)
    if done.returncode:
        pytest.fail(f"the smoke study failed:\n{done.stdout[-6000:]}", pytrace=False)
    return home


@pytest.fixture(scope="session")
def browser():
    """Chromium. Each test opens pages of its own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()
