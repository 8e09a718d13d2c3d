"""PDF: all pages of a built site in one file, with page numbers and bookmarks, printed by Chromium.

    python -m asprm.site.pdf --profile tiny

The pages' articles are put into one document, in the order in which a reader turns the site's pages; links between them
become links inside it. Of a chapter with tabs the first is printed. Code is left out, it is in the
notebooks; so is the API reference.
`book/_static/print.css` says how things look on paper.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from asprm.run.artifacts import atomic
from asprm.run.open import open_run
from asprm.run.sections import ProfileError
from asprm.site.api import PAGE
from asprm.site.tabs import ARTICLE

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_NEXT = re.compile(r'class="right-next"\s+href="([^"#]+)"')
_START = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')
_TITLE = re.compile(r"<h1>(.*?)(?:<a class=\"headerlink\".*?)?</h1>", re.DOTALL)
_HEAD = re.compile(r'<link\b[^>]*rel="stylesheet"[^>]*>|<script[^>]*>window\.MathJax = .*?</script>|<script[^>]*mathjax/[^>]*>\s*</script>', re.DOTALL)  # fmt: skip  # noqa: E501
_LINK = re.compile(r'<a class="headerlink"[^>]*>.*?</a>', re.DOTALL)
_FOLDED = re.compile(  # solutions and asides
    r'<details(?=[^>]*class="[^"]*(?:admonition|sd-dropdown|toggle))(?![^>]*\bopen\b)'
)
_REFERENCE = re.compile(r'(?P<name>\b(?:href|src|srcset))="(?P<url>[^"]*)"')
_ID = re.compile(r'(?P<name>\b(?:id|for|aria-labelledby|aria-controls))="(?P<id>[^"]+)"')
_STYLE = """
.bd-article > .page { break-before: page; }
.bd-article details.code, .bd-article [role="tabpanel"] ~ [role="tabpanel"] { display: none; }
.bd-article .cover { padding-top: 60mm; text-align: center; }
.bd-article .print-contents li { margin: 0.2rem 0; }
@page :first { @bottom-center { content: ""; } }
"""


class PdfError(Exception):
    """The PDF could not be made; the message says what to do."""


def make_pdf(site: Path, out: Path) -> Path:
    """Print the built site in the folder `site` into the file `out`. Returns it. PdfError: no site, or no browser."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise PdfError(f"pdf: no browser to print with: expected one of {', '.join(BROWSERS)}\n  install Chromium")
    source = site / f".print-{os.getpid()}.html"
    source.write_text(document(site), encoding="utf-8")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses it to the system's administrator
    options = ["--headless", "--no-pdf-header-footer", "--generate-pdf-document-outline", "--virtual-time-budget=60000"]
    try:
        with atomic(out) as temporary:
            command = [browser, *sandbox, *options, f"--print-to-pdf={temporary}", source.resolve().as_uri()]
            result = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if result.returncode or not temporary.is_file():
                raise PdfError(f"pdf: {browser} could not print {site}\n  {result.stderr.strip()[-500:]}")
    finally:
        source.unlink()
    return out


def document(site: Path) -> str:
    """One HTML document of all pages of a site, to stand in the site's folder. PdfError: there is no site."""
    names = order(site)
    texts = {name: (site / name).read_text(encoding="utf-8") for name in names}
    articles = {name: match[0] for name, text in texts.items() if (match := ARTICLE.search(text))}
    numbers = {name: number for number, name in enumerate(articles)}
    head = dict.fromkeys(
        _moved(part, name, numbers)
        for name, text in texts.items()
        for part in _HEAD.findall(text.partition("</head>")[0])
    )
    titles = {
        name: match[1] if (match := _TITLE.search(article)) else escape(name) for name, article in articles.items()
    }
    listed = "".join(f'<li><a href="#p{numbers[name]}">{title}</a></li>' for name, title in titles.items())
    title = titles[names[0]]
    pages = "".join(
        f'<section class="page" id="p{numbers[name]}">{_moved(article, name, numbers)}</section>'
        for name, article in articles.items()
    )
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{_plain(title)}</title>'
        f'{"".join(head)}<style>{_STYLE}</style></head><body><main class="bd-content"><article class="bd-article">'
        f'<div class="cover"><p style="font-size: 28pt">{title}</p></div>'
        f'<nav class="page print-contents"><p style="font-size: 16pt">Contents</p><ol>{listed}</ol></nav>{pages}'
        "</article></main></body></html>"
    )


def order(site: Path) -> list[str]:
    """Paths of the pages as a reader turns them, without the API reference. PdfError: there is no site."""
    index = site / "index.html"
    start = _START.search(index.read_text(encoding="utf-8")) if index.is_file() else None
    if start is None:
        raise PdfError(f"pdf: no site in {site}\n  build it with:  make book")
    pages, page = [], start[1]
    while page not in pages:
        pages.append(page)
        following = _NEXT.search((site / page).read_text(encoding="utf-8"))
        page = _resolved(following[1], page) if following else page
    return [page for page in pages if not page.startswith(PAGE)]


def _resolved(url: str, page: str) -> str:
    """A relative address on a page as a path inside the site."""
    return os.path.normpath(PurePosixPath(page).parent / unquote(url)).replace(os.sep, "/")


def _moved(html: str, page: str, numbers: dict[str, int]) -> str:
    """HTML of a page with ids of its own in the document, and with addresses that hold in the site's folder."""

    def reference(match: re.Match[str]) -> str:
        url = unescape(match["url"])
        path, _, anchor = url.partition("#")
        if re.match(r"[a-z]+:|//", url):
            return match[0]
        target = _resolved(path, page) if path else page
        if match["name"] == "href" and target in numbers:
            return f'href="#p{numbers[target]}{"-" + escape(anchor) if anchor else ""}"'
        return f'{match["name"]}="{escape(target)}"'

    html = _REFERENCE.sub(reference, html).replace(' loading="lazy"', "")
    if page not in numbers:
        return html
    own = f"p{numbers[page]}-"
    html = _ID.sub(lambda match: f'{match["name"]}="{own}{match["id"]}"', html).replace("url(#", f"url(#{own}")
    html = _LINK.sub("", html)
    return _FOLDED.sub(r"\g<0> open", html)


def _plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def main(arguments: list[str] | None = None) -> int:
    """Print the site of a profile's run. Exit status: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m asprm.site.pdf", description="Print the site of a run as a PDF.")
    parser.add_argument("--profile", default="tiny", help="a profile's name or file (default: tiny)")
    options = parser.parse_args(arguments)
    try:
        run = open_run(options.profile, stage="claims", quiet=True)
        print(f"pdf: {make_pdf(run.base / 'site', run.base / f'{run.profile.name}.pdf')}")
    except (PdfError, ProfileError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
