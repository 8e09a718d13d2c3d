import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from transformers import AutoModelForTokenClassification

from asprm.engines.guided import Walk, decode_together, guided_decode
from asprm.engines.load import load_engine
from asprm.engines.protocol import Request
from asprm.models.load import load_tokenizer
from asprm.models.prompts import encode_prompts
from asprm.problems.load import domain_of, load
from asprm.problems.sets import problem_set
from asprm.reward.guides import Guides, TextGuide, TokenGuide
from asprm.reward.published import TokenScorer
from asprm.reward.score import load_prm
from asprm.run.open import open_run
from asprm.sample import greedy_verdicts
from asprm.statistics import HOLM
from asprm.tvd import _decision, against_greedy, by_trigger, overruled, telling_decision, told


def frame(correct, decisions, trigger=0.5):
    count = len(correct)
    columns = {"problem": [f"p{i}" for i in range(count)], "trigger": trigger, "correct": correct, "tokens": 10}
    return pd.DataFrame({**columns, "decisions": decisions, "changed": 0})


def test_by_trigger_by_hand():
    decoded = pd.concat([frame([True, False], [1, 2]), frame([True, True], [4, 6], 0.9)])
    curve = by_trigger(decoded)
    assert curve["trigger"].tolist() == [0.5, 0.9]
    assert curve["value"].tolist() == [0.5, 1.0]
    assert curve["share"].tolist() == pytest.approx([0.15, 0.5])
    assert (curve["low"] <= curve["value"]).all()
    assert (curve["share_high"] >= curve["share"]).all()


def test_overruled_counts_the_changed_decisions_at_one_trigger():
    decoded = pd.concat([frame([True, False], [1, 3]).assign(changed=[0, 1]), frame([True, True], [4, 6], 0.9)])
    assert overruled({"minigsm": decoded}, 0.5).loc["minigsm"].tolist() == [4, 1, 0.25]


def test_against_greedy_counts_discordant_problems():
    guided = frame([True] * 8 + [False] * 2, [1] * 10).assign(changed=1)
    greedy = {f"p{i}": i in (0, 1, 9) for i in range(10)}
    row = against_greedy(guided, greedy, 0.5, seed=0)
    assert (row["only TVD"], row["only greedy"]) == (6, 1)
    assert row["difference"] == pytest.approx(0.5)
    assert row["p"] == pytest.approx(2 * (1 + 7) / 2**7)  # exact McNemar: at most 1 of 7
    assert row["stepped in"] == pytest.approx(0.1)


def test_nothing_is_tested_where_the_reward_model_changes_no_token():
    row = against_greedy(frame([True, False], [3, 1]), {"p0": True, "p1": False}, 0.5, seed=0)
    assert (row["TVD"], row["greedy"], row["difference"]) == (0.5, 0.5, 0)
    assert np.isnan([row["p"], row["low"], row["high"]]).all()


