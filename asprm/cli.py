r"""The command line: AdaptiveStep on problems and solutions of your own, `asprm split | asprm label > labelled.jsonl`.

Rows are JSON Lines, from files or pipes ("-"). Every command writes the rows that it read with fields of its own added,
so that one feeds the next. This module holds options and help; what is done to rows stands in `asprm.rows.fields`, and models
are imported only by the commands that need them.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from asprm.rows.jsonl import Failed, Lines, each
from asprm.run.progress import log

app = typer.Typer(
    name="asprm",
    help="AdaptiveStep on your own problems and solutions. Rows are JSON Lines; '-' is a pipe.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

ROWS = 256  # that a model works on together
WINDOW = 1024  # that are read together for common beginnings

Source = Annotated[str, typer.Argument(metavar="[ROWS.jsonl]", help="File of rows; '-' reads standard input.")]
Target = Annotated[str, typer.Option("--output", "-o", help="File to write; '-' writes standard output.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first row that fails.")]
Rename = Annotated[
    list[str] | None, typer.Option("--rename", metavar="THEIRS=OURS", help="A field's name in the file. Repeatable.")
]
Template = Annotated[
    str | None,
    typer.Option(help="Text, or file, with {problem} in it; default: the row's, else the model's chat template."),
]
Model = Annotated[str, typer.Option("--model", help="Hugging Face folder or hub name of a causal language model.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; default: the GPU if there is one.")]
Prm = Annotated[str, typer.Option("--prm", help="Reward model: a folder that `asprm train` wrote, or a hub name.")]
Convention = Annotated[
    str | None,
    typer.Option(help="Of a published reward model that reads a tag, such as math-shepherd; default: by its name."),
]
Tokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="A longer text is cut and counts as unfinished.")]
Seed = Annotated[int, typer.Option(help="Of all that is drawn.")]


class Estimate(StrEnum):
    hard = "hard"
    soft = "soft"
    entropy = "entropy"


class Aggregate(StrEnum):
    min = "min"
    mean = "mean"
    last = "last"
    product = "product"
    max = "max"


class Form(StrEnum):
    trl = "trl"
    prm800k = "prm800k"


def command(function: Callable) -> Callable:
    """A command whose errors are one line on standard error: status 1 if rows failed, 2 if nothing can be done."""

    @functools.wraps(function)
    def told(**options: Any) -> None:
        name = function.__name__
        try:
            _check_device(options.get("device"))
            function(**options)
        except BrokenPipeError:  # whoever read the rows has enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Failed as error:
            typer.echo(f"asprm {name}: {error}", err=True)
            raise typer.Exit(1) from None
        except (ValueError, OSError, ImportError) as error:
            typer.echo(f"asprm {name}: {error}", err=True)
            raise typer.Exit(2) from None

    return app.command()(told)


def _check_device(device: str | None) -> None:
    if device is not None:
        import torch

        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            here = "cpu or cuda" if torch.cuda.is_available() else "cpu"
            raise ValueError(f"--device {device}: there is none here; expected {here} ({_first(error)})") from None


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(" device type at start")[0]


def _lines(source: str, output: str, strict: bool, rename: list[str] | None) -> Lines:
    pairs = [pair.partition("=") for pair in rename or ()]
    for theirs, equals, ours in pairs:
        if not (theirs and equals and ours):
            raise ValueError(f"--rename {theirs + equals + ours}: expected THEIRS=OURS, such as question=problem")
    return Lines(source, output, strict=strict, rename={theirs: ours for theirs, _, ours in pairs})


@contextmanager
def _silent() -> Iterator[None]:
    """Models load without bars of their own: progress counts rows."""
    from asprm.models.load import quiet

    with quiet():
        yield


@command
def split(
    model: Model,
    solutions: Source = "-",
    share: Annotated[
        float | None, typer.Option(help="Share of all tokens that end a step; the threshold is fitted to it. [0.02]")
    ] = None,
    tau: Annotated[float | None, typer.Option(help="The threshold itself, as an earlier run printed it.")] = None,
    template: Template = None,
    output: Target = "-",
    strict: Strict = False,
    rename: Rename = None,
    device: Device = None,
) -> None:
    """Cut solutions into steps that end where the model hesitates.

    The model reads each solution once, after its problem, and gives every token a confidence: its own probability of
    that token. A step ends with each token whose confidence is below the threshold tau. Without --tau all rows are read
    first, and tau is fitted so that --share of their tokens lies below it; it is printed on standard error.

    \b
    Reads:   problem     text
             solution    text, whoever wrote it
             finished    false if the solution was cut off (default true: the model's end of text is appended)
             template    how the problem is put to the model, where rows differ in it
    Adds:    steps       texts of the K steps; joined they are the solution
             ends        tokens up to the end of each step
             char_ends   characters up to the end of each step
             tau         the threshold
             confidences of the T tokens, in (0, 1]
             ids         of the T tokens
    \b
    Example: asprm split --model meta-math/MetaMath-Mistral-7B --share 0.02 solutions.jsonl -o steps.jsonl
    """
    if share is not None and tau is not None:
        raise ValueError("give --share, to which the threshold is fitted, or --tau, the threshold; not both")
    if tau is not None and not 0 <= tau <= 1:
        raise ValueError(f"--tau is {tau}, expected a probability")
    from asprm.engines.rescore import confidences, load_reader
    from asprm.rows.fields import split_fields
    from asprm.rows.texts import Encoder, read_template

    template = read_template(template)
    reader = load_reader(model, device=device)
    encoder = Encoder(reader.tokenizer, template=template, eos=reader.eos, positions=reader.positions)

    def prepare(row: dict) -> tuple:
        return encoder.prompt(row), *encoder.solution(row)

    def read(items: list[tuple]) -> list[tuple]:
        found = confidences(reader, [x[0] for x in items], [x[1] for x in items])
        return [(ids, char_ends, values) for (_, ids, char_ends), values in zip(items, found, strict=True)]

    with _lines(solutions, output, strict, rename) as lines:
        rows = each(lines, lines.read("split"), prepare, read, size=WINDOW)
        if tau is None:
            rows = list(rows)
            tau = _fitted(rows, 0.02 if share is None else share) if rows else 0.0
        added = {"template": template} if template else {}
        for line, (ids, char_ends, values) in rows:
            with lines.row(line.number):
                lines.write(added | line.row | split_fields(line.row["solution"], ids, char_ends, values, tau))


def _fitted(rows: list, share: float) -> float:
    import numpy as np

    from asprm.threshold import fit_threshold

    found = fit_threshold([values for _, (_, _, values) in rows], [line.row["problem"] for line, _ in rows], share)
    tau = float(str(np.float32(found.tau)))  # as few digits as name it
    log(
        f"tau {tau} (95 % interval {found.low:.3g} to {found.high:.3g}): {found.decision_tokens} of {found.tokens} "
        f"tokens ({100 * found.achieved:.2f} %) lie below it"
    )
    return tau


@command
def label(
    model: Model,
    steps: Source = "-",
    rollouts: Annotated[int, typer.Option(min=1, help="J, continuations from the end of each step.")] = 8,
    estimate: Annotated[
        Estimate,
        typer.Option(help="hard: one of J is right; soft: the share; entropy: (1/eta) log mean exp(eta·right)."),
    ] = Estimate.hard,
    eta: Annotated[float, typer.Option(min=1e-6, help="Sharpness of the estimate 'entropy'.")] = 2.0,
    temperature: Annotated[float, typer.Option(min=0, help="Of the continuations.")] = 1.0,
    max_new_tokens: Tokens = 512,
    template: Template = None,
    output: Target = "-",
    strict: Strict = False,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Label steps by continuing the solution from the end of each, and grading what comes of it.

    With hard labels a step's rollouts stop as soon as one is right: the label is the one that all J would give.
    Programs run in a sandbox.

    \b
    Reads:   what `asprm split` writes, and
             answer      the problem's true answer; or, for programs (the last ```python block of a solution),
             test        source that defines check(candidate), with entry_point, imports and cases as needed
    Adds:    labels      of the K steps, in [0, 1]
             right       of each step's continuations, how many are right
             rollouts    how many were run; the last step ends the solution and needs none: one, itself
             correct     whether the solution is right
             estimate    hard, soft or entropy
    \b
    Example: asprm split --model MODEL solutions.jsonl | asprm label --model MODEL --rollouts 8 > labelled.jsonl
    """
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Sampling
    from asprm.rows.fields import cut_of, label_fields
    from asprm.rows.texts import Encoder, read_template

    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    with _silent():
        engine = load_engine(model, device=device)
    encoder = Encoder(engine.tokenizer, template=read_template(template), positions=engine.executor.positions)
    options = {"rollouts": rollouts, "estimate": estimate.value, "eta": eta, "seed": seed}
    with _lines(steps, output, strict, None) as lines:
        compute = functools.partial(label_fields, engine=engine, sampling=sampling, **options)
        for line, fields in each(lines, lines.read("label"), lambda row: cut_of(row, encoder), compute, size=ROWS):
            lines.write(line.row | fields)


@command
def train(
    base: Annotated[str, typer.Option(help="Hugging Face folder or hub name of the language model to start from.")],
    prm: Annotated[Path, typer.Option(help="Folder to write the reward model to.")],
    labelled: Source = "-",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the rows.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="Peak of AdamW's.")] = 1e-6,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens per optimiser step.")] = 65536,
    warmup: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the steps with a rising rate.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of AdamW.")] = 0.01,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the problems held out.")] = 0.0,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="A third more work for far less memory.")
    ] = False,
    template: Template = None,
    output: Target = "-",
    strict: Strict = False,
    seed: Seed = 0,
) -> None:
    """Train a process reward model on labelled steps.

    All weights learn, with a head of one output in place of the language model's. The folder is a Hugging Face model;
    its prm.json says how it was made. A training that was interrupted goes on where it was.

    \b
    Reads:   what `asprm label` writes; of it problem, solution, char_ends, labels
    Writes:  one row for each optimiser step: step, epoch, loss, gradient_norm, learning_rate,
             and after validation: validation_loss, validation_auc, validation_accuracy
    \b
    Example: asprm train --base mistralai/Mistral-7B-v0.1 --prm prm/ labelled.jsonl > history.jsonl
    """
    if prm.exists() and (not prm.is_dir() or any(prm.iterdir())):
        raise ValueError(f"{prm} is there already; name a new folder for the reward model")
    from asprm.models.load import load_config, load_tokenizer
    from asprm.reward.train import train as train_prm
    from asprm.reward.trainer import Settings
    from asprm.rows.fields import example_of, held_out
    from asprm.rows.texts import Encoder, read_template

    template = read_template(template)
    positions = load_config(base).get_text_config().max_position_embeddings
    encoder = Encoder(load_tokenizer(base), template=template, positions=positions)
    settings = Settings(
        epochs, learning_rate, batch_tokens, warmup, weight_decay, gradient_checkpointing=gradient_checkpointing
    )
    with _lines(labelled, output, strict, None) as lines:
        examples = []
        for line in lines.read("train"):
            with lines.row(line.number):
                examples.append(example_of(line.row, encoder))
        kept, held = held_out(examples, validation, seed) if validation else (examples, [])
        about = {"template": template} if template else {}
        history = train_prm(base, kept, settings, prm, validation=held, seed=seed, about=about)
        for row in history.to_dict("records"):
            lines.write({name: value for name, value in row.items() if value == value})  # NaN: not validated then


