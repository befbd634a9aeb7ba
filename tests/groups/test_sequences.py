"""Layers of several sequences: each is parted by itself, and where one ends and another begins nothing was learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from example_records import example_record
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw import GroupTracker, GWSimilarity, describe, find_groups
from lightning_gw.figures import draw_groups, draw_matrix, draw_profile, draw_timeline
from lightning_gw.groups.choice import choose_group
from lightning_gw.groups.finding import find_boundaries
from lightning_gw.groups.reference import Reference
from lightning_gw.groups.sequences import ends_of
from lightning_gw.records.history import load_history
from lightning_gw.records.words.description import describe_groups
from lightning_gw.significance.evidence import Tested, judged


def apart(*sequences: tuple[float, ...], far: float = 10.0) -> NDArray[np.float64]:
    """Distances of layers on lines with these steps between them, each line far from the others."""
    count = sum(len(steps) + 1 for steps in sequences)
    distances, start = np.full((count, count), far), 0
    for steps in sequences:
        place = np.concatenate([[0.0], np.cumsum(steps)])
        stop = start + len(place)
        distances[start:stop, start:stop] = np.abs(place[:, None] - place[None, :])
        start = stop
    return distances


PARTED = (0.1, 0.1, 0.7, 0.1, 0.1)
EVEN = (0.1, 0.1, 0.1, 0.1, 0.1)


def test_each_sequence_is_parted_as_if_it_were_alone() -> None:
    distances, reference = apart(PARTED, EVEN), apart(EVEN, EVEN)
    groups = find_groups(distances, reference, sequence_ends=(5,))
    first = find_groups(distances[:6, :6], reference[:6, :6])
    second = find_groups(distances[6:, 6:], reference[6:, 6:])
    assert (first.boundaries, second.boundaries) == ((2,), ())
    assert groups.boundaries == (2,)
    assert groups.strength == first.strength == "strong"
    assert groups.contrast == first.contrast
    assert groups.labels == (0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2)
    assert groups.ranges() == "1–3 | 4–6 ‖ 7–12"
    ends = find_boundaries(distances[None], Reference.of(reference, distances, 12), (5,))[0]
    assert np.flatnonzero(ends).tolist() == [2]


@pytest.mark.parametrize("far", [0.01, 1.0, 1e6])
def test_how_far_sequences_are_from_each_other_decides_nothing(far: float) -> None:
    near, other = (find_groups(apart(PARTED, PARTED, far=f), sequence_ends=(5,)) for f in (1.0, far))
    assert (near.boundaries, near.strength, near.contrast) == (other.boundaries, other.strength, other.contrast)
    assert np.isnan(other.adjacent[5])
    assert np.isfinite(np.delete(other.adjacent, 5)).all()


def test_where_sequences_part_is_no_group_by_itself() -> None:
    groups = find_groups(apart(EVEN, EVEN), sequence_ends=(5,))
    assert (groups.strength, groups.boundaries, groups.count, set(groups.labels)) == ("none", (), 1, {0})
    without = find_groups(apart(EVEN, EVEN))
    assert without.boundaries == (5,)  # which is what was found before


def test_groups_are_as_strong_as_the_weakest_boundary_of_any_sequence() -> None:
    weak = (0.1, 0.1, 0.16, 0.1, 0.1)
    reference = apart(EVEN, EVEN)
    groups = find_groups(apart(PARTED, weak), reference, sequence_ends=(5,))
    assert groups.boundaries == (2, 8)
    assert groups.strength == "weak"
    assert groups.contrast == find_groups(apart(weak), apart(EVEN)).contrast


def test_a_layer_without_distances_at_an_end_leaves_the_end_where_it_is() -> None:
    distances = apart(PARTED, PARTED)
    distances[5] = distances[:, 5] = np.nan
    groups = find_groups(distances, sequence_ends=(5,))
    assert groups.labels == (0, 0, 0, 1, 1, -1, 2, 2, 2, 3, 3, 3)
    told = GroupTracker(persistence=1)
    told.update(0, groups)
    assert list(told.steady.values()) == [(0, 1, 2), (3, 4), (6, 7, 8), (9, 10, 11)]


def test_stories_are_told_of_no_group_that_reaches_across() -> None:
    tracker = GroupTracker(persistence=1)
    assert tracker.update(0, find_groups(apart(EVEN, EVEN), sequence_ends=(5,))) == []
    events = tracker.update(1, find_groups(apart(PARTED, EVEN), sequence_ends=(5,)))
    assert [(event.kind, event.layers) for event in events] == [
        ("birth", (0, 1, 2)),
        ("birth", (3, 4, 5)),
        ("birth", (6, 7, 8, 9, 10, 11)),
    ]
    moved = tracker.update(2, find_groups(apart((0.1, 0.7, 0.1, 0.1, 0.1), EVEN), sequence_ends=(5,)))
    assert [(event.kind, event.boundary_from, event.boundary_to) for event in moved] == [("boundary_moved", 2, 1)]


def test_what_a_null_takes_back_leaves_the_sequences_apart_and_each_judged_by_what_is_left() -> None:
    distances, even = apart(PARTED, (0.1, 0.1, 0.16, 0.1, 0.1)), apart(EVEN, EVEN)
    groups = find_groups(distances, even, sequence_ends=(5,))
    assert (groups.boundaries, groups.strength) == ((2, 8), "weak")
    p_values = np.full(11, 0.01)
    p_values[8] = 0.8
    left = judged(groups, Tested("99 networks", p_values), distances, Reference.of(even, even, 12))
    assert (left.boundaries, left.strength) == ((2,), "strong")
    assert left.contrast == find_groups(apart(PARTED), apart(EVEN)).contrast
    assert left.labels == (0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2)


def test_no_random_block_reaches_from_one_sequence_into_another() -> None:
    groups = find_groups(apart(PARTED, PARTED), apart(EVEN, EVEN), sequence_ends=(5,))
    names = [f"encoder.{k}" for k in range(6)] + [f"decoder.{k}" for k in range(6)]
    chosen = choose_group(groups, names, 2)
    blocks = {chosen.control(seed).members for seed in range(200)}
    assert blocks == {(k, k + 1, k + 2) for k in range(10) if k not in (3, 4, 5)}


def test_layers_of_which_none_follows_another() -> None:
    alone = find_groups(np.ones((4, 4)) - np.eye(4), sequence_ends=(0, 1, 2))
    assert (alone.strength, alone.labels) == ("none", (0, 0, 0, 0))
    assert np.isnan(alone.adjacent).all()
    record = replace(example_record(step=0), groups=alone, layers=("a", "b", "c", "d"))
    assert describe_groups(record) == "At step 0 none of the four layers follows another, so there is nothing to part."


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="cannot end after layer 11: with 12 layers"):
        find_groups(apart(EVEN, EVEN), sequence_ends=(11,))
    with pytest.raises(ValueError, match="several sequences"):
        find_groups(apart(EVEN, EVEN), sequence_ends=(5,), count=3)
    assert ends_of((("a", "b"), ("c",)), ("a", "b", "c")) == (1,)
    assert ends_of((("a", "b"), ("c",)), ("a", "b")) == ()  # a layer that was left out takes its sequence along
    assert ends_of((), ("a", "b")) == ()


class Copying(LightningModule):
    """An encoder and a decoder that learn to give back what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(16, 2, 4, 4, 32, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, x.flip(1))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.randn(64, 5, 16, generator=torch.Generator().manual_seed(0))), 16)

    val_dataloader = train_dataloader


