"""Models that read the score at a tag, with weights set by hand so that the right score of any text is a formula.

Every token is a vector of its own, queries and keys are zero, so that attention takes the mean of what was read, and
values pass on the tokens that say " good". With a share s of them, the state has length √(1 + s²) before its norm, and
an output that looks for " good" with weight `SHARP` is SHARP · s / √(1 + s²); every other output is zero.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from conftest import REPOSITORY, snakemake
from tiny_models import config, write_policy
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from asprm import generalize
from asprm.best_of_n import run_best_of_n
from asprm.engines.guided import guided_decode
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request
from asprm.models.conventions import CONVENTIONS, convention_of
from asprm.models.load import load_tokenizer
from asprm.plan import estimate as plan
from asprm.plan.machines import Device
from asprm.plan.shapes import shape_of
from asprm.problems.problem import Problem
from asprm.problems.sets import problem_set
from asprm.results import costs
from asprm.results.measures import Measures, NotRun
from asprm.results.paper import Measure
from asprm.results.sweep import sweep
from asprm.reward import published
from asprm.reward.guides import TextGuide, TokenGuide, guide_for
from asprm.reward.published import QwenPRM, StepTagPRM, Text, TokenScorer, load_reward_model, scorer_for
from asprm.reward.rating import SCHEMA, score_table
from asprm.reward.score import load_prm, score
from asprm.run.open import open_run
from asprm.run.sections import ProfileError
from asprm.sample import run_sample
from asprm.split import split_table
from asprm.tvd import run_tvd

M, L = (REPOSITORY / "data" / "policies" / name for name in "ML")

WORDS = ["good", "bad", "so", "how", "many", "?", "+", "-", "ки", "be", "fair"]
SPECIAL = ["<unk>", "<s>", "</s>", "<extra_0>", "<system>", "<user>", "<assistant>", "<end>"]
VOCABULARY = [*SPECIAL, "\n", " ", *WORDS, *(" " + word for word in WORDS)]
SIZE, SHARP = len(VOCABULARY) + 2, 3.0  # axes: the tokens', and the last, to which values carry what is good
CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROBLEM, SOLUTION = "how many ?", "so good good\nbad bad\nso fair"
ENDS = [13, 21, 28]  # its lines


def tokenizer(without=()) -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(VOCABULARY) if word not in without}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r" ки| ?\w+|\n| ?[^\w\s]| "), "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens([word for word in SPECIAL if word in words])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", chat_template=CHAT)


def model(answer: str = " +", head: bool = False):
    """A model whose output for `answer` (or, with a head, for the good class) is SHARP · s / √(1 + s²)."""
    shape = {
        "hidden_size": SIZE,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "head_dim": SIZE,
        "vocab_size": SIZE,
    }
    values = config("qwen2" if head else "llama", num_key_value_heads=1, rms_norm_eps=0.0, **shape)
    made = (QwenPRM if head else AutoModelForCausalLM.from_config)(values)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1 or head:
                parameter.zero_()
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.fill_(1)
        attention = made.model.layers[0].self_attn
        made.model.embed_tokens.weight.copy_(torch.eye(SIZE) * SIZE**0.5)
        for word in ("good", " good"):
            attention.v_proj.weight[SIZE - 1, VOCABULARY.index(word)] = 1
        attention.o_proj.weight.copy_(torch.eye(SIZE))
        if head:
            made.score[0].weight.copy_(torch.eye(SIZE))
            made.score[2].weight[1, SIZE - 1] = SHARP / SIZE**0.5
        else:
            made.lm_head.weight[VOCABULARY.index(answer), SIZE - 1] = SHARP / SIZE**0.5
    return made.eval()


def right(tokens: list[str], over: str) -> float:
    """The right score after these tokens."""
    share = sum(token in ("good", " good") for token in tokens) / len(tokens)
    odds = np.exp(SHARP * share / np.sqrt(1 + share**2))
    return odds / (odds + (SIZE - 1 if over == "vocabulary" else 1))


OPENING = ["how", " many", " ?"]
WRITTEN = {  # what the model should read: a token a word, _ for a space, / for a line break, | after a reading place
    "math-shepherd": "how _many _? _so _good _good _ки| / bad _bad _ки| / so _fair _ки|",
    "asprm": "how _many _? _so _good _good / _ки| _bad _bad / _ки| _so _fair _ки|",
    "er-prm": "how _many _? _so _good _good _ки| bad _bad _ки| so _fair _ки|",
    "rlhflow": "<s> <user> how _many _? _so _good _good <end> <assistant>| + <end> <user> bad _bad <end> "
    "<assistant>| + <end> <user> so _fair <end> <assistant>|",
    "qwen": "<s> <system> _be _fair <end> <user> how _many _? <end> <assistant> so _good _good <extra_0>| "
    "bad _bad <extra_0>| so _fair <extra_0>|",
}
ANSWERS = {"rlhflow": "+", "math-shepherd": "+", "asprm": "+", "er-prm": " +"}


def scorer(name: str) -> StepTagPRM:
    rule = CONVENTIONS[name]
    rule = replace(rule, system=" be fair") if rule.system else rule
    return StepTagPRM(model(ANSWERS.get(name), head=name == "qwen"), tokenizer(), rule)


@pytest.fixture(scope="module", params=CONVENTIONS)
def convention(request):
    return request.param, scorer(request.param)


def test_scores_are_those_that_the_weights_were_made_for(convention):
    name, prm = convention
    words = WRITTEN[name].split()
    places = [i for i, word in enumerate(words) if word.endswith("|")]
    read = [word.removesuffix("|").replace("_", " ").replace("/", "\n") for word in words]
    read = [word.replace("<extra 0>", "<extra_0>") for word in read]
    item = prm.item(Text(PROBLEM, SOLUTION, ENDS))
    assert prm.tokenizer.convert_ids_to_tokens(item.ids[: len(read)]) == read
    assert (item.ends - 1).tolist() == places
    wanted = [right(read[: place + 1], prm.convention.over) for place in places]
    assert len(set(np.round(wanted, 3))) == 3
    [found] = prm.rate([Text(PROBLEM, SOLUTION, ENDS)])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_one_forward_per_solution_gives_what_one_per_step_gives(convention):
    """With random weights, where every token matters; the reference reads a step's own prefix and softmaxes in full."""
    name, prm = convention
    rule = prm.convention
    torch.manual_seed(3)
    shape = {"vocab_size": SIZE, "initializer_range": 0.5}
    if name == "qwen":
        plain = QwenPRM(config("qwen2", **shape)).eval()
    else:
        plain = AutoModelForCausalLM.from_config(config("llama", **shape)).eval()
    head = plain.score if name == "qwen" else plain.lm_head
    answers = [0, 1] if name == "qwen" else [VOCABULARY.index(x) for x in ("-", "+")]
    if name == "er-prm":
        answers = [VOCABULARY.index(x) for x in (" -", " +")]
    random = StepTagPRM(plain, tokenizer(), rule)
    texts = [Text(PROBLEM, SOLUTION, ENDS), Text(PROBLEM, SOLUTION, [2, 7, 7, 28]), Text("so", SOLUTION, [13])]
    for text, found in zip(texts, random.rate(texts), strict=True):
        assert len(found) == len(text.ends)
        for k, end in enumerate(text.ends):
            alone = random.item(Text(text.problem, text.solution[:end], text.ends[: k + 1]))
            ids = torch.from_numpy(alone.ids[: alone.ends[-1]].astype(np.int64))[None]
            with torch.inference_mode():
                outputs = head(plain.base_model(ids).last_hidden_state[0, -1])
            outputs = outputs if rule.over == "vocabulary" else outputs[answers]
            wanted = outputs.softmax(-1)[answers[1] if rule.over == "vocabulary" else 1]
            assert found[k] == pytest.approx(float(wanted), rel=1e-4)


