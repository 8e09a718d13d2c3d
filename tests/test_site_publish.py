"""One address of the repository, and what follows it; the workflows that publish."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from asprm import REPOSITORY
from asprm.site.build import render
from asprm.site.check import check_site
from asprm.site.includes import project
from asprm.site.polish import polish
from asprm.site.publish import BADGES, Repository, citation, follow, repository, with_buttons

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
URL = "https://github.com/Ann/asprm"


@pytest.fixture
def clone(tmp_path):
    """The files that the address concerns."""
    for name in ("_config.yml", "CITATION.cff", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def host(clone, url):
    text = (clone / "_config.yml").read_text()
    (clone / "_config.yml").write_text(re.sub(r"(?<=\n  url: ).*", f'"{url}"', text))
    return clone


def test_all_files_of_the_project_agree_with_its_address(clone):
    assert follow(clone) == []


def test_citation_and_badges_follow_the_address_and_go_with_it(clone):
    before = {name: (clone / name).read_text() for name in ("CITATION.cff", "README.md")}
    assert follow(host(clone, "")) == follow(clone) == []
    assert [file.name for file in follow(host(clone, URL))] == ["CITATION.cff", "README.md"]
    assert yaml.safe_load((clone / "CITATION.cff").read_text())["repository-code"] == URL
    [line] = re.findall(rf"(?<={re.escape(BADGES)}\n).*", (clone / "README.md").read_text())
    assert f"[![tests]({URL}/actions/workflows/tests.yml/badge.svg)]" in line
    assert "https://ann.github.io/asprm/" in line
    assert follow(clone) == []
    assert f"url = {{{URL}}}" in citation(clone)
    follow(host(clone, "https://codeberg.org/ann/other"))
    assert "github" not in (clone / "CITATION.cff").read_text() + (clone / "README.md").read_text().split("##")[0]
    follow(host(clone, ""))
    assert before == {name: (clone / name).read_text() for name in before}


def test_badges_name_workflows_that_exist(clone):
    follow(host(clone, URL))
    named = set(re.findall(r"workflows/([\w.]+)", (clone / "README.md").read_text()))
    assert named == {path.name for path in WORKFLOWS}


def test_buttons_are_there_only_with_an_address(clone):
    config = yaml.safe_load((host(clone, "") / "_config.yml").read_text())
    without = with_buttons(config)
    assert not any(without["html"][f"use_{name}_button"] for name in ("repository", "edit_page", "issues"))
    assert not without["launch_buttons"].keys() & {"binderhub_url", "colab_url"}
    config["repository"]["url"] = URL
    hosted = with_buttons(config)
    assert all(hosted["html"][f"use_{name}_button"] for name in ("repository", "edit_page", "issues"))
    assert hosted["launch_buttons"]["colab_url"] == "https://colab.research.google.com"


@pytest.mark.parametrize(
    "url", ["github.com/ann/asprm", "https://github.com/ann", "http://x.org/a/b", "https://x/a/b/c"]
)
def test_another_address_is_refused(clone, url):
    with pytest.raises(ValueError, match="expected https://<host>/<owner>/<name>"):
        repository(host(clone, url))


def test_how_to_open_a_chapter_elsewhere_is_said_only_where_the_project_is_hosted(monkeypatch):
    monkeypatch.setattr("asprm.site.publish.repository", lambda: None)
    assert project.hosted(None) == ""
    monkeypatch.setattr("asprm.site.publish.repository", lambda: Repository("github.com", "Ann", "asprm"))
    assert f"`!git clone --depth 1 {URL}`" in project.hosted(None)


def test_the_citation_is_that_of_the_citation_file(clone):
    cff = yaml.safe_load((clone / "CITATION.cff").read_text())
    text = citation(clone)
    assert text.startswith("@software{asprm,\n")
    assert all(f"{{{value}}}" in text for value in (cff["title"], cff["version"], cff["authors"][0]["name"]))
    assert text.count("{") == text.count("}")


def test_the_changelog_is_a_page_without_its_title():
    page = project.changelog(None)
    assert "# Changelog" not in page.splitlines()
    assert page.count("\n## ") == (REPOSITORY / "CHANGELOG.md").read_text().count("\n## ")


# --- workflows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_what_actionlint_expects(path):
    if not shutil.which("actionlint"):
        pytest.skip("actionlint is not installed")
    result = subprocess.run(["actionlint", "-no-color", str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_the_project_has(path):
    content = yaml.safe_load(path.read_text())
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert content[True].keys() >= {"push", "workflow_dispatch"}  # YAML reads "on" as true
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert {job.get("needs")} - {None} <= content["jobs"].keys()
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.search(r"@v\d+$|^docker://.+:[\d.]+$", step.get("uses", "x@v1")), "a pinned version"
            assert set(re.findall(r"\bmake (\w+)", step.get("run", ""))) <= set(targets)
            for script in re.findall(r"^\.\S+", step.get("run", "")):
                assert (REPOSITORY / script).is_file()


def test_the_published_site_is_the_one_that_the_study_builds():
    steps = yaml.safe_load((REPOSITORY / ".github/workflows/site.yml").read_text())["jobs"]["build"]["steps"]
    [path] = [step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert path == "data/runs/${{ env.PROFILE }}/site"
    site = re.search(r"^SITE = .*?(data/runs/.*)/index.html", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert site[1] == "data/runs/$(basename $(notdir $(PROFILE)))/site"


@pytest.mark.slow
def test_the_pages_of_a_hosted_project_lead_back_to_it(clone, tmp_path):
    """A book of one page and one chapter, with the project's own configuration and an address."""
    host(clone, URL)
    config = with_buttons(yaml.safe_load((clone / "_config.yml").read_text()))
    book = tmp_path / "staged"
    shutil.copytree(REPOSITORY / "book/_static", book / "book/_static", ignore=shutil.ignore_patterns("mathjax"))
    shutil.copy(REPOSITORY / "book/references.bib", book / "book")
    (book / "_config.yml").write_text(yaml.safe_dump(config))
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters: [{file: notebooks/01_policy}, {file: book/api/run}]\n"
    )
    (book / "book/index.md").write_text("# Small\n\nFirst.\n")
    (book / "book/api").mkdir()
    (book / "book/api/run.md").write_text("# Made from docstrings\n")
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Chapter\n\nText."}]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (book / "notebooks").mkdir()
    (book / "notebooks/01_policy.ipynb").write_text(json.dumps(notebook))
    pages = render(book)
    polish(pages)
    names = ("book/index.html", "notebooks/01_policy.html", "book/api/run.html")
    page, chapter, made = ((pages / name).read_text() for name in names)
    assert "/edit/" not in made
    assert f'href="{URL}/issues/new?' in made
    assert f'href="{URL}/edit/main/book/index.md"' in page
    assert f'href="{URL}/issues/new?' in page
    assert "mybinder" not in page
    assert "https://mybinder.org/v2/gh/Ann/asprm/main?urlpath=lab/tree/notebooks/01_policy.ipynb" in chapter
    assert "https://colab.research.google.com/github/Ann/asprm/blob/main/notebooks/01_policy.ipynb" in chapter
    assert [fault for fault in check_site(pages) if "another machine" in fault.what] == []
