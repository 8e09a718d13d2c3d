"""Texts: problems and solutions as people bring them, turned into token ids, step ends and problems.

A row has the texts `problem` and `solution`, and `answer`, or a `test` for programs, by which solutions are graded.
`Encoder` encodes them for one model: the prompt as the model reads it, the solution on its own after it, as a sampled
solution follows its prompt. Steps that were cut with another tokenizer keep their character ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asprm.grading.code import grade_programs
from asprm.grading.math import grade_math
from asprm.models.align import Speller, carry
from asprm.models.prompts import PromptEncoder
from asprm.problems.problem import CodeProblem, Problem
from asprm.rows.jsonl import take

TEMPLATE = "template"  # the field that says how a row's problem was put to the model


class Encoder:
    """Rows as token ids of one model.

    tokenizer: the model's.
    template, positions: see `PromptEncoder`. A row's own template comes first.
    eos: the id that ends a finished solution. None: the tokenizer's.
    """

    def __init__(
        self, tokenizer: Any, *, template: str | None = None, eos: int | None = None, positions: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.prompts = PromptEncoder(tokenizer, template=template, positions=positions)
        self.eos = tokenizer.eos_token_id if eos is None else eos
        self.spell = Speller(tokenizer)

    def prompt(self, row: Mapping[str, Any]) -> np.ndarray:
        """Prompt ids (L,) int32. ValueError: no problem, or one that the model cannot read."""
        return self.prompts(take_problem(row), row.get(TEMPLATE))

    def solution(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) int32 of the solution, and the number of characters (T,) up to the end of each.

        A solution ends with the model's end of text, unless the row says `"finished": false`.
        """
        text = take(row, "solution", str, "the solution's text")
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if _finished(row) and self.eos is not None:
            ids = [*ids, self.eos]
        ids = np.asarray(ids, np.int32)
        return ids, self._checked(row, text, ids)

    def steps(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) int32 of the solution, and the number of them (K,) up to the end of each step.

        The row's own ids are kept if they are this tokenizer's; otherwise the steps are carried to its tokens.
        """
        text, char_ends = steps_in(row)
        ids, ends = (np.asarray(row.get(name) or [], np.int32) for name in ("ids", "ends"))
        if self._are_mine(text, ids, ends, char_ends):
            self._check_length(row, ids)
        else:
            ids, ends = carry(text, char_ends, self.tokenizer, finished=_finished(row))
            self._checked(row, text, ids)
        return ids, ends

    def _are_mine(self, text: str, ids: np.ndarray, ends: np.ndarray, char_ends: np.ndarray) -> bool:
        """Whether ids and ends are those of the text and its steps in this tokenizer."""
        if not len(ids) or ids.min() < 0 or ids.max() >= len(self.spell.table) or len(ends) != len(char_ends):
            return False
        if ends.min() < 1 or ends[-1] != len(ids) or (np.diff(ends) < 1).any():
            return False
        spelled, token_char_ends = self.spell(ids)
        return spelled == text and bool((token_char_ends[ends - 1] == char_ends).all())

    def _checked(self, row: Mapping[str, Any], text: str, ids: np.ndarray) -> np.ndarray:
        """The characters (T,) up to the end of each id. ValueError: the ids spell another text, or are too many."""
        spelled, char_ends = self.spell(ids)
        if spelled != text:
            at = next((i for i, (a, b) in enumerate(zip(spelled, text, strict=False)) if a != b), len(spelled))
            raise ValueError(
                f"the model's tokenizer does not spell the solution back: {text[at : at + 20]!r} at character {at} "
                f"becomes {spelled[at : at + 20]!r}"
            )
        self._check_length(row, ids)
        return char_ends

    def _check_length(self, row: Mapping[str, Any], ids: np.ndarray) -> None:
        total = len(self.prompt(row)) + len(ids)
        if not len(ids):
            raise ValueError("its solution is empty")
        if total > self.prompts.positions:
            raise ValueError(f"it has {total} tokens with its prompt, the model reads {self.prompts.positions}")


def _finished(row: Mapping[str, Any]) -> bool:
    return bool(row.get("finished", True))


def take_problem(row: Mapping[str, Any]) -> str:
    """The text of the row's problem. ValueError: it has none."""
    return take(row, "problem", str, "the problem's text")


def steps_in(row: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """The row's solution and the character ends (K,) of its steps. ValueError: no steps, or another solution's."""
    text = take(row, "solution", str, "the solution's text")
    listed = take(row, "char_ends", list, "the character ends of its steps, as `asprm split` writes them")
    ends = np.array(listed)
    if ends.ndim != 1 or not len(ends) or ends.dtype.kind != "i" or (np.diff(ends) < 0).any() or ends[0] < 0:
        raise ValueError("'char_ends' should hold rising whole numbers, one for each step")
    if ends[-1] != len(text):
        raise ValueError(f"its last step ends at character {ends[-1]}, but the solution has {len(text)}")
    return text, ends


def read_template(given: str | None) -> str | None:
    r"""A template as given on the command line: the name of a file, or the text itself with \n for a line feed.

    ValueError: the template does not contain {problem}.
    """
    if given is None:
        return None
    text = Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given.replace("\\n", "\n")
    if "{problem}" not in text:
        raise ValueError(f"the template {given!r} does not say where the problem goes; put {{problem}} there")
    return text


def problem_of(row: Mapping[str, Any]) -> Problem:
    """The row's problem with its answer or test; equal rows give equal problems. ValueError: no answer, no test."""
    text = take_problem(row)
    if "test" in row:
        return CodeProblem(
            id=text,
            domain="code",
            prompt=text,
            test=take(row, "test", str, "source that defines check(candidate)"),
            entry_point=take(row, "entry_point", str, "the expression that is tested") if "entry_point" in row else "",
            imports=take(row, "imports", str, "source that precedes program and test") if "imports" in row else "",
            cases=tuple(take(row, "cases", list, "texts of JSON lists")) if "cases" in row else (),
        )
    if "answer" not in row:
        raise ValueError("no field 'answer' (the true one) and no 'test' (for programs), so it cannot be graded")
    return Problem(text, "math", text, str(take(row, "answer", (str, int, float), "the true answer")))


def verdicts(pairs: Sequence[tuple[str, Problem]]) -> list[dict[str, Any]]:
    """The grade of each (solution, problem) pair: `correct`, and why. Programs run side by side, in sandboxes."""
    programs = [(text, problem) for text, problem in pairs if isinstance(problem, CodeProblem)]
    ran = iter(grade_programs(programs)) if programs else iter(())
    fields = []
    for text, problem in pairs:
        if isinstance(problem, CodeProblem):
            graded = next(ran)
            fields.append({"correct": graded.passed, "outcome": graded.outcome, "detail": graded.detail})
        elif problem.answer is None:
            raise ValueError(f"problem {problem.prompt[:40]!r} has no true answer, so its solutions cannot be graded")
        else:
            graded = grade_math(text, problem.answer)
            fields.append({"correct": graded.correct, "extracted": graded.extracted, "reason": graded.reason})
    return fields
