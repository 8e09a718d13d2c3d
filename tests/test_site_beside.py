"""Quantities by hand, and runs side by side."""

import json

import numpy as np
import pandas as pd
import pytest

from asprm import best_of_n
from asprm.claims import ledger
from asprm.results.paper import paper
from asprm.results.verdicts import VERDICTS
from asprm.run import names
from asprm.run.artifacts import to_json, write_parquet
from asprm.run.manifests import OF_ALL
from asprm.run.open import open_run
from asprm.run.shipped import FOLDER, manifests_of, tables_of
from asprm.site import beside as module
from asprm.site.beside import PAPER, beside, ledgers
from asprm.site.keep import keep, main
from asprm.site.quantities import (
    AT,
    BEST,
    GREEDY,
    GUIDED,
    MAJORITY,
    OVER_GREEDY,
    OVER_SINGLE,
    PLAIN,
    POINTS,
    SHARE,
    SINGLE,
    STAGES,
    Quantity,
    all_quantities,
    quantities,
)
from asprm.site.reference import ABOUT, QUANTITIES, Reference, references
from asprm.statistics import HOLM

PROFILE = """
extends: tiny
name: mine
description: tables made by hand
problems: {test: {minigsm: 8}}
policies:
  L: null
  D: null
  Q: {path: data/policies/M}
reward_models: {ASPRM-M: null, ASPRM-L: null, ASPRM-D: null, MS-M: null, ER-PRM-L: null, ORM-D: null, L-to-M: null,
  M+C: null, C+M: null, sweep-0.005: null, sweep-0.01: null, sweep-0.015: null, sweep-0.02: null,
  ASPRM-Q: {base: Q, data: [Q/adaptive]}, MS-Q: {base: Q, data: [Q/line], role: baseline}}
best_of_n: {score: {M: [], Q: [ASPRM-Q, MS-Q]}}
tvd: {guide: {M: [], Q: [ASPRM-Q]}}
cast: {M: Q, ASPRM-M: ASPRM-Q, MS-M: MS-Q}
"""
PROBLEMS = [f"p{i}" for i in range(8)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of eight problems with two candidates each, the first of them right."""
    file = tmp_path / "mine.yml"
    file.write_text(PROFILE)
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    monkeypatch.setattr("asprm.site.reference.REPOSITORY", tmp_path)
    run = open_run(str(file), stage="claims", parameters={"policy": "Q"}, quiet=True)
    rows = [(p, j, 1, True, j == 0, f"{j}", [1] * (4 if j else 2)) for p in PROBLEMS for j in (0, 1)]
    samples = pd.DataFrame(rows, columns=["problem", "solution", "count", "finished", "correct", "answer", "ids"])
    write(run, "sample/Q/minigsm", samples)
    write(run, "sample/Q/train", samples.assign(count=[3, 1] * 8, finished=[True, False] * 8))
    write(run, "sample/Q/minigsm-greedy", {"problem": PROBLEMS, "correct": [True] * 2 + [False] * 6})
    for prm, right in (("ASPRM-Q", 8), ("MS-Q", 4)):
        scores = [[0.9 - 0.5 * (j == (i < right))] for i in range(8) for j in (0, 1)]
        write(run, f"best_of_n/{prm}/Q-minigsm", samples.assign(scores=scores))
    guided = {
        "problem": PROBLEMS * 2,
        "trigger": [0.5] * 8 + [0.9] * 8,
        "correct": [True] * 8 + [False] * 8,
        "changed": 1,
        "decisions": 1,
        "tokens": 9,
    }
    write(run, "tvd/ASPRM-Q/Q-minigsm", guided)
    (run.base / "tvd/ASPRM-Q/Q.json").write_text(json.dumps({"trigger": 0.5}))
    return run


def write(run, name, frame):
    path = run.base / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pd.DataFrame(frame))


def of(frame, what, prm=""):
    [row] = frame[(frame["what"] == what) & (frame["prm"] == prm)].to_dict("records")
    return row


def test_quantities_go_by_the_papers_names(run):
    frame = quantities(run, "best_of_n", "Q")
    assert set(frame["policy"]) == {"M"}
    assert set(frame["set"]) == {"minigsm"}
    best, gain = of(frame, BEST, "ASPRM-M"), of(frame, f"{BEST}, gain over a single sample", "ASPRM-M")
    assert (best["value"], best["unit"]) == (1, SHARE)
    assert (gain["value"], gain["unit"]) == (0.5, POINTS)
    tested = best_of_n.gains(run, "Q", "ASPRM-Q").set_index("against")
    assert tested.at["single sample", "p"] == pytest.approx(2 / 2**8, abs=0.003)  # signs are flipped at random
    assert gain["p"] == tested.at["single sample", HOLM] > tested.at["single sample", "p"]
    assert of(frame, f"{BEST}{OVER_GREEDY}", "ASPRM-M")["p"] == tested.at["greedy", HOLM]
    assert np.isnan(of(frame, f"{BEST}{OVER_SINGLE}", "MS-M")["p"])  # the chapter tests its own reward model
    assert of(frame, BEST, "MS-M")["value"] == 0.5


def test_a_published_set_goes_by_the_family_that_mirrors_it(run):
    for name in ("minigsm", "minigsm-greedy"):
        (run.base / f"sample/Q/{name}.parquet").rename(run.base / f"sample/Q/{name.replace('mini', '')}8k.parquet")
    (run.base / "sample/Q/gsm-greedy8k.parquet").rename(run.base / "sample/Q/gsm8k-greedy.parquet")
    file = run.root / "mine.yml"
    file.write_text(file.read_text().replace("{test: {minigsm: 8}}", "{test: {gsm8k: 8, minigsm: null}}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asprm.site.quantities.test_sets", lambda profile, domain: ["gsm8k"])
        patch.setattr("asprm.generalize.templates", lambda profile, name: None)
        frame = quantities(run, "sample", "Q")
    assert of(frame, GREEDY)["set"] == "minigsm"


def test_equal_samples_that_were_merged_count_as_often_as_they_were_drawn(run):
    frame = quantities(run, "sample", "Q")
    assert of(frame, "tokens per solution")["value"] == (3 * 2 + 1 * 4) / 4
    assert of(frame, "cut at the length limit")["value"] == 0.25
    assert {what: of(frame, what)["value"] for what in (GREEDY, SINGLE, MAJORITY)} == {
        GREEDY: 0.25,
        SINGLE: 0.5,
        MAJORITY: 0.5,
    }


def test_guided_decoding_is_taken_at_the_chosen_trigger(run):
    frame = quantities(run, "tvd", "Q")
    assert of(frame, GUIDED, "ASPRM-M")["value"] == 1
    assert of(frame, f"{GUIDED}, gain over greedy decoding", "ASPRM-M")["value"] == 0.75
    assert of(frame, "trigger", "ASPRM-M")["value"] == 0.5


# --- side by side -----------------------------------------------------------------------------------------------------


def reference(run, name, frame, parts=()):
    folder = run.root / FOLDER / name
    folder.mkdir(parents=True)
    (folder / ABOUT).write_text(to_json({"name": name, "parts": dict(parts)}))
    write_parquet(folder / f"{QUANTITIES}.parquet", frame)
    return folder


def at(run, stage):
    return open_run(str(run.root / "mine.yml"), stage=stage, parameters={"policy": "Q"}, quiet=True)


def test_without_another_run_the_paper_stands_beside_this_one(run):
    shown = beside(at(run, "tvd"))
    assert list(shown.columns) == ["this run: mine, Q", PAPER]
    here, papers = shown.loc[(GUIDED, "MiniGSM / GSM8K", "ASPRM-M")]
    assert here.startswith("100.0 %")
    assert papers == f"{paper('t1-gsm8k-M-asprm-M'):.1f} %"


def test_a_run_stands_beside_this_one_where_a_policy_plays_the_same_part(run):
    rows = quantities(run, "tvd", "Q").assign(stage="tvd", value=0.25, low=0.125, high=0.5)
    reference(run, "other", pd.concat([rows, rows.assign(policy="L", value=0.75)]), {"M": "Z"})
    shown = beside(at(run, "tvd"))
    assert list(shown.columns) == ["this run: mine, Q", "other, Z", PAPER]
    assert shown.loc[(GUIDED, "MiniGSM / GSM8K", "ASPRM-M"), "other, Z"] == "25.0 % [12.5 %, 50.0 %]"
    gain = shown.loc[(f"{GUIDED}, gain over greedy decoding", "MiniGSM / GSM8K", "ASPRM-M")]
    assert gain["other, Z"] == "+25.0 [+12.5 to +50.0], p = .031"
    assert gain[PAPER] == "–"


def test_a_row_that_this_run_lacks_is_shown_where_it_reports_the_same_thing_of_another_set(run):
    rows = quantities(run, "tvd", "Q").assign(stage="tvd")
    reference(run, "other", rows[rows["set"] != ""].assign(set="minimath"), {"M": "Z"})
    shown = beside(at(run, "tvd"))
    assert shown.loc[(GUIDED, "MiniMATH / MATH500", "ASPRM-M"), "this run: mine, Q"] == "–"


def test_nothing_stands_beside_a_stage_that_no_other_run_and_no_table_of_the_paper_reports(run, monkeypatch):
    monkeypatch.setattr(module, "quantities", lambda run, stage, policy: own)
    own = pd.DataFrame([Quantity("mean label", PLAIN, 0.5)]).assign(policy="M")
    assert beside(at(run, "rollout")) is None
    reference(run, "other", own.assign(stage="rollout", value=0.25), {"M": "Z"})
    assert list(beside(at(run, "rollout")).columns) == ["this run: mine, Q", "other, Z"]


def test_a_chapter_of_all_policies_shows_each_beside_the_other_run(run, monkeypatch):
    rows = [Quantity(f"{BEST}{AT}own steps", SHARE, 0.5, 0.4, 0.6, "minigsm", prm) for prm in ("ASPRM-M", "L-to-M")]
    own = pd.DataFrame(rows)
    monkeypatch.setattr(module, "quantities", lambda run, stage, policy: own.assign(policy="M"))
    reference(run, "other", own.assign(stage="generalize", policy="M", value=0.25, low=0.125, high=0.5), {"M": "Z"})
    shown = beside(open_run(str(run.root / "mine.yml"), stage="generalize", quiet=True))
    assert list(shown.columns) == ["this run: mine", "other", PAPER]
    row = shown.loc[("Q", f"{BEST}{AT}own steps", "MiniGSM / GSM8K", "ASPRM-M")]
    assert row["this run: mine"] == "50.0 % [40.0 %, 60.0 %]"
    assert row["other"] == "25.0 % [12.5 %, 50.0 %]"
    assert row[PAPER] == f"{paper('t3-asprm-M-confidence'):.1f} %"


def test_every_chapter_with_results_shows_a_second_run(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    smoke = open_run("smoke", stage="claims", quiet=True)
    every = all_quantities(smoke)
    assert set(every["stage"]) == set(STAGES)
    (tmp_path / ABOUT).write_text(to_json({"name": "second", "parts": {name: name for name in smoke.profile.policies}}))
    write_parquet(tmp_path / f"{QUANTITIES}.parquet", every.assign(value=every["value"] / 2))
    monkeypatch.setattr(module, "references", lambda run: [Reference(tmp_path)])
    for stage in STAGES:
        for policy in ("M",) if stage in (*OF_ALL, "rivals") else ("M", "L", "D"):
            shown = beside(open_run("smoke", stage, {} if stage in OF_ALL else {"policy": policy}, quiet=True))
            assert [name for name in shown.columns if name.startswith(tmp_path.name)], (stage, policy)


def test_without_another_run_the_ledger_is_not_shown_twice(run):
    (run.base / "sample/Q/train.parquet").unlink()
    assert ledgers(run, ledger(run), "arrow") is None


def test_a_run_is_not_shown_beside_itself(run):
    reference(run, "mine", quantities(run, "tvd", "Q").assign(stage="tvd"))
    assert references(run) == []


def test_the_ledgers_of_all_runs_stand_side_by_side(run):
    (run.base / "sample/Q/train.parquet").unlink()
    frame = ledger(run)
    folder = reference(run, "other", pd.DataFrame({"stage": [], "policy": []}))
    (folder / "claims").mkdir()
    lost = frame.assign(here=-1.5, low=-2.0, high=np.nan, verdict="opposite")
    write_parquet(folder / f"{names.LEDGER}.parquet", lost.assign(high=-1.0))
    shown = ledgers(run, frame, "arrow")
    assert list(shown.columns) == ["says", PAPER, "this run: mine", "other"]
    assert len(shown) == 46
    own = shown.loc["t1-gsm8k-M-asprm-M"]
    assert own["this run: mine"].startswith("75.00 [")
    assert own["this run: mine"].endswith(VERDICTS["reproduced"])
    assert own["other"] == f"−1.50 [−2.00, −1.00] {VERDICTS['opposite']}"
    assert shown.loc["t1-gsm8k-L-asprm-L", "this run: mine"] == VERDICTS["not run"]


# --- a run becomes a reference ----------------------------------------------------------------------------------------


def test_what_is_kept_of_a_run_is_what_pages_show(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    smoke = open_run("smoke", stage="claims", quiet=True)
    kept = keep(smoke, tmp_path / "data/reference/smoke")
    about = json.loads((kept / ABOUT).read_text())
    assert about["seconds"].keys() >= {"sample", "rollout", "prm"}
    assert about["parts"]["M"] == "M"
    assert {path.suffix for path in kept.rglob("*") if path.is_file()} == {".json", ".jsonl", ".parquet", ".ipynb"}
    assert not list(kept.rglob("*.safetensors"))
    frame = pd.read_parquet(kept / f"{QUANTITIES}.parquet")
    assert set(frame["stage"]) == set(STAGES)
    assert set(frame["policy"]) == {"M", "L", "D"}
    monkeypatch.setattr(module, "references", lambda run: [Reference(kept)])
    shown = beside(open_run("smoke", stage="best_of_n", quiet=True))
    assert (shown["this run: smoke, M"] == shown["smoke, M"]).all()
    assert len(shown) >= 4


def test_tables_of_chapters_are_kept_in_place_of_notebooks(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    smoke = open_run("smoke", stage="claims", quiet=True)
    kept = keep(smoke, tmp_path / "data/reference/smoke", tables=True)
    assert {path.suffix for path in kept.rglob("*") if path.is_file()} == {".json", ".jsonl", ".parquet"}
    assert not list(kept.glob("best_of_n/*/*@*"))
    for stage in ("sample", "threshold", "split", "rollout", "best_of_n", "tvd", "tokens", "truth"):
        for policy in ("M", "L"):
            assert tables_of(kept, stage, policy), (stage, policy)
    scored = "best_of_n/ASPRM-M@1/M-minigsm.parquet"
    assert (kept / scored).read_bytes() == (smoke.base / scored).read_bytes()
    assert manifests_of(kept)["prm/ASPRM-M"] == smoke.manifest("prm/ASPRM-M")
    assert not (kept / "prm/ASPRM-M").exists()


def test_an_unfinished_run_is_not_kept(run, capsys):
    assert main(["--profile", str(run.root / "mine.yml")]) == 1
    assert "make it with" in capsys.readouterr().err
    assert not (run.root / FOLDER / "mine").exists()
