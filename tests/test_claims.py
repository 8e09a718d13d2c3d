"""The ledger against tables small enough to know what it must say; and against nothing, where it must claim nothing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scipy.stats import binomtest, spearmanr

from asprm import claims as book
from asprm import statistics as s
from asprm.claims import ledger, run_claims, side_by_side, sizes_of_arrows, surest_opposites, tally
from asprm.problems.families import FAMILIES
from asprm.problems.hub import SOURCES
from asprm.problems.load import PAPERS, load
from asprm.results import costs
from asprm.results.evidence import ALIKE, Evidence, gain
from asprm.results.measures import Measures, NotRun
from asprm.results.paper import Number, claim, load_claims, table
from asprm.results.verdicts import VERDICTS, Row, judge
from asprm.run import names
from asprm.run.artifacts import digest, write_parquet
from asprm.run.open import open_run
from asprm.run.sections import ProfileError
from asprm.run.store import MissingArtifact

PROFILE = """
extends: tiny
name: ledger
description: tables made by hand
policies:
  L: {path: data/policies/L}
  D: {path: data/policies/D, domain: code}
reward_models:
  ASPRM-M: {base: M, data: [M/adaptive]}
  L-to-M: {base: M, data: [L/adaptive], role: transfer, seeds: 3}
problems:
  test: {minigsm: 40, minimath: 40, minigsm-p2: 40, minicode: 40, minicode-new: 40}
