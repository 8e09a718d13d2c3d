"""The include of the page on noise: what `benchmarks/noise.py` measured, as a table with a summary in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from asprm.results.format import percent
from asprm.run.open import Run
from asprm.site.includes.measured import measured
from asprm.site.includes.tables import table

_HEADER = [
    "policy",
    "what differs",
    "format",
    "same tokens",
    "largest |Δ log p|",
    "τ",
    "|Δτ|",
    "ends moved",
    "labels changed",
]


def noise(run: Run) -> str:
    """The measured noise of the engine, or that there is none."""
    found = measured("noise")
    if found is None:
        return "*Not measured.* `python benchmarks/noise.py` measures, where vLLM is installed.\n"
    rows = found["rows"]
    return (
        table(_HEADER, map(_cells, rows), numbers=range(3, 9))
        + "\n"
        + "".join(_summary(rows, number_format) for number_format in ("fp32", "bf16"))
        + _labels(rows)
        + f"\nMeasured by `{found['command']}` on {found['machine']}, vLLM "
        f"{found['vllm']} (its build for CPUs). τ leaves {percent(found['share'], 0)} of the tokens below it; "
        f"labels are by {found['rollouts']} rollouts.\n"
    )


def _cells(row: Mapping[str, Any]) -> list[object]:
    labels = f"{row['changed']} of {row['labels']}" if "labels" in row else ""
    if "tau" not in row:
        return [row["policy"], row["setting"], row["format"], "", "", "", "", "", labels]
    return [
        row["policy"],
        row["setting"],
        row["format"],
        f"{row['same']} of {row['texts']}",
        f"{row['log_p']:.1g}",
        f"{row['tau']:.3g}",
        f"{abs(row['delta_tau']):.1g}",
        f"{row['moved']} of {row['ends']}",
        labels,
    ]


def _summary(rows: Sequence[Mapping[str, Any]], number_format: str) -> str:
    of_format = [row for row in rows if row["format"] == number_format and "tau" in row]
    if not of_format:
        return ""
    tau = max(abs(row["delta_tau"]) / row["tau"] for row in of_format)
    moved, ends = (sum(row[name] for row in of_format) for name in ("moved", "ends"))
    return (
        f"In {number_format}, τ moved by at most {100 * tau:.2g} % of itself, and {moved} of {ends:,} step ends moved "
        f"({percent(moved / ends, 3)}). "
    )


def _labels(rows: Sequence[Mapping[str, Any]]) -> str:
    """What chance alone does to labels, beside the settings that draw from the same random numbers."""
    labelled = [row for row in rows if "labels" in row]
    groups = {
        "with the same random numbers in fp32": [x for x in labelled if _draws_alike(x) and x["format"] == "fp32"],
        "with the same random numbers in bf16": [x for x in labelled if _draws_alike(x) and x["format"] == "bf16"],
        "with vLLM's own draws": [x for x in labelled if x["setting"].startswith("vLLM")],
        "with another seed": [x for x in labelled if x["setting"].startswith("another seed")],
    }
    parts = [
        f"{percent(sum(x['changed'] for x in own) / sum(x['labels'] for x in own), 2)} {name}"
        for name, own in groups.items()
        if own
    ]
    return f"Of the labels changed: {', '.join(parts)}.\n" if parts else "\n"


def _draws_alike(row: Mapping[str, Any]) -> bool:
    return not row["setting"].startswith(("vLLM", "another seed"))
