"""The cost model against arithmetic by hand, real weights, counted FLOPs, and the tokens of a finished run."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import config, write_policy
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from asprm import REPOSITORY
from asprm.plan import estimate as plan
from asprm.plan.estimate import expected_rollouts, make_plan
from asprm.plan.lengths import LENGTHS, Lengths, lengths_of
from asprm.plan.machines import ROWS, Device, learning_of
from asprm.plan.shapes import Shape, shape_of
from asprm.plan.tokens import of_rivals
from asprm.run.profile import load_profile, packaged_profiles
from asprm.run.sections import RewardModel

TOY = Shape(layers=2, hidden=8, heads=2, kv_heads=1, head=4, feed_forward=16, vocabulary=10)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A study without runs, so that no length is measured unless a test makes a run."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))


def test_a_small_shape_by_hand():
    # Per layer: queries 8·8, keys and values 8·4 each, output 8·8, feed-forward 3·8·16.
    assert TOY.matrices == 2 * (64 + 32 + 32 + 64 + 384) == 1152
    assert TOY.parameters == 1152 + 5 * 8 + 2 * 80
    assert TOY.forward(context=3) == 2 * 1152 + 4 * 2 * 8 * 3 + 2 * 80
    assert TOY.forward(context=3, head=False) == 2 * 1152 + 192
    assert TOY.cache(number=2) == 2 * 2 * 4 * 2  # keys and values, layers, one head of four, two bytes


@pytest.mark.parametrize("kind", ["mistral", "llama", "qwen2"])
def test_parameters_and_flops_are_those_of_a_real_model(kind, tmp_path):
    model = AutoModelForCausalLM.from_config(config(kind), attn_implementation="eager")
    model.save_pretrained(tmp_path)
    shape, tokens = shape_of(str(tmp_path)), 24
    biases = sum(x.numel() for name, x in model.named_parameters() if name.endswith("bias"))
    assert shape.parameters + biases == sum(x.numel() for x in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, tokens, dtype=torch.long))
    # The counter takes every token to see the whole text.
    assert counter.get_total_flops() == tokens * shape.forward(tokens)


def test_policy_m_has_its_shape():
    weights = AutoModelForCausalLM.from_pretrained(REPOSITORY / "data/policies/M")
    assert shape_of("data/policies/M").parameters == sum(x.numel() for x in weights.parameters())


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("meta-math/MetaMath-Mistral-7B", 7.24),
        ("meta-llama/Llama-3.1-8B", 8.03),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", 0.494),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.1345),
        ("deepseek-ai/deepseek-coder-6.7b-base", 6.74),
    ],
)
def test_published_shapes_have_their_published_sizes(name, billions):
    assert shape_of(name).parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="known: deepseek"):
        shape_of("nobody/knows-13b")
    with pytest.raises(ValueError, match="did you mean 'h100'"):
        make_plan("smoke", "h10")
    with pytest.raises(ValueError, match="did you mean 'gsm8k'"):
        lengths_of("gsm8", "nowhere")


def test_early_stopping_by_hand():
    assert expected_rollouts(8, 0.7, early=False) == 8
    assert expected_rollouts(1, 0.5) == 1
    # p ~ Beta(1/2, 1/2): E(1-p) = 1/2, E(1-p)² = 3/8; waves 1, 1, 2.
    assert expected_rollouts(4, 0.5) == pytest.approx(1 + 1 / 2 + 2 * 3 / 8)
    assert expected_rollouts(3, 0.5) == pytest.approx(1 + 1 / 2 + 1 * 3 / 8)  # the last wave is cut


def test_early_stopping_is_the_mean_of_drawn_chances():
    beta = torch.distributions.Beta(0.7, 0.3)
    torch.manual_seed(0)
    wrong = 1 - beta.sample((200_000,)).double()
    mean = (1 + wrong + 2 * wrong**2 + 4 * wrong**4).mean()
    assert expected_rollouts(8, 0.7) == pytest.approx(float(mean), rel=0.01)


def toy_plan(monkeypatch, **changes):
    """One policy, one family: 10 training, 4 validation, 6 test problems of 20 tokens with solutions of 50."""
    p = load_profile("smoke")
    counts = {"train": {"gsm8k": 10}, "validation": {"gsm8k": 4}, "test": {"gsm8k": 6}}
    sections = {
        "policies": {"M": p.policies["M"]},
        "problems": p.problems.model_copy(update=counts),
        "sample": p.sample.model_copy(update={"solutions": 5, "candidates": 3, "max_new_tokens": 100}),
        "threshold": p.threshold.model_copy(update={"share": 0.1}),
        "rollout": p.rollout.model_copy(update={"solutions": 2, "rollouts": 4, "estimate": "hard"}),
        "prm": p.prm.model_copy(update={"epochs": 3}),
        "tvd": p.tvd.model_copy(update={"triggers": (0.5, 0.9), "candidates": 4}),
    }
    only = {"M": ("ASPRM-M",)}
    sections["reward_models"] = {"ASPRM-M": p.reward_models["ASPRM-M"]}
    sections["best_of_n"] = p.best_of_n.model_copy(update={"score": only})
    sections["tvd"] = sections["tvd"].model_copy(update={"guide": only})
    monkeypatch.setitem(LENGTHS, "gsm8k", Lengths("math", 20, 50, "by hand"))
    monkeypatch.setattr(plan, "shape_of", lambda path, recipe=None: TOY)
    monkeypatch.setattr(plan, "SOLVED", {"math": 0.5, "code": 0.5})
    made = make_plan(p.model_copy(update=sections | changes), "h100")
    return {row.stage: row for row in made.rows if row.name.startswith(("M", "ASPRM-M"))}, made


def test_tokens_of_every_stage_by_hand(monkeypatch):
    rows, _ = toy_plan(monkeypatch)
    assert rows["sample"].generated == 10 * 5 * 50 + (4 + 6) * (3 + 1) * 50
    assert rows["sample"].read == 20 * 20
    # 0.1 · 49 inner steps in each of 20 solutions, 1 + 1/2 + 3/4 continuations of 25 tokens.
    assert rows["rollout"].generated == pytest.approx(20 * 4.9 * 2.25 * 25)
    assert rows["rollout"].read == 20 * 70
    assert rows["prm"].trained % (20 * 70 * 3) == 0  # for every seed
    assert rows["best_of_n"].read == (10 + 6 + 6) * (20 + 3 * 50)  # three trainings; the first reads validation, too
    written = (4 * 2 + 6 * 2) * 50
    assert rows["tvd"].generated == written
    assert rows["tvd"].read == pytest.approx(2 * 20 * 20 + written + 0.04 * 4 * written)


def test_tokens_of_the_rivals_by_hand():
    tokens = of_rivals(load_profile("smoke"), *[Lengths("math", 20, 50, "by hand")] * 2)
    # 24 solutions with 0.03 · 49 ends of each of five kinds, two rollouts of 25 tokens; and four after 100 tokens.
    rollouts = (24 * 5 * 0.03 * 49 * 2 + 100 * 4) * 25
    # Six problems: greedy and guided decoding, two beams with and without five times the rows, and 1, 2 and 4 samples.
    written = 6 * (2 + 2 * 5 + 7) * 50
    assert tokens.generated == pytest.approx(rollouts + written)
    assert tokens.read == pytest.approx(24 * 70 + 10 * 2 * 6 * (20 + 4 * 50) + written)
    assert tokens.trained == 24 * 70 * 9


def test_the_rivals_are_planned_where_their_chapter_is_made():
    assert [row.name for row in make_plan("smoke").rows if row.stage == "rivals"] == ["M"]
    assert not [row for row in make_plan("paper").rows if row.stage == "rivals"]


def test_every_training_of_a_reward_model_scores(monkeypatch):
    model = load_profile("smoke").reward_models["ASPRM-M"]
    for seeds, problems, name in ((1, 10, "M by ASPRM-M"), (2, 10 + 6, "M by ASPRM-M ×2")):  # validation: the first
        more = {"ASPRM-M": model.model_copy(update={"seeds": seeds})}
        rows, _ = toy_plan(monkeypatch, reward_models=more)
        assert rows["best_of_n"].read == problems * (20 + 3 * 50)
        assert rows["best_of_n"].name == name


def test_a_mixture_takes_as_much_of_each_table_as_the_smallest_has(monkeypatch):
    p = load_profile("smoke")
    stages = plan._Stages(p, dict.fromkeys(("M", "D"), TOY), Device("h100"))
    lengths = {"M": Lengths("math", 10, 20, ""), "D": Lengths("code", 30, 40, "")}
    counts = {"M": 6, "D": 2}
    monkeypatch.setattr(stages, "sets", lambda policy, _, each: [plan._Batch(counts[policy], lengths[policy], each)])
    each, epochs = min(p.rollout.solutions, p.sample.solutions), p.prm.epochs
    for equal, texts in ((False, 6 * 30 + 2 * 70), (True, 2 * 30 + 2 * 70)):
        stages.models = {"M+C": RewardModel(base="M", data=("M/adaptive", "D/adaptive"), seeds=3, equal=equal)}
        assert stages.prm("M+C").trained == pytest.approx(each * epochs * 3 * texts)


def test_arithmetic_time_and_memory_by_hand(monkeypatch):
    rows, made = toy_plan(monkeypatch)
    flops = rows["prm"].trained * 3 * (2 * 1152 + 4 * 2 * 8 * 35)
    assert rows["prm"].flops == pytest.approx(flops)
    assert rows["prm"].hours == pytest.approx(flops / (989e12 * 0.4) / 3600)
    assert rows["prm"].memory_gb == pytest.approx((16 * TOY.parameters + 34 * 16384 * 8 * 2) / 1e9)
    # The weights of a toy are nothing; 256 rows' caches are moved at every step.
    generated, context = 4500, (2500 * 45 + 2000 * 45) / 4500
    step = (TOY.parameters * 2 + 256 * context * 32) / (3.35e12 * 0.6)
    reading = 400 * TOY.forward(context / 2, head=False) / (989e12 * 0.5)
    assert rows["sample"].hours == pytest.approx((generated / 256 * step + reading) / 3600)
    assert made.total().flops == pytest.approx(sum(row.flops for row in made.rows))


def test_adapters_and_last_layers_cost_what_learns(monkeypatch):
    p = load_profile("smoke")
    plain, _ = toy_plan(monkeypatch)
    forward = plain["prm"].flops / 3  # the backward pass costs two
    activations = 34 * 16384 * 8
    for rank, layers, back, weights in (
        (None, 1, 2 / 2, TOY.matrices / 2),
        (4, None, 2 / 2, 2 * 4 * TOY.ends_of_matrices),
        (4, 1, 1 / 2, 4 * TOY.ends_of_matrices),
    ):
        settings = p.prm.model_copy(update={"epochs": 3, "rank": rank, "layers": layers})
        rows, made = toy_plan(monkeypatch, prm=settings)
        row = rows["prm"]
        assert row.trained == plain["prm"].trained
        assert row.flops == pytest.approx((1 + back) * forward)
        held = TOY.parameters + (weights if rank else 0)
        memory = 4 * held + 12 * weights + activations * (layers or 2)
        assert row.memory_gb == pytest.approx(memory / 1e9)
        seeds = p.reward_models["ASPRM-M"].seeds
        saved = weights if rank else TOY.parameters
        assert row.disk_gb == pytest.approx((4 * saved * seeds + 12 * weights) / 1e9)
        assert ("adapters of rank 4" in made.text()) == bool(rank)
        assert ("the last 1 layers" in made.text()) == bool(layers)


def test_the_weights_of_adapters_are_those_that_peft_makes(tmp_path):
    pytest.importorskip("peft")
    from asprm.reward.adapters import adapted
    from asprm.reward.score import load_classifier

    folder = write_policy(tmp_path, "qwen2", num_hidden_layers=3)
    model, _ = load_classifier(folder, "float32", "cpu")
    learning = adapted(model, 4, 2, seed=0)
    made = sum(x.numel() for name, x in learning.named_parameters() if "lora_" in name)
    assert learning_of(shape_of(str(folder)), rank=4, layers=2).weights == made


def test_solutions_of_a_run_replace_what_is_assumed_of_their_length(monkeypatch, tmp_path):
    assumed, _ = toy_plan(monkeypatch)
    table = tmp_path / "data" / "runs" / "smoke" / "sample" / "M" / "train.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.table({"ids": [[1] * 20, [1] * 40], "count": [3, 1]}), table)
    rows, made = toy_plan(monkeypatch)  # gsm8k alone is trained on
    assert rows["sample"].generated == assumed["sample"].generated / 50 * 25
    assert rows["sample"].read == assumed["sample"].read
    assert "solutions of 25 (solutions: measured, 4 of run smoke; prompts: by hand)" in made.text()
    pq.write_table(pa.table({"ids": [[1] * 10], "count": [1]}), table.with_name("gsm8k.parquet"))
    rows, _ = toy_plan(monkeypatch)  # the test set's own table goes first
    assert rows["sample"].generated == assumed["sample"].generated / 50 * 10


def test_a_model_too_large_for_one_device_takes_several():
    device = Device("h100")
    memory = device.training_memory(shape_of("mistralai/Mistral-7B-v0.1"))
    assert 16 * 7.24e9 < memory < 16 * 7.24e9 + 10e9  # activations are made again
    assert device.rows(TOY, 100) == 256
    assert device.rows(shape_of("deepseek-coder-6.7b"), 4000) == int((72e9 - 2 * 6.74e9) / (4000 * 2 * 32 * 4096 * 2))


@pytest.mark.parametrize("name", packaged_profiles())
def test_every_profile_has_a_plan_that_says_what_it_assumes(name):
    made = make_plan(name)
    assert {"sample", "rollout", "prm", "best_of_n", "tvd"} <= {row.stage for row in made.rows}
    assert all(row.flops > 0 and row.hours > 0 for row in made.rows)
    text = made.text()
    assert f"{ROWS} texts" in text
    assert all(policy in text for policy in load_profile(name).policies)


@pytest.mark.parametrize("name", ["smoke", "tiny"])
def test_the_plan_is_near_the_tokens_of_a_finished_run(name):
    """Half to twice the real numbers: solutions are longer where a policy errs, and problems are few."""
    run = REPOSITORY / "data" / "runs" / name
    manifest = run / "sample" / "M" / "train.manifest.json"
    table = run / "sample" / "M" / "train.parquet"
    if not table.exists():
        pytest.skip(f"no finished run of profile {name}: PROFILE={name} make study")
    p = load_profile(name)
    if json.loads(manifest.read_text())["settings"]["sample"] != p.sample.model_dump(mode="json"):
        pytest.skip(f"the run of profile {name} is of other settings than the profile's")
    rows = pq.read_table(table, columns=["ids", "count"]).to_pylist()
    real = sum(row["count"] * len(row["ids"]) for row in rows)
    stages = plan._Stages(p, {"M": shape_of("data/policies/M")}, Device("cpu"))
    planned = sum(b.solutions * b.lengths.solution for b in stages.sets("M", "train", p.sample.solutions))
    assert 0.5 < planned / real < 2
    rollout = run / "rollout" / "M" / f"{p.split.method}.parquet"
    if rollout.exists():
        table = pq.read_table(rollout, columns=["tokens"])
        assert 0.3 < stages.rollout("M", p.split.method).generated / sum(table["tokens"].to_pylist()) < 3
