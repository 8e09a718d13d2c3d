"""Site: from the executed notebooks of a run and the prose pages to a website: `python -m asprm.site --profile tiny`.

The source is staged in `data/runs/<profile>/.site-source`: configuration, pages, the executed copies of the notebooks
that `_toc.yml` names, and the generated includes (`asprm.includes`). Jupyter Book builds it, every warning an error;
`check_site` reads the result, and only a site without fault takes the place of the old `data/runs/<profile>/site`.
Executes nothing and knows no model.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import yaml

from asprm import REPOSITORY
from asprm.artifacts import DiskFull, atomic
from asprm.includes import write_includes
from asprm.profile import Profile, ProfileError
from asprm.run import BrokenArtifact, MissingArtifact, Run, open_run
from asprm.sample import knows_truth

HOME = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""


_TRUTH = "notebooks/12_truth"  # the one chapter that needs problems whose true solutions are known


class SiteError(Exception):
    """The site cannot be built, or must not be shown: says why and what to do."""


class Fault(NamedTuple):
    """What is wrong on a page of the built site."""

    page: str  # path inside the site
    what: str

    def __str__(self) -> str:
        return f"{self.page}: {self.what}"


# --- from a run to a site ---------------------------------------------------------------------------------------------


def build_site(profile: str, *, source: Path = REPOSITORY) -> Path:
    """Build the site of a profile's run from the pages in `source`; returns its first page.

    SiteError: a notebook is missing or failed, Jupyter Book warned, or the built site has a fault. MissingArtifact: the
    run has not finished. Whatever goes wrong, the old site stays.
    """
    run = open_run(profile, stage="tvd", quiet=True)
    staging, site = run.base / ".site-source", run.base / "site"
    stage(run, source, staging)
    built = render(staging)
    faults = check_site(built)
    if faults:
        listed = "\n  ".join(str(fault) for fault in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        kept = "\n  the old site is untouched" if site.exists() else ""
        raise SiteError(f"site: {len(faults)} faults in {built}\n  {listed}{more}\n  mend the page or notebook{kept}")
    with atomic(site) as temporary:
        built.rename(temporary)
    return site / "index.html"


def stage(run: Run, source: Path, staging: Path) -> None:
    """Lay out what Jupyter Book reads: configuration, pages, executed notebooks, includes. Raises as `build_site`.

    A chapter of `_toc.yml` is the first policy's copy of a notebook; its sections, `<notebook>-<policy>`, are those of
    the other policies, left out where the run's profile has no such policy or does not know the truth they are about.
    """
    first, *others = run.profile.policies
    toc = yaml.safe_load((source / "_toc.yml").read_text())
    _leave_out(toc, run.profile)
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source / "book", staging / "book", ignore=shutil.ignore_patterns("generated"))
    (staging / "notebooks").mkdir()
    (staging / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    shutil.copy(source / "_config.yml", staging)
    for name in chapters(staging / "_toc.yml"):
        if name.startswith("notebooks/"):
            policy = next((one for one in others if name.endswith(f"-{one}")), None)
            notebook = json.loads(executed(run.base, name, first).read_text(encoding="utf-8"))
            if policy:
                notebook = as_section(notebook, policy)
            (staging / f"{name}.ipynb").write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
    write_includes(run, staging / "book" / "generated")


def _leave_out(toc: dict, profile: Profile) -> None:
    """Remove the sections of policies that the profile has not, and what is about a truth that is not known."""
    first = next(iter(profile.policies))
    for part in toc.get("parts", [toc]):
        kept = []
        for chapter in part.get("chapters", []):
            policies = [one for one in profile.policies if chapter["file"] != _TRUTH or knows_truth(profile, one)]
            sections = [one for one in chapter.pop("sections", []) if one["file"].rpartition("-")[2] in policies]
            if first in policies:
                kept.append(chapter | ({"sections": sections} if sections else {}))
        if kept:
            part["chapters"] = kept


_LABELS = re.compile(r"^\((?P<target>[\w-]+)\)=$", re.MULTILINE)


def as_section(notebook: dict, policy: str) -> dict:
    """A chapter's notebook as it ran for another policy: a section of that chapter.

    Its title names the policy, its labels end with it, so that none occurs twice, and the exercises stay with the
    chapter.
    """
    cells = [c for c in notebook["cells"] if not _text(c).lstrip().startswith((":::{exercise}", ":::{solution}"))]
    figures = [c["metadata"]["mystnb"]["figure"] for c in cells if "figure" in c["metadata"].get("mystnb", {})]
    labels = {match["target"] for c in cells for match in _LABELS.finditer(_text(c))} | {f["name"] for f in figures}
    for figure in figures:
        figure["name"] += f"-{policy}"
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            text = _text(cell)
            for label in labels:
                text = re.sub(rf"(?<=[(`<]){re.escape(label)}(?=[)`>])", f"{label}-{policy}", text)
            if number == 0:
                text = re.sub(r"^# (.+)$", rf"# \1 (policy {policy})", text, count=1, flags=re.MULTILINE)
            cell["source"] = text
    return notebook | {"cells": cells}


def _text(cell: dict) -> str:
    return "".join(cell["source"])


def chapters(toc: Path) -> list[str]:
    """The pages that a _toc.yml names, root first, without their endings."""
    contents = yaml.safe_load(toc.read_text())
    found = [contents["root"]]

    def walk(entries: list[dict]) -> None:
        for entry in entries:
            found.append(entry["file"])
            walk(entry.get("sections", []))

    for part in contents.get("parts", [contents]):
        walk(part.get("chapters", []))
    return found


def executed(folder: Path, chapter: str, policy: str = "") -> Path:
    """The executed copy of a notebook chapter, where there is one for each policy that of `policy`.

    SiteError: it is missing, unreadable, or a cell of it failed.
    """
    path = folder / f"{chapter}.ipynb"
    if not path.exists() and (of_policy := folder / f"{chapter}-{policy}.ipynb").exists():
        path = of_policy
    if not path.exists():
        raise SiteError(
            f"site: {chapter}.ipynb has not been executed for this run: no {path}\n"
            f"  make it with:  PROFILE={folder.name} make study"
        )
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        raise SiteError(f"site: {path} is not a notebook ({error})\n  remove it and run make study again") from None
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise SiteError(
                    f"site: cell {number} of {path} failed: {output['ename']}: {output['evalue']}\n"
                    "  mend the notebook and run make study again"
                )
    return path


def render(staging: Path) -> Path:
    """Run Jupyter Book over the staged source; returns the folder of pages. SiteError with its warnings."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["build", str(staging), "-n", "-W", "--keep-going"]
    result = subprocess.run(jupyter_book + options, capture_output=True, text=True)
    said, complaints = (re.sub(r"\x1b\[[\d;]*m", "", text) for text in (result.stdout, result.stderr))  # no colours
    log = staging / "build.log"
    log.write_text(said + complaints, encoding="utf-8")
    if result.returncode:
        warnings = [line for line in complaints.splitlines() if re.search("WARNING|ERROR|Error:", line)]
        listed = "\n  ".join(warnings[:20] or complaints.splitlines()[-5:])
        raise SiteError(f"site: Jupyter Book could not build {staging}\n  {listed}\n  everything it said: {log}")
    pages = staging / "_build" / "html"
    config, toc = (yaml.safe_load((staging / name).read_text()) for name in ("_config.yml", "_toc.yml"))
    (pages / "index.html").write_text(HOME.format(title=config["title"], page=f"{toc['root']}.html"), encoding="utf-8")
    return pages


