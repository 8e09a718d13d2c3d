"""A policy's instruction, system message, template and stop texts are part of its folder."""

import json
from pathlib import Path

import pytest
from small_tokenizers import byte_level_tokenizer
from tiny_models import config
from transformers import AutoModelForCausalLM, AutoTokenizer

from asprm.engines.local import LocalEngine
from asprm.models.prepare import fingerprint, prepared
from asprm.models.prompts import Form, encode_prompts

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ODD = ' “x” √ 😊 깰 {{ x }} {% if %} %} {# c #} \\n \\boxed{} "quoted"\r\n\ttab </s> '


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path / "study"))
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path / "model")
    AutoModelForCausalLM.from_config(config(vocab_size=len(tokenizer))).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def put(folder, *problems) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer.decode(ids) for ids in encode_prompts(tokenizer, problems)]


@pytest.mark.parametrize(
    ("form", "prompt"),
    [
        (Form(instruction="Solve: {problem}!"), "<user>Solve: P!</s><assistant>"),
        (Form(system="Be brief."), "<system>Be brief.</s><user>P</s><assistant>"),
        (Form("{problem} {problem}", ""), "<system></s><user>P P</s><assistant>"),
        (Form(ODD + "{problem}" + ODD, ODD), f"<system>{ODD}</s><user>{ODD}P{ODD}</s><assistant>"),
        (Form(template="Q: {problem}\nA:\n"), "Q: P\nA:\n"),
        (Form(template=ODD + "{problem}" + ODD), f"{ODD}P{ODD}"),
    ],
)
def test_a_problem_is_put_as_the_form_says_by_transformers_too(model, form, prompt):
    folder = prepared(model, form)
    for problem in ("How?", ODD.strip(), "{problem}", "</s>"):
        assert put(folder, problem) == [prompt.replace("P", problem)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    written = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How?"}], tokenize=False, add_generation_prompt=True
    )
    assert written == prompt.replace("P", "How?")


def test_the_folder_links_the_models_own_files_and_is_made_once(model):
    folder = Path(prepared(model, Form(instruction="a {problem}"), ["\n\nQuestion:"]))
    assert (folder / "model.safetensors").resolve() == model / "model.safetensors"
    assert json.loads((folder / "generation_config.json").read_text())["stop_strings"] == ["\n\nQuestion:"]
    assert LocalEngine.load(folder).ends.stops == ("\n\nQuestion:",)
    made = (folder / "chat_template.jinja").stat().st_mtime_ns
    again = Path(prepared(model, Form(instruction="a {problem}"), ["\n\nQuestion:"]))
    assert (again, (again / "chat_template.jinja").stat().st_mtime_ns) == (folder, made)
    assert prepared(model, Form(instruction="b {problem}")) != str(folder)
    (model / "chat_template.jinja").write_text(CHAT.replace("assistant", "model"))
    assert put(prepared(model, Form(instruction="a {problem}"), ["\n\nQuestion:"]), "P") == ["<user>a P</s><model>"]


def test_without_a_form_a_model_stays_as_it_is(model):
    assert prepared(model, Form()) == str(model)
    assert prepared("owner/name@abc", Form()) == "owner/name@abc"
    assert fingerprint(Form(), ()) == ""
    different = [(Form("{problem}"), ()), (Form(template="{problem}"), ()), (Form(), ("x",)), (Form(system=""), ())]
    assert len({fingerprint(*one) for one in different}) == 4


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"instruction": "Solve."}, "expected a text with {problem}"),
        ({"template": ""}, "expected a text with {problem}"),
        ({"template": "{problem}", "system": "x"}, "either the one or the others"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(values, says):
    with pytest.raises(ValueError, match=says):
        Form(**values)


def test_an_instruction_needs_a_chat_template(model):
    (model / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template that could take an instruction"):
        prepared(model, Form(instruction="a {problem}"))
    assert put(prepared(model, Form(template="Q {problem}")), "P") == ["Q P"]
