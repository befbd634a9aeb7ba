"""The page of a comparison: its answer comes from its runs alone, on stated terms, and says what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_pages import TOLD, findings_of, make_comparison, page_of, story
from report_folders import HOSTILE_STRATEGY, Parsed, entry, save, write_comparison
from synthetic_runs import DRIFT, make_run

from lightning_gw.report import load_source, write_report
from lightning_gw.report.comparisons.pairs import pair_table
from lightning_gw.report.page import write_page
from lightning_gw.report.run.loading import load_runs
from lightning_gw.statistics.description import task_sentences
from lightning_gw.statistics.strategies import compare_strategies


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_comparison(tmp_path_factory.mktemp("comparison"), tuple(TOLD))


@pytest.fixture(scope="module")
def page(folder):
    return page_of(folder)


def section(page, start, end):
    return page.text[page.text.index(start) : page.text.index(end)]


def test_the_statistics_are_said_before_any_picture(page, folder):
    answer = section(page, "Layer groups during training", "Strategies side by side")
    sentences = task_sentences(compare_strategies(findings_of(folder), "algebra"))
    assert len(sentences) > 2
    for sentence in sentences:
        assert sentence in answer
    assert "nine runs of three strategies" in answer


def test_equal_terms_are_stated(page):
    assert "Equal budgets: 40 optimizer steps each." in page.text
    assert "The same probe for all, 8 inputs from validation (hash 3f9c51e0)." in page.text


def test_unequal_terms_are_named(tmp_path):
    def change(strategy, seed, records):
        probe = {**records[0].probe, "hash": "other"} if seed else records[0].probe
        return [replace(record, probe=probe) for record in (records if strategy == "joint" else records[:2])]

    page = page_of(make_comparison(tmp_path, seeds=2, change=change, kept=False))
    assert "Budgets are not equal" in page.text
    assert "10 in two runs (greedy); 40 in two runs (joint)" in page.text
    assert "Not looked at through the same probe" in page.text
    assert "other in joint and greedy" in page.text


def test_the_charts_over_seeds_hold_the_runs(page, folder):
    drawn = page.data["comparisons"]["algebra"]
    for strategy in TOLD:
        ends = [run for run in findings_of(folder) if run.strategy == strategy]
        own = drawn["strategies"][strategy]
        similarity = np.stack([run.similarity for run in ends])
        np.testing.assert_allclose(own["mean"], similarity.mean(0), atol=6e-4)
        np.testing.assert_allclose(own["spread"], similarity.std(0, ddof=1), atol=6e-4)
        shares = [np.mean([gap in run.boundaries for run in ends]) for gap in range(5)]
        np.testing.assert_allclose([share[0] for share in own["share"]], shares, atol=6e-4)
        assert all(low <= share <= high for share, low, high in own["share"])
        assert own["runs"] == 3
    assert drawn["planted"] == [1]  # no gap lies after the sixth layer, where the other was planted


def test_figures_stand_beside_every_row(page, folder):
    rows = section(page, "Strategies side by side", "How alike the layers are, on average")
    assert rows.count("settled") == 3
    assert rows.count("seeds agree") == 3
    last = [run.accuracy for run in findings_of(folder) if run.strategy == "joint"]
    assert f"{np.mean(last):.2f} (" in rows


def test_every_pair_is_said_in_words_groups_above_and_matrices_below(page, folder):
    comparison = compare_strategies(findings_of(folder), "algebra")
    table = pair_table(comparison, 5.0)
    titles = [attributes["title"] for tag, attributes in page.elements if tag == "td" and "title" in attributes]
    assert len(titles) == 6
    for row, (_, _, cells) in enumerate(table.rows):
        for column, cell in enumerate(cells):
            if row == column:
                assert cell is None
                continue
            assert cell.spoken in titles
            assert cell.spoken in page.text
            assert (", by groups:" if column > row else ", by matrices:") in cell.spoken
    contrast = next(c for c in comparison.contrasts if (c.one, c.other, c.by) == ("joint", "greedy", "groups"))
    spoken = table.rows[0][2][1].spoken
    assert f"{contrast.between:.2f} apart between the two and {contrast.within:.2f} within one" in spoken


def test_names_are_escaped_in_every_part(page, folder):
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE_STRATEGY not in html.replace(escape(HOSTILE_STRATEGY), "")
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    drawn = [a.get("data-mean") for _, a in page.elements if a.get("data-mean")]
    assert drawn == list(TOLD)


def test_links_lead_into_the_page_or_to_the_folder_beside_it(page):
    for _, attributes in page.elements:
        assert attributes.get("href", "#").startswith("#")
    assert {run["folder"] for run in page.data["runs"]} >= {"./strategy-0/seed-0/"}


def test_links_to_folders_lead_there_from_wherever_the_page_is(tmp_path):
    folder = make_comparison(tmp_path / "a comparison", ("joint",), 1, kept=False)
    page = write_page(load_source(folder), tmp_path / "report.html")
    (run,) = Parsed(page.read_text(encoding="utf-8")).data["runs"]
    assert run["folder"] == "./a%20comparison/strategy-0/seed-0/"
    (tmp_path / "pages").mkdir()
    runs = load_runs([folder / "strategy-0/seed-0"])
    page = write_page(runs, tmp_path / "pages/report.html")
    (run,) = Parsed(page.read_text(encoding="utf-8")).data["runs"]
    assert run["folder"] == "./../a%20comparison/strategy-0/seed-0/"


def test_a_path_cannot_become_a_program(tmp_path):
    save(make_run(story(1), 6, inputs=8), tmp_path / "javascript:alert(1)")
    page = page_of(write_comparison(tmp_path, [entry("joint", 0, path="javascript:alert(1)")]))
    assert page.data["runs"][0]["folder"] == "./javascript%3Aalert%281%29/"


def test_a_single_seed_can_be_tested_against_nothing_and_says_so(tmp_path):
    page = page_of(make_comparison(tmp_path, seeds=1))
    answer = section(page, "Layer groups", "Strategies side by side")
    assert "with one seed of each strategy, what differs may be the seed" in answer
    assert "Strategy against strategy" not in page.text, "a table of nothing but untested pairs says it once too often"
    assert "1 run, so no spread" in page.text
    assert "There is one seed, so each pair starts from the same weights" in page.text
    assert page.data["comparisons"]["algebra"]["strategies"]["joint"]["spread"] is None
    assert [low for _, low, _ in page.data["comparisons"]["algebra"]["strategies"]["joint"]["share"]] == [None] * 5


def test_one_strategy_has_no_pairs_but_all_the_rest(tmp_path):
    page = page_of(make_comparison(tmp_path, ("joint",), 2))
    assert "There is one strategy, so nothing to compare it with." in page.text
    assert "Strategy against strategy" not in page.text
    assert "joint, other seeds" in page.text
    assert page.data["comparisons"]["algebra"]["strategies"]["joint"]["spread"] is not None


def test_runs_that_have_not_finished_are_shown_but_not_counted(tmp_path):
    entries = {("joint", 2): {"status": "running"}, ("greedy", 0): {"status": "failed", "error": "ValueError: no"}}
    page = page_of(make_comparison(tmp_path, entries=entries))
    assert "four runs of two strategies" in page.text
    assert "Without joint, seed 2 (running) and greedy, seed 0 (failed)." in page.text
    assert page.data["comparisons"]["algebra"]["strategies"]["joint"]["runs"] == 2
    assert len(page.data["runs"]) == 6
    assert "strong groups stand in five of five runs" in page.text  # what still runs has no end yet


def test_nothing_finished_leaves_nothing_to_compare(tmp_path):
    entries = {(strategy, seed): {"status": "running"} for strategy in ("joint", "greedy") for seed in range(2)}
    page = page_of(make_comparison(tmp_path, seeds=2, entries=entries))
    assert "No run has finished yet, so there is nothing to compare." in page.text
    assert page.data["comparisons"] == {}
    assert "Strategy against strategy" not in page.text


def test_runs_without_a_unit_scale_are_compared_where_there_is_an_exact_way_to_one(tmp_path):
    def change(strategy, seed, records):
        gw = [replace(record.gw, variation=np.linspace(0.3, 0.6, 6)).to("euclidean") for record in records]
        return [replace(record, gw=own) for record, own in zip(records, gw, strict=True)]

    euclidean = page_of(make_comparison(tmp_path / "euclidean", seeds=2, change=change, kept=False))
    standardized = page_of(make_comparison(tmp_path / "standardized", seeds=2, kept=False))
    assert "four runs of two strategies" in euclidean.text
    drawn, expected = (page.data["comparisons"]["algebra"]["strategies"] for page in (euclidean, standardized))
    np.testing.assert_allclose(drawn["joint"]["mean"], expected["joint"]["mean"], atol=1e-3)


def test_finished_runs_that_cannot_be_compared_are_named_and_not_called_unfinished(tmp_path):
    def change(strategy, seed, records):
        return [replace(r, gw=replace(r.gw, geometry="sqeuclidean", unit_scale=False)) for r in records]

    page = page_of(make_comparison(tmp_path, ("joint",), 2, change=change, kept=False))
    assert "No run has finished yet" not in page.text
    assert "No run can be compared: joint, seed 0 (" in page.text


def test_groups_that_never_settled_are_not_called_none(tmp_path):
    def change(strategy, seed, records):
        return records[:2] if strategy == "joint" else make_run(DRIFT[:3], 6, inputs=8, seed=seed)

    page = page_of(make_comparison(tmp_path, seeds=2, change=change, kept=False))
    rows = section(page, "Strategies side by side", "How alike the layers are, on average")
    assert "not yet" in rows[: rows.index("greedy")]
    assert "no groups" in rows[rows.index("greedy") :]


# -- which layers correspond ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../outside", "/etc", "link"])
def test_a_run_outside_the_folder_is_left_out_and_named(tmp_path: Path, path: str) -> None:
    folder, outside = tmp_path / "comparison", tmp_path / "outside"
    save(make_run(), outside)
    save(make_run(), folder / "joint/seed-0")
    (folder / "link").symlink_to(outside)
    source = load_source(write_comparison(folder, [entry("joint", 0), entry("other", 0, path=path)]))
    assert [run.strategy for run in source.runs] == ["joint"]
    (note,) = source.notes
    assert note.startswith("Run 2 of comparison.json was left out: its path")


def test_a_look_that_nobody_can_draw_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_gw.report import payload

    original = payload.describe_record

    def fails(record: Any) -> str:
        if record.step == 40:
            raise ZeroDivisionError("nobody foresaw this")
        return original(record)

    monkeypatch.setattr(payload, "describe_record", fails)
    folder = save(make_run(), tmp_path / "run")
    page = write_report(folder).read_text()
    assert "The look at step 40 was left out: it cannot be shown (ZeroDivisionError: nobody foresaw this)." in page