def test_the_smoke_study_decodes_every_problem_at_every_trigger(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", quiet=True)
    for name in ("validation", "minigsm", "minimath", "minigsm-p2"):
        decoded = run.read(f"tvd/{run.prm}/M-{name}").to_pandas()  # the first reward model: at every trigger
        problems = set(greedy_verdicts(run, name))
        assert set(decoded["trigger"]) == set(run.profile.tvd.triggers)
        assert (decoded.groupby("trigger")["problem"].agg(set) == problems).all()
        assert (decoded["changed"] <= decoded["decisions"]).all()
        assert (decoded["decisions"] <= decoded["tokens"]).all()
    shares = decoded.groupby("trigger")["decisions"].sum() / decoded.groupby("trigger")["tokens"].sum()
    assert np.isfinite(shares).all()


def test_a_decision_is_kept_only_where_guided_decoding_wins(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", quiet=True)
    rows = run.read(f"tvd/{run.prm}/M-minigsm").to_pandas()
    rows = rows[rows["trigger"] == run.read_json(f"tvd/{run.prm}/M")["trigger"]]
    greedy = greedy_verdicts(run, "minigsm")
    won = [p for p, right, n in zip(rows["problem"], rows["correct"], rows["changed"], strict=True)
           if right and n and not greedy[p]]  # fmt: skip
    kept = run.read_json(f"tvd/{run.prm}/M-decision")
    assert (kept and kept["problem"]) == (won[0] if won else None)


def test_a_decision_is_what_the_reward_model_saw(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="tvd", quiet=True)
    rows = run.read(f"tvd/{run.prm}/M-minigsm").to_pandas()
    row = rows[rows["changed"] > 0].iloc[0]
    problem = next(p for p in problem_set(run.profile, "minigsm") if p.id == row["problem"])
    found = _decision(run, "minigsm", problem, row["trigger"])
    assert found.written == np.argmax(found.scores)
    assert found.probabilities == sorted(found.probabilities, reverse=True)
    assert found.probabilities[0] < found.trigger
    assert len(found.tokens) == len(found.scores) == run.profile.tvd.candidates
    assert row["correct"] == found.correct
    assert row["text"].startswith(found.before + found.tokens[found.written])


def test_the_decision_that_is_shown_is_the_first_that_guided_decoding_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", stage="tvd", quiet=True)
    ids = [problem.id for problem in problem_set(run.profile, "minigsm")][:4]
    guided = frame([True, False, True, True], [1, 1, 1, 1]).assign(problem=ids, changed=[1, 1, 0, 1])
    run.write(f"tvd/{run.prm}/M-minigsm", guided)
    monkeypatch.setattr("asprm.tvd._decision", lambda run, name, problem, trigger: problem.id)

    def shown(*greedy):
        monkeypatch.setattr("asprm.tvd.greedy_verdicts", lambda run, name: dict(zip(ids, greedy, strict=True)))
        return telling_decision(run, "minigsm", 0.5)

    assert shown(True, False, False, False) == ids[3]  # 0: greedy is right, too; 1: lost; 2: nothing changed
    assert shown(True, True, False, True) is None


@pytest.mark.slow
def test_a_rater_of_texts_gives_the_tokens_of_the_prm_with_its_cache(tmp_path):
    """Where both read the same tokens, and re-reading a text gives the same ids, the two ways are one."""
    policy = REPOSITORY / "data" / "policies" / "M"
    engine = load_engine(policy)
    torch.manual_seed(0)
    AutoModelForTokenClassification.from_pretrained(policy, num_labels=1).save_pretrained(tmp_path)
    engine.tokenizer.save_pretrained(tmp_path)
    prm = load_prm(tmp_path)
    problems = load("minigsm", "validation", 24)
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in problems])
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "family", "foreign", "count"), [("M", "minigsm", "D", 140), ("D", "minicode", "L", 60)]
)
def test_a_prm_of_other_tokens_that_reads_on_gives_what_it_gives_reading_anew(tmp_path, policy, family, foreign, count):
    engine = load_engine(REPOSITORY / "data" / "policies" / policy)
    scorer = TokenScorer(load_prm(reward_model(tmp_path, foreign, 0)))
    scorer.prm.model.score.weight.data.mul_(0.05)  # or scores would be 1, and tie where the outputs do not
    problems = load(family, "validation", count)
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in problems])
    requests = [Request(ids, len(ids), 0, problem) for ids, problem in zip(prompts, problems, strict=True)]
    options = {"trigger": 0.7, "candidates": 4, "max_new_tokens": 90}
    on, anew = (
        {
            request.key.id: found
            for request, found in guided_decode(engine, kind(scorer, engine.tokenizer), requests, **options)
        }
        for kind in (TokenGuide, TextGuide)
    )
    for problem in problems:
        one, other = on[problem.id], anew[problem.id]
        assert one.ids.tolist() == other.ids.tolist()
        assert one.candidates.tolist() == other.candidates.tolist()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert sum(len(one.changed) for one in on.values()) > count // 2


def test_guided_decoding_steps_in_only_where_it_may():
    policy = REPOSITORY / "data" / "policies" / "M"
    engine = load_engine(policy)

    class Worst:
        def rate(self, questions):
            return [np.linspace(0, 1, len(question.candidates)).astype(np.float32) for question in questions]

    [problem] = load("minigsm", "validation", 1)
    [prompt] = encode_prompts(engine.tokenizer, [problem.prompt])
    options = {"trigger": 1.0, "candidates": 3, "max_new_tokens": 30}
    request = Request(prompt, len(prompt), 0, problem)
    [(_, never)] = guided_decode(engine, Worst(), [request], where=lambda ids: False, **options)
    [(_, late)] = guided_decode(engine, Worst(), [request], where=lambda ids: len(ids) >= 5, **options)
    assert len(never.decisions) == 0
    assert late.ids[:5].tolist() == never.ids[:5].tolist()
    assert late.decisions.min() == 5
    assert (late.ids[5:] == late.candidates[:, -1]).all()