def test_a_tag_that_the_solution_holds_itself_is_text(convention):
    _, prm = convention
    own = prm.convention.tag
    text = Text(PROBLEM, f"so{own} good{own}\nbad", [len(f"so{own} good{own}\n"), len(f"so{own} good{own}\nbad")])
    item = prm.item(text)
    before = prm.convention.read == "before"
    tags = [int(i) for i in np.flatnonzero(item.ids == prm.tag)]
    assert (item.ends - 1 + before).tolist() == tags[-2:]


def test_steps_that_end_within_spaces_or_at_one_place_are_rated():
    prm = scorer("asprm")
    item = prm.item(Text(PROBLEM, "so good  bad", [8, 9, 9, 12]))
    read = [" so", " good", " ки", " ", " ", " ки", " ", " bad", " ки"]
    assert prm.tokenizer.convert_ids_to_tokens(item.ids)[: len(OPENING) + 9] == [*OPENING, *read]
    assert (item.ends - len(OPENING)).tolist() == [3, 6, 6, 9]
    spaced = prm.item(Text(PROBLEM, " so good", [8]))
    assert prm.tokenizer.convert_ids_to_tokens(spaced.ids) == [*OPENING, " so", " good", " ки", " "]


def test_a_solution_that_is_still_empty_is_rated(convention):
    """As guided decoding asks, where the first token may be an end of text."""
    _, prm = convention
    item = prm.item(Text(PROBLEM, "", [0]))
    read = prm.tokenizer.convert_ids_to_tokens(item.ids[: item.ends[0]])
    assert [word for word in read if word in OPENING or word == " "] == OPENING  # and no space before a tag
    assert 0 < next(prm.rate([Text(PROBLEM, "", [0])]))[0] < 1


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("math-shepherd", [" ки"], r"the tag ' ки' is not one token of this tokenizer, which makes \['<unk>'\]"),
        ("qwen", ["<extra_0>"], r"the tag '<extra_0>' is not one token .* makes \['<unk>', .*\] of it"),
        ("asprm", ["-"], "the answer '-' is not one token"),
        ("er-prm", [" +"], r"the answer ' \+' is not one token"),
    ],
)
def test_a_tag_or_answer_that_is_not_one_token_is_refused(name, without, message):
    with pytest.raises(ValueError, match=message):
        StepTagPRM(model(head=name == "qwen"), tokenizer(without), name)


