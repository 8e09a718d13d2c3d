"""Hard labels a second, J = 8: waves that stop at a step's first right rollout, against running all J.

The steps are AdaptiveStep's on sampled solutions of 64 problems. The engine running all J shares nothing: every rollout
reads its own prefix, and equal prefixes are rolled out again. Its seeds are those of the waves, so its labels must be
the same; grading counts on all sides.
"""

import numpy as np
from common import (
    MAX_NEW_TOKENS,
    REPEATS,
    TEMPERATURE,
    best_size,
    generate,
    policy,
    problems,
    publish,
    requests,
    row,
    seconds,
)

from asprm.engines.protocol import Request, Sampling, request_seed
from asprm.grading.grade import grade
from asprm.grading.math import compare_answers
from asprm.rollout import Labelling, roll_out
from asprm.split import adaptive

J, SOLUTIONS, SEED = 8, 4, 0
SAMPLING = Sampling(TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS)


def main() -> list:
    engine = policy()
    items = sampled_items(engine, problems(64), SOLUTIONS, SAMPLING)
    rollouts = rollouts_of(items)
    steps = len(rollouts) // J
    size = best_size(engine, sorted(rollouts[: 2 * steps], key=lambda request: request.start))

    def waves() -> np.ndarray:
        found = roll_out(items, engine, SAMPLING, SEED)
        return np.array([step.right > 0 for steps in found for step in steps.values()])

    def all_of_them() -> np.ndarray:
        engine.share = False
        try:
            return labels(engine, [(r, x.ids, x.finished) for r, x in engine.stream(rollouts, SAMPLING)])
        finally:
            engine.share = True

    def by_generate() -> np.ndarray:
        some = sorted(rollouts, key=lambda request: request.start)
        done = generate(engine, some, size)
        return labels(engine, [(r, ids, ids[-1] in engine.ends.eos) for r, ids in zip(some, done, strict=True)])

    zero = 1 - waves().mean()
    most = J / (J * zero + 1 - zero)
    print(f"{zero:.0%} of the labels are zero, and these need all J: stopping early alone gains at most {most:.2f}")
    ratios: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        taken = []
        for work in (waves, all_of_them, by_generate):
            compare_answers.cache_clear()
            taken.append(seconds(work))
        (ours, a), (theirs, b), (plain, _) = taken
        if not np.array_equal(a, b):
            raise AssertionError("labels: stopping early changed a label")
        print(
            f"{steps} labels: waves {ours:.2f} s, all J {theirs:.2f} s, transformers.generate {plain:.2f} s", flush=True
        )
        ratios[0].append(theirs / ours)
        ratios[1].append(plain / ours)
    return publish(
        [
            row("hard labels per second, J = 8", "the same engine, all J, no sharing", ratios[0], "≥ 3"),
            row("hard labels per second, J = 8", f"transformers.generate, all J, batch {size}", ratios[1], "≥ 8"),
        ]
    )


def sampled_items(engine, some, solutions: int, sampling: Sampling) -> list[Labelling]:
    """Problems with their solutions' ids, step ends and verdicts; τ is the solutions' 2 % quantile."""
    asked = requests(engine, some, solutions)
    done = engine.generate(asked, sampling)
    tau = float(np.quantile(np.concatenate([x.confidences for x in done]), 0.02))
    items = []
    for i, problem in enumerate(some):
        mine = done[i * solutions : (i + 1) * solutions]
        texts = [engine.tokenizer.decode(x.ids, skip_special_tokens=True) for x in mine]
        items.append(
            Labelling(
                problem,
                asked[i * solutions].context,
                [x.ids for x in mine],
                [adaptive(x.confidences, tau) for x in mine],
                [x.finished and grade(problem, text).correct for x, text in zip(mine, texts, strict=True)],
                rollouts=J,
                estimate="hard",
            )
        )
    return items


def rollouts_of(items) -> list[Request]:
    """All J rollouts of every step: one of each, then the next, so that no reading is met while it is remembered."""
    return [
        Request(context[:start].copy(), start, request_seed(prefix_seed, j), (item, context, len(prompt), start, step))
        for j in range(J)
        for item, prompt, context, start, step, prefix_seed in steps_of(items)
    ]


def steps_of(items):
    """Every step that is rolled out: not the last of a solution, which is its own rollout."""
    for i, item in enumerate(items):
        for place, (ids, ends) in enumerate(zip(item.ids, item.ends, strict=True)):
            for step, end in enumerate(ends[:-1].tolist()):
                seed = request_seed(SEED, item.problem.id, ids[:end].tobytes().hex())
                context = np.concatenate([item.prompt, ids]).astype(np.int32)
                yield item, item.prompt, context, len(item.prompt) + end, (i, place, step), seed


def labels(engine, done) -> np.ndarray:
    """(steps,) whether any rollout came right, in the order of the steps."""
    right: dict[tuple, bool] = {}
    for request, ids, finished in done:
        item, context, prompt, start, step = request.key
        text = engine.tokenizer.decode(np.concatenate([context[prompt:start], ids]), skip_special_tokens=True)
        right[step] = right.get(step, False) | (finished and grade(item.problem, text).correct)
    return np.array([right[step] for step in sorted(right)])


if __name__ == "__main__":
    main()
