"""Texts: problems and solutions as people bring them, turned into token ids, step ends and problems.

A row has the texts `problem` and `solution`, and `answer`, or a `test` for programs, by which solutions are graded.
`Encoder` encodes them for one model: the prompt as the model reads it, the solution on its own after it, as a sampled
solution follows its prompt. Steps that were cut with another tokenizer keep their character ends. What a row says about
itself is read by `asprm.rows.values`, which refuses what is of another kind than it should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import sched_getaffinity
from pathlib import Path
from typing import Any

import numpy as np

from asprm.grading.code import CodeVerdict, grade_code
from asprm.grading.math import grade_math
from asprm.models.align import Speller, carry
from asprm.models.plain import plain_ids
from asprm.models.prompts import AS_IT_IS, Form, PromptEncoder
from asprm.problems.problem import CodeProblem, Problem
from asprm.rows.jsonl import take
from asprm.rows.values import (
    PLACE,
    answer_in,
    finished_in,
    steps_in,
    take_problem,
    template_in,
    texts,
    whole_numbers,
)


class Encoder:
    """Rows as token ids of one model.

    tokenizer: the model's.
    form: how problems are put to it; the tokenizer's chat template is changed. A row's own template comes first.
    positions: see `PromptEncoder`.
    eos: the id that ends a finished solution. None: the tokenizer's.
    """

    def __init__(
        self, tokenizer: Any, *, form: Form = AS_IT_IS, eos: int | None = None, positions: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        form.apply(tokenizer)
        self.prompts = PromptEncoder(tokenizer, template=form.template, positions=positions)
        self.eos = tokenizer.eos_token_id if eos is None else eos
        self.spell = Speller(tokenizer)

    def prompt(self, row: Mapping[str, Any]) -> np.ndarray:
        """Prompt ids (L,) int32. ValueError: no problem, or one that the model cannot read."""
        return self.prompts(take_problem(row), template_in(row))

    def solution(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) int32 of the solution, and the number of characters (T,) up to the end of each.

        A solution ends with the model's end of text, unless the row says `"finished": false`. The row's own ids are
        kept if this tokenizer spells the solution so: a model may write a text in other tokens than it is encoded in.
        """
        text, finished = take(row, "solution", str, "the solution's text"), finished_in(row)
        ids = self._own_ids(row, text, finished)
        if ids is None:
            end = [self.eos] if finished and self.eos is not None else []
            ids = np.asarray([*plain_ids(self.tokenizer, text), *end], np.int32)
        return ids, self._checked(row, text, ids)

    def _own_ids(self, row: Mapping[str, Any], text: str, finished: bool) -> np.ndarray | None:
        """The row's ids (T,) if they are this tokenizer's and of this solution; else None.

        A finished solution ends with the end of text, or with a stop text of the model that wrote it.
        """
        given, known = row.get("ids"), range(len(self.spell.table))
        if not isinstance(given, list) or not given or any(type(i) is not int or i not in known for i in given):
            return None  # a field of the same name that may mean anything
        if given[-1] == self.eos and not finished:
            return None
        return np.asarray(given, np.int32) if self.spell(given)[0] == text else None

    def steps(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) int32 of the solution, and the number of them (K,) up to the end of each step.

        The row's own ids are kept if they are this tokenizer's; otherwise the steps are carried to its tokens.
        """
        (text, char_ends), finished = steps_in(row), finished_in(row)
        ids, ends = (
            whole_numbers(row, name, meaning) if name in row else np.empty(0, np.int32)
            for name, meaning in (("ids", "the solution's token ids"), ("ends", "token ends of its steps"))
        )
        if self._are_mine(text, ids, ends, char_ends):
            self._check_length(row, ids)
        else:
            ids, ends = carry(text, char_ends, self.tokenizer, finished=finished)
            self._checked(row, text, ids)
        return ids, ends

    def _are_mine(self, text: str, ids: np.ndarray, ends: np.ndarray, char_ends: np.ndarray) -> bool:
        """Whether ids and ends are those of the text and its steps in this tokenizer."""
        if not len(ids) or ids.max() >= len(self.spell.table) or len(ends) != len(char_ends):
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


def read_form(template: str | None, instruction: str | None, system: str | None) -> Form:
    """A form as given on the command line; see `read_template` for the texts with {problem} in them.

    ValueError: both a template and one of the others, or a text without {problem}.
    """
    return Form(read_template(instruction), system, read_template(template))


def read_template(given: str | None) -> str | None:
    r"""A template as given on the command line: a text with {problem} in it, where \n is a line feed, or a file's name.

    ValueError: neither, or a file that does not contain {problem}.
    """
    if given is None:
        return None
    if PLACE in given:
        return given.replace("\\n", "\n")
    try:
        file = Path(given).is_file()
    except OSError:  # too long for a name
        file = False
    if not file:
        raise ValueError(
            f"the template {given[:60]!r} does not say where the problem goes; put {PLACE} there (or is it meant to be "
            "a file? there is none of this name)"
        )
    try:
        text = Path(given).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"the template in {given} is not UTF-8; convert it with `iconv -t UTF-8`") from None
    if PLACE not in text:
        raise ValueError(f"the template in {given} does not say where the problem goes; put {PLACE} there")
    return text


def problem_of(row: Mapping[str, Any]) -> Problem:
    """The row's problem with its answer or test; equal rows give equal problems. ValueError: no answer, no test."""
    text = take_problem(row)
    if "test" in row:
        return CodeProblem(
            id=text,
            domain="code",
            prompt=text,
            test=take(row, "test", str, "source that defines check(candidate)", empty=False),
            entry_point=take(row, "entry_point", str, "the expression that is tested") if "entry_point" in row else "",
            imports=take(row, "imports", str, "source that precedes program and test") if "imports" in row else "",
            cases=tuple(texts(row, "cases", "texts of JSON lists")) if "cases" in row else (),
        )
    if "answer" not in row:
        raise ValueError("no field 'answer' (the true one) and no 'test' (for programs), so it cannot be graded")
    return Problem(text, "math", text, answer_in(row))


