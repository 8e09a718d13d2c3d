"""Includes about the checks on real data: the results of `python -m asprm.site.verification`, as tables."""

import json
from typing import Any

from asprm import REPOSITORY
from asprm.grading.code import TOLERANCE
from asprm.results.format import percent
from asprm.run.open import Run
from asprm.site.includes.provenance import commit_of
from asprm.site.includes.tables import table

VERIFIED = REPOSITORY / "data" / "reference" / "verification.json"
GRADERS = {"ours": "here", "authors": "regex", "math_verify": "math-verify"}  # with their names on the page
_SAMPLES = "MetaMath-Llama samples"
_SIGNS = ["Punctuation", "Symbolic Reasoning", "Math Formula"]
_SPACE = "\N{NO-BREAK SPACE}"


def verified() -> dict[str, Any]:
    """The results of `python -m asprm.site.verification` on real data."""
    return json.loads(VERIFIED.read_text(encoding="utf-8"))


def verification_held(run: Run) -> str:
    """The properties that must hold, with their counts."""
    results = verified()
    rows = [
        (row["says"], row["asked"].replace(" ", _SPACE), f"{row['held']:,} of {row['of']:,}") for row in results["held"]
    ]
    samples = sorted((row["form"], row["ours_correct"]) for row in results["summary"] if row["data"] == _SAMPLES)
    shares = ", ".join(percent(share).replace(" ", _SPACE) for _, share in samples)
    return (
        table(["property", "required for", "holds for"], rows, numbers=(2,))
        + f"\nShares of the authors' 256 samples that are right, for {len(samples)} GSM8K problems: {shares}.\n"
    )


def verification_graders(run: Run) -> str:
    """How often each grader is wrong, by kind of answer; for samples, whose truth is unknown, how often it differs."""
    summary = verified()["summary"]
    rows = []
    for row in summary:
        if row["data"] != _SAMPLES:
            wrong = [row[f"{grader}_wrong"] for grader in GRADERS]
            counts = ["–" if count is None else int(count) for count in wrong]
            rows.append((f"{row['data']}: {row['form']}", row["completions"], *counts))
    samples = [row for row in summary if row["data"] == _SAMPLES]
    counted = ("completions", "authors_differs", "math_verify_differs")
    completions, *differing = (sum(int(row[key]) for row in samples) for key in counted)
    rows.append((_SAMPLES, completions, "–", *differing))
    return table(["answers", "count", *GRADERS.values()], rows, numbers=range(1, 5))


def verification_disagreements(run: Run) -> str:
    """The verdicts of the graders where they differ, with examples."""
    rows = []
    for row in verified()["disagreements"]:
        verdicts = [{True: "right", False: "wrong", None: "–"}[row[grader]] for grader in GRADERS]
        examples = [text[:48] + "…" * (len(text) > 48) for text in row["examples"].replace("`", "'").split("; ")[:3]]
        shown = "<br>".join(f"`{text}`" for text in examples)
        rows.append((f"{row['data']}: {row['form']}", *verdicts, row["completions"], shown))
    header = ["answers", *GRADERS.values(), "count", "examples: true ← given"]
    return table(header, rows, numbers=(4,))


def verification_programs(run: Run) -> str:
    """Outcomes of the two models' programs beside the authors' verdicts, and every disagreement."""
    results = verified()
    rows = [
        (f"`{row['model']}`", "passed" if row["authors"] else "failed", row["outcome"], row["programs"])
        for row in results["programs"]
    ]
    differing, failing = results["differing_programs"], results["failing_references"]
    parts = [table(["programs of", "the authors' verdict", "outcome here", "count"], rows, numbers=(3,))]
    if differing:
        parts.append("The verdicts that differ:\n")
        rows = [(f"`{x['model']}`", x["problem"], x["outcome"], f"`{x['detail']}`") for x in differing]
        parts.append(table(["program of", "problem", "outcome here", "detail"], rows))
    else:
        total = sum(row["programs"] for row in results["programs"])
        parts.append(f"All {total} verdicts agree.\n")
    rows = [(f"`{x['model']}`", x["authors"], x["ours"], x["within"]) for x in results["passed"]]
    header = ["programs of", "passed for the authors", "here", f"here, floats within {TOLERANCE:g}"]
    parts.append(table(header, rows, numbers=(1, 2, 3)))
    if failing:
        listed = ", ".join(f"{problem} ({outcome})" for problem, outcome in failing.items())
        parts.append(f"Reference solutions that do not pass: {listed}.\n")
    return "\n".join(parts)


def verification_types(run: Run) -> str:
    """The token types at the authors' marks beside the paper's Table 8, as a figure and a table."""
    import pandas as pd

    from asprm.figures.tokens import types_beside_paper
    from asprm.results.paper import table as paper_table

    results = verified()
    types = pd.DataFrame(results["mark_types"]).set_index("type")
    types = types.loc[types["tokens"] > 0]
    paper = paper_table(8).droplevel(0).set_axis(["share", "decision_share"], axis=1) / 100
    in_paper = paper.to_dict("index")
    rows = []
    for name, row in types.to_dict("index").items():
        interval = f"{100 * row['decision_share_low']:.1f} to {100 * row['decision_share_high']:.1f}"
        theirs = {column: percent(share) for column, share in in_paper.get(name, {}).items()}
        of_all = (percent(row["share"]), theirs.get("share", "–"))
        rows.append((name, *of_all, percent(row["decision_share"]), interval, theirs.get("decision_share", "–")))
    header = ["type", "all tokens", "Table 8", "at marks", "95 % interval", "Table 8"]
    marks = results["marks"]
    return (
        f"The {marks['samples']:,} samples have {marks['mean']:.2f} marks on average (median {marks['median']}, "
        f"{marks['least']} to {marks['most']}), or {marks['inner_mean']:.2f} without the mark at the end. "
        f"{percent(marks['inner_after_newline'])} of these inner marks follow a line break, and "
        f"{percent(marks['newlines_marked'])} of the line breaks have a mark.\n\n"
        f'<div class="cell_output">{types_beside_paper(types, paper).html()}</div>\n\n'
        + table(header, rows, numbers=range(1, 6)).replace(" %", f"{_SPACE}%")
        + f"\nPunctuation, numbers and formulas together are {percent(types.loc[_SIGNS, 'share'].sum())} of the tokens "
        f"here and {percent(paper.loc[_SIGNS, 'share'].sum())} in Table 8.\n"
    )


def verification_made(run: Run) -> str:
    """The files that the results were made from, the day, the commit and the versions."""
    results = verified()
    versions = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    rows = [(f"`{name}`", f"`{digest[:16]}`") for name, digest in results["files"].items()]
    made = f"Made on {results['date']} with commit {commit_of(results)} and {versions}."
    return table(["file", "SHA-256 begins"], rows) + f"\n{made}\n"
