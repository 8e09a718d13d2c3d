"""The stage: what it writes for a policy of each domain, and the table of the paper that it is held against."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import REPOSITORY

from asprm.models.load import load_tokenizer
from asprm.run.open import open_run
from asprm.token_types import code, mathematics
from asprm.tokens import examples, paper_table, read_solutions, role_table, run_tokens, tagger_name

TEXTS = {
    "M": "Anna has 12 + 5 = 17 apples.\nThe answer is: 17",
    "D": "```python\n# Add both\ndef add(a, b):\n    return a + b\n```",
}


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """A run of the stage for a policy whose samples are two equal solutions; the first token is a decision token."""
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))

    def opened(policy):
        ids = load_tokenizer(str(REPOSITORY / "data/policies" / policy))(TEXTS[policy])["input_ids"]
        confidences = np.array([0.1] + [1.0] * (len(ids) - 1), np.float32)
        samples = {"problem": ["p", "q"], "ids": [ids] * 2, "confidences": [confidences] * 2}
        parameters = {"policy": policy, "tagger": "textblob"} if policy == "M" else {"policy": policy}
        open_run("smoke", "sample", {"policy": policy}, quiet=True).write(f"sample/{policy}/train", pa.table(samples))
        threshold = open_run("smoke", "threshold", {"policy": policy}, quiet=True)
        threshold.write_json(f"threshold/{policy}", {"tau": 0.5})
        return open_run("smoke", "tokens", parameters, quiet=True)

    return opened


def test_solutions_are_spelled(run_of):
    solutions = read_solutions(run_of("M"))
    assert solutions.texts == [TEXTS["M"]] * 2
    assert all(ends[-1] == len(TEXTS["M"]) for ends in solutions.char_ends)
    assert solutions.problems == ["p", "q"]
    assert solutions.tau == 0.5


def test_mathematics_has_a_table_of_types(run_of):
    run = run_of("M")
    assert run_tokens(run) == ["tokens/M"]
    types = run.read("tokens/M").to_pandas()
    assert types["type"].tolist() == list(mathematics.TYPES)
    solutions = read_solutions(run)
    assert types["tokens"].sum() == sum(map(len, solutions.confidences))
    assert types["decision_tokens"].sum() == 2
    roles = role_table(run, solutions).set_index("role")
    assert roles.loc["operation", "tokens"] == 2
    assert tagger_name(run) == "TextBlob PatternTagger"
    shown = examples(run, solutions)
    assert shown["type"].tolist() == types.loc[types["decision_tokens"] > 0, "type"].tolist()


def test_programs_have_a_table_of_places_too(run_of):
    run = run_of("D")
    assert run_tokens(run) == ["tokens/D", "tokens/D-place"]
    assert run.read("tokens/D")["type"].to_pylist() == list(code.OF_CODE)
    solutions = read_solutions(run)
    places = role_table(run, solutions)
    assert places["place"].tolist() == list(code.PLACES[:2])
    assert places["lines"].tolist() == [4, 2]
    assert examples(run, solutions)["type"].tolist() == ["Prose"]


@pytest.mark.parametrize(
    ("policy", "domain", "table"),
    [("M", "math", 7), ("L", "math", 8), ("D", "code", 9), ("another", "math", 7), ("another", "code", 9)],
)
def test_a_policy_is_held_against_its_own_table_or_the_first_of_its_domain(policy, domain, table):
    assert paper_table(policy, domain) == table
