r"""Compare graders on published data: where they agree, where they differ, and which of them is right.

    python -m asprm.site.verification ../shared/data --out data/reference/verification.json

It reads GSM8K, MATH500, the authors' samples and their verdicts on programs (`gsm8k/test.jsonl`, `math500/test.jsonl`,
…), and writes what the book's Verification page shows: the properties that must hold with their counts, the answers on
which graders differ, and the types of the tokens at the authors' marks; with commit, day, versions, and the digests of
the files that were read. The graders are

- ours: `asprm.grading.math.grade_math`;
- authors: a regular expression for whole numbers after `The answer is:` or `####`, written from the description of the
  released evaluation code; on MATH500's answers in several wordings, whose answers are no numbers, one for the text
  after `answer is`, after `####` or in a box; not made for the rest of MATH500;
- math_verify: math-verify as its documentation uses it, on the whole completion, the gold answer between dollar signs.
"""

import argparse
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from asprm import REPOSITORY
from asprm.grading.code import TOLERANCE, grade_programs
from asprm.grading.math import compare_answers, grade_math
from asprm.problems.hub import load
from asprm.problems.problem import CodeProblem, Problem
from asprm.run.provenance import made_with
from asprm.site.marks import SAMPLES, json_lines, mark_types, marks

GRADERS = ("ours", "authors", "math_verify")
_THEIRS = "1745_leetcode_problems_test.jsonl"  # the problems of the authors' programs
CASES = REPOSITORY / "tests" / "cases" / "math.jsonl"
PAIRS = 5000  # drawn from the pairs of answers to different MATH500 problems

# The pairs of answers to different MATH500 problems that have the same value: found by reading all 45,150 pairs.
SAME_VALUE = [
    {"1,-2", "-2,1"},
    {"10080", r"10,\!080"},
    {r"120^\circ", "120"},
    {r"15\mbox{ cm}^2", "15"},
    {r"2\sqrt{5}", r"2 \sqrt{5}"},
    {r"30^\circ", "30"},
    {r"36^\circ", "36"},
    {r"90^\circ", "90"},
    {r"\$36", "36"},
    {r"\frac{1}{4}", r"\frac14"},
    {"x=5", "5"},
]


def answers(folder: Path, slow: Callable[[str], bool] = lambda form: True) -> pd.DataFrame:
    """One row per graded completion.

    Columns: data, form, gold, answer (as our grader extracts it), true (None: unknown), and the verdict of each grader.
    `authors` is None on MATH500, for whose answers the expression is not made, except in wordings.
    slow: whether math-verify, which takes most of the time, grades a form; if not, its verdict is None.
    """
    rows = []
    for data, form, completion, gold, true in [*_gsm8k(folder), *_math500(folder), *_samples(folder)]:
        ours = grade_math(completion, gold)
        rows.append(
            {
                "data": data,
                "form": form,
                "gold": gold,
                "answer": ours.extracted,
                "true": true,
                "ours": ours.correct,
                "authors": _by_regular_expression(data, completion, gold),
                "math_verify": by_math_verify(completion, gold) if slow(form) else None,
            }
        )
    return pd.DataFrame(rows)


def by_regular_expression(completion: str, gold: str) -> bool:
    """The verdict of a regular expression for whole numbers, which ends at the first other character."""
    answers = re.findall(r"(?:The answer is:|####) ?(-?[0-9]+)", completion)
    true = re.match(r"-?[0-9]+", gold)
    return bool(answers) and true is not None and int(answers[-1]) == int(true[0])


_STATED = re.compile(r"\\boxed\{(.*)\}|(?:answer is:?|####) *([^\n]*)")


def by_text(completion: str, gold: str) -> bool:
    """The verdict of a regular expression for any answer, which compares texts without spaces and dollars."""
    answers = _STATED.findall(completion)
    boxed, stated = answers[-1] if answers else ("", "")
    return bool(answers) and _bare(boxed or stated) == _bare(gold)


def _bare(text: str) -> str:
    return re.sub(r"[\s$]", "", text).rstrip(".")


def _by_regular_expression(data: str, completion: str, gold: str) -> bool | None:
    if data == WORDED:
        return by_text(completion, gold)
    return None if data.startswith("MATH500") else by_regular_expression(completion, gold)


def by_math_verify(completion: str, gold: str) -> bool:
    """The verdict of math-verify alone. Call it in the main thread: its time limits are signals."""
    import math_verify

    return math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(completion))


Case = tuple[str, str, str, str, bool | None]  # data, form, completion, gold, true (None: unknown)


def _gold(problem: Problem) -> tuple[str, str]:
    """A problem's gold solution and answer, which every published problem here has."""
    if problem.solution is None or problem.answer is None:
        raise ValueError(f"verification: {problem.id} has no gold solution or answer")
    return problem.solution, problem.answer


