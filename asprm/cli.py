r"""The command line: AdaptiveStep on problems and solutions of your own, `asprm split | asprm label > labelled.jsonl`.

Rows are JSON Lines, from files or pipes ("-"). Every command writes the rows that it reads and adds fields to them, so
that its output is the next command's input. This module holds the commands and their help, `asprm.rows.options`
their options, `asprm.rows.fields` the work on rows. Models are imported only by the commands that need them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import typer

from asprm.results.format import percent
from asprm.rows import options as opt
from asprm.rows.commands import export, fetch, grade, look, plan
from asprm.rows.jsonl import each
from asprm.run.progress import log
from asprm.site.commands import diff, runs, view

app = typer.Typer(
    name="asprm",
    help="AdaptiveStep on your own problems and solutions. Rows are JSON Lines; '-' is a pipe.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

ROWS = 256  # rows that a model generates for at once
WINDOW = 1024  # rows that a model reads at once; it reads their common beginnings once


@app.command()
@opt.one_line_errors
def sample(
    model: opt.Model,
    problems: opt.Source = "-",
    solutions: opt.Solutions = 8,
    temperature: opt.Temperature = 1.0,
    max_new_tokens: opt.MaxNewTokens = 512,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    rename: opt.Rename = None,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    engine: opt.Engine = "auto",
) -> None:
    """Sample solutions of problems. Each problem becomes as many rows as it gets solutions.

    \b
    Reads:   problem     text
             template    prompt with {problem} in it, if rows differ in it
    Adds:    sample      number of the solution among those of its problem, from 1
             solution    text
             finished    whether the solution ended before --max-new-tokens
             token_ends  number of characters up to the end of each of the T tokens
             confidences of the T tokens, in (0, 1]: their probabilities at temperature 1
             ids         of the T tokens
    \b
    Example: asprm sample --model MODEL --solutions 8 problems.jsonl | asprm split --model MODEL > steps.jsonl
    """
    if temperature == 0 and solutions > 1:
        raise ValueError(f"--temperature 0: the {solutions} solutions of a problem would be equal; add --solutions 1")
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Sampling
    from asprm.models.load import quiet
    from asprm.rows.fields import asked_of, sample_fields
    from asprm.rows.texts import Encoder, read_form

    form = read_form(template, instruction, system)
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    with quiet():
        policy = load_engine(model, kind=engine, device=device)
    encoder = Encoder(policy.tokenizer, form=form, positions=policy.positions)
    with opt.open_lines(problems, output, strict, rename) as lines:
        prepare = functools.partial(asked_of, encoder=encoder)
        compute = functools.partial(sample_fields, engine=policy, sampling=sampling, solutions=solutions, seed=seed)
        for line, sampled in each(lines, lines.read("sample"), prepare, compute, size=ROWS):
            for fields in sampled:
                lines.put(line, opt.own_template(form, line.row) | fields)


@app.command()
@opt.one_line_errors
def split(
    model: opt.Model,
    solutions: opt.Source = "-",
    share: opt.Share = None,
    tau: opt.Tau = None,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    rename: opt.Rename = None,
    device: opt.Device = None,
) -> None:
    """Split solutions into steps that end where the model is unsure.

    The model reads each solution once, after its problem. The confidence of a token is the probability that the model
    gives it. A step ends with each token whose confidence is below the threshold tau. Without --tau the command reads
    all rows first, fits tau so that --share of their tokens lies below it, and prints it on standard error.

    \b
    Reads:   problem     text
             solution    text, by the model or by anyone else
             finished    false if the solution was cut off (default true: the model's end of text is appended)
             template    prompt with {problem} in it, if rows differ in it
    Adds:    steps       texts of the K steps; joined they are the solution
             ends        number of tokens up to the end of each step
             char_ends   number of characters up to the end of each step
             tau         the threshold
             token_ends  number of characters up to the end of each of the T tokens
             confidences of the T tokens, in (0, 1]
             ids         of the T tokens; those of the row are kept if the model's tokenizer spells the solution so
    \b
    Example: asprm split --model meta-math/MetaMath-Mistral-7B --share 0.02 solutions.jsonl -o steps.jsonl
    """
    if share is not None and tau is not None:
        raise ValueError("--share and --tau: expected one of them; --share fits the threshold, --tau is the threshold")
    if tau is not None and not 0 <= tau <= 1:
        raise ValueError(f"--tau {tau}: expected a probability, from 0 to 1")
    from asprm.engines.rescore import load_reader
    from asprm.rows.fields import split_fields
    from asprm.rows.texts import Encoder, read_form

    form = read_form(template, instruction, system)
    reader = load_reader(model, device=device)
    encoder = Encoder(reader.tokenizer, form=form, eos=reader.eos, positions=reader.positions)
    with opt.open_lines(solutions, output, strict, rename) as lines:
        rows = each(lines, lines.read("split"), *_reading(reader, encoder), size=WINDOW)
        if tau is None:  # it depends on all rows
            rows = list(rows)
            tau = _fitted(rows, 0.02 if share is None else share) if rows else 0.0
        for line, tokens in rows:
            with lines.row(line.number):
                fields = split_fields(line.row["solution"], **tokens, tau=tau)
                lines.put(line, opt.own_template(form, line.row) | fields, anew=("token_ends", "confidences", "ids"))


def _reading(reader: Any, encoder: Any) -> tuple[Callable, Callable]:
    """What `each` does with a row and with several rows, to find the confidences of their tokens."""
    from asprm.engines.rescore import confidences

    def prepare(row: dict) -> tuple:
        return encoder.prompt(row), *encoder.solution(row)

    def read(items: Sequence[tuple]) -> list[dict[str, Any]]:
        values = confidences(reader, [prompt for prompt, *_ in items], [ids for _, ids, _ in items])
        fields = zip(items, values, strict=True)
        return [{"ids": ids, "token_ends": ends, "confidences": v} for (_, ids, ends), v in fields]

    return prepare, read


def _fitted(rows: list, share: float) -> float:
    """The threshold below which this share of the rows' tokens lies."""
    import numpy as np

    from asprm.threshold import fit_threshold

    confidences = [tokens["confidences"] for _, tokens in rows]
    fitted = fit_threshold(confidences, [line.row["problem"] for line, _ in rows], share)
    tau = float(str(np.float32(fitted.tau)))  # the fewest digits that give the same float32
    log(
        f"tau {tau} (95 % interval {fitted.low:.3g} to {fitted.high:.3g}): {fitted.decision_tokens} of {fitted.tokens} "
        f"tokens ({percent(fitted.achieved)}) lie below it"
    )
    return tau


@app.command()
@opt.one_line_errors
def label(
    model: opt.Model,
    steps: opt.Source = "-",
    rollouts: opt.Rollouts = 8,
    estimate: opt.Estimate = "hard",
    eta: opt.Eta = 2.0,
    temperature: opt.Temperature = 1.0,
    max_new_tokens: opt.MaxNewTokens = 512,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    engine: opt.Engine = "auto",
) -> None:
    """Label steps by rollouts: continue the solution from the end of each step and grade the continuations.

    With hard labels the rollouts of a step stop as soon as one is right, which does not change the label. Programs run
    in a sandbox.

    \b
    Reads:   what `asprm split` writes, and
             answer      the problem's true answer, alone or as a solution states it (#### 18); or, for programs,
             test        source that defines check(candidate), with entry_point, imports and cases as needed
    Adds:    labels      of the K steps, in [0, 1]
             right       number of right continuations of each step
             rollouts    number of continuations of each step; 1 for the last step, which is the solution itself
             correct     whether the solution is right
             estimate    hard, soft or entropy
    \b
    Example: asprm split --model MODEL solutions.jsonl | asprm label --model MODEL --rollouts 8 > labelled.jsonl
    """
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Sampling
    from asprm.models.load import quiet
    from asprm.rows.fields import cut_of, label_fields
    from asprm.rows.texts import Encoder, read_form

    form = read_form(template, instruction, system)
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    with quiet():
        policy = load_engine(model, kind=engine, device=device)
    encoder = Encoder(policy.tokenizer, form=form, positions=policy.positions)
    options: dict[str, Any] = {"rollouts": rollouts, "estimate": estimate, "eta": eta, "seed": seed}
    with opt.open_lines(steps, output, strict) as lines:
        compute = functools.partial(label_fields, engine=policy, sampling=sampling, **options)
        for line, fields in each(lines, lines.read("label"), lambda row: cut_of(row, encoder), compute, size=ROWS):
            lines.put(line, fields)


@app.command()
@opt.one_line_errors
def train(
    base: opt.Base,
    prm: opt.NewPrm,
    labelled: opt.Source = "-",
    epochs: opt.Epochs = 1,
    learning_rate: opt.LearningRate = 1e-6,
    batch_tokens: opt.BatchTokens = 65536,
    warmup: opt.Warmup = 0.1,
    weight_decay: opt.WeightDecay = 0.01,
    validation: opt.Validation = 0.0,
    gradient_checkpointing: opt.Checkpointing = False,
    rank: opt.Rank = None,
    layers: opt.Layers = None,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    seed: opt.Seed = 0,
) -> None:
    """Train a process reward model on labelled steps.

    All weights are trained (with --rank or --layers fewer), and a head with one output takes the place of the language
    model's head. The folder is a Hugging Face model with a file prm.json, which says how it was made. An interrupted
    training resumes if the same command is started again.

    \b
    Reads:   what `asprm label` writes: problem, solution, char_ends, labels
    Writes:  a row for each optimiser step: step, epoch, loss, gradient_norm, learning_rate;
             after a validation also validation_loss, validation_auc, validation_accuracy
    \b
    Example: asprm train --base mistralai/Mistral-7B-v0.1 --prm prm/ labelled.jsonl > history.jsonl
    """
    if prm.exists() and (not prm.is_dir() or any(prm.iterdir())):
        raise ValueError(f"--prm {prm}: already exists; expected a new folder, or remove this one")
    from asprm.models.load import load_config, load_tokenizer
    from asprm.reward.train import train as train_prm
    from asprm.reward.trainer import Settings
    from asprm.rows.fields import example_of, held_out
    from asprm.rows.texts import Encoder, read_form

    form, tokenizer = read_form(template, instruction, system), load_tokenizer(base)
    positions = load_config(base).get_text_config().max_position_embeddings
    encoder = Encoder(tokenizer, form=form, positions=positions)
    chosen = {"gradient_checkpointing": gradient_checkpointing, "rank": rank, "layers": layers}
    settings = Settings(epochs, learning_rate, batch_tokens, warmup, weight_decay, **chosen)
    with opt.open_lines(labelled, output, strict) as lines:
        examples = []
        for line in lines.read("train"):
            with lines.row(line.number):
                examples.append(example_of(line.row, encoder))
        kept, held = held_out(examples, validation, seed) if validation else (examples, [])
        given = {"seed": seed, "tokenizer": tokenizer, "about": {"template": form.template} if form.template else {}}
        history = train_prm(base, kept, settings, prm, validation=held, **given)
        for row in history.to_dict("records"):
            lines.write({str(name): value for name, value in row.items() if value == value})  # NaN: no validation


@app.command()
@opt.one_line_errors
def score(
    prm: opt.Prm,
    steps: opt.Source = "-",
    aggregate: opt.Aggregate = "min",
    convention: opt.Convention = None,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    device: opt.Device = None,
) -> None:
    """Score the steps of solutions with a process reward model.

    The reward model was made by `asprm train`, or is a published one that gives its score at a tag after each step
    (Math-Shepherd, ASPRM, ER-PRM, RLHFlow's, Qwen's).

    \b
    Reads:   what `asprm split` writes, with any model: char_ends says where steps end in this model's tokens too
    Adds:    scores      of the K steps, in (0, 1)
             score       of the solution: the minimum of its step scores, unless --aggregate says otherwise
    \b
    Example: asprm score --prm prm/ steps.jsonl | jq '{problem, score}'
    """
    from asprm.models.load import quiet
    from asprm.models.prompts import Form
    from asprm.reward.published import TokenScorer, load_reward_model
    from asprm.reward.score import PRM
    from asprm.rows.fields import item_maker, score_fields
    from asprm.rows.texts import read_form

    form = read_form(template, instruction, system)
    with quiet():
        rater = load_reward_model(prm, convention, device=device)
    if isinstance(rater, PRM):
        form.apply(rater.tokenizer)
    elif form != Form():
        raise ValueError(f"{prm} reads problems in its convention's way; leave out --template, --instruction, --system")
    scorer = TokenScorer(rater, form.template) if isinstance(rater, PRM) else rater
    with opt.open_lines(steps, output, strict) as lines:
        compute = functools.partial(score_fields, prm=scorer.prm, how=aggregate)
        for line, fields in each(lines, lines.read("score"), item_maker(scorer), compute, size=WINDOW):
            lines.put(line, fields)


@app.command()
@opt.one_line_errors
def decode(
    model: opt.Model,
    prm: opt.Prm,
    problems: opt.Source = "-",
    trigger: opt.Trigger = 0.55,
    candidates: opt.Candidates = 8,
    max_new_tokens: opt.MaxNewTokens = 512,
    convention: opt.Convention = None,
    template: opt.Template = None,
    instruction: opt.Instruction = None,
    system: opt.System = None,
    output: opt.Target = "-",
    strict: opt.Strict = False,
    rename: opt.Rename = None,
    device: opt.Device = None,
    engine: opt.Engine = "auto",
) -> None:
    """Solve problems by token-level value-guided decoding (TVD).

    This is greedy decoding, except where the most probable next token has a probability below --trigger: there the
    reward model scores the --candidates most probable tokens, and the one with the best score is written. If the reward
    model has another tokenizer, or is scored at a tag (see `asprm score --help`), it reads the text with each candidate
    appended, which takes longer.

    \b
    Reads:   problem     text
    Adds:    solution    text
             finished    whether the solution ended before --max-new-tokens
             tokens      its number of tokens
             decisions   number of tokens at which the reward model was asked
             changed     characters at which a token begins that was not the most probable one
    \b
    Example: asprm decode --model MODEL --prm prm/ --trigger 0.55 problems.jsonl | asprm grade > solved.jsonl
    """
    from asprm.engines.load import load_engine
    from asprm.models.load import quiet
    from asprm.reward.guides import guide_for
    from asprm.reward.published import load_reward_model
    from asprm.rows.fields import asked_of, decode_fields
    from asprm.rows.texts import Encoder, read_form

    form = read_form(template, instruction, system)
    with quiet():
        policy = load_engine(model, kind=engine, device=device, guided=True)
        rater = load_reward_model(prm, convention, device=device)
    encoder = Encoder(policy.tokenizer, form=form, positions=policy.positions)
    options: dict[str, Any] = {"trigger": trigger, "candidates": candidates, "max_new_tokens": max_new_tokens}
    with opt.open_lines(problems, output, strict, rename) as lines:
        prepare = functools.partial(asked_of, encoder=encoder)
        compute = functools.partial(
            decode_fields, engine=policy, guide=guide_for(rater, policy, form.template), **options
        )
        for line, fields in each(lines, lines.read("decode"), prepare, compute, size=ROWS):
            lines.put(line, fields)


for command in (look, grade, export, plan, fetch, runs, diff, view):
    app.command()(opt.one_line_errors(command))


if __name__ == "__main__":
    app()
