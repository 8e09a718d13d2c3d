"""Texts: problems and solutions as people bring them, turned into what the stages know (token ids, ends, problems).

A row has the texts `problem` and `solution`, and what tells right from wrong: `answer`, or a `test` for programs. Here
they meet a tokenizer, once: a model's prompt is encoded as the model reads it, the solution on its own after it, as a
sampled solution follows its prompt. Steps that were cut under one tokenizer are carried to another by their character
ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asprm.grading.code import grade_programs
from asprm.grading.math import grade_math
from asprm.models.align import Speller
from asprm.models.prompts import encode_prompts
from asprm.problems.problem import CodeProblem, Problem
from asprm.rows.jsonl import take

TEMPLATE = "template"  # the field that says how a row's problem was put to the model


class Encoder:
    """Rows as token ids of one model.

    template: a text with {problem} in it, used where a row names none; None: the tokenizer's chat template.
    eos: the id that a finished solution ends with; None: the tokenizer's. positions: the most tokens that the model
    reads; None: any number. ValueError: no template, and the tokenizer has none either.
    """

    def __init__(
        self, tokenizer: Any, *, template: str | None = None, eos: int | None = None, positions: int | None = None
    ) -> None:
        if template is None and not tokenizer.chat_template:
            raise ValueError(
                f"{tokenizer.name_or_path} has no chat template; say how a problem is put to it, for example\n"
                r"  --template 'Question: {problem}\nAnswer:'"
            )
        self.tokenizer, self.template = tokenizer, template
        self.eos = tokenizer.eos_token_id if eos is None else eos
        self.positions = positions or 2**31
        self.spell = Speller(tokenizer)
        self._prompt = lru_cache(1024)(self._encoded)

    def prompt(self, row: Mapping[str, Any]) -> np.ndarray:
        """(L,) int32: what the model reads before the solution."""
        problem = take(row, "problem", str, "the problem's text")
        ids = self._prompt(problem, row.get(TEMPLATE) or self.template)
        if not 0 < len(ids) < self.positions:
            raise ValueError(f"its prompt has {len(ids)} tokens, expected 1 to {self.positions - 1} for this model")
        return ids

    def solution(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) int32 of the solution, and the characters (T,) up to the end of each.

        A solution ends with the model's end of text, unless the row says `"finished": false`.
        """
        text = take(row, "solution", str, "the solution's text")
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if row.get("finished", True) and self.eos is not None:
            ids = [*ids, self.eos]
        spelled, char_ends = self.spell(ids)
        if spelled != text:
            at = next((i for i, (a, b) in enumerate(zip(spelled, text, strict=False)) if a != b), len(spelled))
            raise ValueError(
                f"the model's tokenizer does not spell the solution back: {text[at : at + 20]!r} at character {at} "
                f"becomes {spelled[at : at + 20]!r}"
            )
        return self._fitting(row, np.asarray(ids, np.int32)), char_ends

    def steps(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) of the solution and the ends (K,) of its steps, in this model's tokens.

        The row's own ids are kept where they are this tokenizer's; else the text is encoded and the steps end with the
        token that holds the step's last character.
        """
        text, marks = steps_in(row)
        ids, ends = (np.asarray(row.get(name) or [], np.int32) for name in ("ids", "ends"))
        if self._are_mine(text, ids, ends, marks):
            return self._fitting(row, ids), ends
        ids, char_ends = self.solution(row)
        ends = np.searchsorted(char_ends, marks, side="left") + 1
        ends[-1] = len(ids)  # the end of text spells nothing, and belongs to the last step
        return ids, ends.astype(np.int32)

    def _are_mine(self, text: str, ids: np.ndarray, ends: np.ndarray, marks: np.ndarray) -> bool:
        if not len(ids) or ids.min() < 0 or ids.max() >= len(self.spell.table) or len(ends) != len(marks):
            return False
        if ends.min() < 1 or ends[-1] != len(ids) or (np.diff(ends) < 1).any():
            return False
        spelled, char_ends = self.spell(ids)
        return spelled == text and (char_ends[ends - 1] == marks).all()

    def _fitting(self, row: Mapping[str, Any], ids: np.ndarray) -> np.ndarray:
        total = len(self.prompt(row)) + len(ids)
        if not len(ids):
            raise ValueError("its solution is empty")
        if total > self.positions:
            raise ValueError(f"it has {total} tokens with its prompt, the model reads {self.positions}")
        return ids

    def _encoded(self, problem: str, template: str | None) -> np.ndarray:
        if template is None:
            return encode_prompts(self.tokenizer, [problem])[0]
        # Not str.format: problems and templates hold braces of their own.
        return np.asarray(self.tokenizer(template.replace("{problem}", problem))["input_ids"], np.int32)


def steps_in(row: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """The row's solution and the character ends (K,) of its steps. ValueError: none, or not this solution's."""
    text = take(row, "solution", str, "the solution's text")
    marks = np.array(take(row, "char_ends", list, "the character ends of its steps, as `asprm split` writes them"))
    if marks.ndim != 1 or not len(marks) or marks.dtype.kind != "i" or (np.diff(marks) < 0).any() or marks[0] < 0:
        raise ValueError("'char_ends' should hold rising whole numbers, one for each step")
    if marks[-1] != len(text):
        raise ValueError(f"its last step ends at character {marks[-1]}, but the solution has {len(text)}")
    return text, marks


def read_template(given: str | None) -> str | None:
    r"""A template from the command line: a file that holds it, or the text itself, in which \n is a line feed."""
    if given is None:
        return None
    text = Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given.replace("\\n", "\n")
    if "{problem}" not in text:
        raise ValueError(f"the template {given!r} does not say where the problem goes: it needs {{problem}}")
    return text


def problem_of(row: Mapping[str, Any]) -> Problem:
    """The row's problem with its truth; equal problems are one. ValueError: neither an answer nor a test."""
    text = take(row, "problem", str, "the problem's text")
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
        raise ValueError(
            "no field 'answer' (the true one) and no 'test' (for programs), so nothing tells right from wrong"
        )
    return Problem(text, "math", text, str(take(row, "answer", (str, int, float), "the true answer")))


def verdicts(pairs: Sequence[tuple[str, Problem]]) -> list[dict[str, Any]]:
    """What grading says of (solution, problem) pairs: `correct` and why. Programs run side by side, in sandboxes."""
    code = [(text, problem) for text, problem in pairs if problem.domain == "code"]
    ran = iter(grade_programs(code)) if code else iter(())
    found = []
    for text, problem in pairs:
        if problem.domain == "code":
            verdict = next(ran)
            found.append({"correct": verdict.passed, "outcome": verdict.outcome, "detail": verdict.detail})
        else:
            verdict = grade_math(text, problem.answer)
            found.append({"correct": verdict.correct, "extracted": verdict.extracted, "reason": verdict.reason})
    return found
