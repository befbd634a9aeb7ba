"""What speaks for the groups of a look reaches its record: null, stability, noise, agreement of measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gw as lgw
from lightning_gw.analysis import Analysis
from lightning_gw.callback.look import run_null
from lightning_gw.records.context import LookContext
from lightning_gw.records.words.description import describe_record


class Stack(LightningModule):
    """Six layers that nothing but their own resets initialises."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(20, 20), nn.Tanh()) for _ in range(6))
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


def fit(folder: Path, module: Stack | None = None, **options: Any) -> tuple[lgw.GWSimilarity, Stack]:
    torch.manual_seed(0)
    module = Stack() if module is None else module
    x = torch.randn(96, 20)
    data = DataLoader(TensorDataset(x, x[:, :3].argmax(dim=1)), batch_size=16)
    watcher = lgw.GWSimilarity(
        layers="layers.*", probe="train", probe_size=24, when=[4], effort="fast", verbose=False, **options
    )
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[watcher],
    )
    trainer.fit(module, data)
    return watcher, module


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_every_look_is_held_against_fresh_networks_and_training_is_not_disturbed(tmp_path: Path) -> None:
    _, watched = fit(tmp_path, null_samples=19, draws=20)
    _, plain = fit(tmp_path / "plain", draws=20)
    for name, value in watched.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name])
    history = lgw.load_history(tmp_path)
    assert [record.step for record in history] == [0, 4, 6]
    for record in history:
        assert record.null.startswith("19 re-initialised networks")
        assert record.groups.p_value in [pytest.approx(k / 20) for k in range(1, 21)]
        assert record.before_training or "against 19 re-initialised networks" in describe_record(record)
    assert len(list((tmp_path / "cache/lightning-gw/nulls").iterdir())) == 1
    again, _ = fit(tmp_path / "again", null_samples=19, draws=20)
    assert [r.groups.p_value for r in again.history or ()] == [r.groups.p_value for r in history]


def test_records_carry_stability_noise_and_agreement_of_measures(tmp_path: Path) -> None:
    fit(tmp_path, draws=20, measures=("paired_cka", "procrustes"))
    record = lgw.load_history(tmp_path)[-1]
    assert record.found_in == "gw_anchored"
    assert set(record.measures) == {"paired_cka", "procrustes", "gw_anchored"}
    assert set(record.agreement) == {"paired_cka", "procrustes", "gw_anchored", "identity"}
    assert record.agreement["identity"]["matching_gain"] >= 0
    support = record.groups.support
    assert support is not None
    assert support.shape == (5,)
    assert ((support >= 0) & (support <= 1)).all()
    assert record.groups.stability == tuple(support[list(record.groups.boundaries)])
    assert record.groups.noise is not None
    assert (record.groups.noise > 0).all()
    assert record.null.startswith("none: 3 networks with fresh weights are too few")
    assert record.reference == "its own first look (step 0) and 3 re-initialised networks (reset_parameters)"
    np.testing.assert_allclose(
        record.groups.adjacent, np.sqrt(2 * (1 - np.diagonal(record.measures["gw_anchored"], 1))), rtol=1e-9
    )


def test_an_initialisation_of_its_own_is_no_evidence_of_training_and_has_no_copies(tmp_path: Path) -> None:
    module = Stack()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3).add_(0.2)
    with pytest.warns(UserWarning, match="no null: resetting its layers does not give weights like those it began"):
        fit(tmp_path, module, null_samples=19, draws=0)
    first, *later = lgw.load_history(tmp_path)
    assert first.reference == "itself, before training"
    assert {record.reference for record in later} == {"its own first look (step 0)"}
    for record in (first, *later):
        assert record.null.startswith("none: resetting its layers does not give")
        assert record.groups.p_value is None
        assert record.groups.stability is None
        why = "no p-value, since resetting its layers does not give"
        assert record.before_training or why in describe_record(record)


@pytest.mark.slow
def test_groups_can_be_found_in_the_plain_matrix_or_as_if_nothing_were_paired(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path / "plain", anchor=0.0, draws=0)
    unpaired, _ = fit(tmp_path / "unpaired", paired=False, draws=0)
    assert plain.history is not None
    assert unpaired.history is not None
    assert plain.history[-1].found_in == "gw"
    np.testing.assert_array_equal(plain.history[-1].groups.adjacent, np.diagonal(plain.history[-1].gw.distance, 1))
    assert unpaired.history[-1].found_in == "gw_unpaired"
    assert "gw_unpaired" in unpaired.history[-1].measures


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"anchor": -1.0}, "anchor=-1.0 must be"),
        ({"draws": -1}, "bootstrap_samples=-1 must"),
        ({"measures": ["ckaa"]}, "Unknown similarity measure 'ckaa'. Known: .*paired_cka"),
        ({"null_samples": -3}, "null_samples=-3"),
    ],
)
def test_options_that_make_no_sense_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lgw.GWSimilarity(**option)


def test_a_run_resumed_with_another_geometry_begins_anew_instead_of_mixing_numbers(tmp_path: Path) -> None:
    first, _ = fit(tmp_path, draws=0)
    assert first.history is not None
    state = first.state_dict()
    analysis = Analysis(geometry="dcor", bootstrap_samples=0)
    analysis.load_state_dict(state["analysis"])
    representations = {name: torch.randn(24, 8) for name in first.history[-1].layers}
    context = LookContext(step=9, epoch=0, probe=dict(first.history[-1].probe))
    record = analysis.look(representations, context)
    assert any("the geometry changed" in note for note in record.notes)
    assert record.reference.startswith("none: by step 9 it had been trained")
    np.testing.assert_array_equal(record.growth, 1.0)
    assert record.changed is None
    later = analysis.look(representations, replace(context, step=12))
    assert not any("changed" in note for note in later.notes)
    assert later.null.startswith("none: the networks with fresh weights were looked at in another way")
    assert later.changed is not None


def test_a_network_that_cannot_be_asked_trains_and_is_held_against_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TypeError("no such kernel")

    monkeypatch.setattr(run_null, "origin_of", fails)
    with pytest.warns(UserWarning, match=r"no null: its weights could not be read \(TypeError: no such kernel\)"):
        fit(tmp_path, null_samples=19, draws=0)
    for record in lgw.load_history(tmp_path):
        assert record.reference.startswith("none: whether its weights are fresh could not be told, and there are no")


def test_what_gives_no_network_like_it_ends_the_training_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"untrained=.* cannot be used: build.* returned a network whose parameter"):
        fit(tmp_path, draws=0, untrained=lambda: nn.Linear(2, 2))
