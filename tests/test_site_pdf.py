"""The document of all pages, on a site of three pages; and its print by Chromium."""

import re
import shutil

import pytest
from bs4 import BeautifulSoup

from asprm.site.pdf import BROWSERS, PdfError, document, make_pdf, order

INDEX = '<meta http-equiv="refresh" content="0; url=book/a.html">'
HEAD = '<link rel="stylesheet" href="../_static/book.css"><script src="../_static/page.js"></script>'
ONE = """<h1>First <i>page</i><a class="headerlink" href="#x">#</a></h1>
<p id="x"><a href="../notebooks/b.html#y">b</a> <a href="#x">x</a> <a href="https://x.org/">out</a>
<a href="b.csv">f</a></p>
<details class="code"><summary>Code</summary>hidden code</details>
<details class="admonition"><summary>S</summary>answer</details>
<details><summary>9 files read</summary><pre>digests</pre></details>"""
TWO = """<h1>Second</h1><div role="tabpanel"><p id="x">shown</p>
<img loading="lazy" src="../_images/i.svg" alt="i"></div>
<div role="tabpanel"><p>other tab</p></div><a id="y" href="../book/a.html">back</a>"""


@pytest.fixture
def site(tmp_path):
    """a, which is followed by b, which is followed by c; a page that none leads to is not printed."""
    pages = {
        "book/a": ("../notebooks/b.html", ONE),
        "notebooks/b": ("../book/c.html", TWO),
        "book/c": ("", "<h1>C</h1>"),
    }
    for name, (following, article) in pages.items():
        file = tmp_path / f"{name}.html"
        file.parent.mkdir(exist_ok=True)
        turn = f'<a class="right-next" href="{following}" title="next">n</a>' if following else ""
        body = f'<nav>menu</nav><article class="bd-article">{article}</article><footer>{turn}</footer>'
        file.write_text(f"<html><head>{HEAD}</head><body>{body}</body></html>")
    (tmp_path / "book/lost.html").write_text("<html></html>")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/book.css").write_text("p { color: red }")
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/i.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    (tmp_path / "index.html").write_text(INDEX)
    return tmp_path


def test_pages_come_in_the_order_in_which_they_are_turned(site):
    assert order(site) == ["book/a.html", "notebooks/b.html", "book/c.html"]


def test_links_and_ids_hold_in_the_one_document(site):
    soup = BeautifulSoup(document(site), "html.parser")
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    hrefs = [a["href"] for a in soup.article.find_all("a") if a.parent.name != "li"]
    assert hrefs == ["#p1-y", "#p0-x", "https://x.org/", "book/b.csv", "#p0"]
    assert all(href[1:] in ids for href in hrefs if href.startswith("#"))
    assert (site / soup.img["src"]).is_file()
    assert "loading" not in soup.img.attrs
    assert [link["href"] for link in soup.head.find_all("link")] == ["_static/book.css"]


def test_it_has_a_cover_contents_and_no_navigation(site):
    soup = BeautifulSoup(document(site), "html.parser")
    assert [li.get_text() for li in soup.select(".print-contents li")] == ["First page", "Second", "C"]
    assert soup.title.get_text() == "First page"
    assert not soup.select(".headerlink")
    assert "menu" not in soup.get_text()
    assert not soup.find_all("script")
    assert [details.has_attr("open") for details in soup.find_all("details")] == [False, True, False]


def test_a_folder_without_a_site_says_how_to_build_one(tmp_path):
    with pytest.raises(PdfError, match=r"no site in .*\n  build it with:  make book"):
        document(tmp_path)


def test_without_a_browser_the_message_says_which_are_known(site, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PdfError, match="expected one of chromium, "):
        make_pdf(site, site / "out.pdf")


def test_chromium_prints_every_page(site, tmp_path):
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium is installed")
    out = make_pdf(site, tmp_path / "out.pdf")
    content = out.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 5  # cover, contents, three pages
    assert b"/Outlines" in content
    assert not list(site.glob(".print*"))
