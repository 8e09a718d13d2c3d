"""Tabs: the copies of a chapter that ran for other policies or in other runs, as tabs of one page.

Jupyter Book builds a page of every copy. Here the copies' articles move into the page of their chapter, one panel each
(`book/_static/tabs.js` shows one at a time; without scripts all stand one after the other), and the copies' own pages
leave the site: the contents at the side, "previous" and "next", links and the search know the chapter alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

ARTICLE = re.compile(r'(?<=<article class="bd-article">).*?(?=</article>)', re.DOTALL)
"""The content of a page, in the theme's frame."""
_ID = re.compile(r'(?<= id=")[^"]+(?=")')
_FIGURE = re.compile(r'(?<=<span class="caption-number">)(Fig\. [\d.]+)')
_NESTED = re.compile(r'<details[^>]*><summary><span class="toctree-toggle".*?</details>', re.DOTALL)
_NEIGHBOURS = re.compile(r'<div class="prev-next-area">.*?(?=</footer>)', re.DOTALL)
_RELATED = re.compile(r'\s*<link rel="(?:next|prev)" [^>]*>')
_INDEX = ("Search.setIndex(", ")")


@dataclass(frozen=True)
class Copy:
    """One copy of a chapter. page: such as notebooks/07_best_of_n-L. label: of its tab. suffix: of its labels."""

    page: str
    label: str
    suffix: str


def into_tabs(site: Path, order: Sequence[str], copies: Mapping[str, Sequence[Copy]], first: Mapping[str, str]) -> None:
    """Move the copies of each chapter into its page, in the built site.

    order: the pages that stay, as a reader turns them. copies: by chapter. first: the label of a chapter's own tab.
    """
    moved = {copy.page: chapter for chapter, those in copies.items() for copy in those}
    for chapter, those in copies.items():
        if those:
            file = site / f"{chapter}.html"
            articles = {copy: _article(site / f"{copy.page}.html") for copy in those}
            page = file.read_text(encoding="utf-8")
            file.write_text(_with_panels(page, articles, first[chapter]), encoding="utf-8")
    for page in moved:
        (site / f"{page}.html").unlink()
        (site / "_sources" / f"{page}.ipynb").unlink(missing_ok=True)
    titles = {page: _title(site / f"{page}.html") for page in order}
    neighbours = _neighbours(order)
    for file in sorted(site.rglob("*.html")):
        if "_static" not in file.relative_to(site).parts:
            page = file.relative_to(site).with_suffix("").as_posix()
            text = _NESTED.sub("", file.read_text(encoding="utf-8")).replace(" has-children", "")
            text = _links(text, moved)
            if page in neighbours:
                text = _RELATED.sub("", text)
                shown = _turning(page, *neighbours[page], titles)
                text = _NEIGHBOURS.sub(lambda _, shown=shown: shown, text)
            file.write_text(text, encoding="utf-8")
    _forget(site / "searchindex.js", set(moved))


# --- panels -----------------------------------------------------------------------------------------------------------


def _article(file: Path) -> str:
    match = ARTICLE.search(file.read_text(encoding="utf-8"))
    assert match, file  # the theme's own frame
    return match[0]


def _with_panels(page: str, articles: Mapping[Copy, str], first: str) -> str:
    """The page with its article as the first panel, and one panel for each copy."""
    own = ARTICLE.search(page)
    assert own
    taken, panels, buttons = set(_ID.findall(page)), [], []
    figures = _FIGURE.findall(own[0])
    everyone = [(first, "", own[0])]
    for copy, article in articles.items():
        everyone.append((copy.label, copy.suffix, _distinct(_renumbered(article, own[0], figures), taken, copy.suffix)))
        taken |= set(_ID.findall(everyone[-1][2]))
    for label, suffix, article in everyone:
        key = f"tab-{suffix.lower() or 'first'}"
        selected = "false" if suffix else "true"
        buttons.append(
            f'<button type="button" role="tab" id="{key}" aria-controls="{key}-panel" aria-selected="{selected}" '
            f'data-suffix="{escape(suffix)}">{escape(label)}</button>'
        )
        panels.append(
            f'<div role="tabpanel" id="{key}-panel" aria-labelledby="{key}" data-suffix="{escape(suffix.lower())}">'
            f"{article}</div>"
        )
    bar = f'<div class="copies" role="tablist" aria-label="Policy">{"".join(buttons)}</div>'
    script = '<script src="../_static/tabs.js"></script>'
    return page[: own.start()] + bar + "".join(panels) + script + page[own.end() :]


