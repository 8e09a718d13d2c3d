"""Rating at several kinds of positions, by a reward model whose score at an end is a number that the end gives away."""

import numpy as np
import pyarrow as pa
import pytest

from asprm.reward.rating import SCHEMA, rate_positions, score_table

KEYS = {"problem": ["a", "a", "b"], "solution": [0, 1, 0]}
SAMPLES = pa.table(
    KEYS
    | {
        "correct": [True, False, True],
        "answer": ["1", None, "2"],
        "text": ["xx", "xxxx", "xxx"],
        "finished": [True] * 3,
    }
)
PROBLEMS = {"a": "?", "b": "??"}


class Hundredths:
    """Scores a text of L characters at an end as (10 L + end) / 100."""

    def __init__(self):
        self.read = []

    def rate(self, texts):
        for text in texts:
            self.read.append(np.asarray(text.ends).tolist())
            yield np.float32(10 * len(text.solution) + np.asarray(text.ends)) / np.float32(100)


def splits(*ends):
    table = pa.table(KEYS | {"char_ends": pa.array(ends, pa.list_(pa.int32()))})
    return table.cast(pa.schema([("problem", pa.string()), ("solution", pa.int32()), table.schema.field("char_ends")]))


@pytest.fixture
def samples():
    return SAMPLES.cast(SAMPLES.schema.set(1, pa.field("solution", pa.int32())))


def test_each_kind_of_positions_gets_the_scores_at_its_own_ends(samples):
    prm = Hundredths()
    kinds = {
        "": splits([2], [4], [3]),
        "@line": splits([1, 2], [2, 4], [3]),
        "@random0": splits([2], [1, 3, 4], [1, 3]),
    }
    tables = rate_positions(prm, samples, kinds, PROBLEMS)
    assert prm.read == [[1, 2], [1, 2, 3, 4], [1, 3]]  # each solution once, at the union of its ends
    for position, split in kinds.items():
        assert tables[position].schema == SCHEMA
        assert tables[position].equals(score_table(Hundredths(), samples, split, PROBLEMS))
    assert tables["@random0"]["scores"].to_pylist()[1] == pytest.approx([0.41, 0.43, 0.44])


def test_ends_that_stand_twice_keep_their_scores(samples):
    kinds = {"": splits([1, 1, 2], [4], [3]), "@line": splits([2], [4], [3])}
    tables = rate_positions(Hundredths(), samples, kinds, PROBLEMS)
    assert tables[""]["scores"].to_pylist()[0] == pytest.approx([0.21, 0.21, 0.22])


def test_splits_of_other_rows_are_refused(samples):
    with pytest.raises(ValueError, match="samples and splits differ in column 'solution'"):
        score_table(Hundredths(), samples, splits([2], [4], [3]).take([1, 0, 2]), PROBLEMS)
