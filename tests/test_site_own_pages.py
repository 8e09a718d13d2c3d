"""The worked example of the page "Use it on your own solutions" is made by running the commands."""

import re
from types import SimpleNamespace

import pyarrow as pa
import pytest

from asprm import REPOSITORY
from asprm.problems.load import load
from asprm.run.profile import load_profile
from asprm.site.own_pages import _value, own_pages

M = REPOSITORY / "data" / "policies" / "M"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Of a run whose policy wrote true solutions, and whose reward model has learned nothing."""
    from asprm.reward.score import load_classifier

    folder = tmp_path_factory.mktemp("run") / "prm"
    model, _ = load_classifier(M, "float32", "cpu")
    model.save_pretrained(folder)
    for file in M.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_bytes((M / "chat_template.jinja").read_bytes())
    problems = load("minigsm", "test", 3)
    samples = pa.Table.from_pylist(
        [
            {"problem": problem.id, "solution": number, "text": text, "finished": True}
            for problem in problems
            for number, text in enumerate([problem.solution, problem.solution.replace(" + ", " - ")])
        ]
    )
    run = SimpleNamespace(
        profile=load_profile("smoke"),
        source="smoke",
        policy="M",
        domain="math",
        prm="ASPRM-M",
        policy_path=lambda: str(M),
        find=lambda name: folder,
        read=lambda name, columns: samples.select(columns),
        read_json=lambda name: {"trigger": 0.8},
    )
    return own_pages(run)


@pytest.mark.slow
def test_the_page_includes_what_is_made_and_nothing_else(pages):
    page = (REPOSITORY / "book" / "your-own.md").read_text()
    assert set(re.findall(r"generated/(\w+)\.md", page)) == set(pages)


@pytest.mark.slow
def test_commands_are_shown_with_what_they_said_and_added(pages):
    for name, command, added in (
        ("own_split", "$ asprm split --model policy --share 0.03 solutions.jsonl", "char_ends"),
        ("own_label", "$ asprm label", "rollouts"),
        ("own_train", "$ asprm train", "loss"),
        ("own_score", "$ asprm score", "score  "),
        ("own_decode", "$ asprm grade", "correct"),
        ("own_export", "$ asprm export", "completions"),
    ):
        assert command in pages[name]
        assert re.search(rf"^{added}", pages[name], re.MULTILINE)
    assert "tokens (" in pages["own_split"]
    assert "3 right (" in pages["own_decode"]
    assert "\nproblem " not in pages["own_label"]  # only what is new
    assert "Assumed:" in pages["own_plan"]
    assert pages["own_help"].count("Example:") == pages["own_help"].count("{dropdown}") == 14


@pytest.mark.slow
def test_no_path_of_this_machine_is_shown(pages, tmp_path):
    text = "".join(pages.values())
    assert str(REPOSITORY) not in text
    assert str(tmp_path.parent) not in text


def test_long_lists_are_cut_and_say_so():
    assert _value(list(range(9))) == "[0, 1, 2, 3, 4, 5, … 3 more]"
    assert _value([1, 2]) == "[1, 2]"
    assert _value("π") == '"π"'
