"""Machines: how long a device takes to generate, read and train, and how much of its memory that needs."""

from __future__ import annotations

from dataclasses import dataclass

from asprm.plan.shapes import Shape


@dataclass(frozen=True)
class Machine:
    """A device: dense FLOPs per second in the precision used, bytes per second, bytes of memory, bytes per number."""

    flops: float
    bandwidth: float
    memory: float
    number: int


# Assumptions. Each is printed by `asprm.plan.estimate.Plan.text`.

MACHINES = {
    "a100": Machine(312e12, 2.04e12, 80e9, 2),
    "h100": Machine(989e12, 3.35e12, 80e9, 2),
    "h200": Machine(989e12, 4.80e12, 141e9, 2),
    "cpu": Machine(180e9, 20e9, 16e9, 4),  # two cores at 90 GFLOP/s in fp32
}
READING, TRAINING, MOVING = 0.5, 0.4, 0.6  # shares that are reached: of FLOP/s, of FLOP/s, of bandwidth
ROWS = 256  # texts that are generated side by side, at most
PACK = {"cpu": 2048}  # tokens read in one forward; on every other machine:
PACK_GPU = 16384
WEIGHT = 4  # bytes of a parameter that is trained or trained upon, in fp32
OPTIMIZER = 12  # bytes more of a parameter that learns: its gradient and AdamW's two moments, in fp32
ACTIVATIONS = 34  # bytes per token, layer and unit of width that the backward pass needs


@dataclass(frozen=True)
class Work:
    """What a device has to compute, and the seconds it takes."""

    flops: float
    seconds: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.seconds + other.seconds)


@dataclass(frozen=True)
class Learning:
    """What of a model learns. weights: their number. layers: the last ones, which the backward pass goes through.

    adapters: whether the weights are adapters beside a model that stays; its weights then need no gradients.
    """

    weights: float
    layers: int
    adapters: bool = False


def learning_of(shape: Shape, rank: int | None = None, layers: int | None = None) -> Learning:
    """What learns in a training. rank: of adapters at every matrix; None: the weights. layers: the last; None: all."""
    last = layers or shape.layers
    if rank:
        return Learning(last * rank * shape.ends_of_matrices, last, adapters=True)
    return Learning(shape.matrices * last / shape.layers if layers else shape.parameters, last)


class Device:
    """A machine by its name in `MACHINES`. All methods take the shape of a model; tokens may be fractions (means)."""

    def __init__(self, name: str) -> None:
        self.name, self.machine = name, MACHINES[name]
        self.pack = PACK.get(name, PACK_GPU)

    def rows(self, shape: Shape, longest: float) -> int:
        """How many texts of `longest` tokens are generated side by side: as many as fit beside the weights."""
        room = self.machine.memory * 0.9 - shape.parameters * self.machine.number
        return int(max(1, min(ROWS, room // (longest * shape.cache(self.machine.number)))))

    def generate(self, shape: Shape, tokens: float, context: float, longest: float) -> Work:
        """Generate `tokens` that see `context` tokens on average, in texts of at most `longest` tokens."""
        rows = self.rows(shape, longest)
        flops = shape.forward(context)
        moved = shape.parameters * self.machine.number + rows * context * shape.cache(self.machine.number)
        # A step writes one token of each row. It computes and moves memory at once, and takes the longer of the two.
        step = max(rows * flops / (self.machine.flops * READING), moved / (self.machine.bandwidth * MOVING))
        return Work(tokens * flops, tokens / rows * step)

    def read(self, shape: Shape, tokens: float, length: float) -> Work:
        """Read `tokens` in texts of `length` tokens: on average a token sees half of its text."""
        flops = tokens * shape.forward(length / 2, head=False)
        return Work(flops, flops / (self.machine.flops * READING))

    def train(self, shape: Shape, tokens: float, length: float, head: bool, learning: Learning | None = None) -> Work:
        """Train on `tokens` in texts of `length` tokens. head: with the language-model head. learning: None for all.

        The backward pass goes through the layers that learn: once for their inputs, once more for their weights unless
        these stay. Adapters' own products are left out: a rank is far smaller than a width.
        """
        learning = learning or learning_of(shape)
        back = learning.layers / shape.layers * (1 if learning.adapters else 2)
        flops = (1 + back) * tokens * shape.forward(length / 2, head)
        return Work(flops, flops / (self.machine.flops * TRAINING))

    def decoding_memory(self, shape: Shape, longest: float) -> float:
        """Bytes of the weights and of the caches of all rows."""
        number = self.machine.number
        return shape.parameters * number + self.rows(shape, longest) * longest * shape.cache(number)

    def reading_memory(self, shape: Shape) -> float:
        """Bytes of the weights and of the activations of one layer."""
        return self.machine.number * (shape.parameters + self.pack * (3 * shape.feed_forward + 4 * shape.hidden))

    def training_memory(self, shape: Shape, learning: Learning | None = None) -> float:
        """Bytes of weights, gradients, moments and the activations of all layers that learn. learning: None for all.

        If these do not fit, activations are recomputed: those of one layer, and the states between layers.
        """
        learning = learning or learning_of(shape)
        weights = shape.parameters + (learning.weights if learning.adapters else 0)
        states = WEIGHT * weights + OPTIMIZER * learning.weights
        layer = ACTIVATIONS * self.pack * shape.hidden
        if states + layer * learning.layers <= self.machine.memory:
            return states + layer * learning.layers
        return states + layer + 2 * self.pack * shape.hidden * learning.layers
