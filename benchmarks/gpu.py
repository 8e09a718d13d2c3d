"""On a CUDA machine: generation, scoring, training and guided decoding, each beside its limit.

    python benchmarks/gpu.py        writes benchmarks/results/gpu.json, which the performance page shows

Models: the shipped policies, and a randomly initialised Mistral of 7 billion parameters (speed needs no weights that
know anything). Limits are of this device as it measures: bytes a second of a copy, operations a second of a large
product. A step of generation reads all weights once; reading and training are bound by two and six operations per
parameter and token. Nothing is written where there is no GPU.
"""

import copy
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from asprm.engines import Request, Sampling
from asprm.engines.local import LocalEngine
from asprm.packed import pack, read, use_packs
from asprm.tvd import guided_decode

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks/results/gpu.json"
BILLIONS = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 4096, "sliding_window": None,
}  # fmt: skip


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("no GPU here: nothing is measured, and the page goes on saying so")
    device, dtype = torch.device("cuda"), torch.bfloat16
    ceiling = ceilings(device, dtype)
    rows = []
    configs = {path.name: AutoConfig.from_pretrained(path) for path in sorted((ROOT / "data/policies").iterdir())}
    for name, config in (configs | {"random 7B": AutoConfig.for_model("mistral", **BILLIONS)}).items():
        rows += measured(name, config, device, dtype, ceiling)
        torch.cuda.empty_cache()
    OUT.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(row)


def ceilings(device: torch.device, dtype: torch.dtype, size: int = 8192) -> tuple[float, float]:
    """Bytes a second that a copy moves, operations a second of a square product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    moved, done = seconds(a.clone, device), seconds(lambda: a @ a, device)
    return 2 * a.numel() * a.element_size() / moved, 2 * size**3 / done


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median of the repeats, after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))


def measured(
    name: str,
    config: AutoConfig,
    device: torch.device,
    dtype: torch.dtype,
    ceiling: tuple[float, float],
    *,
    requests: int = 256,
    prompt: int = 64,
    new: int = 128,
    repeats: int = 3,
) -> list[dict]:
    """Rows of what a model of this configuration, randomly initialised, does a second, and at most could."""
    rng = np.random.default_rng(0)
    bandwidth, operations = ceiling
    config.eos_token_id = None  # so that every request runs to its full length
    with torch.device(device):
        policy = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    engine = LocalEngine(policy, None, rows=requests)
    some = [Request(rng.integers(3, config.vocab_size, prompt), prompt, i) for i in range(requests)]
    weights = sum(x.numel() for x in policy.parameters())
    size = weights * policy.dtype.itemsize
    found = []

    def row(what: str, value: float, limit: float, unit: str = "tokens/s") -> None:
        share = value / limit if limit and math.isfinite(limit) else math.nan
        found.append({"model": name, "what": what, "value": round(value, 3), "unit": unit,
                      "limit": round(limit, 3), "share of limit": round(share, 3)})  # fmt: skip

    def greedy() -> object:
        return engine.generate(some, Sampling(0, max_new_tokens=new))

    taken = seconds(lambda: engine.generate(some, Sampling(1.0, max_new_tokens=new)), device, repeats)
    row("rollouts", requests * new / taken, requests * min(bandwidth / size, operations / (2 * weights * requests)))

    prm = classifier(config, device, dtype)
    packed = pack(
        [np.append(x.context, rng.integers(3, config.vocab_size, new)) for x in some[: max(1, requests // 8)]]
    )
    tokens, ends = packed.ids.shape[1], np.array([places[-1] for places in packed.places])

    @torch.inference_mode()
    def scoring() -> object:
        return prm.score(read(prm, packed, ends))

    row("PRM scoring", tokens / seconds(scoring, device, repeats), operations / (2 * weights))

    trigger = float(np.quantile(np.concatenate([x.confidences for x in greedy()]), 0.02))
    plain = seconds(greedy, device, repeats)
    guided = seconds(
        lambda: list(guided_decode(engine, prm, some, trigger=trigger, max_new_tokens=new)), device, repeats
    )
    row("TVD at 2 % decisions, against greedy", guided / plain, 1.0, "× the time")

    def training() -> None:
        prm.zero_grad()
        prm.score(read(prm, packed, ends)).float().square().mean().backward()

    prm.train()
    row("PRM training, forward and backward", tokens / seconds(training, device, repeats), operations / (6 * weights))
    return found


def classifier(config: AutoConfig, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A PRM of the configuration, randomly initialised, that reads packs."""
    config = copy.deepcopy(config)
    config.num_labels, config.classifier_dropout = 1, 0.0
    with torch.device(device):
        return use_packs(AutoModelForTokenClassification.from_config(config, dtype=dtype).eval())


if __name__ == "__main__":
    main()
