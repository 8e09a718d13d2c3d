import json
import math
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from asprm import REPOSITORY, best_of_n, tvd
from asprm.best_of_n import comparisons, rated
from asprm.claims import ledger
from asprm.generalize import on_other_problems, own_over_greedy
from asprm.problems import sets
from asprm.problems.load import title
from asprm.results.format import percent
from asprm.results.verdicts import ASPECTS, VERDICTS
from asprm.run import names
from asprm.run.manifests import manifests, seconds_of
from asprm.run.names import METHODS, TALLY
from asprm.run.open import open_run
from asprm.run.profile import load_profile
from asprm.site.includes import coverage, landing, performance, results
from asprm.site.includes.performance import meets, promises, stage_seconds
from asprm.site.includes.provenance import provenance
from asprm.site.includes.results import overview, tally
from asprm.site.includes.settings import ENDS, HOLDS, KINDS, deviations, reward_models, settings, what_ran
from asprm.site.includes.tables import code, duration, plain, table
from asprm.site.quantities import BEST, GUIDED, OVER_GREEDY, OVER_SINGLE, quantities
from asprm.statistics import HOLM

OVER = BEST + OVER_SINGLE, BEST + OVER_GREEDY, GUIDED + OVER_GREEDY


def test_a_table_escapes_what_would_break_it():
    assert table(["a", "b"], [("x|y", 1.25), ("two\nlines", 12345)], numbers=[1]).splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1.2 |",
        "| two<br>lines | 12,345 |",
    ]


def test_a_duration_is_in_seconds_or_minutes():
    assert [duration(seconds) for seconds in (95.4, 119, 121, 754)] == ["95 s", "119 s", "2 minutes", "13 minutes"]


HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "*a* _b_ **c** ~~d~~",
    "[a](http://x.org) ![b](c) <http://y.org> http://z.org/",
    "{ref}`x` {{y}} `z`",
    "$x^2$ $$y$$",
    "&lt;b&gt; &amp;",
    "back\\slash \\| \\<b>",
    "# no heading",
    "two\n\nparagraphs\n| x |",
    "```",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("shown", [plain, code])
def test_a_text_is_shown_as_it_is_whatever_it_holds(text, shown):
    """Read back from the page, as the parser of the site makes it of the table."""
    extensions = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["parse"]["myst_enable_extensions"]
    parser = create_md_parser(MdParserConfig(enable_extensions={*extensions, "linkify"}), RendererHTML)
    page = parser.render(table(["a", "b"], [(f"`x`: {shown(text)}", 1)]))
    cell = re.search(r"<td>(.*?)</td>", page)[1]
    assert set(re.findall(r"<(\w+)", cell)) == {"code"}
    assert unescape(re.sub(r"</?code>", "", cell)) == "x: " + " ".join(text.split())


def test_a_profiles_description_is_escaped(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    file = tmp_path / "mine.yml"
    file.write_text("extends: tiny\nname: mine\ndescription: 'With </b>*all* `ticks` inside'\n")
    run = open_run(str(file), stage="claims", quiet=True)
    run.write_json("claims/tally", {})
    assert "With \\<\\/b\\>\\*all\\* \\`ticks\\` inside" in provenance(run)
    assert "``With </b>*all* `ticks` inside``" in settings(run)


def test_every_setting_of_a_profile_is_explained():
    profile = load_profile("smoke")
    page = settings(type("Run", (), {"profile": profile}))
    for name, section in profile.model_dump(include={"sample", "threshold", "tvd"}).items():
        assert all(f"`{name}.{key}`" in page for key in section)


def test_every_deviation_is_complete():
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text())
    assert all(set(e) == {"id", "kind", "title", "paper", "here", "effect"} for e in entries)
    assert all(e["kind"] in KINDS for e in entries)
    assert len({e["id"] for e in entries}) == len(entries)


def test_numbers_in_deviations_come_from_the_profile():
    profile = load_profile("smoke")
    page = deviations(open_run("smoke", stage="claims", quiet=True))
    assert f"N up to {profile.sample.candidates}." in page
    assert "{" not in page


