"""Descriptions: what a search engine shows below a page's title, taken from the page's first sentences.

A page may say it itself, in its front matter:

    ---
    myst: {html_meta: {description: How the threshold is found.}}
    ---
"""

from __future__ import annotations

import re
from html import escape, unescape

from asprm.site.tabs import ARTICLE

_GIVEN = re.compile(r'<meta [^>]*name="description"')
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_SHORT, _LONG = 70, 200  # characters: a shorter text gets another sentence, a longer one is cut


def described(page: str) -> str:
    """The page with a description in its head, unless it has one or has no paragraph."""
    article = ARTICLE.search(page)
    if _GIVEN.search(page) or not article or not (text := description(article[0])):
        return page
    return page.replace("</head>", f'  <meta name="description" content="{escape(text)}">\n</head>', 1)


def description(article: str) -> str:
    """The first sentences of an article as plain text, some 70 to 200 characters; "" if it has no paragraph."""
    for paragraph in _PARAGRAPH.finditer(article):
        words = re.sub(r"\\[()]", "", unescape(re.sub(r"<[^>]*>", "", paragraph[1])))
        sentences = _SENTENCE.split(" ".join(words.split()))
        text = sentences[0]
        for sentence in sentences[1:]:
            if len(text) >= _SHORT:
                break
            text += f" {sentence}"
        if text:
            return text if len(text) <= _LONG else text[:_LONG].rpartition(" ")[0].rstrip(",;:") + " …"
    return ""
