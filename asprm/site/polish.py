"""Polish: what is done to every built page after Jupyter Book, before the site is checked.

- Figures leave the page and become files, each with a link to itself and to its numbers.
- Code folds: each cell's code is closed until it is asked for, and one switch opens all (`book/_static/page.js`). What
  cells show folds, too, where they have a tag of `FOLDED`.
- Tables that notebooks make have a caption, and a box of their own that scrolls where they are wide and that a keyboard
  reaches; their heads say what they are heads of.
- Pages with something to work with (`asprm.site.viewer`) load its script.
- Numbers have one style: a true minus sign, and "72.5 %" with a space that no line breaks at.
- Each page has a description (`asprm.site.descriptions`).
- Scripts that a page has no use for are not loaded: the icons' (their font is enough), and MathJax without mathematics.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html import unescape
from pathlib import Path

from asprm.exercises.write import TAG
from asprm.site import viewer
from asprm.site.api import PAGE
from asprm.site.descriptions import described
from asprm.site.tabs import ARTICLE

_FIGURE = re.compile(
    r"(?P<narrow><picture><source [^>]*>)?"
    r'<img (?P<before>[^>]*?)src="data:image/svg\+xml;base64,(?P<svg>[^"]*)"(?P<after>[^>]*)>(?P<end></picture>)?'
)
_SOURCE = re.compile(r'(?<=srcset=")data:image/svg\+xml;base64,([^"]*)(?=")')
_NUMBERS = re.compile(r' data-numbers="([^"]*)"')
_HIDDEN = re.compile(
    r'<details class="admonition hide above-input">\s*<summary.*?</summary>\s*(.*?)</details>', re.DOTALL
)
_CELL = re.compile(r"(?P<start><t[dh]\b[^>]*>)(?P<text>[^<]*\d[^<]*)(?=</t[dh]>)")
_PERCENT = re.compile(r"(?<=\d)(?=%[^<>]*<)")
_OF_NUMBERS = re.compile(r"(?:[\s\d.,:;%+\-\N{MINUS SIGN}\N{EN DASH}<=\[\]()]|to|e-?\d)*")
_VERBATIM = re.compile(r"(<(?P<tag>pre|code|script|style|svg)\b.*?</(?P=tag)>|<[^>]*>)", re.DOTALL)
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_HEADING = re.compile(r"<h[2-6]>(.*?)<a class=\"headerlink\"", re.DOTALL)
_SHORT = re.compile(r"<t[dh]\b(?=[^>]*>[^<]{1,18}</t[dh]>)")  # cells in which no line breaks
_LONG = re.compile(r"<t[dh]\b(?=[^>]*>\s*<p>(?:<[^>]*>)*[^<]{19})")  # cells of prose in which lines break
_MARKUP = re.compile(r'<span class="section-number">.*?</span>|<[^>]*>|"')
_HEAD = re.compile(r"<th(?![^>]*\bscope=)(?=[ >])")
_LISTS = re.compile(r'(?<=<div) role="list"(?= class="citation-list")')  # whose items are no list items
_EDIT = re.compile(rf'<li>\s*<a href="[^"]*/edit/[^"]*/{PAGE}/.*?</li>', re.DOTALL)  # of pages without a source
_ICONS = re.compile(r'\s*<script src="[^"]*fontawesome/[^"]*"></script>')
_FONTS = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')  # which a browser refuses where pages are files
_MATHJAX = re.compile(
    r"\s*<script[^>]*>window\.MathJax = .*?</script>\s*<script[^>]*mathjax/[^>]*></script>", re.DOTALL
)
_FORMULA = re.compile(r'class="[^"]*\bmath\b|\\\(|\\\[')


FOLDED = {"fold-parameters": "Parameters of this run", "fold-tables": "Show these tables"}
"""Tags of the cells whose outputs are folded, with what stands in their place."""


def polish(site: Path) -> None:
    """Polish all pages of a built site, in place."""
    viewer.into_site(site)
    for file in sorted(site.rglob("*.html")):
        if "_static" not in file.relative_to(site).parts:
            page = _EDIT.sub("", _ICONS.sub("", _FONTS.sub("", file.read_text(encoding="utf-8"))))
            if article := ARTICLE.search(page):
                images = Path(os.path.relpath(site / "_images", file.parent)).as_posix()
                shown = numbers(tables(folded(_files(_LISTS.sub("", article[0]), site / "_images", images))))
                page = page[: article.start()] + shown + page[article.end() :]
                if not _FORMULA.search(shown):
                    page = _MATHJAX.sub("", page)
                page = viewer.with_assets(page, Path(os.path.relpath(site / "_static", file.parent)).as_posix())
            file.write_text(described(page), encoding="utf-8")


def _files(article: str, folder: Path, path: str) -> str:
    """The article with each figure as a file of `folder`, which pages reach by `path`, and links to its files."""

    def kept(content: bytes, suffix: str) -> str:
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return f"{path}/{name}"

    def replaced(match: re.Match[str]) -> str:
        svg = kept(base64.b64decode(match["svg"]), "svg")
        attributes = match["before"] + match["after"]
        links = [f'<a href="{svg}" download>SVG</a>']
        if numbers := _NUMBERS.search(attributes):
            file = kept(unescape(numbers[1]).encode(), "csv")
            links.append(f'<a href="{file}" download>CSV</a>')
        rest = _NUMBERS.sub("", attributes).strip()
        files = f'<span class="figure-files">This figure as {" · ".join(links)}</span>'
        narrow = _SOURCE.sub(lambda source: kept(base64.b64decode(source[1]), "svg"), match["narrow"] or "")
        return f'{narrow}<img {rest} loading="lazy" src="{svg}">{match["end"] or ""}{files}'

    return _FIGURE.sub(replaced, article)


def folded(article: str) -> str:
    """The article with the code of each cell in a <details>, also of those that hide it already.

    Not of exercises, and not of cells tagged `show-input`, whose code is what the page is about.
    """
    article = _folded_outputs(_HIDDEN.sub(r"\1", article))
    parts = article.split('<div class="cell_input docutils container">')
    shown = parts[0]
    for part in parts[1:]:
        end = _end_of_div(part)
        code = f'<div class="cell_input docutils container">{part[:end]}'
        if not any(f" tag_{tag} " in shown.rpartition("<div ")[2] for tag in (TAG, "show-input")):
            code = f'<details class="code"><summary>Code</summary>{code}</details>'
        shown += code + part[end:]
    return shown


def _folded_outputs(article: str) -> str:
    """The article with the outputs of cells with a tag of `FOLDED` in a <details>."""
    parts = article.split('<div class="cell_output docutils container">')
    shown = parts[0]
    for part in parts[1:]:
        end = _end_of_div(part)
        output = f'<div class="cell_output docutils container">{part[:end]}'
        cell = shown[shown.rindex('<div class="cell ') :] if '<div class="cell ' in shown else ""
        words = next((words for tag, words in FOLDED.items() if f" tag_{tag} " in cell.partition(">")[0]), None)
        if words:
            output = f'<details class="output"><summary>{words}</summary>{output}</details>'
        shown += output + part[end:]
    return shown


def _end_of_div(text: str) -> int:
    """Where the <div> ends within which `text` begins."""
    depth = 1
    for match in re.finditer(r"<(/?)div\b", text):
        depth += -1 if match[1] else 1
        if not depth:
            return match.end() + 1
    return len(text)


def tables(article: str) -> str:
    """The article with every table that notebooks make in a box that scrolls, and scopes on its heads.

    The box is named by the heading above it, and so is the table's caption, where it has none of its own; tables below
    one heading are counted.
    """
    headings = [(match.start(), _MARKUP.sub("", match[1]).strip()) for match in _HEADING.finditer(article)]
    seen: dict[int, int] = {}

    def boxed(match: re.Match[str]) -> str:
        table = match[0]
        place, heading = next((one for one in reversed(headings) if one[0] < match.start()), (0, ""))
        name = f"Table: {heading}" if heading else "Table"
        head, mark, body = table.partition("</thead>")
        head, body = (_HEAD.sub(f'<th scope="{scope}"', part) for part, scope in ((head, "col"), (body, "row")))
        body = _SHORT.sub(r"\g<0> data-short", body)
        if 'class="table"' in table or "docutils" in table:  # of prose, in a box already
            return _PERCENT.sub(" ", _LONG.sub(r"\g<0> data-long", head + mark + body))
        if heading and "<caption" not in head:
            seen[place] = seen.get(place, 0) + 1
            number = f" ({seen[place]})" if seen[place] > 1 else ""
            head = head.replace(">", f"><caption>{name}{number}</caption>", 1)
        return f'<div class="table-box" role="region" aria-label="{name}" tabindex="0">{head}{mark}{body}</div>'

    return _TABLE.sub(boxed, article)


def numbers(article: str) -> str:
    """The article with its numbers in one style. Code and what models wrote keep every character.

    Cells of tables that hold numbers alone get a true minus sign and a space before "%"; elsewhere this space becomes
    one that no line breaks at.
    """

    def cell(match: re.Match[str]) -> str:
        text = match["text"]
        if _OF_NUMBERS.fullmatch(text):
            text = re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", text)
            text = re.sub(r"(?<=\d)%", " %", text)
        return match["start"] + text

    parts = _VERBATIM.split(_CELL.sub(cell, article))  # text, markup, its tag, text, …
    parts[::3] = [re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text) for text in parts[::3]]
    return "".join(text for number, text in enumerate(parts) if number % 3 != 2)
