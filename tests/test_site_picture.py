"""The picture shows the values of the tables, and everything in a panel stays inside it."""

import shutil
from dataclasses import asdict, replace
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asprm import REPOSITORY
from asprm.run.artifacts import manifest_path
from asprm.run.open import open_run
from asprm.site.drawing import ADVANCE, HEIGHT, WIDTH, flow
from asprm.site.picture import description, figure, pipeline_svg
from asprm.site.story import LINE, LINES, Label, Solution, Story, story
from asprm.tvd import Decision

SVG = "{http://www.w3.org/2000/svg}"
TOKENS = ("Ben", " has", " 12", " -", " 5", " =", " 7", ".", "\n", "12", " +", " 7", " =", " 19", ".", "")
SURE = (0.97, 0.99, 0.94, 0.52, 0.96, 0.99, 0.95, 0.99, 0.99, 0.92, 0.61, 0.97, 0.99, 0.96, 0.99, 1.0)
TRAINING = Solution("minigsm-train-000007", "Ben has 12 pens & 5 < 6.", 2, False, TOKENS, SURE, (4, 11, 16))
TEST = replace(TRAINING, problem="minigsm-test-000003", correct=True, scores=(0.93, 0.88, 0.91))
DECISION = Decision(
    "minigsm",
    "minigsm-test-000005",
    "How many?",
    0.8,
    True,
    False,
    "She has 3",
    [" +", " -"],
    [0.6, 0.3],
    [0.2, 0.9],
    1,
)
STORY = Story(
    profile="smoke",
    policy="M",
    prm="ASPRM-M",
    tau=0.7,
    histogram=(3, 1, 0, 2, 0, 0, 5, 0, 1, 7, 9, 11, 30, 2, 17, 40, 60, 90, 400, 12000),
    below=31,
    solution=TRAINING,
    labels=(Label(1, 2, 1.0), Label(0, 4, 0.0), Label(0, 1, 0.0)),
    rollouts=4,
    estimate="hard",
    how="min",
    candidates=16,
    best=TEST,
    worst=replace(TEST, correct=False, scores=(0.93, 0.31)),
    decision=DECISION,
)
LONG = Solution(
    "livecodebench/2024-08-and-so-on_problem_1234",
    "Long.",
    1,
    True,
    (" incomprehensibilities",) * 3 + ("    ", "x" * 60, "\n\n", "return") * 20,
    (0.5, 0.99, 0.2) * 27 + (0.9, 0.9),
    tuple(range(1, 84, 2)),
    (0.123,) * 42,
)
STORIES = {
    "usual": STORY,
    "no decision": replace(STORY, decision=None),
    "long": replace(
        STORY,
        prm="reward-model-with-a-long-name",
        tau=0.3,
        how="product",
        solution=LONG,
        best=LONG,
        worst=LONG,
        rollouts=16,
        estimate="entropy",
        labels=(Label(1, 16, 0.0625),) * 42,
        decision=replace(
            DECISION,
            problem="x" * 60,
            before="word " * 50,
            tokens=["incomprehensible", "\n\n", "", " ", "a", "b", "c", "d"],
            probabilities=[0.2] * 8,
            scores=[0.1] * 7 + [0.9],
            written=7,
        ),
    ),
    "one step": replace(STORY, solution=replace(TRAINING, ends=(16,)), labels=(Label(1, 1, 1.0),), histogram=(1,) * 20),
}


def panels(of, columns=2):
    return ElementTree.fromstring(pipeline_svg(of, columns)).findall(f"{SVG}g")


