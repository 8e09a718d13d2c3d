"""Includes: the tables and numbers of the prose pages, made from a run's artifacts and never typed by hand.

Each function returns the Markdown of one `{include} generated/<name>.md` on a page in `book/`. The functions read the
profile, the manifests and the tables of a finished run; they compute only what is one call of another module.
"""

from collections.abc import Callable
from pathlib import Path

from asprm.run.open import Run
from asprm.site.includes import (
    changes,
    coverage,
    landing,
    noise,
    performance,
    problems,
    project,
    provenance,
    recipes,
    references,
    results,
    settings,
    verification,
)
from asprm.site.own_pages import own_pages

INCLUDES: dict[str, Callable[[Run], str]] = {
    "what_ran": settings.what_ran,
    "outcome": landing.outcome,
    "facts": landing.facts,
    "citation": landing.citation,
    "disclaimer": landing.disclaimer,
    "headline": results.headline,
    "overview": results.overview,
    "tally": results.tally,
    "picture": results.picture,
    "families": problems.families,
    "examples": problems.examples,
    "misconceptions": problems.misconceptions,
    "profiles": settings.profiles,
    "settings": settings.settings,
    "reward_models": settings.reward_models,
    "deviations": settings.deviations,
    "recipes": recipes.recipes,
    "reference_runs": references.reference_runs,
    "provenance": provenance.provenance,
    "notebooks": provenance.notebooks,
    "changelog": project.changelog,
    "api": project.api_contents,
    "hosted": project.hosted,
    "changes": changes.changes,
    "artifacts": provenance.artifacts,
    "coverage": coverage.coverage,
    "budget": coverage.budget,
    "promises": performance.promises,
    "gpu": performance.gpu,
    "stage_seconds": performance.stage_seconds,
    "noise": noise.noise,
    "verification_held": verification.verification_held,
    "verification_graders": verification.verification_graders,
    "verification_disagreements": verification.verification_disagreements,
    "verification_programs": verification.verification_programs,
    "verification_types": verification.verification_types,
    "verification_made": verification.verification_made,
}


def write_includes(run: Run, folder: Path) -> None:
    """Write every include into the new folder `folder`. MissingArtifact: the run has not finished a stage."""
    folder.mkdir(parents=True)
    for name, make in INCLUDES.items():
        (folder / f"{name}.md").write_text(make(run), encoding="utf-8")
    for name, text in own_pages(run).items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
