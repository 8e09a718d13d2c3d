"""Guided decoding at a 2 % decision rate: against plain greedy on the same engine, and against the released algorithm.

The trigger is the 2 % quantile of greedy's own top-1 probabilities. The PRM is the policy's backbone with a head of
zeros: all candidates tie, so the most probable one is emitted and every way decodes the same texts, at the full price
of the PRM. The released algorithm, from its description: one token a call, the whole prefix re-encoded and read anew,
each candidate scored with a prompt of its own, one problem at a time (its two HTTP servers are left out).
"""

import numpy as np
import torch
from common import MAX_NEW_TOKENS, POLICY, REPEATS, policy, problems, publish, requests, row, seconds
from transformers import AutoModelForTokenClassification

from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.protocol import Sampling

GREEDY = Sampling(temperature=0, max_new_tokens=MAX_NEW_TOKENS)
SHARE, CANDIDATES, FEW = 0.02, 8, 16
PAIRS = 5 * REPEATS  # a pair takes a second, and its ratio scatters by a fifth


def main() -> list:
    engine = policy()
    prm = AutoModelForTokenClassification.from_pretrained(POLICY, num_labels=1, dtype=torch.float32).eval()
    torch.nn.init.zeros_(prm.score.weight)
    torch.nn.init.zeros_(prm.score.bias)
    executor = load_executor(prm)
    many = requests(engine, problems(256))
    few = many[:FEW]
    greedy = engine.generate(many, GREEDY)
    trigger = float(np.quantile(np.concatenate([x.confidences for x in greedy]), SHARE))

    def guided(some):
        options = {"trigger": trigger, "candidates": CANDIDATES, "max_new_tokens": MAX_NEW_TOKENS}
        return dict(guided_decode(engine, executor, some, **options))

    done = guided(many)
    assert all(done[request].ids.tolist() == x.ids.tolist() for request, x in zip(many, greedy, strict=True))
    decisions = sum(len(x.decisions) for x in done.values()) / sum(len(x.ids) for x in done.values())
    print(f"trigger {trigger:.3f}, {decisions:.2%} of the tokens are decisions")
    seen = sum(request.start + x.decisions[-1] for request, x in done.items() if len(x.decisions))
    own = sum(request.start + len(x.ids) for request, x in done.items())
    print(f"the PRM reads up to the last decision of each text: {seen / own:.0%} of the tokens that the policy reads")
    slower, faster = [], []
    for _ in range(PAIRS):
        plain, _ = seconds(lambda: engine.generate(many, GREEDY))
        ours, _ = seconds(lambda: guided(many))
        slower.append(ours / plain)
        print(f"greedy {plain:.2f} s, guided {ours:.2f} s", flush=True)
    for _ in range(REPEATS):
        ours, _ = seconds(lambda: guided(many))
        one_by_one, texts = seconds(lambda: [released(engine, prm, request, trigger) for request in few])
        ours_few, done = seconds(lambda: guided(few))
        same = sum(
            engine.tokenizer.decode(done[r].ids, skip_special_tokens=True) == t
            for r, t in zip(few, texts, strict=False)
        )
        print(f"{FEW} problems: released {one_by_one:.2f} s, guided {ours_few:.2f} s, {same} texts alike", flush=True)
        faster.append((one_by_one / FEW) / (ours / len(many)))
    return publish(
        [
            row("TVD, wall time at a 2 % decision rate", "greedy, same engine, same batch", slower, "≤ 1.3"),
            row("TVD, problems per second", "the released algorithm", faster, "≥ 20"),
        ]
    )


@torch.inference_mode()
def released(engine, prm, request, trigger: float, limit: int = MAX_NEW_TOKENS) -> str:
    """One problem's text as the authors' scripts decode it."""
    model, tokenizer = engine.executor.model, engine.tokenizer
    prompt, text = tokenizer.decode(request.context), ""

    def read(more: str) -> torch.Tensor:
        return tokenizer(prompt + more, add_special_tokens=False, return_tensors="pt")["input_ids"]

    for _ in range(limit):
        probabilities = model(read(text)).logits[0, -1].float().softmax(-1)
        best = probabilities.topk(CANDIDATES)
        if int(best.indices[0]) in engine.ends.eos:
            break
        pieces = dict.fromkeys(tokenizer.decode(i) for i in best.indices.tolist() if i not in engine.ends.eos)
        if best.values[0] < trigger:
            scores = {piece: float(prm(read(text + piece)).logits[0, -1, 0]) for piece in pieces}
            text += max(scores, key=scores.get)
        else:
            text += next(iter(pieces))
    return text


if __name__ == "__main__":
    main()
