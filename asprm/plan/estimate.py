"""Plan: what a profile would cost, before it is run: `asprm plan --profile paper`.

A cost model, not a measurement. Its formulas, for a policy of L layers, width d, h heads of size e, g key-value heads,
feed-forward width f, vocabulary V:

    W = L (2 d h e + 2 d g e + 3 d f)                weights that a token is multiplied with, without the head
    forward(c) = 2 W + 4 L h e c  (+ 2 d V)          FLOPs of a token that sees c tokens (with the language-model head)
    training(c) = 3 forward(c)                       the backward pass costs two forward passes
    cache = 2 L g e b                                bytes of keys and values per token, b bytes per number

Tokens are generated step by step, for B rows side by side. A step takes the time of its arithmetic, or that of moving
the weights and the rows' caches, whichever is longer. Everything else takes the time of its arithmetic. Rollouts stop
early: with J continuations in waves of 1, 1, 2, 4, … and a chance of success p that is distributed over the prefixes as
Beta(m, 1 − m), a prefix takes Σ wave · E[(1 − p)^done] continuations (`expected_rollouts`). All assumptions are printed
with the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from asprm.plan.lengths import Lengths, lengths_of, measured
from asprm.plan.machines import (
    ACTIVATIONS,
    MACHINES,
    MOVING,
    OPTIMIZER,
    READING,
    ROWS,
    TRAINING,
    WEIGHT,
    Device,
    Work,
    learning_of,
)
from asprm.plan.shapes import Shape, shape_of
from asprm.plan.tokens import expected_rollouts, of_rivals
from asprm.problems.load import domain_of
from asprm.problems.sets import has_rivals, scoring
from asprm.results.format import percent
from asprm.run.names import LabelTable, Method
from asprm.run.profile import Profile, load_profile
from asprm.run.root import study_root
from asprm.run.sections import nearest

# Assumptions, with those of `asprm.plan.machines`. Each is printed by `Plan.text`.

SMALL = 100_000_000  # parameters; for smaller policies the default machine is the CPU
TOKEN_DISK = 10  # bytes of a stored token: its id, its confidence, its text
COPIES = 2  # of what is generated and scored: a stage's table, and the chunks that it was made from
SOLVED = {"math": 0.7, "code": 0.35}  # m, the share of right continuations
DECISIONS = 0.04  # share of the tokens below the trigger of guided decoding
LINE = {"math": 25, "code": 12}  # tokens per line


@dataclass(frozen=True)
class Cost:
    """What one stage costs for one policy or reward model."""

    stage: str
    name: str
    generated: float = 0.0  # tokens, as the next two
    read: float = 0.0
    trained: float = 0.0
    flops: float = 0.0
    hours: float = 0.0  # device hours: of all devices together
    gpus: int = 1  # devices that the memory needs
    memory_gb: float = 0.0
    disk_gb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """The costs of a profile's stages on a machine, and what they assume."""

    rows: list[Cost]
    machine: str
    assumptions: list[str] = field(default_factory=list)

    def total(self) -> Cost:
        """The sum of all rows; for memory and devices the largest row."""
        sums = {name: math.fsum(getattr(row, name) for row in self.rows)
                for name in ("generated", "read", "trained", "flops", "hours", "disk_gb")}  # fmt: skip
        largest = {name: max(getattr(row, name) for row in self.rows) for name in ("gpus", "memory_gb")}
        return Cost("total", "", **sums, **largest)

    def text(self) -> str:
        """The table and the assumptions."""
        header = ["stage", "for", "generated", "read", "trained", "FLOPs", f"{self.machine} hours", "devices",
                  "memory GB", "disk GB"]  # fmt: skip
        rows = [header, *(_cells(row) for row in [*self.rows, self.total()])]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        lines.insert(-1, "-" * len(lines[0]))
        return "\n".join([*(line.rstrip() for line in lines), "", "Assumed:", *(f"- {x}" for x in self.assumptions)])