def test_deviations_of_small_policies_and_problems_are_those_of_runs_that_have_them():
    made_here, of_the_hub = (deviations(open_run(name, stage="claims", quiet=True)) for name in ("smoke", "paper"))
    left_out = [one for one in HOLDS if f"(dev-{one})=" not in of_the_hub]
    assert left_out == list(HOLDS)
    assert all(f"(dev-{one})=" in made_here for one in HOLDS)
    assert KINDS["scale"] in made_here
    assert KINDS["scale"] not in of_the_hub
    assert KINDS["release"] in of_the_hub
    entries = yaml.safe_load((REPOSITORY / "data" / "paper" / "deviations.yml").read_text())
    assert set(HOLDS) <= {entry["id"] for entry in entries}


def test_the_tally_shows_every_verdict_by_symbol_and_word_and_says_when_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", stage="claims", quiet=True)
    assert "have not been compared with this run" in tally(run)
    by = dict.fromkeys(ASPECTS, 0)
    verdicts = {verdict: by | {"arrow": number} for number, verdict in enumerate(VERDICTS)}
    counts = {"verdicts": verdicts, "claims": 28, "composites": {"opposite": 2}, "others": {"opposite": 1}}
    run.write_json(TALLY, counts | {"own_sample_too_small": 3})
    page = tally(run)
    for number, (verdict, symbol) in enumerate(VERDICTS.items()):
        apart = (2, 1) if verdict == "opposite" else (0, 0)
        assert (
            f"| {symbol} {verdict} | {number} | 0 | 0 | 0 | {apart[0]} | {apart[1]} | {number + sum(apart)} |" in page
        )
    assert "| all | 28 | 0 | 0 | 0 | 2 | 1 | 31 |" in page
    assert "The ledger has 31 rows: 28 claims of the paper" in page


def test_the_coverage_of_every_method_is_shown_and_too_little_is_marked(monkeypatch, tmp_path):
    few = {"case": "few", "width": 0.1}
    methods = [{"method": "usual", "coverage": 0.7, "zero": 0.3}, {"method": "ours", "coverage": 0.951, "zero": 0.0}]
    rows = [few | {"kind": kind} | method for kind in coverage.KINDS for method in methods]
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    measured = {"rows": rows, "draws": 2000, "resamples": 1000, "command": "python x.py"}
    (tmp_path / "benchmarks/results/coverage.json").write_text(json.dumps(measured))
    monkeypatch.setattr("asprm.site.includes.measured.REPOSITORY", tmp_path)
    page = coverage.coverage(None)
    assert page.count("| few | 70.0 % ✗ *0*<br>10.0 | 95.1 %<br>10.0 |") == 3
    assert "Cases of 1 in which fewer than 93 % are held: usual 1, ours 0." in page


def test_longer_training_is_shown_and_its_absence_said(monkeypatch, tmp_path):
    monkeypatch.setattr("asprm.site.includes.measured.REPOSITORY", tmp_path)
    assert "Not measured" in coverage.budget(None)
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    row = {"prm": "MS-M", "set": "MiniGSM", "epochs": 3, "gain over a random candidate": -0.1, "spread": 0.0134}
    row |= {"rare": 0.36, "validation AUC": 0.68}
    rows = [row, row | {"epochs": 9, "gain over a random candidate": 0.02}, row | {"epochs": 1, "prm": "fine"}]
    rows[-1]["gain over a random candidate"] = 0.3
    (tmp_path / "benchmarks/results/undertrained.json").write_text(json.dumps({"rows": rows, "command": "python x.py"}))
    page = coverage.budget(None)
    assert "| MS-M, MiniGSM | 3 | −10.0 | 0.013 | 36.0 % | 0.680 |" in page
    assert "Of the 1 that choose worse" in page
    assert "1 choose better after more, 1 of them no longer worse" in page


def test_the_kept_simulation_chose_the_methods_that_hold():
    rows = json.loads((REPOSITORY / "benchmarks/results/coverage.json").read_text())["rows"]
    for kind in coverage.KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        ours = of_kind[-1]["method"]
        fails = {row["method"]: 0 for row in of_kind}
        for row in of_kind:
            fails[row["method"]] += row["coverage"] < coverage.FAR
        assert fails[ours] == min(fails.values())
        assert all(row["zero"] == 0 for row in of_kind if row["method"] == ours)


