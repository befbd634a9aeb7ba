"""What is read of a run's history, against histories whose answer is known and a run that was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from example_records import example_record
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gw as lgw
from lightning_gw.records.history import History
from lightning_gw.records.record import Record
from lightning_gw.statistics import Finding, correspondence, finding_of


def read(history: History, accuracy: str | None = None) -> Finding | None:
    return finding_of(history, key="full/seed-1", strategy="full", seed=1, accuracy=accuracy, seconds=3.0)


def look(step: int, labels: tuple[int, ...], identities: tuple[int, ...], metrics: dict[str, float]) -> Record:
    record = example_record(step)
    boundaries = tuple(k for k in range(len(labels) - 1) if labels[k] != labels[k + 1])
    groups = replace(record.groups, labels=labels, boundaries=boundaries, strength="strong" if boundaries else "none")
    return replace(record, groups=groups, group_ids=identities, metrics=metrics)


def test_an_empty_history_has_no_finding() -> None:
    assert read(History()) is None


def test_the_last_look_is_what_a_run_ended_with() -> None:
    history = History([example_record(0), example_record(10)])
    found = read(history)
    assert found is not None
    assert (found.layers, found.labels, found.boundaries) == (history[-1].layers, (0, 0, 1, 2, 2), (1, 2))
    assert (found.count, found.strength, found.steps, found.seconds) == (3, "strong", 10, 3.0)
    assert np.array_equal(found.similarity, history[-1].gw.similarity)
    assert found.accuracy is None


def test_groups_have_converged_from_the_first_look_on_after_which_all_stay() -> None:
    early, late = (0, 0, 1, 1, 1), (0, 0, 0, 1, 1)
    looks = [look(s, e, (0, 1), {}) for s, e in [(0, early), (5, late), (10, early), (20, late), (30, late)]]
    assert read(History(looks)).converged == 20  # type: ignore[union-attr]
    assert read(History(looks[:4])).converged is None, "nothing shows that they stay"  # type: ignore[union-attr]
    assert read(History(looks[:1])).converged is None  # type: ignore[union-attr]
    nothing = look(40, (0, 0, 0, 0, 0), (), {})
    assert read(History([*looks, nothing, replace(nothing, step=50)])).converged is None  # type: ignore[union-attr]


def test_the_later_step_tells_the_accuracy_and_a_validation_beats_a_look_at_the_same() -> None:
    whole = (0, 0, 0, 0, 0)
    history = History([look(0, whole, (), {"acc": 0.1}), look(20, whole, (), {"acc": 0.2})])
    assert read(history, "acc").accuracy == 0.2  # type: ignore[union-attr]
    history.append_metrics(10, 0, {"acc": 0.5, "other": 0.7})
    assert read(history, "acc").accuracy == 0.2  # type: ignore[union-attr]
    history.append_metrics(20, 0, {"acc": 0.6})
    assert read(history, "acc").accuracy == 0.6  # type: ignore[union-attr]
    assert read(history, "other").accuracy == 0.7  # type: ignore[union-attr]
    assert read(history, "never").accuracy is None  # type: ignore[union-attr]


class Tiny(LightningModule):
    """A chain of layers that tells two halves of a square apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4)), nn.Linear(8, 2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.log("accuracy", (self.layers(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


def train(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    look = lgw.GWSimilarity(probe_size=16, save_dir=str(folder), keep_representations=True, every_n_steps=4)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[look],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Tiny(), DataLoader(data, 16), DataLoader(data, 64))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [train(tmp_path_factory.mktemp("run"), seed) for seed in (0, 1)]


def test_a_trained_run_is_read_whole(runs: list[Path]) -> None:
    history = lgw.load_history(runs[0])
    found = read(history, "accuracy")
    assert found is not None
    assert found.steps == history[-1].step == 8
    assert len(found.layers) == len(found.similarity) == len(found.labels) >= 4
    assert found.accuracy is not None
    assert 0.5 < found.accuracy <= 1.0


def test_the_layers_of_two_trained_runs_correspond_and_a_runs_own_to_themselves(runs: list[Path]) -> None:
    one, other = (lgw.load_representations(run) for run in runs)
    own = correspondence(one, one)
    assert own.best == own.paired_best == tuple(range(len(one.layers)))
    assert own.order == pytest.approx(1.0)
    between = correspondence(one, other)
    assert between.gw is not None
    assert between.gw.other_layers == tuple(other.layers)
    assert (between.similarity >= between.paired - 1e-9).all()
