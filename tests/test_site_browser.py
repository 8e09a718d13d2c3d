"""The built site in Chromium, on a desktop and a phone, light and dark: without errors, asking nothing of others,
fit for keyboards and screen readers.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import pages_of

from asprm.site import viewer

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
CHAPTER = re.compile(r"notebooks/(\d\d_\w+)\.html")
LARGEST = 800_000  # bytes of a page without a viewer

FEW_ROWS = """() => {
  for (const box of document.querySelectorAll("details")) box.open = true;
  document.head.insertAdjacentHTML("beforeend", "<style>* {transition: none !important}</style>");
  // Hidden panels of tabs are not looked at, and axe would walk through all of them.
  for (const panel of document.querySelectorAll("[role=tabpanel] ~ [role=tabpanel]")) panel.replaceChildren();
  // The rows of a table are alike, so the first ones stand for all.
  for (const body of document.querySelectorAll("tbody")) [...body.rows].slice(6).forEach((row) => row.remove());
}"""
AXE = """(rules) => axe.run(document, {...rules, resultTypes: ["violations"], preload: false}).then((found) =>
  found.violations.filter((fault) => ["serious", "critical"].includes(fault.impact))
  .flatMap((fault) => fault.nodes.map((node) => `${fault.id}: ${node.html.slice(0, 200)}: ${node.failureSummary}`)))"""


def readable(built: Path) -> list[str]:
    """All pages but the first, which only leads on."""
    return [name for name in pages_of(built) if name != "index.html"]


def _stopped(request) -> bool:
    """Whether a request failed because its page was left while it was loading."""
    return "ABORTED" in (request.failure or "")


@pytest.fixture
def view(browser, request) -> Iterator:
    """A page of Chromium of the test's `size` that notes in `view.wrong` what goes wrong."""
    page = browser.new_page(viewport=SIZES[getattr(request, "param", "desktop")])
    page.wrong = []
    page.on("console", lambda m: m.type == "error" and page.wrong.append(f"{page.url}: console: {m.text}"))
    page.on("pageerror", lambda e: page.wrong.append(f"{page.url}: error: {e}"))
    # A page that is left stops what it was still loading.
    page.on(
        "requestfailed", lambda r: "ABORTED" in (r.failure or "") or page.wrong.append(f"{page.url}: failed: {r.url}")
    )
    page.on("response", lambda r: r.status >= 400 and page.wrong.append(f"{page.url}: status {r.status}: {r.url}"))
    yield page
    page.close()


@pytest.mark.parametrize("view", SIZES, indirect=True)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("served", [True, False], ids=["server", "file"])
def test_every_page_opens_without_error_and_fits(built, address, view, theme, served):
    root = address if served else built.as_uri()
    view.emulate_media(color_scheme=theme)
    view.on("request", lambda r: r.url.startswith((root, "data:")) or view.wrong.append(f"{view.url}: asks {r.url}"))
    for name in readable(built):
        view.goto(f"{root}/{name}", wait_until="load")
        view.wait_for_function("window.MathJax?.startup?.promise ? MathJax.startup.promise.then(() => true) : true")
        formulas, rendered, failed, overflow = view.evaluate(
            """() => ['.math', '.math > mjx-container', 'mjx-merror'].map(s => document.querySelectorAll(s).length)
                .concat(document.documentElement.scrollWidth - window.innerWidth)"""
        )
        if rendered < formulas or failed:
            view.wrong.append(f"{name}: {rendered} of {formulas} formulas rendered, {failed} with an error")
        if overflow > 0:
            view.wrong.append(f"{name}: {overflow} px wider than the page")
        assert view.evaluate("document.documentElement.dataset.theme") == theme
    assert view.wrong == []


def test_the_first_page_leads_to_the_landing_page(built, view):
    view.goto(f"{built.as_uri()}/index.html")
    view.wait_for_url("**/book/index.html")


