"""Site: build a website from the executed notebooks of a run and the prose pages.

    python -m asprm.site.build --profile tiny

The source is collected in `data/runs/<profile>/.site-source`: configuration, pages, the executed copies of the
notebooks that `_toc.yml` names, and the generated includes (`asprm.site.includes.index`). Jupyter Book builds the site
and treats every warning as an error; `check_site` then looks for faults. Only a site without faults replaces the old
one, `data/runs/<profile>/site`. No notebook is executed here.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import yaml

from asprm import REPOSITORY
from asprm.exercises.write import TAG
from asprm.problems.sets import has_rivals, knows_truth
from asprm.run.artifacts import DiskFull, atomic
from asprm.run.open import Run, open_run
from asprm.run.sections import ProfileError
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.site import api
from asprm.site.beside import BESIDE
from asprm.site.check import check_site
from asprm.site.includes.index import write_includes
from asprm.site.polish import polish
from asprm.site.publish import with_buttons
from asprm.site.records import remember
from asprm.site.reference import FOLDER, NOTEBOOKS, Reference, references
from asprm.site.tabs import Copy, into_tabs

HOME = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={page}"></head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""
_LABELS = re.compile(r"^\((?P<target>[\w-]+)\)=$", re.MULTILINE)


class SiteError(Exception):
    """The site could not be built, or has faults; the message says what to do."""


# --- from a run to a site ---------------------------------------------------------------------------------------------


def build_site(profile: str, *, source: Path = REPOSITORY) -> Path:
    """Build the site of a profile's run from the pages in `source`. Returns the path of its first page.

    SiteError: a notebook is missing or failed, Jupyter Book warned, or the built site has a fault. MissingArtifact: the
    run has not finished. After an error the old site is still there.
    """
    run = open_run(profile, stage="tvd", quiet=True)
    staging, site = run.base / ".site-source", run.base / "site"
    remember(run)
    stage(run, source, staging)
    built = render(staging)
    _tabs(run, staging, built)
    polish(built)
    faults = check_site(built)
    if faults:
        listed = "\n  ".join(str(fault) for fault in faults[:20])
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        kept = "\n  the old site is unchanged" if site.exists() else ""
        raise SiteError(
            f"site: {len(faults)} faults in {built}\n  {listed}{more}\n  correct the page or notebook{kept}"
        )
    with atomic(site) as temporary:
        built.rename(temporary)
    return site / "index.html"


def stage(run: Run, source: Path, staging: Path) -> None:
    """Collect the source of Jupyter Book in `staging`: configuration, pages, executed notebooks, includes.

    A chapter of `_toc.yml` is the first policy's copy of a notebook. Its sections, `<notebook>-<policy>`, are the other
    policies' copies (see `_of_policies`) and those of the reference runs (see `_of_references`).
    SiteError: a notebook is missing or failed. MissingArtifact: the run has not finished.
    """
    first = next(iter(run.profile.policies))
    toc = yaml.safe_load((source / "_toc.yml").read_text())
    _of_policies(toc, run)
    others = _of_references(toc, references(run))
    reference = _of_package(toc)
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source / "book", staging / "book", ignore=shutil.ignore_patterns("generated"))
    (staging / "notebooks").mkdir()
    for page, text in reference.items():
        (staging / f"{page}.md").parent.mkdir(exist_ok=True)
        (staging / f"{page}.md").write_text(text, encoding="utf-8")
    (staging / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    config = with_buttons(yaml.safe_load((source / "_config.yml").read_text()))
    (staging / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    for page in chapters(staging / "_toc.yml"):
        if page.startswith("notebooks/"):
            if page in others:
                notebook = others[page]
            else:
                notebook = json.loads(executed(run.base, page, first).read_text(encoding="utf-8"))
                policy = _notebook_of(page)[1]
                if policy in run.profile.policies:
                    notebook = as_section(notebook, policy, f"policy {policy}")
                else:
                    notebook = with_launch_line(notebook, page)
            text = json.dumps(without_empty_sections(notebook), ensure_ascii=False)
            (staging / f"{page}.ipynb").write_text(text, encoding="utf-8")
        elif (source / f"{page}.ipynb").exists():
            shutil.copyfile(_how_to(run, source, Path(page).name), staging / f"{page}.ipynb")
    write_includes(run, staging / "book" / "generated")


def _how_to(run: Run, source: Path, name: str) -> Path:
    """The executed copy of a notebook in `book/`: the run's, else the one that comes with the project.

    SiteError: a cell of it failed.
    """
    own = run.base / f"{name}.ipynb"
    return checked(own if own.exists() else source / FOLDER / f"{name}.ipynb")


def _of_references(toc: dict, runs: Sequence[Reference]) -> dict[str, dict]:
    """The reference runs' copies of notebooks by page, as sections of their chapters, which are added to `toc`."""
    pages = {}
    for part in toc.get("parts", [toc]):
        for chapter in part.get("chapters", []):
            own = chapter["file"]
            for reference in runs:
                files = (reference.folder / NOTEBOOKS).glob(f"{Path(own).name}*.ipynb")
                policies = ["", *reference.about["policies"]]
                for file in sorted(files, key=lambda file: policies.index(_notebook_of(f"notebooks/{file.stem}")[1])):
                    name = f"{reference.name}{file.stem.removeprefix(Path(own).name)}"
                    policy = _notebook_of(f"notebooks/{file.stem}")[1]
                    of = f"run {reference.name}, policy {policy}" if policy else f"run {reference.name}"
                    page = f"{own}-{name}"
                    text = _to_copies(file.read_text(encoding="utf-8"), reference)
                    pages[page] = as_section(json.loads(text), name, of)
                    chapter.setdefault("sections", []).append({"file": page})
    return pages