def test_one_sentence_says_where_a_way_is_better_by_the_test():
    rows = [("M", "minigsm", 0.1, 0.01), ("M", "minimath", 0.3, 0.2), ("L", "minigsm", -0.1, 0.001)]
    gains = pd.DataFrame([*rows, ("D", "minicode", 0.0, math.nan)], columns=["policy", "set", "difference", "p"])
    gains = gains.assign(**{"way": "TVD", "p (Holm)": gains["p"]})
    assert results._whole(gains, "TVD", 0.05) == (
        "By the paired test (p corrected as in {doc}`../notebooks/08_tvd`, α = 0.05), guided decoding is better than "
        "greedy decoding for M on MiniGSM; is worse than greedy decoding for L on MiniGSM; cannot be told from greedy "
        "decoding for M on MiniMATH; is not tested for D on MiniCode."
    )
    assert results._whole(gains, "Best-of-N", 0.05) == ""


def test_wins_over_what_is_broken_are_told_apart_on_the_landing_page():
    rows = [verdict for number, verdict in enumerate(VERDICTS, 1) for _ in range(number)]
    ledger = pd.DataFrame(
        {"verdict": rows, "aspect": "arrow", "source": "paper", "composite": False, "paper_could": ""}
    )
    page = landing._of_claims([landing._Told("", pd.DataFrame(), ledger)])
    assert "could test 15, and finds **1** reproduced, **2** contradicted, **3** without a difference" in page
    assert "**4** undecided, and **5** wins" in page


def test_a_missed_target_is_marked_on_each_machine(monkeypatch, tmp_path):
    assert [meets(x, "≥ 3") for x in (2.99, 3.0)] == [False, True]
    assert [meets(x, "≤ 1.3") for x in (1.31, 1.3)] == [False, True]
    assert meets(5.0, "—") is None
    rows = [
        {"promise": name, "against": against, "ratio": ratio, "low": 1.0, "high": 1445.0, "target": target}
        | {"repeats": 5, "command": "python benchmarks/x.py", "machine": machine}
        for name, against, ratio, target, machine in (
            ("first", "another, batch 32", 4.0, "≥ 3", "A, 2 cores"),
            ("free", "another", 2.0, "—", "A, 2 cores"),
            ("first", "another, batch 64", 2.996, "≥ 3", "B, 4 cores"),
        )
    ]
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/latest.json").write_text(json.dumps(rows))
    monkeypatch.setattr("asprm.site.includes.measured.REPOSITORY", tmp_path)
    page = promises(None)
    assert "| promise | A | B | target |" in page
    # 2.996 would seem to be met if it were rounded.
    assert "| first, *against* another | 4 (1 to 1,445) ✓ | 2.996 (1 to 1,445) ✗ | ≥ 3 |" in page
    assert "| free, *against* another | 2 (1 to 1,445) |  | — |" in page
    assert "on A, 2 cores; B, 4 cores." in page


def test_a_gpu_is_shown_with_its_limits_and_its_absence_said(monkeypatch, tmp_path):
    monkeypatch.setattr("asprm.site.includes.measured.REPOSITORY", tmp_path)
    assert "Not measured" in performance.gpu(None)
    row = {"model": "7B", "what": "rollouts", "unit": "tokens/s", "value": 15210.0, "low": 14950.0, "high": 15300.0}
    measured = {"gpu": "a card", "torch": "2.11.0", "command": "python benchmarks/gpu.py", "bytes_per_second": 3.01e12}
    measured |= {
        "operations_per_second": 7.9e14,
        "rows": [row | {"limit": 30000.0, "share of limit": 0.507, "repeats": 3}],
    }
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/gpu.json").write_text(json.dumps(measured))
    page = performance.gpu(None)
    assert "| 7B | rollouts | 15,210 | 14,950 to 15,300 | tokens/s | 30,000 | 51 % |" in page
    assert "one a card, torch 2.11.0" in page
    assert "3.01 TB/s" in page
    assert "790 TFLOP/s" in page


