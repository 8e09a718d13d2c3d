"""Check a built site: outside assets, tracebacks, images without text, dangling references."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Fault(NamedTuple):
    """A fault of one page of the built site."""

    page: str  # path inside the site
    what: str

    def __str__(self) -> str:
        return f"{self.page}: {self.what}"


ASSETS = {  # elements and attributes whose address a browser fetches by itself
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
ASSET_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "dns-prefetch", "preconnect", "manifest"}
OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
CSS_FETCH = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
SCRIPT_FETCH = re.compile(r"""["'`]((?:https?:)?//[^"'`\s]+\.(?:js|mjs|css|woff2?|json)\b[^"'`\s]*)""", re.IGNORECASE)


class Page(HTMLParser):
    """One page: its anchors, its local references, and the faults that the page alone shows."""

    def __init__(self, name: str, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.name = name
        self.anchors: set[str] = set()
        self.references: list[str] = []
        self.faults: list[Fault] = []
        self.inside: str | None = None  # "script", "style" or neither
        self.feed(html)
        self.close()

    def fault(self, what: str) -> None:
        """Note a fault of this page."""
        self.faults.append(Fault(self.name, what))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.inside = tag if tag in ("script", "style") else self.inside
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        if "ipythontb" in values.get("class", "") or "traceback" in values.get("class", "").split():
            self.fault("a traceback: a notebook cell failed")
        if tag == "a" and "href" in values:
            self.references.append(values["href"])
        elif tag == "link" and values.get("href"):
            if ASSET_LINKS & set(values.get("rel", "").split()):
                self.asset(tag, values["href"])
            else:
                self.references.append(values["href"])
        for key in ASSETS.get(tag, ()):
            if values.get(key):
                for url in values[key].split(",") if key == "srcset" else [values[key]]:
                    self.asset(tag, url.split()[0] if key == "srcset" else url)
        self.css(values.get("style", ""))
        self.alternatives(tag, values)

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.css(data)
        elif self.inside == "script":
            for url in SCRIPT_FETCH.findall(data):
                self.fault(f"a script contains the address of an outside asset: {url}")
        elif "Traceback (most recent call last)" in data:
            self.fault("a traceback: a notebook cell failed")

    def asset(self, tag: str, url: str) -> None:
        """Note what the browser fetches: a fault if it is on another machine, else a local reference."""
        if OUTSIDE.match(url):
            self.fault(f"<{tag}> fetches {url} from another machine: keep a copy in book/_static")
        else:
            self.references.append(url)

    def css(self, text: str) -> None:
        """Note assets of a style that are on another machine."""
        for url in CSS_FETCH.findall(text):
            self.fault(f"a style fetches {url} from another machine")

    def alternatives(self, tag: str, values: dict[str, str]) -> None:
        """Note an image or drawing without alternative text; Sphinx puts the file's path in place of a missing one."""
        if tag == "img" and values.get("role") != "presentation" and values.get("aria-hidden") != "true":
            alt, src = values.get("alt", "").strip(), unquote(values.get("src", ""))
            if not alt or alt == src or alt.endswith(Path(urlsplit(src).path).name or "/"):
                self.fault(
                    f"<img src={src[:80]!r}> has no alt text: in a notebook, "
                    'give its cell the metadata {"mystnb": {"image": {"alt": "..."}}}'
                )
        if tag == "svg" and values.get("role") == "img" and not (values.keys() & {"aria-label", "aria-labelledby"}):
            self.fault('<svg role="img"> has no aria-label')


def check_site(site: Path) -> list[Fault]:
    """All faults of a built site, in the order of its pages; an empty list if there are none.

    A fault is: an asset on another machine, a traceback, an image without alternative text, or a reference to a file or
    an anchor that the site does not have. Links to pages of other sites are allowed.
    """
    files = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.parts]  # it holds theme templates
    pages = {file: Page(file.relative_to(site).as_posix(), file.read_text(encoding="utf-8")) for file in files}
    if not pages:
        return [Fault(".", f"no pages in {site}")]
    faults = []
    for file, page in pages.items():
        faults += page.faults
        faults += [Fault(page.name, what) for url in page.references if (what := dangling(url, file, site, pages))]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        name = sheet.relative_to(site).as_posix()
        faults += [Fault(name, f"a style fetches {url} from another machine") for url in CSS_FETCH.findall(text)]
    return list(dict.fromkeys(faults))


def dangling(url: str, file: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """The fault of a reference in `file`, in words; None if it has none or leads to another site."""
    parts = urlsplit(url)
    if parts.netloc or parts.scheme in ("http", "https", "mailto", "data", "javascript"):
        return None
    if parts.scheme or parts.path.startswith("/"):
        return f"{url} is valid only on the machine that built the site: make it relative"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"dangling reference {url}: no such file in the site"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors and anchor != "top":
        return f"dangling reference {url}: no such anchor there"
    return None
