r"""A prompt begins with one beginning-of-text token wherever sampling's prompts do, whatever writes it.

| the tokenizer adds one | the chat template writes it | --template          | the prompt begins with |
|------------------------|-----------------------------|---------------------|------------------------|
| no                     | yes                         | Q: {problem}        | one                    |
| no                     | yes                         | <s>Q: {problem}     | one                    |
| yes                    | yes or no                   | Q: {problem}        | one                    |
| yes                    | yes or no                   | <s>Q: {problem}     | one                    |
| no                     | no                          | Q: {problem}        | none                   |
| no                     | no                          | <s>Q: {problem}     | one                    |
"""

import pytest
from small_tokenizers import byte_level_tokenizer
from tokenizers.processors import TemplateProcessing

from asprm.models.prompts import PromptEncoder, encode_prompts

CHATS = {
    True: "{{ bos_token }}{{ messages[0]['content'] | trim }}!",
    False: "{{ messages[0]['content'] }}!",
    None: None,
    "odd": "{{ raise_exception('a system message first') }}",
}


def tokenizer_that(adds, chat, end=False):
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    if adds or end:
        single = ("<s> " if adds else "") + "$A" + (" </s>" if end else "")
        ids = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=ids)
    tokenizer.chat_template = CHATS[chat]
    return tokenizer


@pytest.mark.parametrize("template", ["Q: {problem}", "<s>Q: {problem}"])
@pytest.mark.parametrize(
    ("adds", "chat"),
    [(False, True), (True, True), (True, False), (True, None), (False, False), (False, None), (True, "odd")],
)
def test_a_template_begins_with_one_beginning_of_text_as_in_sampling(adds, chat, template):
    tokenizer = tokenizer_that(adds, chat)
    ids = PromptEncoder(tokenizer, template=template)("How?").tolist()
    begins = adds or chat is True or template.startswith("<s>")
    assert tokenizer.decode(ids) == ("<s>" if begins else "") + "Q: How?"
    assert ids.count(tokenizer.bos_token_id) == begins


def test_a_prompt_has_no_end_of_text_though_the_tokenizer_adds_one():
    tokenizer = tokenizer_that(True, None, end=True)
    assert tokenizer.decode(PromptEncoder(tokenizer, template="Q: {problem}")("How?")) == "<s>Q: How?"
    tokenizer = tokenizer_that(False, None, end=True)
    assert tokenizer.decode(PromptEncoder(tokenizer, template="Q: {problem}")("How?")) == "Q: How?"


def test_chats_are_as_in_sampling_and_hold_the_problem_as_plain_text():
    tokenizer = tokenizer_that(True, True)
    for problem in ("How?", " a</s>b <s>", "</s>"):
        [sampled] = encode_prompts(tokenizer, [problem])
        assert PromptEncoder(tokenizer)(problem).tolist() == sampled.tolist()
        assert tokenizer.decode(sampled) == f"<s>{problem.strip()}!"
        special = [i for i in sampled.tolist() if i in tokenizer.all_special_ids]
        assert special == [tokenizer.bos_token_id]