def reward_model(folder, source, seed):
    """A reward model on the weights of a shipped policy, with a head drawn at random."""
    path = REPOSITORY / "data" / "policies" / source
    torch.manual_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(path, num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder / f"{source}-{seed}")
    load_tokenizer(path).save_pretrained(folder / f"{source}-{seed}")
    return str(folder / f"{source}-{seed}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "family", "foreign", "fewest"),
    [("M", "minigsm", "D", 100), ("D", "minicode", "M", 20)],
)
def test_walks_taken_together_are_those_taken_alone(tmp_path, policy, family, foreign, fewest):
    """In mathematics 240, in code (where the reward model steps in within the program only) 120 decodings."""
    models = {f"{source}{seed}": (reward_model(tmp_path, source, seed), None) for source, seed in
              ((policy, 0), (policy, 1), (policy, 2), (foreign, 0))}  # fmt: skip
    path = REPOSITORY / "data" / "policies" / policy
    guides = Guides(str(path), "local", models, domain_of(family))
    of = {name: guides.of(name) for name in models}
    assert [isinstance(guide, TokenGuide) for guide in of.values()] == [False, False, False, True]
    problems = load(family, "validation", 12 if policy == "M" else 6)
    prompts = encode_prompts(guides.engine.tokenizer, [problem.prompt for problem in problems])
    requests = [Request(ids, len(ids), 0, problem) for ids, problem in zip(prompts, problems, strict=True)]
    walks = [Walk(name, trigger) for name in of for trigger in (0.4, 0.6, 0.7, 0.8, 0.9)]
    options = {"candidates": 4, "max_new_tokens": 90, "where": guides.where}
    together = {}
    for request, found in decode_together(guides.engine, of, [(one, walks) for one in requests], **options):
        for walk, guided in found.items():
            assert (request, walk) not in together
            together[request, walk] = guided
    changed = 0
    for walk in walks:
        for request, alone in guided_decode(guides.engine, of[walk.guide], requests, trigger=walk.trigger, **options):
            shared = together.pop((request, walk))
            assert shared.ids.tolist() == alone.ids.tolist()
            assert shared.finished == alone.finished
            assert shared.decisions.tolist() == alone.decisions.tolist()
            assert shared.changed.tolist() == alone.changed.tolist()
            assert shared.candidates.tolist() == alone.candidates.tolist()
            for column in ("confidences", "probabilities", "scores"):
                np.testing.assert_allclose(getattr(shared, column), getattr(alone, column), atol=1e-4)
            changed += len(alone.changed)
    assert not together
    assert changed > fewest


@pytest.mark.slow
def test_forks_beyond_the_engines_rows_are_made_all_the_same():
    path = REPOSITORY / "data" / "policies" / "M"
    problems = load("minigsm", "validation", 5)

    class Nth:
        def __init__(self, n):
            self.n = n

        def rate(self, questions):
            return [np.arange(len(question.candidates)) == self.n for question in questions]

    guides = {str(n): Nth(n) for n in range(4)}
    walks = [Walk(name, trigger) for name in guides for trigger in (0.5, 0.9)]
    found = []
    for rows in (1, 64):
        engine = load_engine(path, rows=rows)
        prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in problems])
        requests = [(Request(ids, len(ids), 0, number), walks) for number, ids in enumerate(prompts)]
        decoded = decode_together(engine, guides, requests, candidates=4, max_new_tokens=40)
        found.append({(r.key, walk): guided.ids.tolist() for r, some in decoded for walk, guided in some.items()})
    assert found[0] == found[1]
    assert len(found[0]) == 5 * len(walks)
    assert len({tuple(ids) for (number, _), ids in found[0].items() if number == 0}) > 2


def test_a_walk_by_an_unknown_guide_is_an_error():
    class Never:
        def rate(self, asked):
            raise AssertionError

    engine = load_engine(REPOSITORY / "data" / "policies" / "M")
    request = Request(np.array([1, 2], np.int32), 2, 0)
    with pytest.raises(ValueError, match=r"walks by \['b'\], but the guides are \['a'\]"):
        list(decode_together(engine, {"a": Never()}, [(request, [Walk("b", 0.5)])]))


def test_a_gain_is_explained_only_where_the_test_shows_one():
    row = {"trigger": 0.7, "difference": 0.05, "low": -0.01, "high": 0.11, "p": 0.01, HOLM: 0.02}
    assert "errs systematically" in told(row, "MiniGSM", 0.05)
    assert "by +5.0 points (95 % interval −1.0 to +11.0, p (Holm) = .020)" in told(row, "MiniGSM", 0.05)
    assert "nothing to explain" in told(row | {HOLM: 0.2}, "MiniGSM", 0.05)
    assert "makes it worse" in told(row | {"difference": -0.05}, "MiniGSM", 0.05)
    untested = told(row | {"p": np.nan}, "MiniGSM", 0.05)
    assert untested.endswith("changed no token on MiniGSM: nothing was tested.")
