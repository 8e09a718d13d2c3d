"""What several test modules share: the smoke study, run once; the devices to test on."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
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


def snakemake(
    *arguments: str,
    source: Path = REPOSITORY,
    home: Path | None = None,
    python: str | Path = sys.executable,
    **variables: str,
) -> subprocess.CompletedProcess:
    """Run the workflow of `source` on the data of `home`; both outputs are in `stdout`."""
    environment = os.environ | {"ASPRM_HOME": str(home or source), "PYTHONPATH": str(source)} | variables
    command = [str(python), "-m", "snakemake", "-s", str(source / "Snakefile"), "--cores", "all", *arguments]
    return subprocess.run(
        command, cwd=home or source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


SECRET = "hf_NobodyMayReadThisAnywhere"
"""A token in the environment of the smoke study."""


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """The folder in which the smoke study has run, its site included: data are in `data/runs/smoke`.

    Where ASPRM_STUDY names such a folder, nothing is run.
    """
    if "ASPRM_STUDY" in os.environ:
        return Path(os.environ["ASPRM_STUDY"])
    home = tmp_path_factory.mktemp("study")
    done = snakemake("--config", "profile=smoke", home=home, HF_TOKEN=SECRET)
    if done.returncode:
        pytest.fail(f"the smoke study failed:\n{done.stdout[-6000:]}", pytrace=False)
    return home


@pytest.fixture(scope="session")
def built(study) -> Path:
    """The folder of the smoke study's site."""
    return study / "data" / "runs" / "smoke" / "site"


def pages_of(site: Path) -> list[str]:
    """The pages of a built site, by their paths in it."""
    names = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    return [name for name in names if not name.startswith("_static/")]


@pytest.fixture(scope="session")
def address(built):
    """Where the site is served, on this machine only."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=built))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


@pytest.fixture
def opened(browser, tmp_path):
    """Open a view in a page of its own, from a file; a test ends without an error or a request to elsewhere."""
    from asprm.site.viewer import page

    wrong, views = [], []

    def show(view, width=1280, height=900, **context):
        file = tmp_path / "view.html"
        file.write_text(page(view, "Solutions"), encoding="utf-8")
        shown = browser.new_page(viewport={"width": width, "height": height}, **context)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
        shown.goto(file.as_uri())
        views.append(shown)
        return shown

    yield show
    for view in views:
        view.close()
    assert wrong == []