def test_a_training_of_encoder_and_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    watching = GWSimilarity(save_dir=tmp_path, probe_size=24, every_n_steps=4, null_samples=0, verbose=False)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(max_steps=8, callbacks=[watching], default_root_dir=tmp_path, accelerator="cpu", **quiet).fit(Copying())
    (line,) = tmp_path.rglob("history.jsonl")
    history = load_history(line.parent)
    assert len(history) == 3
    for record in history:
        assert [len(part) for part in record.probe["sequences"]] == [4, 4]
        for groups in (record.groups, record.groups_paired, *([record.changed] if record.changed else [])):
            assert groups.sequence_ends == (3,)
            assert 3 not in {*groups.boundaries, *groups.proposed, *groups.built_in, *groups.unreferenced}
            assert np.isnan(groups.adjacent[3])
        assert np.isnan(record.growth[3])
        assert np.isfinite(record.gw.distance[3, 4])  # the matrix still tells it
        assert record.groups.noise is None or np.isnan(record.groups.noise[3])
        assert all(3 not in event.layers for event in record.events if event.kind == "growth")
    last = history[-1]
    named = [replace(last.groups, labels=(0, 0, 1, 1, 2, 2, 2, 2), boundaries=(1,), strength="weak", stability=(1.0,))]
    assert "the eight layers of two sequences (1–4 and 5–8) form" in describe(
        [*history[:-1], replace(last, groups=named[0], group_ids=(0, 1, 2))]
    )
    for figure in (draw_groups(last.groups), draw_matrix(last), draw_profile(last), draw_timeline(history)):
        marks = [artist for axes in figure.axes for artist in axes.lines if artist.get_gid() == "sequence-end"]
        assert marks
