"""Guided decoding in vLLM: one core, and a thin adapter for each of the two interfaces of its logits processors.

The rules are those of `asprm.engines.guided`. vLLM decodes greedily. At each step the core looks at the rows' logits;
where the most probable token has a probability below the trigger, the reward model scores the candidates of all such
rows in one call, with a cache per text (`asprm.engines.values`), and every other token of the row is ruled out.

`PersistentRows` serves vLLM's first model runner, the one of its build for CPUs. `SlotRows` serves the second one, the
default on GPUs, which refuses processors of the first kind. It is tested against a stand-in of that interface and has
**not run on a GPU**. Nothing here imports vLLM but `processors`, when an engine is made.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch

from asprm.engines.decisions import Decision, Guided, Made, Walk, Where, best_of, guided_of
from asprm.engines.protocol import Completion, Request, Sampling
from asprm.engines.values import Question, Values
from asprm.engines.vllm import VllmEngine

_RUNNER = "VLLM_USE_V2_MODEL_RUNNER"  # vLLM's own variable: "1" for the second model runner, "0" for the first
_ARGUMENT = "asprm_course"  # of a request's extra arguments: the number of its `Course`
_courses: dict[int, Course] = {}  # those at work in this process, by number: a processor is handed plain values only
_numbers = count()


@dataclass(eq=False)
class Course:
    """One prompt that is decoded by one walk. Later notes at a position replace earlier ones: vLLM may repeat a step.

    number: its own in this process. confidences: of the positions so far. made: the decisions so far, by position.
    """

    request: Request
    walk: Walk
    steering: Steering
    confidences: list[float] = field(default_factory=list)
    made: dict[int, Made] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(_numbers))

    def note(self, position: int, confidence: float) -> None:
        """The policy's top-1 probability at a position; what was noted there or later is forgotten."""
        self.confidences[position:] = [confidence]
        self.made = {place: made for place, made in self.made.items() if place < position}

    def guided(self, completion: Completion, width: int) -> Guided:
        confidences = np.array(self.confidences[: len(completion.ids)], np.float32)
        return guided_of(replace(completion, confidences=confidences), list(self.made.values()), width)


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a step's logits. position: how many tokens are written. written: gives their ids, (position,) int32."""

    number: int
    course: Course
    position: int
    written: Callable[[], np.ndarray]


class Steering:
    """The core: it rules out what the reward models do not choose.

    values: the guides at work, by name. width: W, candidates of a decision. where: see `Where`; None for everywhere.
    """

    def __init__(self, values: Mapping[str, Values], width: int, where: Where | None) -> None:
        self.values, self.width, self.where = values, width, where

    @torch.inference_mode()
    def steer(self, logits: torch.Tensor, rows: Sequence[Row]) -> None:
        """Change the logits (B, V) in place, so that their greatest is the token to write. rows: those to look at."""
        if not rows:
            return
        # 1. Which rows are unsure.
        numbers = torch.tensor([row.number for row in rows], device=logits.device)
        probabilities = logits[numbers].float().softmax(-1)  # (R, V)
        confidences = probabilities.max(-1).values.cpu().numpy()
        unsure: list[int] = []
        for i, (row, confidence) in enumerate(zip(rows, confidences, strict=True)):
            row.course.note(row.position, confidence)
            if confidence < np.float32(row.course.walk.trigger) and (self.where is None or self.where(row.written())):
                unsure.append(i)
        if not unsure:
            return
        # 2. What the reward models choose there.
        best, ids = (x.cpu().numpy() for x in best_of(probabilities[unsure], self.width))  # (U, W) each
        asked = [
            (rows[i], Decision(rows[i].position, candidates, own))
            for i, own, candidates in zip(unsure, best, ids.astype(np.int32), strict=True)
        ]
        chosen = torch.tensor([self._choose(asked)], device=logits.device)[0]  # (U,)
        # 3. Rule out the rest.
        logits[numbers[unsure]] = -torch.inf
        logits[numbers[unsure], chosen] = 0

    def _choose(self, asked: Sequence[tuple[Row, Decision]]) -> list[int]:
        """The token that each row's guide chooses; a guide is asked once for all of its rows."""
        chosen = [0] * len(asked)
        for name, scorer in self.values.items():
            own = [i for i, (row, _) in enumerate(asked) if row.course.walk.guide == name]
            scored = scorer.rate([_question(*asked[i]) for i in own]) if own else []
            for i, scores in zip(own, scored, strict=True):
                row, decision = asked[i]
                row.course.made[row.position] = Made(decision, scores.values)
                chosen[i] = int(decision.candidates[scores.best])
        return chosen


def _question(row: Row, decision: Decision) -> Question:
    request = row.course.request
    ids = np.concatenate([request.context[: request.start], row.written()]).astype(np.int32)
    return Question(row.course, request, ids, decision.candidates)


