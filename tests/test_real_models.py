"""A language model that people use, SmolLM2, through engine, rescoring, guided decoding and the first stages.

It is taken from `data/models`, or fetched there. Without it, or without a network, these tests are skipped. The other
model, Qwen2.5-Coder, is looked at where it lies in `data/models`.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from transformers import AutoModelForTokenClassification

from asprm.engines.executors import load_executor
from asprm.engines.guided import guided_decode
from asprm.engines.lean import LeanExecutor
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling
from asprm.engines.rescore import confidences, reader
from asprm.models.align import Speller
from asprm.models.fetch import fetch
from asprm.models.load import load_tokenizer
from asprm.models.plain import plain_ids
from asprm.models.prompts import Form, encode_prompts
from asprm.problems.load import load
from asprm.run.open import open_run
from asprm.sample import run_sample
from asprm.split import run_split
from asprm.threshold import run_threshold

pytestmark = pytest.mark.slow
NAMES = ("SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct")
BOXED = Form(instruction="{problem}\nReason step by step, briefly, and put the final answer within \\boxed{}.")


@pytest.fixture(scope="module")
def folder() -> Path:
    pytest.importorskip("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASPRM_HOME", str(REPOSITORY))
        try:
            return fetch("smollm2")
        except ValueError as error:
            pytest.skip(f"SmolLM2 is not in data/models and cannot be fetched: {error}")


@pytest.fixture(scope="module")
def engine(folder) -> LocalEngine:
    return LocalEngine.load(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def prompts(engine) -> list[np.ndarray]:
    BOXED.apply(engine.tokenizer)
    return encode_prompts(engine.tokenizer, [problem.prompt for problem in load("minigsm", "test", 50)])


@pytest.fixture(scope="module")
def plain(engine, prompts) -> list[tuple[list[int], list[float]]]:
    """Ten greedy tokens of each prompt and their log-probabilities, by transformers' generate, one prompt at a time."""
    found = []
    for prompt in prompts:
        out = engine.executor.model.generate(
            torch.from_numpy(prompt[None].astype(np.int64)),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=10,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        ids = out.sequences[0, len(prompt) :].tolist()
        logs = [float(x[0].float().log_softmax(-1)[i]) for x, i in zip(out.logits, ids, strict=True)]
        found.append((ids, logs))
    return found


def test_greedy_tokens_and_their_probabilities_are_those_of_transformers(engine, prompts, plain):
    assert type(engine.executor) is LeanExecutor
    requests = [Request(prompt, len(prompt), 0) for prompt in prompts]
    done = engine.generate(requests, Sampling(temperature=0, max_new_tokens=10))
    for completion, (ids, logs) in zip(done, plain, strict=True):
        assert completion.ids.tolist() == ids
        np.testing.assert_allclose(np.log(completion.confidences), logs, atol=1e-3)


def test_rescoring_gives_the_same_probabilities(engine, prompts, plain):
    own = reader(engine.executor.model, engine.tokenizer)
    assert own.packs
    found = confidences(own, prompts, [np.array(ids) for ids, _ in plain])
    for values, (_, logs) in zip(found, plain, strict=True):
        np.testing.assert_allclose(np.log(values), logs, atol=1e-3)


def test_guided_decoding_follows_the_slow_way(engine, folder, prompts):
    torch.manual_seed(0)
    prm = AutoModelForTokenClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32).eval()
    requests = [Request(prompt, len(prompt), 0, i) for i, prompt in enumerate(prompts[:4])]
    options = {"trigger": 0.6, "candidates": 3, "max_new_tokens": 8}
    done = dict(guided_decode(engine, load_executor(prm), requests, **options))
    decided = 0
    for request in requests:
        ids = request.context.tolist()
        for _ in range(8):
            with torch.inference_mode():
                best = engine.executor.model(torch.tensor([ids])).logits[0, -1].softmax(-1).topk(3)
                token = int(best.indices[0])
                if best.values[0] < 0.6:
                    texts = torch.tensor([[*ids, int(candidate)] for candidate in best.indices])
                    token = int(best.indices[prm(texts).logits[:, -1, 0].argmax()])
                    decided += 1
            ids.append(token)
            if token in engine.ends.eos:
                break
        assert done[request].ids.tolist() == ids[len(request.context) :]
    assert decided >= 3


ODD = ["“x” ≥ √2 😊 깰", "a\r\nb\t\tc", "x²·y⁻¹ — 1 000", " leading and trailing ", "\n\n", "é\u0301", "\\boxed{½}"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_text_goes_through_the_tokenizer_unharmed(folder, name):
    if not (folder.parent / name).is_dir():
        pytest.skip(f"{name} is not in data/models")
    tokenizer = load_tokenizer(folder.parent / name)
    spell = Speller(tokenizer)
    for text in [*ODD, "".join(ODD)]:
        ids = np.array(plain_ids(tokenizer, text))
        spelled, ends = spell(ids)
        assert spelled == text
        assert ends[-1] == len(text)
        for cut in range(1, len(ids) + 1):  # half of an emoji too: no character is lost or stands twice
            first, second = spell(ids[:cut])[1], ends[cut - 1 :]
            assert first[-1] <= len(text)
            assert (np.diff(second) >= 0).all()
        parts = [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        assert "".join(parts) == text


def test_the_same_seed_gives_the_same_tables_twice(folder, tmp_path, monkeypatch):
    profile = tmp_path / "pair.yml"
    profile.write_text(
        "extends: smoke-real\nname: pair\n"
        "problems: {train: {minigsm: 2}, validation: {minigsm: 1}, test: {minigsm: 1}}\n"
        "sample: {solutions: 2, candidates: 2, max_new_tokens: 24}\nworkers: 1\n"
    )
    tables = []
    for home in (tmp_path / "a", tmp_path / "b"):
        monkeypatch.setenv("ASPRM_HOME", str(home))
        (home / "data/models").mkdir(parents=True)
        (home / "data/models" / folder.name).symlink_to(folder)
        for stage, run_stage in (("sample", run_sample), ("threshold", run_threshold), ("split", run_split)):
            run_stage(open_run(str(profile), stage, quiet=True))
        files = sorted((home / "data/runs/pair").rglob("*.parquet"))
        files = [file for file in files if ".work" not in file.parts]
        assert len(files) >= 6
        tables.append({file.relative_to(home): file.read_bytes() for file in files})
        shutil.rmtree(home / "data/runs")
    assert tables[0] == tables[1]