@command
def score(
    prm: Prm,
    steps: Source = "-",
    aggregate: Annotated[Aggregate, typer.Option(help="How step scores become the solution's.")] = Aggregate.min,
    convention: Convention = None,
    template: Template = None,
    output: Target = "-",
    strict: Strict = False,
    device: Device = None,
) -> None:
    """Score the steps of solutions with a process reward model.

    It is one that `asprm train` made, or a published one that is scored at a tag after each step (Math-Shepherd, ASPRM,
    ER-PRM, RLHFlow's, Qwen's).

    \b
    Reads:   what `asprm split` writes, under any model: steps are carried over by their character ends
    Adds:    scores      of the K steps, in (0, 1)
             score       of the solution: their minimum, or what --aggregate says
    \b
    Example: asprm score --prm prm/ steps.jsonl | jq '{problem, score}'
    """
    from asprm.reward.published import TokenScorer, load_reward_model
    from asprm.reward.score import PRM
    from asprm.rows.fields import item_of, score_fields
    from asprm.rows.texts import read_template

    template = read_template(template)
    with _silent():
        rater = load_reward_model(prm, convention, device=device)
    scorer = TokenScorer(rater, template) if isinstance(rater, PRM) else rater
    with _lines(steps, output, strict, None) as lines:
        compute = functools.partial(score_fields, prm=scorer.prm, how=aggregate.value)
        prepare = functools.partial(item_of, scorer=scorer)
        for line, fields in each(lines, lines.read("score"), prepare, compute, size=WINDOW):
            lines.write(line.row | fields)