def words(element):
    return [one.text for one in element.iter(f"{SVG}text")]


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("name", STORIES)
def test_everything_stays_inside_its_panel(name, columns):
    found = panels(STORIES[name], columns)
    assert len(found) == 6
    for panel in found:
        for one in panel.iter(f"{SVG}text"):
            kind = one.get("class")
            width = float(one.get("textLength") or ADVANCE[kind] * len(one.text))
            x, y = float(one.get("x")), float(one.get("y"))
            left = x - width * {"start": 0, "middle": 0.5, "end": 1}[one.get("text-anchor", "start")]
            assert left >= 0, one.text
            assert left + width <= WIDTH, one.text
            assert 12 <= y <= HEIGHT - 4, one.text
        for one in panel.iter(f"{SVG}rect"):
            x, y, width, height = (float(one.get(key)) for key in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + width <= WIDTH
            assert y + height <= HEIGHT


def test_every_token_stands_once_in_its_line():
    placed, more = flow(TOKENS)
    assert not more
    assert [place.token for place in placed] == list(range(16))
    assert "".join(place.shown for place in placed) == "Ben has 12 - 5 = 7.⏎12 + 7 = 19.■"
    assert {place.line for place in placed} == {0, 1}


def test_lines_break_between_words_and_stop_at_the_last():
    placed, more = flow([" word", "s"] * 40)
    assert more
    assert max(place.line for place in placed) == LINES - 1
    assert max(place.column + len(place.shown) for place in placed) <= LINE + 1  # a line break may hang
    assert all(placed[i + 1].line == placed[i].line for i in range(0, len(placed), 2))


def test_programs_keep_their_indentation():
    placed, _ = flow(["def", " f", "(n", "):\n", "    ", "return", " n", "\n  ", "#", " " + "x" * 34, "\n", "end"])
    lines = [[(place.column, place.shown) for place in placed if place.line == line] for line in range(4)]
    assert lines[0] == [(0, "def"), (3, " f"), (5, "(n"), (7, "):⏎")]
    assert lines[1] == [(0, "    "), (4, "return"), (10, " n"), (12, "⏎")]
    assert lines[2] == [(2, "#"), (3, " " + "x" * 34), (38, "⏎")]  # it hangs
    assert lines[3] == [(0, "end")]


def test_a_step_ends_with_a_doubtful_token():
    split = panels(STORY)[2]
    colors = [one.get("class") for one in split.iter(f"{SVG}rect") if one.get("class").startswith("s")]
    assert colors == ["s1"] * 4 + ["s2"] * 7 + ["s3"] * 5
    assert sum(one.get("class") == "doubt" for one in split.iter(f"{SVG}rect")) == 2


def test_words_say_what_the_panels_show():
    said = " ".join(description(STORY).split())
    for words in (
        "Its confidence is low at - (0.52), + (0.61).",
        "of 12,678 tokens 31, 0.2 %, have a confidence below 0.700",
        "into 3 steps",
        "step 1: 1 of 2 right, label 1; step 2: 0 of 4 right, label 0; step 3: the solution itself, label 0.",
        "0.93, 0.88, 0.91, min 0.88, right; the worst one 0.93, 0.31, min 0.31, wrong",
        "+ with probability 0.60 and score 0.20; - with probability 0.30 and score 0.90; written is -",
    ):
        assert words in said
    assert "Ben has 12 pens &amp; 5 &lt; 6." in figure(STORY)
    assert figure(STORY).count("<svg") == 2


@pytest.mark.parametrize("name", ["pipeline.svg", "pipeline-tall.svg"])
def test_the_readme_shows_a_run_of_the_default_profile(name):
    drawn = ElementTree.parse(REPOSITORY / "book" / "_static" / name).getroot()
    assert drawn.find(f"{SVG}title").text.endswith("of a run of profile tiny")
    assert len(drawn.findall(f"{SVG}g")) == 6
    assert f"_static/{name}" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


# --- of a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(study, monkeypatch):
    monkeypatch.setenv("ASPRM_HOME", str(study))
    return open_run("smoke", stage="tvd", quiet=True)


def rows_of(run, name, solution):
    every = run.read(name).to_pylist()
    return [row for row in every if (row["problem"], row["solution"]) == (solution.problem, solution.number)]


def test_the_numbers_are_those_of_the_tables(run):
    shown = story(run)
    fitted = run.read_json("threshold/M")
    assert (shown.tau, shown.total, shown.below) == (fitted["tau"], fitted["tokens"], fitted["decision_tokens"])
    [row] = rows_of(run, "sample/M/train", shown.solution)
    assert shown.solution.text == row["text"]
    assert list(shown.solution.confidences) == row["confidences"]
    [row] = rows_of(run, "split/M/adaptive", shown.solution)
    assert list(shown.solution.ends) == row["ends"]
    found = [
        (row["right"], row["rollouts"], row["label"]) for row in rows_of(run, "rollout/M/adaptive", shown.solution)
    ]
    assert [(label.right, label.run, label.value) for label in shown.labels] == found
    for one in (shown.best, shown.worst):
        [row] = rows_of(run, "best_of_n/ASPRM-M/M-minigsm", one)
        assert (list(one.scores), one.correct) == (row["scores"], row["correct"])
        assert len(one.ends) == len(one.scores)
    rated = run.read("best_of_n/ASPRM-M/M-minigsm").to_pylist()
    least = [min(row["scores"]) for row in rated if row["problem"] == shown.best.problem]
    assert (min(shown.best.scores), min(shown.worst.scores)) == (max(least), min(least))
    decision = run.read_json("tvd/ASPRM-M/M-decision")
    assert (shown.decision and asdict(shown.decision)) == decision  # null: guided decoding won none
    drawn = [words(panel) for panel in panels(shown)]
    assert f"τ = {fitted['tau']:.3f}" in drawn[1]
    assert {f"{score:.2f}" for score in shown.best.scores[:4]} <= set(drawn[4])


def test_the_picture_changes_with_a_table(run, tmp_path, monkeypatch):
    before = story(run)
    for part in ("sample/M", "rollout/M", "threshold", "best_of_n/ASPRM-M", "tvd/ASPRM-M"):
        shutil.copytree(run.base / part, tmp_path / "data/runs/smoke" / part)
    path = tmp_path / "data/runs/smoke/best_of_n/ASPRM-M/M-minigsm.parquet"
    table = pq.read_table(path)
    halved = pa.array([[score / 2 for score in row] for row in table["scores"].to_pylist()], pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.schema.get_field_index("scores"), "scores", halved), path)
    manifest_path(path).unlink()  # it names the digest of the table that was written
    monkeypatch.setenv("ASPRM_HOME", str(tmp_path))
    after = story(open_run("smoke", stage="tvd", quiet=True))
    assert after.best.problem == before.best.problem
    assert after.best.scores == pytest.approx([score / 2 for score in before.best.scores])
    assert pipeline_svg(after, 2) != pipeline_svg(before, 2)


def test_the_landing_page_shows_this_runs_picture(run):
    page = (run.base / "site" / "book" / "index.html").read_text(encoding="utf-8")
    assert figure(story(run)).strip() in page
