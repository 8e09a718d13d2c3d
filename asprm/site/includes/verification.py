"""Includes about the checks on real data: the figures that `python -m asprm.site.verification` measured, as tables."""

import json
from typing import Any

from asprm import REPOSITORY
from asprm.run.open import Run
from asprm.site.includes.provenance import commit_of
from asprm.site.includes.tables import percent, table

VERIFIED = REPOSITORY / "data" / "reference" / "verification.json"
NAMES_OF_GRADERS = {"ours": "here", "authors": "regex", "math_verify": "math-verify"}


def verified() -> dict[str, Any]:
    """The figures that `python -m asprm.site.verification` measured on real data."""
    return json.loads(VERIFIED.read_text(encoding="utf-8"))


def verification_held(run: Run) -> str:
    """What must hold, with its counts."""
    found = verified()
    rows = [
        (row["says"], row["asked"].replace(" ", "\u00a0"), f"{row['held']:,} of {row['of']:,}") for row in found["held"]
    ]
    samples = sorted((row["form"], row["ours_correct"]) for row in found["summary"] if row["data"] == _SAMPLES)
    said = ", ".join(f"{share:.3f}".removeprefix("0") for _, share in samples)
    return (
        table(["what must hold", "asked", "it holds for"], rows, numbers=(2,))
        + f"\nOf the authors' 256 samples for each of {len(samples)} GSM8K problems these shares are right: {said}.\n"
    )


_SAMPLES = "MetaMath-Llama samples"


def verification_graders(run: Run) -> str:
    """Per kind of answer, how often each grader is wrong; on samples, of unknown truth, how often it differs."""
    found = verified()["summary"]
    rows = []
    for row in found:
        if row["data"] != _SAMPLES:
            wrong = [
                "–" if row[f"{grader}_wrong"] is None else int(row[f"{grader}_wrong"]) for grader in NAMES_OF_GRADERS
            ]
            rows.append((f"{row['data']}: {row['form']}", row["completions"], *wrong))
    samples = [row for row in found if row["data"] == _SAMPLES]
    counts = [
        sum(int(row[key]) for row in samples) for key in ("completions", "authors_differs", "math_verify_differs")
    ]
    rows.append((_SAMPLES, counts[0], "–", *counts[1:]))
    return table(["answers", "count", *NAMES_OF_GRADERS.values()], rows, numbers=range(1, 5))


def verification_disagreements(run: Run) -> str:
    """Who says what where the graders differ, with examples."""
    rows = []
    for row in verified()["disagreements"]:
        says = [{True: "right", False: "wrong", None: "–"}[row[grader]] for grader in NAMES_OF_GRADERS]
        examples = [text[:48] + "…" * (len(text) > 48) for text in row["examples"].replace("`", "'").split("; ")[:3]]
        shown = "<br>".join(f"`{text}`" for text in examples)
        rows.append((f"{row['data']}: {row['form']}", *says, row["completions"], shown))
    header = ["answers", *NAMES_OF_GRADERS.values(), "count", "for example: true ← given"]
    return table(header, rows, numbers=(4,))


def verification_programs(run: Run) -> str:
    """Outcomes of the two models' programs beside the authors' verdicts, and every disagreement."""
    found = verified()
    rows = [
        (f"`{row['model']}`", "passed" if row["authors"] else "failed", row["outcome"], row["programs"])
        for row in found["programs"]
    ]
    differing, failing = found["differing_programs"], found["failing_references"]
    parts = [table(["completions of", "the authors say", "outcome here", "programs"], rows, numbers=(3,))]
    if differing:
        parts.append("Where the verdicts differ:\n")
        rows = [(f"`{x['model']}`", x["problem"], x["outcome"], f"`{x['detail']}`") for x in differing]
        parts.append(table(["completions of", "problem", "outcome here", "detail"], rows))
    else:
        total = sum(row["programs"] for row in found["programs"])
        parts.append(f"There is nothing to explain: all {total} verdicts agree.\n")
    if failing:
        parts.append(
            "Reference solutions that do not pass: " + ", ".join(f"{k} ({v})" for k, v in failing.items()) + "\n"
        )
    return "\n".join(parts)


def verification_types(run: Run) -> str:
    """The token types of the authors' marks beside their Table 8, as a figure and a table."""
    import pandas as pd

    from asprm.figures.tokens import types_beside_paper
    from asprm.results.paper import table as paper_table

    found = verified()
    types = pd.DataFrame(found["mark_types"]).set_index("type")
    paper = paper_table(8).droplevel(0).set_axis(["share", "decision_share"], axis=1) / 100
    types = types[types["tokens"] > 0]
    rows = [
        (name, percent(row["share"]), _of_paper(paper, name, "share"), percent(row["decision_share"]),
         f"{100 * row['decision_share_low']:.1f} to {100 * row['decision_share_high']:.1f}",
         _of_paper(paper, name, "decision_share"))
        for name, row in types.iterrows()
    ]  # fmt: skip
    header = ["type", "all tokens", "Table 8", "at marks", "95 % interval", "Table 8"]
    marks = found["marks"]
    return (
        f"The {marks['samples']:,} samples have {marks['mean']:.2f} marks each (median {marks['median']}, "
        f"{marks['least']} to {marks['most']}), and {marks['inner_mean']:.2f} without the one at the end. "
        f"{percent(marks['inner_after_newline'])} of these follow a line break, and "
        f"{percent(marks['newlines_marked'])} of the line breaks are marked.\n\n"
        f'<div class="cell_output">{types_beside_paper(types, paper).html()}</div>\n\n'
        + table(header, rows, numbers=range(1, 6)).replace(" %", "\u00a0%")
        + f"\nPunctuation, numbers and formulas together are {percent(types.loc[_SIGNS, 'share'].sum())} of the tokens "
        f"here and {percent(paper.loc[_SIGNS, 'share'].sum())} in Table 8.\n"
    )


_SIGNS = ["Punctuation", "Symbolic Reasoning", "Math Formula"]


def _of_paper(paper: Any, name: str, column: str) -> str:
    return percent(paper.loc[name, column]) if name in paper.index else "–"


def verification_made(run: Run) -> str:
    """From which files, when, and with what."""
    found = verified()
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    rows = [(f"`{name}`", f"`{digest[:16]}`") for name, digest in found["files"].items()]
    made = f"Made on {found['date']} with commit {commit_of(found)} and {versions}."
    return table(["file", "SHA-256 begins"], rows) + f"\n{made}\n"
