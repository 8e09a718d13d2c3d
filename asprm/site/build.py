"""Site: from the executed notebooks of a run and the prose pages to a website: `python -m asprm.site.build --profile tiny`.

The source is staged in `data/runs/<profile>/.site-source`: configuration, pages, the executed copies of the notebooks
that `_toc.yml` names, and the generated includes (`asprm.site.includes.index`). Jupyter Book builds it, every warning an error;
`check_site` reads the result, and only a site without fault takes the place of the old `data/runs/<profile>/site`.
Executes nothing and knows no model.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from asprm import REPOSITORY
from asprm.problems.sets import knows_truth
from asprm.run.artifacts import DiskFull, atomic
from asprm.run.open import Run, open_run
from asprm.run.profile import Profile
from asprm.run.sections import ProfileError
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.site.check import check_site
from asprm.site.includes.index import write_includes

HOME = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""


_TRUTH = "notebooks/11_truth"  # the one chapter that needs problems whose true solutions are known


class SiteError(Exception):
    """The site cannot be built, or must not be shown: says why and what to do."""


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m asprm.site.build", description="Build the site of a run.")
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