# --- what a built site must not have ----------------------------------------------------------------------------------

ASSETS = {  # attributes through which a browser fetches something by itself
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
ASSET_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "dns-prefetch", "preconnect", "manifest"}
OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
CSS_FETCH = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
SCRIPT_FETCH = re.compile(r"""["'`]((?:https?:)?//[^"'`\s]+\.(?:js|mjs|css|woff2?|json)\b[^"'`\s]*)""", re.IGNORECASE)


class Page(HTMLParser):
    """One page, read once: its anchors, its local references and its own faults."""

    def __init__(self, name: str, html: str):
        super().__init__(convert_charrefs=True)
        self.name = name
        self.anchors: set[str] = set()
        self.references: list[str] = []
        self.faults: list[Fault] = []
        self.inside: str | None = None  # "script" or "style"
        self.feed(html)
        self.close()

    def fault(self, what: str) -> None:
        self.faults.append(Fault(self.name, what))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.inside = tag if tag in ("script", "style") else self.inside
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        if "ipythontb" in values.get("class", "") or "traceback" in values.get("class", "").split():
            self.fault("a traceback: a notebook cell failed")
        if tag == "a" and "href" in values:
            self.references.append(values["href"])
        elif tag == "link" and values.get("href"):
            if ASSET_LINKS & set(values.get("rel", "").split()):
                self.asset(tag, values["href"])
            else:
                self.references.append(values["href"])
        for key in ASSETS.get(tag, ()):
            if values.get(key):
                for url in values[key].split(",") if key == "srcset" else [values[key]]:
                    self.asset(tag, url.split()[0] if key == "srcset" else url)
        self.css(values.get("style", ""))
        self.alternatives(tag, values)

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.css(data)
        elif self.inside == "script":
            for url in SCRIPT_FETCH.findall(data):
                self.fault(f"a script names an outside asset: {url}")
        elif "Traceback (most recent call last)" in data:
            self.fault("a traceback: a notebook cell failed")

    def asset(self, tag: str, url: str) -> None:
        if OUTSIDE.match(url):
            self.fault(f"<{tag}> asks another machine for {url}: keep a copy under book/_static")
        else:
            self.references.append(url)

    def css(self, text: str) -> None:
        for url in CSS_FETCH.findall(text):
            self.fault(f"a style asks another machine for {url}")

    def alternatives(self, tag: str, values: dict[str, str]) -> None:
        if tag == "img" and values.get("role") != "presentation" and values.get("aria-hidden") != "true":
            alt, src = values.get("alt", "").strip(), unquote(values.get("src", ""))
            if not alt or alt == src or alt.endswith(Path(urlsplit(src).path).name or "/"):
                self.fault(
                    f"<img src={src[:80]!r}> has no alt text: in a notebook, "
                    'give its cell the metadata {"mystnb": {"image": {"alt": "..."}}}'
                )
        if tag == "svg" and values.get("role") == "img" and not (values.keys() & {"aria-label", "aria-labelledby"}):
            self.fault('<svg role="img"> has no aria-label')