def _other_digit(number: str, rng: random.Random) -> str:
    """The number with one digit changed at random."""
    place = rng.choice([i for i, character in enumerate(number) if character.isdigit()])
    digit = rng.choice([digit for digit in "0123456789" if digit != number[place]])
    return number[:place] + digit + number[place + 1 :]


def _gsm8k(folder: Path) -> Iterator[Case]:
    """Gold solutions, and the gold answer in other forms and with other values."""
    rng = random.Random(0)
    for problem in load("gsm8k", "test", folder / "gsm8k"):
        solution, gold = _gold(problem)
        yield "GSM8K", "gold solution", solution, gold, True
        plain = gold.replace(",", "")
        changed = _other_digit(plain, rng)
        forms = {
            "thousands separators": f"{int(plain):,}",
            "dollar sign": f"${plain}",
            "two decimals": f"{plain}.00",
            "unit": f"{plain} in total",
            "one digit changed": changed,
            "half more": f"{plain}.5",
        }
        for form, answer in forms.items():
            true = form not in ("one digit changed", "half more")
            yield "GSM8K", form, f"So it is so.\nThe answer is: {answer}", gold, true


WORDED = "MATH500 wordings"
WORDINGS = {
    "in a box": "Adding up, we find $\\boxed{{{}}}$.",
    "after a bold marker": "We add up.\n\n**Final Answer:** ${}$",
    "below a heading": "We add up.\n\n### Final answer\n\n${}$",
    "as Minerva ends": "Final Answer: The final answer is ${}$. I hope it is correct.",
    "with a clause behind it": "The answer is: ${}$, which is what we were asked for.",
    "as a display": "The answer is:\n\\[\n{}\n\\]\n",
    "after thinking": "<think>Is it \\boxed{{0}}?</think>\n\nThe answer is ${}$.<|im_end|>",
    "after ####": "We add up.\n#### {}",
}
"""Ways to state an answer, which stands in their braces."""


def _math500(folder: Path) -> Iterator[Case]:
    """Gold solutions, the gold answer in plain notation and in several wordings, and answers of other problems."""
    problems = load("math500", "test", folder / "math500")
    for problem in problems:
        solution, gold = _gold(problem)
        yield "MATH500", "gold solution", solution, gold, True
        plain = plain_notation(gold)
        if plain != gold and "\\" not in plain:
            yield "MATH500", "plain notation", f"The answer is: {plain}", gold, True
    for wording, template in WORDINGS.items():
        for problem in problems:
            yield WORDED, wording, template.format(_gold(problem)[1]), _gold(problem)[1], True
    pairs = answer_pairs(_gold(problem)[1] for problem in problems)
    for left, right in random.Random(0).sample(pairs, PAIRS):
        yield "MATH500 pairs", "answer of another problem", f"\\boxed{{{left}}}", right, {left, right} in SAME_VALUE


def plain_notation(latex: str) -> str:
    r"""LaTeX in plain notation, such as (pi)/(2) for `\frac{\pi}{2}`. What has no plain form keeps its backslash."""
    text = re.sub(r"\\(?:left|right)(?![a-z])", "", re.sub(r"\\! ?", "", latex).replace("\\$", "$"))
    text = re.sub(r"\\(?:text|mbox)\{([^{}]*)\}", r"\1", text).replace("^\\circ", " degrees").replace("\\%", "%")
    text = re.sub(r"(?<=\d)\\frac", r" \\frac", text)  # a mixed number
    for _ in range(3):
        text = re.sub(r"\\sqrt(?:\{([^{}]*)\}|(\d))", lambda m: f"sqrt({m[1] or m[2]})", text)
        text = re.sub(r"\\[dt]?frac ?(?:\{([^{}]*)\}|(\d)) ?(?:\{([^{}]*)\}|(\d))", _plain_fraction, text)
    return re.sub(r"\\(pi|cot|infty)(?![a-z])", r"\1", text).replace("infty", "∞")


def _plain_fraction(fraction: re.Match) -> str:
    over, under = fraction[1] or fraction[2], fraction[3] or fraction[4]
    return f"{over}/{under}" if (over + under).isalnum() else f"({over})/({under})"


def answer_pairs(answers: Iterable[str]) -> list[tuple[str, str]]:
    """All pairs of different answers, in a fixed order."""
    distinct = sorted(set(answers))
    return [(left, right) for place, left in enumerate(distinct) for right in distinct[:place]]


