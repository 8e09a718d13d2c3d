"""Shared by the benchmarks: the shipped policy, its problems, paired timing, and the table of results.

A benchmark compares two ways to do the same work, in turns in one process on the same threads, and reports the median
of the ratios with the least and the greatest. `results/latest.json` holds the last rows of every promise on each kind
of machine.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from asprm.engines.load import load_engine
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request
from asprm.models.prompts import encode_prompts
from asprm.problems.load import load
from asprm.problems.problem import Problem

ROOT = Path(__file__).resolve().parent.parent
POLICY = ROOT / "data/policies/M"
RESULTS = ROOT / "benchmarks/results/latest.json"
REPEATS = 5
TEMPERATURE, MAX_NEW_TOKENS = 1.0, 220  # as in profile tiny
BATCH_SIZES = (32, 64, 128, 256)  # transformers.generate runs at the best of these


@dataclass(frozen=True)
class Row:
    """One promise: how many times as fast (or as slow) as the other way."""

    promise: str
    against: str
    ratio: float  # median over repeats
    low: float
    high: float
    target: str
    repeats: int
    command: str
    machine: str


def policy() -> LocalEngine:
    """The shipped policy M on the CPU in fp32, on all of this machine's cores."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return load_engine(POLICY, device="cpu")


def problems(count: int) -> list[Problem]:
    """Training problems, the families mixed as in profile tiny."""
    other = count // 3
    return load("minigsm", "train", count - other) + load("minimath", "train", other)


def requests(engine: LocalEngine, some: list[Problem], samples: int = 1) -> list[Request]:
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in some])
    return [Request(prompt, len(prompt), seed=1000 * i + j) for i, prompt in enumerate(prompts) for j in range(samples)]


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """How long the work takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def row(promise: str, against: str, ratios: list[float], target: str) -> Row:
    return Row(
        promise,
        against,
        *(float(f"{x:.4g}") for x in (statistics.median(ratios), min(ratios), max(ratios))),
        target,
        len(ratios),
        " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        machine(),
    )


def machine() -> str:
    """Processor, cores, and the version of torch."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} cores, torch {torch.__version__}"


def publish(rows: list[Row]) -> list[Row]:
    """Print the rows as a table and put them in place of those of this script and machine in `results/latest.json`."""
    width = max(len(f"{x.promise} / {x.against}") for x in rows)
    print(f"\n{'promise / against':{width}}  {'ratio':>7}  {'spread':>15}  {'target':6}  paired runs")
    for x in rows:
        spread = f"{x.low:.3g}–{x.high:.3g}"
        print(f"{f'{x.promise} / {x.against}':{width}}  {x.ratio:7.3g}  {spread:>15}  {x.target:6}  {x.repeats}")
    print(f"{rows[0].machine}; {rows[0].command}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    same = (rows[0].command, rows[0].machine)
    known = [x for x in known if (x["command"], x["machine"]) != same] + [asdict(x) for x in rows]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(RESULTS)
    return rows


@torch.inference_mode()
def generate(engine: LocalEngine, some: list[Request], size: int, limit: int = MAX_NEW_TOKENS) -> list[list[int]]:
    """New token ids of each request by `transformers.generate`, padded on the left in batches of `size`."""
    model, out = engine.executor.model, []
    eos, pad = int(engine.ends.eos[0]), engine.tokenizer.pad_token_id
    for start in range(0, len(some), size):
        batch = [request.context[: request.start].tolist() for request in some[start : start + size]]
        longest = max(map(len, batch))
        ids = torch.tensor([[pad] * (longest - len(x)) + x for x in batch])
        done = model.generate(
            ids,
            attention_mask=torch.tensor([[0] * (longest - len(x)) + [1] * len(x) for x in batch]),
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            max_new_tokens=limit,
            eos_token_id=eos,
            pad_token_id=pad,
        )
        for ids in done[:, longest:].tolist():
            out.append(ids[: ids.index(eos) + 1] if eos in ids else ids)
    return out


def best_size(engine: LocalEngine, some: list[Request]) -> int:
    """The batch size at which `transformers.generate` gives the most useful tokens per second for these requests."""

    def rate(size: int) -> float:
        taken, done = seconds(lambda: generate(engine, some[: max(BATCH_SIZES)], size))
        return sum(map(len, done)) / taken

    rates = {size: rate(size) for size in BATCH_SIZES}
    print("transformers.generate, useful tokens/s by batch size:", {k: round(v) for k, v in rates.items()})
    return max(rates, key=rates.get)
