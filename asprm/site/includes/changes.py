"""Include about what changed: this run beside the one before it, and beside the reference run of its name."""

from asprm.run.open import Run
from asprm.site.differences import as_markdown, compare
from asprm.site.includes.tables import plain
from asprm.site.records import previous, record_of, reference_of


def changes(run: Run) -> str:
    """A section for each run that this one can be compared with, or a sentence that there is none."""
    others = [other for other in (previous(run), reference_of(run.profile.name)) if other]
    if not others:
        return (
            f"No earlier run of the profile `{run.profile.name}` is recorded here, and none comes with the project.\n"
        )
    now = record_of(run)
    return "\n".join(f"## Since {plain(other.name)}\n\n{as_markdown(compare(other, now))}" for other in others)