def _to_copies(text: str, reference: Reference) -> str:
    """Links between the pages of a run as links between its copies: `08_tvd-L.html#decode` as `08_tvd-desk-L.html`.

    They would lead to this run's chapters, which have other numbers, or to policies that this run lacks.
    text: of a notebook, as JSON.
    """
    first = next(iter(reference.about["policies"]))
    copies = {file.stem for file in (reference.folder / NOTEBOOKS).glob("*.ipynb")}

    def to_copy(match: re.Match[str]) -> str:
        chapter = match["chapter"]
        for suffix in (f"-{match['policy'] or first}", ""):
            if chapter + suffix in copies:
                return f'href=\\"{chapter}-{reference.name}{suffix}.html\\"'
        return match[0]

    return re.sub(r'href=\\"(?P<chapter>\d\d_[a-z_]+)(?:-(?P<policy>\w+))?\.html(?:#[^"\\]*)?\\"', to_copy, text)


def _of_package(toc: dict) -> dict[str, str]:
    """The pages of the API reference, which become sections of the page `book/api` where `toc` has it."""
    pages = {}
    for part in toc.get("parts", [toc]):
        for chapter in part.get("chapters", []):
            if chapter["file"] == api.PAGE:
                pages = {f"{api.PAGE}/{name}": api.page(name, files) for name, files in api.folders().items()}
                chapter["sections"] = [{"file": page} for page in pages]
    return pages


def _tabs(run: Run, staging: Path, built: Path) -> None:
    """Move the copies of each chapter into tabs of its page (`asprm.site.tabs`)."""
    pages = chapters(staging / "_toc.yml")
    names = [*run.profile.policies, *(reference.name for reference in references(run))]
    copies: dict[str, list[Copy]] = {page: [] for page in pages if _notebook_of(page) != ("", "")}
    order = []
    for page in pages:
        chapter, _, suffix = page.partition("-")
        if chapter in copies and suffix.partition("-")[0] in names:
            run_name, _, policy = suffix.partition("-")
            label = f"{run_name}: {policy}" if policy else suffix
            copies[chapter].append(Copy(page, label, suffix))
        else:
            order.append(page)
    first = next(iter(run.profile.policies))
    copies = {chapter: those for chapter, those in copies.items() if those}
    if copies:
        of_policies = {
            chapter for chapter, those in copies.items() if any(c.suffix in run.profile.policies for c in those)
        }
        own = {chapter: first if chapter in of_policies else "this run" for chapter in copies}
        into_tabs(built, order, copies, own)


def _of_policies(toc: dict, run: Run) -> None:
    """Leave out of a _toc.yml the chapters that the first policy does not have, and add other policies' copies.

    The chapter on the truth needs problems whose true solutions are known, and so does the one on rivals.
    """
    first = next(iter(run.profile.policies))
    for part in toc.get("parts", [toc]):
        kept = []
        for chapter in part.get("chapters", []):
            page, stage = chapter["file"], _notebook_of(chapter["file"])[0]
            needs_truth = stage == "truth"
            if stage == "rivals" and not has_rivals(run.profile):
                continue
            policies = [name for name in run.profile.policies if not needs_truth or knows_truth(run.profile, name)]
            of_policy = (run.base / f"{page}-{first}.ipynb").exists()
            sections = [{"file": f"{page}-{policy}"} for policy in policies if policy != first] if of_policy else []
            if first in policies:
                kept.append(chapter | ({"sections": sections} if sections else {}))
        if kept:
            part["chapters"] = kept


def _notebook_of(page: str) -> tuple[str, str]:
    """The stage and the policy of a page: ("truth", "L") of notebooks/11_truth-L; either is "" where there is none."""
    name = re.fullmatch(r"notebooks/\d+_(?P<stage>\w+)(-(?P<policy>.+))?", page)
    return (name["stage"], name["policy"] or "") if name else ("", "")