def verdicts(
    pairs: Sequence[tuple[str, Problem]], tolerance: float = 0.0
) -> Iterator[dict[str, Any] | Exception | None]:
    """The grade of each (solution, problem) pair, in order: `correct`, and why. Programs run side by side in sandboxes.

    tolerance: by how much a program's floats may differ (`asprm.grading.code.grade_code`).
    Instead of a grade: the error of a pair that cannot be graded. If it is interrupted, None for each program that has
    no verdict yet; then KeyboardInterrupt.
    """
    pool = ThreadPoolExecutor(len(sched_getaffinity(0)))
    graded = [
        pool.submit(grade_code, text, problem, tolerance=tolerance) if isinstance(problem, CodeProblem) else None
        for text, problem in pairs
    ]
    given = zip(graded, pairs, strict=True)
    try:
        for program, pair in given:
            try:
                yield _program_fields(program.result()) if program else _answer_fields(*pair)
            except KeyboardInterrupt:
                yield _finished(program)
                raise
            except Exception as error:
                yield error
    except KeyboardInterrupt:
        for program, _ in given:
            yield _finished(program)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _finished(program: Future[CodeVerdict] | None) -> dict[str, Any] | None:
    """The verdict on a program, if there is one yet."""
    if program is None or not program.done() or program.exception():
        return None
    return _program_fields(program.result())


def _program_fields(verdict: CodeVerdict) -> dict[str, Any]:
    return {"correct": verdict.passed, "outcome": verdict.outcome, "detail": verdict.detail}


def _answer_fields(text: str, problem: Problem) -> dict[str, Any]:
    if problem.answer is None:
        raise ValueError(f"problem {problem.prompt[:40]!r} has no true answer, so its solutions cannot be graded")
    graded = grade_math(text, problem.answer)
    return {"correct": graded.correct, "extracted": graded.extracted, "reason": graded.reason}
