"""The page of a comparison: its answer comes from its runs alone, on stated terms, and says what cannot be told."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import HOSTILE_STRATEGY, Parsed, entry, keep, save, write_comparison
from synthetic_runs import DRIFT, make_run

from lightning_gw.records.history import load_history
from lightning_gw.report import load_source, rectangles, write_report
from lightning_gw.report.pairs import pair_table
from lightning_gw.statistics.description import task_sentences
from lightning_gw.statistics.findings import finding_of
from lightning_gw.statistics.strategies import compare_strategies
from lightning_gw.utilities.errors import UsageError

#: One boundary, at the end of three looks.
TOLD = {"joint": 1, "greedy": 4, HOSTILE_STRATEGY: 1}


def story(boundary):
    return ((0, "none", (), ()), (10, "weak", (boundary,), (0, 1)), (40, "strong", (boundary,), (0, 1)))


def make_comparison(folder, strategies=("joint", "greedy"), seeds=3, *, kept=True, change=None, entries=None):
    listed = []
    for place, strategy in enumerate(strategies):
        for seed in range(seeds):
            path = f"strategy-{place}/seed-{seed}"
            records = make_run(story(TOLD[strategy]), 6, inputs=8, seed=10 * place + seed)
            save(change(strategy, seed, records) if change else records, folder / path)
            if kept:
                keep(folder / path, 10 * place + seed, records[0].layers)
            listed.append(entry(strategy, seed, path=path, **(entries or {}).get((strategy, seed), {})))
    return write_comparison(folder, listed)


def page_of(folder):
    return Parsed(write_report(folder).read_text(encoding="utf-8"))


def findings_of(folder):
    runs = json.loads((folder / "comparison.json").read_text())["runs"]
    return [
        finding_of(
            load_history(folder / run["path"]),
            key=run["path"],
            strategy=run["strategy"],
            seed=run["seed"],
            accuracy=run["accuracy"],
            seconds=run["seconds"],
        )
        for run in runs
    ]


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


def test_groups_that_never_settled_are_not_called_none(tmp_path):
    def change(strategy, seed, records):
        return records[:2] if strategy == "joint" else make_run(DRIFT[:3], 6, inputs=8, seed=seed)

    page = page_of(make_comparison(tmp_path, seeds=2, change=change, kept=False))
    rows = section(page, "Strategies side by side", "How alike the layers are, on average")
    assert "not yet" in rows[: rows.index("greedy")]
    assert "no groups" in rows[rows.index("greedy") :]


# -- which layers correspond ------------------------------------------------------------------------------------------


def test_a_run_corresponds_layer_by_layer_to_its_like(tmp_path):
    folder = make_comparison(tmp_path, seeds=2)
    layers = make_run(story(1), 6, inputs=8)[0].layers
    for strategy in (0, 1):
        for seed in (0, 1):
            keep(folder / f"strategy-{strategy}/seed-{seed}", 7, layers)  # all alike
    page = page_of(folder)
    for other in ("joint", "greedy"):
        found = page.data["rectangles"]["algebra"][other]
        assert found["best"] == [0, 1, 2, 3, 4, 5]
        np.testing.assert_allclose(np.diag(np.array(found["similarity"], dtype=float)), 1, atol=1e-3)
        assert found["runs"] == 2


def test_pairs_are_of_different_seeds(folder):
    plan = rectangles._plan(load_source(folder).runs)
    assert plan.across_seeds
    for pairs in plan.others.values():
        assert sorted(one.seed for one, _ in pairs) == sorted(other.seed for _, other in pairs) == [0, 1, 2]
        assert all(one.seed != other.seed for one, other in pairs)


@pytest.mark.slow
def test_what_was_computed_once_is_not_computed_again(tmp_path, monkeypatch):
    folder = make_comparison(tmp_path, seeds=2)
    first = write_report(folder).read_bytes()
    real, calls = rectangles.correspondence, []

    def counted(*arguments, **options):
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(rectangles, "correspondence", counted)
    assert write_report(folder).read_bytes() == first
    assert calls == []
    keep(folder / "strategy-1/seed-0", 99, make_run(story(1), 6, inputs=8)[0].layers)  # that run was made anew
    assert write_report(folder).read_bytes() != first
    assert len(calls) == 2  # the two pairs with the other strategy
    cache = folder / rectangles.CACHE_FILE
    assert len(json.loads(cache.read_text())["correspondences"]) == 2  # and what is out of date is gone
    cache.write_text("{ damaged")
    write_report(folder)
    assert len(calls) == 6


def test_another_reference_puts_its_layers_in_the_rows(tmp_path, monkeypatch):
    folder = make_comparison(tmp_path, seeds=2)
    first = write_report(folder).read_bytes()
    names = list(Parsed(first.decode()).data["rectangles"]["algebra"])
    turned = Parsed(write_report(folder, reference=names[1]).read_text())
    assert f"Rows: layers of {names[1]}." in turned.text
    assert list(turned.data["rectangles"]["algebra"]) == names
    runs = load_source(folder).runs
    one, other = (
        rectangles.rectangles_of(runs, folder / rectangles.CACHE_FILE, None, name)["algebra"] for name in names[:2]
    )
    # Seeds 0 and 1 of the one meet 1 and 0 of the other, whoever is in the rows.
    np.testing.assert_allclose(one.found[names[1]].similarity, other.found[names[0]].similarity.T, atol=0.02)
    monkeypatch.setattr(rectangles, "correspondence", None)  # both are known: neither is computed again
    assert write_report(folder).read_bytes() == first


def test_a_reference_that_does_not_exist_is_named(folder):
    with pytest.raises(UsageError, match=r"No strategy here is named 'joimt'\. Near names: joint\."):
        write_report(folder, reference="joimt")
    run = next(folder.glob("*/seed-0"))
    with pytest.raises(UsageError, match="is one run"):
        write_report(run, reference="joint")


def test_an_interruption_keeps_what_was_found(tmp_path, monkeypatch):
    folder = make_comparison(tmp_path, seeds=2)
    real, calls = rectangles.correspondence, []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(rectangles, "correspondence", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(folder)
    write_report(folder)
    assert len(calls) == 4 + 2  # the first strategy's two pairs were not made again


def test_a_task_without_representations_says_so_in_a_line(tmp_path):
    page = page_of(make_comparison(tmp_path, seeds=2, kept=False))
    assert "No run kept its representations" in page.text
    assert page.data["rectangles"]["algebra"] == {}
    assert not (tmp_path / rectangles.CACHE_FILE).exists()


def test_what_cannot_be_compared_is_named_and_the_rest_is_shown(tmp_path):
    folder = make_comparison(tmp_path, tuple(TOLD), 2)
    layers = make_run(story(1), 6, inputs=8)[0].layers
    keep(folder / "strategy-1/seed-0", 3, layers, probe="another")
    for seed in (0, 1):
        (folder / f"strategy-2/seed-{seed}/gw/representations.safetensors").unlink()
    page = page_of(folder)
    assert "joint and greedy: The runs were looked at through different probes" in page.text
    assert f"Without {HOSTILE_STRATEGY}: no representations were kept." in page.text
    assert list(page.data["rectangles"]["algebra"]) == ["joint"]


def test_progress_is_told_only_of_what_takes_long(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(rectangles.time, "monotonic", lambda: now[0])
    tell = rectangles.told_on_stderr()
    for done, at in ((1, 0.5), (2, 2.0), (3, 4.0), (4, 13.0), (5, 14.0)):
        now[0] = at
        tell(done, 5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{done} of five pairs of runs" for done in (2, 4, 5)]
    tell = rectangles.told_on_stderr()
    tell(1, 1)
    assert capsys.readouterr().err == ""


# -- where a run lies in Weights & Biases -----------------------------------------------------------------------------


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
