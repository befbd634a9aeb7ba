"""What looks are held against: the first one, itself, fresh networks of its layers, or nothing where it is lost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gw.analysis import Analysis
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import Solver
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record
from lightning_gw.significance import null_of
from lightning_gw.significance.evidence import null_state

CONFIG = AnalysisConfig(effort="fast", bootstrap_samples=20)


def layers(count: int = 5, apart: float = 0.3, seed: int = 0, inputs: int = 24) -> dict[str, Tensor]:
    """Layers each of which adds as much of its own to the one before."""
    generator = torch.Generator().manual_seed(seed)
    x, found = torch.randn(inputs, 6, generator=generator), {}
    for k in range(count):
        x = x + apart * torch.randn(inputs, 6, generator=generator)
        found[f"layer{k}"] = x
    return found


def at(step: int, pooling: str = "mean") -> LookContext:
    return LookContext(step=step, epoch=0, probe={"hash": "0f", "pooling": pooling})


def test_nothing_stands_out_of_a_look_that_is_held_against_itself_on_other_inputs_either() -> None:
    seen = layers(count=7, apart=1.0, inputs=10)
    analysis = Analysis(CONFIG, bootstrap_samples=100)
    first, later = analysis.look(seen, at(0)), analysis.look(seen, at(4))
    assert first.before_training
    for groups in (first.groups, first.groups_paired):
        assert groups.noise is not None
        assert groups.support is not None
        assert (groups.boundaries, groups.stability, groups.support.max()) == ((), (), 0.0)
    assert first.without_dominant == ()
    assert later.groups.support is not None
    assert later.groups.support.max() > 0, "the test shows nothing"


@pytest.mark.parametrize("others", [5, 4], ids=["other names", "another number"])
def test_fresh_networks_of_other_layers_are_none(others: int) -> None:
    renamed = [{f"other {name}": x for name, x in layers(others, seed=seed).items()} for seed in (1, 2)]
    analysis = Analysis(CONFIG)
    null = null_state(null_of("re-initialised", renamed, anchor=CONFIG.anchor))
    analysis.look(layers(), at(0), null)
    record = analysis.look(layers(), at(4))
    assert record.null == "none: the networks with fresh weights have other layers than this look"
    assert record.reference == "its own first look (step 0)"


def grown(record: Record) -> bool:
    return any(event.kind == "growth" for event in record.events)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_growth_is_told_since_the_look_that_it_is_measured_against(pooling: str) -> None:
    analysis = Analysis(CONFIG)
    analysis.look(layers(apart=0.1), at(0))
    records = [analysis.look(layers(apart=0.6), at(step, pooling)) for step in (4, 8, 12)]
    assert any(grown(record) for record in records) == (pooling == "mean")


def test_where_the_first_look_is_lost_no_later_one_passes_for_it() -> None:
    solver = Solver(CONFIG)
    null = null_state("none: there is none")
    spoilt = {name: x[:2] for name, x in layers().items()}
    solver.submit(LookJob(at(0), spoilt, first=True, null=null | {"trained": ""}))
    solver.submit(LookJob(at(4), layers()))
    lost, later = solver.collect()
    assert lost.record is None
    assert later.record is not None
    assert not later.record.before_training
    assert later.record.reference.startswith("none: its first look (step 0) failed, which alone saw it before training")
    assert later.record.groups.strength != "strong"
    resumed = Solver(CONFIG)
    resumed.load_state_dict(solver.state_dict())
    resumed.submit(LookJob(at(8), layers()))
    assert resumed.collect()[0].record.reference == later.record.reference  # type: ignore[union-attr]