def test_seconds_of_results_that_were_taken_over_are_counted_and_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    run = open_run("smoke", stage="sample", quiet=True)
    run.write_json("sample/M/own", {})
    assert "again" not in stage_seconds(run)
    run.kept.seconds = 1234.5
    run.write_json("sample/M/own", {})
    assert seconds_of(manifests(run.base))["sample"] >= 1234.5
    assert "Notebooks of sample were executed again" in stage_seconds(run)


def test_every_reward_model_is_described_in_words():
    page = reward_models(open_run("tiny", stage="claims", quiet=True))
    assert "| ER-PRM-L | L | L, line breaks, entropy labels | line breaks |" in page
    assert "| C+M | D | D, decision tokens; M, decision tokens, as many solutions of each | decision tokens |" in page
    assert set(ENDS) <= set(METHODS)


def test_best_of_n_has_one_value_on_all_pages(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="claims", quiet=True)
    rows = run.read(names.RESULTS).to_pandas().query("prm == 'ASPRM-M' and policy == 'M' and position == 'own steps'")
    assert rows["trainings"].tolist() == [3, 3, 3]
    reported = quantities(run, "best_of_n", "M").query("what == 'Best-of-N' and prm == 'ASPRM-M'")
    assert reported["value"].tolist() == pytest.approx(rows["bon"].tolist())
    by = rows.set_index("set")["bon"]
    for name, value in by.items():
        frames = rated(run, "ASPRM-M", name)
        gains = comparisons(frames, how=run.profile.best_of_n.aggregate)
        assert gains["a"].iloc[0] == pytest.approx(value)
    page = results.headline(run)
    assert f"is right for **{percent(by['minigsm'])}** of the problems: the mean of 3 trainings" in page
    assert "excludes 0" not in page


def test_a_comparison_has_one_corrected_p_on_all_pages(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="claims", quiet=True)
    judged = ledger(run).query("aspect != 'level'").set_index("id")
    of_policy = own_over_greedy(run).set_index(["policy", "set", "way"])[HOLM]
    other = on_other_problems(run, run.read(names.RESULTS).to_pandas()).set_index(["prm", "policy", "set", "way"])[HOLM]
    for policy, source in run.profile.policies.items():
        prm, guides = run.profile.prm_of(policy), run.profile.tvd.guide[policy]
        chosen = best_of_n.gains(run, policy, prm).set_index(["problems", "against"])[HOLM]
        guided = tvd.gains(run, policy, guides)[HOLM]
        shown = pd.concat([quantities(run, stage, policy) for stage in ("best_of_n", "tvd")]).set_index(
            ["what", "set", "prm"]
        )
        for name in sets.test_sets(run.profile, source.domain):
            for p in (of_policy[policy, name, "Best-of-N"], shown.at[(OVER[1], name, prm), "p"]):
                assert p == pytest.approx(chosen[name, "greedy"], nan_ok=True)
            assert of_policy[policy, name, "TVD"] == pytest.approx(guided[prm, name], nan_ok=True)
            for guide in guides:
                assert shown.at[(OVER[2], name, guide), "p"] == pytest.approx(guided[guide, name], nan_ok=True)
                if (guide, policy, name, "TVD") in other:
                    assert other[guide, policy, name, "TVD"] == pytest.approx(guided[guide, name], nan_ok=True)
    row = judged.loc["t1-gsm8k-M-asprm-M"]
    assert row["p_holm"] == pytest.approx(
        tvd.gains(run, "M", run.profile.tvd.guide["M"]).at[("ASPRM-M", "minigsm"), HOLM]
    )
    assert row["family"] == "chapter 8, policy M"
    row = judged.loc["t4-asprm-M-bo64"]
    assert row["p_holm"] == pytest.approx(of_policy["M", "minigsm-p2", "Best-of-N"])
    assert row["family"] == "chapter 7, policy M"
    assert set(judged["family"]) >= {
        "chapter 9, transfer",
        "chapter 9, other problems",
        "Table 3",
        "figures",
        "statements",
    }


