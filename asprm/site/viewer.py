"""Viewer: solutions, guided decodings, candidates and the ledger as pieces of a page that a reader can work with.

A `View` is HTML that reads without scripts, with its data beside it as JSON. `assets/*.js` turn it into something to
work with: plain JavaScript that asks no server for anything. The site has one copy of scripts and styles
(`into_site`), a notebook that a person runs has them in each output, and `page` writes them into one file.

What is shown was written by models and is data: every text is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asprm.run.progress import interactive
from asprm.split import adaptive, cut

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("common.js", "tokens.js", "candidates.js", "walks.js", "ledger.js", "define.js")
NAME = "viewer"  # of the site's files, with .js and .css
_ELEMENT = "asprm-view"
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&/\u2028\u2029"}  # so that no text ends the script or looks like code

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 66rem; padding: 1rem; }}
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{view}
</main>
<script>
{script}</script>
</body>
</html>
"""


@dataclass(frozen=True)
class View:
    """A piece of a page. kind: the script that it is for. data: JSON values. plain: HTML. alt: one line of text."""

    kind: str
    data: Mapping[str, Any]
    plain: str
    alt: str

    def html(self) -> str:
        """The piece alone; scripts and styles come from the page."""
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        data = data.replace(r"\\", r"\u005c").translate(_UNSAFE)
        return (
            f'<{_ELEMENT} kind="{self.kind}" class="mathjax_ignore">{self.plain}'
            f'<script type="application/json">{data}</script></{_ELEMENT}>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        own = f"<style>{style()}</style><script>{script()}</script>" if interactive() else ""
        return {"text/html": self.html() + own, "text/plain": self.alt}


@cache
def script() -> str:
    """The program of all kinds of views."""
    parts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


@cache
def style() -> str:
    """The styles of all kinds of views, which take colours from the page's theme, if it has one."""
    return (ASSETS / "viewer.css").read_text(encoding="utf-8")


def page(view: View, title: str) -> str:
    """A file of its own with one view in it."""
    return _PAGE.format(title=escape(title), style=style(), script=script(), view=view.html())


def into_site(site: Path) -> None:
    """Write scripts and styles into a built site."""
    (site / "_static").mkdir(exist_ok=True)
    for suffix, text in (("js", script()), ("css", style())):
        (site / "_static" / f"{NAME}.{suffix}").write_text(text, encoding="utf-8")


def with_assets(html: str, static: str) -> str:
    """The page with the site's scripts and styles, if there is a view on it. static: the way to their folder."""
    if f"<{_ELEMENT} " not in html:
        return html
    links = f'<link rel="stylesheet" href="{static}/{NAME}.css"><script defer src="{static}/{NAME}.js"></script>'
    return html.replace("</head>", f"{links}\n</head>", 1)


# --- solutions, token by token ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Solution:
    """One solution of T tokens, to be looked at token by token.

    title: what it is, in some words.
    problem, text: of the problem and of the solution.
    char_ends: (T,) characters of the text up to the end of each token, see `asprm.models.align.Speller`.
    confidences: (T,).
    correct: whether it is right; None if nobody knows.
    values: by name (label, score), what is known about the places after some tokens: number of tokens, value.
    """

    title: str
    problem: str
    text: str
    char_ends: NDArray[np.integer]
    confidences: NDArray[np.floating]
    correct: bool | None = None
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError: not one end and one confidence for each token, ends that fall, or that leave some text out."""
        ends, tokens = np.asarray(self.char_ends), len(self.confidences)
        if len(ends) != tokens or not tokens:
            raise ValueError(f"{len(ends)} token ends and {tokens} confidences; expected one each for every token")
        if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != len(self.text):
            raise ValueError(
                f"token ends should rise to {len(self.text)}, the characters of the solution; the last is {ends[-1]}"
            )


def tokens(
    solutions: Sequence[Solution],
    *,
    tau: float | None,
    rollouts: int,
    ends: Sequence[ArrayLike] | None = None,
    code: bool = False,
    first: int = 0,
) -> View:
    """Solutions with their confidences, and a threshold that a reader moves.

    tau: the threshold at the beginning; None: steps end at `ends`, and nothing moves.
    rollouts: J, of each step that does not end the solution.
    ends: token ends (K,) of each solution's steps, where there is no threshold.
    code: whether texts are shown in letters of one width.
    first: the number of the solution that is shown first.

    Confidences are compared with the threshold as `asprm.split.adaptive` does: those in single precision by the value
    that they have there, whatever the digits. ValueError: there are no solutions.
    """
    if not solutions:
        raise ValueError("viewer: there are no solutions to show")
    single = all(np.asarray(one.confidences).dtype == np.float32 for one in solutions)
    given = [None] * len(solutions) if ends is None else [np.asarray(one).tolist() for one in ends]
    rows = [_row(one, fixed) for one, fixed in zip(solutions, given, strict=True)]
    data = {"tau": tau, "rollouts": rollouts, "single": single, "code": code, "first": first, "solutions": rows}
    one = solutions[first]
    steps = adaptive(np.asarray(one.confidences, float), tau) if tau is not None else np.asarray(given[first])
    return View("tokens", data, _plain(one, steps), f"a viewer of {len(solutions)} solutions")


def as_html(written: str) -> str:
    """What a model or a person wrote, as HTML. A backslash is a number, for \\( would make the page load MathJax."""
    return escape(written).replace("\\", "&#92;")


def _row(one: Solution, ends: list[int] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "title": one.title,
        "problem": one.problem,
        "tokens": cut(one.text, one.char_ends),
        "confidences": [float(str(c)) for c in np.asarray(one.confidences)],  # float32: the fewest digits that tell it
        "values": {
            name: {str(end): float(value) for end, value in by_end.items()} for name, by_end in one.values.items()
        },
    }
    if one.correct is not None:
        row["correct"] = bool(one.correct)
    return row if ends is None else row | {"ends": ends}


def _plain(one: Solution, ends: NDArray[np.integer]) -> str:
    """A solution as a list of its steps, for pages without scripts."""
    pieces = cut(one.text, np.asarray(one.char_ends)[ends - 1])
    items = []
    for end, piece in zip(ends.tolist(), pieces, strict=True):
        said = [f"{name} {by_end[end]:.2g}" for name, by_end in one.values.items() if end in by_end]
        items.append(f'<li><span class="text">{as_html(piece)}</span>{"".join(f" <em>({x})</em>" for x in said)}</li>')
    verdict = {True: ", right", False: ", wrong", None: ""}[one.correct]
    return (
        f"<p>{as_html(one.title)}{verdict}, in {len(items)} steps. More can be seen where the page may run scripts.</p>"
        f'<p class="problem">{as_html(one.problem)}</p><ol class="steps">{"".join(items)}</ol>'
    )
