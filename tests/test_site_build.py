import json
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import pages_of

from asprm import REPOSITORY
from asprm.site import build as site
from asprm.site.build import SiteError, build_site, chapters, executed
from asprm.site.check import check_site
from asprm.site.reference import FOLDER, Reference

# --- the checks -------------------------------------------------------------------------------------------------------


def faults(folder: Path, body: str, **files: str) -> list[str]:
    """What is wrong with a site of one page with this body (and more files, by name)."""
    (folder / "a.html").write_text(f"<!DOCTYPE html><html><body>{body}</body></html>", encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return [fault.what for fault in check_site(folder)]


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://example.org/a.js"></script>',
        '<script src="//example.org/a.js"></script>',
        '<script>load("https://example.org/widget.js?v=1")</script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<link rel="preload" as="font" href="https://example.org/a.woff2">',
        '<img alt="a cat" src="http://example.org/cat.png">',
        '<img alt="a cat" src="b.html" srcset="b.html 1x, https://example.org/cat.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        '<svg><use href="https://example.org/a.svg#x"/></svg>',
        '<p style="background: url(https://example.org/a.png)">',
        "<style>@import 'https://example.org/a.css';</style>",
    ],
)
def test_an_outside_asset_is_a_fault(tmp_path, body):
    found = faults(tmp_path, body, b_html="")
    assert len(found) == 1
    assert "example.org" in found[0]


def test_an_outside_asset_in_a_style_sheet_is_a_fault(tmp_path):
    assert "example.org" in faults(tmp_path, "", a_css='@font-face { src: url("https://example.org/a.woff") }')[0]


@pytest.mark.parametrize(
    "body",
    [
        '<div class="output traceback highlight-ipythontb"><pre>x</pre></div>',
        "<pre>Traceback (most recent call last):\n  File ...</pre>",
    ],
)
def test_a_traceback_is_a_fault(tmp_path, body):
    assert any("traceback" in fault for fault in faults(tmp_path, body))


@pytest.mark.parametrize("alt", ["", 'alt=""', 'alt="../_images/b.png"', 'alt="b.png"'])
def test_an_image_without_words_is_a_fault(tmp_path, alt):
    # Sphinx fills a missing text with the file's path, which tells a listener nothing.
    found = faults(tmp_path, f'<img src="b.png" {alt}>', b_png="")
    assert len(found) == 1
    assert "alt text" in found[0]


def test_a_drawing_without_a_name_is_a_fault(tmp_path):
    assert faults(tmp_path, '<svg role="img"></svg>') == ['<svg role="img"> has no aria-label']


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<a href="missing.html">x</a>', "no such file"),
        ('<a href="b.html#missing">x</a>', "no such anchor"),
        ('<a href="#missing">x</a>', "no such anchor"),
        ('<img alt="a cat" src="missing.png">', "no such file"),
        ('<script src="missing.js"></script>', "no such file"),
        ('<a href="../outside.html">x</a>', "no such file"),
        ('<a href="/b.html">x</a>', "make it relative"),
        ('<a href="file:///b.html">x</a>', "make it relative"),
    ],
)
def test_a_dangling_reference_is_a_fault(tmp_path, body, words):
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "outside.html").touch()
    found = faults(folder, body, b_html="")
    assert len(found) == 1
    assert words in found[0]


def test_a_clean_page_has_no_fault(tmp_path):
    body = """
      <a href="https://example.org/page">elsewhere</a> <a href="mailto:a@example.org">mail</a> <a href="#top">up</a>
      <h1 id="here">x</h1> <a href="#here">x</a> <a href="b.html#there%20too">x</a> <a href="b.html?x=1">x</a>
      <img alt="A cat that sleeps." src="b.png"> <img alt="" role="presentation" src="b.png">
      <img alt="A dot." src="data:image/png;base64,AAAA"> <svg role="img" aria-label="a line"></svg>
      <script>const page = "https://example.org/page";</script>
      <link rel="canonical" href="https://example.org/"> <link rel="next" href="b.html">
    """
    assert faults(tmp_path, body, b_html='<h2 id="there too">x</h2>', b_png="") == []


