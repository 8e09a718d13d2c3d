import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import REPOSITORY

from asprm.engines.load import load_engine
from asprm.engines.protocol import Sampling, request_seed
from asprm.problems.load import load
from asprm.problems.sets import has_rivals, knows_truth, problem_set
from asprm.run.open import open_run
from asprm.run.profile import load_profile
from asprm.sample import _Item, _sample_chunk, by_table
from asprm.threshold import fit_threshold


@pytest.fixture(scope="module")
def engine():
    return load_engine(REPOSITORY / "data" / "policies" / "M")


def test_problem_sets_are_the_profiles():
    profile = load_profile("smoke")
    counts = profile.problems
    assert len(problem_set(profile, "train")) == sum(counts.train.values())
    assert problem_set(profile, "minigsm") == load("minigsm", "test", counts.test["minigsm"], start=counts.test_from)
    with pytest.raises(KeyError):
        problem_set(profile, "gsm8k")
    later = profile.model_copy(update={"problems": counts.model_copy(update={"test_from": 3})})
    assert problem_set(later, "minigsm") == load("minigsm", "test", counts.test["minigsm"], start=3)
    assert problem_set(later, "train") == problem_set(profile, "train")


def test_a_solution_depends_on_its_problem_and_number_only(engine):
    problems = load("minigsm", "train", 3)
    sampling = Sampling(max_new_tokens=60)
    alone = _sample_chunk([_Item("train", problems[1], 2)], engine, sampling=sampling, seed=0).to_pandas()
    items = [_Item("train", problem, 4) for problem in problems]
    among = _sample_chunk(items, engine, sampling=sampling, seed=0).to_pandas()
    among = among[(among["problem"] == problems[1].id) & (among["solution"] < 2)].reset_index(drop=True)
    assert [row.tolist() for row in alone["ids"]] == [row.tolist() for row in among["ids"]]
    other = _sample_chunk([_Item("train", problems[1], 2)], engine, sampling=sampling, seed=1).to_pandas()
    assert request_seed(0, problems[1].id, 0) != request_seed(1, problems[1].id, 0)
    assert alone["text"].tolist() != other["text"].tolist() or alone["confidences"].map(min).min() > 0.5


def test_equal_samples_are_merged_and_counted(engine):
    [problem] = load("minimath", "train", 1)
    table = _sample_chunk(
        [_Item("train", problem, 32, merge=True)], engine, sampling=Sampling(max_new_tokens=90), seed=0
    )
    assert pc.sum(table["count"]).as_py() == 32
    texts = [tuple(ids) for ids in table["ids"].to_pylist()]
    assert len(texts) == len(set(texts)) < 32
    greedy = _sample_chunk(
        [_Item("x-greedy", problem, 1, greedy=True)], engine, sampling=Sampling(max_new_tokens=90), seed=0
    )
    assert greedy["count"].to_pylist() == [1]
    assert all(c > 1 / len(engine.tokenizer) for c in greedy["confidences"].to_pylist()[0])


def test_chunks_are_cut_where_the_table_changes():
    first = pa.table({"table": ["a", "a", "b"], "x": [1, 2, 3]})
    second = pa.table({"table": ["b", "c"], "x": [4, 5]})
    parts = [(name, part["x"].to_pylist()) for name, part in by_table(iter([first, second]))]
    assert parts == [("a", [1, 2]), ("b", [3]), ("b", [4]), ("c", [5])]


def test_the_smoke_study_keeps_the_promise_of_its_threshold(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="split", quiet=True)
    samples = run.read("sample/M/train")
    tau = run.read_json("threshold/M")["tau"]
    pooled = np.concatenate([np.asarray(row.values) for row in samples["confidences"]])
    share = run.profile.threshold.share
    wanted = share * len(pooled)
    ties = (pooled == tau).sum()
    assert wanted - 1 - ties < (pooled < tau).sum() <= wanted
    confidences = [np.asarray(row.values) for row in samples["confidences"]]
    assert fit_threshold(confidences, samples["problem"].to_pylist(), share).tau == tau
    for ends, row in zip(run.read("split/M/adaptive")["ends"].to_pylist(), confidences, strict=True):
        assert ends[-1] == len(row)
        assert all(row[end - 1] < tau for end in ends[:-1])


def test_truth_is_known_where_all_problems_are_made_here():
    tiny, paper = load_profile("tiny"), load_profile("paper")
    assert all(knows_truth(tiny, policy) for policy in tiny.policies)
    assert not any(knows_truth(paper, policy) for policy in paper.policies)

    def other(**parts):
        return tiny.model_copy(update={"problems": tiny.problems.model_copy(update=parts)})

    more = other(test={"minigsm": 3, "gsm8k": 3, "leetcode": 2}), other(train={"gsm8k": 3, "minicode": 2})
    assert [[knows_truth(one, policy) for policy in ("M", "D")] for one in more] == [[True, False], [False, True]]
    # The first policy, M, solves mathematics; its rivals are judged by the truth.
    assert [has_rivals(one) for one in (tiny, paper, *more)] == [True, False, True, False]
    only_code = tiny.model_copy(update={"policies": {"D": tiny.policies["D"]}})
    assert not has_rivals(only_code)
    unwanted = {"rivals": tiny.rivals.model_copy(update={"problems": 0})}
    assert not has_rivals(tiny.model_copy(update=unwanted))
    # They need a reward model of its own that rates and guides.
    for guide, score in (((), ("ASPRM-M",)), (("ASPRM-L",), ("ASPRM-L",)), (("ASPRM-M",), ("MS-M",))):
        sections = {"tvd": {"guide": {"M": guide}}, "best_of_n": {"score": {"M": score}}}
        parts = {name: getattr(tiny, name).model_copy(update=fields) for name, fields in sections.items()}
        assert not has_rivals(tiny.model_copy(update=parts))
