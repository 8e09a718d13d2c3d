"""Machines: how fast a device computes, what fits into it, and so how long it takes to write, read and train."""

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
READING, TRAINING, MOVING = 0.5, 0.4, 0.6  # shares of the machine's FLOPs, FLOPs and bandwidth that are reached
ROWS = 256  # decoded side by side
PACK = {"cpu": 2048}  # tokens read in one forward; elsewhere:
PACK_GPU = 16384
OPTIMIZER = 16  # bytes per parameter: weights, gradients and AdamW's two moments, in fp32
ACTIVATIONS = 34  # bytes per token, layer and unit of width that the backward pass needs


class Device:
    """A machine and how long it takes."""

    def __init__(self, name: str) -> None:
        self.name, self.machine = name, MACHINES[name]
        self.pack = PACK.get(name, PACK_GPU)

    def rows(self, shape: Shape, longest: float) -> int:
        """Sequences of the longest length that fit beside the weights."""
        room = self.machine.memory * 0.9 - shape.parameters * self.machine.number
        return int(max(1, min(ROWS, room // (longest * shape.cache(self.machine.number)))))

    def generate(self, shape: Shape, tokens: float, context: float, longest: float) -> tuple[float, float]:
        """FLOPs and seconds of generating `tokens` that see `context` tokens on average."""
        rows = self.rows(shape, longest)
        flops = shape.forward(context)
        moved = shape.parameters * self.machine.number + rows * context * shape.cache(self.machine.number)
        step = max(rows * flops / (self.machine.flops * READING), moved / (self.machine.bandwidth * MOVING))
        return tokens * flops, tokens / rows * step

    def read(self, shape: Shape, tokens: float, length: float) -> tuple[float, float]:
        """FLOPs and seconds of reading texts of `length`: a token sees half of its text."""
        flops = tokens * shape.forward(length / 2, head=False)
        return flops, flops / (self.machine.flops * READING)

    def train(self, shape: Shape, tokens: float, length: float, head: bool) -> tuple[float, float]:
        flops = 3 * tokens * shape.forward(length / 2, head)
        return flops, flops / (self.machine.flops * TRAINING)

    def decoding_memory(self, shape: Shape, longest: float) -> float:
        number = self.machine.number
        return shape.parameters * number + self.rows(shape, longest) * longest * shape.cache(number)

    def reading_memory(self, shape: Shape) -> float:
        return self.machine.number * (shape.parameters + self.pack * (3 * shape.feed_forward + 4 * shape.hidden))

    def training_memory(self, shape: Shape) -> float:
        """With activations of every layer; where that is too much, of one, and the others made again."""
        states, layer = OPTIMIZER * shape.parameters, ACTIVATIONS * self.pack * shape.hidden
        if states + layer * shape.layers <= self.machine.memory:
            return states + layer * shape.layers
        return states + layer + 2 * self.pack * shape.hidden * shape.layers
