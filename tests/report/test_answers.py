"""The sentences at the top of a comparison's page: runs counted by what they show, planted boundaries judged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from snapshots import Snapshots
from synthetic_runs import DRIFT, WEAK, make_run

from lightning_gw.report.comparisons.answers import describe_comparison, growth_across, headline, planted_sentence


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ((1, 5), "Planted after layers 2 and 6: all found."),
        ((1,), "Planted after layer 2: all found, one beyond them (after 6)."),
        ((1, 4), "Planted after layers 2 and 5: one of 2 found, one off by one layer."),
        ((3, 7), "Planted after layers 4 and 8: none of 2 found, two beyond them (after 2 and 6)."),
    ],
)
def test_planted_boundaries_are_judged_exactly(planted, expected):
    assert planted_sentence(make_run()[-1].groups, planted) == expected


def test_several_runs_are_counted_by_strength(snapshots: Snapshots):
    runs = [make_run(), make_run(seed=1), make_run(WEAK), make_run(DRIFT)]
    told = [
        headline(runs),
        headline([make_run(DRIFT)]),
        headline([[], []]),
        *describe_comparison({"joint": runs[:2], "end": [runs[3]], "lost": [[]]}),
    ]
    snapshots.compare("comparison", "\n".join(told))


def test_growth_is_not_made_up(snapshots: Snapshots):
    still = [replace(record, growth=record.growth * 0 + 1) for record in make_run(DRIFT)]
    assert growth_across([still]) == ""
    snapshots.compare("growth across", growth_across([make_run(DRIFT), make_run(DRIFT, seed=1)]))
