"""Sampling 64 problems × 16 solutions: useful tokens a second, against `transformers.generate` at its best batch size.

A useful token is one up to and including the end of text; a row that has ended and is still computed gives none.
"""

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

from asprm.engines.protocol import Sampling


def main() -> list:
    engine = policy()
    some = requests(engine, problems(64), samples=16)
    sampling = Sampling(TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS)
    size = best_size(engine, some)
    engine.generate(some[:128], sampling)
    ratios = []
    for _ in range(REPEATS):
        taken, done = seconds(lambda: engine.generate(some, sampling))
        ours = sum(len(x.ids) for x in done) / taken
        taken, done = seconds(lambda: generate(engine, some, size))
        theirs = sum(map(len, done)) / taken
        print(f"engine {ours:,.0f} tokens/s, transformers.generate {theirs:,.0f}", flush=True)
        ratios.append(ours / theirs)
    return publish([row("sampling, useful tokens/s", f"transformers.generate, batch {size}", ratios, "≥ 3")])


if __name__ == "__main__":
    main()
