"""How the layers of two runs correspond, on the page of a comparison: made once, kept, and interrupted without loss."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from comparison_pages import TOLD, make_comparison, page_of, story
from report_folders import HOSTILE_STRATEGY, Parsed, keep
from synthetic_runs import make_run

from lightning_gw.report import load_source, write_report
from lightning_gw.report.comparisons import rectangles
from lightning_gw.utilities import progress
from lightning_gw.utilities.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_comparison(tmp_path_factory.mktemp("comparison"), tuple(TOLD))


@pytest.fixture(scope="module")
def page(folder):
    return page_of(folder)


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


@pytest.mark.slow
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


def test_progress_is_told_while_two_runs_are_compared_until_all_is_done(tmp_path):
    folder = make_comparison(tmp_path, seeds=2)
    told = []
    rectangles.rectangles_of(load_source(folder).runs, folder / rectangles.CACHE_FILE, lambda *now: told.append(now))
    depth = len(make_run(story(1), 6, inputs=8)[0].layers)
    runs = 4  # each strategy, seed by seed, with the first
    assert {of for _, of in told} == {runs * depth**2}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == runs * depth**2
    assert len({done for done, _ in told}) > runs, "it moves within a pair of runs too"


def test_what_is_read_and_compared_shows_itself_where_it_takes_long(tmp_path, monkeypatch, capsys):
    times = itertools.count(step=2.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    write_report(make_comparison(tmp_path, seeds=2))
    said = capsys.readouterr().err
    for what in ("Reading runs", "Corresponding layers"):
        assert f"{what}: 100%" in said
