"""Training against a plain loop, against itself when killed, and on a task that a PRM must learn."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import POSITIONS, VOCABULARY, some_examples, write_policy
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerFast

from asprm import prm as module
from asprm.prm import examples, settings_of
from asprm.reward import train as training
from asprm.reward import trainer
from asprm.reward.score import load_prm, score
from asprm.reward.train import hold_out, train
from asprm.reward.trainer import Batches, Example, Settings, measure
from asprm.run.artifacts import digest
from asprm.run.open import open_run
from asprm.run.profile import load_profile

SETTINGS = Settings(
    epochs=2, learning_rate=3e-3, batch_tokens=400, warmup=0.2, weight_decay=0.01, evaluations=4, precision="fp32"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_policy(tmp_path_factory.mktemp("base"), initializer_range=0.05)


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_it_learns_what_can_be_learned(base, tmp_path):
    settings = replace(SETTINGS, epochs=12, learning_rate=1e-2, batch_tokens=200)
    history = train(base, some_examples(100), settings, tmp_path / "prm", validation=some_examples(40, seed=1), seed=0)
    assert history["validation_auc"].iloc[-1] > 0.999
    assert history["validation_loss"].iloc[-1] < 0.1
    fresh = some_examples(20, seed=2)
    scores = np.concatenate(score(load_prm(tmp_path / "prm"), fresh))
    labels = np.concatenate([x.labels for x in fresh])
    assert ((scores > 0.5) == labels).mean() > 0.99


@pytest.mark.slow
def test_soft_labels_are_learned_as_probabilities(base, tmp_path):
    data = some_examples(60, label=lambda ids, end: 0.8 if ids[end - 1] % 2 else 0.3)
    train(base, data, replace(SETTINGS, epochs=15, learning_rate=1e-2), tmp_path / "prm", seed=0)
    scores = np.concatenate(score(load_prm(tmp_path / "prm"), data))
    np.testing.assert_allclose(scores, np.concatenate([x.labels for x in data]), atol=0.1)


@pytest.mark.slow
def test_training_is_that_of_a_plain_loop(base, tmp_path):
    """One sequence at a time, no packing, no Trainer: the same losses, the same weights."""
    data = some_examples(24)
    settings = replace(SETTINGS, micro_tokens=100)
    history = train(base, data, settings, tmp_path / "prm", seed=3)

    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=1)
    labels = np.concatenate([x.labels for x in data])
    with torch.no_grad():
        model.score.weight.zero_()
        model.score.bias.fill_(float(np.log(labels.mean() / (1 - labels.mean()))))
    model.dropout.p = 0.0
    plain = [p for p in model.parameters() if p.ndim == 1]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}])
    batches = Batches(data, settings, seed=3)
    total = batches.steps * settings.epochs
    warmup = round(settings.warmup * total)
    step, losses = 0, []
    for epoch in range(settings.epochs):
        batches.set_epoch(epoch)
        parts = list(batches)
        for start in range(0, len(parts), batches.parts):
            batch = [data[i] for part in parts[start : start + batches.parts] for i in part]
            loss = torch.tensor(0.0)
            for x in batch:
                text = torch.from_numpy(np.concatenate([x.prompt, x.ids]).astype(np.int64))
                r = model(text[None]).logits[0, :, 0].sigmoid()
                for end, y in zip(x.ends, x.labels, strict=True):
                    at = r[len(x.prompt) + end - 1]
                    loss = loss - (y * at.log() + (1 - y) * (1 - at).log())
            loss = loss / sum(len(x.ends) for x in batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (step / warmup if step < warmup else cosine)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            step += 1
    assert len(history) == total
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-4)
    found = weights(tmp_path / "prm")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-2, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_training_starts_at_the_base_rate(base, tmp_path):
    data = some_examples(label=lambda ids, end: float(end > 3))
    history = train(base, data, replace(SETTINGS, batch_tokens=10**6, epochs=1), tmp_path / "prm", seed=0)
    rate = np.concatenate([x.labels for x in data]).mean()
    assert history["loss"][0] == pytest.approx(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate), rel=1e-5)


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_micro_batch(base, tmp_path):
    data, validation = some_examples(), some_examples(10, seed=1)
    histories = []
    for tokens in (60, 200, 10**6):
        settings = replace(SETTINGS, micro_tokens=tokens)
        histories.append(train(base, data, settings, tmp_path / str(tokens), validation=validation, seed=0))
    for history in histories[1:]:
        pd.testing.assert_frame_equal(history, histories[0], rtol=1e-3)


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(base, tmp_path):
    data = some_examples(20)
    plain = train(base, data, SETTINGS, tmp_path / "a", seed=0)
    saving = train(base, data, replace(SETTINGS, gradient_checkpointing=True), tmp_path / "b", seed=0)
    pd.testing.assert_frame_equal(saving, plain, rtol=1e-4)


@pytest.mark.slow
def test_bf16_stays_close_to_fp32(base, tmp_path):
    data = some_examples(20)
    fine = train(base, data, SETTINGS, tmp_path / "a", seed=0)
    coarse = train(base, data, replace(SETTINGS, precision="bf16"), tmp_path / "b", seed=0)
    assert not fine["loss"].equals(coarse["loss"])
    np.testing.assert_allclose(coarse["loss"], fine["loss"], rtol=0.02)
    assert weights(tmp_path / "b")["score.weight"].dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "precision"), [(3, "fp32"), (7, "bf16")])
def test_a_killed_training_goes_on_to_the_same_bits(base, tmp_path, monkeypatch, steps, precision):
    data, validation = some_examples(), some_examples(10, seed=1)
    settings = replace(SETTINGS, patience=10, micro_tokens=150, precision=precision)
    whole = train(base, data, settings, tmp_path / "whole", validation=validation, seed=0)
    again = train(base, data, settings, tmp_path / "again", validation=validation, seed=0)
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert len(whole) == 8

    def killed(self, args, state, control, **_):
        if state.global_step == steps:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Log, "on_step_end", killed, raising=False)
        with pytest.raises(KeyboardInterrupt):
            train(base, data, settings, tmp_path / "killed", validation=validation, seed=0, work=tmp_path / "work")
    checkpoints = list((tmp_path / "work").glob("*/checkpoint-*"))
    assert checkpoints
    broken = checkpoints[0].with_name("checkpoint-900")  # was being written when the power went
    broken.mkdir()
    (broken / "trainer_state.json").write_text("{")
    seen = []
    monkeypatch.setattr(training, "log", seen.append)
    resumed = train(base, data, settings, tmp_path / "killed", validation=validation, seed=0, work=tmp_path / "work")
    assert "going on from checkpoint" in seen[0]
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.slow
def test_another_training_does_not_take_up_a_checkpoint(base, tmp_path, monkeypatch):
    data = some_examples(20)
    names = []
    monkeypatch.setattr(training, "_last_checkpoint", lambda place: names.append(place))
    for seed, some in ((0, data), (1, data), (0, data[1:])):
        train(base, some, replace(SETTINGS, epochs=1), tmp_path / "prm", seed=seed)
    assert len(set(names)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["best", "last"])
def test_which_weights_are_kept(base, tmp_path, keep):
    # Labels of chance: what is learned by heart makes the validation worse in the end.
    rng = np.random.default_rng(0)
    data = some_examples(20, label=lambda ids, end: float(rng.random() < 0.5))
    validation = some_examples(10, seed=1, label=lambda ids, end: float(rng.random() < 0.5))
    settings = replace(SETTINGS, epochs=8, learning_rate=1e-2, keep=keep)
    history = train(base, data, settings, tmp_path / "prm", validation=validation, seed=0, about={"domain": "math"})
    losses = history.dropna().set_index("step")["validation_loss"]
    assert losses.idxmin() < losses.index[-1] == len(history)
    about = load_prm(tmp_path / "prm").about
    assert about["kept_step"] == (losses.idxmin() if keep == "best" else len(history))
    assert about["domain"] == "math"
    outputs = [np.log(s / (1 - s)) for s in score(load_prm(tmp_path / "prm"), validation)]
    found = measure(np.concatenate(outputs), np.concatenate([x.labels for x in validation]))
    assert found["loss"] == pytest.approx(losses[about["kept_step"]], rel=1e-4)
    assert about["validation"]["loss"] == losses[about["kept_step"]]


def test_patience_stops_early(base, tmp_path):
    rng = np.random.default_rng(0)
    data = some_examples(20, label=lambda ids, end: float(rng.random() < 0.5))
    validation = some_examples(10, seed=1, label=lambda ids, end: float(rng.random() < 0.5))
    settings = replace(SETTINGS, epochs=20, learning_rate=1e-2, evaluations=20, patience=2)
    history = train(base, data, settings, tmp_path / "prm", validation=validation, seed=0)
    losses = history.dropna()["validation_loss"].to_numpy()
    assert len(losses) == losses.argmin() + 3 < 20


def test_the_folder_is_an_ordinary_model(base, tmp_path):
    data = some_examples(8)
    train(base, data, replace(SETTINGS, epochs=1), tmp_path / "prm", seed=0)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "prm")
    assert model.config.num_labels == 1
    assert model.config._attn_implementation == "sdpa"
    assert model.config.use_cache
    assert model.dropout.p == 0.0
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "prm").get_vocab() == AutoTokenizer.from_pretrained(base).get_vocab()
    )
    about = json.loads((tmp_path / "prm" / "prm.json").read_text())
    assert about["labels"] == sum(len(x.labels) for x in data)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["prm"]


def test_examples_from_tables():
    labels = pa.table(
        {
            "problem": ["b", "b", "a"],
            "solution": pa.array([1, 1, 0], pa.int32()),
            "step": pa.array([1, 0, 0], pa.int32()),
            "end": pa.array([3, 1, 2], pa.int32()),
            "label": pa.array([0.5, 1.0, 0.0], pa.float32()),
        }
    )
    samples = pa.table(
        {
            "problem": ["a", "b", "b"],
            "solution": pa.array([0, 0, 1], pa.int32()),
            "ids": pa.array([[5, 6], [7], [8, 9, 10]], pa.list_(pa.int32())),
        }
    )
    prompts = {"a": np.array([1]), "b": np.array([2, 3])}
    first, second = examples(labels, samples, prompts)
    assert (first.prompt.tolist(), first.ids.tolist()) == ([2, 3], [8, 9, 10])
    assert (first.ends.tolist(), first.labels.tolist()) == ([1, 3], [1.0, 0.5])
    assert (second.ids.tolist(), second.ends.tolist(), second.labels.tolist()) == ([5, 6], [2], [0.0])
    with pytest.raises(ValueError, match="solution 1 of problem 'b' has labels, but is not among the samples"):
        examples(labels, samples.slice(0, 2), prompts)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_whole_problems_are_held_out(share):
    problems = [f"p{i // 3}" for i in range(30)]
    labels = pa.table({"problem": problems, "label": [0.0] * 30})
    learn, watch = hold_out(labels, share, seed=1)
    inside, outside = set(watch["problem"].to_pylist()), set(learn["problem"].to_pylist())
    assert len(inside) == round(10 * share)
    assert not inside & outside
    assert len(watch) + len(learn) == 30
    assert hold_out(labels, share, seed=1)[1].equals(watch)


def test_learning_from_at_most_so_many_steps_takes_whole_solutions():
    solutions = [Example([1], [2] * n, list(range(1, n + 1)), [1.0] * n) for n in (3, 1, 4, 1, 5, 2)]
    some = module._within(solutions, 9, seed=0)
    assert some == module._within(solutions, 9, seed=0)
    assert [s for s in solutions if any(s is x for x in some)] == some  # in their old order
    left = sum(len(x.labels) for x in some)
    assert 9 - 5 < left <= 9
    assert module._within(solutions, 16, seed=0) == module._within(solutions, None, seed=0) == solutions
    with pytest.raises(ValueError, match="most_steps = 17, but there are 16 labelled steps"):
        module._within(solutions, 17, seed=0)


def test_the_profiles_own_settings():
    settings = settings_of(load_profile("tiny").prm)
    assert settings.epochs == load_profile("tiny").prm.epochs
    assert settings.keep == "best"


def one(**changes) -> Example:
    values = {"prompt": [3], "ids": [4, 5], "ends": [1, 2], "labels": [0.0, 1.0]} | changes
    return Example(*(np.array(x) for x in values.values()))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (one(labels=[0.0]), "example 1: 1 labels for 2 step ends"),
        (one(labels=[0.0, 1.5]), "example 1: labels are .*expected numbers in"),
        (one(labels=[0.0, math.nan]), "example 1: labels are .*expected numbers in"),
        (one(ends=[1, 3]), "example 1: ends are"),
        (one(ids=[4] * POSITIONS), "example 1: .*positions"),
    ],
)
def test_a_bad_example_is_named(base, tmp_path, example, message):
    with pytest.raises(ValueError, match=message):
        train(base, [one(), example], SETTINGS, tmp_path / "prm", seed=0)
    assert not (tmp_path / "prm").exists()


def test_nothing_to_learn_from(base, tmp_path):
    with pytest.raises(ValueError, match="no examples"):
        train(base, [], SETTINGS, tmp_path / "prm", seed=0)
    with pytest.raises(ValueError, match="patience needs validation"):
        train(base, [one()], replace(SETTINGS, patience=1), tmp_path / "prm", seed=0)


def test_a_loss_that_is_no_number_is_an_error(tmp_path):
    base = write_policy(tmp_path / "base")
    broken = weights(base)
    broken["model.embed_tokens.weight"][VOCABULARY - 1] = math.nan
    save_file(broken, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FloatingPointError, match="loss of step 1 is nan; lower the learning rate"):
        train(base, [one(ids=[4, VOCABULARY - 1])], SETTINGS, tmp_path / "prm", seed=0)


def test_labels_of_one_kind_only(base, tmp_path):
    history = train(
        base, some_examples(8, label=lambda ids, end: 1.0), replace(SETTINGS, epochs=1), tmp_path / "prm", seed=0
    )
    assert np.isfinite(history["loss"]).all()


# --- what a reward model learns from ----------------------------------------------------------------------------------


def letters():
    """A tokenizer of characters: each letter of the alphabet is its place in it."""
    tokenizer = Tokenizer(BPE({"</s>": 0, **{letter: i for i, letter in enumerate("abcdefgh", 1)}}, []))
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def test_labels_of_another_policy_keep_their_places_in_the_text():
    # The other policy's tokens are "ab", "cd", "e" and its end of text; its steps end after the first and the last.
    samples = pa.table(
        {"problem": ["p"], "solution": pa.array([0], pa.int32()), "ids": pa.array([[7, 8, 9, 2]], pa.list_(pa.int32())),
         "text": ["abcde"], "finished": [True]}
    )  # fmt: skip
    steps = {"problem": ["p"] * 2, "solution": [0] * 2, "step": [0, 1], "end": [1, 4], "char_end": [2, 5]}
    labels = pa.table(steps | {"label": [1.0, 0.0]})
    moved, read = module.carried(labels, samples, letters())
    assert read["ids"].to_pylist() == [[1, 2, 3, 4, 5, 0]]
    assert moved.select(["end", "label"]).to_pylist() == [{"end": 2, "label": 1.0}, {"end": 6, "label": 0.0}]


def test_of_ends_that_fall_together_the_last_label_stays():
    samples = pa.table(
        {"problem": ["p"], "solution": pa.array([0], pa.int32()), "ids": pa.array([[1]], pa.list_(pa.int32())),
         "text": ["ab"], "finished": [False]}
    )  # fmt: skip
    steps = {"problem": ["p"] * 3, "solution": [0] * 3, "step": [0, 1, 2], "end": [1, 2, 3], "char_end": [0, 1, 2]}
    moved, _ = module.carried(pa.table(steps | {"label": [1.0, 0.0, 1.0]}), samples, letters())
    assert moved.select(["end", "label"]).to_pylist() == [{"end": 1, "label": 0.0}, {"end": 2, "label": 1.0}]


def test_the_smoke_study_trains_the_whole_cast(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="prm", quiet=True)
    for name, model in run.profile.reward_models.items():
        for artifact, seed in run.profile.seeds_of(name).items():
            about = json.loads((run.find(f"prm/{artifact}") / "prm.json").read_text())
            assert about["seed"] == seed
            assert about["data"] == list(model.data)
            assert about["settings"]["epochs"] == run.profile.prm.epochs
    assert any(model.seeds > 1 for model in run.profile.reward_models.values())


def test_what_was_trained_is_taken_over_when_its_notebook_is_executed_again(study, tmp_path, monkeypatch):
    for name in ("sample", "rollout", ".work/prm"):
        shutil.copytree(study / "data/runs/smoke" / name, tmp_path / "data/runs/smoke" / name)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setattr(module, "learn", lambda *_: pytest.fail("trained again"))
    run = open_run("smoke", stage="prm", parameters={"policy": "M"}, quiet=True)
    folders = [name for name in module.run_prm(run) if not name.endswith("-log")]
    assert folders == [
        f"prm/{training}" for model in run.profile.trained_on("M") for training in run.profile.seeds_of(model)
    ]
    for folder in folders:
        assert digest(run.path(folder)) == digest(study / "data/runs/smoke" / folder)
    assert run.kept.chunks > 0
    assert run.kept.seconds > 0


def test_equal_tables_have_as_many_solutions_as_the_smallest(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="prm", quiet=True)
    name = next((name for name, model in run.profile.reward_models.items() if model.equal), None)
    if name is None:
        pytest.skip("no reward model of the profile takes equal amounts")
    counts = [labels.group_by(["problem", "solution"]).aggregate([]).num_rows
              for labels in (source.labels for source in module.data_of(run, name))]  # fmt: skip
    assert len(set(counts)) == 1
    assert counts[0] > 0


def test_solutions_of_another_policy_are_read_in_the_tokens_of_the_model_s_own(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    models = load_profile("smoke").reward_models
    name = "L-to-M"
    assert (models[name].base, models[name].data) == ("M", ("L/adaptive",))
    run = open_run("smoke", stage="prm", parameters={"policy": "L", "prm": name}, quiet=True)
    own = AutoTokenizer.from_pretrained(run.policy_path("M"))
    texts = {
        own.decode(x.ids, skip_special_tokens=True) for some in module.train_and_validation(run, name) for x in some
    }
    samples = run.read("sample/L/train", ["text"])["text"].to_pylist()
    assert texts
    assert texts <= set(samples)


def test_kept_weights_that_changed_are_trained_again(study, tmp_path, monkeypatch):
    for name in ("sample", "rollout", ".work/prm"):
        shutil.copytree(study / "data/runs/smoke" / name, tmp_path / "data/runs/smoke" / name)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", stage="prm", parameters={"policy": "M"}, quiet=True)
    weights = next((tmp_path / "data/runs/smoke/.work/prm/M").glob("*/ASPRM-M/model.safetensors"))
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    module.run_prm(run)
    assert digest(run.path("prm/ASPRM-M")) == digest(study / "data/runs/smoke/prm/ASPRM-M")
    assert run.kept.chunks == 0
