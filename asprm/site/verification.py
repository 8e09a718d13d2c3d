r"""Graders on real text that nobody here wrote: where they agree, where they do not, and who is right.

    python -m asprm.site.verification ../shared/data --out data/reference/verification.json

reads GSM8K, MATH500, the authors' samples and their verdicts on programs (`gsm8k/test.jsonl`, `math500/test.jsonl`, …)
and writes what the book's Verification page shows: what must hold with its counts, where the graders differ, and which
tokens the authors' marks stand at; with commit, day and versions, and the digests of the files that it was made from.
Compared are

- ours: `asprm.grading.math.grade_math`;
- authors: a regular expression for whole numbers after `The answer is:` or `####`, written from the description of the
  released evaluation code; for GSM8K's kind of answer only;
- math_verify: math-verify as its documentation uses it, on the whole completion, the gold answer between dollar signs.
"""

import argparse
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from asprm.grading.code import grade_programs
from asprm.grading.math import compare_answers, grade_math
from asprm.problems.hub import load
from asprm.run.provenance import made_with
from asprm.token_types.mathematics import load_tagger, token_table

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


def answers(folder: Path, slow: Callable[[str], bool] = lambda form: True) -> pd.DataFrame:
    """One row per graded completion: data, form, gold, answer, true (None: nobody knows), and each grader's verdict.

    answer: what our grader extracts. `authors` is None on MATH500, whose answers their expression is not for.
    slow: of which forms math-verify, which takes most of the time, is asked; None is its verdict on the others.
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
                "math_verify": by_math_verify(completion, gold) if slow(form) else None,
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


def reference_solutions(folder: Path) -> dict[str, str]:
    """Outcome of each of the 175 problems' own solutions, by problem."""
    file = folder / "leetcode/LeetCodeDataset-v0.1.0-test.jsonl.gz"
    problems = load("leetcode", "test", file)
    pairs = [(f"```python\n{problem.solution}\n```", problem) for problem in problems]
    return {pair[1].id: verdict.outcome for pair, verdict in zip(pairs, grade_programs(pairs), strict=True)}


# --- what must hold ---------------------------------------------------------------------------------------------------


def held_answers(folder: Path) -> list[dict]:
    """Rows for mathematics: what must hold, how much of it is asked, and how often it holds. Our grader alone."""
    rows = []
    for split in ("test", "train"):
        problems = load("gsm8k", split, folder / "gsm8k")
        right = [grade_math(problem.solution, problem.answer).correct for problem in problems]
        rows.append(_row(f"GSM8K {split}: the gold solution is right", "100 %", right))
        follows = []
        for problem, (spelling, true) in _spellings(problems):
            follows.append(grade_math(f"The answer is: {spelling}", problem.answer).correct == true)
            follows.append(grade_math(problem.solution, spelling).correct == true)
        says = f"GSM8K {split}: with $, separators, decimals, another digit or sign the verdict follows the value"
        rows.append(_row(says, "100 %", follows))
    problems = load("math500", "test", folder / "math500")
    right = [grade_math(problem.solution, problem.answer).correct for problem in problems]
    rows.append(_row("MATH500: the gold solution is right", "≥ 99.6 %", right))
    pairs = random.Random(0).sample(answer_pairs(problem.answer for problem in problems), PAIRS)
    apart = [compare_answers(*pair)[0] == (set(pair) in SAME_VALUE) for pair in pairs]
    rows.append(_row("MATH500: answers of two problems are called equal only if their values are", "100 %", apart))
    return rows


def held_programs(ran: pd.DataFrame, reference: dict[str, str]) -> list[dict]:
    """The same for programs, from `programs` and `reference_solutions`."""
    says = "LeetCode: the verdict on {} is the authors'"
    rows = [_row(says.format(model), "≥ 98 %", part["ours"] == part["authors"]) for model, part in ran.groupby("model")]
    passed = [outcome == "passed" for outcome in reference.values()]
    return [*rows, _row("LeetCodeDataset v0.1.0: the reference solution passes", "all", passed)]


def _row(says: str, asked: str, held: Iterable[bool]) -> dict:
    held = list(held)
    return {"says": says, "asked": asked, "held": int(sum(held)), "of": len(held)}