def as_section(notebook: dict, suffix: str, of: str) -> dict:
    """The copy of a chapter's notebook that ran for another policy or in another run, as a section of that chapter.

    Its title says what it is of, `of`. Its labels end with `suffix`, so that none occurs twice. Exercises are
    in the chapter and are left out.
    """
    # 1. What stays, and its labels.
    cells = [c for c in notebook["cells"] if TAG not in c["metadata"].get("tags", [])]
    figures = [c["metadata"]["mystnb"]["figure"] for c in cells if "figure" in c["metadata"].get("mystnb", {})]
    labels = {match["target"] for c in cells for match in _LABELS.finditer(_text(c))} | {f["name"] for f in figures}
    # 2. Labels with the suffix, where they are defined and where they are referred to.
    for figure in figures:
        figure["name"] += f"-{suffix}"
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            text = _text(cell)
            for label in labels:
                text = re.sub(rf"(?<=[(`<]){re.escape(label)}(?=[)`>])", f"{label}-{suffix}", text)
            if number == 0:
                text = re.sub(r"^# (.+)$", rf"# \1 ({of})", text, count=1, flags=re.MULTILINE)
            cell["source"] = text
    return notebook | {"cells": cells}


def with_launch_line(notebook: dict, page: str) -> dict:
    """A chapter's notebook with the command that opens it in JupyterLab, below its title and its table of inputs."""
    command = f"Open this chapter in JupyterLab:\n\n```console\n$ .venv/bin/jupyter lab {page}.ipynb\n```"
    cells = notebook["cells"]
    line = {"cell_type": "markdown", "id": "launch", "metadata": {}, "source": command}
    return notebook | {"cells": [*cells[:2], line, *cells[2:]]}


def without_empty_sections(notebook: dict) -> dict:
    """A notebook without the sections that would show other runs where there is none to show: neighbouring cells with
    the tag BESIDE, none of which has an output.
    """
    kept: list[dict] = []
    for tagged, group in groupby(notebook["cells"], lambda cell: BESIDE in cell["metadata"].get("tags", [])):
        cells = list(group)
        if not tagged or any(cell.get("outputs") for cell in cells):
            kept += cells
    return notebook | {"cells": kept}


def _text(cell: dict) -> str:
    return "".join(cell["source"])


def chapters(toc: Path) -> list[str]:
    """The pages that a _toc.yml names, without suffixes; the root is the first."""
    contents = yaml.safe_load(toc.read_text())
    pages = [contents["root"]]

    def walk(entries: list[dict]) -> None:
        for entry in entries:
            pages.append(entry["file"])
            walk(entry.get("sections", []))

    for part in contents.get("parts", [contents]):
        walk(part.get("chapters", []))
    return pages


def executed(folder: Path, chapter: str, policy: str = "") -> Path:
    """Path of the executed copy of a notebook in the run's `folder`.

    chapter: its page, such as notebooks/03_threshold. policy: the copy to take if there is one for each policy.
    SiteError: it is missing, unreadable, or a cell of it failed.
    """
    path = folder / f"{chapter}.ipynb"
    if not path.exists() and (of_policy := folder / f"{chapter}-{policy}.ipynb").exists():
        path = of_policy
    if not path.exists():
        raise SiteError(
            f"site: {chapter}.ipynb was not executed for this run: there is no {path}\n"
            f"  make it with:  PROFILE={folder.name} make study"
        )
    return checked(path)


def checked(path: Path) -> Path:
    """The path of an executed notebook. SiteError: it is unreadable, or a cell of it failed."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        raise SiteError(f"site: {path} is not a notebook ({error})\n  delete it and run make study again") from None
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise SiteError(
                    f"site: cell {number} of {path} failed: {output['ename']}: {output['evalue']}\n"
                    "  correct the notebook and run make study again"
                )
    return path


def render(staging: Path) -> Path:
    """Run Jupyter Book on the source in `staging`. Returns the folder of pages. SiteError: it failed or warned."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["build", str(staging), "-n", "-W", "--keep-going"]
    result = subprocess.run(jupyter_book + options, capture_output=True, text=True)
    output, errors = (re.sub(r"\x1b\[[\d;]*m", "", text) for text in (result.stdout, result.stderr))  # no colours
    log = staging / "build.log"
    log.write_text(output + errors, encoding="utf-8")
    if result.returncode:
        warnings = [line for line in errors.splitlines() if re.search("WARNING|ERROR|Error:", line)]
        listed = "\n  ".join(warnings[:20] or errors.splitlines()[-5:])
        raise SiteError(f"site: Jupyter Book could not build {staging}\n  {listed}\n  its whole output: {log}")
    pages = staging / "_build" / "html"
    config, toc = (yaml.safe_load((staging / name).read_text()) for name in ("_config.yml", "_toc.yml"))
    (pages / "index.html").write_text(HOME.format(title=config["title"], page=f"{toc['root']}.html"), encoding="utf-8")
    return pages


def main(arguments: list[str] | None = None) -> int:
    """Build the site of a profile's run. Exit status: 0, or 1 after an error."""
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
