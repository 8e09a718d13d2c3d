"""Glue: numbers of a chapter that its sentences show by {glue:text}`name`."""

import re

from asprm.run.progress import interactive


def glue(name: str, value: object) -> None:
    """Keep the value under this name for the site. A number in a text is written as on all pages: "−72.5 %".

    In Jupyter the sentence shows only the name, so the value is printed for a person who runs the chapter there.
    """
    from myst_nb import glue as keep

    if isinstance(value, str):
        value = re.sub(r"(?<=\d)%", " %", re.sub(r"^-(?=\d)", "\N{MINUS SIGN}", value))
    keep(name, value, display=False)
    if interactive():
        print(f"{name}: {value}")