def _cells(row: Cost) -> list[str]:
    """A row of the table; what is zero is left empty."""
    tokens_and_flops = [_short(value) for value in (row.generated, row.read, row.trained, row.flops)]
    hours = "" if not row.hours else f"{row.hours:.4f}" if row.hours < 0.1 else f"{row.hours:,.1f}"
    sizes = ["" if not x else f"{x:.3f}" if x < 1 else f"{x:,.0f}" for x in (row.memory_gb, row.disk_gb)]
    return [row.stage, row.name, *tokens_and_flops, hours, str(row.gpus) if row.flops else "", *sizes]


def _short(value: float) -> str:
    """A number with three digits and the letter of its size, such as "1.77 E"; empty for zero."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}" if value else ""


def make_plan(profile: str | Profile, gpu: str | None = None) -> Plan:
    """The plan of a profile.

    profile: by name, path of a file, or loaded. gpu: a machine's name; None: an H100, for small models the CPU.
    ProfileError: no such profile. ValueError: an unknown machine, model or problem set.
    """
    p = load_profile(profile) if isinstance(profile, str) else profile
    shapes = {name: shape_of(source.path, p.recipe(name)) for name, source in p.policies.items()}
    machine = gpu.lower() if gpu else ("cpu" if max(x.parameters for x in shapes.values()) < SMALL else "h100")
    if machine not in MACHINES:
        raise ValueError(f"plan: unknown machine '{machine}': {nearest(machine, MACHINES)}")
    stages = _Stages(p, shapes, Device(machine), _run_of(p))
    rows = [row for policy in p.policies for row in stages.before_rewards(policy)]
    rows += [stages.prm(name) for name in stages.models]
    rows += [row for policy in p.policies for row in stages.uses(policy)]
    rows += [stages.rivals(next(iter(p.policies)))] if has_rivals(p) else []
    order = ["policy", "sample", "rollout", "prm", "best_of_n", "tvd", "rivals"]
    return Plan(sorted(rows, key=lambda row: order.index(row.stage)), machine, stages.assumptions())


def _run_of(profile: Profile) -> Path | None:
    """The folder of the profile's run in this study; None outside a study."""
    try:
        return study_root() / "data" / "runs" / profile.name
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class _Batch:
    """Problems of one family, each with the same number of solutions."""

    problems: int
    lengths: Lengths
    each: float = 1  # solutions per problem

    @property
    def solutions(self) -> float:
        return self.problems * self.each

    @property
    def text(self) -> float:
        """Tokens of a prompt with its solution."""
        return self.lengths.prompt + self.lengths.solution


def _mean_text(batches: Sequence[_Batch]) -> float:
    """Mean tokens of a prompt with its solution."""
    return sum(b.solutions * b.text for b in batches) / max(sum(b.solutions for b in batches), 1)


