"""Scoring solutions at their steps: one reading for all steps, equal beginnings read once, against plain forwards.

The PRM is the shipped policy with a random value head: speed does not depend on what the weights know.
"""

import numpy as np
import torch
from common import MAX_NEW_TOKENS, POLICY, REPEATS, TEMPERATURE, policy, problems, publish, requests, row, seconds

from asprm.engines.protocol import Sampling
from asprm.reward.score import PRM, Item, load_classifier, score
from asprm.split import adaptive, fixed

SIZES = (1, 8, 32)  # of padded batches; the baselines run at the best of these


def main() -> list:
    engine = policy()
    torch.manual_seed(0)
    model, _ = load_classifier(POLICY, torch.float32, "cpu")
    prm = PRM(model.eval(), engine.tokenizer, {})
    asked = requests(engine, problems(64), samples=16)
    done = engine.generate(asked, Sampling(TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS))
    samples = [(x.context, y) for x, y in zip(asked, done, strict=True)]
    # The longest solution of each problem, in eight steps or more.
    longest = [max(samples[i : i + 16], key=lambda sample: len(sample[1].ids)) for i in range(0, len(samples), 16)]
    eight = [Item(prompt, x.ids, fixed(len(x.ids), max(1, len(x.ids) // 8))) for prompt, x in longest]
    assert min(len(item.ends) for item in eight) >= 8
    tau = np.quantile(np.concatenate([x.confidences for _, x in samples]), 0.02)
    candidates = [Item(prompt, x.ids, adaptive(x.confidences, tau)) for prompt, x in samples]
    return publish(
        [
            compare(prm, "PRM scoring, 64 solutions of ≥ 8 steps", eight, per_step, "one forward per step", "≥ 4"),
            compare(prm, "PRM scoring, 64 problems × 16", candidates, per_step, "one forward per step", "—"),
            compare(prm, "PRM scoring, 64 problems × 16", candidates, per_solution, "one forward per solution", "—"),
        ]
    )


def compare(prm, promise, items, baseline, name, target, sizes=SIZES, repeats=REPEATS):
    """Paired runs of the baseline at its best batch size and of `score`; their results must agree."""
    few = items[:64]
    size = min(sizes, key=lambda size: seconds(lambda: baseline(prm, few, size))[0])
    score(prm, few)
    ratios = []
    for _ in range(repeats):
        ours, found = seconds(lambda: score(prm, items))
        theirs, plain = seconds(lambda: baseline(prm, items, size))
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(found, plain, strict=True))
        ratios.append(theirs / ours)
    tokens = sum(len(item.prompt) + len(item.ids) for item in items)
    print(f"{promise}: {tokens / ours:,.0f} tokens/s, {name} {tokens / theirs:,.0f}", flush=True)
    return row(promise, f"{name}, batch {size}", ratios, target)


def per_step(prm, items, size) -> list[np.ndarray]:
    """A forward for every step's prefix, the score at its last token; padded batches, sorted by length."""
    prefixes = [np.concatenate([x.prompt, x.ids[:end]]) for x in items for end in x.ends]
    found = padded(prm, prefixes, [np.array([len(x) - 1]) for x in prefixes], size)
    counts = np.cumsum([len(x.ends) for x in items])[:-1]
    return np.split(np.concatenate(found), counts)


def per_solution(prm, items, size) -> list[np.ndarray]:
    """A forward for every solution with its prompt, scores at all step ends; padded batches, sorted by length."""
    return padded(prm, [x.tokens for x in items], [len(x.prompt) + np.asarray(x.ends) - 1 for x in items], size)


@torch.inference_mode()
def padded(prm, texts, places, size) -> list[np.ndarray]:
    out = [np.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        ids = torch.zeros(len(batch), len(texts[batch[-1]]), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, number in enumerate(batch):
            ids[i, : len(texts[number])] = torch.from_numpy(texts[number].astype(np.int64))
            mask[i, : len(texts[number])] = 1
        scores = prm.model(ids, attention_mask=mask).logits[:, :, 0].sigmoid().numpy()
        for i, number in enumerate(batch):
            out[number] = scores[i, places[number]]
    return out


if __name__ == "__main__":
    main()