def test_the_themes_templates_are_no_pages(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "macros.html").write_text('<a href="{{ pathto(x) }}">x</a>')
    assert faults(tmp_path, "") == []


def test_a_folder_without_pages_is_a_fault(tmp_path):
    assert check_site(tmp_path)[0].what.startswith("no pages")


# --- from a run to a site ---------------------------------------------------------------------------------------------


def notebook(path: Path, *outputs: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = {"cell_type": "code", "source": "", "metadata": {}, "execution_count": 1, "outputs": list(outputs)}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_the_executed_notebook_is_found(tmp_path):
    path = notebook(
        tmp_path / "notebooks" / "03_threshold.ipynb", {"output_type": "stream", "name": "stdout", "text": ""}
    )
    assert executed(tmp_path, "notebooks/03_threshold") == path


def test_a_missing_notebook_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(SiteError, match=r"03_threshold.ipynb was not executed(.|\n)*PROFILE=smoke make study"):
        executed(tmp_path / "smoke", "notebooks/03_threshold")


def test_a_notebook_with_an_error_is_refused(tmp_path):
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no tokens", "traceback": []}
    notebook(tmp_path / "notebooks" / "03_threshold.ipynb", error)
    with pytest.raises(SiteError, match=r"cell 1 of .* failed: ValueError: no tokens"):
        executed(tmp_path, "notebooks/03_threshold")


def test_a_truncated_notebook_is_refused(tmp_path):
    path = notebook(tmp_path / "notebooks" / "03_threshold.ipynb")
    path.write_text(path.read_text()[:20])
    with pytest.raises(SiteError, match="is not a notebook"):
        executed(tmp_path, "notebooks/03_threshold")


def test_chapters_are_all_pages_of_the_table_of_contents(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "format: jb-book\nroot: a\nparts:\n- chapters:\n  - file: b\n    sections:\n    - file: c\n  - file: d\n"
    )
    assert chapters(toc) == ["a", "b", "c", "d"]


def test_another_policys_copy_is_a_section_with_labels_of_its_own():
    figure = {"mystnb": {"figure": {"name": "fig-x", "caption": "A figure."}}}
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": ["(ch-x)=\n", "# Why?\n", "\n", "See {ref}`ch-x`, {ref}`ch-y`."],
        },
        {"cell_type": "code", "metadata": figure, "source": "x", "outputs": []},
        {"cell_type": "markdown", "metadata": {}, "source": "In {numref}`fig-x` and {numref}`that <fig-x>`."},
        {"cell_type": "markdown", "metadata": {"tags": ["exercise"]}, "source": "Do."},
        {"cell_type": "code", "metadata": {"tags": ["exercise"]}, "source": "check()", "outputs": []},
    ]
    first, code, last = site.as_section({"cells": cells, "nbformat": 4}, "L", "policy L")["cells"]
    assert first["source"] == "(ch-x-L)=\n# Why? (policy L)\n\nSee {ref}`ch-x-L`, {ref}`ch-y`."
    assert code["metadata"]["mystnb"]["figure"]["name"] == "fig-x-L"
    assert last["source"] == "In {numref}`fig-x-L` and {numref}`that <fig-x-L>`."


def test_a_section_of_other_runs_is_left_out_where_there_is_none_to_show():
    heading = {"cell_type": "markdown", "metadata": {"tags": ["beside"]}, "source": "## Beside other runs"}
    empty = {"cell_type": "code", "metadata": {"tags": ["beside"]}, "source": "beside(run)", "outputs": []}
    shown = empty | {"outputs": [{"output_type": "execute_result"}]}
    own = {"cell_type": "code", "metadata": {}, "source": "x = 1", "outputs": []}
    assert site.without_empty_sections({"cells": [own, heading, empty, own]})["cells"] == [own, own]
    for group in ([heading, shown], [heading, empty, shown]):
        assert site.without_empty_sections({"cells": [own, *group, own]})["cells"] == [own, *group, own]


