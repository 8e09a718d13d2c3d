"""The command line on policy M's own solutions of a few MiniGSM problems: each command reads what another wrote."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from asprm import REPOSITORY
from asprm.cli import app
from asprm.engines.vllm import installed
from asprm.problems.load import load

M = str(REPOSITORY / "data" / "policies" / "M")
COMMANDS = "sample look split label train score decode grade export plan runs diff view".split()
SMALL = ["--max-new-tokens", "120"]


def asprm(*arguments, rows=None, status=0):
    """The rows that a command writes, and its standard error; it reads `rows` from a pipe."""
    given = None if rows is None else "".join(json.dumps(row) + "\n" for row in rows)
    result = CliRunner().invoke(app, [str(x) for x in arguments], input=given)
    assert result.exit_code == status, result.output + repr(result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.fixture(scope="module")
def samples():
    """Three solutions by M of each of four problems, as rows, and what the engine recorded while it sampled them."""
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Request, Sampling
    from asprm.models.prompts import encode_prompts

    problems = load("minigsm", "train", 4)
    engine = load_engine(M)
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in problems])
    requests = [Request(ids, len(ids), 7 * i + j, i) for i, ids in enumerate(prompts) for j in range(3)]
    completions = engine.generate(requests, Sampling(max_new_tokens=120))
    rows = [
        {
            "id": number,
            "problem": problems[request.key].prompt,
            "answer": problems[request.key].answer,
            "solution": engine.tokenizer.decode(completion.ids, skip_special_tokens=True),
            "finished": completion.finished,
        }
        for number, (request, completion) in enumerate(zip(requests, completions, strict=True))
    ]
    return rows, completions


@pytest.fixture(scope="module")
def steps(samples):
    return asprm("split", "--model", M, "--share", "0.04", rows=samples[0])


@pytest.fixture(scope="module")
def labelled(steps):
    return asprm("label", "--model", M, "--rollouts", "2", *SMALL, rows=steps[0])[0]


@pytest.fixture(scope="module")
def prm(labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "prm"
    options = ["--epochs", "2", "--learning-rate", "1e-3", "--batch-tokens", "600", "--validation", "0.25"]
    history, _ = asprm("train", "--base", M, "--prm", folder, *options, rows=labelled)
    return folder, history


@pytest.mark.slow
def test_sampled_solutions_are_those_of_the_engine_and_split_as_they_were_written():
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Request, Sampling, request_seed
    from asprm.models.prompts import encode_prompts

    problems = [{"problem": p.prompt, "answer": p.answer} for p in load("minigsm", "test", 3)]
    options = ["--model", M, "--temperature", "0.9", "--seed", "5", *SMALL]
    rows, _ = asprm("sample", *options, "-n", "2", rows=problems)
    assert [(row["problem"], row["answer"]) for row in rows[::2]] == [tuple(p.values()) for p in problems]
    assert [row["sample"] for row in rows] == [1, 2] * 3

    engine = load_engine(M)
    prompts = encode_prompts(engine.tokenizer, [p["problem"] for p in problems])
    requests = [
        Request(ids, len(ids), request_seed(5, p["problem"], j))
        for p, ids in zip(problems, prompts, strict=True)
        for j in range(2)
    ]
    for row, completion in zip(rows, engine.generate(requests, Sampling(0.9, max_new_tokens=120)), strict=True):
        assert row["ids"] == completion.ids.tolist()
        assert row["confidences"] == pytest.approx(completion.confidences.tolist(), abs=1e-6)
        assert row["finished"] == completion.finished
        assert row["solution"] == engine.tokenizer.decode(completion.ids, skip_special_tokens=True)
        assert (row["token_ends"][-1], len(row["token_ends"])) == (len(row["solution"]), len(row["ids"]))
    alone, _ = asprm("sample", *options, "-n", "1", rows=problems[2:])  # other rows and numbers change nothing
    assert alone == rows[4:5]

    split, said = asprm("split", "--model", M, "--tau", "0.5", rows=rows)
    assert "replaced" not in said
    for row, sampled in zip(split, rows, strict=True):
        assert {name: row[name] for name in ("ids", "token_ends", "sample")} == {
            name: sampled[name] for name in ("ids", "token_ends", "sample")
        }
        np.testing.assert_allclose(row["confidences"], sampled["confidences"], atol=1e-4)


def shown(*arguments, rows, status=0):
    result = CliRunner().invoke(app, ["look", *arguments], input="".join(json.dumps(row) + "\n" for row in rows))
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def test_look_shows_the_lines_that_are_asked_for():
    rows = [{"problem": f"p{i}", "solution": f"s{i}"} for i in (1, 2, 3)]
    first = "line 1\nproblem: p1\n\n  s1\n"
    assert shown(rows=rows) == (first, "")
    assert shown("--line", "3", "--line", "1", rows=rows)[0] == f"{first}\n{first.replace('1', '3')}"
    assert shown("--line", "1", "--line", "4", rows=rows, status=2)[1] == (
        "asprm look: --line 4: there is no such row in standard input\n"
    )
    out, said = shown(rows=[{"problem": "p"}], status=1)
    assert (out, said.splitlines()[-1]) == ("", "asprm look: 1 of 1 rows failed")


def test_split_finds_the_tokens_with_low_confidence_when_sampled(samples, steps):
    rows, said = steps
    tau = rows[0]["tau"]
    below = total = 0
    for row, given, sampled in zip(rows, *samples, strict=True):
        assert row | given == row  # the fields that came stay
        assert row["ids"] == sampled.ids.tolist()
        np.testing.assert_allclose(row["confidences"], sampled.confidences, atol=1e-4)
        assert "".join(row["steps"]) == row["solution"]
        assert np.cumsum([len(step) for step in row["steps"]]).tolist() == row["char_ends"]
        assert [row["token_ends"][end - 1] for end in row["ends"]] == row["char_ends"]
        inner = np.flatnonzero(np.float32(row["confidences"]) < np.float32(tau)) + 1
        assert row["ends"] == sorted({*inner.tolist(), len(row["ids"])})
        below, total = below + len(inner), total + len(row["ids"])
    assert 0 < below / total <= 0.04
    assert f"tau {tau} (95 %" in said
    assert f"{below} of {total} tokens" in said


def test_a_threshold_that_is_given_cuts_as_the_one_that_was_fitted(samples, steps):
    rows, said = asprm("split", "--model", M, "--tau", steps[0][0]["tau"], rows=samples[0])
    assert rows == steps[0]
    assert "tau" not in said


@pytest.mark.slow
def test_labels_are_the_shares_of_right_continuations(steps, labelled):
    for before, row in zip(steps[0], labelled, strict=True):
        assert row | before == row
        count = len(row["ends"])
        assert [len(row[name]) for name in ("labels", "right", "rollouts")] == [count] * 3
        assert row["labels"] == [float(right > 0) for right in row["right"]]
        assert (row["right"][-1], row["rollouts"][-1]) == (int(row["correct"]), 1)
        assert row["rollouts"][:-1] == [1 if right else 2 for right in row["right"][:-1]]
    assert {label for row in labelled for label in row["labels"]} == {0.0, 1.0}


@pytest.mark.slow
def test_soft_labels_agree_with_hard_ones_and_do_not_depend_on_the_rows_beside(steps, labelled):
    some = [5, 2]
    soft, _ = asprm("label", "--model", M, "--rollouts", "2", "--estimate", "soft", *SMALL,
                    rows=[steps[0][i] for i in some])  # fmt: skip
    for row, i in zip(soft, some, strict=True):
        assert [label > 0 for label in row["labels"]] == [label > 0 for label in labelled[i]["labels"]]
        assert row["labels"] == [right / ran for right, ran in zip(row["right"], row["rollouts"], strict=True)]


@pytest.mark.slow
def test_train_writes_a_reward_model_and_its_history(prm):
    folder, history = prm
    assert [row["step"] for row in history] == list(range(1, len(history) + 1))
    assert history[-1]["validation_loss"] > 0
    about = json.loads((folder / "prm.json").read_text())
    assert about["steps"] == len(history)


@pytest.mark.slow
def test_scores_are_those_of_the_package(steps, prm):
    from asprm.reward.score import Item, load_prm, score
    from asprm.rows.texts import Encoder

    rows, _ = asprm("score", "--prm", prm[0], rows=steps[0])
    rater = load_prm(prm[0])
    prompts = [Encoder(rater.tokenizer).prompt(row) for row in rows]
    for row, prompt in zip(rows, prompts, strict=True):
        [alone] = score(rater, [Item(prompt, np.array(row["ids"]), np.array(row["ends"]))])
        np.testing.assert_allclose(row["scores"], alone, atol=1e-5)
        assert row["score"] == pytest.approx(min(row["scores"]))
    means, _ = asprm("score", "--prm", prm[0], "--aggregate", "mean", rows=steps[0][:1])
    assert means[0]["score"] == pytest.approx(np.mean(rows[0]["scores"]))


@pytest.mark.slow
def test_decoded_problems_are_graded_and_split_again(prm):
    problems = [{"problem": p.prompt, "answer": p.answer} for p in load("minigsm", "test", 4)]
    options = ["--model", M, "--prm", prm[0], *SMALL]
    solved, _ = asprm("decode", *options, "--trigger", "0.9", "--candidates", "3", rows=problems)
    greedy, _ = asprm("decode", *options, "--trigger", "0", rows=problems)
    assert [row["problem"] for row in solved] == [row["problem"] for row in problems]
    assert sum(row["decisions"] for row in solved) > 0
    for one, other in zip(solved, greedy, strict=True):
        assert (other["decisions"], other["changed"]) == (0, [])
        start = one["changed"][0] if one["changed"] else None
        assert one["solution"][:start] == other["solution"][:start]  # greedy up to the first change
    graded, said = asprm("grade", rows=solved)
    assert f"{sum(row['correct'] for row in graded)} of 4 right" in said
    again, _ = asprm("split", "--model", M, "--tau", "0.5", rows=graded)
    assert [len(row["ids"]) for row in again] == [row["tokens"] for row in solved]


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Reward models that do not read M's tokens, and how they are asked for: L's with a head; M's, scored at a tag."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

    torch.manual_seed(0)
    foreign, tagged = (tmp_path_factory.mktemp(name) for name in ("foreign", "tagged"))
    policy = REPOSITORY / "data" / "policies" / "L"
    AutoModelForTokenClassification.from_pretrained(policy, num_labels=1).save_pretrained(foreign)
    AutoTokenizer.from_pretrained(policy).save_pretrained(foreign)
    tokenizer, model = AutoTokenizer.from_pretrained(M), AutoModelForCausalLM.from_pretrained(M)
    tokenizer.add_tokens(" ки")
    model.resize_token_embeddings(len(tokenizer))
    for part in (tokenizer, model):
        part.save_pretrained(tagged)
    return {"foreign": (str(foreign), None), "tagged": (str(tagged), "math-shepherd")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["foreign", "tagged"])
def test_reward_models_of_other_tokens_guide_and_score(others, steps, kind):
    from asprm.engines.guided import guided_decode
    from asprm.engines.load import load_engine
    from asprm.engines.protocol import Request
    from asprm.models.prompts import encode_prompts
    from asprm.reward.guides import TextGuide
    from asprm.reward.published import StepTagPRM, Text, TokenScorer
    from asprm.reward.score import load_prm

    path, convention = others[kind]
    scorer = StepTagPRM.load(path, convention) if convention else TokenScorer(load_prm(path))
    options = ["--prm", path, *(["--convention", convention] if convention else [])]
    problems = load("minigsm", "test", 4)
    solved, _ = asprm("decode", "--model", M, *options, "--trigger", "0.9", "--candidates", "3", *SMALL,
                      rows=[{"problem": problem.prompt} for problem in problems])  # fmt: skip
    engine = load_engine(M)
    prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in problems])
    requests = [Request(ids, len(ids), 0, problem) for ids, problem in zip(prompts, problems, strict=True)]
    limits = {"trigger": 0.9, "candidates": 3, "max_new_tokens": 120}
    guided = guided_decode(engine, TextGuide(scorer, engine.tokenizer), requests, **limits)
    texts = {request.key.prompt: engine.tokenizer.decode(x.ids, skip_special_tokens=True) for request, x in guided}
    assert {row["problem"]: row["solution"] for row in solved} == texts
    assert sum(row["decisions"] for row in solved) > 0
    assert any(row["changed"] for row in solved)

    rows, _ = asprm("score", *options, rows=steps[0])
    asked = [Text(row["problem"], row["solution"], row["char_ends"], row["finished"]) for row in steps[0]]
    for row, scores in zip(rows, scorer.rate(asked), strict=True):
        count = len(set(row["char_ends"]))  # a step that ends with the text may end before or after its end of text
        np.testing.assert_allclose(row["scores"][: count - 1], scores[: count - 1], atol=1e-5)
        assert row["scores"][-1] == pytest.approx(scores[-1], abs=1e-5)


@pytest.mark.slow
def test_a_tag_that_the_reward_model_lacks_is_refused(steps):
    for command in (["score"], ["decode", "--model", M]):
        _, said = asprm(*command, "--prm", M, "--convention", "math-shepherd", rows=steps[0], status=2)
        assert "the tag ' ки' is not one token" in said
    _, said = asprm("decode", "--model", M, "--prm", M, "--convention", "sheperd", rows=steps[0], status=2)
    assert "no convention is called 'sheperd'; there are math-shepherd, " in said


@pytest.mark.skipif(installed(), reason="vllm is installed here")
def test_an_engine_that_is_not_installed_is_named_in_one_line():
    _, said = asprm("label", "--model", M, "--engine", "vllm", rows=[], status=2)
    assert said.count("\n") == 1
    assert "vllm is not installed; install it (pip install 'asprm[vllm]')" in said


@pytest.mark.slow
def test_exports(labelled):
    rows, _ = asprm("export", "--to", "trl", rows=labelled)
    assert [(row["completions"], row["labels"]) for row in rows] == [
        (row["steps"], [label > 0 for label in row["labels"]]) for row in labelled
    ]
    rows, _ = asprm("export", "--to", "prm800k", rows=labelled)
    assert [len(row["label"]["steps"]) for row in rows] == [len(row["steps"]) for row in labelled]


@pytest.mark.slow
def test_a_view_is_a_page_of_what_split_wrote(steps, tmp_path):
    source, target = tmp_path / "steps.jsonl", tmp_path / "steps.html"
    rows = [row | {"correct": number % 2 == 0} for number, row in enumerate(steps[0])]
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"problem": "?"}]))
    _, said = asprm("view", source, "-o", target, "--title", "My <solutions>", status=1)
    assert f"line {len(rows) + 1}: no field 'token_ends'" in said
    html = target.read_text(encoding="utf-8")
    assert "<h1>My &lt;solutions&gt;</h1>" in html
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    assert (data["tau"], data["rollouts"], data["single"]) == (rows[0]["tau"], 8, False)
    for row, shown in zip(rows, data["solutions"], strict=True):
        assert "".join(shown["tokens"]) == row["solution"]
        assert shown["confidences"] == row["confidences"]
        assert shown["correct"] == row["correct"]
    _, said = asprm("view", source, "-o", source, status=2)
    assert "is the file that is read" in said


def test_rows_that_fail_do_not_stop_the_rest(samples, steps):
    rows = [samples[0][0], {"problem": "no solution"}, {"problem": "x", "solution": "1 " * 1200}, samples[0][1]]
    found, said = asprm("split", "--model", M, "--tau", steps[0][0]["tau"], rows=rows, status=1)
    assert [row["id"] for row in found] == [0, 1]
    assert "line 2: no field 'solution'" in said
    assert "line 3: it has 1205 tokens with its prompt, the model reads 1024" in said
    assert said.splitlines()[-1] == "asprm split: 2 of 4 rows failed"
    found, said = asprm("split", "--model", M, "--tau", "0.5", "--strict", rows=rows, status=1)
    assert "line 2: no field 'solution'" in said
    assert "line 3" not in said
    labelled, said = asprm("label", "--model", M, *SMALL, rows=[steps[0][0], samples[0][0]], status=1)
    assert len(labelled) == 1
    assert "line 2: no field 'char_ends'" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split", "--model", M, "--tau", "0.5", "--share", "0.02"], "--share and --tau: expected one of them"),
        (["split", "--model", M, "--tau", "2"], "--tau 2.0: expected a probability"),
        (["split", "--model", M, "--share", "2"], "share is 2"),
        (["split", "--model", M, "nowhere.jsonl"], "nowhere.jsonl: no such file; expected a file of JSON Lines"),
        (["grade", "--rename", "question"], "expected THEIRS=OURS"),
        (["train", "--base", M, "--prm", str(REPOSITORY)], "already exists; expected a new folder"),
        (["plan", "--profile", "tinny"], "did you mean 'tiny'"),
        (["sample", "--model", M, "--temperature", "0"], "would be equal; add --solutions 1"),
        (["split", "--model", M, "--device", "gpu"], "--device gpu: this machine has no such device; expected cpu"),
    ],
)
def test_an_error_is_a_short_message_without_traceback(arguments, words, samples):
    _, said = asprm(*arguments, rows=samples[0], status=2)
    assert words in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 2


@pytest.mark.slow
def test_a_model_without_a_template_is_given_one(tmp_path, samples):
    import shutil

    shutil.copytree(M, tmp_path / "M")
    (tmp_path / "M" / "chat_template.jinja").unlink()
    options = ["split", "--model", tmp_path / "M", "--tau", "0.5"]
    _, said = asprm(*options, rows=samples[0], status=2)
    assert "--template" in said
    found, _ = asprm(*options, "--template", "<s>{problem}\\n", rows=samples[0][:1])
    known, _ = asprm("split", "--model", M, "--tau", "0.5", rows=samples[0][:1])
    assert found[0] == known[0] | {"template": "<s>{problem}\n"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_says_every_default(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    options = re.split(r"\n  (?=-)", result.stdout.partition("Options:")[2])[1:]
    shown = [" ".join(option.split()) for option in options if "--help" not in option]
    assert [option for option in shown if "[default: " not in option and "[required]" not in option] == []
    assert f"Example: asprm {command}" in result.stdout or f"| asprm {command}" in result.stdout
    assert {"Adds:", "Writes:"} & set(result.stdout.split())


@pytest.mark.slow
def test_pipes_between_processes(samples):
    """`asprm … | asprm …` between real processes: rows go through pipes, counts and bars to standard error."""
    asprm_ = [sys.executable, "-m", "asprm"]
    rows = "".join(json.dumps(row) + "\n" for row in [*samples[0], {"problem": "?"}]).encode()
    first = subprocess.Popen([*asprm_, "grade", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
    second = subprocess.Popen(
        [*asprm_, "grade"], stdin=first.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    )
    first.stdout.close()
    first.stdin.write(rows)
    first.stdin.close()
    out, said = second.communicate(timeout=120)
    assert len(out.splitlines()) == len(samples[0])
    assert b"right (" in said
    assert (first.wait(), second.returncode) == (1, 0)


@pytest.mark.slow
def test_help_comes_without_the_heavy_libraries():
    program = (
        "import sys; from asprm.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not {"torch", "transformers", "pandas", "pyarrow", "scipy"} & set(result.stdout.split())