def _spellings(problems: list) -> Iterator[tuple]:
    """(problem, (another spelling of its answer, or a wrong one, and whether its value is the answer's))."""
    rng = random.Random(0)
    for problem in problems:
        plain = problem.answer.replace(",", "")
        place = rng.choice([i for i, character in enumerate(plain) if character.isdigit()])
        digit = rng.choice([digit for digit in "0123456789" if digit != plain[place]])
        changed = plain[:place] + digit + plain[place + 1 :]
        for same in (plain, f"{int(plain):,}", f"${plain}", rf"\${int(plain):,}", f"{plain}.00"):
            yield problem, (same, True)
        yield problem, (changed, int(changed) == int(plain))
        yield problem, (f"-{plain}".replace("--", ""), int(plain) == 0)


# --- the authors' marks -----------------------------------------------------------------------------------------------

MARK = " ки "
# As the tokenizer of Llama 3 cuts texts before it merges bytes: most pieces are one token, long words are a few.
_PIECE = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\w]?[^\W\d_]+|\d{1,3}| ?[^\s\w]+[\r\n]*|_|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def marks(folder: Path) -> dict[str, float]:
    """The figures of the marked samples: marks per sample, and how they stand to line breaks."""
    counts, newlines, marked, after = [], 0, 0, 0
    for row in _lines(folder / "metamath_llama_samples/gsm8k_bo256_confidence.jsonl"):
        for plain, text in zip(row["pred"], row["math_confidence_list"], strict=True):
            if text.replace(MARK, "") != plain or not text.endswith(MARK):
                raise ValueError(f"problem {row['idx']}: a marked text is not its sample with marks, one at the end")
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
    """`asprm.token_types.mathematics.token_table` of the marked samples: a token that an inner mark follows is a decision token.

    Tokens are pieces as the policy's tokenizer cuts texts first, cut again where a mark stands. The mark at the end is
    on every sample and decides nothing.
    """
    texts, ends, doubts, problem = [], [], [], []
    for row in _lines(folder / "metamath_llama_samples/gsm8k_bo256_confidence.jsonl"):
        for text in row["math_confidence_list"]:
            steps = text.split(MARK)[:-1]
            plain, places = "".join(steps), np.cumsum([len(step) for step in steps[:-1]], dtype=np.int64)
            cuts = np.union1d([piece.end() for piece in _PIECE.finditer(plain)], places).astype(np.int64)
            texts.append(plain)
            ends.append(cuts)
            doubts.append(np.where(np.isin(cuts, places), 0.0, 1.0))
            problem.append(row["idx"])
    return token_table(texts, ends, doubts, problem, 0.5, tagger=load_tagger(tagger))


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
    "metamath_llama_samples/gsm8k_bo256_confidence.jsonl",
)
LIBRARIES = ("math-verify", "latex2sympy2_extended", "sympy", "textblob")


def verify(folder: Path) -> dict[str, object]:
    """Everything that the page shows, as plain data. Minutes: math-verify reads 16,000 answers and 525 programs run."""
    frame, ran, reference = answers(folder), programs(folder), reference_solutions(folder)
    outcomes = ran.groupby(["model", "authors", "outcome"]).size().rename("programs").reset_index()
    differing = ran[ran["ours"] != ran["authors"]]
    return {
        **made_with(*LIBRARIES),
        "date": datetime.now(UTC).date().isoformat(),
        "files": digests(folder),
        "held": held_answers(folder) + held_programs(ran, reference),
        "summary": _records(summary(frame)),
        "disagreements": _records(disagreements(frame)),
        "programs": _records(outcomes),
        "differing_programs": _records(differing[["model", "problem", "authors", "outcome", "detail"]]),
        "failing_references": {name: outcome for name, outcome in reference.items() if outcome != "passed"},
        "marks": marks(folder),
        "mark_types": _records(mark_types(folder).round(4)),
    }


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that the figures are made from."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def _records(frame: pd.DataFrame) -> list[dict]:
    return json.loads(frame.to_json(orient="records", force_ascii=False))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m asprm.site.verification", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds gsm8k, math500, leetcode, metamath_llama_samples")
    parser.add_argument("--out", type=Path, help="file to write; by default the figures are printed")
    arguments = parser.parse_args()
    text = json.dumps(verify(arguments.data), indent=1, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
