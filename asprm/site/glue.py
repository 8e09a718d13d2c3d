"""Glue: a chapter's numbers, put into its sentences where they say {glue:text}`name`."""

from asprm.run.progress import interactive


def glue(name: str, value: object) -> None:
    """Keep the value under this name for the site. Jupyter shows the bare name in the sentence, so that a person who
    runs the chapter there is told the value here.
    """
    from myst_nb import glue as keep

    keep(name, value, display=False)
    if interactive():
        print(f"{name}: {value}")