def test_sentence_piece_tokenizers_have_the_tag_that_they_do_not_make_alone():
    pieces = ["<unk>", *"▁ки+-abo", "▁+", "▁-", "▁к", "▁ки", "▁▁", "ки"]
    merges = [("▁", "▁"), ("▁", "+"), ("▁", "-"), ("▁", "к"), ("▁к", "и"), ("к", "и")]
    made = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert len(fast(" ки", add_special_tokens=False)["input_ids"]) == 2
    found = [published._one_token(fast, text, "it") for text in (" ки", "+", "-")]
    assert fast.convert_ids_to_tokens(found) == ["▁ки", "▁+", "▁-"]
    prm = StepTagPRM(AutoModelForCausalLM.from_config(config("llama")), fast, "asprm")
    item = prm.item(Text("a", "bo  ab", [4, 6]))  # two spaces, which would swallow the tag's
    assert fast.convert_ids_to_tokens(item.ids[item.ends - 1]) == ["▁ки", "▁ки"]


@pytest.mark.parametrize(
    ("ends", "message"),
    [([], "text 1: ends are "), ([5, 3], "never falling"), ([99], "from 0 to 28"), ([-1], "from 0 to 28")],
)
def test_a_text_that_cannot_be_rated_is_named(ends, message):
    with pytest.raises(ValueError, match=message):
        list(scorer("asprm").rate([Text(PROBLEM, SOLUTION, ENDS), Text(PROBLEM, SOLUTION, ends)]))


def test_a_tag_within_a_word_of_this_tokenizer_is_refused():
    glued = tokenizer()
    glued.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+ ки|\n| ?\w+"), "isolated")
    with pytest.raises(ValueError, match="text 0: the tokenizer joins the tag ' ки' with the text before it"):
        list(StepTagPRM(model("+"), glued, "asprm").rate([Text(PROBLEM, SOLUTION, ENDS)]))