class _Stages:
    """The costs of a profile's stages.

    shapes: of its policies, by name. models: the reward models trained here. run: the folder of a run of the profile,
    finished or not, in which the lengths of solutions are measured; None: they are assumed.
    """

    def __init__(self, profile: Profile, shapes: dict[str, Shape], device: Device, run: Path | None = None) -> None:
        self.p, self.shapes, self.device, self.run = profile, shapes, device, run
        self.models = {name: model for name, model in profile.reward_models.items() if not model.published}
        self._lengths: dict[tuple[str, str], Lengths] = {}  # by family and policy

    def rater(self, name: str) -> Shape:
        """The shape of a reward model."""
        model = self.p.reward_models[name]
        return shape_of(model.published) if model.published else self.shapes[self.p.base_of(name)]

    def sets(self, policy: str, part: str, each: float = 1) -> list[_Batch]:
        """The problems of the policy's domain. part: "train", "validation" or "test". each: solutions per problem."""
        source = self.p.policies[policy]
        batches = []
        for family, count in getattr(self.p.problems, part).items():
            if (family, policy) not in self._lengths:
                lengths = lengths_of(family, source.path)
                trained_on = [one for one in self.p.problems.train if domain_of(one) == source.domain]
                self._lengths[family, policy] = (
                    measured(self.run, policy, family, trained_on, lengths) if self.run else lengths
                )
            lengths = self._lengths[family, policy]
            if lengths.domain == source.domain:
                batches.append(_Batch(count, lengths, each))
        return batches

    def before_rewards(self, policy: str) -> Iterator[Cost]:
        """The stages of a policy up to its labels."""
        if self.p.policy.retrain:
            yield self.policy(policy)
        yield self.sample(policy)
        for method in self.p.methods(policy):
            yield self.rollout(policy, method)

    def policy(self, policy: str) -> Cost:
        """Training from random weights; the texts are as long as the training problems with their solutions."""
        recipe, shape = self.p.recipe(policy), self.shapes[policy]
        length = mean(batch.text for batch in self.sets(policy, "train"))
        work = self.device.train(shape, recipe.tokens, length, head=True)
        memory, disk = self.device.training_memory(shape), 2 * shape.parameters
        return self._cost("policy", policy, work, memory, disk, trained=recipe.tokens)

    def sample(self, policy: str) -> Cost:
        """Solutions of training problems; candidates and a greedy solution of the others. Prompts are read once."""
        batches = self.sets(policy, "train", self.p.sample.solutions)
        for part in ("validation", "test"):
            batches += self.sets(policy, part, self.p.sample.candidates + 1)
        generated = sum(b.solutions * b.lengths.solution for b in batches)
        read = sum(b.problems * b.lengths.prompt for b in batches)
        # A token sees the prompt and on average half of the solution.
        seen = sum(b.solutions * b.lengths.solution * (b.lengths.prompt + b.lengths.solution / 2) for b in batches)
        context = seen / max(generated, 1)
        return self._decoded("sample", policy, self.shapes[policy], generated, read, context, TOKEN_DISK * generated)

    def rollout(self, policy: str, method: str) -> Cost:
        """Continuations from all step ends but the last; each solution is read once with its prompt."""
        way = Method.parse(method)
        estimate = way.estimate or self.p.rollout.estimate
        rollouts = self.p.rollout.entropy_rollouts if way.estimate == "entropy" else self.p.rollout.rollouts
        generated = read = seen = prefixes = 0.0
        for batch in self.sets(policy, "train", self._labelled):
            prompt, solution = batch.lengths.prompt, batch.lengths.solution
            inner = batch.solutions * self._inner_steps(way, batch.lengths)
            runs = expected_rollouts(rollouts, SOLVED[batch.lengths.domain], early=estimate == "hard")
            tokens = inner * runs * solution / 2  # steps end anywhere: on average half of the solution is left
            prefixes += inner
            generated += tokens
            seen += tokens * (prompt + 3 / 4 * solution)
            read += batch.solutions * batch.text
        context = seen / max(generated, 1)
        name = policy if method == self.p.split.method else str(LabelTable(policy, way))
        return self._decoded("rollout", name, self.shapes[policy], generated, read, context, 40 * prefixes)

    @property
    def _labelled(self) -> int:
        """Solutions per training problem that are labelled."""
        return min(self.p.rollout.solutions, self.p.sample.solutions)

    def _inner_steps(self, method: Method, lengths: Lengths) -> float:
        """Steps of a solution that end before the solution does."""
        if method.kind == "adaptive":
            return (method.share or self.p.threshold.share) * (lengths.solution - 1)
        if method.kind == "fixed":
            return lengths.solution / self.p.split.length - 1
        if method.kind == "random":
            return self.p.split.count - 1
        if method.kind == "whole":
            return 0.0
        return lengths.solution / LINE[lengths.domain] - 1  # line breaks, and any other method

    def prm(self, name: str) -> Cost:
        """All trainings of a reward model on its tables of labels."""
        model = self.models[name]
        shape = self.shapes[str(model.base)]
        # 1. How many solutions of each table, and how many tokens.
        tables = [self.sets(table.policy, "train", self._labelled) for table in model.tables]
        sizes = [sum(batch.solutions for batch in batches) for batches in tables]
        shares = [min(sizes) / size if model.equal else 1.0 for size in sizes]
        texts = sum(share * size for share, size in zip(shares, sizes, strict=True))
        lengths = [sum(batch.solutions * batch.text for batch in batches) for batches in tables]
        tokens = sum(share * length for share, length in zip(shares, lengths, strict=True))
        # 2. Their cost, for all trainings.
        trained = tokens * self.p.prm.epochs * model.seeds
        learning = learning_of(shape, self.p.prm.rank, self.p.prm.layers)
        work = self.device.train(shape, trained, tokens / max(texts, 1), head=False, learning=learning)
        # The saved weights; while it trains also a checkpoint with the optimiser's state, which shares the weights.
        saved = learning.weights if learning.adapters else shape.parameters
        disk = WEIGHT * saved * model.seeds + OPTIMIZER * learning.weights
        shown = name if model.seeds == 1 else f"{name} ×{model.seeds}"
        return self._cost("prm", shown, work, self.device.training_memory(shape, learning), disk, trained=trained)

    def uses(self, policy: str) -> Iterator[Cost]:
        """The stages that use reward models on the policy's problems."""
        for name in self.p.best_of_n.score.get(policy, ()):
            yield self.best_of_n(policy, name)
        for number, name in enumerate(self.p.tvd.guide.get(policy, ())):
            yield self.tvd(policy, name, everywhere=number == 0)

    def best_of_n(self, policy: str, name: str) -> Cost:
        """Each training that rates reads every candidate of its sets once; further rating positions cost nothing."""
        shape, candidates = self.rater(name), self.p.sample.candidates
        by_training = scoring(self.p, name, policy, shown=self.p.prm_of(policy))
        validation = sum("validation" in sets for sets in by_training.values())
        batches = validation * self.sets(policy, "validation") + len(by_training) * self.sets(policy, "test")
        texts = sum(b.problems for b in batches) * candidates
        read = sum(b.problems * (b.lengths.prompt + candidates * b.lengths.solution) for b in batches)
        work = self.device.read(shape, read, _mean_text(batches))
        memory = self.device.reading_memory(shape)
        shown = f"{policy} by {name}" + (f" ×{len(by_training)}" if len(by_training) > 1 else "")
        return self._cost("best_of_n", shown, work, memory, COPIES * 40 * texts, read=read)

    def tvd(self, policy: str, name: str, everywhere: bool) -> Cost:
        """Guided decoding at every trigger on validation problems, and at one on test problems (everywhere: at all).

        The policy generates. The reward model reads everything once, and W candidates at each decision. This is an
        upper bound: what decodings at two triggers have in common is computed once, but nobody knows how much that is.
        """
        writer, rater = self.shapes[policy], self.rater(name)
        triggers = len(self.p.tvd.triggers)
        # 1. Tokens.
        batches = self.sets(policy, "validation", triggers) + self.sets(policy, "test", triggers if everywhere else 1)
        generated = sum(b.solutions * b.lengths.solution for b in batches)
        prompts = sum(b.solutions * b.lengths.prompt for b in batches)
        candidates = DECISIONS * self.p.tvd.candidates * generated
        read = 2 * prompts + generated + candidates
        # 2. Their lengths. The longest text has the mean prompt and as many new tokens as are allowed.
        length = _mean_text(batches)
        prompt = length - generated / max(sum(b.solutions for b in batches), 1)
        longest = prompt + self.p.sample.max_new_tokens
        # 3. Their cost.
        work = self.device.generate(writer, generated, length / 2, longest)
        work += self.device.read(writer, prompts, length)
        work += self.device.read(rater, prompts + generated + candidates, length)
        memory = self.device.decoding_memory(writer, longest) + self.device.decoding_memory(rater, longest)
        disk = COPIES * 4 * generated
        return self._cost("tvd", f"{policy} by {name}", work, memory, disk, generated=generated, read=read)

    def rivals(self, policy: str) -> Cost:
        """All contests of the last chapter: rollouts, reward models, ratings and searches (`asprm.plan.tokens`)."""
        shape, [train, test] = self.shapes[policy], [self.sets(policy, part)[0] for part in ("train", "test")]
        tokens = of_rivals(self.p, train.lengths, test.lengths)
        work = self.device.generate(shape, tokens.generated, test.text, test.text + self.p.sample.max_new_tokens)
        work += self.device.read(shape, tokens.read, test.text)
        work += self.device.train(shape, tokens.trained, train.text, head=False)
        return self._cost("rivals", policy, work, self.device.training_memory(shape), 0, **asdict(tokens))

    def _decoded(
        self, stage: str, name: str, shape: Shape, generated: float, read: float, context: float, disk: float
    ) -> Cost:
        """A stage that reads texts and generates from them.

        generated, read: tokens. context: tokens that a generated one sees, on average. disk: bytes of the table.
        """
        longest = context + self.p.sample.max_new_tokens
        work = self.device.generate(shape, generated, context, longest) + self.device.read(shape, read, context)
        memory = self.device.decoding_memory(shape, longest)
        return self._cost(stage, name, work, memory, COPIES * disk, generated=generated, read=read)

    def _cost(self, stage: str, name: str, work: Work, memory: float, disk: float, **tokens: float) -> Cost:
        """memory, disk: bytes. tokens: `generated`, `read`, `trained`."""
        return Cost(
            stage,
            name,
            flops=work.flops,
            hours=work.seconds / 3600,
            gpus=max(1, math.ceil(memory / self.device.machine.memory)),
            memory_gb=memory / 1e9,
            disk_gb=disk / 1e9,
            **tokens,
        )

    def _learning(self) -> str:
        """What of a reward model learns, in words."""
        rank, layers = self.p.prm.rank, self.p.prm.layers
        where = f"the last {layers} layers" if layers else "all layers"
        return f"which adapters of rank {rank} at {where} do" if rank else f"as {where} do"

    def assumptions(self) -> list[str]:
        """The assumptions in words, with their numbers."""
        m, name = self.device.machine, self.device.name
        sentences = [
            f"{name}: {_short(m.flops)}FLOP/s, {_short(m.bandwidth)}B/s, {m.memory / 1e9:.0f} GB, {m.number} bytes per "
            f"number; {percent(READING, 0)} of its FLOP/s are reached when reading and generating, "
            f"{percent(TRAINING, 0)} when training, and {percent(MOVING, 0)} of its bandwidth",
            f"up to {ROWS} texts are generated side by side, fewer if their caches do not fit",
            f"training takes {WEIGHT} bytes per parameter, {OPTIMIZER} more if it learns (fp32, AdamW), "
            f"{self._learning()}, and {ACTIVATIONS} bytes of activations "
            f"per token, layer and unit of width, for {self.device.pack} tokens at a time; activations that do "
            "not fit are recomputed",
            "if one device has too little memory, several share it without loss; a stage of this study uses one "
            "device, so take a larger one, or train elsewhere and name the model as published",
            "grading, thresholds and splitting cost nothing: they need no model",
            "nothing is saved by equal solutions, by equal prefixes, by step ends that several methods share, or by "
            "guided decodings that agree",
            f"{percent(SOLVED['math'], 0)} (mathematics) and {percent(SOLVED['code'], 0)} (code) of the continuations "
            "are right, distributed over the prefixes as Beta(m, 1 − m); hard labels stop at the first right one, "
            "other labels run all",
            "steps end anywhere in a solution with equal probability, so that half of it is left to write; a line has "
            f"{LINE['math']} tokens in mathematics and {LINE['code']} in code",
            f"{percent(DECISIONS, 0)} of the tokens fall below the trigger of guided decoding",
            f"a stored token takes {TOKEN_DISK} bytes, {COPIES} times: in a table, and in the chunks it was made from",
        ]
        for policy, shape in self.shapes.items():
            path = self.p.policies[policy].path
            sentences.append(f"policy {policy} ({path}): {_short(shape.parameters)} parameters")
        for (family, policy), lengths in self._lengths.items():
            if lengths.domain == self.p.policies[policy].domain:
                sizes = f"prompts of {lengths.prompt:.0f} tokens, solutions of {lengths.solution:.0f}"
                sentences.append(f"{family} for {policy}: {sizes} ({lengths.source})")
        return sentences
