"""What is wrong with a model's folder is said in one line that names the file and the remedy."""

import json
import os

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY, config, write_policy
from tokenizers import Tokenizer, models
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from asprm.engines.rescore import load_reader
from asprm.models.load import load_tokenizer
from asprm.reward.score import Item, load_prm, score


def cut(folder, name, size):
    file = folder / name
    file.write_bytes(file.read_bytes()[: int(size * file.stat().st_size)])


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def without_shards(folder):
    named = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(named))
    (folder / "model.safetensors").unlink()


def with_tokens(folder, count, **special):
    words = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY + count)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="2", **special).save_pretrained(folder)


def with_config(folder, **values):
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | values))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_tokenizer, "has no tokenizer (tokenizer.json); copy it from the model that this one was made from"),
        (lambda folder: cut(folder, "model.safetensors", 0.5), "model.safetensors is damaged or cut off"),
        (lambda folder: cut(folder, "model.safetensors", 0), "model.safetensors is damaged or cut off"),
        (lambda folder: (folder / "model.safetensors").write_bytes(os.urandom(999)), "model.safetensors is damaged"),
        (lambda folder: cut(folder, "tokenizer.json", 0.5), "tokenizer.json is damaged"),
        (lambda folder: cut(folder, "tokenizer_config.json", 0.5), "tokenizer_config.json is damaged"),
        (lambda folder: cut(folder, "config.json", 0.5), "config.json is damaged"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json; expected a Hugging Face model folder"),
        (without_shards, "lacks model-00001-of-00002.safetensors, which its index names"),
        (lambda folder: with_tokens(folder, 20), "the tokenizer has 84 tokens, the model 64; expected the tokenizer"),
        (lambda folder: with_config(folder, hidden_size=64), "has shape [64, 32], but [64, 64] by config.json"),
        (lambda folder: with_config(folder, vocab_size=70), "has shape [64, 32], but [70, 32] by config.json"),
        (lambda folder: with_config(folder, tie_word_embeddings=False), "lacks weights ['lm_head.weight']; expected"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(tmp_path, damage, words):
    folder = write_policy(tmp_path)
    damage(folder)
    with pytest.raises((ValueError, OSError)) as caught:
        load_reader(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_padding_token_that_the_model_does_not_know_is_never_read(tmp_path):
    folder = write_policy(tmp_path)
    with_tokens(folder, 1, pad_token=str(VOCABULARY))
    assert len(load_tokenizer(folder)) == VOCABULARY + 1


def rewarding(folder, labels):
    write_policy(folder)
    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_config(config(num_labels=labels)).eval()
    model.save_pretrained(folder)
    return model


def test_a_reward_model_with_two_labels_scores_the_probability_of_the_second(tmp_path):
    model = rewarding(tmp_path, 2)
    ids = np.array([5, 9, 12, 30, 7], np.int32)
    [scores] = score(load_prm(tmp_path, device="cpu", dtype="float32"), [Item(ids[:2], ids[2:], np.array([1, 3]))])
    with torch.inference_mode():
        wanted = model(torch.tensor(ids[None].astype(np.int64))).logits[0].softmax(-1)[[2, 4], 1]
    np.testing.assert_allclose(scores, wanted.numpy(), atol=1e-5)


def test_a_reward_model_with_three_labels_is_refused(tmp_path):
    rewarding(tmp_path, 3)
    with pytest.raises(ValueError, match=r"has \{3\} outputs per token; expected one, or two \(wrong and right\)"):
        load_prm(tmp_path)