def test_published_names_know_their_convention_and_others_are_asked_for():
    assert convention_of("peiyi9979/math-shepherd-mistral-7b-prm@refs/pr/1") == "math-shepherd"
    assert convention_of("Lux0926/ASPRM-L") == "asprm"
    assert convention_of("Qwen/Qwen2.5-Math-PRM-7B") == "qwen"
    with pytest.raises(ValueError, match="no convention is known for a/b; say which: math-shepherd, asprm, "):
        convention_of("a/b")
    with pytest.raises(ValueError, match="no convention is called 'sheperd'; there are math-shepherd, "):
        StepTagPRM(model(), tokenizer(), "sheperd")


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [("math-shepherd", "qwen", "is a llama model; this convention's head"), ("qwen", "er-prm", "lacks weights")],
)
def test_folders_load_with_their_heads_and_give_the_same_scores(tmp_path, monkeypatch, name, other, message):
    model(ANSWERS.get(name), head=name == "qwen").save_pretrained(tmp_path)
    monkeypatch.setattr(published, "load_tokenizer", lambda path: tokenizer())  # transformers would make Qwen's own
    loaded = StepTagPRM.load(tmp_path, scorer(name).convention, device="cpu")
    text = Text(PROBLEM, SOLUTION, ENDS)
    np.testing.assert_allclose(next(loaded.rate([text])), next(scorer(name).rate([text])), rtol=1e-6)
    with pytest.raises(ValueError, match=message):
        StepTagPRM.load(tmp_path, other, device="cpu")


def test_a_prm_without_tags_is_a_scorer_too(tmp_path):
    write_policy(tmp_path, vocab_size=SIZE)
    torch.manual_seed(1)
    AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=1).save_pretrained(tmp_path)
    own = tokenizer()
    own.chat_template = "{{ messages[0]['content'] + '\n' }}"
    own.save_pretrained(tmp_path)
    prm = load_prm(tmp_path, device="cpu")
    texts = [Text(PROBLEM, SOLUTION, ENDS), Text(PROBLEM, SOLUTION, [1, 5, 28])]
    items = [TokenScorer(prm).item(text) for text in texts]
    assert own.convert_ids_to_tokens(items[0].prompt) == ["how", " many", " ?", "\n"]
    assert own.convert_ids_to_tokens(items[0].ids[items[0].ends - 1]) == ["\n", "\n", " fair"]
    assert own.convert_ids_to_tokens(items[1].ids[items[1].ends - 1]) == ["so", " good", " fair"]  # within a token: it
    for a, b in zip(TokenScorer(prm).rate(texts), score(prm, items), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="text 0: ends are "):
        list(TokenScorer(prm).rate([Text(PROBLEM, SOLUTION, [99])]))

    # At the end of a text that came to its end the end of text is seen; of none at all, the problem alone.
    own.eos_token = "</s>"
    own.save_pretrained(tmp_path)
    scorer = TokenScorer(load_prm(tmp_path, device="cpu"))
    ended = scorer.item(Text(PROBLEM, SOLUTION, ENDS, finished=True))
    assert own.convert_ids_to_tokens(ended.ids[ended.ends - 1]) == ["\n", "\n", "</s>"]
    empty = [scorer.item(Text(PROBLEM, "", [0], finished)) for finished in (False, True)]
    assert [own.convert_ids_to_tokens(x.tokens)[3:] for x in empty] == [["\n"], ["\n", "</s>"]]
    assert [len(x.prompt) + x.ends[0] for x in empty] == [4, 5]

    # Rated at their ends alone, all are read as they are one by one.
    texts = [
        Text(problem, SOLUTION[:end], [end], finished)
        for problem in (PROBLEM, "how good ?")
        for end in range(len(SOLUTION))
        for finished in (False, True)
    ]
    for text, ids in zip(texts, scorer.whole(texts), strict=True):
        np.testing.assert_array_equal(ids, scorer.item(text).tokens)
        assert ids.dtype == np.int32


def test_a_reward_model_is_loaded_by_its_kind_and_read_as_its_tokens_ask(tmp_path, monkeypatch):
    model("+").save_pretrained(tmp_path / "tagged")
    tokenizer().save_pretrained(tmp_path / "tagged")
    write_policy(tmp_path / "own")
    AutoModelForTokenClassification.from_pretrained(tmp_path / "own", num_labels=1).save_pretrained(tmp_path / "own")
    own, tagged = load_reward_model(tmp_path / "own"), load_reward_model(tmp_path / "tagged", "asprm")
    assert isinstance(tagged, StepTagPRM)
    assert scorer_for(tagged, own.tokenizer) is tagged
    assert scorer_for(own, own.tokenizer) is own
    foreign = scorer_for(own, tagged.tokenizer, "{problem}")
    assert isinstance(foreign, TokenScorer)
    assert foreign.item(Text("7", "8", [1])).prompt.tolist() == own.tokenizer("7")["input_ids"]
    with pytest.raises(ValueError, match="has no chat template; say how a problem is put to it"):
        scorer_for(own, tagged.tokenizer)
    monkeypatch.setattr(published, "convention_of", lambda path: "asprm")
    assert load_reward_model(tmp_path / "tagged").convention is CONVENTIONS["asprm"]


