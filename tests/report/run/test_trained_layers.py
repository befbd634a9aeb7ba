"""Runs and strategies side by side say which of their layers were trained, where any left some as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_folders import Parsed, entry, save, write_comparison
from synthetic_runs import DRIFT, make_run

from lightning_gw.report import write_report
from lightning_gw.report.page import write_page
from lightning_gw.report.run.loading import load_runs

ALL = ("changed",) * 8 + ("none",)
TOP = ("same",) * 6 + ("changed", "changed", "none")
BOTTOM = ("changed", "changed") + ("same",) * 7
ALONE = "Since step 0 the weights of layers 7–8 (blocks.5 to blocks.6) alone changed."


def saved(folder, weights):
    start = ("same",) * 9
    return save([replace(r, weights=weights and (weights if r.step else start)) for r in make_run(DRIFT)], folder)


def test_of_two_runs_each_says_which_layers_were_trained(tmp_path):
    runs = [saved(tmp_path / name, weights) for name, weights in (("tuned", TOP), ("whole", ALL), ("old", None))]
    page = Parsed(write_page(load_runs(runs), tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.text.count(ALONE) == 1
    assert page.text.count("Since step 0 the weights of every layer changed.") == 1
    assert page.text.index(ALONE) < page.text.index("the weights of every layer changed")


def test_where_every_layer_was_trained_nothing_is_said(tmp_path):
    runs = [saved(tmp_path / name, ALL) for name in ("one", "two")]
    page = Parsed(write_page(load_runs(runs), tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "the weights of" not in page.text


@pytest.mark.parametrize(
    ("other", "said"), [(TOP, ALONE), (BOTTOM, "Its runs differ in which layers' weights changed."), (None, ALONE)]
)
def test_the_seeds_of_a_strategy_say_it_together(tmp_path, other, said):
    for seed, weights in enumerate((TOP, other)):
        saved(tmp_path / f"head/seed-{seed}", weights)
    page = Parsed(write_report(write_comparison(tmp_path, [entry("head", 0), entry("head", 1)])).read_text("utf-8"))
    assert page.text.count(said) == 1
