"""Numbers for sentences: kept for the site, and printed for a person who runs a chapter in Jupyter."""

import pytest

from asprm.site import glue as module
from asprm.site.glue import glue


@pytest.mark.parametrize("watched", [True, False])
def test_a_number_is_kept_and_printed_only_for_a_person(monkeypatch, capsys, watched):
    kept = []
    monkeypatch.setattr("myst_nb.glue", lambda *given, **options: kept.append((given, options)))
    monkeypatch.setattr(module, "interactive", lambda: watched)
    glue("tau", "0.148")
    assert kept == [(("tau", "0.148"), {"display": False})]
    assert capsys.readouterr().out == ("tau: 0.148\n" if watched else "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("72.5%", "72.5 %"), ("-0.3", "\N{MINUS SIGN}0.3"), ("2024-25", "2024-25"), ("M", "M"), (7, 7)],
)
def test_a_number_in_a_text_is_written_as_on_all_pages(monkeypatch, value, shown):
    kept = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, **_: kept.update({name: value}))
    glue("a", value)
    assert kept == {"a": shown}