"""
PAPERS_OWN = """
extends: paper
name: papers
description: tables made by hand
problems: {test: {gsm8k: 1319, math500: 500, leetcode: 175}}
"""
PROBLEMS = [f"p{i:02d}" for i in range(40)]


class Tables:
    """Result files of a run."""

    def __init__(self, run):
        self.run = run

    def write(self, name, frame):
        path = self.run.base / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, pd.DataFrame(frame))

    def greedy(self, right, policy="M", of="minigsm", problems=PROBLEMS):
        self.write(f"sample/{policy}/{of}-greedy", {"problem": problems, "correct": outcomes(right, len(problems))})

    def tvd(self, right, prm="ASPRM-L", policy="M", of="minigsm", problems=PROBLEMS, changed=1):
        correct = outcomes(right, len(problems))
        frame = {"problem": problems * 2, "trigger": [0.5] * len(problems) + [0.9] * len(problems)}
        frame |= {"correct": [*correct, *~correct], "changed": changed, "decisions": 1, "tokens": 9}
        self.write(f"tvd/{prm}/{policy}-{of}", frame)
        path = self.run.base / f"tvd/{prm}/{policy}.json"
        path.write_text(json.dumps({"trigger": 0.5}))

    def bon(self, right, prm="ASPRM-M", policy="M", of="minigsm", problems=PROBLEMS):
        """Two candidates a problem, one right; the better-scored one is right for the first `right` problems."""
        correct = outcomes(right, len(problems))
        rows = [(p, j, [0.9, 0.4 + 0.2 * (c == (j == 0))], j == 0, str(j))
                for p, c in zip(problems, correct, strict=True) for j in (0, 1)]  # fmt: skip
        columns = ["problem", "solution", "scores", "correct", "answer"]
        self.write(f"best_of_n/{prm}/{policy}-{of}", pd.DataFrame(rows, columns=columns).assign(finished=True))


def outcomes(right, n=40):
    return np.arange(n) < right


@pytest.fixture
def tables(tmp_path, monkeypatch):
    (tmp_path / "ledger.yml").write_text(PROFILE)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    return Tables(open_run(str(tmp_path / "ledger.yml"), stage="claims", quiet=True))


def row(tables, id, aspect="arrow", frame=None):
    frame = ledger(tables.run) if frame is None else frame
    return frame[(frame["id"] == id) & (frame["aspect"] == aspect)].iloc[0]


# --- every claim has a verdict, and none that it did not earn ---------------------------------------------------------


def test_every_claim_has_a_row_and_a_verdict_though_nothing_was_run(tables):
    frame = ledger(tables.run)
    assert set(frame["id"]) == {claim.id for claim in load_claims()}
    numbers = [claim for claim in load_claims() if isinstance(claim, Number)]
    assert (frame["aspect"] == "level").sum() == len(numbers) == 143
    assert (frame["aspect"] == "arrow").sum() == sum(n.arrow is not None for n in numbers) == 46
    assert frame["verdict"].isin(VERDICTS).all()
    of_paper = frame[frame["source"] == "paper"]
    assert set(of_paper["verdict"]) == {"not run"}
    assert of_paper["why"].str.contains("^no |not run").all()  # each says what is missing
    assert frame.set_index("id").loc["study-chance", "verdict"] == "reproduced"  # arithmetic of the paper alone


def test_every_number_says_what_this_study_holds_against_it():
    for one in load_claims():
        if isinstance(one, Number):
            assert one.measure is not None, one.id
            assert (one.rival is not None) == (one.against_figure is not None), one.id
        else:
            assert one.compare is not None, one.id


def test_a_changed_result_file_changes_the_verdict(tables):
    tables.greedy(20)
    found = {}
    for right in (40, 20, 21, 0):
        tables.tvd(right)
        found[right] = row(tables, "t1-gsm8k-M-asprm-L")
    verdicts = {right: one["verdict"] for right, one in found.items()}
    assert verdicts == {40: "reproduced", 20: "inconclusive", 21: "inconclusive", 0: "opposite"}
    assert (found[40]["here"], found[40]["n"], found[40]["p"]) == (50, 40, binomtest(20, 20).pvalue)
    assert found[40]["test"] == "exact McNemar, 20 against 0"
    assert found[40]["low"] > 30
    assert found[40]["smallest"] == pytest.approx(100 * s.smallest_gain(40, 0.5))


def test_a_run_on_the_papers_own_sets_is_held_against_them(tables, tmp_path):
    file = tmp_path / "papers.yml"
    file.write_text(PROFILE.replace("minigsm: 40, ", "gsm8k: 40, ").replace("name: ledger", "name: papers"))
    tables.run = open_run(str(file), stage="claims", quiet=True)
    tables.greedy(20, of="gsm8k")
    tables.tvd(40, of="gsm8k")
    tables.greedy(20, of="minimath")
    tables.tvd(0, of="minimath")
    frame = ledger(tables.run)
    gsm8k, math = (row(tables, f"t1-{name}-M-asprm-L", frame=frame) for name in ("gsm8k", "math500"))
    assert (gsm8k["verdict"], math["verdict"]) == ("reproduced", "opposite")
    assert set(PAPERS) == set(FAMILIES)
    assert set(PAPERS.values()) <= set(SOURCES)


def test_a_cast_says_who_plays_which_part(tables, tmp_path):
    """The policy Q and its reward model stand where the paper has M and ASPRM-M; the others are not run."""
    file = tmp_path / "cast.yml"
    file.write_text(
        PROFILE.replace("name: ledger", "name: cast").replace("  L: {path", "  Q: {path: data/policies/M}\n  L: {path")
        + "best_of_n: {score: {M: [ASPRM-M], Q: [mine], L: [], D: []}}\n"
        + "tvd: {guide: {M: [ASPRM-M], Q: [mine], L: [], D: []}}\n"
        + "cast: {M: Q, ASPRM-M: mine}\n"
    )
    text = file.read_text().replace("reward_models:\n", "reward_models:\n  mine: {base: Q, data: [Q/adaptive]}\n", 1)
    file.write_text(text)
    tables.run = open_run(str(file), stage="claims", quiet=True)
    tables.greedy(20, policy="Q")
    tables.tvd(40, prm="mine", policy="Q")
    frame = ledger(tables.run)
    played = row(tables, "t1-gsm8k-M-asprm-M", frame=frame)
    assert (played["verdict"], played["here"]) == ("reproduced", 50)
    assert played["artifact"] == "tvd/mine/Q-minigsm"
    assert row(tables, "t1-gsm8k-L-asprm-L", frame=frame)["verdict"] == "not run"
    file.write_text(text.replace("ASPRM-M: mine", "ASPRM-M: mime"))
    with pytest.raises(ProfileError, match=r"cast.ASPRM-M: unknown policy or reward model 'mime': did you mean 'mine'"):
        open_run(str(file), stage="claims", quiet=True)


def test_levels_of_small_policies_are_shown_and_not_judged(tables):
    tables.greedy(20)
    one = row(tables, "t1-gsm8k-M-greedy", "level")
    assert (one["paper"], one["here"], one["verdict"]) == (77.1, 50, "not comparable at this scale")
    assert one["why"] == "a level of other policies than the paper's (M)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "verdict"), [(1015, "inconclusive"), (1017, "inconclusive"), (900, "opposite"), (1150, "opposite")]
)
def test_a_level_is_judged_where_a_run_has_the_papers_policy_and_all_its_problems(tables, tmp_path, right, verdict):
    file = tmp_path / "papers.yml"
    file.write_text(PAPERS_OWN + "claims: {margin: 0.01}")
    tables.run = open_run(str(file), stage="claims", quiet=True)
    tables.greedy(right, of="gsm8k", problems=[f"p{i}" for i in range(1319)])
    one = row(tables, "t1-gsm8k-M-greedy", "level")
    assert one["verdict"] == verdict
    assert one["here"] == pytest.approx(100 * right / 1319)
    assert pd.isna(one["direction"])


@pytest.mark.slow
def test_a_level_is_reproduced_within_the_margin_and_else_says_why_not(tables, tmp_path):
    file = tmp_path / "papers.yml"
    file.write_text(PAPERS_OWN + "claims: {margin: 0.03}")
    tables.run = open_run(str(file), stage="claims", quiet=True)
    every = [f"p{i}" for i in range(1319)]
    tables.greedy(1017, of="gsm8k", problems=every)
    tables.tvd(1050, of="gsm8k", problems=every)
    tables.tvd(1000, prm="MS-M", of="gsm8k", problems=every)
    tables.greedy(200, of="math500")
    frame = ledger(tables.run)
    levels = frame[frame["aspect"] == "level"].set_index("id")
    assert levels.loc["t1-gsm8k-M-greedy", "verdict"] == "reproduced"
    assert levels.loc["t1-gsm8k-M-asprm-L", ["verdict", "why"]].tolist() == ["reproduced", "within 3 points"]
    assert levels.loc["t1-math500-M-greedy", "why"] == "a level on 40 problems, not on the paper's 500"
    baseline = levels.loc["t1-gsm8k-M-ms", ["verdict", "why"]].tolist()
    assert baseline == ["not comparable at this scale", "a level of a baseline that was made here"]


def test_a_table_of_the_paper_has_this_run_beside_it_in_its_own_shape(tables):
    tables.greedy(20)
    tables.tvd(40)
    shown = side_by_side(ledger(tables.run), 1)
    assert shown.shape == (6, 12)
    first = shown.loc[("GSM8k", "MetaMath-M")]
    assert tuple(first["A/P@1"]) == ("77.10", "50.00")
    assert [cell.split() for cell in first["ASPRM-L"]] == [["79.53", "↑"], ["100.00", "✓"]]
    assert [cell.split() for cell in first["ER-PRM"]] == [["75.13", "↓"], ["–", "∅"]]


@pytest.mark.parametrize("number", range(1, 11))
def test_no_number_of_the_paper_is_missing_in_the_tables_beside_this_run(tables, number):
    frame = ledger(tables.run)
    for unit in ("percent", "count") if number >= 7 else ("percent",):
        printed = side_by_side(frame, number, unit).xs("paper", axis=1, level=1)
        numbers = printed.map(lambda cell: float(cell.split()[0].replace(",", "")) if cell != "–" else float("nan"))
        pd.testing.assert_frame_equal(numbers, table(number, unit), check_names=False)


def test_an_arrow_down_asks_for_less(tables):
    tables.greedy(20)
    tables.tvd(2, prm="MS-M")
    assert row(tables, "t1-gsm8k-M-ms")["verdict"] == "reproduced"
    tables.tvd(38, prm="MS-M")
    assert row(tables, "t1-gsm8k-M-ms")["verdict"] == "opposite"


# --- seeds, clusters, families ----------------------------------------------------------------------------------------


def test_the_estimate_is_the_mean_over_seeds_and_seeds_must_agree_in_sign(tables):
    tables.bon(30)
    for training, right in (("L-to-M", 20), ("L-to-M@1", 22), ("L-to-M@2", 21)):
        tables.bon(right, prm=training)
    tables.bon(40)
    one = row(tables, "t2-M-gsm8k-bo64")
    assert (one["seeds"], one["here"], one["verdict"]) == (3, pytest.approx(-47.5), "reproduced")
    assert one["test"] == "random signs by problem"
    tables.bon(30)
    tables.bon(31, prm="L-to-M@2")
    one = row(tables, "t2-M-gsm8k-bo64")
    assert (one["verdict"], one["why"]) == ("inconclusive", "seeds disagree in sign")


def test_a_win_over_what_chooses_worse_than_chance_is_marked_and_not_counted(tables):
    tables.bon(36)
    tables.bon(19, prm="MS-M")  # a random candidate is right for 20 of 40
    frame = ledger(tables.run)
    one = row(tables, "fig4-b-asprm-M", "prose", frame)
    assert (one["here"], one["verdict"]) == (pytest.approx(42.5), "broken baseline")
    assert one["why"] == "worse than a random candidate: best_of_n/MS-M/M-minigsm"
    assert tally(frame)["verdicts"]["reproduced"]["prose"] == 0
    tables.bon(21, prm="MS-M")
    assert row(tables, "fig4-b-asprm-M", "prose")["verdict"] == "reproduced"
    tables.bon(10)
    tables.bon(30, prm="MS-M")
    assert row(tables, "fig4-b-asprm-M", "prose")["verdict"] == "opposite"  # to lose is to lose


def test_guided_decoding_that_changed_no_token_is_not_tested(tables):
    tables.greedy(20)
    tables.tvd(20, changed=0)
    one = row(tables, "t1-gsm8k-M-asprm-L")
    assert (one["verdict"], one["here"]) == ("not tested", 0)
    assert np.isnan([one["p"], one["low"], one["high"]]).all()
    tables.tvd(20)
    assert row(tables, "t1-gsm8k-M-asprm-L")["verdict"] == "inconclusive"  # tokens were changed, and no verdict


def test_all_trainings_of_the_profile_are_needed(tables):
    tables.bon(30)
    tables.bon(0, prm="L-to-M")
    one = row(tables, "t2-M-gsm8k-bo64")
    assert (one["verdict"], one["why"]) == ("not run", "no best_of_n/L-to-M@1/M-minigsm")


def test_seeds_of_other_problems_are_refused(tables):
    for training, letter in (("L-to-M", "p"), ("L-to-M@1", "q"), ("L-to-M@2", "p")):
        tables.bon(40, prm=training, problems=[f"{letter}{i}" for i in range(40)])
    with pytest.raises(ValueError, match=r"trainings of .* different problems"):
        ledger(tables.run)


def test_templates_of_the_shifted_set_are_resampled_together(tables):
    start = tables.run.profile.problems.test_from
    problems = [problem.id for problem in load("minigsm-p2", "test", 40, start)]
    tables.greedy(5, of="minigsm-p2", problems=problems)
    tables.bon(36, prm="ASPRM-L", of="minigsm-p2", problems=problems)
    one = row(tables, "t4-asprm-L-bo64")
    assert one["test"] == "random signs by template"
    assert (one["verdict"], one["here"]) == ("reproduced", pytest.approx(77.5))


def test_p_values_are_adjusted_within_their_table(tables):
    for of in ("minigsm", "minimath"):
        tables.greedy(20, of=of)
        for prm, right in (("ASPRM-L", 40), ("ASPRM-M", 27), ("MS-M", 20)):
            tables.tvd(right, prm=prm, of=of)
    frame = ledger(tables.run)
    tested = frame[(frame["where"] == "Table 1") & frame["p"].notna()]
    assert len(tested) == 6
    np.testing.assert_allclose(tested["p_holm"], s.holm(tested["p"].to_numpy()))
    assert binomtest(7, 7).pvalue < 0.05 < row(tables, "t1-gsm8k-M-asprm-M", frame=frame)["p_holm"]
    assert row(tables, "t1-gsm8k-M-asprm-M", frame=frame)["verdict"] == "inconclusive"


# --- the kinds of claim -----------------------------------------------------------------------------------------------


def test_an_arrow_to_a_figure_is_held_against_this_runs_own_curve(tables):
    tables.bon(36)
    for training in ("L-to-M", "L-to-M@1", "L-to-M@2"):
        tables.bon(20, prm=training)
    one = row(tables, "t2-M-gsm8k-bo64")
    assert (one["verdict"], one["here"], one["direction"]) == ("reproduced", pytest.approx(-40), "down")
    assert one["paper_could"].startswith("unknown")


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(0.0, -6, 6, p=1.0), "inconclusive"),  # few problems
        (Evidence(0.1, -1, 1.2, p=0.8), "reproduced"),
        (Evidence(0.5, 0.2, 0.9, p=0.001), "reproduced"),  # surely there, and too small to count
        (Evidence(0.0, 0.0, 0.0, p=1.0, why=ALIKE), "inconclusive"),  # such as guided decoding that never stepped in
        (Evidence(3.0, 1, 5, p=0.001), "opposite"),
    ],
)
def test_equal_needs_a_narrow_interval(evidence, verdict):
    same = Row(claim("t5-asprm-L-lcb-tvd"), "arrow", "", "same", 0, evidence)
    assert judge(same, evidence.p, alpha=0.05, margin=2).verdict == verdict


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(0.1, -1, 1.2, p=0.8), "no difference"),
        (Evidence(0.1, -1, 1.2, p=0.8, agree=False), "no difference"),
        (Evidence(-0.1, -1.9, 1.7, p=0.8), "no difference"),
        (Evidence(0.1, -1, 2.2, p=0.8), "inconclusive"),  # it may be larger
        (Evidence(0.1, -2.2, 1, p=0.8), "inconclusive"),
        (Evidence(0.5, 0.2, 0.9, p=0.001), "reproduced"),  # small, and surely there
        (Evidence(-0.5, -0.9, -0.2, p=0.001), "opposite"),
        (Evidence(0.0, 0.0, 0.0, p=1.0, why=ALIKE), "inconclusive"),  # a thing compared with itself shows nothing
    ],
)
def test_a_difference_is_ruled_out_by_a_narrow_interval_alone(evidence, verdict):
    better = Row(claim("t1-gsm8k-M-asprm-M"), "arrow", "", "up", 0, evidence)
    assert judge(better, evidence.p, alpha=0.05, margin=2).verdict == verdict
    stated = Row(claim("t1-gsm8k-M-asprm-M"), "prose", "", "up", 0, evidence)  # of a statement the margin is no measure
    assert judge(stated, evidence.p, alpha=0.05, margin=2).verdict != "no difference"


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (Evidence(3.0, -1, 7, p=0.2), "could be chance"),
        (Evidence(3.0, 1, 5, p=0.02), "p .020 alone, but not after Holm's correction"),
        (Evidence(-3.0, -5, -1, p=0.02), "p .020 alone, but not after Holm's correction"),
        (Evidence(3.0, 0.1, 6, p=0.06), "the interval does not hold 0, but the test could be chance"),
        (
            Evidence(3.0, 1, 5, p=0.02, why="nearest rival A"),
            "nearest rival A; p .020 alone, but not after Holm's correction",
        ),
    ],
)
def test_an_undecided_row_explains_an_interval_off_0(evidence, why):
    better = Row(claim("t1-gsm8k-M-asprm-M"), "arrow", "", "up", 0, evidence)
    assert judge(better, 0.3, alpha=0.05, margin=2) == ("inconclusive", why)


def test_random_rating_positions_are_averaged_and_set_beside_the_models_own(tables):
    tables.bon(30)
    for k, right in enumerate((28, 29, 30, 31, 32)):
        tables.bon(right, of=f"minigsm@random{k}")
    one = row(tables, "t3-asprm-M-random", "contrast")
    assert (one["here"], one["paper"], one["verdict"]) == (pytest.approx(0), 1.14, "inconclusive")
    level = row(tables, "t3-asprm-M-random", "level")
    assert level["here"] == pytest.approx(75)


def token_types(shares):
    frame = pd.DataFrame(shares, ["tokens", "decision_tokens", "share", "decision_share"]).T
    for column in ("share", "decision_share"):
        frame[f"{column}_low"], frame[f"{column}_high"] = frame[column] - 0.01, frame[column] + 0.01
    return frame.rename_axis("type").reset_index()


def test_types_of_decision_tokens_are_set_beside_those_of_all(tables):
    names = [n.row[1] for n in load_claims() if isinstance(n, Number) and n.table == 7 and n.id.endswith("decisions")][
        1:
    ]
    shares = dict.fromkeys(names, (100, 10, 0.1, 0.1))
    shares |= {"Math Formula": (100, 30, 0.1, 0.3), "Conjunction": (100, 0, 0.1, 0.0)}
    tables.write("tokens/M", token_types(shares))
    frame = ledger(tables.run)
    assert row(tables, "t7-formula-decisions", "contrast", frame)["verdict"] == "reproduced"
    assert row(tables, "t7-conjunction-decisions", "contrast", frame)["verdict"] == "opposite"
    assert row(tables, "t7-noun-decisions", "contrast", frame)["verdict"] == "inconclusive"
    assert row(tables, "t7-total-tokens", "level", frame)["here"] == 800
    whole = row(tables, "prose-decision-types", "prose", frame)  # L was not run, but M contradicts already
    assert (whole["verdict"], whole["here"]) == ("opposite", 25)
    samples = row(tables, "t11-samples", "prose", frame)
    assert samples["verdict"] == "inconclusive"
    assert "Conjunction" in samples["why"]


def test_most_decisions_in_comments(tables):
    shares = {"Code": (500, 20, 0.5, 0.3), "Code comment": (500, 70, 0.5, 0.7)}
    tables.write("tokens/D-place", token_types(shares).rename(columns={"type": "place"}))
    frame = ledger(tables.run)
    assert row(tables, "prose-code-comments", "prose", frame)["verdict"] == "reproduced"
    assert row(tables, "prose-code-comments", "prose", frame)["here"] == pytest.approx(70)
    assert row(tables, "t10-comment-decisions", "contrast", frame)["verdict"] == "reproduced"
    assert row(tables, "t10-comment-decisions-count", "level", frame)["here"] == 70


def test_the_best_must_beat_all_others_and_is_refuted_by_one(tables):
    def sweep(**right):
        for share, n in right.items():
            for of in ("minigsm", "minimath"):
                problems = [f"{of}{i}" for i in range(40)]
                tables.bon(n, prm=f"sweep-0.0{share[1:]}", of=of, problems=problems)
        return row(tables, "prose-threshold-best", "prose")

    assert sweep(s2=38, s05=20, s1=24, s15=30)["verdict"] == "reproduced"
    tie = sweep(s15=37)
    assert tie["verdict"] == "inconclusive"
    assert tie["why"] == "nearest rival sweep-0.015"
    assert sweep(s2=24, s15=38)["verdict"] == "opposite"


def test_a_pool_counts_a_problem_once(tables):
    tables.bon(30)
    tables.greedy(20)
    measures = Measures(tables.run)
    a, b = (measures.outcomes(claim(id).measure) for id in ("t3-asprm-M-confidence", "t1-gsm8k-M-greedy"))
    double = gain([(a, b), (a, b)], measures)
    assert double.n == 40


def test_a_mean_over_comparisons_needs_all_of_them(tables):
    tables.bon(30)
    for k in range(5):
        tables.bon(30, of=f"minigsm@random{k}")
    assert row(tables, "prose-positions-generalise", "prose")["why"] == "no best_of_n/ASPRM-L/L-minigsm@random0"
    tables.bon(30, prm="ASPRM-L", policy="L")
    for k in range(5):
        tables.bon(30, prm="ASPRM-L", policy="L", of=f"minigsm@random{k}")
    one = row(tables, "prose-positions-generalise", "prose")
    assert (one["verdict"], one["here"]) == ("reproduced", pytest.approx(0))  # no loss, and surely less than two points


def test_confidence_at_line_breaks(tables):
    rng = np.random.default_rng(0)
    confidences = [np.where(np.arange(12) % 4 == 3, 0.99, 0.9 + 0.02 * rng.random(12)) for _ in PROBLEMS]
    frame = {"problem": PROBLEMS, "confidences": confidences, "correct": True, "count": 1}
    tables.write("sample/M/train", pd.DataFrame(frame))
    tables.write("split/M/line", pd.DataFrame({"problem": PROBLEMS, "ends": [[4, 8, 12]] * 40}))
    one = row(tables, "prose-newline-confident", "prose")
    others = np.mean([c[[0, 1, 2, 4, 5, 6, 8, 9, 10, 11]].mean() for c in confidences])
    assert one["here"] == pytest.approx(100 * (0.99 - others), abs=1e-6)
    assert one["verdict"] == "reproduced"


def test_harder_problems_are_split_more(tables):
    rng = np.random.default_rng(0)
    hard = rng.random(40)
    rows = [(p, rng.random() > h, 1, np.arange(1, 2 + rng.poisson(8 * h))) for p, h in zip(PROBLEMS, hard, strict=True)
            for _ in range(6)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["problem", "correct", "count", "ends"])
    frame["confidences"] = [[0.9]] * len(frame)
    tables.write("sample/M/train", frame[["problem", "correct", "count", "confidences"]])
    tables.write("split/M/adaptive", frame[["problem", "ends"]])
    one = row(tables, "prose-harder", "prose")
    by = frame.assign(steps=frame["ends"].map(len)).groupby("problem")
    assert one["here"] == pytest.approx(100 * spearmanr(1 - by["correct"].mean(), by["steps"].mean()).statistic)
    assert one["verdict"] == "reproduced"
    tables.write("split/M/adaptive", frame[["problem"]].assign(ends=[[1]] * len(frame)))
    alike = row(tables, "prose-harder", "prose")
    assert alike["verdict"] == "not run"
    assert alike["why"].startswith("no two problems differ")


# --- costs ------------------------------------------------------------------------------------------------------------


def labels(tables, name, steps, rollouts=8, solved=1):
    """Two solutions of each problem; every step but the last was solved by the rollout of number `solved`."""
    rows = [
        (p, i, k, k + 1, 1, 1 if k == steps - 1 else solved, 0 if k == steps - 1 else 10 * solved, 1.0)
        for p in PROBLEMS for i in (0, 1) for k in range(steps)
    ]  # fmt: skip
    columns = ["problem", "solution", "step", "end", "right", "rollouts", "tokens", "label"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.loc[0, ["right", "rollouts", "tokens"]] = (0, rollouts, 10 * rollouts)  # one that none solved tells J
    tables.write(f"rollout/{name}", frame)
    samples = {"problem": np.repeat(PROBLEMS, 2), "solution": [0, 1] * 40, "ids": [list(range(20))] * 80}
    samples |= {"confidences": [[0.9] * 20] * 80, "correct": [True] * 80, "count": [1] * 80}
    tables.write(f"sample/{name.partition('/')[0]}/train", samples)


def test_costs_by_hand(tables):
    labels(tables, "M/adaptive", steps=3, solved=2)
    found = costs.label_costs(tables.run, "ASPRM-M").set_index("problem")
    assert found.loc["p01"].to_dict() == {
        "solutions": 2, "sampled": 40, "steps": 4,
        "paper_rollouts": 32, "paper_tokens": 320, "rollouts": 8, "tokens": 80,
    }  # fmt: skip
    assert found.loc["p00", "rollouts"] == 8 + 3 * 2
    with pytest.raises(MissingArtifact, match="no rollout 'L/adaptive'"):
        costs.label_costs(tables.run, "ASPRM-L")
    with pytest.raises(NotRun, match="no reward model MS-X in profile ledger"):
        costs.label_costs(tables.run, "MS-X")


def test_shared_prefixes_cost_once_as_run_and_each_time_as_the_paper_counts(tables):
    labels(tables, "M/adaptive", steps=2, solved=2)
    name = tables.run.base / "rollout/M/adaptive.parquet"
    frame = pd.read_parquet(name)
    frame.loc[(frame["problem"] == "p03") & (frame["solution"] == 1), "tokens"] = 0  # labelled with solution 0
    write_parquet(name, frame)
    found = costs.label_costs(tables.run, "ASPRM-M").set_index("problem").loc["p03"]
    assert (found["rollouts"], found["tokens"]) == (2, 20)
    assert (found["paper_rollouts"], found["paper_tokens"]) == (16, 160)


@pytest.mark.parametrize(("steps", "verdict"), [(3, "reproduced"), (8, "opposite"), (14, "opposite")])
def test_over_thirty_percent_cheaper(tables, steps, verdict):
    labels(tables, "M/adaptive", steps=steps)
    labels(tables, "M/line", steps=10)
    one = row(tables, "prose-cost-ms", "prose")
    assert one["here"] == pytest.approx(100 * (1 - (steps - 1) / 9))
    assert one["verdict"] == verdict
    tokens = row(tables, "study-cost-ms-as-run", "prose")  # here each rollout has as many tokens
    assert tokens["here"] == pytest.approx(one["here"], abs=1)  # but for one step that took all of them
    assert tokens["source"] == "study"  # the paper's tally counts its own unit
    told = book.cost_by_unit(ledger(tables.run))
    assert f"than those of Math-Shepherd: {abs(one['here']):.0f} % {'less' if steps < 10 else 'more'} [" in told
    assert told.count("not run") == 3  # ER-PRM has no labels here
    both = row(tables, "prose-cost", "prose")
    assert both["verdict"] == ("opposite" if verdict == "opposite" else "not run")


def test_the_reward_models_facts_are_read_from_where_they_are_written():
    from asprm.reward.score import ABOUT

    assert costs.ABOUT == ABOUT


def test_a_cost_ledger_of_a_model_whose_size_is_known(tables, monkeypatch):
    import torch
    from safetensors.torch import save_file

    labels(tables, "M/adaptive", steps=3, solved=2)
    folder = tables.run.base / "prm/ASPRM-M"
    folder.mkdir(parents=True)
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, folder / "model.safetensors")
    facts = {"tokens": 1000, "examples": 80, "settings": {"epochs": 2}}
    (folder / costs.ABOUT).write_text(json.dumps(facts))
    (folder.parent / "ASPRM-M.manifest.json").write_text(
        json.dumps({"bytes": 0, "digest": digest(folder), "seconds": 7.5, "facts": {}})
    )
    monkeypatch.setattr(type(tables.run), "policy_path", lambda self, name=None: str(folder))
    [row] = costs.cost_ledger(tables.run).to_dict("records")
    assert (row["parameters"], row["forwards"], row["trained"]) == (17, 160, 1000)
    assert costs.training_seconds(tables.run, ["ASPRM-M"]) == [7.5]
    assert row["flops"] == 2 * 17 * (row["sampled"] + row["tokens"]) + 6 * 17 * 1000
    assert row["paper_flops"] - row["flops"] == 2 * 17 * (row["paper_tokens"] - row["tokens"])


def test_savings_are_counted_in_four_ways(tables):
    labels(tables, "M/adaptive", steps=4, solved=4)
    labels(tables, "M/line", steps=7)
    found = costs.savings(tables.run)
    assert found[["prm", "against"]].to_numpy().tolist() == [["ASPRM-M", "MS-M"]] * 4  # L has no labels
    by = found.set_index("counted")["saving"]
    assert by["rollouts, all of every step"] == pytest.approx(0.5)
    assert by["rollouts as run"] < 0  # four to a step, against one


# --- what the page shows ----------------------------------------------------------------------------------------------


def test_one_family_of_all_tests_asks_for_more(tables):
    tables.greedy(20)
    tables.tvd(27)
    tables.bon(30)
    for training in ("L-to-M", "L-to-M@1", "L-to-M@2"):
        tables.bon(23, prm=training)
    found = book.by_one_family(ledger(tables.run), 0.02)
    assert binomtest(7, 7).pvalue < 0.02 < 2 * binomtest(7, 7).pvalue
    assert found["tests"] > 1
    assert found["as one family"] < found["significant"]


def test_the_tally_adds_up(tables):
    tables.greedy(20)
    tables.tvd(40)
    frame = ledger(tables.run)
    counts = tally(frame)
    assert (
        sum(sum(by.values()) for by in counts["verdicts"].values())
        == counts["claims"]
        == ((frame["source"] == "paper") & ~frame["composite"]).sum()
    )
    composite = set(frame.loc[frame["composite"], "id"])
    assert {"prose-tvd-beats-greedy", "prose-bon-best", "prose-cost"} <= composite
    assert "prose-positions-generalise" not in composite  # it has a bound of its own
    assert sum(counts["composites"].values()) == len(composite)
    assert counts["verdicts"]["reproduced"] == {"arrow": 1, "contrast": 0, "prose": 0, "level": 0}
    assert counts["own_sample_too_small"] >= 3


def test_the_stage_writes_the_ledger_the_tally_and_the_costs(tables, monkeypatch):
    costly = pd.DataFrame({"prm": ["ASPRM-M"], "flops": [1.0]})
    monkeypatch.setattr(costs, "cost_ledger", lambda run: costly)
    tables.greedy(20)
    tables.tvd(40)
    run = tables.run
    assert run_claims(run) == [names.LEDGER, names.TALLY, names.COSTS]
    written = run.read(names.LEDGER).to_pandas()
    assert len(written) == len(ledger(run))
    assert run.read_json(names.TALLY) == tally(written)
    assert book.directions(run.read_json(names.TALLY))["reproduced"] == 1
    assert book.tally_table(run.read_json(names.TALLY)).loc["✓ reproduced", "arrows of its tables"] == 1
    pd.testing.assert_frame_equal(run.read(names.COSTS).to_pandas(), costly)
    tables.tvd(0)
    [opposite] = surest_opposites(ledger(run)).to_dict("records")
    assert opposite["id"] == "t1-gsm8k-M-asprm-L"
    assert sizes_of_arrows(ledger(run)).loc["50%", "difference found, in points"] == 50
    shown = book.page(written, ["id", "here", "n", "p_holm", "verdict", "why", "cell"]).to_html()
    assert all(text in shown for text in ("<td", "✓ reproduced", "<\N{NO-BREAK SPACE}.001", ">50.00<", ">40<"))


def test_what_the_papers_own_sample_could_show(tables):
    frame = ledger(tables.run)
    assert row(tables, "t1-gsm8k-M-asprm-M", frame=frame)["paper_could"] == "no"  # three of 1319
    text = row(tables, "t1-gsm8k-M-asprm-L", frame=frame)["paper_could"]  # 32 of 1319
    share = int(re.search(r"(\d+) %", text)[1]) / 100
    assert round((79.53 - 77.10) * 13.19) == 32
    pairs = [n for n in range(32, 1320, 2) if s.mcnemar_p((n - 32) // 2, (n + 32) // 2) < 0.05]
    assert share == round(max(pairs) / 1319, 2)


def test_a_cell_is_a_heading_of_a_chapter(tables):
    tables.greedy(20)
    tables.tvd(40)
    one = row(tables, "t1-gsm8k-M-asprm-L")
    page, _, anchor = one["cell"].partition("#")
    notebook = REPOSITORY / "notebooks" / page.replace(".html", ".ipynb")
    headings = re.findall(
        r"^##+ (.+)$", "\n".join("".join(c["source"]) for c in json.loads(notebook.read_text())["cells"]), re.M
    )
    assert anchor in {re.sub(r"[^a-z0-9]+", "-", h.lower()).strip("-") for h in headings}