def test_a_chapter_says_how_to_open_it():
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in ("# Why?", "| paper |", "First.")]
    shown = site.with_launch_line({"cells": cells, "nbformat": 4}, "notebooks/07_best_of_n")["cells"]
    [*top, launch, first] = (cell["source"] for cell in shown)
    assert (top, first) == (["# Why?", "| paper |"], "First.")
    assert "```console\n$ .venv/bin/jupyter lab notebooks/07_best_of_n.ipynb\n```" in launch


def test_the_copies_of_a_reference_run_are_sections_of_their_chapters(tmp_path):
    folder = tmp_path / "real"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"policies": {"Q": "q", "C": "c"}}))
    title = {"cell_type": "markdown", "metadata": {}, "source": "(ch-x)=\n# Why?\n\nSee {ref}`ch-x`."}
    for name in ("02_sample-C", "02_sample-Q", "12_claims", "11_truth-Q"):
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [title], "nbformat": 4}))
    toc = {"root": "book/index", "chapters": [{"file": "notebooks/02_sample"}, {"file": "notebooks/12_claims"}]}
    pages = site._of_references(toc, [Reference(folder)])
    assert [[x["file"] for x in chapter["sections"]] for chapter in toc["chapters"]] == [
        ["notebooks/02_sample-real-Q", "notebooks/02_sample-real-C"],
        ["notebooks/12_claims-real"],
    ]
    assert {page: notebook["cells"][0]["source"] for page, notebook in pages.items()} == {
        "notebooks/02_sample-real-Q": "(ch-x-real-Q)=\n# Why? (run real, policy Q)\n\nSee {ref}`ch-x-real-Q`.",
        "notebooks/02_sample-real-C": "(ch-x-real-C)=\n# Why? (run real, policy C)\n\nSee {ref}`ch-x-real-C`.",
        "notebooks/12_claims-real": "(ch-x-real)=\n# Why? (run real)\n\nSee {ref}`ch-x-real`.",
    }


