"""Steps: they give the solution back, they end where the policy hesitates, they read the authors' marks."""

from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import real_rows
from small_tokenizers import byte_level_tokenizer

from asprm import split

TEXT = "Zoë has 12 + 5 = 17 €.\nSo 17 − 4 = 13.\nThe answer is: 13 🍎"


@pytest.fixture(scope="module")
def byte_level():
    return byte_level_tokenizer()


confidences = st.lists(st.sampled_from([0.1, 0.3, 0.6, 0.9, 1.0]), min_size=1, max_size=60).map(np.float32)


@given(confidences, st.sampled_from([0.05, 0.3, 0.6, 2.0]))
def test_adaptive_steps_end_at_low_confidence_and_nowhere_else(conf, tau):
    ends = split.adaptive(conf, tau)
    ids = np.arange(len(conf))
    assert np.concatenate(split.cut(ids, ends)).tolist() == ids.tolist()  # id for id
    assert all(conf[end - 1] < tau for end in ends[:-1])
    assert {i + 1 for i in np.flatnonzero(conf < tau)} <= set(ends.tolist())
    assert len(ends) == (conf < tau).sum() + (conf[-1] >= tau)


@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 5))
def test_fixed_and_random_steps_cover_the_solution(tokens, parameter, seed):
    fixed, random = split.fixed(tokens, parameter), split.random(tokens, parameter, seed)
    for ends in (fixed, random):
        assert ends[-1] == tokens
        assert (np.diff(ends, prepend=0) > 0).all()
        assert ends.dtype == np.int32
    assert (np.diff(fixed, prepend=0)[:-1] == parameter).all()
    assert len(random) == min(parameter, tokens)


def test_random_positions_are_spread_evenly_and_repeat_with_their_seed():
    drawn = np.concatenate([split.random(20, 5, seed)[:-1] for seed in range(400)])
    assert (np.bincount(drawn, minlength=20)[1:20] > 50).all()  # 84 expected at each of the 19 inner positions
    assert split.random(20, 5, 7).tolist() == split.random(20, 5, 7).tolist()


def test_line_steps_end_after_the_token_that_holds_the_newline():
    tokens = ["So", " 2", ".\n", "\n", "It", " is", "\n ", "2", ""]  # the last is an end-of-text token
    char_ends = np.cumsum([len(t) for t in tokens])
    assert split.line("".join(tokens), char_ends).tolist() == [3, 4, 7, 9]
    assert split.line("no newline", [2, 10]).tolist() == [2]
    assert split.line("ends with one\n", [13, 14]).tolist() == [2]


def test_cut_refuses_ends_that_lose_a_piece():
    assert split.cut("abcde", [2, 5]) == ["ab", "cde"]
    with pytest.raises(ValueError, match="last end is 4, but the solution has length 5"):
        split.cut("abcde", [2, 4])


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.fixture
def samples(byte_level):
    rng = np.random.default_rng(0)
    rows = []
    for number, text in enumerate([TEXT, TEXT[:25], TEXT]):
        ids = [*byte_level(text)["input_ids"], byte_level.eos_token_id]
        confidence = np.float32(rng.random(len(ids)))
        row = {
            "problem": "p1",
            "solution": number,
            "ids": ids,
            "confidences": confidence,
            "text": text,
            "correct": True,
        }
        rows.append(row)
    schema = pa.schema(
        [
            ("problem", pa.string()),
            ("solution", pa.int32()),
            ("ids", pa.list_(pa.int32())),
            ("confidences", pa.list_(pa.float32())),
            ("text", pa.string()),
            ("correct", pa.bool_()),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("adaptive", {"tau": 0.3}), ("line", {}), ("fixed", {"length": 7}), ("random", {"count": 5})],
)
def test_table_rows_give_their_solutions_back(samples, byte_level, method, parameters):
    table = split.split_table(samples, method, byte_level, **parameters)
    assert table.schema == split.SCHEMA
    assert table.num_rows == 3
    for row, sample in zip(table.to_pylist(), samples.to_pylist(), strict=True):
        assert (row["problem"], row["solution"]) == (sample["problem"], sample["solution"])
        assert list(chain(*split.cut(sample["ids"], row["ends"]))) == sample["ids"]
        assert "".join(split.cut(sample["text"], row["char_ends"])) == sample["text"]
        assert len(row["ends"]) == len(row["char_ends"])


