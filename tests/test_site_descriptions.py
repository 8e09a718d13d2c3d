import pytest
from bs4 import BeautifulSoup

from asprm.site.descriptions import described, description


def page(article, head=""):
    return f'<html><head>{head}</head><body><article class="bd-article">{article}</article></body></html>'


@pytest.mark.parametrize(
    ("article", "text"),
    [
        ("<h1>T</h1><p>It cuts. It labels steps by rollouts, and trains a model on them, which takes a while. No.</p>",
         "It cuts. It labels steps by rollouts, and trains a model on them, which takes a while."),
        ("<p></p><p>A <b>step</b>\nends &amp; <i>starts</i> at τ.</p><p>More.</p>", "A step ends & starts at τ."),
        (r'<p>Below <span class="math">\(\tau\)</span> it cuts.</p>', r"Below \tau it cuts."),
        ("<p>" + "word " * 60 + "</p>", "word " * 39 + "word …"),
        ("<h1>No paragraph</h1>", ""),
    ],
)  # fmt: skip
def test_a_description_is_the_first_sentences_as_plain_text(article, text):
    assert description(article) == text


def test_it_stands_in_the_head_escaped():
    soup = BeautifulSoup(described(page('<p>Says &lt;"b"&gt; &amp; goes.</p>')), "html.parser")
    assert soup.head.find("meta", {"name": "description"})["content"] == 'Says <"b"> & goes.'


def test_a_page_that_has_one_keeps_it():
    own = page("<p>Text.</p>", '<meta content="Mine." name="description" />')
    assert described(own) == own
    assert described(page("<h1>T</h1>")) == page("<h1>T</h1>")


def test_every_page_of_the_site_has_one(study):
    site = study / "data/runs/smoke/site"
    texts = {}
    for file in [*site.glob("book/*.html"), *site.glob("notebooks/*.html")]:
        [meta] = BeautifulSoup(file.read_text(), "html.parser").head.find_all("meta", {"name": "description"})
        texts[file.name] = meta["content"]
    assert len(texts) > 30
    assert all(20 <= len(text) <= 210 for text in texts.values()), texts
    assert len(set(texts.values())) == len(texts)
    assert texts["faq.html"].startswith("What people ask")  # from its front matter