def test_links_of_a_reference_run_lead_to_its_own_copies(tmp_path):
    folder = tmp_path / "real"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"policies": {"Q": "q", "C": "c"}}))
    links = ["02_sample-C.html#draw", "02_sample.html", "12_claims.html#x", "03_threshold-C.html#fit", "../book/a.html"]
    output = {"data": {"text/html": "".join(f'<a href="{link}">x</a>' for link in links)}}
    cells = [{"cell_type": "code", "metadata": {}, "source": "", "outputs": [output]}]
    for name in ("02_sample-C", "02_sample-Q", "12_claims"):
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    pages = site._of_references({"chapters": [{"file": "notebooks/12_claims"}]}, [Reference(folder)])
    shown = pages["notebooks/12_claims-real"]["cells"][-1]["outputs"][0]["data"]["text/html"]
    assert re.findall('href="(.+?)"', shown) == [
        "02_sample-real-C.html",
        "02_sample-real-Q.html",
        "12_claims-real.html",
        "03_threshold-C.html#fit",  # not among the copies: the check of the site will say so
        "../book/a.html",
    ]


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """A source of one page, and a study without artifacts in which it is built."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path / "study"))
    monkeypatch.setattr(site, "write_includes", lambda run, folder: folder.mkdir())
    monkeypatch.setattr(site, "remember", lambda run: None)
    source = tmp_path / "source"
    (source / "book").mkdir(parents=True)
    (source / "_config.yml").write_text(
        "title: Small\nsphinx: {config: {extensions: [myst_nb, sphinx_external_toc]}}\n"
    )
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (source / "book" / "index.md").write_text("# Small\n\nFirst.\n")
    return source


def test_a_failed_build_leaves_the_old_site(small_book, monkeypatch):
    built = small_book / "built"

    def render(_: Path) -> Path:
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        shutil.copy(small_book / "book" / "index.md", built / "index.html")
        return built

    monkeypatch.setattr(site, "render", render)
    (small_book / "book" / "index.md").write_text("First.")
    page = build_site("smoke", source=small_book)
    (small_book / "book" / "index.md").write_text('Second. <a href="gone.html">x</a>')
    with pytest.raises(SiteError, match=r"dangling reference gone.html(.|\n)*the old site is unchanged"):
        build_site("smoke", source=small_book)
    assert page.read_text() == "First."
    (small_book / "book" / "index.md").write_text("Third.")
    assert build_site("smoke", source=small_book).read_text() == "Third."


@pytest.mark.slow
def test_a_warning_of_jupyter_book_is_an_error_that_names_the_page(small_book):
    (small_book / "book" / "index.md").write_text("# Small\n\n{ref}`nowhere`\n")
    with pytest.raises(SiteError, match=r"index.md:3(.|\n)*nowhere(.|\n)*build.log"):
        build_site("smoke", source=small_book)


def test_an_unknown_profile_is_an_error_message_not_a_traceback(capsys):
    assert site.main(["--profile", "smok"]) == 1
    assert "did you mean 'smoke'?" in capsys.readouterr().err


# --- the built site ---------------------------------------------------------------------------------------------------


def test_the_built_site_has_no_fault(built):
    assert check_site(built) == []


def test_every_chapter_is_in_the_site(built):
    names = pages_of(built)
    assert "index.html" in names
    assert all(f"{chapter}.html" in names for chapter in chapters(REPOSITORY / "_toc.yml"))


@pytest.mark.parametrize(
    ("chapter", "tabs"),
    [
        ("02_sample", ["M", "L", "D"]),
        ("11_truth", ["M", "L", "D"]),
        ("09_generalize", []),
        ("12_claims", []),
        ("13_rivals", []),
    ],
)
def test_every_policy_is_a_tab_of_the_chapters_of_its_own(built, chapter, tabs):
    page = (built / "notebooks" / f"{chapter}.html").read_text()
    every = re.findall(r'role="tab" [^>]*>([^<]+)<', page)
    of_references = [tab for tab in every if ": " in tab or (REPOSITORY / FOLDER / tab).is_dir()]
    own = tabs or (["this run"] if of_references else [])  # a tab of its own only beside those of other runs
    assert [tab for tab in every if tab not in of_references] == own
    assert page.count('role="tabpanel"') == len(own) + len(of_references)
    article = page.partition('<article class="bd-article">')[2].partition("</article>")[0]
    ids = re.findall(r' id="([^"]+)"', article)
    assert len(ids) == len(set(ids)) > 10


def test_the_headline_is_this_runs(built):
    shares = []
    for training in ("ASPRM-M", "ASPRM-M@1", "ASPRM-M@2"):
        candidates = defaultdict(list)
        for row in pq.read_table(built.parent / "best_of_n" / training / "M-minigsm.parquet").to_pylist():
            candidates[row["problem"]].append((min(row["scores"]), row["correct"]))
        share = 0.0
        for scored in candidates.values():
            best = max(score for score, _ in scored)
            winners = [correct for score, correct in scored if score == best]
            share += sum(winners) / len(winners) / len(candidates)
        shares.append(share)
    share = sum(shares) / len(shares)
    text = (built / "book" / "index.html").read_text(encoding="utf-8")
    assert f"<strong>{100 * share:.1f}\N{NO-BREAK SPACE}%</strong>" in text
    assert "trained from scratch on synthetic" in text


def test_the_site_loads_mathematics_from_itself(built):
    assert "mathjax/es5/tex-mml-chtml.js" in (built / "book" / "method.html").read_text(encoding="utf-8")
    assert (built / "_static" / "mathjax" / "es5" / "tex-mml-chtml.js").is_file()
