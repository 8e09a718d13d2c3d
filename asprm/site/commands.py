"""Commands of `asprm` that look at runs and rows: runs, diff, view. `asprm.cli` registers them."""

from __future__ import annotations

import json

import typer

from asprm.rows import options as opt
from asprm.run.root import study_root


def runs(as_json: opt.JsonRows = False) -> None:
    """List the runs below this folder (or below $ASPRM_HOME): how far each is, and what made it.

    A run is finished, at work, or has stopped before its end; then `make study` goes on from there. Where it failed,
    the notebook with the error is in its folder notebooks/. An experiment holds notebooks with other parameters.

    \b
    Writes:  a table; with --json a row for each run:
             run, state, last_written, jobs (by stage: ended, planned), seconds, bytes, policies, commits, dirty
    \b
    Example: asprm runs
    """
    from asprm.workflow.runs import as_row, as_text
    from asprm.workflow.runs import runs as states

    root = study_root()
    if as_json:
        for state in states(root):
            typer.echo(json.dumps(as_row(state)))
    else:
        typer.echo(as_text(states(root), root))


def diff(first: opt.FirstRun, second: opt.SecondRun = None, as_json: opt.JsonRows = False) -> None:
    """Compare two runs: parameters, environment, results with their intervals, tables, time and memory.

    A run is named by its profile (a name or a .yml file); smoke~mine is an experiment, smoke@previous the run of smoke
    before the present one. Where no run of that name is here, a reference run that comes with the project is meant, and
    so it is by its folder. With one run, the one before it is compared with it.

    Two results "lie apart" if their 95 % intervals do not overlap. Runs on the same problems may differ by more than
    chance although their intervals overlap.

    \b
    Writes:  text; with --json a row for each thing that differs:
             section     parameters or environment, with name, first, second; or
                         results, with stage, policy, what, set, prm, first and second (value, low, high), apart; or
                         left out, with name: a stage that has run, but whose table is gone
    \b
    Example: asprm diff smoke tiny
    """
    from asprm.site.differences import as_rows, as_text, compare
    from asprm.site.records import PREVIOUS, find_record

    names = (first, second) if second else (f"{first}{PREVIOUS}", first)
    difference = compare(*map(find_record, names))
    if as_json:
        for row in as_rows(difference):
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        typer.echo(as_text(difference))


def view(
    steps: opt.Source = "-",
    tau: opt.ViewTau = None,
    rollouts: opt.Rollouts = 8,
    title: opt.Title = "Solutions, token by token",
    output: opt.Html = "-",
    strict: opt.Strict = False,
    rename: opt.Rename = None,
) -> None:
    """Write a web page on which solutions can be read token by token, with a threshold to move.

    The page is one file that needs no server and no network. It shows how steps, the share of decision tokens and the
    number of rollouts follow the threshold, and labels and scores at the ends of the steps that have them.

    \b
    Reads:   what `asprm split` writes: problem, solution, confidences, token_ends, tau; and, where they are,
             labels, scores   of the K steps that end at ends
             correct          whether the solution is right
    Writes:  HTML
    \b
    Example: asprm split --model MODEL solutions.jsonl | asprm view -o solutions.html
    """
    from asprm.rows.jsonl import PIPE
    from asprm.site.view_rows import solution_of, tokens_of
    from asprm.site.viewer import page

    opt.check_other_file(steps, output)
    with opt.open_lines(steps, PIPE, strict, rename) as lines:
        rows, solutions = [], []
        for line in lines.read("view"):
            with lines.row(line.number):
                solutions.append(solution_of(line.row, line.number))
                rows.append(line.row)
        if rows:
            opt.write_text(output, page(tokens_of(rows, solutions, tau=tau, rollouts=rollouts), title))
        elif not lines.failed:
            raise ValueError(f"{lines.name} has no rows to show, so no page was written")
