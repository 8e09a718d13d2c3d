"""Glue: numbers of a chapter that its sentences show by {glue:text}`name`."""

from asprm.run.progress import interactive


def glue(name: str, value: object) -> None:
    """Keep the value under this name for the site.

    In Jupyter the sentence shows only the name, so the value is printed for a person who runs the chapter there.
    """
    from myst_nb import glue as keep

    keep(name, value, display=False)
    if interactive():
        print(f"{name}: {value}")
