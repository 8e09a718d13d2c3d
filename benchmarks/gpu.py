"""On a CUDA machine: generation, scoring, training and guided decoding, each beside its limit.

    python benchmarks/gpu.py        writes benchmarks/results/gpu.json, which the performance page shows

Models: the shipped policies, and randomly initialised ones of 7 and of half a billion parameters (speed needs no
weights that know anything); the PRMs are of the same shapes. Where vLLM is installed, it decodes such requests, too.
Limits are of this device as it measures: bytes a second of a copy, operations a second of a large product. A step of
generation reads all weights and what the cache holds once; reading and training are bound by two and six operations per
parameter and token. Nothing is written where there is no GPU.
"""

import copy
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from asprm.engines import vllm
from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.local import LocalEngine
from asprm.engines.packed import pack, read, use_packs
from asprm.engines.protocol import Engine, Request, Sampling
from asprm.models.load import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks/results/gpu.json"
CANDIDATES, SHARE = 8, 0.02  # of guided decoding: candidates of a decision, decisions a token
BILLIONS = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 4096, "sliding_window": None,
}  # fmt: skip
HALF_A_BILLION = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("no GPU here: nothing is measured, and the page goes on saying so")
    device, dtype = torch.device("cuda"), torch.bfloat16
    ceiling = ceilings(device, dtype)
    shipped = sorted((ROOT / "data/policies").iterdir())
    models = [("random 7B", AutoConfig.for_model("mistral", **BILLIONS), None, (256, 32))]
    models += [("random 0.5B", AutoConfig.for_model("qwen2", **HALF_A_BILLION), None, (256, 32))]
    models += [(f"policy {x.name}", AutoConfig.from_pretrained(x), x, (256,)) for x in shipped]
    found = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "command": "python benchmarks/gpu.py",
        "bytes_per_second": ceiling[0],
        "operations_per_second": ceiling[1],
        "rows": [],
    }
    for name, config, path, requests in models:
        for row in measured(name, config, device, dtype, ceiling, path=path, requests=requests):
            print(row, flush=True)
            found["rows"].append(row)
            OUT.write_text(json.dumps(found, indent=1) + "\n")