def decode_in_vllm(
    engine: VllmEngine,
    values: Mapping[str, Values],
    requests: Iterable[tuple[Request, Sequence[Walk]]],
    width: int,
    max_new_tokens: int,
    where: Where | None,
) -> Iterator[tuple[Request, dict[Walk, Guided]]]:
    """`asprm.engines.guided.decode_together` by vLLM, which decodes each walk of a request by itself.

    engine: loaded for guided decoding. values: the guides, by name. width: W, candidates of a decision.
    ValueError: the engine was not loaded for guided decoding.
    """
    if not engine.guided:
        raise ValueError("tvd: this vllm engine cannot be guided; load it by load_engine(…, guided=True)")
    with ExitStack() as lent:
        for scorer in values.values():
            scorer.begin(lent)
        steering, mine = Steering(values, width, where), set()

        def number_of(request: Request) -> dict[str, int]:
            course: Course = request.key
            _courses[course.number] = course
            mine.add(course.number)
            return {_ARGUMENT: course.number}

        queue = (replace(x, key=Course(x, walk, steering)) for x, walks in requests for walk in walks)
        greedy = Sampling(temperature=0, max_new_tokens=max_new_tokens)
        try:
            for request, completion in engine.stream(queue, greedy, confidences=False, extra=number_of):
                course: Course = request.key
                for scorer in values.values():
                    scorer.release(course)
                mine.remove(course.number)
                del _courses[course.number]
                yield course.request, {course.walk: course.guided(completion, width)}
        finally:
            for number in mine:  # of a caller that stops reading
                del _courses[number]


# --- the two interfaces -----------------------------------------------------------------------------------------------


def processors(device: str) -> list[type]:
    """The class of logits processors that the vLLM of this process takes. device: "cpu" or "cuda"."""
    second = os.environ.setdefault(_RUNNER, "0" if device == "cpu" else "1") == "1"
    place = "vllm.v1.worker.gpu.sample" if second else "vllm.v1.sample"
    base = importlib.import_module(f"{place}.logits_processor").LogitsProcessor
    return [type("Guide", (SlotRows if second else PersistentRows, base), {})]


def _course(params: Any) -> Course | None:
    """The course of a request, by its sampling parameters; None for one that nothing guides."""
    number = (params.extra_args or {}).get(_ARGUMENT)
    return None if number is None else _courses.get(number)


class PersistentRows:
    """A logits processor of vLLM's first interface: a row belongs to a request until the batch is updated."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self.rows: dict[int, tuple[Course, list[int]]] = {}  # the list of ids is vLLM's, which it appends to

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the batch: requests that left, that came, and that changed their row, in this order."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self.rows.pop(row, None)
        for row, params, _, written in batch_update.added:
            self.rows.pop(row, None)
            if course := _course(params):
                self.rows[row] = course, written
        for source, target, direction in batch_update.moved:
            moved, other = self.rows.pop(source, None), self.rows.pop(target, None)
            if moved:
                self.rows[target] = moved
            if other and direction.name == "SWAP":
                self.rows[source] = other

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Steer the rows of guided requests."""
        rows = [
            Row(number, course, len(written), lambda written=written: np.array(written, np.int32))
            for number, (course, written) in self.rows.items()
        ]
        _steer(logits, rows)
        return logits


class SlotRows:
    """A logits processor of vLLM's second interface: a request has a slot, and rows are in a new order at each step.

    Not run on a GPU. Of speculative decoding, which gives a request several rows, it knows nothing.
    """

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        self.states = req_states
        self.slots: dict[int, Course] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Every request is taken."""

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request takes a slot; True if it is guided."""
        self.slots.pop(req_idx, None)
        if course := _course(sampling_params):
            self.slots[req_idx] = course
        return req_idx in self.slots

    def apply_staged_writes(self) -> None:
        """Nothing is written to the device before a step."""

    def apply(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Steer the rows of guided requests. RuntimeError: a request has several rows."""
        slots = ctx.idx_mapping_np.tolist()
        if len(slots) != len(logits):
            raise RuntimeError(f"tvd: {len(logits)} rows for {len(slots)} requests; switch speculative decoding off")
        rows = []
        for number, (slot, length) in enumerate(zip(slots, ctx.seq_lens_upper_bound_np.tolist(), strict=True)):
            if course := self.slots.get(slot):
                start = course.request.start
                written = self.states.all_token_ids.gpu[slot, start:length]
                rows.append(Row(number, course, length - start, lambda x=written: x.cpu().numpy().astype(np.int32)))
        _steer(logits, rows)
        return logits


def _steer(logits: torch.Tensor, rows: Sequence[Row]) -> None:
    """Steer rows, by the `Steering` of each; there is one but where two decodings are at work in turns."""
    for steering in dict.fromkeys(row.course.steering for row in rows):
        steering.steer(logits, [row for row in rows if row.course.steering is steering])