def check_site(site: Path) -> list[Fault]:
    """All faults of a built site, in the order of its pages; an empty list is a clean site.

    A fault is: an asset from another machine, a traceback, an image without alternative text, or a reference to a file
    or an anchor of the site that is not there. Links to pages elsewhere are fine.
    """
    files = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.parts]  # there: theme's templates
    pages = {file: Page(file.relative_to(site).as_posix(), file.read_text(encoding="utf-8")) for file in files}
    if not pages:
        return [Fault(".", f"no pages in {site}")]
    faults = []
    for file, page in pages.items():
        faults += page.faults
        faults += [Fault(page.name, what) for url in page.references if (what := dangling(url, file, site, pages))]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        name = sheet.relative_to(site).as_posix()
        faults += [Fault(name, f"a style asks another machine for {url}") for url in CSS_FETCH.findall(text)]
    return list(dict.fromkeys(faults))


def dangling(url: str, file: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a reference in `file`, if it is local."""
    parts = urlsplit(url)
    if parts.netloc or parts.scheme in ("http", "https", "mailto", "data", "javascript"):
        return None
    if parts.scheme or parts.path.startswith("/"):
        return f"{url} holds only on the machine that built the site: make it relative"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"dangling reference {url}: no such file in the site"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors and anchor != "top":
        return f"dangling reference {url}: no such anchor there"
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m asprm.site", description="Build the site of a run.")
    parser.add_argument("--profile", default="tiny", help="a profile's name or file (default: tiny)")
    options = parser.parse_args(arguments)
    try:
        print(f"site: {build_site(options.profile)}")
    except (SiteError, ProfileError, MissingArtifact, BrokenArtifact, DiskFull) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