def test_the_overview_has_every_policy_and_test_set(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    run = open_run("smoke", stage="claims", quiet=True)
    rows = [line.split(" | ") for line in overview(run).splitlines() if line.startswith("| ")][2:]
    labels = [f"| {policy}: {title(name)}" for policy, one in run.profile.policies.items()
            for name in sets.test_sets(run.profile, one.domain)]  # fmt: skip
    assert [row[0] for row in rows] == labels
    assert all("%" in row[1] and "%<br>" in row[2] and "%<br>" in row[3] for row in rows)


def test_the_first_sentence_says_which_kind_of_models_and_problems():
    said = {name: what_ran(open_run(name, "sample", quiet=True)) for name in ("tiny", "real", "paper")}
    assert "**small language models trained from scratch on synthetic word problems**" in said["tiny"]
    assert "from scratch" not in said["real"]
    assert "published language models" in said["paper"]


def test_the_facts_name_models_problems_time_commands_and_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))

    def shown(profile: str) -> str:
        run = open_run(profile, stage="sample", quiet=True)
        run.write_json("sample/own", {})
        return landing.facts(run)

    tiny = shown("tiny")
    assert "models\n: M: 1.11 million weights; L: 1.31 million weights; D: " in tiny
    assert "250 of MiniGSM" in tiny
    assert "`make study`" in tiny
    assert "https://arxiv.org/abs/2502.13943" in tiny
    assert "Q (`Qwen/Qwen2.5-Coder-0.5B-Instruct`): 494 million weights" in shown("real")
    assert "7.24 billion weights" in shown("paper")


def test_the_citation_has_the_paper_and_the_study():
    text = landing.citation(None)
    assert text.startswith("```bibtex\n@inproceedings{adaptivestep,")
    assert "@software{asprm,\n  title = {asprm: " in text
    assert text.count("{") == text.count("}")


def test_the_disclaimer_is_short_and_fits_the_run():
    small, published = (landing.disclaimer(open_run(name, "sample", quiet=True)) for name in ("tiny", "paper"))
    assert "no number here confirms or refutes" in small
    assert "confirms" not in published
    assert all(len(text.split()) <= 50 for text in (small, published))


def gains(*rows: tuple[str, float, float]) -> pd.DataFrame:
    """Rows of quantities: what, gain and corrected p of policy M by its own reward model."""
    frame = pd.DataFrame(rows, columns=["what", "value", "p"])
    return frame.assign(policy="M", prm="ASPRM-M", unit="points", set="minigsm")


def test_the_outcome_counts_sure_gains_of_this_run_and_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setattr("asprm.site.reference.REPOSITORY", tmp_path)  # without the runs that come with the project
    run = open_run("smoke", stage="tvd", quiet=True)
    tables = {
        "best_of_n": gains((OVER[0], 0.25, 0.001), (OVER[0], 0.5, 0.04), (OVER[1], -0.5, 0.04), (OVER[1], 0.5, 0.06)),
        "tvd": gains((OVER[2], 0.1, 0.5), (OVER[2], 0.0, np.nan)),
    }
    monkeypatch.setattr(
        landing, "quantities", lambda _, stage, policy: tables[stage].loc[[policy == "M"] * len(tables[stage])]
    )
    folder = tmp_path / "data" / "reference" / "other"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"parts": {"M": "Q", "ASPRM-M": "ASPRM-Q"}}))
    gains(*zip(OVER, (0.25, 0.0, -0.1), (0.001, 1.0, 0.001), strict=True)).to_parquet(folder / "quantities.parquet")
    choosing, guiding, claims = landing.outcome(run).splitlines()
    # Both comparisons stand in one sentence: a random sample is another rival than greedy decoding.
    assert "at random, on **2 of 2** pairs of policy and test set, loses on **0**, and cannot be told" in choosing
    assert (
        "best guess, on **0 of 2** pairs of policy and test set, loses on **1**, and cannot be told from it" in choosing
    )
    assert "from it on **1** (\N{MINUS SIGN}50.0 to +50.0 points)" in choosing
    assert (
        "`other`: 1 better, 0 worse, 0 undecided of 1 against one of the samples at random, and 0 better, 0 worse, 1 "
        "undecided of 1 against greedy decoding."
    ) in choosing
    assert "**0 of 2**" in guiding
    assert "on 1 changed no token, so that nothing could differ" in guiding
    assert "`other`: 0 better, 1 worse, 0 undecided of 1 against greedy decoding" in guiding
    assert "have not been compared" in claims
