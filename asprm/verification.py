r"""Graders on real text that nobody here wrote: where they agree, where they do not, and who is right.

    python -m asprm.verification ../shared/data --out data/reference/verification

reads GSM8K, MATH500, the authors' samples and their verdicts on programs (`gsm8k/test.jsonl`, `math500/test.jsonl`, …)
and writes the tables of the book's Verification page: counts, and answers on which the graders differ. Compared are

- ours: `asprm.grading.grade_math`;
- authors: a regular expression for whole numbers after `The answer is:` or `####`, written from the description of the
  released evaluation code; for GSM8K's kind of answer only;
- math_verify: math-verify as its documentation uses it, on the whole completion, the gold answer between dollar signs.
"""

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from asprm.grading import grade_math, grade_programs
from asprm.problems.hub import load

GRADERS = ("ours", "authors", "math_verify")
PAIRS = 5000  # of answers to different MATH500 problems

# Those answers to different MATH500 problems that are one value: read one by one, among all 45,150 pairs.
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


def answers(folder: Path) -> pd.DataFrame:
    """One row per graded completion: data, form, gold, answer, true (None: nobody knows), and each grader's verdict.

    answer: what our grader extracts. `authors` is None on MATH500, whose answers their expression is not for.
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
                "authors": None if data.startswith("MATH500") else by_regular_expression(completion, gold),
                "math_verify": by_math_verify(completion, gold),
            }
        )
    return pd.DataFrame(rows)


def by_regular_expression(completion: str, gold: str) -> bool:
    """Whole numbers only: what stands between digits, before or after them is lost."""
    found = re.findall(r"(?:The answer is:|####) ?(-?[0-9]+)", completion)
    true = re.match(r"-?[0-9]+", gold)
    return bool(found and true) and int(found[-1]) == int(true[0])


def by_math_verify(completion: str, gold: str) -> bool:
    """math-verify alone. In the main thread only: its time limits are signals."""
    import math_verify

    return math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(completion))


Case = tuple[str, str, str, str, bool | None]  # data, form, completion, gold, true


def _gsm8k(folder: Path) -> Iterator[Case]:
    rng = random.Random(0)
    for problem in load("gsm8k", "test", folder / "gsm8k"):
        yield "GSM8K", "gold solution", problem.solution, problem.answer, True
        plain = problem.answer.replace(",", "")
        place = rng.choice([i for i, character in enumerate(plain) if character.isdigit()])
        digit = rng.choice([digit for digit in "0123456789" if digit != plain[place]])
        forms = {
            "thousands separators": f"{int(plain):,}",
            "dollar sign": f"${plain}",
            "two decimals": f"{plain}.00",
            "unit": f"{plain} in total",
            "one digit changed": plain[:place] + digit + plain[place + 1 :],
            "half more": f"{plain}.5",
        }
        for form, answer in forms.items():
            true = form not in ("one digit changed", "half more")
            yield "GSM8K", form, f"So it is so.\nThe answer is: {answer}", problem.answer, true


def _math500(folder: Path) -> Iterator[Case]:
    problems = load("math500", "test", folder / "math500")
    for problem in problems:
        yield "MATH500", "gold solution", problem.solution, problem.answer, True
        plain = plain_notation(problem.answer)
        if plain != problem.answer and "\\" not in plain:
            yield "MATH500", "plain notation", f"The answer is: {plain}", problem.answer, True
    pairs = answer_pairs(problem.answer for problem in problems)
    for left, right in random.Random(0).sample(pairs, PAIRS):
        yield "MATH500 pairs", "answer of another problem", f"\\boxed{{{left}}}", right, {left, right} in SAME_VALUE


def plain_notation(latex: str) -> str:
    r"""`\frac{\pi}{2}` as (pi)/(2) and so on; what has no such form keeps its backslash."""
    text = re.sub(r"\\(?:left|right)(?![a-z])", "", latex.replace("\\!", "").replace("\\$", "$"))
    text = re.sub(r"\\(?:text|mbox)\{([^{}]*)\}", r"\1", text).replace("^\\circ", " degrees").replace("\\%", "%")
    text = re.sub(r"(?<=\d)\\frac", r" \\frac", text)  # a mixed number
    for _ in range(3):
        text = re.sub(r"\\sqrt(?:\{([^{}]*)\}|(\d))", lambda m: f"sqrt({m[1] or m[2]})", text)
        text = re.sub(r"\\[dt]?frac ?(?:\{([^{}]*)\}|(\d)) ?(?:\{([^{}]*)\}|(\d))", _plain_fraction, text)
    return re.sub(r"\\(pi|cot|infty)(?![a-z])", r"\1", text).replace("infty", "∞")


def _plain_fraction(found: re.Match) -> str:
    over, under = found[1] or found[2], found[3] or found[4]
    return f"{over}/{under}" if (over + under).isalnum() else f"({over})/({under})"


def answer_pairs(answers: Iterable[str]) -> list[tuple[str, str]]:
    """All pairs of different answers, in a fixed order."""
    distinct = sorted(set(answers))
    return [(left, right) for place, left in enumerate(distinct) for right in distinct[:place]]


def _samples(folder: Path) -> Iterator[Case]:
    for row in _lines(folder / "metamath_llama_samples/gsm8k_bo256_confidence.jsonl"):
        for text in row["pred"]:
            yield "MetaMath-Llama samples", f"problem {row['idx']}", text, row["answer"], None


def _lines(file: Path) -> list[dict]:
    with file.open() as lines:
        return [json.loads(line) for line in lines]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per data and form: completions, each grader's wrong verdicts where the truth is known, how many are not ours."""
    rows = []
    for (data, form), part in frame.groupby(["data", "form"], sort=False):
        row = {"data": data, "form": form, "completions": len(part)}
        known = part[part.true.notna()]
        for grader in GRADERS:
            judged = known[known[grader].notna()]
            row[f"{grader}_wrong"] = int((judged[grader] != judged.true).sum()) if len(judged) else None
            row[f"{grader}_correct"] = float(part[grader].mean()) if part[grader].notna().all() else None
        for grader in GRADERS[1:]:
            judged = part[part[grader].notna()]
            row[f"{grader}_differs"] = int((judged[grader] != judged.ours).sum()) if len(judged) else None
        rows.append(row)
    return pd.DataFrame(rows)