@pytest.mark.parametrize("view", SIZES, indirect=True)
def test_no_page_has_a_serious_fault_for_those_who_see_or_hear_it_otherwise(built, view):
    """axe's rules, contrast of at least 4.5 to 1 among them. The first panel of each page's tabs is looked at."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    axe = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    faults = []
    for name in readable(built):
        view.goto(f"{built.as_uri()}/{name}", wait_until="load")
        view.wait_for_function("window.MathJax?.startup?.promise ? MathJax.startup.promise.then(() => true) : true")
        view.evaluate(FEW_ROWS)
        view.evaluate(axe)
        # Of axe's rules only one depends on the theme.
        for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            view.emulate_media(color_scheme=theme)
            view.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
            faults += [f"{name}, {theme}: {fault}" for fault in view.evaluate(AXE, rules)]
    assert faults == []


@pytest.mark.parametrize("view", SIZES, indirect=True)
def test_the_first_screen_says_that_the_models_are_small_and_the_problems_synthetic(built, view):
    view.goto(f"{built.as_uri()}/book/index.html")
    box = view.get_by_text("small language models trained from scratch on synthetic word problems").bounding_box()
    assert box["y"] + box["height"] < view.viewport_size["height"]


@pytest.mark.parametrize(("word", "chapter"), [("confidence", "03_threshold"), ("hesitat", "03_threshold")])
def test_the_search_finds_each_chapter_once(built, address, view, word, chapter):
    view.goto(f"{address}/search.html?q={word}")
    view.wait_for_function("document.querySelector('#search-results .search-summary')?.textContent.match(/\\d/)")
    links = view.eval_on_selector_all("#search-results ul.search > li > a", "all => all.map(a => a.href)")
    chapters = [match[1] for link in links if (match := CHAPTER.search(link))]
    assert chapter in chapters
    assert len(chapters) == len(set(chapters))


USABLE = """() => {
  const usable = ".bd-article :is(a[href], button, summary, input, select, [role=tab][tabindex='0']), .table-box";
  window.unreached = new Set([...document.querySelectorAll(usable)].filter((one) =>
    one.checkVisibility({visibilityProperty: true}) && one.tabIndex >= 0
    && (!one.matches(".table-box") || one.scrollWidth > one.clientWidth + 1)));
  document.addEventListener("focusin", (event) => window.unreached.delete(event.target));
  return document.querySelectorAll("a[href], button, summary, input, select, [tabindex]").length;
}"""


@pytest.mark.parametrize("view", SIZES, indirect=True)
@pytest.mark.parametrize("name", ["book/index", "notebooks/07_best_of_n"])
def test_the_keyboard_reaches_all_that_can_be_used(built, view, name):
    view.goto(f"{built.as_uri()}/{name}.html", wait_until="load")
    view.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    most = view.evaluate(USABLE)
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.closest('.skip-link') !== null")  # to the article without detours
    for _ in range(most):
        view.keyboard.press("Tab")
    assert view.evaluate("[...window.unreached].map((one) => one.outerHTML.slice(0, 150))") == []


def test_tabs_turn_by_arrow_keys(built, view):
    view.goto(f"{built.as_uri()}/notebooks/07_best_of_n.html")
    tabs = view.locator(".copies [role=tab]")
    tabs.first.focus()
    view.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert view.evaluate("document.activeElement === document.querySelectorAll('.copies [role=tab]')[1]")
    shown = view.locator("[role=tabpanel]:visible")
    assert shown.count() == 1
    assert shown.get_attribute("aria-labelledby") == tabs.nth(1).get_attribute("id")


# "here" is not among them: the paper's own tables keep the paper's shape, and some are wider than a page.
RESULTS = ["verdict", "gain in points", "points", "saving", "95 % interval", "p (Holm)", "f1", "recall"]


def test_the_columns_that_carry_a_result_are_in_sight_on_a_desktop(built, view):
    hidden = []
    for name in readable(built):
        view.goto(f"{built.as_uri()}/{name}", wait_until="load")
        hidden += [
            f"{name}: {column}"
            for column in view.evaluate(
                """(results) => [...document.querySelectorAll(".table-box")].flatMap((box) => {
                  const right = box.getBoundingClientRect().right + 1;
                  const words = (head) => head.textContent.trim().replace(/\\s/g, " ");
                  return [...box.querySelectorAll("thead th")].map((head) => [words(head), head])
                    .filter(([text, head]) => results.includes(text) && head.getBoundingClientRect().right > right)
                    .map(([text]) => text);
                })""",
                RESULTS,
            )
        ]
    assert hidden == []


def test_no_page_is_heavy(built):
    sizes = {name: (built / name).stat().st_size for name in pages_of(built)}
    viewers = {name for name in sizes if f"<{viewer._ELEMENT} " in (built / name).read_text(encoding="utf-8")}
    assert {name: size for name, size in sizes.items() if size > LARGEST and name not in viewers} == {}


def test_paper_shows_title_and_article_alone(address, view):
    navigation = [".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".bd-footer", ".headerlink"]
    article = ["#jb-print-docs-body h1", ".bd-article h2"]  # the theme prints the title in a place of its own
    shown = "(names) => names.filter((s) => [...document.querySelectorAll(s)].some((e) => e.getClientRects().length))"
    for name in ("book/run-it.html", "notebooks/07_best_of_n.html"):
        view.goto(f"{address}/{name}")
        assert view.evaluate(shown, navigation) == navigation
        view.emulate_media(media="print")
        assert view.evaluate(shown, [*navigation, *article]) == article
        view.emulate_media(media="screen")
