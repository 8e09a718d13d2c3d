"""The viewer of solutions: what Python puts into it, and what a reader sees in Chromium, held against `asprm.split`."""

import json
import re

import numpy as np
import pytest
from small_tokenizers import byte_level_tokenizer

from asprm.models.align import Speller
from asprm.site import viewer
from asprm.site.check import check_site
from asprm.site.viewer import Solution, page, tokens, with_assets
from asprm.split import adaptive, cut

NASTY = '</script><b onclick="x">&\\(x\\)\u2028 "https://example.org/a.js" <!--'


def solution(text="5 + 7 = 12", cuts=(1, 3, 5, 7), confidences=(0.9, 0.2, 0.8, 0.5, 0.7), **more):
    ends = np.array([*cuts, len(text)])
    return Solution("One", "How many?", text, ends, np.array(confidences, np.float32), **more)


def many(count, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(rng.integers(1, 120))
        words = [f" {word}" for word in rng.integers(0, 999, length)]
        confidences = np.round(rng.beta(4, 0.5, length), 2).clip(0.01).astype(np.float32)  # with ties
        ends = np.cumsum([len(word) for word in words])
        made.append(Solution(f"No. {number}", "?", "".join(words), ends, confidences, bool(rng.integers(2))))
    return made


def data_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


# --- what Python writes -----------------------------------------------------------------------------------------------


def test_the_data_are_the_solution_and_its_confidences_to_the_last_digit():
    rng = np.random.default_rng(1)
    confidences = rng.random(5).astype(np.float32)
    row = data_of(tokens([solution(confidences=confidences)], tau=0.5, rollouts=8).html())["solutions"][0]
    assert row["tokens"] == ["5", " +", " 7", " =", " 12"]
    assert np.array_equal(np.array(row["confidences"], np.float32), confidences)


def test_what_a_model_wrote_is_neither_markup_nor_an_address_nor_a_formula(tmp_path):
    one = solution(NASTY, cuts=(), confidences=[0.5])
    view = tokens([one], tau=0.5, rollouts=8)
    assert data_of(view.html())["solutions"][0]["tokens"] == [NASTY]
    assert "<b" not in view.html()
    assert "\\(" not in view.html()
    html = page(view, f"All of {NASTY}")
    assert "<b onclick" not in html
    (tmp_path / "a.html").write_text(html, encoding="utf-8")
    assert check_site(tmp_path) == []


def test_without_scripts_the_first_solution_is_a_list_of_its_steps():
    one = solution(values={"label": {2: 1.0, 5: 0.0}}, correct=False)
    html = tokens([solution("x", (), [0.5]), one], tau=0.5, rollouts=8, first=1).html().split("<script")[0]
    assert re.findall(r'<li><span class="text">(.*?)</span>(.*?)</li>', html) == [
        ("5 +", " <em>(label 1)</em>"),
        (" 7 = 12", " <em>(label 0)</em>"),
    ]
    assert "One, wrong, in 2 steps" in html


def test_half_a_character_is_part_of_the_token_that_completes_it():
    tokenizer = byte_level_tokenizer()
    ids = tokenizer("🍎 €", add_special_tokens=False)["input_ids"]
    text, ends = Speller(tokenizer)(ids)
    one = Solution("", "", text, ends, np.full(len(ids), 0.9, np.float32))
    shown = data_of(tokens([one], tau=0.5, rollouts=8).html())["solutions"][0]["tokens"]
    assert len(shown) == len(ids)
    assert "".join(shown) == "🍎 €"
    assert {"🍎", "€"} <= set(shown)


@pytest.mark.parametrize(
    ("cuts", "confidences", "said"),
    [((1, 3), [0.5], "3 token ends and 1 confidences"), ((3, 1), [0.5] * 3, "rise"), ((), [], "1 token ends and 0")],
)
def test_tokens_that_are_not_those_of_the_text_are_refused(cuts, confidences, said):
    with pytest.raises(ValueError, match=said):
        solution(cuts=cuts, confidences=confidences)


def test_no_solutions_are_refused():
    with pytest.raises(ValueError, match="no solutions"):
        tokens([], tau=0.5, rollouts=8)


@pytest.mark.parametrize("watched", [True, False])
def test_a_notebook_that_a_person_runs_brings_the_script_and_an_executed_copy_does_not(monkeypatch, watched):
    monkeypatch.setattr(viewer, "interactive", lambda: watched)
    shown = tokens([solution()], tau=0.5, rollouts=8)._repr_mimebundle_()
    assert ("customElements" in shown["text/html"]) == watched
    assert len(shown["text/plain"]) < 80


def test_a_page_of_the_site_loads_the_script_where_it_has_a_view(tmp_path):
    html = f"<html><head></head><body>{tokens([solution()], tau=0.5, rollouts=8).html()}</body></html>"
    (tmp_path / "a.html").write_text(with_assets(html, "_static"), encoding="utf-8")
    viewer.into_site(tmp_path)
    assert 'src="_static/viewer.js"' in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert check_site(tmp_path) == []
    assert with_assets("<head></head>", "_static") == "<head></head>"


# --- what a reader sees -----------------------------------------------------------------------------------------------


def facts(shown):
    """The facts of a view, by name, as texts."""
    texts = dict(zip(shown.locator("dt").all_inner_texts(), shown.locator("dd").all_inner_texts(), strict=True))
    return texts | {name: float(texts[name]) for name in texts if name == "steps a solution"}


def set_tau(shown, tau):
    shown.get_by_label("Threshold, exactly").fill(str(tau))


def expected(solutions, tau, rollouts):
    ends = [adaptive(one.confidences.tolist(), tau) for one in solutions]
    low = sum(int((one.confidences.astype(float) < tau).sum()) for one in solutions)
    all_tokens, steps = sum(len(one.confidences) for one in solutions), sum(map(len, ends))
    return {
        "solutions": f"{len(solutions)}",
        "tokens below τ": f"{100 * low / all_tokens:.2f} % ({grouped(low)})".replace(" %", "\u00a0%"),
        "steps": grouped(steps),
        "steps a solution": pytest.approx(steps / len(solutions), abs=0.00501),  # two digits
        f"rollouts, {rollouts} a step": grouped(rollouts * (steps - len(solutions))),
    }


def grouped(number):
    return f"{number:,}".replace(",", "\u202f")


def shown_steps(shown):
    """The texts of the steps of the solution that is shown."""
    return shown.locator(".text").evaluate(
        """(text) => {
            const steps = [""];
            for (const node of text.querySelectorAll(".token, .end"))
                if (node.matches(".end")) steps.push(""); else steps[steps.length - 1] += node.textContent;
            return steps;
        }"""
    )


TAUS = [0.0, 0.01, 0.1, float(np.float32(0.35)), 0.35, 0.5, 0.72, 0.9, float(np.float32(0.99)), 1.0]


def test_the_threshold_gives_the_steps_that_the_study_gives(opened):
    solutions = many(30)
    shown = opened(tokens(solutions, tau=0.5, rollouts=8))
    for tau in TAUS:
        set_tau(shown, tau)
        assert facts(shown) == expected(solutions, tau, 8)
        one = solutions[0]
        ends = adaptive(one.confidences.tolist(), tau)
        *steps, rest = shown_steps(shown)
        assert steps == cut(one.text, one.char_ends[ends - 1])
        assert rest == ""


def test_confidences_in_double_precision_are_compared_as_they_are_written(opened):
    one = Solution("", "", "ab", np.array([1, 2]), np.array([0.1, 0.9]))
    shown = opened(tokens([one], tau=0.1, rollouts=1))
    assert shown_steps(shown) == ["ab", ""]  # 0.1 is not below 0.1, as it would be in single precision


def test_the_slider_moves_by_keys_and_leads_back(opened):
    shown = opened(tokens(many(5), tau=0.123456, rollouts=4))
    before = facts(shown)
    shown.get_by_label("Threshold", exact=True).press("End")
    assert facts(shown) == expected(many(5), 1, 4) != before
    shown.get_by_text("Back to the start").click()
    assert facts(shown) == before == expected(many(5), 0.123456, 4)


def test_right_and_wrong_solutions_are_filtered_and_turned(opened):
    solutions = many(12)
    shown = opened(tokens(solutions, tau=0.5, rollouts=8))
    for name, correct in (("right", True), ("wrong", False)):
        chosen = [one for one in solutions if one.correct == correct]
        shown.get_by_label("Show").select_option(name)
        assert facts(shown) == expected(chosen, 0.5, 8)
        titles = [shown.locator(".title").inner_text()]
        while shown.get_by_label("Next solution").is_enabled():
            shown.get_by_label("Next solution").click()
            titles.append(shown.locator(".title").inner_text())
        assert [title.split(" · ")[0] for title in titles][-len(chosen) :] == [one.title for one in chosen]
        assert all(name in title for title in titles)
        shown.get_by_label("Previous solution").click()


def test_labels_and_scores_stand_at_the_ends_that_have_them(opened):
    one = solution(values={"label": {2: 1.0, 5: 0.0}, "score": {2: 0.831}})
    shown = opened(tokens([one], tau=0.5, rollouts=8))
    seen = shown.locator('.end [aria-hidden="true"]')
    assert seen.all_inner_texts() == ["1: label 1, score 0.83", "2: label 0"]
    set_tau(shown, 0.6)
    assert seen.all_inner_texts() == ["1: label 1, score 0.83", "2", "3: label 0"]
    assert "(end of step 1, label 1, score 0.83)" in shown.locator(".text").text_content()


def test_the_keyboard_reaches_every_token_and_the_least_confident_ones(opened):
    shown = opened(tokens([solution()], tau=0.6, rollouts=8))
    detail = shown.locator(".detail")
    shown.get_by_text("Least confident token").click()
    assert "Token 2 of 5: +" in detail.inner_text().replace("\u00a0", " ").replace("  ", " ")
    assert "0.200 · below τ · ends step 1" in detail.inner_text()
    shown.get_by_text("Least confident token").click()
    assert "Token 4 of 5" in detail.inner_text()
    text = shown.get_by_role("group")
    for key, place in [("Home", 1), ("ArrowDown", 2), ("ArrowRight", 3), ("ArrowDown", 4), ("End", 5), ("ArrowUp", 4)]:
        text.press(key)
        assert f"Token {place} of 5" in detail.inner_text()
    shown.locator(".token").nth(2).click()
    assert "Token 3 of 5" in detail.inner_text()


def test_steps_that_are_given_have_no_threshold(opened):
    shown = opened(tokens([solution()], tau=None, ends=[[3, 5]], rollouts=8))
    assert shown.get_by_label("Threshold", exact=True).count() == 0
    assert shown_steps(shown) == ["5 + 7", " = 12", ""]
    assert facts(shown)["rollouts, 8 a step"] == "8"


def test_what_a_model_wrote_stays_text(opened):
    shown = opened(tokens([solution(NASTY, (), [0.1])], tau=0.5, rollouts=8))
    assert shown.locator(".token").inner_text().startswith("</script><b onclick")
    assert shown.locator("b").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(opened, width, scheme):
    long = Solution("x" * 90, "y" * 300, "z" * 400, np.array([400]), np.array([0.1], np.float32))
    shown = opened(tokens([long, *many(3)], tau=0.5, rollouts=8, code=True), width, color_scheme=scheme)
    assert shown.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_five_hundred_solutions_load_and_follow_the_threshold(opened):
    solutions = many(500)
    shown = opened(tokens(solutions, tau=0.5, rollouts=8))
    seconds = shown.evaluate(
        """() => {
            const range = document.querySelector("input[type=range]"), start = performance.now();
            for (let i = 0; i < 20; i++) { range.value = i / 20; range.dispatchEvent(new Event("input")); }
            return (performance.now() - start) / 20000;
        }"""
    )
    load = shown.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart") / 1000
    print(f"500 solutions: loaded in {load:.3f} s, redrawn in {seconds:.4f} s")
    assert facts(shown) == expected(solutions, 0.95, 8)
