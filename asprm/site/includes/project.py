"""Includes about the project: its changelog and API, and where a chapter opens without installing."""

from asprm import REPOSITORY
from asprm.run.open import Run
from asprm.site import api, publish


def changelog(run: Run) -> str:
    """CHANGELOG.md without its title, for a page of its own."""
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n")[2].strip() + "\n"


def api_contents(run: Run) -> str:
    """The pages of the API reference, with the modules of each."""
    return api.contents()


def hosted(run: Run) -> str:
    """How a chapter is opened on a machine of somebody else; nothing where the project has no address."""
    at = publish.repository()
    if at is None:
        return ""
    return (
        "**Without installing.** The rocket above a chapter opens it on Binder or Colab. Binder installs the project, "
        f"which takes some minutes. In Colab, a first cell has to do so: `!git clone --depth 1 {at.url}`, "
        f"`%cd {at.name}`, `!pip install -e .`\n"
    )
