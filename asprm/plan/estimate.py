"""Plan: what a profile would cost, before it is run: `asprm plan --profile paper`.

A cost model, not a measurement. Its formulas, for a policy of L layers, width d, h heads of size e, g key-value heads,
feed-forward width f, vocabulary V:

    W = L (2 d h e + 2 d g e + 3 d f)                weights that a token is multiplied with, without the head
    forward(c) = 2 W + 4 L h e c  (+ 2 d V)          FLOPs of a token that sees c tokens (with the language-model head)
    training(c) = 3 forward(c)                       the backward pass costs two forward ones
    cache = 2 L g e b                                bytes of keys and values per token, b bytes a number

Generated tokens are read from memory one step at a time, for B rows side by side: a step takes the longer of its
arithmetic and of moving the weights and the rows' caches. All else is arithmetic. Rollouts stop early: with J
continuations in waves of 1, 1, 2, 4, … and chances of success distributed over the prefixes as Beta(m, 1 − m), a prefix
takes Σ wave · E[(1 − p)^done], which `expected_rollouts` computes. Whatever is assumed is printed with the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

from asprm.plan.lengths import Lengths, lengths_of
from asprm.plan.machines import ACTIVATIONS, MACHINES, MOVING, OPTIMIZER, READING, ROWS, TRAINING, Device
from asprm.plan.shapes import Shape, shape_of
from asprm.run.profile import Profile, load_profile
from asprm.run.sections import nearest

# Assumptions, with those of `asprm.plan.machines`. Each is printed by `Plan.text`.

SMALL = 100_000_000  # parameters; below it the default machine is the CPU
TOKEN_DISK = 10  # bytes of a kept token: its id, its confidence, its text
COPIES = 2  # of what is generated and scored: a stage's table, and the chunks that it was made of
SOLVED = {"math": 0.7, "code": 0.35}  # m: how probably a continuation of a step comes right
DECISIONS = 0.04  # of the tokens lie below the trigger of guided decoding
LINE = {"math": 25, "code": 12}  # tokens per line


def expected_rollouts(rollouts: int, solved: float, early: bool = True) -> float:
    """Continuations of a prefix until one is right, in waves of 1, 1, 2, 4, …; all of them if not `early`."""
    if not early:
        return rollouts
    total, done, none_right = 0.0, 0, 1.0  # none_right: E[(1 - p)^done], p ~ Beta(solved, 1 - solved)
    while done < rollouts:
        wave = min(max(done, 1), rollouts - done)
        total += wave * none_right
        for k in range(done, done + wave):
            none_right *= (1 - solved + k) / (1 + k)
        done += wave
    return total


@dataclass(frozen=True)
class Cost:
    """What one stage takes for one policy or reward model. Tokens and FLOPs, hours of `gpus` devices in all, GB."""

    stage: str
    name: str
    generated: float = 0.0  # tokens
    read: float = 0.0
    trained: float = 0.0
    flops: float = 0.0
    hours: float = 0.0  # device hours: those of all devices together
    gpus: int = 1  # devices that the memory needs
    memory_gb: float = 0.0
    disk_gb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    rows: list[Cost]
    machine: str
    assumptions: list[str] = field(default_factory=list)

    def total(self) -> Cost:
        """Sums; of memory and devices the most."""
        sums = {name: math.fsum(getattr(row, name) for row in self.rows)
                for name in ("generated", "read", "trained", "flops", "hours", "disk_gb")}  # fmt: skip
        most = {name: max(getattr(row, name) for row in self.rows) for name in ("gpus", "memory_gb")}
        return Cost("total", "", **sums, **most)

    def text(self) -> str:
        """The table and all assumptions."""
        header = ["stage", "of", "generated", "read", "trained", "FLOPs", f"{self.machine} hours", "devices",
                  "memory GB", "disk GB"]  # fmt: skip
        rows = [header, *([*_cells(row)] for row in [*self.rows, self.total()])]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        lines.insert(-1, "-" * len(lines[0]))
        return "\n".join([*(line.rstrip() for line in lines), "", "Assumed:", *(f"- {x}" for x in self.assumptions)])


def _cells(row: Cost) -> Iterator[str]:
    yield from (row.stage, row.name)
    for value in (row.generated, row.read, row.trained, row.flops):
        yield _short(value)
    hours = row.hours
    yield "" if not hours else f"{hours:.4f}" if hours < 0.1 else f"{hours:,.1f}"
    yield str(row.gpus) if row.flops else ""
    for value in (row.memory_gb, row.disk_gb):
        yield "" if not value else f"{value:.3f}" if value < 1 else f"{value:,.0f}"


def _short(value: float) -> str:
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}" if value else ""


def make_plan(profile: str | Profile, gpu: str | None = None) -> Plan:
    """The plan of a profile, by name or path. ProfileError: no such profile. ValueError: an unknown machine, model or
    problem set.
    """
    p = load_profile(profile) if isinstance(profile, str) else profile
    shapes = {name: shape_of(source.path, p.recipe(name)) for name, source in p.policies.items()}
    gpu = gpu.lower() if gpu else ("cpu" if max(shape.parameters for shape in shapes.values()) < SMALL else "h100")
    if gpu not in MACHINES:
        raise ValueError(f"plan: unknown machine '{gpu}': {nearest(gpu, MACHINES)}")
    device = Device(gpu)
    made = _Stages(p, shapes, device)
    rows = [row for policy in p.policies for row in made.before_rewards(policy)]
    rows += [made.prm(name) for name in made.models]
    rows += [row for policy in p.policies for row in made.uses(policy)]
    order = ["policy", "sample", "rollout", "prm", "best_of_n", "tvd"]
    return Plan(sorted(rows, key=lambda row: order.index(row.stage)), gpu, made.assumptions())


@dataclass(frozen=True)
class _Set:
    """Problems of one family in one part of the profile."""

    count: int
    lengths: Lengths


class _Stages:
    def __init__(self, profile: Profile, shapes: dict[str, Shape], device: Device) -> None:
        self.p, self.shapes, self.device = profile, shapes, device
        self.known: dict[tuple[str, str], Lengths] = {}
        # Of each reward model that is trained: the policy that it starts from, its tables of labels, the number of
        # trainings, and whether it takes as many solutions from each table as from the smallest.
        given = getattr(profile, "reward_models", None)
        method = profile.split.method
        self.published = {name: model.published for name, model in (given or {}).items() if model.published}
        self.models: dict[str, tuple[str, Sequence[str], int, bool]] = (
            {
                name: (model.base, model.data, model.seeds, model.equal)
                for name, model in given.items()
                if not model.published
            }
            if given
            else {f"ASPRM-{policy}": (policy, [f"{policy}/{method}"], 1, False) for policy in profile.policies}
        )

    def rater(self, name: str) -> Shape:
        """The shape of a reward model."""
        return self.shapes[self.models[name][0]] if name in self.models else shape_of(self.published[name])

    def sets(self, policy: str, part: str) -> list[_Set]:
        """Those of the policy's domain."""
        source = self.p.policies[policy]
        found = []
        for family, count in getattr(self.p.problems, part).items():
            if (family, policy) not in self.known:
                self.known[family, policy] = lengths_of(family, source.path)
            lengths = self.known[family, policy]
            if lengths.domain == source.domain:
                found.append(_Set(count, lengths))
        return found

    def before_rewards(self, policy: str) -> Iterator[Cost]:
        if self.p.policy.retrain:
            yield self.policy(policy)
        yield self.sample(policy)
        tables = [table.partition("/") for _, data, *_ in self.models.values() for table in data]
        for method in dict.fromkeys([self.p.split.method, *(way for owner, _, way in tables if owner == policy)]):
            yield self.rollout(policy, method)

    def policy(self, policy: str) -> Cost:
        """From random weights; the texts that it learns from are as long as the training problems' are."""
        recipe, shape = self.p.recipe(policy), self.shapes[policy]
        length = mean(one.lengths.prompt + one.lengths.solution for one in self.sets(policy, "train"))
        flops, seconds = self.device.train(shape, recipe.tokens, length, head=True)
        memory = self.device.training_memory(shape)
        return self._cost("policy", policy, flops, seconds, memory, 2 * shape.parameters, trained=recipe.tokens)

    def sample(self, policy: str) -> Cost:
        """Solutions of training problems, candidates and one greedy solution of the others; prompts are read once."""
        some = [(one, self.p.sample.solutions) for one in self.sets(policy, "train")]
        some += [(one, self.p.sample.candidates + 1) for x in ("validation", "test") for one in self.sets(policy, x)]
        generated = sum(one.count * each * one.lengths.solution for one, each in some)
        read = sum(one.count * one.lengths.prompt for one, _ in some)
        context = sum(one.count * each * one.lengths.solution * (one.lengths.prompt + one.lengths.solution / 2)
                      for one, each in some) / max(generated, 1)  # fmt: skip
        return self._decoded("sample", policy, self.shapes[policy], generated, read, context, TOKEN_DISK * generated)

    def rollout(self, policy: str, method: str) -> Cost:
        """Continuations from all step ends but the last; each solution is read once with its prompt."""
        way, _, rest = method.partition("-")
        entropy = "entropy" in rest
        estimate = "entropy" if entropy else self.p.rollout.estimate
        rollouts = getattr(self.p.rollout, "entropy_rollouts", 16) if entropy else self.p.rollout.rollouts
        solutions = min(self.p.rollout.solutions, self.p.sample.solutions)
        generated = read = weighted = prefixes = 0.0
        for one in self.sets(policy, "train"):
            prompt, solution = one.lengths.prompt, one.lengths.solution
            labelled = one.count * solutions
            inner = labelled * self._inner_steps(way, rest, one.lengths)
            runs = expected_rollouts(rollouts, SOLVED[one.lengths.domain], early=estimate == "hard")
            tokens = inner * runs * solution / 2  # decision tokens are spread evenly: half of the solution is left
            prefixes += inner
            generated += tokens
            weighted += tokens * (prompt + 3 / 4 * solution)
            read += labelled * (prompt + solution)
        context = weighted / max(generated, 1)
        name = policy if method == self.p.split.method else f"{policy}/{method}"
        return self._decoded("rollout", name, self.shapes[policy], generated, read, context, 40 * prefixes)

    def _inner_steps(self, way: str, rest: str, lengths: Lengths) -> float:
        """Steps of a solution that end before it does."""
        if way == "adaptive":
            share = float(rest) if rest.replace(".", "").isdigit() else self.p.threshold.share
            return share * (lengths.solution - 1)
        if way == "line":
            return lengths.solution / LINE[lengths.domain] - 1
        if way == "fixed":
            return lengths.solution / self.p.split.length - 1
        return self.p.split.count - 1 if way == "random" else 0.0  # "whole": one step

    def prm(self, name: str) -> Cost:
        base, tables, seeds, equal = self.models[name]
        shape, each = self.shapes[base], min(self.p.rollout.solutions, self.p.sample.solutions)
        sets = [self.sets(table.partition("/")[0], "train") for table in tables]
        sizes = [each * sum(one.count for one in some) for some in sets]
        taken = [min(sizes) / size if equal else 1.0 for size in sizes]
        texts = sum(share * size for share, size in zip(taken, sizes, strict=True))
        tokens = sum(
            share * each * one.count * (one.lengths.prompt + one.lengths.solution)
            for share, some in zip(taken, sets, strict=True)
            for one in some
        )
        trained = tokens * self.p.prm.epochs * seeds
        flops, seconds = self.device.train(shape, trained, tokens / max(texts, 1), head=False)
        # The saved weights, and while it trains a checkpoint with the optimiser's state.
        disk = shape.parameters * (4 * seeds + 12)
        shown = name if seeds == 1 else f"{name} ×{seeds}"
        # Its weights are links to what the training left, not copies.
        return self._cost("prm", shown, flops, seconds, self.device.training_memory(shape), disk, trained=trained)

    def uses(self, policy: str) -> Iterator[Cost]:
        scoring = getattr(self.p.best_of_n, "score", None)
        guiding = getattr(self.p.tvd, "guide", None)
        own = [name for name, (base, *_) in self.models.items() if base == policy]
        for name in scoring.get(policy, ()) if scoring else own:
            yield self.best_of_n(policy, name)
        for number, name in enumerate(guiding.get(policy, ()) if guiding else own):
            yield self.tvd(policy, name, everywhere=number == 0)

    def best_of_n(self, policy: str, name: str) -> Cost:
        """Every candidate of validation and test is read once; further rating positions cost nothing."""
        shape = self.rater(name)
        some = [one for part in ("validation", "test") for one in self.sets(policy, part)]
        texts = sum(one.count for one in some) * self.p.sample.candidates
        read = sum(one.count * (one.lengths.prompt + self.p.sample.candidates * one.lengths.solution) for one in some)
        length = sum(one.count * (one.lengths.prompt + one.lengths.solution) for one in some) / max(
            sum(one.count for one in some), 1
        )
        flops, seconds = self.device.read(shape, read, length)
        memory = self.device.reading_memory(shape)
        return self._cost("best_of_n", f"{policy} by {name}", flops, seconds, memory, COPIES * 40 * texts, read=read)

    def tvd(self, policy: str, name: str, everywhere: bool) -> Cost:
        """Validation at every trigger, tests at one, or at all (the first reward model): the policy writes, the PRM
        reads everything once and M candidates at each decision. At most this: decodings that agree are computed once,
        and how far they agree is not known before.
        """
        writer, rater = self.shapes[policy], self.rater(name)
        triggers = len(self.p.tvd.triggers)
        some = [(one, triggers) for one in self.sets(policy, "validation")]
        some += [(one, triggers if everywhere else 1) for one in self.sets(policy, "test")]
        generated = sum(one.count * times * one.lengths.solution for one, times in some)
        prompts = sum(one.count * times * one.lengths.prompt for one, times in some)
        length = sum(one.count * times * (one.lengths.prompt + one.lengths.solution) for one, times in some) / max(
            sum(one.count * times for one, times in some), 1
        )
        branches = DECISIONS * self.p.tvd.candidates * generated
        longest = length - generated / max(sum(one.count * t for one, t in some), 1) + self.p.sample.max_new_tokens
        wrote = self.device.generate(writer, generated, length / 2, longest)
        read_prompts = self.device.read(writer, prompts, length)
        rated = self.device.read(rater, prompts + generated + branches, length)
        flops, seconds = (sum(x) for x in zip(wrote, read_prompts, rated, strict=True))
        memory = self.device.decoding_memory(writer, longest) + self.device.decoding_memory(rater, longest)
        read = 2 * prompts + generated + branches
        disk = COPIES * 4 * generated
        return self._cost("tvd", f"{policy} by {name}", flops, seconds, memory, disk, generated=generated, read=read)

    def _decoded(
        self, stage: str, name: str, shape: Shape, generated: float, read: float, context: float, disk: float
    ) -> Cost:
        """Reading, then generating from what was read."""
        longest = context + self.p.sample.max_new_tokens
        wrote, looked = self.device.generate(shape, generated, context, longest), self.device.read(shape, read, context)
        flops, seconds = wrote[0] + looked[0], wrote[1] + looked[1]
        memory = self.device.decoding_memory(shape, longest)
        return self._cost(stage, name, flops, seconds, memory, COPIES * disk, generated=generated, read=read)

    def _cost(
        self, stage: str, name: str, flops: float, seconds: float, memory: float, disk: float, **tokens: float
    ) -> Cost:
        gpus = max(1, math.ceil(memory / self.device.machine.memory))
        return Cost(stage, name, flops=flops, hours=seconds / 3600, gpus=gpus, memory_gb=memory / 1e9,
                    disk_gb=disk / 1e9, **tokens)  # fmt: skip

    def assumptions(self) -> list[str]:
        """In words, with their numbers."""
        m, name = self.device.machine, self.device.name
        shares = f"{READING:.0%} of its FLOPs in reading and writing, {TRAINING:.0%} in training, {MOVING:.0%}"
        said = [
            f"{name}: {_short(m.flops)}FLOP/s, {_short(m.bandwidth)}B/s, {m.memory / 1e9:.0f} GB, {m.number} bytes a "
            f"number; {shares} of its bandwidth are reached",
            f"up to {ROWS} texts are written side by side, fewer where the caches do not fit",
            f"training takes {OPTIMIZER} bytes a parameter (fp32, AdamW), {ACTIVATIONS} bytes a token, layer and unit "
            f"of width, of {self.device.pack} tokens at a time; activations are made again where they do not fit",
            "where one device has too little memory, several are taken to share it without loss; a stage of this study "
            "uses one, so take a larger one, or train elsewhere and name the model as published",
            "grading, threshold and splitting are left out: they need no model",
            "nothing is saved by equal solutions, by prefixes that are equal or end steps of several methods, or by "
            "guided decodings that agree",
            f"{SOLVED['math']:.0%} (mathematics) and {SOLVED['code']:.0%} (code) of all continuations come right, "
            "spread over the prefixes as Beta(m, 1 − m); hard labels stop at the first right one, the others never",
            "steps end anywhere in a solution alike: half of it is left to write; a line has "
            f"{LINE['math']} tokens in mathematics, {LINE['code']} in code",
            f"{DECISIONS:.0%} of the tokens fall below the trigger of guided decoding",
            f"a kept token takes {TOKEN_DISK} bytes, {COPIES} times: in a table and in the chunks that it was made of",
        ]
        for policy, shape in self.shapes.items():
            said.append(f"policy {policy} ({self.p.policies[policy].path}): {_short(shape.parameters)} parameters")
        for (family, policy), one in self.known.items():
            if one.domain == self.p.policies[policy].domain:
                sizes = f"{one.prompt:.0f} tokens of prompt, {one.solution:.0f} of solution"
                said.append(f"{family} for {policy}: {sizes} ({one.source})")
        return said