def test_a_prm_that_lacks_tokens_of_the_policy_guides_it_by_what_they_spell(tmp_path):
    words = tokenizer()
    write_policy(tmp_path, vocab_size=SIZE)
    AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=1).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    prm = load_prm(tmp_path)
    for size, by_text in ((SIZE, False), (SIZE + 3, True)):
        engine = LocalEngine(AutoModelForCausalLM.from_config(config("llama", vocab_size=size)), words)
        assert isinstance(guide_for(prm, engine), TokenGuide) == by_text


def test_best_of_n_takes_a_scorer(convention):
    _, prm = convention
    samples = pa.table(
        {
            "problem": ["a", "b"],
            "solution": [0, 0],
            "text": [SOLUTION, "so bad"],
            "finished": [True, True],
            "correct": [True, False],
            "answer": ["", ""],
        }
    )
    splits = pa.table({"problem": ["a", "b"], "solution": [0, 0], "char_ends": [ENDS, [2, 6]]})
    table = score_table(prm, samples, splits, {"a": PROBLEM, "b": "many ?"})
    wanted = list(prm.rate([Text(PROBLEM, SOLUTION, ENDS), Text("many ?", "so bad", [2, 6])]))
    assert table.schema == SCHEMA
    np.testing.assert_array_equal(np.concatenate(table["scores"].to_pylist()), np.concatenate(wanted))


def test_guided_decoding_takes_a_scorer(convention):
    """Each decision by itself: the token written is the one that makes the text of the highest score."""
    _, prm = convention
    torch.manual_seed(5)
    words = tokenizer()
    policy = AutoModelForCausalLM.from_config(config("llama", vocab_size=len(VOCABULARY), initializer_range=0.5))
    problems = [Problem(str(i), "math", text) for i, text in enumerate((PROBLEM, "so many bad ?", "how fair"))]
    ids = [np.asarray(words(problem.prompt)["input_ids"], np.int32) for problem in problems]
    requests = [Request(one, len(one), 0, problem) for one, problem in zip(ids, problems, strict=True)]
    options = {"trigger": 0.6, "candidates": 6, "max_new_tokens": 6}
    seen = changed = 0
    for request, guided in guided_decode(LocalEngine(policy, words), TextGuide(prm, words), requests, **options):
        for at, candidates, scores in zip(guided.decisions, guided.candidates, guided.scores, strict=True):
            texts = [words.decode([*guided.ids[:at], one], skip_special_tokens=True) for one in candidates]
            wanted = [next(prm.rate([Text(request.key.prompt, text, [len(text)])]))[0] for text in texts]
            np.testing.assert_allclose(scores, wanted, rtol=1e-5)
            assert guided.ids[at] == candidates[np.argmax(scores)]
            seen, changed = seen + 1, changed + (guided.ids[at] != candidates[0])
    assert seen > 5
    assert changed > 0


# In a run


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """`run_of(stage)` of a profile whose reward models are published ones: M's weights, scored at a tag; L's, by a head
    of their own. M's solutions are sampled, and a threshold is set.
    """
    home = tmp_path_factory.mktemp("home")
    words, weights = (kind.from_pretrained(M) for kind in (AutoTokenizer, AutoModelForCausalLM))
    words.add_tokens(" ки")
    weights.resize_token_embeddings(len(words))
    torch.manual_seed(0)
    headed = AutoModelForTokenClassification.from_pretrained(L, num_labels=1)
    for part in (words, weights):
        part.save_pretrained(home / "tagged")
    for part in (AutoTokenizer.from_pretrained(L), headed):
        part.save_pretrained(home / "headed")
    few = {"minigsm": 2}
    asked = {"M": ["tagged", "headed"], "L": [], "D": []}
    values = {
        "extends": "smoke",
        "name": "theirs",
        "workers": 1,
        "problems": {"train": few, "validation": few, "test": few},
        "sample": {"solutions": 2, "candidates": 2, "max_new_tokens": 120},
        "reward_models": {
            "tagged": {"published": "tagged", "convention": "math-shepherd"},
            "headed": {"published": str(home / "headed"), "steps": "adaptive"},
        },
        "best_of_n": {"n": [1, 2], "score": asked},
        "tvd": {"triggers": [0.9], "candidates": 3, "guide": asked},
    }
    (home / "theirs.yml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASPRM_HOME", str(home))

        def opened(stage, **parameters):
            return open_run(str(home / "theirs.yml"), stage, parameters, quiet=True)

        run_sample(opened("sample"))
        opened("threshold").write_json("threshold/M", {"tau": 0.5, "sweep": []})
        yield opened


