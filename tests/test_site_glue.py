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
