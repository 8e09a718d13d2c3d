"""Publish: what follows from the repository's address, `repository: url` in _config.yml.

    python -m asprm.site.publish

With an address, each page has links to its source, to the list of issues and, for a chapter, to Binder and Colab. The
citation names it, and this command writes it into CITATION.cff and puts badges into README.md. Without one there is
none of them. Nothing else in the project names an address of its own.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from asprm import REPOSITORY

CONFIG = "_config.yml"
BADGES = "<!-- badges: written by `python -m asprm.site.publish` from _config.yml -->"
_ADDRESS = re.compile(r"https://(?P<host>[\w.-]+)/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)/?")
_CODE = re.compile(r"^repository-code: .*\n", re.MULTILINE)
_BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")
_LAUNCH = ("binderhub_url", "colab_url")


class Repository(NamedTuple):
    """Where the project is hosted."""

    host: str
    owner: str
    name: str

    @property
    def url(self) -> str:
        return f"https://{self.host}/{self.owner}/{self.name}"

    @property
    def pages(self) -> str | None:
        """The site's address by GitHub Pages; None: another host."""
        return f"https://{self.owner.lower()}.github.io/{self.name}/" if self.host == "github.com" else None


def repository(source: Path = REPOSITORY) -> Repository | None:
    """Where the project in the folder `source` is hosted; None: it says nothing. ValueError: not such an address."""
    return _repository(yaml.safe_load((source / CONFIG).read_text(encoding="utf-8")))


def _repository(config: dict[str, Any]) -> Repository | None:
    url = (config.get("repository") or {}).get("url") or ""
    if not url:
        return None
    if not (parts := _ADDRESS.fullmatch(url)):
        raise ValueError(f"{CONFIG}: repository: url: {url}: expected https://<host>/<owner>/<name>, or nothing")
    return Repository(**parts.groupdict())


def with_buttons(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the buttons that the repository's address makes possible, and without any if it has none.

    config: the content of _config.yml.
    """
    config, at = copy.deepcopy(config), _repository(config)
    config.setdefault("html", {}).update(dict.fromkeys(_BUTTONS, at is not None))
    if at is None:
        for name in _LAUNCH:
            config.get("launch_buttons", {}).pop(name, None)
    return config


def citation(source: Path = REPOSITORY) -> str:
    """BibTeX of the study, from CITATION.cff and the repository's address."""
    cff = yaml.safe_load((source / "CITATION.cff").read_text(encoding="utf-8"))
    names = (f"{{{author['name']}}}" for author in cff["authors"])
    at = repository(source)
    fields = {
        "title": cff["title"],
        "author": " and ".join(names),
        "version": cff["version"],
        "url": at.url if at else None,
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return ",\n".join(["@software{asprm", *lines]) + "\n}"


def follow(source: Path = REPOSITORY) -> list[Path]:
    """Write the repository's address into CITATION.cff and badges into README.md. Returns the files that changed."""
    at = repository(source)
    cff, readme = (source / name for name in ("CITATION.cff", "README.md"))
    license_line = re.compile(r"(?<=^license: ).*\n", re.MULTILINE)
    cited = _CODE.sub("", cff.read_text(encoding="utf-8"))
    if at:
        cited = license_line.sub(lambda match: f'{match[0]}repository-code: "{at.url}"\n', cited, count=1)
    shown = re.sub(rf"(?<={re.escape(BADGES)}\n)(?:\[.*\n)?", _badges(at), readme.read_text(encoding="utf-8"), count=1)
    changed = []
    for file, text in ((cff, cited), (readme, shown)):
        if text != file.read_text(encoding="utf-8"):
            file.write_text(text, encoding="utf-8")
            changed.append(file)
    return changed


def _badges(at: Repository | None) -> str:
    """One line of Markdown with its end; "" without an address, or where the host is not known to run the workflows."""
    if not (at and at.pages):
        return ""
    workflow = f"{at.url}/actions/workflows"
    badges = [f"[![{name}]({workflow}/{name}.yml/badge.svg)]({workflow}/{name}.yml)" for name in ("tests", "site")]
    return f"{' '.join(badges)} [Read the site]({at.pages})\n"


def main() -> int:
    """Let all files follow the address. Exit status: 0, or 1 after an error."""
    try:
        changed = follow()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"wrote {file.relative_to(REPOSITORY)}" for file in changed) or "nothing to change")
    return 0


if __name__ == "__main__":
    sys.exit(main())
