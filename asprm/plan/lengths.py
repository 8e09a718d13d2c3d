"""Lengths: how many tokens the prompts and solutions of a problem family have, from a table or counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from asprm import REPOSITORY
from asprm.problems.families import FAMILIES
from asprm.problems.load import load
from asprm.run.sections import nearest


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a prompt and of a solution, and where that is known from."""

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
LENGTHS = {
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


def lengths_of(family: str, path: str) -> Lengths:
    """Of a published set from the table; of a family made here by counting, where the policy's tokenizer is at hand.

    ValueError: an unknown set.
    """
    if family in LENGTHS:
        return LENGTHS[family]
    if family not in FAMILIES:
        raise ValueError(f"plan: no lengths are known of the problems '{family}': {nearest(family, LENGTHS)}")
    domain = "code" if "code" in family else "math"
    count = 40
    problems = load(family, "test", count)
    texts = [(problem.prompt + "\n", problem.solution or "") for problem in problems]
    file = next((f for root in (Path(), REPOSITORY) if (f := root / path / "tokenizer.json").is_file()), None)
    if file is None:
        sizes = [[len(text) / 3 for text in pair] for pair in texts]
        source = f"{count} of its problems, true solutions for the policy's, three characters a token"
    else:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        sizes = [[len(tokenizer.encode(text, add_special_tokens=False).ids) + 1 for text in pair] for pair in texts]
        source = f"{count} of its problems, true solutions for the policy's, counted with its tokenizer"
    return Lengths(domain, mean(p for p, _ in sizes), mean(s for _, s in sizes), source)