@command
def decode(
    model: Model,
    prm: Prm,
    problems: Source = "-",
    trigger: Annotated[float, typer.Option(min=0, max=1, help="Step in below this probability; 0: never.")] = 0.55,
    candidates: Annotated[int, typer.Option(min=1, help="M, tokens that the reward model rates.")] = 8,
    max_new_tokens: Tokens = 512,
    convention: Convention = None,
    template: Template = None,
    output: Target = "-",
    strict: Strict = False,
    rename: Rename = None,
    device: Device = None,
) -> None:
    """Solve problems by token-level value-guided decoding (TVD).

    Greedy decoding, but where the model's most probable next token has a probability below --trigger, the reward model
    rates the --candidates most probable ones, and the best-rated is written. The reward model may have other tokens
    than the model, or be a published one that is scored at a tag (see `asprm score --help`): then it reads the text
    with each candidate appended, which takes longer.

    \b
    Reads:   problem     text
    Adds:    solution    text
             finished    whether it came to its end
             tokens      how many it has
             decisions   at how many of them the reward model was asked
             changed     the characters at which another than the most probable token begins
    \b
    Example: asprm decode --model MODEL --prm prm/ --trigger 0.55 problems.jsonl | asprm grade > solved.jsonl
    """
    from asprm.engines.load import load_engine
    from asprm.reward.guides import guide_for
    from asprm.reward.published import load_reward_model
    from asprm.rows.fields import asked_of, decode_fields
    from asprm.rows.texts import Encoder, read_template

    template = read_template(template)
    with _silent():
        engine, rater = load_engine(model, device=device), load_reward_model(prm, convention, device=device)
    encoder = Encoder(engine.tokenizer, template=template, positions=engine.executor.positions)
    options = {"trigger": trigger, "candidates": candidates, "max_new_tokens": max_new_tokens}
    with _lines(problems, output, strict, rename) as lines:
        prepare = functools.partial(asked_of, encoder=encoder)
        compute = functools.partial(decode_fields, engine=engine, guide=guide_for(rater, engine, template), **options)
        for line, fields in each(lines, lines.read("decode"), prepare, compute, size=ROWS):
            lines.write(line.row | fields)