@pytest.mark.slow
def test_published_reward_models_rate_and_guide_in_a_run(run_of):
    rating = run_of("best_of_n")
    assert run_best_of_n(rating) == [
        "best_of_n/tagged/M-validation",  # whose chapter compares aggregates
        "best_of_n/tagged/M-minigsm",
        "best_of_n/headed/M-minigsm",
    ]
    samples, problems = rating.read("sample/M/minigsm"), problem_set(rating.profile, "minigsm")
    texts = {problem.id: problem.prompt for problem in problems}
    kinds = {"tagged": (StepTagPRM.load(rating.root / "tagged", "math-shepherd"), "line")}
    kinds["headed"] = TokenScorer(load_prm(rating.root / "headed")), "adaptive"
    for prm, (scorer, method) in kinds.items():
        cut = split_table(samples, method, load_tokenizer(M), tau=0.5)
        alone, written = score_table(scorer, samples, cut, texts), rating.read(f"best_of_n/{prm}/M-minigsm")
        assert alone.drop_columns("scores").equals(written.drop_columns("scores"))
        for one, other in zip(alone["scores"].to_pylist(), written["scores"].to_pylist(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert {"tagged", str(rating.root / "headed")} <= set(rating.inputs)

    guiding = run_of("tvd")
    assert {"tvd/tagged/M-minigsm", "tvd/headed/M-minigsm"} <= set(run_tvd(guiding))
    assert [guiding.read_json(f"tvd/{prm}/M")["trigger"] for prm in kinds] == [0.9, 0.9]
    for prm in kinds:
        decoded = guiding.read(f"tvd/{prm}/M-minigsm").to_pandas()
        assert set(decoded["problem"]) == set(texts)
        assert decoded["decisions"].sum() > 0

    found = generalize.results(run_of("generalize"))
    assert list(found["prm"]) == ["tagged", "headed"]
    assert set(found["position"]) == {generalize.OWN}
    assert found["tvd"].between(0, 1).all()
    assert not len(sweep(run_of("generalize"), found, "M"))
    measured = Measures(run_of("claims")).outcomes(Measure(kind="bon", policy="M", prm="tagged", set="minigsm"))
    assert measured.values.shape == (1, 2)


def test_published_reward_models_are_neither_trained_nor_paid_for(run_of, monkeypatch):
    claims = run_of("claims")
    assert costs.made(claims) == []
    with pytest.raises(NotRun, match="tagged is published"):
        costs.label_costs(claims, "tagged")
    with pytest.raises(ProfileError, match="prm: 'tagged' is published, so it is not trained here"):
        run_of("prm", prm="tagged")
    monkeypatch.chdir(claims.root)
    planned = plan._Stages(claims.profile, {"M": shape_of(str(M))}, Device("cpu"))
    names = {"M by tagged", "M by headed"}
    assert {(row.stage, row.name) for row in planned.uses("M")} == {(x, y) for x in ("best_of_n", "tvd") for y in names}
    assert not {"tagged", "headed"} & set(planned.models)


@pytest.mark.slow
def test_the_workflow_waits_for_no_published_reward_model(run_of):
    root = run_of("claims").root
    done = snakemake("--config", f"profile={root / 'theirs.yml'}", "--dry-run", "--quiet", "host", home=root)
    assert done.returncode == 0, done.stdout
    assert "prm/ASPRM-M.digest" in done.stdout
    assert "prm/tagged" not in done.stdout
