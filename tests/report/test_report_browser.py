"""The page in a real browser, with the network off: it draws, it is steered by keyboard, and it keeps its address."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from report_folders import HOSTILE_STRATEGY, keep_skips, save, skip_test
from synthetic_runs import DRIFT, make_run, with_names

from lightning_gw.report import write_report
from lightning_gw.report.page import write_page
from lightning_gw.report.run.loading import load_runs

sync_api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; Debian's package is called chromium"),
]

MATRIX = "document.getElementById('matrix').data[0].z"
PROFILE = "document.getElementById('profile').data.find((line) => line.marker?.size === 7).y"
CURSOR = "document.getElementById('timeline').layout.shapes.at(-1).x0"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def eventually(page, expression: str, expected: object) -> None:
    """Wait for a value; Playwright's own wait evaluates text inside the page, which the page's policy forbids."""
    for _ in range(50):
        if (found := page.evaluate(expression)) == expected:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{expression} stayed {found!r}, expected {expected!r}")


class View:
    """A page opened from disk, with everything it complained of and everything it asked the network for."""

    def __init__(self, browser, url: str, **options):
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))  # it has nothing to say
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.open(url)

    def open(self, url: str) -> None:
        self.page.goto("about:blank")  # so that a change of the fragment alone is a real reload
        self.page.goto(url)
        self.page.wait_for_selector("html[data-drawn]", state="attached")

    def look(self) -> tuple:
        """What the linked pictures show now: matrix, profile, cursor, and the sentence."""
        values = [self.page.evaluate(f"JSON.stringify({what})") for what in (MATRIX, PROFILE, CURSOR)]
        return (*values, self.page.inner_text("#now"))


@pytest.fixture(scope="module")
def address(comparison):
    return write_report(comparison).resolve().as_uri()


@pytest.fixture(scope="module")
def opened(browser, address):
    view = View(browser, address, viewport={"width": 1280, "height": 900})
    yield view
    view.context.close()


@pytest.fixture
def view(opened, address):
    """The page as it is when opened, at the end of the first run; and after the test, that nothing went wrong."""
    opened.page.evaluate("location.hash = '#run=joint%2Fseed-0'")
    eventually(opened.page, "state.run.key + state.look", "joint/seed-07")
    yield opened
    assert opened.complaints == []
    assert {url.split("#")[0] for url in opened.requests} <= {"about:blank", address}


def test_the_slider_moves_every_picture_by_keyboard(view):
    end = view.look()
    assert "1–2 | 3–6 | 7–9" in end[3]
    view.page.focus("#look")
    view.page.keyboard.press("Home")
    start = view.look()
    assert all(a != b for a, b in zip(start, end, strict=True))
    assert "before training" in start[3]
    assert "step=0" in view.page.url
    view.page.keyboard.press("ArrowRight")
    assert "step=10" in view.page.url
    assert view.page.inner_text("#where") == "step 10 · look 2 of 8"
    # The arrow keys work from anywhere on the page, not on the slider alone.
    view.page.evaluate("document.activeElement.blur()")
    view.page.keyboard.press("ArrowRight")
    assert "step=20" in view.page.url


def test_an_event_leads_to_its_look(view):
    view.page.click("#events button:has-text('moved')")
    assert "step=120" in view.page.url
    assert "Step 120" in view.look()[3]
    assert view.page.get_attribute("#events button:has-text('moved')", "aria-current") == "step"


@pytest.mark.slow
def test_another_run_is_picked_from_the_small_multiples_and_from_the_list(view):
    joint = view.look()
    view.page.click("a.cell[data-run='end_to_end/seed-0']")
    sync_api.expect(view.page.locator("#run")).to_have_value("end_to_end/seed-0")
    assert view.look()[:2] != joint[:2]
    assert "No groups" in view.page.inner_text("#run-answer")
    assert view.page.get_attribute("a.cell[data-run='end_to_end/seed-0']", "aria-current") == "true"
    view.page.select_option("#run", "hostile")
    sync_api.expect(view.page.locator("#run-title")).to_contain_text(HOSTILE_STRATEGY)
    view.page.select_option("#run", "full/seed-0")
    sync_api.expect(view.page.locator("#run-title")).to_contain_text("full")
    assert view.page.evaluate("window.taken") is None


@pytest.mark.slow
def test_the_address_is_honoured_on_load(view, address):
    view.open(f"{address}#run=joint%2Fseed-1&step=80")
    assert view.page.input_value("#run") == "joint/seed-1"
    assert view.page.inner_text("#where") == "step 80 · look 5 of 8"
    view.open(f"{address}#run=gone&step=80")
    assert "does not hold" in view.page.inner_text("#notice")


@pytest.mark.slow
def test_growth_can_be_shown_in_every_timeline(view):
    kinds = "[...document.querySelectorAll('[data-small], #timeline')].map((e) => e.data[0].type)"
    assert set(view.page.evaluate(kinds)) == {"bar"}
    view.page.check("[name=colouring-above][value=growth]")
    assert set(view.page.evaluate(kinds)) == {"heatmap"}
    assert view.page.is_checked("[name=colouring-below][value=growth]")


@pytest.mark.slow
def test_how_far_each_layer_moved_can_be_shown_where_it_is_known(browser, view, tmp_path):
    assert view.page.locator("[data-moved-key]:visible").count() == 0, "these records are of an older version"
    view.page.evaluate("chooseColouring('moved')")
    assert "not known" in view.page.text_content("#timeline .infolayer")
    view.page.evaluate("chooseColouring('groups')")
    assert view.page.evaluate("document.getElementById('timeline').layout.annotations") is None
    moved = np.array([0.0, 0.0, 0.4, 0.3, 0.2, 0.1, 0.1])
    weights = ("same", "same", "changed", "none", "same", "same", "same")
    records = make_run(DRIFT, 7)
    known = [replace(r, moved=moved * k, weights=weights if k else ("same",) * 7) for k, r in enumerate(records)]
    own = View(browser, write_report(save(known, tmp_path / "tuned")).resolve().as_uri())
    own.page.check("[name=colouring-below][value=moved]")
    drawn = own.page.evaluate(
        "(({ type, y, z, text }) => ({ type, y, z, text }))(document.getElementById('timeline').data[0])"
    )
    assert drawn["type"] == "heatmap"
    assert drawn["y"] == [k - 0.5 for k in range(8)], "a row is a layer, and no gap"
    assert [row[-1] for row in drawn["z"]] == pytest.approx((moved * (len(records) - 1)).tolist())
    assert drawn["text"][1][-1].endswith("layer 2: moved 0.00, its weights as at the start")
    assert "weights" not in drawn["text"][2][-1]
    assert own.page.inner_text("#run-view [data-scale=moved] [data-end=high]") == "2.8"
    assert "the weights of layer 3" in own.page.inner_text("body")
    assert own.complaints == []
    own.context.close()


@pytest.mark.slow
def test_accuracy_in_percent_lies_inside_its_panels(browser, tmp_path):
    for name in ("one", "two"):
        run = [replace(r, metrics={"val/accuracy": 100 * r.metrics["val/accuracy"]}) for r in make_run()]
        save(run, tmp_path / name)
    source = load_runs([tmp_path / "one", tmp_path / "two"])
    own = View(browser, write_page(source, tmp_path / "report.html").resolve().as_uri())
    for place, which in (("#timeline", "yaxis2"), ("[data-row-accuracy]", "yaxis")):
        low, high = own.page.evaluate(f"document.querySelector('{place}').layout.{which}.range")
        assert low <= 0
        assert 98 < high < 110
    assert own.complaints == []
    own.context.close()


@pytest.mark.slow
def test_long_names_leave_room_for_the_charts_and_are_whole_where_one_points(browser, tmp_path):
    names = tuple(
        f"{side}.encoder.transformer_layers.attention_output.{k}" for side in ("left", "right") for k in range(4)
    )
    run = with_names(make_run(DRIFT, 8), names)
    own = View(browser, write_report(save(run, tmp_path / "long")).resolve().as_uri())
    for chart in ("timeline", "matrix"):
        share = own.page.evaluate(f"(({{ _fullLayout, clientWidth }}) => _fullLayout._size.l / clientWidth)({chart})")
        assert 0.2 < share <= 0.36, chart
        ticks = own.page.evaluate(f"{chart}.layout.yaxis.ticktext")
        assert [tick.split(" ")[0] for tick in ticks] == [str(k + 1) for k in range(8)]
        assert all(tick.endswith(f".{k % 4}") for k, tick in enumerate(ticks))
    assert names[0] in own.page.evaluate("matrix.data[0].text[0][1]")
    assert own.complaints == []
    own.context.close()


@pytest.mark.slow
def test_what_is_lost_without_each_layer_is_drawn_for_the_run_that_has_a_skip_test(browser, tmp_path):
    records = make_run()
    for name in ("one", "two"):
        save(records, tmp_path / name)
    keep_skips(skip_test(records), tmp_path / "one/gw")
    source = load_runs([tmp_path / "one", tmp_path / "two"])
    own = View(browser, write_page(source, tmp_path / "report.html").resolve().as_uri())
    bars, _, groups, controls = own.page.evaluate("document.getElementById('damage').data.map(({ y }) => y)")
    assert bars[4] == 1.5
    assert groups == [2.5]
    assert controls == [0.4, 0.8]
    lines = own.page.evaluate("document.getElementById('predictions').data.map(({ name, y }) => [name, y[4]])")
    assert lines[0] == ["GW distance, rank correlation 1.00", 1]
    assert "Without the three interior layers of group 3–6" in own.page.inner_text("#skips-words")
    own.page.select_option("#run", source.runs[1].key)
    sync_api.expect(own.page.locator("#skips")).to_be_hidden()
    assert own.complaints == []
    own.context.close()


def test_the_tooltip_gives_value_bound_and_paired_value(view):
    area = view.page.locator("#matrix .nsewdrag").first
    box = area.bounding_box()
    area.hover(position={"x": box["width"] * 0.9, "y": box["height"] * 0.1}, force=True)
    tip = view.page.wait_for_selector("#matrix .hoverlayer text").text_content()
    assert re.search(r"GW similarity at least 0\.\d+", tip)
    assert re.search(r"certified at most 0\.\d+", tip)
    assert re.search(r"paired \(RSA\) 0\.\d+", tip)


def test_planted_boundaries_are_marked_as_such(view):
    marks = view.page.evaluate(
        "document.getElementById('timeline').data.find((t) => t.marker?.symbol === 'triangle-left')"
    )
    assert marks["y"] == [1.5, 5.5]
    assert "on purpose" in marks["hovertext"][0]


def test_every_strategy_is_drawn_over_its_seeds(view):
    shares = view.page.evaluate("document.querySelector('[data-shares=joint]').data[0].x")
    assert shares == [0, 1, 0, 0, 0, 1, 0, 0]
    # A boundary lies at the same height as in the timelines beside it.
    row = "[...document.querySelectorAll('.row:has([data-shares=joint]) .plot')]"
    assert len(set(view.page.evaluate(f"{row}.map((e) => e.getBoundingClientRect().top)"))) == 1
    means = view.page.evaluate(
        "document.querySelector('[data-mean=joint]').data.map((map) => [map.zmax, map.z.length])"
    )
    assert means[0] == [1, 9]
    assert len(means) == 2  # the spread stands beside it
    assert view.page.evaluate("document.querySelector('[data-mean=greedy]').data.length") == 1  # one seed has none
    rectangle = view.page.evaluate("document.querySelector('[data-rectangle=joint]').data[0].z")
    assert [len(rectangle), len(rectangle[0])] == [9, 9]
    view.page.locator("[data-mean=joint] .nsewdrag").first.hover(force=True)
    tip = view.page.wait_for_selector("[data-mean=joint] .hoverlayer text").text_content()
    assert re.search(r"mean similarity \d\.\d{3} over 2 runsstandard deviation 0\.\d{3}", tip)


def test_every_charts_place_is_filled(view):
    empty = "[...document.querySelectorAll('.plot')].filter((e) => e.offsetParent && !e.querySelector('.main-svg'))"
    assert view.page.evaluate(f"{empty}.map((e) => e.outerHTML)") == []


def test_a_run_says_where_it_lies(view):
    assert view.page.get_attribute("#run-place a", "href") == "./joint/seed-0/"
    assert "Its folder: joint/seed-0." in view.page.inner_text("#run-place")


def test_the_parts_are_reached_by_keyboard_without_losing_the_view(view):
    for part in ("#means", "#rectangles", "#run-view"):  # of one seed nothing is tested, and there are no pairs
        view.page.focus(f"nav a[href='{part}']")
        view.page.keyboard.press("Enter")
        eventually(view.page, "'#' + document.activeElement.id", part)
    assert "run=joint" in view.page.url


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_either_scheme(browser, address, scheme):
    view = View(browser, address, viewport={"width": 400, "height": 800}, color_scheme=scheme)
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 400
    ink, paper = view.page.evaluate(
        "[document.getElementById('matrix').layout.font.color, getComputedStyle(document.body).backgroundColor]"
    )
    bright = sum(int(ink[i : i + 2], 16) for i in (1, 3, 5)) / 3, sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert (bright[0] < 60 and bright[1] > 200) if scheme == "light" else (bright[0] > 200 and bright[1] < 60)
    small = view.page.evaluate(
        """[...document.querySelectorAll('body *:not(script, style)')]
        .filter((e) => e.textContent.trim() && !e.children.length && parseFloat(getComputedStyle(e).fontSize) < 12)
        .map((e) => e.outerHTML)"""
    )
    assert small == []
    view.context.close()
    assert view.complaints == []


@pytest.mark.slow
def test_a_browser_that_cannot_unpack_says_so(browser, address):
    context = browser.new_context(offline=True)
    context.add_init_script("delete window.DecompressionStream")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#failure:not([hidden])")
    assert "DecompressionStream" in page.inner_text("#failure")
    assert "The words hold without them." in page.inner_text("#failure")
    context.close()


@pytest.mark.slow
def test_on_paper_it_is_light_and_within_the_sheet(browser, address):
    view = View(browser, address, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    view.page.set_viewport_size({"width": 720, "height": 1000})
    view.page.emulate_media(media="print")
    eventually(view.page, "document.getElementById('matrix').layout.font.color", "#1b1f24")
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 720
    assert not view.page.is_visible("#look")
    view.context.close()
    assert view.complaints == []
