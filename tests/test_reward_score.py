"""Scores against a plain reference: one forward per step, no packing, nothing shared."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import POSITIONS, VOCABULARY, some_texts, write_policy
from transformers import AutoModelForTokenClassification

from asprm.engines.packed import read
from asprm.models.align import carry, same_tokens
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.sets import problem_set
from asprm.reward import score as module
from asprm.reward.published import scorer_for
from asprm.reward.rating import SCHEMA, score_table
from asprm.reward.score import Item, load_prm, score, score_stream
from asprm.run.open import open_run
from asprm.split import split_table


def write_prm(folder, kind="mistral"):
    """A random PRM: a policy's folder with a value head in the language-model head's place."""
    write_policy(folder, kind)
    torch.manual_seed(1)
    AutoModelForTokenClassification.from_pretrained(folder, num_labels=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_prm(tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="module")
def prm(folder):
    return load_prm(folder)


def some_items(count=20, seed=0) -> list[Item]:
    rng = np.random.default_rng(seed)
    items = []
    for text in some_texts(count, seed):
        cut = rng.integers(0, len(text))
        ends = rng.permutation(len(text) - cut)[: rng.integers(1, 6)] + 1  # any order
        items.append(Item(text[:cut], text[cut:], ends.astype(np.int32)))
    return items


@torch.inference_mode()
def plain_scores(folder, items) -> list[np.ndarray]:
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    out = []
    for item in items:
        prefixes = [np.concatenate([item.prompt, item.ids[:end]]).astype(np.int64) for end in item.ends]
        out.append(np.array([float(model(torch.from_numpy(x)[None]).logits[0, -1, 0].sigmoid()) for x in prefixes]))
    return out


@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama"])
@pytest.mark.parametrize("tokens", [1, 60, 2048])
def test_scores_are_those_of_one_forward_per_step(tmp_path, kind, tokens):
    folder = write_prm(tmp_path, kind)
    items = some_items()
    found = score(load_prm(folder), items, tokens=tokens)
    for a, b in zip(found, plain_scores(folder, items), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=2e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.integers(1, 300))
def test_scores_do_not_depend_on_what_is_scored_beside(prm, seed, tokens):
    items = some_items(5, seed)
    together = score(prm, items, tokens=tokens)
    for item, found in zip(items, together, strict=True):
        np.testing.assert_allclose(found, score(prm, [item])[0], atol=2e-6)


def test_what_is_alike_is_read_once(prm, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        module, "read", lambda model, packed, at: sizes.append(packed.ids.numel()) or read(model, packed, at)
    )
    item = some_items()[0]
    later = Item(item.prompt, item.ids, item.ends[:1])
    first, second, third = score(prm, [item, later, item])
    assert 0 <= sum(sizes) - len(item.prompt) - item.ends.max() < 64
    assert np.array_equal(first, third)
    assert len(second) == 1


def test_nothing_is_read_beyond_the_last_position(prm):
    item = Item(np.array([3, 4]), np.arange(5, 30), np.array([4, 2]))
    beyond = Item(item.prompt, np.append(item.ids[:4], 3), item.ends)
    np.testing.assert_array_equal(*score(prm, [item, beyond]))


def test_a_stream_is_pulled_window_by_window(prm, monkeypatch):
    monkeypatch.setattr(module, "_WINDOW", 4)
    pulled = []

    def items():
        for i, item in enumerate(some_items()):
            pulled.append(i)
            yield item

    stream = score_stream(prm, items())
    first = next(stream)
    assert pulled == [0, 1, 2, 3]
    np.testing.assert_allclose(np.concatenate([first, *stream]), np.concatenate(score(prm, some_items())), atol=2e-6)


def test_table(prm):
    prompts = {"a": np.array([5, 6], np.int32), "b": np.array([7], np.int32)}
    samples = pa.table(
        {
            "problem": ["b", "a"],
            "solution": pa.array([0, 3], pa.int32()),
            "ids": pa.array([[8, 9, 10], [11, 12]], pa.list_(pa.int32())),
            "confidences": pa.array([[1.0] * 3, [1.0] * 2], pa.list_(pa.float32())),
            "finished": [True, True],
            "correct": [True, False],
            "answer": ["4", None],
        }
    )
    splits = pa.table(
        {
            "problem": ["b", "a"],
            "solution": pa.array([0, 3], pa.int32()),
            "ends": pa.array([[1, 3], [2]], pa.list_(pa.int32())),
        }
    )
    table = score_table(prm, samples, splits, prompts)
    assert table.schema == SCHEMA
    columns = ["problem", "solution", "finished", "correct", "answer"]
    assert table.drop(["scores"]).to_pylist() == samples.select(columns).to_pylist()
    items = [Item(prompts["b"], np.array([8, 9, 10]), np.array([1, 3])), Item(prompts["a"], np.array([11, 12]), [2])]
    np.testing.assert_allclose(
        np.concatenate(table["scores"].to_pylist()), np.concatenate(score(prm, items)), atol=2e-6
    )
    # A slice of a bigger table is scored as the rows it shows.
    sliced = score_table(prm, samples.slice(1), splits.slice(1), prompts)
    np.testing.assert_allclose(sliced["scores"].to_pylist()[0], table["scores"].to_pylist()[1], atol=2e-6)
    with pytest.raises(ValueError, match="differ in column 'problem'"):
        score_table(prm, samples, splits.take([1, 0]), prompts)


def test_a_score_that_is_no_number_is_an_error(folder):
    broken = load_prm(folder)
    with torch.no_grad():
        broken.model.model.embed_tokens.weight[33] = float("nan")
    items = [
        Item(np.array([3]), np.array([4, 5]), np.array([2])),
        Item(np.array([3]), np.array([33, 5]), np.array([2])),
    ]
    with pytest.raises(ValueError, match=r"item 1 has non-finite scores \[nan\]; check the PRM"):
        score(broken, items)


@pytest.mark.parametrize(
    ("ids", "ends", "message"),
    [
        ([4, 5], [], "ends are \\[\\], expected at least one"),
        ([4, 5], [0, 2], "each in 1 … 2"),
        ([4, 5], [3], "each in 1 … 2"),
        ([4] * POSITIONS, [1], f"the model has {POSITIONS} positions"),
        ([4, VOCABULARY], [2], f"vocabulary of {VOCABULARY}"),
    ],
)
def test_an_item_that_cannot_be_rated_is_named(prm, ids, ends, message):
    good = Item(np.array([3]), np.array([4, 5]), np.array([2]))
    with pytest.raises(ValueError, match=f"item 1: .*{message}"):
        score(prm, [good, Item(np.array([3]), np.array(ids), np.array(ends, int))])


def test_a_folder_without_a_value_head_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lacks weights \['score.bias'"):
        load_prm(write_policy(tmp_path))


def test_scores_at_other_places_are_those_of_a_reading_of_their_own(study, monkeypatch):
    """The study reads a candidate once for all positions; here each position is read alone."""
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="best_of_n", quiet=True)
    prm = load_prm(run.find("prm/ASPRM-M"))
    samples = run.read("sample/M/minigsm")
    problems = problem_set(run.profile, "minigsm")
    prompts = prompts_of(prm.tokenizer, {problem.id: problem.prompt for problem in problems})
    for position, method, options in (
        ("@line", "line", {}),
        ("@random1", "random", {"count": run.profile.split.count}),
    ):
        split = split_table(samples, method, prm.tokenizer, seed=run.seed + 1, **options)
        alone = score_table(prm, samples, split, prompts)
        written = run.read(f"best_of_n/ASPRM-M/M-minigsm{position}")
        assert alone.drop_columns("scores").equals(written.drop_columns("scores"))
        for one, other in zip(alone["scores"].to_pylist(), written["scores"].to_pylist(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_prm_of_other_tokens_is_asked_where_the_same_characters_end(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="best_of_n", quiet=True)
    prm, own = load_prm(run.find("prm/ASPRM-L")), load_tokenizer(run.policy_path("M"))
    assert not same_tokens(prm.tokenizer, own)
    [problem, *_] = problem_set(run.profile, "minigsm")
    rows = run.read("sample/M/minigsm")
    rows = rows.filter(pc.equal(rows["problem"], problem.id))
    split = split_table(rows, "line", own)
    prompts = prompts_of(prm.tokenizer, {problem.id: problem.prompt})
    found = score_table(scorer_for(prm, own), rows, split, {problem.id: problem.prompt})
    for row, cut, scored in zip(rows.to_pylist(), split.to_pylist(), found.to_pylist(), strict=True):
        ids, ends = carry(row["text"], cut["char_ends"], prm.tokenizer, finished=row["finished"])
        [alone] = score(prm, [Item(prompts[problem.id], ids, ends)])
        np.testing.assert_allclose(scored["scores"], alone, atol=1e-5)
        assert len(scored["scores"]) == len(cut["ends"])