@command
def grade(
    solutions: Source = "-",
    output: Target = "-",
    strict: Strict = False,
    rename: Rename = None,
) -> None:
    """Grade solutions: mathematics by the value of the last answer that they state, programs by their tests.

    Programs run in a sandbox, without network and with limits on time and memory. How many are right is said on
    standard error.

    \b
    Reads:   problem, solution, and answer or test (see `asprm label --help`)
    Adds:    correct     whether it is right, and why:
             extracted, reason   for mathematics: the answer found, a few words
             outcome, detail     for programs: passed, failed, error, timeout, memory, no_code or forbidden
    \b
    Example: asprm grade --rename question=problem --rename response=solution answers.jsonl > graded.jsonl
    """
    from asprm.rows.jsonl import take
    from asprm.rows.texts import problem_of, verdicts

    def prepare(row: dict) -> tuple:
        return take(row, "solution", str, "the solution's text"), problem_of(row)

    right = graded = 0
    with _lines(solutions, output, strict, rename) as lines:
        for line, fields in each(lines, lines.read("grade"), prepare, verdicts, size=ROWS):
            right, graded = right + fields["correct"], graded + 1
            lines.write(line.row | fields)
        if graded:
            log(f"{right} of {graded} right ({100 * right / graded:.1f} %)")


@command
def export(
    to: Annotated[Form, typer.Option("--to", help="trl: prompt, completions, labels. prm800k: PRM800K's rows.")],
    labelled: Source = "-",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="A step is right if its label is above it.")] = 0.0,
    output: Target = "-",
    strict: Strict = False,
) -> None:
    """Write labelled steps in the form of other projects.

    Both know right and wrong steps only: a label above --threshold is right. Hard labels need no threshold.

    \b
    Reads:   what `asprm label` writes; of it problem, steps, labels (and answer)
    Writes:  trl         prompt, completions (texts of the steps), labels (true or false):
                         TRL's "stepwise supervision" data sets
             prm800k     question {problem, ground_truth_answer}, label {steps, finish_reason, …}, with one completion
                         for each step, rated 1 or -1
    \b
    Example: asprm export --to trl labelled.jsonl -o stepwise.jsonl
    """
    from asprm.rows.export import FORMS

    with _lines(labelled, output, strict, None) as lines:
        for line in lines.read("export"):
            with lines.row(line.number):
                lines.write(FORMS[to.value](line.row, threshold))


@command
def plan(
    profile: Annotated[str, typer.Option(help="Name of a profile, or a .yml file of your own.")],
    gpu: Annotated[
        str | None, typer.Option(help="h100, h200, a100 or cpu; default: h100, for small models cpu.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Rows as JSON Lines, without the assumptions.")] = False,
) -> None:
    """What each stage of a profile would take: tokens, arithmetic, hours, memory and disk.

    A cost model, not a measurement: it prints every assumption that it makes. Nothing is run and nothing downloaded.

    \b
    Writes:  a table, and the assumptions; with --json a row for each stage and policy:
             stage, name, generated, read, trained (tokens), flops, hours, memory_gb, disk_gb
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


if __name__ == "__main__":
    app()
