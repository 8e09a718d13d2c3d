"""A real model on GSM8K's wording: sampling, scoring and guided decoding, each against what one would use instead.

    python benchmarks/real.py                                             # the two models that are in data/models
    python benchmarks/real.py data/models/SmolLM2-135M-Instruct sampling  # one part (labelling, scoring, training, tvd)

The problems are our own school problems, put in a chat. The reward model is the model itself with a head that knows
nothing: speed does not depend on it. Beside each ratio stands the share of what the processor can do: a token costs two
operations for each weight, and the processor's speed is measured on a large product of matrices. A token that is
trained on costs six. For guided decoding the limit is what it cannot save: the reward model reads every text that comes
to a decision, up to the last one, all at once.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from common import ROOT, generate, problems, publish, requests, row, seconds
from labels import SEED, labels, rollouts_of, sampled_items
from scoring import compare, per_step
from training import SETTINGS, Padded, labelled, tokens_per_second
from transformers import AutoModelForTokenClassification
from tvd import CANDIDATES, SHARE, released

from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.load import load_engine
from asprm.engines.protocol import Sampling
from asprm.models.prompts import Form
from asprm.reward.score import PRM, Item, load_classifier, score
from asprm.reward.trainer import PackTrainer
from asprm.rollout import roll_out
from asprm.split import fixed

BOXED = Form(instruction="{problem}\nReason step by step, briefly, and put the final answer within \\boxed{}.")
PROBLEMS, SAMPLES, NEW, FEW = 16, 4, 64, 2
LABELLED = 8  # problems, with two solutions each
SIZES = (16, 64)  # of batches for transformers.generate, which runs at the best of these
REPEATS = 2  # a run takes a minute
NAMES = ("SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct")


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:2]] or [ROOT / "data/models" / name for name in NAMES]
    there = [folder for folder in folders if folder.is_dir()]
    if not there:
        print("no real model in data/models, so nothing is measured; `asprm fetch smollm2` brings one")
        return
    torch.set_num_threads(2)
    peak, rows = speed(), []
    for folder in there:
        engine = load_engine(folder, device="cpu", dtype="float32")
        BOXED.apply(engine.tokenizer)
        weights = sum(x.numel() for x in engine.executor.model.parameters())
        print(f"{folder.name}: {weights / 1e6:,.0f} million weights; large products: {peak:,.0f} GFLOP/s", flush=True)
        for part in sys.argv[2:] or PARTS:
            rows += PARTS[part](engine, folder, weights, peak)
    publish(rows)


def speed() -> float:
    """GFLOP/s of a product of large matrices, the best of five."""
    a, b = torch.randn(1024, 2048), torch.randn(2048, 2048)
    return 2e-9 * 1024 * 2048 * 2048 / min(seconds(lambda: a @ b)[0] for _ in range(5))


def sampling(engine, folder, weights, peak) -> list:
    some, how = requests(engine, problems(PROBLEMS), SAMPLES), Sampling(1.0, max_new_tokens=NEW)
    few = some[: max(SIZES)]
    rates = {}
    for size in SIZES:
        taken, done = seconds(lambda size=size: generate(engine, few[:size], size, NEW))
        rates[size] = sum(map(len, done)) / taken
    size = max(rates, key=rates.get)
    print("transformers.generate, useful tokens/s by batch size:", {k: round(v) for k, v in rates.items()}, flush=True)
    ratios = []
    for _ in range(REPEATS):
        taken, done = seconds(lambda: engine.generate(some, how))
        ours = sum(len(x.ids) for x in done) / taken
        taken, plain = seconds(lambda: generate(engine, some, size, NEW))
        theirs = sum(map(len, plain)) / taken
        share = 2e-9 * weights * ours / peak
        print(
            f"engine {ours:,.0f} tokens/s ({share:.0%} of the limit), transformers.generate {theirs:,.0f}", flush=True
        )
        ratios.append(ours / theirs)
    return [row(f"{folder.name}: sampling, useful tokens/s", f"transformers.generate, batch {size}", ratios, "≥ 2")]


def labelling(engine, folder, weights, peak) -> list:
    how = Sampling(1.0, max_new_tokens=NEW)
    items = sampled_items(engine, problems(LABELLED), 2, how)
    every = sorted(rollouts_of(items), key=lambda request: request.start)
    ratios = []
    for _ in range(REPEATS):
        ours, found = seconds(lambda: roll_out(items, engine, how, SEED))
        steps = sum(map(len, found))
        theirs, done = seconds(lambda: generate(engine, every, max(SIZES), NEW))
        graded, _ = seconds(
            lambda done=done: labels(
                engine, [(x, ids, ids[-1] in engine.ends.eos) for x, ids in zip(every, done, strict=True)]
            )
        )
        print(f"{steps} labels: {ours:.1f} s, all J by transformers.generate {theirs + graded:.1f} s", flush=True)
        ratios.append((theirs + graded) / ours)
    against = f"transformers.generate, all J, batch {max(SIZES)}"
    return [row(f"{folder.name}: hard labels per second, J = 8", against, ratios, "≥ 5")]


def scoring(engine, folder, weights, peak) -> list:
    model, _ = load_classifier(folder, torch.float32, "cpu")
    prm = PRM(model.eval(), engine.tokenizer, {})
    asked = requests(engine, problems(8), 2)
    done = engine.generate(asked, Sampling(1.0, max_new_tokens=NEW))
    items = [
        Item(x.context, y.ids, fixed(len(y.ids), max(1, len(y.ids) // 8))) for x, y in zip(asked, done, strict=True)
    ]
    promise = f"{folder.name}: PRM scoring"
    return [compare(prm, promise, items, per_step, "one forward per step", "≥ 4", sizes=(1, 8), repeats=REPEATS)]


def training(engine, folder, weights, peak) -> list:
    asked = requests(engine, problems(LABELLED), 2)
    examples = labelled(asked, engine.generate(asked, Sampling(1.0, max_new_tokens=NEW)))
    ratios = []
    for _ in range(REPEATS):
        ours = tokens_per_second(PackTrainer, examples, SETTINGS, folder)
        theirs = tokens_per_second(Padded, examples, SETTINGS, folder)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # it is in kB
        share = 6e-9 * weights * ours / peak
        print(
            f"training: packed {ours:,.0f} tokens/s ({share:.0%} of the limit), padded {theirs:,.0f}; "
            f"peak memory of the process {memory:.1f} GB",
            flush=True,
        )
        ratios.append(ours / theirs)
    return [row(f"{folder.name}: PRM training, tokens/s, all weights", "padded batches", ratios, "≥ 1")]


def tvd(engine, folder, weights, peak) -> list:
    prm = AutoModelForTokenClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32).eval()
    torch.nn.init.zeros_(prm.score.weight)
    if prm.score.bias is not None:
        torch.nn.init.zeros_(prm.score.bias)
    executor, some = load_executor(prm), requests(engine, problems(PROBLEMS))
    how = Sampling(temperature=0, max_new_tokens=NEW)
    greedy = engine.generate(some, how)
    trigger = float(np.quantile(np.concatenate([x.confidences for x in greedy]), SHARE))
    options = {"trigger": trigger, "candidates": CANDIDATES, "max_new_tokens": NEW}
    reader = PRM(load_classifier(folder, torch.float32, "cpu")[0].eval(), engine.tokenizer, {})
    slower, faster, least = [], [], []
    for _ in range(REPEATS):
        plain, _ = seconds(lambda: engine.generate(some, how))
        ours, done = seconds(lambda: dict(guided_decode(engine, executor, some, **options)))
        assert all(done[x].ids.tolist() == y.ids.tolist() for x, y in zip(some, greedy, strict=True))
        slower.append(ours / plain)
        texts = [Item(x.context, done[x].ids, done[x].decisions[-1:] + 1) for x in some if len(done[x].decisions)]
        reading, _ = seconds(lambda texts=texts: score(reader, texts))
        least.append(1 + reading / plain)
        one_by_one, _ = seconds(lambda: [released(engine, prm, x, trigger, NEW) for x in some[:FEW]])
        faster.append((one_by_one / FEW) / (ours / len(some)))
        print(
            f"greedy {plain:.1f} s, guided {ours:.1f} s (limit {plain + reading:.1f} s), "
            f"released {one_by_one / FEW:.1f} s a problem",
            flush=True,
        )
    return [
        row(
            f"{folder.name}: TVD, wall time at a 2 % decision rate", "greedy, same engine, same batch", slower, "≤ 1.3"
        ),
        row(f"{folder.name}: greedy and the reading that decisions need", "greedy alone", least, "the limit"),
        row(f"{folder.name}: TVD, problems per second", "the released algorithm", faster, "≥ 20"),
    ]


PARTS = {"sampling": sampling, "labelling": labelling, "scoring": scoring, "training": training, "tvd": tvd}

if __name__ == "__main__":
    main()
