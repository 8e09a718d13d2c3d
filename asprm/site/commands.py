"""Commands of `asprm` that look at runs: runs, diff. `asprm.cli` registers them."""

from __future__ import annotations

import json

import typer

from asprm.rows import options as opt
from asprm.run.root import study_root


def runs(as_json: opt.JsonRows = False) -> None:
    """List the runs below this folder (or below $ASPRM_HOME): how far each is, and what made it.

    A run is finished, at work, or has stopped before its end; then `make study` goes on from there. An experiment holds
    single notebooks with other parameters.

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
