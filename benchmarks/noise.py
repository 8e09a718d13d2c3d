"""How far τ, step ends and labels move with the batch size, the number format and the engine.

    .venv-vllm/bin/python benchmarks/noise.py      # with vLLM's rows (`make test-vllm` makes the environment)
    .venv/bin/python benchmarks/noise.py           # without them: prints, and leaves the kept results alone

Solutions are sampled by the local engine in fp32. Other settings decode them again from the same seeds, or read the
same tokens; each fits its own τ, by which its steps are cut. Labels are hard ones, by four rollouts of each step of the
first setting. The row of another seed says what chance alone does to labels.
"""

import json
import sys
from dataclasses import asdict
from functools import partial

import torch
from common import ROOT, machine

from asprm.engines.load import load_engine
from asprm.engines.protocol import Request, Sampling, request_seed
from asprm.engines.rescore import confidences, load_reader
from asprm.engines.vllm import installed, version
from asprm.grading.grade import grade
from asprm.models.prompts import Form, encode_prompts
from asprm.problems.load import load
from asprm.results.noise import Reading, changed_labels, noise
from asprm.rollout import Labelling, roll_out
from asprm.split import adaptive
from asprm.threshold import fit_threshold

RESULTS = ROOT / "benchmarks/results/noise.json"
SHARE, ROLLOUTS, FEW = 0.02, 4, 8
BOXED = Form(instruction="{problem}\nReason step by step, briefly, and put the final answer within \\boxed{}.")
MODELS = {  # folder, family, problems, samples of each, most new tokens, problems whose steps are labelled
    "M": (ROOT / "data/policies/M", "minigsm", 100, 4, 220, 40),
    "L": (ROOT / "data/policies/L", "minimath", 100, 4, 220, 40),
    "D": (ROOT / "data/policies/D", "minicode", 100, 4, 220, 40),
    "SmolLM2": (ROOT / "data/models/SmolLM2-135M-Instruct", "minigsm", 12, 2, 64, 0),
}


class Policy:
    """A policy's solutions by the local engine in fp32, and what other settings make of them."""

    def __init__(self, name):
        self.name = name
        self.path, family, problems, self.samples, limit, self.labelled = MODELS[name]
        self.sampling = Sampling(1.0, max_new_tokens=limit)
        self.problems = load(family, "train", problems)
        engine = load_engine(self.path, device="cpu", dtype="float32")
        if not name.isupper() or len(name) > 1:
            BOXED.apply(engine.tokenizer)
        self.tokenizer = engine.tokenizer
        prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in self.problems])
        self.requests = [
            Request(prompt, len(prompt), request_seed(0, self.problems[i].id, j), (i, j))
            for i, prompt in enumerate(prompts)
            for j in range(self.samples)
        ]
        self.first = self.decoded(engine)
        self.labels = self.labelled_by(engine, 0) if self.labelled else {}

    def decoded(self, engine):
        done = engine.generate(self.requests, self.sampling)
        self.finished = [x.finished for x in done]
        return self.cut([x.ids for x in done], [x.confidences for x in done])

    def read(self, dtype):
        reader = load_reader(self.path, device="cpu", dtype=dtype)
        return self.cut(self.first.ids, confidences(reader, [x.context for x in self.requests], self.first.ids))

    def read_by_vllm(self, dtype):
        engine = load_engine(self.path, kind="vllm", dtype=dtype)
        return self.cut(self.first.ids, engine.read([x.context for x in self.requests], self.first.ids))

    def cut(self, ids, found):
        tau = fit_threshold(found, [x.key[0] for x in self.requests], SHARE, resamples=1).tau
        return Reading(ids, found, [adaptive(x, tau) for x in found], tau)

    def labelled_by(self, engine, seed):
        """Hard labels of the steps of the first solution of each of the first problems, by (problem, step)."""
        places = [k for k, x in enumerate(self.requests) if x.key[0] < self.labelled and x.key[1] == 0]
        labellings = []
        for k in places:
            problem, ids = self.problems[self.requests[k].key[0]], self.first.ids[k]
            right = grade(problem, self.tokenizer.decode(ids, skip_special_tokens=True)).correct
            labellings.append(
                Labelling(problem, self.requests[k].context, [ids], [self.first.ends[k]], [right], ROLLOUTS, "hard")
            )
        by_solution = roll_out(labellings, engine, self.sampling, seed)
        return {
            (k, step): float(found.right > 0)
            for k, steps in zip(places, by_solution, strict=True)
            for (_, step), found in steps.items()
        }

    def row(self, setting, number_format="fp32", reading=None, labels=None):
        found = asdict(noise(self.first, reading)) if reading else {}
        if labels:
            changed, of = changed_labels(self.labels, labels)
            found |= {"changed": changed, "labels": of}
        print(f"{self.name:8} {number_format} {setting:40}", found, flush=True)
        return {"policy": self.name, "setting": setting, "format": number_format, **found}


def rows_of(name):
    policy = Policy(name)
    load_local = partial(load_engine, policy.path, device="cpu")
    labelled = partial(policy.labelled_by, seed=0) if policy.labelled else lambda engine: {}
    engine = load_local(dtype="float32", rows=FEW)
    yield policy.row(f"decoded {FEW} rows at a time", "fp32", policy.decoded(engine), labelled(engine))
    yield policy.row("read whole, not decoded", "fp32", policy.read("float32"))
    yield policy.row(
        "read whole; rollouts in bf16", "bf16", policy.read("bfloat16"), labelled(load_local(dtype="bfloat16"))
    )
    if policy.labelled:
        yield policy.row("another seed of the rollouts", labels=policy.labelled_by(load_local(dtype="float32"), 1))
    if installed():
        reading = policy.read_by_vllm("float32")
        engine = load_engine(policy.path, kind="vllm", dtype="float32")
        yield policy.row("vLLM: read whole; its own rollouts", "fp32", reading, labelled(engine))
        yield policy.row("vLLM: read whole", "bf16", policy.read_by_vllm("bfloat16"))


def main():
    torch.set_num_threads(1)
    there = [name for name in sys.argv[1:] or MODELS if MODELS[name][0].is_dir()]
    rows = [row for name in there for row in rows_of(name)]
    if installed() and there == list(MODELS):
        about = {"command": "python benchmarks/noise.py", "machine": machine(), "torch": torch.__version__}
        made = about | {"vllm": version(), "share": SHARE, "rollouts": ROLLOUTS, "rows": rows}
        RESULTS.write_text(json.dumps(made, indent=1) + "\n")
    else:
        print(f"not kept in {RESULTS.name}: that takes vllm and all of {', '.join(MODELS)}")


if __name__ == "__main__":
    main()
