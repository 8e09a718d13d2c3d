"""Profile `paper` is complete, and every stage of it runs on stand-ins: tiny random models, real problem files."""

import json
import re

import pytest
import torch
import yaml
from real_data import real_file, real_rows
from test_grading_sandbox import needs_bwrap
from tiny_models import config
from transformers import AutoModelForCausalLM

from asprm.best_of_n import run_best_of_n
from asprm.models.load import TEMPLATES, load_tokenizer, located
from asprm.policy import train_tokenizer
from asprm.prm import check_tokens, run_prm
from asprm.problems import hub
from asprm.problems.load import domain_of
from asprm.problems.sets import problem_set
from asprm.rollout import run_rollout
from asprm.run.open import open_run
from asprm.run.profile import load_profile
from asprm.sample import run_sample
from asprm.site.includes.results import headline
from asprm.split import run_split
from asprm.threshold import run_threshold
from asprm.tvd import run_tvd

PAPER = load_profile("paper")


def test_the_numbers_are_the_papers():
    assert (PAPER.sample.solutions, PAPER.rollout.rollouts, PAPER.rollout.entropy_rollouts) == (30, 8, 16)
    assert (PAPER.threshold.share, PAPER.threshold.sweep) == (0.02, (0.005, 0.01, 0.015, 0.02))
    assert (PAPER.best_of_n.n, PAPER.sample.candidates, PAPER.best_of_n.aggregate) == ((1, 4, 8, 16, 32, 64), 64, "min")
    assert PAPER.tvd.candidates == 8
    assert {0.55, 0.28} <= set(PAPER.tvd.triggers)
    assert (PAPER.prm.epochs, PAPER.prm.max_tokens) == (1, 8192)
    rates = {name: PAPER.training(f"ASPRM-{name}").learning_rate for name in PAPER.policies}
    assert rates == {"M": 1e-6, "L": 2e-6, "D": 5e-6}
    assert PAPER.training("ASPRM-D").batch_tokens < PAPER.training("ASPRM-M").batch_tokens


def test_models_are_named_on_the_hub_and_their_bases_pinned():
    for source in PAPER.policies.values():
        name, commit = located(source.reward_base)
        assert re.fullmatch("[0-9a-f]{40}", commit)
        assert {name, located(source.path)[0]} <= set(TEMPLATES)


def test_its_problems_are_whole_published_sets():
    sizes = {"gsm8k": 7473, "math": 7500, "leetcode": 1570}
    both = {name: PAPER.problems.train[name] + PAPER.problems.validation[name] for name in PAPER.problems.train}
    assert both == sizes
    assert {domain_of(name) for name in PAPER.problems.test} == {"math", "code"}


