"""The page as a file: complete, self-contained, escaped, and honest about what is not there."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pytest
from report_folders import HOSTILE_LAYER, HOSTILE_STRATEGY, Parsed, entry, save, write_comparison
from synthetic_runs import make_large_run, make_run

from lightning_gw.cli import main
from lightning_gw.records.history import load_history
from lightning_gw.records.words.description import describe
from lightning_gw.report import write_report
from lightning_gw.report.page import _first_sentence, json_for_html
from lightning_gw.report.run.titles import run_title
from lightning_gw.utilities.text import short_names


@pytest.fixture(scope="module")
def page(comparison):
    return Parsed(write_report(comparison).read_text(encoding="utf-8"))


def test_the_answer_comes_first_for_a_comparison(page):
    answer = page.text.index("strong groups stand in two of six runs")
    assert answer < page.text.index("Strategies side by side")
    for strategy in ("joint", "greedy", "end_to_end", "assembled", "full"):
        assert strategy in page.text
    assert "Every planted boundary found in 2 of 2 runs." in page.text
    assert "none of 2 found" in page.text


def test_the_answer_comes_first_for_a_run(run_folder):
    page = Parsed(write_report(run_folder).read_text(encoding="utf-8"))
    first, rest = _first_sentence(describe(load_history(run_folder)))
    assert first.startswith("By step ")
    assert rest
    assert page.text.index(first) < page.text.index(rest) < page.text.index("How alike the layers are")
    assert "Strategies side by side" not in page.text
    assert len(page.data["runs"]) == 1


def test_names_are_escaped_everywhere(page):
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3  # data, library, code: no name became a fourth
    assert "img" not in tags
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert HOSTILE_STRATEGY in page.text
    (run,) = (run for run in page.data["runs"] if run["key"] == "full/seed-0")
    assert run["layers"][-1] == HOSTILE_LAYER


def test_json_cannot_end_its_element():
    hostile = {"</script>": "<!-- & \u2028 -->"}
    text = json_for_html(hostile)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == hostile
    with pytest.raises(ValueError, match="JSON"):
        json_for_html(float("nan"))


def test_nothing_is_fetched(page):
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert tag not in ("link", "iframe", "object", "embed")
        assert attributes.get("href", "#").startswith("#")
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_packed_library_is_plotly_with_its_licence(page):
    library = gzip.decompress(base64.b64decode(page.scripts["library"])).decode()
    assert library.startswith("/**\n* plotly.js")
    assert "MIT license" in library[:300]


def test_what_is_missing_is_named(page):
    missing = page.text[page.text.index("What is missing\n") :]
    assert "This run failed. ValueError: width 96 expected, 64 given" in missing
    assert "Layer model.blocks.3 could not be measured at some looks: constant: all inputs at one point" in missing
    assert "No p-value was computed" in missing
    assert "Stability under other probe inputs was not measured." in missing
    assert "Every recorded run" in missing


def test_what_gw_cannot_see_is_said(page):
    for limit in ("Blind to relabelling", "Contrast proves nothing", "Memorising makes groups", "readout collapse"):
        assert limit in page.text


def test_the_data_are_the_records_to_five_digits(page, comparison):
    history = load_history(comparison / "greedy/seed-0")
    (run,) = (run for run in page.data["runs"] if run["key"] == "greedy/seed-0")
    assert [look["step"] for look in run["looks"]] == [record.step for record in history]
    upper = np.triu_indices(9, 1)
    for look, record in zip(run["looks"], history, strict=True):
        for name, matrix in (
            ("gw", record.gw.similarity),
            ("bound", record.gw.similarity_bound),
            ("paired", record.gw.identity_similarity),
        ):
            shown = np.array(look[name], dtype=float)
            np.testing.assert_allclose(shown, matrix[upper], rtol=1e-4)  # NaN where a layer is degenerate
        assert look["degenerate"] == [4]
        assert look["boundaries"] == list(record.groups.boundaries)
    assert [event["text"] for event in run["events"]] == [
        e.sentence(short_names(r.layers)) for r in history for e in r.events
    ]


def test_runs_of_one_task_share_their_axis(page):
    assert set(page.data["axes"]) == {"algebra", "language"}
    edges = [run["edges"] for run in page.data["runs"] if run["task"] == "algebra"]
    assert page.data["axes"]["algebra"]["range"] == [min(e[0] for e in edges), max(e[-1] for e in edges)]


def test_the_same_data_give_the_same_page(run_folder):
    assert write_report(run_folder).read_bytes() == write_report(run_folder).read_bytes()


def test_a_demo_page_is_small(comparison):
    assert write_report(comparison).stat().st_size < 3e6


@pytest.mark.slow
def test_a_hundred_looks_at_fifty_layers_stay_under_fifteen_megabytes(tmp_path):
    assert write_report(save(make_large_run(), tmp_path / "deep")).stat().st_size < 15e6


def test_damaged_lines_leave_the_rest_and_are_named(tmp_path):
    folder = save(make_run(), tmp_path / "hurt")
    with (folder / "gw" / "history.jsonl").open("a") as file:
        file.write("{ not json\n")
    page = Parsed(write_report(folder).read_text(encoding="utf-8"))
    assert len(page.data["runs"][0]["looks"]) == 8
    assert "line 9" in page.text


def test_the_command_says_what_the_page_says_of_damaged_lines(tmp_path, capsys):
    save(make_run(), tmp_path / "joint/seed-0")
    save(make_run(), tmp_path / "joint/seed-1")
    with (tmp_path / "joint/seed-1/gw/history.jsonl").open("a") as file:
        file.write("{ not json\n")
    folder = write_comparison(tmp_path, [entry("joint", 0), entry("joint", 1)])
    assert main(["report", str(folder)]) == 0
    (problem,) = load_history(tmp_path / "joint/seed-1").problems
    assert "line 9" in problem
    note, page = capsys.readouterr().out.splitlines()
    assert note == f"Note: joint, seed 1: {problem}"
    assert page == f"Open {(folder / 'report.html').as_uri()}"
    assert problem in Parsed((folder / "report.html").read_text(encoding="utf-8")).text
    assert main(["report", str(folder / "joint/seed-1")]) == 0
    assert capsys.readouterr().out.startswith(f"Note: {problem}\n")
    assert main(["report", str(folder / "joint/seed-0")]) == 0
    assert "Note" not in capsys.readouterr().out


@pytest.mark.parametrize(("out", "page"), [("new/page.html", "new/page.html"), ("new", "new/report.html")])
def test_the_page_goes_where_it_is_told_to(tmp_path, out, page):
    save(make_run(), tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / out)]) == 0
    assert "<html" in (tmp_path / page).read_text(encoding="utf-8")
    assert [file for file in (tmp_path / "run").iterdir() if file.suffix == ".html"] == []


def test_where_the_page_cannot_be_written_another_place_is_asked_for(run_folder, capsys, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lightning_gw.report.page.write_whole", refused)
    assert main(["report", str(run_folder)]) == 2
    said = capsys.readouterr().err
    assert f"The page cannot be written into {run_folder} (PermissionError" in said
    assert "Name another place with --out." in said


@pytest.mark.parametrize(
    ("folder", "title"),
    [
        ("digits", "digits"),
        ("digits/version_0", "digits, version_0"),
        ("digits/lightning_logs/version_12", "digits, version_12"),
        ("joint/seed-3", "joint, seed-3"),
        ("digits/gw", "digits"),
        ("digits/version_0/gw", "digits, version_0"),
        ("digits/gw-words", "digits, gw-words"),
    ],
)
def test_a_run_is_called_by_a_name_that_tells(tmp_path, folder, title):
    assert run_title(tmp_path / folder) == title


def test_the_folder_of_a_logger_gives_a_page_a_telling_title(tmp_path):
    page = Parsed(write_report(save(make_run(), tmp_path / "digits/lightning_logs/version_0")).read_text("utf-8"))
    assert "digits, version_0: layer groups during training" in page.text
    assert page.data["runs"][0]["key"] == "version_0"


def test_runs_that_never_got_anywhere_do_not_stop_the_page(tmp_path):
    entries = [entry("late", 0, status="waiting"), entry("lost", 0)]
    page = Parsed(write_report(write_comparison(tmp_path / "none", entries)).read_text(encoding="utf-8"))
    assert "Nothing was recorded yet" in page.text
    assert "still waiting" in page.text
    assert "left no look that could be read" in page.text
    assert page.data["runs"] == []


def test_a_misspelt_metric_is_named_and_no_other_passes_for_it(tmp_path):
    save(make_run(), tmp_path / "joint/seed-0")
    logged = sorted(make_run()[0].metrics)
    right = Parsed(write_report(write_comparison(tmp_path, [entry("joint", 0)])).read_text(encoding="utf-8"))
    wrong = write_comparison(tmp_path, [entry("joint", 0, accuracy="val/acuracy")])
    page = Parsed(write_report(wrong).read_text(encoding="utf-8"))
    said = f"Metric 'val/acuracy' was never logged; logged were {', '.join(logged[:-1])} and {logged[-1]}."
    assert said in page.text
    assert "was never logged" not in right.text
    final = f"{make_run()[-1].metrics['val/accuracy']:.3f}"
    assert final in right.text
    assert final not in page.text


def test_planted_boundaries_that_no_layer_has_are_named_with_the_numbers(tmp_path):
    save(make_run(), tmp_path / "joint/seed-0")
    folder = write_comparison(tmp_path, [entry("joint", 0, planted=[1, 8, 12])])
    page = Parsed(write_report(folder).read_text(encoding="utf-8"))
    assert (
        "planted names 8 and 12, but with 9 layers, counted from 0, the last boundary there can be is 7." in page.text
    )


def test_a_folder_that_holds_nothing_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither comparison\.json .* nor a history"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "cannot be read"), ('{"schema": 9, "runs": []}', "schema 9"), ('{"schema": 1}', "'runs' is missing")],
)
def test_a_damaged_comparison_is_refused_with_the_reason(tmp_path, content, complaint):
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        write_report(tmp_path)