def _samples(folder: Path) -> Iterator[Case]:
    """The authors' samples, whose truth is unknown."""
    for row in json_lines(folder / SAMPLES):
        for text in row["pred"]:
            yield "MetaMath-Llama samples", f"problem {row['idx']}", text, row["answer"], None


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per data and form of `answers`.

    Columns: data, form, completions; for each grader wrong (verdicts, if the truth is known) and correct (share of
    completions that it calls right); for the other graders differs (verdicts that are not ours).
    """
    rows = []
    for (data, form), part in _groups(frame, ["data", "form"]):
        row: dict[str, Any] = {"data": data, "form": form, "completions": len(part)}
        known = part[part["true"].notna()]
        for grader in GRADERS:
            judged = known[known[grader].notna()]
            row[f"{grader}_wrong"] = int((judged[grader] != judged["true"]).sum()) if len(judged) else None
            row[f"{grader}_correct"] = float(part[grader].mean()) if part[grader].notna().all() else None
        for grader in GRADERS[1:]:
            judged = part[part[grader].notna()]
            row[f"{grader}_differs"] = int((judged[grader] != judged["ours"]).sum()) if len(judged) else None
        rows.append(row)
    return pd.DataFrame(rows)


def _groups(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple, Any]]:
    """Frames of rows with equal values in some columns, by these values; missing values count as a value."""
    groups: Any = frame.groupby(list(by), sort=False, dropna=False)
    return list(groups)


def disagreements(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per data, form and combination of verdicts that differ from ours: completions, and examples.

    An example is written as gold ← answer.
    """
    verdicts = zip(*(frame[grader] for grader in GRADERS), strict=True)
    differ = frame.loc[[bool({authors, math_verify} - {ours, None}) for ours, authors, math_verify in verdicts]]
    rows = []
    for key, part in _groups(differ, ["data", "form", "true", *GRADERS]):
        pairs = dict.fromkeys(f"{gold} ← {answer}" for gold, answer in zip(part["gold"], part["answer"], strict=True))
        rows.append((*key, len(part), "; ".join(list(pairs)[:4])))
    return pd.DataFrame(rows, columns=["data", "form", "true", *GRADERS, "completions", "examples"])


def programs(folder: Path) -> pd.DataFrame:
    """The 350 LeetCode programs of two models, one row each.

    Columns: model, problem, authors (their verdict), ours, outcome and detail of ours, seconds, within (our
    verdict with a tolerance of `TOLERANCE`).
    """
    numbers = {row["task_id"]: row["meta"]["question_id"] for row in json_lines(folder / "leetcode" / _THEIRS)}
    problems = _code_problems(folder / "leetcode" / _THEIRS)
    numbered = {numbers[problem.id]: problem for problem in problems}
    rows = []
    for model in ("dpo_test", "sft_new_test"):
        theirs = {row["task_id"]: row for row in json_lines(folder / f"leetcode/{model}.evaluation.jsonl")}
        completions = json_lines(folder / f"leetcode/{model}.generations.jsonl")
        pairs = [(row["completion"], numbered[row["task_id"]]) for row in completions]
        strictly, within = ([*grade_programs(pairs, tolerance=tolerance)] for tolerance in (0.0, TOLERANCE))
        for row, verdict, near in zip(completions, strictly, within, strict=True):
            authors = theirs[row["task_id"]]["passed"]
            task = numbered[row["task_id"]].id
            why = verdict.outcome, verdict.detail, verdict.seconds
            rows.append((model, task, authors, verdict.passed, *why, near.passed))
    return pd.DataFrame(rows, columns=["model", "problem", "authors", "ours", "outcome", "detail", "seconds", "within"])


def _code_problems(file: Path) -> list[CodeProblem]:
    return [problem for problem in load("leetcode", "test", file) if isinstance(problem, CodeProblem)]


def reference_solutions(folder: Path) -> dict[str, str]:
    """The outcome of the reference solution of each of the 175 problems, by problem."""
    problems = _code_problems(folder / "leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz")
    verdicts = grade_programs([(f"```python\n{problem.solution}\n```", problem) for problem in problems])
    return {problem.id: verdict.outcome for problem, verdict in zip(problems, verdicts, strict=True)}


# --- what must hold ---------------------------------------------------------------------------------------------------


