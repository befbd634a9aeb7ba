"""The charts of W&B's tables: Vega-Lite by its own schema, drawn by a real renderer and in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair
import pytest
import vl_convert
from example_records import example_groups, example_history_records
from jsonschema import Draft7Validator

from lightning_gw.figures.style import group_colour
from lightning_gw.loggers.charts import CHARTS, MATRIX, TIMELINE, Chart
from lightning_gw.loggers.scalars import Table, layers_table, matrix_table
from lightning_gw.records.record import Record

SCHEMA = next(Path(altair.__file__).parent.rglob("vega-lite-schema.json"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: As large as a panel of W&B is at first.
PANEL = {"width": 400, "height": 300}
GREY = "#aab0b8"


@pytest.fixture(scope="module")
def looks() -> list[Record]:
    return example_history_records(degenerate=0)


def tables(looks: list[Record]) -> dict[str, Table]:
    return {"matrix": matrix_table(looks[-1]), "layers": layers_table(looks)}


def filled(chart: Chart, looks: list[Record]) -> dict[str, Any]:
    table = tables(looks)[chart.table]
    return chart.filled([dict(zip(table.columns, row, strict=True)) for row in table.rows]) | PANEL


def shapes(chart: Chart, looks: list[Record]) -> list[str]:
    """The drawn marks of a picture, one SVG element each."""
    svg = vl_convert.vegalite_to_svg(filled(chart, looks), vl_version="6.1")
    return re.findall(r'<(?:path|line) aria-label="[^"]*" role="graphics-symbol"[^>]*>', svg)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_preset_is_vega_lite_whose_fields_are_columns_of_its_table(chart: Chart, looks: list[Record]) -> None:
    validator = Draft7Validator(json.loads(SCHEMA.read_text()))
    for specification in (chart.specification, filled(chart, looks)):
        assert [error.message for error in validator.iter_errors(specification)] == []
    assert [*validator.iter_errors({**chart.specification, "layer": 3})], "the validator refuses nothing"
    asked = set(re.findall(r"\$\{field:(\w+)\}", json.dumps(chart.specification)))
    assert asked == set(chart.fields)
    assert set(chart.fields.values()) <= set(tables(looks)[chart.table].columns)
    assert "${" not in json.dumps(filled(chart, looks))


def test_the_matrix_shows_both_halves_and_outlines_every_group(looks: list[Record]) -> None:
    last, size = looks[-1], len(looks[-1].layers)
    drawn = shapes(MATRIX, looks)
    outlines = [shape for shape in drawn if 'stroke-width="3"' in shape]
    assert len(outlines) == last.groups.count
    assert len(drawn) - len(outlines) == size * size
    unmeasured = [shape for shape in drawn if 'fill="#8b929a"' in shape]
    assert len(unmeasured) == 2 * size - 1, "the layer that was left out is grey against every other"


def test_the_timeline_colours_groups_and_leaves_grey_what_has_none(looks: list[Record]) -> None:
    without = looks[0].__class__(
        **{**vars(looks[0]), "groups": example_groups(looks[0].groups.adjacent, (), "none"), "group_ids": ()}
    )
    history = [without, *looks[1:]]
    drawn, size = shapes(TIMELINE, history), len(without.layers)
    boundaries = sum(len(look.groups.boundaries) for look in history)
    rules = [shape for shape in drawn if shape.startswith("<line")]
    assert len(rules) == boundaries
    assert len(drawn) - len(rules) == len(history) * size
    grey = [shape for shape in drawn if f'fill="{GREY}"' in shape]
    missing = sum(label < 0 for look in history[1:] for label in look.groups.labels)
    assert len(grey) == size + missing


def test_a_group_has_the_same_colour_in_both_pictures_whatever_others_there_are(looks: list[Record]) -> None:
    later = [replace(look, group_ids=(1, 3, 4)) for look in looks[-1:]]
    (outlines, filled_marks) = (shapes(chart, later) for chart in (MATRIX, TIMELINE))
    colours = [group_colour(identity) for identity in (1, 3, 4)]
    stroked = [shape for shape in outlines if 'stroke-width="3"' in shape]
    assert sorted(re.search(r'stroke="([^"]+)"', shape)[1] for shape in stroked) == sorted(colours)
    assert {re.search(r'fill="([^"]+)"', shape)[1] for shape in filled_marks if "<path" in shape} >= {*colours}


def test_other_content_gives_a_preset_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = MATRIX.preset
    monkeypatch.setattr("lightning_gw.loggers.charts._text", lambda name: "{}")
    assert MATRIX.preset != before
    assert MATRIX.preset.startswith(f"{MATRIX.name}-")


def test_where_a_sequence_ends_both_pictures_show_it(looks: list[Record]) -> None:
    """Dash-dotted, as in every other picture: what lies on either side is compared with nothing across."""
    parted = [replace(look, groups=replace(look.groups, sequence_ends=(2,))) for look in looks]
    dashed = [[shape for shape in shapes(chart, parted) if "stroke-dasharray" in shape] for chart in (MATRIX, TIMELINE)]
    assert [len(drawn) for drawn in dashed] == [2, len(looks)]
    assert not [shape for chart in (MATRIX, TIMELINE) for shape in shapes(chart, looks) if "stroke-dasharray" in shape]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; Debian's package is called chromium")
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_browser_draws_it_without_an_error(chart: Chart, looks: list[Record], tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    page_file = tmp_path / "chart.html"
    page_file.write_text(vl_convert.vegalite_to_html(filled(chart, looks), vl_version="6.1", bundle=True))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        errors: list[str] = []
        page = browser.new_page(viewport={"width": 480, "height": 400}, offline=True)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_selector("svg.marks, canvas.marks")
        assert errors == []
        box = page.locator("svg.marks, canvas.marks").bounding_box()
        assert box is not None
        assert box["width"] >= PANEL["width"]
        browser.close()
