"""The authors' marks: where their published samples are split into steps, and the types of the tokens there."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asprm.token_types.mathematics import load_tagger, token_table

SAMPLES = "metamath_llama_samples/gsm8k_bo256_confidence.jsonl"  # of MetaMath-Llama, plain and marked
MARK = " ки "
# The pieces into which the tokenizer of Llama 3 splits texts before it merges bytes; most pieces become one token.
_PIECE = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\w]?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n]*|_|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def json_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON Lines."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def marks(folder: Path) -> dict[str, float]:
    """Numbers about the marked samples: marks per sample, and how many of them follow line breaks.

    ValueError: a marked text is not its sample, or does not end with a mark.
    """
    counts, newlines, marked, after = [], 0, 0, 0
    for row in json_lines(folder / SAMPLES):
        for plain, text in zip(row["pred"], row["math_confidence_list"], strict=True):
            if text.replace(MARK, "") != plain or not text.endswith(MARK):
                raise ValueError(f"marks: problem {row['idx']}: expected its sample with marks, one at the end")
            steps = text.split(MARK)[:-1]
            counts.append(len(steps))
            after += sum(step.endswith("\n") for step in steps[:-1])
            newlines += plain.count("\n")
            marked += len(re.findall(f"\n{MARK}(?=.)", text, re.DOTALL))
    inner = sum(counts) - len(counts)
    return {
        "samples": len(counts),
        "least": min(counts),
        "median": sorted(counts)[len(counts) // 2],
        "most": max(counts),
        "mean": round(sum(counts) / len(counts), 2),
        "inner_mean": round(inner / len(counts), 2),
        "inner_after_newline": round(after / inner, 3),
        "newlines_marked": round(marked / newlines, 3),
    }


def mark_types(folder: Path, tagger: str = "textblob") -> pd.DataFrame:
    """The types of the tokens of the marked samples, as `asprm.token_types.mathematics.token_table` gives them.

    A token before a mark counts as a decision token; the mark at the end, which every sample has, does not count.
    Tokens are the pieces of the policy's tokenizer, split again at the marks.
    """
    texts, ends, doubts, problem = [], [], [], []
    for row in json_lines(folder / SAMPLES):
        for text in row["math_confidence_list"]:
            steps = text.split(MARK)[:-1]
            plain, places = "".join(steps), np.cumsum([len(step) for step in steps[:-1]], dtype=np.int64)
            cuts = np.union1d([piece.end() for piece in _PIECE.finditer(plain)], places).astype(np.int64)
            texts.append(plain)
            ends.append(cuts)
            doubts.append(np.where(np.isin(cuts, places), 0.0, 1.0))
            problem.append(row["idx"])
    return token_table(texts, ends, doubts, problem, 0.5, tagger=load_tagger(tagger))
