"""Include of the recipes of CONTRIBUTING.md, which a test follows: how to add a way to split, a model, problems."""

from asprm import REPOSITORY
from asprm.run.open import Run


def recipes(run: Run) -> str:
    """The recipes, with headings that fit a page of their own."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Recipes\n")[2]
    return text.partition("\n## ")[0].strip().replace("\n### ", "\n## ") + "\n"
