"""Profiles are typed, frozen, and refuse what they do not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asprm.problems.sets import problem_set
from asprm.results.paper import Number, load_claims
from asprm.run.profile import READS, Profile, load_profile, packaged_profiles
from asprm.run.sections import ProfileError, nearest


def own(tmp_path, text, name="mine"):
    file = tmp_path / f"{name}.yml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", packaged_profiles())
def test_packaged_profiles_load_under_their_own_name(name):
    profile = load_profile(name)
    assert profile.name == name
    assert max(profile.best_of_n.n) <= profile.sample.candidates


def test_a_profile_extends_another_field_by_field(tmp_path):
    tiny = load_profile("tiny")
    mine = load_profile(own(tmp_path, "extends: tiny\nname: mine\nsample: {solutions: 3}\n"))
    assert mine.sample.solutions == 3
    assert mine.sample.candidates == tiny.sample.candidates
    assert mine.rollout == tiny.rollout


def test_a_family_of_problems_can_be_left_out(tmp_path):
    mine = load_profile(own(tmp_path, "extends: tiny\nname: mine\nproblems: {test: {minigsm: 5}}\n"))
    assert mine.problems.test == {"minigsm": 5}


def test_policies_and_reward_models_can_be_left_out(tmp_path):
    left_out = """
        extends: tiny
        name: mine
        policies: {L: null, D: null}
        reward_models: {ASPRM-L: null, ASPRM-D: null, ER-PRM-L: null, ORM-D: null, L-to-M: null, M+C: null, C+M: null}
        best_of_n: {score: {M: [ASPRM-M, MS-M]}}
        tvd: {guide: {M: [ASPRM-M]}}
    """
    mine, tiny = load_profile(own(tmp_path, left_out)), load_profile("tiny")
    assert list(mine.policies) == ["M"]
    assert mine.reward_models == {
        name: m
        for name, m in tiny.reward_models.items()
        if m.base == "M" and m.data[1:] == () and m.data[0].startswith("M/")
    }
    with pytest.raises(ProfileError, match=r"reward_models.ASPRM-L.base: unknown policy 'L'"):
        load_profile(own(tmp_path, "extends: tiny\nname: mine\npolicies: {L: null}\n"))


def test_a_reward_model_is_trained_with_the_last_policy_whose_labels_it_learns_from():
    tiny = load_profile("tiny")
    trained = {policy: tiny.trained_on(policy) for policy in tiny.policies}
    assert sorted(name for names in trained.values() for name in names) == sorted(tiny.reward_models)
    assert {"ASPRM-M", "MS-M", "sweep-0.02"} <= set(trained["M"])
    assert "L-to-M" in trained["L"]  # by the weights of M
    assert {"M+C", "C+M"} <= set(trained["D"])
    for model in (tiny.reward_models[name] for name in trained["M"]):
        assert {table.partition("/")[0] for table in model.data} == {"M"}


def test_floats_without_a_point_are_floats(tmp_path):
    mine = load_profile(own(tmp_path, "extends: tiny\nname: mine\nprm: {learning_rate: 1e-3}\n"))
    assert mine.prm.learning_rate == 0.001


def test_published_reward_models_stand_beside_those_trained_here(tmp_path):
    entries = "X: {published: a/b@c, convention: asprm, steps: adaptive}, Y: {published: d}"
    mine = load_profile(own(tmp_path, f"extends: tiny\nname: mine\nreward_models: {{{entries}}}\n"))
    assert [str(mine.reward_models[name].rates) for name in ("X", "Y", "MS-M", "ORM-D")] == [
        "adaptive",
        "line",
        "line",
        "whole",
    ]
    tiny = load_profile("tiny")
    for policy in mine.policies:
        assert mine.trained_on(policy) == tiny.trained_on(policy)
        assert mine.methods(policy) == tiny.methods(policy)
        assert mine.trainings("X", policy) == ["X"]


def test_profiles_are_frozen():
    with pytest.raises(ValidationError):
        load_profile("tiny").sample.solutions = 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sample: {solution: 3}", "unknown key 'sample.solution': did you mean 'solutions'?"),
        ("samples: {solutions: 3}", "unknown key 'samples': did you mean 'sample'?"),
        ("policies: {M: {paht: x}}", "unknown key 'policies.M.paht': did you mean 'path'?"),
        ("sample: {solutions: '3'}", "sample.solutions = '3' (str): expected integer"),
        ("sample: {solutions: true}", "sample.solutions = True (bool): expected integer"),
        ("sample: {solutions: 0}", "sample.solutions = 0 (int): expected greater than 0"),
        ("threshold: {share: 2}", "threshold.share = 2 (int): expected less than 1"),
        ("split: {method: lines}", "split.method = 'lines' (str): unknown split method 'lines'; known: adaptive, line"),
        (
            "reward_models: {X: {base: M, data: [M/lines]}}",
            "reward_models.X.data: unknown split method 'lines'",
        ),
        ("reward_models: {X: {base: N, data: [M/line]}}", "reward_models.X.base: unknown policy 'N': "),
        ("reward_models: {X: {base: M, dat: [M/line]}}", "unknown key 'reward_models.X.dat': did you mean 'data'?"),
        ("reward_models: {X: {base: M}}", "reward_models.X = {'base': 'M'} (dict): expected base, data (equal"),
        ("reward_models: {X: {base: M, data: [M/line], published: a/b}}", "of one that is trained here, or published"),
        ("reward_models: {X: {base: M, data: [M/line], steps: line}}", "of one that is trained here, or published"),
        (
            "reward_models: {X: {published: a/b, convention: asprn}}",
            "unknown convention 'asprn': did you mean 'asprm'?",
        ),
        (
            "reward_models: {X: {published: a/b, steps: lines}}",
            "reward_models.X.steps = 'lines' (str): unknown split method",
        ),
        ("tvd: {guide: {M: [ASPRM-N]}}", "tvd.guide: unknown reward model 'ASPRM-N': did you mean 'ASPRM-M'?"),
        ("tvd: {guide: {M: [ASPRM-M]}}", "tvd.guide: says nothing of policy 'L'"),
        (
            "policies: {M: {path: x, reward_model: ORM-D}}",
            "policies.M.reward_model = 'ORM-D': expected one of those that guide the policy (tvd.guide.M): ASPRM-M",
        ),
        ("best_of_n: {n: [0, 4]}", "best_of_n.n.0 = 0 (int): expected greater than 0"),
        ("reward_models: {ASPRM-M@1: {base: M, data: [M/line]}}", "reward_models: 'ASPRM-M@1': expected a name"),
        ("reward_models: {../x: {base: M, data: [M/line]}}", "reward_models: '../x': expected a name"),
        ("reward_models: {X-log: {base: M, data: [M/line]}}", "reward_models: 'X-log': expected a name"),
        ("policies: {a/b: {path: x}}", "policies: 'a/b': expected a name"),
        ("tvd: {triggers: 0.5}", "tvd.triggers = 0.5 (float): expected list"),
        ("tvd: {triggers: []}", "tvd.triggers = [] (list): "),
        ("tvd: {triggers: [50]}", "tvd.triggers.0 = 50 (int): expected less than or equal to 1"),
        ("problems: {train: {minigsm: 1.5}}", "problems.train.minigsm = 1.5 (float): expected integer"),
        ("sample: [1, 2", "not valid YAML"),
        ("name: a/b", "name = 'a/b' (str)"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, says):
    head = "extends: tiny\n" if text.startswith("name") else "extends: tiny\nname: mine\n"
    with pytest.raises(ProfileError) as error:
        load_profile(own(tmp_path, head + text))
    assert says in str(error.value)


@pytest.mark.parametrize(("guides", "shown"), [("MS-M", "MS-M"), ("ASPRM-L, MS-M", "MS-M"), ("ASPRM-L", "ASPRM-L")])
def test_the_chapters_of_a_policy_show_a_reward_model_that_guides_it(tmp_path, guides, shown):
    text = f"tvd: {{guide: {{M: [{guides}], L: [ASPRM-L], D: [ASPRM-D]}}}}"
    assert load_profile(own(tmp_path, f"extends: tiny\nname: mine\n{text}\n")).prm_of("M") == shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: {gms8k: x}", "data: unknown set 'gms8k': did you mean 'gsm8k'?"),
        ("problems: {clusters: {minigsmp2: template}}", "problems.clusters: unknown set 'minigsmp2': did you mean"),
    ],
)
def test_an_unknown_set_is_named_when_problems_are_read(tmp_path, text, says):
    profile = load_profile(own(tmp_path, f"extends: tiny\nname: mine\n{text}\n"))
    with pytest.raises(ProfileError) as error:
        problem_set(profile, "train")
    assert says in str(error.value)


def test_every_fault_is_reported_at_once(tmp_path):
    with pytest.raises(ProfileError) as error:
        load_profile(own(tmp_path, "name: mine\nsample: {}\n"))
    assert "'seed' is missing" in str(error.value)
    assert "'sample.solutions' is missing" in str(error.value)


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ProfileError, match="unknown profile 'tyni': did you mean 'tiny'"):
        load_profile("tyni")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ProfileError, match="does not exist"):
        load_profile(str(tmp_path / "none.yml"))


def test_a_file_may_not_take_a_packaged_name(tmp_path):
    with pytest.raises(ProfileError, match="belongs to a packaged profile"):
        load_profile(own(tmp_path, "extends: tiny\n", name="tiny"))


def test_a_profile_has_its_files_name(tmp_path):
    with pytest.raises(ProfileError, match="name = 'tiny': expected 'mine', the file's own name"):
        load_profile(own(tmp_path, "extends: tiny\n"))


def test_a_profile_that_extends_itself(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(f"extends: {path}\nname: mine\n")
    with pytest.raises(ProfileError, match="extends itself"):
        load_profile(str(path))


@pytest.mark.parametrize("text", ["", "- 1", "extends: 3"])
def test_a_file_that_is_no_mapping_of_sections(tmp_path, text):
    with pytest.raises(ProfileError, match="expected a"):
        load_profile(own(tmp_path, text))


def test_each_stage_reads_existing_sections_and_the_seed():
    profile = load_profile("tiny")
    for stage, sections in READS.items():
        assert set(sections) <= set(Profile.model_fields)
        assert set(profile.reads(stage)) == {"seed", *sections}


def test_every_field_is_described():
    sections = [Profile, *(field.annotation for field in Profile.model_fields.values())]
    fields = [f for section in sections if hasattr(section, "model_fields") for f in section.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []
    assert len(fields) > 40


@given(st.text(max_size=10))
def test_nearest_always_has_an_answer(name):
    assert nearest(name, ["solutions", "candidates"])


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_what_the_papers_tables_measure_is_asked_for(name):
    profile = load_profile(name)
    asked = {"bon": profile.best_of_n.score, "tvd": profile.tvd.guide}
    measures = [one.measure for one in load_claims() if isinstance(one, Number) and one.measure]
    wanted = {(one.kind, one.policy, one.prm) for one in measures if one.kind in asked}
    assert len(wanted) > 10
    assert {one for one in wanted if one[2] not in asked[one[0]][one[1]]} == set()