def test_adaptive_table_compares_as_the_threshold_does(samples, byte_level):
    tau = float(np.sort(np.concatenate([np.float32(c) for c in samples["confidences"].to_pylist()]))[10])
    table = split.split_table(samples, "adaptive", byte_level, tau=tau)
    inner = sum(len(ends) for ends in table["ends"].to_pylist()) - table.num_rows
    assert inner in (9, 10)  # ten tokens lie below tau; one of them may be a last token


def test_line_table_ends_at_the_newlines(samples, byte_level):
    steps = [
        split.cut(text, ends)
        for text, ends in zip(
            samples["text"].to_pylist(),
            split.split_table(samples, "line", byte_level)["char_ends"].to_pylist(),
            strict=True,
        )
    ]
    assert steps[0] == TEXT.splitlines(keepends=True)


def test_random_steps_depend_on_the_solution_not_on_its_place(samples, byte_level):
    forwards = split.split_table(samples, "random", byte_level, count=5, seed=3).to_pylist()
    backwards = split.split_table(samples.take([2, 1, 0]), "random", byte_level, count=5, seed=3).to_pylist()
    assert forwards == backwards[::-1]
    assert forwards[0]["ends"] != forwards[2]["ends"]  # the same text, another solution


def test_wrong_input_is_named(samples, byte_level):
    def refuse(message, table=samples, method="adaptive", **parameters):
        with pytest.raises(ValueError, match=message):
            split.split_table(table, method, byte_level, **parameters)

    refuse("unknown split method 'lines'; known: adaptive, line, fixed, random", method="lines")
    refuse("'adaptive' needs tau")
    refuse("'fixed' needs length", method="fixed")
    refuse("at least one token", method="fixed", length=0)
    refuse("at least one step", method="random", count=0)
    shorter = samples.set_column(3, "confidences", pa.array([[0.5]] * 3, pa.list_(pa.float32())))
    refuse("problem p1, solution 0: .* 1 confidences", shorter, tau=0.5)
    other = samples.set_column(4, "text", pa.array(["other"] * 3))
    refuse("another policy's tokenizer", other, tau=0.5)


# --- the authors' marks -----------------------------------------------------------------------------------------------


def read_marks(marked, mark=" ки "):
    """Plain text and character ends of its steps, from text with a mark after every step (the authors' form)."""
    steps = marked.split(mark)
    if steps[-1]:
        steps.append("")  # the last step need not be marked
    return "".join(steps), np.cumsum([len(step) for step in steps[:-1]], dtype=np.int32)


@pytest.fixture(scope="module")
def marked():
    rows = real_rows("metamath_llama_samples/gsm8k_bo256_confidence.jsonl")
    return [pair for row in rows for pair in zip(row["math_confidence_list"], row["pred"], strict=True)]


def test_removing_the_authors_marks_gives_their_plain_text(marked):
    assert len(marked) == 1280
    assert all(read_marks(text)[0] == plain for text, plain in marked)


def test_the_authors_marks_stand_as_often_as_stated(marked):
    steps = [split.cut(*read_marks(text)) for text, _ in marked]
    counts = np.array([len(some) for some in steps])
    assert (round(counts.mean(), 2), np.median(counts), counts.min(), counts.max()) == (3.43, 3, 1, 15)
    assert round((counts - 1).mean(), 2) == 2.43
    inner = [step for some in steps for step in some[:-1]]
    after_newline = sum(step.rstrip(" ").endswith("\n") for step in inner)
    assert round(after_newline / len(inner), 3) == 0.090
    assert round(after_newline / sum(plain.count("\n") for _, plain in marked), 3) == 0.060


def test_marks_are_read_with_or_without_the_last_one():
    assert read_marks("a ки bc ки ") == ("abc", pytest.approx([1, 3]))
    assert read_marks("a ки bc") == ("abc", pytest.approx([1, 3]))
    assert read_marks("abc ки ")[1].tolist() == [3]
