"""The stages on rows of text, with an engine whose continuations are known."""

import numpy as np
import pytest
from small_tokenizers import byte_level_tokenizer

from asprm.engines.protocol import Completion, Sampling
from asprm.models.prompts import Form
from asprm.rows.fields import cut_of, example_of, held_out, label_fields, split_fields
from asprm.rows.texts import Encoder

OPTIONS = {"rollouts": 4, "estimate": "hard", "eta": 1.0, "seed": 0}


class Parrot:
    """An engine that goes on as the solution did: whatever is continued comes right if the solution is."""

    share = False

    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def stream(self, requests, sampling, follow=None, confidences=True):
        queue = list(requests)
        while queue:
            request = queue.pop(0)
            self.asked.append(request)
            ids = request.context[request.start :]
            completion = Completion(ids, np.ones(len(ids), np.float32), True)
            queue = [*(follow(request, completion) or ()), *queue]
            yield request, completion


def cut_row(encoder, ends=(2, 5), **row):
    ids, char_ends = encoder.solution(row)
    ends = np.array([*ends, len(ids)])
    return row | {"ids": ids.tolist(), "ends": ends.tolist(), "char_ends": char_ends[ends - 1].tolist()}


@pytest.fixture
def encoder():
    return Encoder(byte_level_tokenizer(), form=Form(template="{problem}\n"))


def test_steps_have_texts_ends_and_offsets():
    confidences = np.array([0.9, 0.1, 0.8, 0.2, 0.7], np.float32)
    found = split_fields("ab cd", np.arange(5), np.arange(1, 6), confidences, 0.2)
    assert found["steps"] == ["ab", " cd"]  # 0.2 is not below 0.2
    assert (found["ends"].tolist(), found["char_ends"].tolist()) == ([2, 5], [2, 5])
    assert found["token_ends"].tolist() == [1, 2, 3, 4, 5]


def test_a_right_solutions_steps_are_right_and_a_wrong_ones_wrong(encoder):
    rows = [
        cut_row(encoder, problem="5 + 7?", answer="12", solution="So 5 + 7 = 12.\nThe answer is: 12"),
        cut_row(encoder, problem="5 + 7?", answer="12", solution="So 5 + 7 = 13.\nThe answer is: 13"),
        cut_row(encoder, problem="6 + 7?", answer="13", solution="So 5 + 7 = 13.\nThe answer is: 13", finished=False),
    ]
    engine = Parrot(encoder.tokenizer)
    items = [cut_of(row, encoder) for row in rows]
    found = label_fields(items, engine, Sampling(), **OPTIONS)
    assert [x["correct"] for x in found] == [True, False, False]  # the third was cut off
    assert found[0]["labels"].tolist() == [1, 1, 1]
    assert found[0]["rollouts"].tolist() == [1, 1, 1]
    assert found[2]["labels"].tolist() == [1, 1, 0]
    # The first two begin alike, and are continued once there: with the first one's end.
    assert found[1]["labels"].tolist() == [1, 1, 0]
    assert len(engine.asked) == 4
    alone = label_fields(items[1:2], Parrot(encoder.tokenizer), Sampling(), **OPTIONS)
    assert alone[0]["labels"].tolist() == [0, 0, 0]
    assert alone[0]["rollouts"].tolist() == [4, 4, 1]


def test_programs_are_labelled_by_their_tests(encoder):
    problem = {"problem": "add", "test": "def check(f):\n    assert f(1) == 2", "entry_point": "f"}
    row = cut_row(encoder, solution="```python\ndef f(x):\n    return x + 1\n```\n", **problem)
    [found] = label_fields([cut_of(row, encoder)], Parrot(encoder.tokenizer), Sampling(), **OPTIONS)
    assert found["labels"].tolist() == [1, 1, 1]


def test_entropy_labels_lie_between(encoder):
    row = cut_row(encoder, problem="5 + 7?", answer="12", solution="The answer is: 13")
    options = OPTIONS | {"estimate": "entropy"}
    [found] = label_fields([cut_of(row, encoder)], Parrot(encoder.tokenizer), Sampling(), **options)
    assert found["rollouts"].tolist() == [4, 4, 1]
    assert found["labels"].tolist() == [0, 0, 0]


def test_examples_need_a_label_for_each_step(encoder):
    row = cut_row(encoder, problem="p", solution="The answer is: 12")
    example = example_of(row | {"labels": [1, 0.5, 0]}, encoder)
    assert example.labels.tolist() == [1, 0.5, 0]
    assert example.ends.tolist() == row["ends"]
    for labels, words in (([1], "3 numbers"), ([1, 2, 0], "number 2 is 2"), (None, "it is null")):
        with pytest.raises(ValueError, match=words):
            example_of(row | {"labels": labels}, encoder)
    with pytest.raises(ValueError, match="label the steps first"):
        example_of(row, encoder)


def test_problems_are_held_out_whole(encoder):
    rows = [
        cut_row(encoder, problem=f"{i % 5}", solution="The answer is: 12") | {"labels": [1, 1, 0]} for i in range(20)
    ]
    examples = [example_of(row, encoder) for row in rows]
    kept, held = held_out(examples, 0.4, seed=0)
    names = [{x.prompt.tobytes() for x in part} for part in (kept, held)]
    assert not names[0] & names[1]
    assert (len(names[1]), len(held), len(kept)) == (2, 8, 12)
