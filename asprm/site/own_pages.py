"""The worked example of the page "Use it on your own solutions": every command is run, and its output shown.

The rows are solutions of the run's first test problems, taken as text, like rows of a user; the models are the run's.
Long lists are shortened for the page.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from asprm.problems.sets import problem_set, test_sets
from asprm.results.costs import parameters
from asprm.run import names
from asprm.run.open import Run
from asprm.run.profile import packaged_profiles

if TYPE_CHECKING:
    from typer.core import TyperGroup

PROBLEMS, SOLUTIONS = 6, 4  # problems, and solutions of each
_LARGE = 50_000_000  # weights; of such a model the site shows less, since it is built on any machine
_FEW_PROBLEMS, _FEW_SOLUTIONS = 2, 1
_LONGEST = 6  # items of a list that are shown
_PROGRESS = re.compile(r"^» \w+: \d+ (of|done)")


def own_pages(run: Run) -> dict[str, str]:
    """The includes of the page by name.

    MissingArtifact: the run has no samples or no reward model yet. RuntimeError: a command failed.
    """
    policy, prm = Path(run.policy_path()).resolve(), run.find(names.reward_model(run.prm)).resolve()
    large = parameters(policy) > _LARGE
    fewer, adapters = (" --rollouts 2", " --rank 8") if large else ("", "")
    with TemporaryDirectory() as folder, chdir(folder):
        Path("policy").symlink_to(policy)
        Path("reward-model").symlink_to(prm)
        rows = _solutions(run, _FEW_PROBLEMS if large else PROBLEMS, _FEW_SOLUTIONS if large else SOLUTIONS)
        _write("solutions.jsonl", rows)
        limit = run.profile.sample.max_new_tokens
        first = "\n".join(f"{name:15} {_value(value)}" for name, value in rows[0].items())
        caption = f"The first of {len(rows)} rows of `solutions.jsonl`"
        pages = {
            "own_rows": f"```{{code-block}} text\n:caption: {caption}\n{first}\n```\n",
            "own_split": _run("split --model policy --share 0.03 solutions.jsonl -o steps.jsonl"),
            "own_label": _run(f"label --model policy{fewer} --max-new-tokens {limit} steps.jsonl -o labelled.jsonl"),
            "own_train": _run(
                f"train --base policy --prm my-model{adapters} --learning-rate 1e-4 labelled.jsonl -o history.jsonl"
            ),
            "own_score": _run("score --prm reward-model steps.jsonl -o scored.jsonl"),
            "own_export": _run("export --to trl labelled.jsonl -o stepwise.jsonl"),
        }
        trigger = run.read_json(names.trigger(run.prm, run.policy))["trigger"]
        problems = list({row["problem"]: {name: row[name] for name in ("problem", "answer")} for row in rows}.values())
        _write("problems.jsonl", problems)
        pages["own_decode"] = _run(
            f"decode --model policy --prm reward-model --trigger {trigger:g} --candidates {run.profile.tvd.candidates} "
            f"--max-new-tokens {limit} "
            "problems.jsonl -o solved.jsonl"
        ) + _run("grade solved.jsonl -o graded.jsonl")
    profile = "paper" if "paper" in packaged_profiles() else run.source
    pages["own_plan"] = _run(f"plan --profile {profile}")
    pages["own_help"] = "\n".join(_help(name) for name in _commands())
    return pages


def _solutions(run: Run, count: int, each: int) -> list[dict[str, Any]]:
    """Rows for `asprm split`: the first solutions of the first test problems."""
    first = test_sets(run.profile, run.domain)[0]
    problems = {problem.id: problem for problem in problem_set(run.profile, first)[:count]}
    rows = run.read(names.samples(run.policy, first), ["problem", "solution", "text", "finished"]).to_pylist()
    return [
        {
            "problem": problems[row["problem"]].prompt,
            "answer": problems[row["problem"]].answer,
            "solution": row["text"],
            "finished": row["finished"],
        }
        for row in rows
        if row["problem"] in problems and row["solution"] < each
    ]


def _write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _run(line: str) -> str:
    """Run a command; Markdown of the command, its messages, and the fields that it added to the first row.

    line: the arguments, `… IN -o OUT`, or those of a command without rows.
    """
    from typer.testing import CliRunner

    from asprm.cli import app

    words = shlex.split(line)
    result = CliRunner().invoke(app, words)
    if result.exit_code:
        raise RuntimeError(f"asprm {line}: status {result.exit_code}\n{result.output}") from result.exception
    messages = "".join(f"{text}\n" for text in result.stderr.splitlines() if not _PROGRESS.match(text))
    shown = f"```console\n$ asprm {line}\n{messages}{result.stdout}```\n"
    if "-o" not in words:
        return shown
    read, written = (_rows(name) for name in (words[-3], words[-1]))
    added = {name: value for name, value in written[0].items() if name not in read[0]}
    fields = "\n".join(f"{name:15} {_value(value)}" for name, value in added.items())
    caption = "The first row" if len(added) == len(written[0]) else "The fields added to the first row"
    return f"{shown}\n```{{code-block}} text\n:caption: {caption} (of {len(written)})\n{fields}\n```\n"


def _rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def _value(value: Any) -> str:
    """A value as JSON, a long list shortened."""
    if isinstance(value, list) and len(value) > _LONGEST:
        shown = json.dumps(value[:_LONGEST], ensure_ascii=False)
        return f"{shown[:-1]}, … {len(value) - _LONGEST} more]"
    return json.dumps(value, ensure_ascii=False)


def _commands() -> list[str]:
    """Names of all commands of `asprm`."""
    from typer.main import get_command

    from asprm.cli import app

    return list(cast("TyperGroup", get_command(app)).commands)


def _help(name: str) -> str:
    from typer.testing import CliRunner

    from asprm.cli import app

    text = CliRunner().invoke(app, [name, "--help"], prog_name="asprm").stdout
    return f":::{{dropdown}} `asprm {name} --help`\n```text\n{text.strip()}\n```\n:::\n"
