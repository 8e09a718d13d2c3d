"""What becomes of figures, code and tables on a built page."""

import base64
import re

import pytest

from asprm.figures.base import new_plot
from asprm.site.polish import folded, numbers, polish, tables

PAGE = """<html><head>
  <link rel="preload" as="font" href="../_static/fa-brands-400.woff2" />
  <script src="../_static/vendor/fontawesome/6.5.2/js/all.min.js?digest=d"></script>
    <script>window.MathJax = {{"options": {{}}}}</script>
    <script defer="defer" src="../_static/mathjax/es5/tex-mml-chtml.js?v=c"></script>
</head><body><article class="bd-article">{}</article></body></html>"""


@pytest.fixture
def polished(tmp_path):
    def make(article: str) -> str:
        file = tmp_path / "book" / "a.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(PAGE.format(article))
        polish(tmp_path)
        return file.read_text()

    return make


def test_a_figure_becomes_files_that_can_be_had(polished, tmp_path):
    def drawn():
        plot, (axes,) = new_plot(2)
        axes.plot([1, 2], [0.5, 0.25], label="a < b")
        axes.set(xlabel="x", ylabel="y")
        plot.alt = "A line."
        return plot

    page = polished(drawn().html())
    assert "base64" not in page
    svg, csv = re.findall(r'<a href="([^"]+)" download>', page)
    assert (tmp_path / "book" / svg).read_bytes() == drawn().svg()
    assert (tmp_path / "book" / csv).read_text().splitlines() == [
        "panel,series,kind,x,y",
        "1,a < b,line,1,0.5",
        "1,a < b,line,2,0.25",
    ]
    narrow, wide = re.search(r'<source media="[^"]*" srcset="([^"]+)"><img [^>]*src="([^"]+)"', page).groups()
    assert wide == svg
    assert b"<svg" in (tmp_path / "book" / narrow).read_bytes()
    assert 'alt="A line."' in page


def test_a_picture_of_another_kind_stays(polished):
    image = f'<img alt="x" src="data:image/png;base64,{base64.b64encode(b"x").decode()}">'
    assert image in polished(image)


def test_scripts_that_a_page_does_not_need_are_not_loaded(polished):
    page = polished("<p>Words.</p>")
    assert "all.min.js" not in page
    assert "fa-brands" not in page
    assert "athJax" not in page
    assert "mathjax" not in page
    assert "mathjax" in polished('<span class="math notranslate">x</span>')


CODE = '<div class="cell_input docutils container">\n<div class="highlight"><pre>x = 1</pre></div>\n</div>\n'


def test_the_code_of_an_exercise_is_not_folded():
    cell = f'<div class="cell tag_exercise docutils container">\n{CODE}</div>'
    assert folded(cell) == cell
    assert "<details" in folded(cell.replace(" tag_exercise", ""))


def test_code_that_a_page_is_about_is_not_folded():
    for tag, count in (("show-input", 0), ("hide-input", 1), ("show-input-of-others", 1)):
        shown = folded(f'<div class="cell tag_{tag} docutils container">{CODE}</div>')
        assert shown.count("<details") == count


def test_code_is_folded_once_also_where_it_was_hidden():
    hidden = (
        '<details class="admonition hide above-input"><summary aria-label="Toggle"><p>Show</p></summary>'
        f"{CODE}</details>"
    )
    shown = folded(f'<div class="cell">{CODE}<div class="cell_output">1</div></div><div class="cell">{hidden}</div>')
    assert shown.count('<details class="code"><summary>Code</summary>') == shown.count("</details>") == 2
    assert re.fullmatch(
        r'<div class="cell"><details.*</details>\s*<div class="cell_output">1</div></div>'
        r'<div class="cell"><details.*?</details>\s*</div>',
        shown,
        re.DOTALL,
    )
    assert shown.count("<div") == shown.count("</div>")


def test_what_a_tagged_cell_shows_is_folded():
    output = '<div class="cell_output docutils container"><div>1</div>\n</div>'
    cell = '<div class="cell tag_{} docutils container">{}</div>'
    plain = cell.format("x", output)
    shown = folded(plain + cell.format("hide-input tag_fold-parameters", CODE + output) + plain)
    assert shown.startswith(plain)
    assert shown.endswith(
        f'<details class="output"><summary>Parameters of this run</summary>{output}</details></div>{plain}'
    )
    assert folded(plain) == plain


def test_a_table_is_named_by_the_heading_above_it_and_counted():
    heading = '<h2>Against greedy<a class="headerlink" href="#x">#</a></h2>'
    table = '<table class="dataframe"><thead><tr><th>a</th></tr></thead></table>'
    shown = tables(f"{table}{heading}{table}{table}<table><caption>Its own</caption></table>")
    captions = re.findall("<caption>(.*?)</caption>", shown)
    assert captions == ["Table: Against greedy", "Table: Against greedy (2)", "Its own"]


def test_a_long_cell_of_a_prose_table_is_marked():
    long, short = "<td><p>250 problems, 80 % right</p></td>", "<td><p>L</p></td>"
    shown = tables(f'<table class="table">{long}{short}</table>')
    assert shown == f'<table class="table">{long.replace("<td", "<td data-long")}{short}</table>'


def test_a_table_scrolls_in_a_box_and_its_heads_have_scopes():
    table = '<table border="1" class="dataframe"><thead><tr><th>a</th></tr></thead><tbody><tr><th class="r">1</th>'
    shown = tables(f"{table}<td>2</td></tr></tbody></table>")
    assert shown.startswith('<div class="table-box" role="region" aria-label="Table" tabindex="0"><table')
    assert '<th scope="col">a</th>' in shown
    assert '<th data-short scope="row" class="r">1</th>' in shown
    assert "<td>a long text that may break</td>" in tables("<table><td>a long text that may break</td></table>")
    assert shown.endswith("</table></div>")
    heading = (
        '<h2><span class="section-number">7.2. </span>By <em>how</em> much?<a class="headerlink" href="#x">#</a></h2>'
    )
    assert 'aria-label="Table: By how much?"' in tables(f"{heading}{table}</tr></tbody></table>")
    prose = '<table class="table"><thead><tr><th class="head">a</th></tr></thead></table>'
    assert "<td><p>80 % right</p></td>" in tables('<table class="table"><td><p>80% right</p></td></table>')
    assert tables(prose) == prose.replace("<th ", '<th scope="col" ')


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<td>-0.5</td>", "<td>\N{MINUS SIGN}0.5</td>"),
        ("<td>72.5%</td>", "<td>72.5\N{NO-BREAK SPACE}%</td>"),
        ("<td>[-1.5%, +2%]</td>", "<td>[\N{MINUS SIGN}1.5\N{NO-BREAK SPACE}%, +2\N{NO-BREAK SPACE}%]</td>"),
        ("<td>1e-05</td>", "<td>1e-05</td>"),
        ("<td>2025-11-30</td>", "<td>2025-11-30</td>"),
        ("<td>5 pens - 3 = 20% of 10</td>", "<td>5 pens - 3 = 20% of 10</td>"),
        ("<p>is 72.5 % here</p>", "<p>is 72.5\N{NO-BREAK SPACE}% here</p>"),
        ("<pre>7 % 2</pre><p>7 % 2</p>", "<pre>7 % 2</pre><p>7\N{NO-BREAK SPACE}% 2</p>"),
        ("<code>7 % 2 - -1</code>", "<code>7 % 2 - -1</code>"),
        ('<img alt="7 % 2">', '<img alt="7 % 2">'),
    ],
)
def test_numbers_have_one_style_and_code_keeps_its_characters(written, shown):
    assert numbers(written) == shown