def stand_in(folder, kind, texts, vocabulary, seed, **more):
    """A random model and a tokenizer trained on these texts, as a Hugging Face folder."""
    tokenizer = train_tokenizer(texts, vocabulary)
    torch.manual_seed(seed)
    shape = {"vocab_size": len(tokenizer), "max_position_embeddings": 4096, "eos_token_id": 2, "initializer_range": 0.1}
    AutoModelForCausalLM.from_config(config(kind, **shape, **more)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """`extends: paper`: stand-ins in place of hub names, local files in place of sets, a handful of problems."""
    home = tmp_path_factory.mktemp("home")
    texts = [row["question"] + "\n" + row["answer"] for row in real_rows("gsm8k/test.jsonl")[:60]]
    models = {}
    for seed, (name, kind, vocabulary) in enumerate((("M", "mistral", 400), ("L", "llama", 450), ("D", "llama", 420))):
        for k, part in enumerate(("path", "reward_base")):
            folder = stand_in(home / name / part, kind, texts[20 * seed : 20 + 20 * seed], vocabulary, 2 * seed + k)
            models.setdefault(name, {})[part] = folder
    for split in ("train", "test"):  # the folder of real files holds other test files, too
        file = real_file(f"leetcode/LeetCodeDataset-v0.1.0-{split}.jsonl.gz")
        (home / "leetcode").mkdir(exist_ok=True)
        (home / "leetcode" / file.name).symlink_to(file)
    # Mixtures within a domain, so that each can run by itself.
    mixed = {"M+C": {"base": "M", "data": ["M/adaptive", "L/adaptive"]}, "C+M": {"base": "D", "data": ["D/adaptive"]}}
    values = {
        "extends": "paper",
        "name": "stand-in",
        "workers": 1,
        "policies": {name: PAPER.policies[name].model_dump() | paths for name, paths in models.items()},
        "data": {name: str(real_file(name)) for name in ("gsm8k", "math500")} | {"leetcode": str(home / "leetcode")},
        "problems": {
            "train": {"gsm8k": 6, "leetcode": 2},
            "validation": {"gsm8k": 1, "leetcode": 1},
            "test": {"gsm8k": 1, "math500": 1, "leetcode": 1},
        },
        "sample": {"solutions": 3, "candidates": 2, "max_new_tokens": 8},
        "rollout": {"solutions": 2, "rollouts": 2, "entropy_rollouts": 2},
        "reward_models": {name: values | {"equal": True} for name, values in mixed.items()},
        "best_of_n": {
            "n": [1, 2],
            "random": 1,
            "score": {"M": ["ASPRM-M", "ASPRM-L", "L-to-M"], "L": ["ASPRM-L", "ER-PRM-L"], "D": ["ASPRM-D", "ORM-D"]},
        },
        "tvd": {
            "candidates": 3,
            "triggers": [0.5],
            "guide": {"M": ["ASPRM-M", "ASPRM-L"], "L": ["ASPRM-L"], "D": ["ASPRM-D"]},
        },
    }
    (home / "stand-in.yml").write_text(yaml.safe_dump(values))
    return home, str(home / "stand-in.yml")


@pytest.mark.slow
@pytest.mark.parametrize("policies", [["M", "L"], pytest.param(["D"], marks=needs_bwrap)])
def test_every_stage_runs_on_stand_ins(profile, monkeypatch, policies):
    home, file = profile
    monkeypatch.setenv("ASPRM_HOME", str(home))

    def run(stage, policy):
        return open_run(file, stage, {"policy": policy}, quiet=True)

    for policy in policies:
        sampled = run_sample(run("sample", policy))
        tests = ["leetcode"] if policy == "D" else ["gsm8k", "math500"]
        sets = {"train", "validation", *tests, f"{tests[0]}-greedy"}
        assert set(sampled) >= {f"sample/{policy}/{name}" for name in sets}
        fitting = run("threshold", policy)
        [fitted] = run_threshold(fitting)
        assert fitting.read_json(fitted)["achieved"] <= 0.02
        run_split(run("split", policy))
        run_rollout(run("rollout", policy))
    for policy in policies:
        trained = run_prm(run("prm", policy))
        assert f"prm/ASPRM-{policy}" in trained
    for policy in policies:
        rating = run("best_of_n", policy)
        written = run_best_of_n(rating)
        name = f"best_of_n/ASPRM-{policies[-1]}/{policy}-{'leetcode' if policy == 'D' else 'math500'}"
        assert name in written
        table = rating.read(name).to_pandas()
        assert len(table) == 2
        assert all(0 < score < 1 for row in table["scores"] for score in row)
        decoded = run_tvd(run("tvd", policy))
        assert {f"tvd/{prm}/{policy}" for prm in rating.profile.tvd.guide[policy]} <= set(decoded)

    # The landing page reports on the first of the sets that there are.
    page = headline(run("tvd", policies[0]))
    assert f"test problems of {'LeetCodeDataset' if policies == ['D'] else 'GSM8K'}" in page

    # A reward model starts from the base, at its policy's rate, and reads its policy's tokens.
    last = policies[-1]
    made = json.loads((home / f"data/runs/stand-in/prm/ASPRM-{last}/prm.json").read_text())
    assert made["settings"]["learning_rate"] == {"L": 2e-6, "D": 5e-6}[last]
    assert made["settings"]["gradient_checkpointing"]
    manifest = json.loads((home / f"data/runs/stand-in/sample/{last}/train.manifest.json").read_text())
    assert any(name.startswith("leetcode" if last == "D" else "gsm8k") for name in manifest["inputs"])
    own, saved = (load_tokenizer(x) for x in (home / last / "path", home / f"data/runs/stand-in/prm/ASPRM-{last}"))
    assert own.get_vocab() == saved.get_vocab()


def test_validation_follows_the_training_rows(profile):
    standing = load_profile(profile[1])
    every = hub.load("gsm8k", "train", standing.data["gsm8k"])
    assert problem_set(standing, "train", "math") == every[:6]
    assert problem_set(standing, "validation", "math") == every[6:7]
    code = [problem.id for problem in problem_set(standing, "train", "code")]
    assert len(code) == 2
    assert problem_set(standing, "validation", "code")[0].id not in code


def test_the_environment_names_files_too(profile, monkeypatch, tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "Q?", "answer": "#### 7"}\n' * 2)
    monkeypatch.setenv("ASPRM_DATA", f"gsm8k={path}")
    assert [problem.answer for problem in problem_set(load_profile(profile[1]), "gsm8k")] == ["7"]


def test_a_base_of_other_tokens_is_refused(profile):
    home, _ = profile
    one, other = (load_tokenizer(home / name / "path") for name in ("M", "L"))
    check_tokens(one, one, "itself")
    with pytest.raises(ValueError, match=r"another and the policy give different ids to \d+ tokens"):
        check_tokens(one, other, "another")
