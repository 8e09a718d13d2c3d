"""What the commands of `asprm` share: options, errors as one line, and the opening of files. No models, no rows."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from asprm.engines.load import Kind
from asprm.reward.aggregates import AGGREGATES, known_aggregate
from asprm.rows.jsonl import PIPE, Failed, Lines

if TYPE_CHECKING:
    from asprm.models.prompts import Form

# --- options of several commands --------------------------------------------------------------------------------------

Source = Annotated[
    str, typer.Argument(metavar="[ROWS.jsonl]", help="Input file, one row per line (JSON Lines); '-': standard input.")
]
Target = Annotated[str, typer.Option("--output", "-o", help="Output file (JSON Lines); '-': standard output.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first row that fails. [default: report it and go on]")
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="THEIRS=OURS",
        help="A field's name in the file, and the name that the command expects. Repeatable. [default: none]",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="Prompt with {problem} in it. [default: the row's field 'template', else the model's chat template]",
    ),
]
Instruction = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="User message with {problem} in it, in the model's chat template. [default: the problem alone]",
    ),
]
System = Annotated[
    str | None, typer.Option(metavar="TEXT", help="System message. [default: the chat template's own, if any]")
]
Model = Annotated[
    str, typer.Option(metavar="MODEL", help="Language model: Hugging Face folder, GGUF file or hub name.")
]
Device = Annotated[str | None, typer.Option(help="Device: cpu or cuda. [default: cuda if there is a GPU, else cpu]")]
Engine = Annotated[
    Kind,
    typer.Option(help="Engine: local (transformers), vllm, or auto: vllm where it is installed and a GPU is there."),
]
Prm = Annotated[
    str, typer.Option(metavar="FOLDER|NAME", help="Reward model: a folder that `asprm train` wrote, or a hub name.")
]
Convention = Annotated[
    str | None,
    typer.Option(
        metavar="WORD",
        help="How a published reward model is read, such as math-shepherd. [default: the one known for its hub name]",
    ),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Most tokens of a text; a longer one is cut and not finished.")]
Temperature = Annotated[float, typer.Option(min=0, help="Sampling temperature; 0: always the most probable token.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]

# --- asprm sample, asprm look -----------------------------------------------------------------------------------------

Solutions = Annotated[int, typer.Option("--solutions", "-n", min=1, help="Solutions of each problem.")]
LineNumbers = Annotated[
    list[int] | None, typer.Option("--line", min=1, help="Line to show, from 1. Repeatable. [default: the first row]")
]

# --- asprm split ------------------------------------------------------------------------------------------------------

Share = Annotated[
    float | None, typer.Option(help="Share of all tokens below the threshold, which is fitted to it. [default: 0.02]")
]
Tau = Annotated[
    float | None,
    typer.Option(help="The threshold: a probability, such as an earlier run printed. [default: fitted to --share]"),
]

# --- asprm label ------------------------------------------------------------------------------------------------------

Rollouts = Annotated[int, typer.Option(min=1, help="J, continuations from the end of each step.")]
Estimate = Annotated[
    Literal["hard", "soft", "entropy"],
    typer.Option(
        help="Label of a step. hard: 1 if any of J is right; soft: the share that is right; "
        "entropy: (1/eta) log mean exp(eta·right)."
    ),
]
Eta = Annotated[float, typer.Option(min=1e-6, help="Sharpness of the estimate 'entropy'.")]

# --- asprm train ------------------------------------------------------------------------------------------------------

Base = Annotated[
    str,
    typer.Option(metavar="MODEL", help="Language model to start from: Hugging Face folder, GGUF file or hub name."),
]
NewPrm = Annotated[Path, typer.Option(metavar="FOLDER", help="New folder for the reward model.")]
Rank = Annotated[
    int | None, typer.Option(min=1, help="Rank of low-rank adapters (LoRA), saved alone. [default: all weights learn]")
]
Layers = Annotated[int | None, typer.Option(min=1, help="How many of the last layers learn. [default: all]")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the labelled solutions.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate (AdamW).")]
BatchTokens = Annotated[int, typer.Option(min=1, help="Tokens per optimiser step, prompts included.")]
Warmup = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the optimiser steps over which the learning rate rises.")
]
WeightDecay = Annotated[float, typer.Option(min=0, help="Weight decay (AdamW).")]
Validation = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the problems held out.")]
Checkpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", help="A third more work for far less memory. [default: off]")
]


def _aggregate(name: str) -> str:
    try:
        return known_aggregate(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


# --- asprm grade ------------------------------------------------------------------------------------------------------

Tolerance = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="By how much a program's floats may differ, absolutely, or in relation to values above 1. [default: 0]",
        show_default=False,
    ),
]

# --- asprm score, decode, export, plan --------------------------------------------------------------------------------

Aggregate = Annotated[
    str,
    typer.Option(
        callback=_aggregate,
        help=f"How the step scores become the score of the solution: {', '.join(AGGREGATES)} (product: its logarithm).",
    ),
]
Trigger = Annotated[
    float, typer.Option(min=0, max=1, help="Ask the reward model where the top-1 probability is lower; 0: never.")
]
Candidates = Annotated[int, typer.Option(min=1, help="W, tokens that the reward model scores at a decision.")]
Format = Annotated[Literal["trl", "prm800k"], typer.Option(help="Format of the output, see above.")]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="Steps with a greater label count as right.")]
Profile = Annotated[str, typer.Option(metavar="NAME|FILE", help="Name of a profile, or a .yml file of your own.")]
Machine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Machine: h100, h200, a100 or cpu. [default: h100; cpu for models below 100 million parameters]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Rows as JSON Lines, without the assumptions. [default: a table]")]
FirstRun = Annotated[str, typer.Argument(metavar="RUN", help="A run.", show_default=False)]
SecondRun = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Another run. [default: RUN is compared with the one before it]")
]
JsonRows = Annotated[bool, typer.Option("--json", help="Rows as JSON Lines. [default: text]")]

# --- asprm view -------------------------------------------------------------------------------------------------------

ViewTau = Annotated[
    float | None, typer.Option(min=0, max=1, help="The threshold at the beginning. [default: tau of the first row]")
]
Title = Annotated[str, typer.Option(help="Title of the page.")]
Html = Annotated[str, typer.Option("--output", "-o", help="Output file (HTML); '-': standard output.")]

# --- how a command runs -----------------------------------------------------------------------------------------------


def one_line_errors(function: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors as one message on standard error.

    Exit status: 1 if rows failed or the reader of the output has stopped, 2 if the command could not do its work, 130
    if it was interrupted; the rows that are written stay.
    """

    @functools.wraps(function)
    def command(**options: Any) -> None:
        try:
            _check_numbers(options)
            _check_output(options)
            if options.get("device") is not None:
                _check_device(options["device"])
            function(**options)
        except BrokenPipeError:  # as when the output goes to `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            # At once: Python would wait for all threads, and these for the programs that they run.
            print(f"asprm {function.__name__}: interrupted", file=sys.stderr, flush=True)
            os._exit(130)
        except (Failed, ValueError, OSError, ImportError) as error:
            typer.echo(f"asprm {function.__name__}: {error}", err=True)
            raise typer.Exit(1 if isinstance(error, Failed) else 2) from None

    return command


