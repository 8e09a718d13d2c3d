"""Copies of a chapter become tabs of its page, and nothing of them stays elsewhere."""

import json
import re

import pytest

from asprm.site.check import check_site
from asprm.site.tabs import Copy, into_tabs

PAGE = """<!DOCTYPE html><html><head>
    <link rel="next" title="x" href="{next}" />
</head><body><nav><ul>
<li class="toctree-l1 has-children"><a href="02_b.html">2. B</a><details><summary><span class="toctree-toggle" \
role="presentation"></span></summary><ul>
<li class="toctree-l2"><a href="02_b-L.html">2.2. B (policy L)</a></li>
</ul>
</details></li></ul></nav>
<h1>Print</h1>
<article class="bd-article">{article}</article>
<footer class="prev-next-footer"><div class="prev-next-area"><a class="right-next" href="02_b-L.html">2.2. B</a></div>
</footer></body></html>
"""
B = """<section id="b"><span id="ch-b"></span><h1><span class="section-number">2. </span>B<a class="headerlink" \
href="#b">#</a></h1><h2 id="by"><span class="section-number">2.1. </span>By<a class="headerlink" href="#by">#</a></h2>
<figure id="fig-b"><span class="caption-number">Fig. 2.1 </span></figure><a href="#fig-b">Fig. 2.1</a></section>"""
L = """<section id="b-policy-l"><span id="ch-b-l"></span><h1><span class="section-number">2.2. </span>B (policy L)\
<a class="headerlink" href="#b-policy-l">#</a></h1><h2 id="by"><span class="section-number">2.2.1. </span>By\
<a class="headerlink" href="#by">#</a></h2><style>#by {color: red} #bye {color: blue}</style>
<figure id="fig-b-l"><span class="caption-number">Fig. 2.2 </span></figure><a href="#fig-b-l">Fig. 2.2</a>, Fig. 2.20\
<i id="bye"></i></section>"""
C = '<section id="c"><h1>C<a class="headerlink" href="#c">#</a></h1><a href="02_b-L.html#by">L</a> \
<a href="02_b-L.html">all of L</a> <a href="02_b.html">B</a></section>'


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, article, after in (("02_b", B, "02_b-L.html"), ("02_b-L", L, "03_c.html"), ("03_c", C, "02_b.html")):
        (folder / f"{name}.html").write_text(PAGE.format(article=article, next=after))
    index = {
        "docnames": ["notebooks/02_b", "notebooks/02_b-L", "notebooks/03_c"],
        "filenames": ["02_b", "02_b-L", "03_c"],
        "titles": ["B", "B (policy L)", "C"],
        "terms": {"all": [0, 1, 2], "two": [0, 1], "l": 1, "c": 2},
        "titleterms": {"b": [0, 1], "c": 2},
        "alltitles": {"B": [[0, None]], "B (policy L)": [[1, None]], "C": [[2, "c"]]},
        "indexentries": {},
        "objects": {},
    }
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(index)})")
    copies = {"notebooks/02_b": [Copy("notebooks/02_b-L", "L", "L")]}
    into_tabs(tmp_path, ["notebooks/02_b", "notebooks/03_c"], copies, {"notebooks/02_b": "M"})
    return tmp_path


def test_a_copy_is_a_panel_of_its_chapter_with_ids_of_its_own(site):
    page = (site / "notebooks/02_b.html").read_text()
    assert not (site / "notebooks/02_b-L.html").exists()
    assert re.findall(r'role="tab" id="([^"]+)"[^>]*aria-selected="(\w+)"', page) == [
        ("tab-first", "true"),
        ("tab-l", "false"),
    ]
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    panel = page.partition('id="tab-l-panel"')[2]
    assert '<h2 id="by-l">' in panel
    assert 'href="#by-l"' in panel
    assert "#by-l {color: red} #bye {color: blue}" in panel


def test_a_copy_has_the_numbers_of_its_chapter(site):
    panel = (site / "notebooks/02_b.html").read_text().partition('id="tab-l-panel"')[2]
    assert re.findall(r'section-number">([\d.]+)', panel) == ["2.", "2.1."]
    assert '<span class="caption-number">Fig. 2.1 </span>' in panel
    assert '<a href="#fig-b-l">Fig. 2.1</a>, Fig. 2.20' in panel


def test_contents_links_and_neighbours_know_the_chapter_alone(site):
    page = (site / "notebooks/03_c.html").read_text()
    assert "toctree-l2" not in page
    assert "has-children" not in page
    assert 'href="02_b.html#by">L<' in page  # of an id that only L has, it would be of L's panel
    assert 'href="02_b.html#tab-l-panel">all of L<' in page
    assert 'class="left-prev" href="../notebooks/02_b.html"' in page
    assert "right-next" not in page
    assert "2. </span>B" in page.partition("left-prev")[2]
    assert 'rel="next"' not in page


def test_the_search_knows_the_chapter_alone(site):
    text = (site / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert index["docnames"] == ["notebooks/02_b", "notebooks/03_c"]
    assert index["terms"] == {"all": [0, 1], "two": 0, "c": 1}
    assert index["alltitles"] == {"B": [[0, None]], "C": [[1, "c"]]}


def test_every_link_of_the_merged_site_leads_somewhere(site):
    (site / "_static").mkdir()
    (site / "_static/tabs.js").touch()
    assert check_site(site) == []
