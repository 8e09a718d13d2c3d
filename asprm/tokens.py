"""Tokens: at what kind of token does the policy hesitate? (stage 10; paper §5, Tables 7 to 12)

Counts all tokens and the decision tokens of the training samples by kind; `asprm.token_types` tells the kinds apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm.models.align import Speller
from asprm.models.load import load_tokenizer
from asprm.results.paper import Number, load_claims
from asprm.run import names
from asprm.run.open import Run
from asprm.token_types import code, mathematics
from asprm.token_types.tables import samples_by_type


@dataclass(frozen=True, eq=False)
class Solutions:
    """The policy's training samples, one entry per solution in each list, and its threshold."""

    problems: list[str]
    texts: list[str]
    char_ends: list[NDArray[np.int32]]  # (T,) see `Speller`
    confidences: list[NDArray[np.float32]]  # (T,)
    tau: float

    def counted(self) -> tuple[Any, ...]:
        """The arguments that every `token_table` starts with."""
        return self.texts, self.char_ends, self.confidences, self.problems, self.tau


def read_solutions(run: Run) -> Solutions:
    """The policy's training samples, spelled, and its threshold."""
    tau = run.read_json(names.threshold(run.policy))["tau"]
    samples = run.read(names.samples(run.policy, "train"), ["problem", "ids", "confidences"])
    spell = Speller(load_tokenizer(run.policy_path()))
    spelled = [spell(np.asarray(row.values)) for row in samples["ids"]]
    return Solutions(
        samples["problem"].to_pylist(),
        [text for text, _ in spelled],
        [char_ends for _, char_ends in spelled],
        [np.asarray(row.values) for row in samples["confidences"]],
        tau,
    )


def run_tokens(run: Run) -> list[str]:
    """Count the tokens and decision tokens of the policy's training samples by kind.

    Writes the table `tokens/<policy>` with one row per type of token (Tables 7 to 9) and, for a policy that writes
    programs, `tokens/<policy>-place` with one row per place: code or comment (Table 10). Returns their names.
    """
    counted = read_solutions(run).counted()
    if run.domain == "code":
        tables = {
            names.token_types(run.policy): code.token_table(*counted),
            names.token_places(run.policy): code.token_table(*counted, by="place"),
        }
    else:
        tagger = mathematics.load_tagger(run.profile.tokens.tagger)
        types = mathematics.token_table(*counted, tagger=tagger)
        tables = {names.token_types(run.policy): types}
    for name, table in tables.items():
        run.write(name, table)
    return list(tables)


def tagger_name(run: Run) -> str:
    """What tells the types of words apart."""
    if run.domain == "code":
        return "Python's own tokens"
    return mathematics.load_tagger(run.profile.tokens.tagger).name


def role_table(run: Run, solutions: Solutions) -> pd.DataFrame:
    """The tokens by what they do: by their role in the arithmetic, or for programs by place, as the stage wrote it."""
    if run.domain == "code":
        return run.read(names.token_places(run.policy)).to_pandas()
    return mathematics.token_table(*solutions.counted(), by="role")


def examples(run: Run, solutions: Solutions) -> pd.DataFrame:
    """One decision token of each type in its context (`samples_by_type`; Tables 11 and 12)."""
    given = solutions.texts, solutions.char_ends, solutions.confidences, solutions.tau
    if run.domain == "code":
        return samples_by_type(*given, code.TYPES, code.token_types, seed=run.seed)
    tagger = mathematics.load_tagger(run.profile.tokens.tagger)
    return samples_by_type(
        *given, mathematics.TYPES, lambda text, ends: mathematics.token_types(text, ends, tagger), seed=run.seed
    )


def paper_table(policy: str, domain: str) -> int:
    """The number of the paper's table of token types for this policy: of Tables 7 to 9 the one that counts its tokens.

    For a policy that the paper does not have, it is the first table whose types are those of the domain.
    """
    types = code.OF_CODE if domain == "code" else mathematics.TYPES
    policies: dict[int, str] = {}  # by table
    rows: dict[int, set[str]] = {}  # by table
    for claim in load_claims():
        if isinstance(claim, Number) and claim.measure and claim.measure.kind == "tokens" and claim.unit == "percent":
            policies[claim.table] = claim.measure.policy
            rows.setdefault(claim.table, set()).add(claim.row[-1])
    of_policy = [table for table in policies if policies[table] == policy]
    of_domain = [table for table in rows if rows[table] <= set(types)]
    return [*of_policy, *of_domain][0]