def held_answers(folder: Path) -> list[dict]:
    """The properties that our grader of mathematics must have: rows of says, asked, held, of.

    says: the property. asked: the share of cases that must have it. held, of: the cases that have it, all cases.
    """
    rows = []
    for split in ("test", "train"):
        golds = [_gold(problem) for problem in load("gsm8k", split, folder / "gsm8k")]
        right = [grade_math(solution, answer).correct for solution, answer in golds]
        rows.append(_row(f"GSM8K {split}: the gold solution is right", "100 %", right))
        follows = []
        for solution, answer, spelling, true in _spellings(golds):
            follows.append(grade_math(f"The answer is: {spelling}", answer).correct == true)
            follows.append(grade_math(solution, spelling).correct == true)
        says = f"GSM8K {split}: with $, separators, decimals, another digit or sign the verdict follows the value"
        rows.append(_row(says, "100 %", follows))
    golds = [_gold(problem) for problem in load("math500", "test", folder / "math500")]
    right = [grade_math(solution, answer).correct for solution, answer in golds]
    rows.append(_row("MATH500: the gold solution is right", "≥ 99.6 %", right))
    worded = [grade_math(text.format(answer), answer).correct for text in WORDINGS.values() for _, answer in golds]
    rows.append(_row(f"MATH500: the gold answer is right in {len(WORDINGS)} wordings", "≥ 99 %", worded))
    pairs = random.Random(0).sample(answer_pairs(answer for _, answer in golds), PAIRS)
    apart = [compare_answers(*pair)[0] == (set(pair) in SAME_VALUE) for pair in pairs]
    rows.append(_row("MATH500: answers of two problems are called equal only if their values are", "100 %", apart))
    cases = json_lines(CASES)
    verdicts = [grade_math(case["completion"], case["gold"]).correct == case["correct"] for case in cases]
    rows.append(_row("Answers as people and models write them: the verdict is right", "all", verdicts))
    return rows


def held_programs(ran: pd.DataFrame, reference: dict[str, str]) -> list[dict]:
    """The same for programs. ran: from `programs`. reference: from `reference_solutions`."""
    says = "LeetCode: the verdict on {} is the authors'"
    agree = (ran["ours"] == ran["authors"]).groupby(ran["model"])
    rows = [_row(says.format(model), "≥ 98 %", verdicts) for model, verdicts in agree]
    passed = [outcome == "passed" for outcome in reference.values()]
    return [*rows, _row("LeetCodeDataset v0.1.0: the reference solution passes", "all", passed)]


def _row(says: str, asked: str, held: Iterable[bool]) -> dict:
    held = list(held)
    return {"says": says, "asked": asked, "held": int(sum(held)), "of": len(held)}


def _spellings(golds: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str, bool]]:
    """(solution, answer, another spelling of the answer or another value, whether it has the answer's value)."""
    rng = random.Random(0)
    for solution, answer in golds:
        plain = answer.replace(",", "")
        changed = _other_digit(plain, rng)
        for same in (plain, f"{int(plain):,}", f"${plain}", rf"\${int(plain):,}", f"{plain}.00"):
            yield solution, answer, same, True
        yield solution, answer, changed, int(changed) == int(plain)
        yield solution, answer, f"-{plain}".replace("--", ""), int(plain) == 0


# --- the file ---------------------------------------------------------------------------------------------------------

FILES = (
    "gsm8k/test.jsonl",
    "gsm8k/train.jsonl",
    "math500/test.jsonl",
    "leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz",
    f"leetcode/{_THEIRS}",
    *(
        f"leetcode/{model}.{kind}.jsonl"
        for model in ("dpo_test", "sft_new_test")
        for kind in ("generations", "evaluation")
    ),
    SAMPLES,
)
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy", "textblob")


def verify(folder: Path) -> dict[str, object]:
    """All results, as plain data. It takes minutes: math-verify grades 16,000 answers, and 875 programs are run."""
    frame, ran, reference = answers(folder), programs(folder), reference_solutions(folder)
    outcomes = ran.groupby(["model", "authors", "outcome"], as_index=False).agg(programs=("outcome", "size"))
    passed = ran.groupby("model", as_index=False).agg(**{name: (name, "sum") for name in ("authors", "ours", "within")})
    differing = ran.loc[ran["ours"] != ran["authors"], ["model", "problem", "authors", "outcome", "detail"]]
    return {
        **made_with(*LIBRARIES),
        "date": datetime.now(UTC).date().isoformat(),
        "files": digests(folder),
        "held": held_answers(folder) + held_programs(ran, reference),
        "summary": _records(summary(frame)),
        "disagreements": _records(disagreements(frame)),
        "programs": _records(outcomes),
        "passed": _records(passed),
        "differing_programs": _records(differing),
        "failing_references": {name: outcome for name, outcome in reference.items() if outcome != "passed"},
        "marks": marks(folder),
        "mark_types": _records(mark_types(folder).round(4)),
    }


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that the results are made from."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def _records(frame: pd.DataFrame) -> list[dict]:
    """The rows as JSON has them: null for missing values."""
    return json.loads(str(frame.to_json(orient="records", force_ascii=False)))


def main() -> None:
    """Compare the graders and write or print the results."""
    description = str(__doc__).splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m asprm.site.verification", description=description)
    parser.add_argument("data", type=Path, help="folder with gsm8k, math500, leetcode and metamath_llama_samples")
    parser.add_argument("--out", type=Path, help="file to write (default: the results are printed)")
    arguments = parser.parse_args()
    text = json.dumps(verify(arguments.data), indent=1, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