def _distinct(article: str, taken: set[str], suffix: str) -> str:
    """The article with the suffix after every id that the page has already, where it is set and where it is meant."""
    clashing = set(_ID.findall(article)) & taken
    if not clashing:
        return article
    names = "|".join(re.escape(name) for name in sorted(clashing, key=len, reverse=True))
    meant = re.compile(rf'((?: id="|href="#|aria-labelledby="|#))({names})(?=["\s{{,:.)])')
    return meant.sub(lambda match: f"{match[1]}{match[2]}-{suffix.lower()}", article)


def _renumbered(article: str, own: str, figures: Sequence[str]) -> str:
    """A copy's article with the chapter's numbers: of sections, and of figures, which stand in the same order."""
    mine, theirs = _section(own), _section(article)
    if mine and theirs:
        article = re.sub(rf'(?<=<span class="section-number">){re.escape(theirs)}(?=[\d. ])', mine, article)
    for number, other in zip(figures, _FIGURE.findall(article), strict=False):
        article = re.sub(rf"{re.escape(other)}(?!\d)", lambda _, number=number: f"\0{number}", article)
    return article.replace("\0", "")


def _section(article: str) -> str:
    """The number of an article's title, such as "7.7."."""
    match = re.search(r'<span class="section-number">([\d.]+)', article)
    return match[1] if match else ""


# --- the rest of the site ---------------------------------------------------------------------------------------------


def _links(text: str, moved: Mapping[str, str]) -> str:
    """Links to copies as links to their panels in the chapter."""

    def to_chapter(match: re.Match[str]) -> str:
        name, anchor = match["name"], match["anchor"] or ""
        for page, chapter in moved.items():
            if Path(page).name == name:
                suffix = name.removeprefix(f"{Path(chapter).name}-").lower()
                return f'href="{match["folder"]}{Path(chapter).name}.html{anchor or f"#tab-{suffix}-panel"}"'
        return match[0]

    return re.sub(r'href="(?P<folder>[^"#:]*?)(?P<name>[\w.-]+)\.html(?P<anchor>#[^"]*)?"', to_chapter, text)


def _neighbours(order: Sequence[str]) -> dict[str, tuple[str | None, str | None]]:
    """The pages before and after each page."""
    before, after = ({b: a for a, b in pairwise(order)}, dict(pairwise(order)))
    return {page: (before.get(page), after.get(page)) for page in order}


def _title(file: Path) -> str:
    """The HTML of a page's title, as the contents at the side write it."""
    match = re.search(r'<h1>(.*?)<a class="headerlink"', _article(file), re.DOTALL)
    return match[1] if match else file.stem


def _turning(page: str, before: str | None, after: str | None, titles: Mapping[str, str]) -> str:
    def anchor(target: str, name: str, title: str, icon: str) -> Iterator[str]:
        depth = "../" * page.count("/")
        words = f'<div class="prev-next-info"><p class="prev-next-subtitle">{title}</p>'
        words += f'<p class="prev-next-title">{titles[target]}</p></div>'
        arrow = f'<i class="fa-solid fa-angle-{icon}"></i>'
        inside = arrow + words if icon == "left" else words + arrow
        yield f'<a class="{icon}-{name}" href="{depth}{target}.html" title="{title} page">{inside}</a>'

    parts = [*(anchor(before, "prev", "previous", "left") if before else ())]
    parts += [*(anchor(after, "next", "next", "right") if after else ())]
    return f'<div class="prev-next-area">{"".join(parts)}</div>'


def _forget(file: Path, pages: set[str]) -> None:
    """Take pages out of the index that the search reads."""
    text = file.read_text(encoding="utf-8")
    index = json.loads(text.removeprefix(_INDEX[0]).removesuffix(_INDEX[1]))
    stay = [number for number, name in enumerate(index["docnames"]) if name not in pages]
    new = {old: number for number, old in enumerate(stay)}
    for key in ("docnames", "filenames", "titles"):
        index[key] = [index[key][old] for old in stay]
    for key in ("terms", "titleterms"):
        index[key] = {word: kept for word, docs in index[key].items() if (kept := _kept(docs, new)) is not None}
    for key in ("alltitles", "indexentries"):
        rows = {word: [[new[r[0]], *r[1:]] for r in entries if r[0] in new] for word, entries in index[key].items()}
        index[key] = {word: entries for word, entries in rows.items() if entries}
    file.write_text(_INDEX[0] + json.dumps(index, ensure_ascii=False) + _INDEX[1], encoding="utf-8")


def _kept(docs: Any, new: Mapping[int, int]) -> Any:
    """One document or a list of them, by their new numbers; None where none stays."""
    kept = [new[one] for one in ([docs] if isinstance(docs, int) else docs) if one in new]
    return (kept[0] if len(kept) == 1 else kept) if kept else None