def ceilings(device: torch.device, dtype: torch.dtype, size: int = 8192) -> tuple[float, float]:
    """Bytes per second of a copy, operations per second of a square product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    moved, done = (np.median(seconds(work, device, 5)) for work in (a.clone, lambda: a @ a))
    return float(2 * a.numel() * a.element_size() / moved), float(2 * size**3 / done)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> np.ndarray:
    """Seconds of each repeat, after one to warm up, in which libraries choose kernels and steps are captured."""
    return np.array([timed(work, device) for _ in range(repeats + 1)][1:])


def paired(work: Callable[[], object], plain: Callable[[], object], device: torch.device, repeats: int) -> np.ndarray:
    """How many times as long the work takes as the other work, in turns."""
    return np.array([timed(work, device) / timed(plain, device) for _ in range(repeats + 1)][1:])


def timed(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measured(
    name: str,
    config: AutoConfig,
    device: torch.device,
    dtype: torch.dtype,
    ceiling: tuple[float, float],
    *,
    path: Path | None = None,
    requests: Sequence[int] = (256, 32),
    prompt: int = 64,
    new: int = 128,
    repeats: int = 3,
) -> Iterator[dict]:
    """Rows of a model's tokens per second, and of their upper limit.

    path: where its weights are; None: they are random. requests: of `prompt` and `new` tokens each, decoded at once.
    """
    rng = np.random.default_rng(0)
    operations = ceiling[1]
    config.eos_token_id = None  # every request runs to its full length
    policy, prm = causal(config, device, dtype, path), classifier(config, device, dtype)
    weights = sum(x.numel() for x in policy.parameters())
    if not config.tie_word_embeddings:  # a token reads one row of the embeddings
        weights -= policy.get_input_embeddings().weight.numel()

    def row(what: str, values: np.ndarray, limit: float, unit: str = "tokens/s") -> dict:
        value, low, high = (float(f(values)) for f in (np.median, np.min, np.max))
        share = value / limit if unit == "tokens/s" else limit / value
        numbers = {"value": value, "low": low, "high": high, "limit": limit, "share of limit": share}
        rounded = {key: float(f"{x:.4g}") for key, x in numbers.items()}
        return {"model": name, "what": what, "unit": unit} | rounded | {"repeats": repeats}

    limits: dict[int, float] = {}  # tokens per second of rollouts, by how many are decoded at once
    for count in requests:
        some = [Request(rng.integers(3, config.vocab_size, prompt), prompt, i) for i in range(count)]
        for what, *rest in decoding(policy, prm, some, new, weights, ceiling, repeats):
            yield row(f"{what}, {count} at once", *rest)
            limits.setdefault(count, rest[1])  # of what comes first, the rollouts
    with tempfile.TemporaryDirectory() as folder:
        if vllm.installed() and path is None:
            save(policy, Path(folder))
        del policy, prm
        free(device)
        if vllm.installed():
            engine = vllm.load(path or folder, rows=max(requests))
            for count in requests:
                some = [Request(rng.integers(3, config.vocab_size, prompt), prompt, i) for i in range(count)]
                for what, rates in by_vllm(engine, some, new, repeats):
                    yield row(f"{what}, {count} at once", rates, limits[count])
            engine.close()
    free(device)
    prm = classifier(config, device, dtype)

    packed = pack([rng.integers(3, config.vocab_size, prompt + new) for _ in range(max(2, requests[0] // 16))])
    tokens, ends = packed.ids.shape[1], np.array([places[-1] for places in packed.places])

    @torch.inference_mode()
    def scoring() -> object:
        return prm.score(read(prm, packed, ends))

    yield row("PRM scoring", tokens / seconds(scoring, device, repeats), operations / (2 * weights))

    def training() -> None:
        prm.zero_grad()
        prm.score(read(prm, packed, ends)).float().square().mean().backward()

    prm.train()
    rate = tokens / seconds(training, device, repeats)
    yield row("PRM training, forward and backward", rate, operations / (6 * weights))


def decoding(
    policy: PreTrainedModel,
    prm: PreTrainedModel,
    some: Sequence[Request],
    new: int,
    weights: int,
    ceiling: tuple[float, float],
    repeats: int,
) -> Iterator[tuple]:
    """Measurements with the requests side by side: name, values, limit, unit. weights: how many a token reads."""
    device, count, prompt = policy.device, len(some), some[0].start
    bandwidth, operations = ceiling
    engine, guide = LocalEngine(policy, None, rows=count), load_executor(prm)
    shape = engine.executor.shape
    cache = shape.layers * shape.width * shape.dtype.itemsize * count * (prompt + new / 2)  # bytes, on average
    step = max((weights * shape.dtype.itemsize + cache) / bandwidth, 2 * weights * count / operations)
    least = new * step + 2 * weights * count * prompt / operations  # seconds
    sampling, greedy = Sampling(1.0, max_new_tokens=new), Sampling(0, max_new_tokens=new)

    taken = seconds(lambda: engine.generate(some, sampling), device, repeats)
    yield "rollouts", count * new / taken, count * new / least
    graphs, engine.executor.graphs = engine.executor.graphs, None
    taken = seconds(lambda: engine.generate(some, sampling), device, repeats)
    yield "the same without CUDA graphs", count * new / taken, count * new / least
    engine.executor.graphs = graphs
    taken = seconds(lambda: generate(policy, some, new), device, repeats)
    yield "the same by transformers.generate", count * new / taken, count * new / least

    confidences = np.concatenate([x.confidences for x in engine.generate(some, greedy)])
    options = {"trigger": float(np.quantile(confidences, SHARE)), "candidates": CANDIDATES, "max_new_tokens": new}
    ratios = paired(
        lambda: list(guided_decode(engine, guide, some, **options)),
        lambda: engine.generate(some, greedy),
        device,
        repeats,
    )
    # The PRM reads every text once, and the candidates of every decision.
    reading = 2 * weights * count * (prompt + new + CANDIDATES * SHARE * new) / operations
    yield (
        "TVD at 2 % decisions",
        ratios,
        1 + reading / (new * step + 2 * weights * count * prompt / operations),
        "× greedy",
    )


def by_vllm(engine: Engine, some: Sequence[Request], new: int, repeats: int) -> Iterator[tuple[str, np.ndarray]]:
    """Tokens per second of the requests by vLLM, (repeats,), without and with the confidences that `sample` needs."""
    sampling = Sampling(1.0, max_new_tokens=new)
    for what, confidences in (("rollouts by vLLM", False), ("samples by vLLM, with confidences", True)):
        rates = []
        for _ in range(repeats + 1):  # one to warm up
            start = time.perf_counter()
            tokens = sum(len(x.ids) for _, x in engine.stream(some, sampling, confidences=confidences))
            rates.append(tokens / (time.perf_counter() - start))
        yield what, np.array(rates[1:])


def save(policy: PreTrainedModel, folder: Path) -> None:
    """Write a random model where vLLM can load it; the tokenizer of a shipped policy does for its new tokens."""
    policy.save_pretrained(folder)
    load_tokenizer(ROOT / "data/policies/M").save_pretrained(folder)


def free(device: torch.device) -> None:
    """Give back the GPU's memory of what was deleted."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@torch.inference_mode()
def generate(policy: PreTrainedModel, some: Sequence[Request], new: int) -> torch.Tensor:
    ids = torch.from_numpy(np.stack([request.context for request in some])).to(policy.device)
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": new, "pad_token_id": 0}
    return policy.generate(ids, attention_mask=torch.ones_like(ids), **options)


def causal(config: AutoConfig, device: torch.device, dtype: torch.dtype, path: Path | None) -> PreTrainedModel:
    """The language model in a folder, or one of random weights; neither ends a text."""
    if path is not None:
        model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=dtype).to(device)
    else:
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = None
    return model.eval()


def classifier(config: AutoConfig, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A PRM of the configuration, randomly initialised, that reads packs."""
    config = copy.deepcopy(config)
    config.num_labels, config.classifier_dropout = 1, 0.0
    with torch.device(device):
        return use_packs(AutoModelForTokenClassification.from_config(config, dtype=dtype).eval())


if __name__ == "__main__":
    main()
