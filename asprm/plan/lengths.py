"""Lengths: how many tokens prompts and solutions have. A table for published sets, a count for families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import pyarrow.compute as pc
import pyarrow.parquet as pq

from asprm import REPOSITORY
from asprm.problems.families import FAMILIES
from asprm.problems.load import domain_of, load
from asprm.run import names
from asprm.run.sections import nearest


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt and of a solution, and the source of these numbers, in words."""

    domain: str
    prompt: float
    solution: float
    source: str


_GSM = (
    "GSM8K test questions have 240 characters, real MetaMath-Llama solutions 345; MetaMath's instruction adds 50 tokens"
)
_MATH = "MATH500 problems have 196 characters, solutions 531; MetaMath's instruction adds 50 tokens"
_CODE = "LeetCodeDataset test prompts have 630 characters, real completions 2600"
_GUESS = "a guess"
LENGTHS = {  # of published sets
    "gsm8k": Lengths("math", 110, 116, _GSM),
    "gsm-symbolic": Lengths("math", 120, 125, _GUESS),
    "gsm-symbolic-p1": Lengths("math", 150, 155, _GUESS),
    "gsm-symbolic-p2": Lengths("math", 190, 190, _GUESS),
    "math": Lengths("math", 110, 190, _MATH),
    "math500": Lengths("math", 110, 190, _MATH),
    "metamathqa": Lengths("math", 120, 160, _GUESS),
    "leetcode": Lengths("code", 220, 740, _CODE),
    "livecodebench": Lengths("code", 500, 740, _GUESS),
    "mbpp": Lengths("code", 150, 200, _GUESS),
    "humaneval": Lengths("code", 200, 200, _GUESS),
}


def measured(folder: Path, policy: str, family: str, trained_on: Sequence[str], lengths: Lengths) -> Lengths:
    """`lengths` with the mean solution that the policy wrote in a run; unchanged if the run has sampled none.

    folder: of the run. family: of the problems. trained_on: the families of the training problems; if there are
        several, their table says nothing about one of them. lengths: of the family, assumed.
    """
    only_one = list(trained_on) == [family]
    tables = [folder / f"{names.samples(policy, one)}.parquet" for one in (family, *(["train"] if only_one else []))]
    for table in tables:
        if table.is_file():
            rows = pq.read_table(table, columns=["ids", "count"])
            tokens = pc.multiply(pc.list_value_length(rows["ids"]), rows["count"])  # pyright: ignore
            solutions = pc.sum(rows["count"]).as_py()  # pyright: ignore[reportAttributeAccessIssue]
            if solutions:
                mean_length = pc.sum(tokens).as_py() / solutions  # pyright: ignore[reportAttributeAccessIssue]
                source = f"solutions: measured, {solutions:,} of run {folder.name}; prompts: {lengths.source}"
                return replace(lengths, solution=mean_length, source=source)
    return lengths


_COUNTED = 40  # problems of a family made here


def lengths_of(family: str, path: str) -> Lengths:
    """The lengths of a published set or a family made here, in tokens of the policy at `path`.

    A family is counted with the policy's tokenizer if that is on this machine, else at three characters per token.
    ValueError: an unknown set.
    """
    if family in LENGTHS:
        return LENGTHS[family]
    if family not in FAMILIES:
        raise ValueError(f"plan: unknown problems '{family}': {nearest(family, [*LENGTHS, *FAMILIES])}")
    problems = load(family, "test", _COUNTED)
    texts = [(problem.prompt + "\n", problem.solution or "") for problem in problems]
    source = f"{_COUNTED} problems, true solutions in place of the policy's"
    file = next((f for root in (Path(), REPOSITORY) if (f := root / path / "tokenizer.json").is_file()), None)
    if file is None:
        sizes = [(len(prompt) / 3, len(solution) / 3) for prompt, solution in texts]
        source += ", three characters per token"
    else:
        from tokenizers import Tokenizer

        encode = Tokenizer.from_file(str(file)).encode
        sizes = [
            tuple(len(encode(text, add_special_tokens=False).ids) + 1 for text in pair)  # with a special token
            for pair in texts
        ]
        source += ", counted with its tokenizer"
    return Lengths(domain_of(family), mean(p for p, _ in sizes), mean(s for _, s in sizes), source)
