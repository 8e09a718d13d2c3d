import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from transformers import AutoModelForTokenClassification

from asprm.engines import Request, load_engine
from asprm.guided import TextGuide, against_greedy, by_trigger
from asprm.policy import encode_prompts
from asprm.problems import load
from asprm.published import TokenScorer
from asprm.run import open_run
from asprm.sample import greedy_verdicts
from asprm.score import load_prm
from asprm.tvd import guided_decode


def frame(correct, decisions, trigger=0.5):
    count = len(correct)
    columns = {"problem": [f"p{i}" for i in range(count)], "trigger": trigger, "correct": correct, "tokens": 10}
    return pd.DataFrame({**columns, "decisions": decisions, "changed": 0})


def test_by_trigger_by_hand():
    both = pd.concat([frame([True, False], [1, 2]), frame([True, True], [4, 6], 0.9)])
    found = by_trigger(both, seed=0)
    assert found["trigger"].tolist() == [0.5, 0.9]
    assert found["value"].tolist() == [0.5, 1.0]
    assert found["share"].tolist() == pytest.approx([0.15, 0.5])
    assert (found["low"] <= found["value"]).all()
    assert (found["share_high"] >= found["share"]).all()


def test_against_greedy_counts_discordant_problems():
    guided = frame([True] * 8 + [False] * 2, [1] * 10)
    greedy = {f"p{i}": i in (0, 1, 9) for i in range(10)}
    row = against_greedy(guided, greedy, 0.5, seed=0)
    assert (row["only TVD"], row["only greedy"]) == (6, 1)
    assert row["difference"] == pytest.approx(0.5)
    assert row["p"] == pytest.approx(2 * (1 + 7) / 2**7)  # exact McNemar: at most 1 of 7
    assert row["stepped in"] == pytest.approx(0.1)


def test_the_smoke_study_decodes_every_problem_at_every_trigger(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", quiet=True)
    for name in ("validation", "minigsm", "minimath", "minigsm-p2"):
        decoded = run.read(f"tvd/{run.prm}/M-{name}").to_pandas()  # the first reward model: at every trigger
        problems = set(greedy_verdicts(run, name))
        assert set(decoded["trigger"]) == set(run.settings.triggers)
        assert (decoded.groupby("trigger")["problem"].agg(set) == problems).all()
        assert (decoded["changed"] <= decoded["decisions"]).all()
        assert (decoded["decisions"] <= decoded["tokens"]).all()
    shares = decoded.groupby("trigger")["decisions"].sum() / decoded.groupby("trigger")["tokens"].sum()
    assert np.isfinite(shares).all()


def test_a_rater_of_texts_gives_the_tokens_of_the_prm_with_its_cache(tmp_path):
    """Where both read the same tokens, and re-reading a text gives the same ids, the two ways are one."""
    policy = REPOSITORY / "data" / "policies" / "M"
    engine = load_engine(policy)
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_pretrained(policy, num_labels=1).save_pretrained(tmp_path)
    engine.tokenizer.save_pretrained(tmp_path)
    prm = load_prm(tmp_path)
    problems = load("minigsm", "validation", 24)
    prompts = encode_prompts(engine.tokenizer, problems)
    requests = [Request(ids, len(ids), 0, problem) for ids, problem in zip(prompts, problems, strict=True)]
    options = {"trigger": 0.8, "candidates": 3, "max_new_tokens": 60}

    def decoded(guide):
        return {request.key.id: found for request, found in guided_decode(engine, guide, requests, **options)}

    by_text, by_cache = decoded(TextGuide(TokenScorer(prm), engine.tokenizer)), decoded(prm.model)
    compared = 0
    for problem in problems:
        text, cache = by_text[problem.id], by_cache[problem.id]
        again = engine.tokenizer(engine.tokenizer.decode(cache.ids, skip_special_tokens=True))["input_ids"]
        if again == [i for i in cache.ids.tolist() if i != engine.tokenizer.eos_token_id]:
            assert text.ids.tolist() == cache.ids.tolist()
            np.testing.assert_allclose(text.scores, cache.scores, atol=1e-5)
            compared += len(cache.decisions)
    assert compared > 10


def test_guided_decoding_steps_in_only_where_it_may():
    policy = REPOSITORY / "data" / "policies" / "M"
    engine = load_engine(policy)

    class Worst:
        def rate(self, asked):
            return [np.linspace(0, 1, len(candidates)).astype(np.float32) for _, _, candidates in asked]

    [problem] = load("minigsm", "validation", 1)
    [prompt] = encode_prompts(engine.tokenizer, [problem])
    options = {"trigger": 1.0, "candidates": 3, "max_new_tokens": 30}
    request = Request(prompt, len(prompt), 0, problem)
    [(_, never)] = guided_decode(engine, Worst(), [request], where=lambda ids: False, **options)
    [(_, late)] = guided_decode(engine, Worst(), [request], where=lambda ids: len(ids) >= 5, **options)
    assert len(never.decisions) == 0
    assert late.ids[:5].tolist() == never.ids[:5].tolist()
    assert late.decisions.min() == 5
    assert (late.ids[5:] == late.candidates[:, -1]).all()