def disagreements(frame: pd.DataFrame) -> pd.DataFrame:
    """Per data, form and combination of differing verdicts: how many completions, and some as gold ← answer."""
    differ = frame[[bool({row.authors, row.math_verify} - {row.ours, None}) for row in frame.itertuples()]]
    rows = []
    for key, part in differ.groupby(["data", "form", "true", *GRADERS], sort=False, dropna=False):
        pairs = dict.fromkeys(f"{row.gold} ← {row.answer}" for row in part.itertuples())
        rows.append((*key, len(part), "; ".join(list(pairs)[:4])))
    return pd.DataFrame(rows, columns=["data", "form", "true", *GRADERS, "completions", "examples"])


def programs(folder: Path) -> pd.DataFrame:
    """The two models' 350 LeetCode programs: model, problem, the authors' verdict, ours, its outcome and detail."""
    problems = {row["task_id"]: row["meta"]["question_id"] for row in _lines(folder / "leetcode" / _THEIRS)}
    numbered = {problems[problem.id]: problem for problem in load("leetcode", "test", folder / "leetcode" / _THEIRS)}
    rows = []
    for model in ("dpo_test", "sft_new_test"):
        theirs = {row["task_id"]: row for row in _lines(folder / f"leetcode/{model}.evaluation.jsonl")}
        completions = _lines(folder / f"leetcode/{model}.generations.jsonl")
        verdicts = grade_programs([(row["completion"], numbered[row["task_id"]]) for row in completions])
        for row, verdict in zip(completions, verdicts, strict=True):
            authors = theirs[row["task_id"]]["passed"]
            task = numbered[row["task_id"]].id
            rows.append((model, task, authors, verdict.passed, verdict.outcome, verdict.detail, verdict.seconds))
    return pd.DataFrame(rows, columns=["model", "problem", "authors", "ours", "outcome", "detail", "seconds"])


_THEIRS = "1745_leetcode_problems_test.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m asprm.verification", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds gsm8k, math500, leetcode, metamath_llama_samples")
    parser.add_argument("--out", type=Path, help="folder to write summary.csv, disagreements.csv, programs.csv to")
    arguments = parser.parse_args()
    frame = answers(arguments.data)
    ran = programs(arguments.data)
    outcomes = ran.groupby(["model", "authors", "outcome"]).size().rename("programs").reset_index()
    tables = {"summary": summary(frame), "disagreements": disagreements(frame), "programs": outcomes}
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.max_rows", 60):
        for name, table in tables.items():
            print(f"\n{name}\n{table.to_string(index=False, max_rows=60)}")
            if arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                table.to_csv(arguments.out / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