def open_lines(source: str, output: str, strict: bool, rename: list[str] | None = None) -> Lines:
    """The rows of `source`, and `output` to write to.

    ValueError: no such file; a pair that is not THEIRS=OURS; a name that stands in two pairs.
    """
    names: dict[str, str] = {}
    for pair in rename or ():
        theirs, _, ours = pair.partition("=")
        if not (theirs and ours):
            raise ValueError(f"--rename {pair}: expected THEIRS=OURS, such as question=problem")
        if theirs in names or ours in names.values():
            raise ValueError(f"--rename {pair}: {theirs if theirs in names else ours} is in another --rename already")
        names[theirs] = ours
    if source != PIPE and not Path(source).exists():
        raise ValueError(f"{source}: no such file; expected a file of JSON Lines, or '-' for standard input")
    return Lines(source, output, strict=strict, rename=names)


def own_template(form: Form, row: Mapping[str, Any]) -> dict[str, str]:
    """The field `template` of a row that has none, if one was given to the command."""
    return {"template": form.template} if form.template and "template" not in row else {}


def check_other_file(source: str, output: str) -> None:
    """ValueError: `output` is the file `source`, by whatever name."""
    exist = PIPE not in (source, output) and Path(source).exists() and Path(output).exists()
    if exist and os.path.samefile(source, output):
        raise ValueError(f"{output} is the file that is read; write to another file")


def write_text(output: str, text: str) -> None:
    """Write a text to a file or to standard output, in UTF-8. ValueError: it cannot be; the file is then as it was."""
    encoded = text.encode()
    if output == PIPE:
        sys.stdout.buffer.write(encoded)
        sys.stdout.buffer.flush()
    else:
        Path(output).write_bytes(encoded)


def _check_numbers(options: Mapping[str, Any]) -> None:
    """ValueError: an option is NaN or infinite, which no limit of an option excludes."""
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} {value}: expected a finite number")


def _check_output(options: Mapping[str, Any]) -> None:
    """ValueError: --output is in no folder, or it is the template's file or a file of the model that is read."""
    output = Path(options.get("output", PIPE))
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}; make it first")
    for name in ("template", "model", "prm", "base"):
        given = str(options.get(name) or "")
        if not output.is_file() or not os.path.exists(given):
            continue
        files = [given, *map(str, Path(given).glob("*"))] if os.path.isdir(given) else [given]
        if any(os.path.samefile(output, file) for file in files if os.path.exists(file)):
            raise ValueError(f"--output {output}: it is read as --{name}; write to another file")


def _check_device(device: str) -> None:
    """ValueError: this machine has no such device."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        expected = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"--device {device}: this machine has no such device; expected {expected}") from None


# --- asprm fetch ------------------------------------------------------------------------------------------------------

Fetched = Annotated[str, typer.Argument(metavar="NAME", help="smollm2: SmolLM2-135M-Instruct (93 MB, Apache 2.0).")]
