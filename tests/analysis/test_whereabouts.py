"""How far each layer came by itself since the first look, and whose weights changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from callback_nets import Net, assert_same_history, loader, plain_net, trainer, watcher
from drifting_layers import layers
from torch import Tensor, nn

import lightning_gw as lgw
from lightning_gw.activations.isolation.weights import fingerprints
from lightning_gw.analysis import Analysis
from lightning_gw.analysis.whereabouts import Whereabouts
from lightning_gw.geometry.spaces import make_spaces
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe


def moved(before: dict[str, Tensor], after: dict[str, Tensor], geometry: str = "standardized") -> np.ndarray:
    there, here = (Whereabouts.of(make_spaces(look, geometry), {}) for look in (before, after))
    return np.asarray(here.compared(there, tuple(before))["moved"])


@pytest.mark.parametrize("geometry", ["standardized", "cka", "dcor", "euclidean"])
def test_what_leaves_all_distances_as_they_were_moves_no_layer(geometry: str) -> None:
    before = layers(24, 3)
    turned = {}
    for name, x in before.items():
        turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], dtype=x.dtype)).Q
        turned[name] = 3.0 * x @ turn + 5.0
    assert moved(before, before, geometry).tolist() == [0.0, 0.0, 0.0]
    assert moved(before, turned, geometry) == pytest.approx([0.0] * 3, abs=1e-5)


def test_it_is_the_distance_that_rsa_tells_a_layer_from_itself_by() -> None:
    """Standardised distances of correlation r are √(2 (1 − r)) apart, over the pairs of different inputs."""
    before, after = layers(24, 3, seed=0), layers(24, 3, seed=1)  # 276 pairs: all of them are kept
    pairs = np.triu_indices(24, 1)
    expected = []
    for name in before:
        flat = [torch.cdist(x[name], x[name]).numpy()[pairs] for x in (before, after)]
        expected.append(np.sqrt(2 * (1 - np.corrcoef(flat)[0, 1])))
    # A matrix of all n² entries has the diagonal too, which takes its share of the scale.
    assert moved(before, after) == pytest.approx(expected, rel=0.06)


def test_a_layer_that_could_not_be_measured_has_not_moved_by_any_number() -> None:
    before = layers(24, 3)
    name = list(before)[1]
    flat = {**before, name: torch.zeros_like(before[name])}
    assert np.isnan(moved(before, flat)).tolist() == [False, True, False]
    assert np.isnan(moved(flat, before)).tolist() == [False, True, False]


def test_a_fingerprint_tells_any_other_bit_and_nothing_else() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))
    known = fingerprints({"block": block, "relu": nn.ReLU()})
    assert known["relu"] == ""
    block.train()
    block[1].num_batches_tracked += 1  # a counter is no weight
    assert fingerprints({"block": block})["block"] == known["block"]
    with torch.no_grad():
        block[0].weight[2, 3] = torch.nextafter(block[0].weight[2, 3], torch.tensor(9.0))
    one_bit = fingerprints({"block": block})["block"]
    assert one_bit != known["block"]
    block[1].running_mean += 1.0
    assert fingerprints({"block": block})["block"] != one_bit


def fit(folder: Path, *trained: int, **options: object) -> lgw.GWSimilarity:
    module = Net(plain_net())
    for place, layer in enumerate(module.net):
        layer.requires_grad_(place in trained)
    callback = watcher(folder, layers="net.*", when=[4], **options)
    trainer(folder, callback, max_epochs=1).fit(module, loader(64, 16), loader(64, 16))
    return callback


def test_the_layers_that_alone_were_trained_are_named(tmp_path: Path) -> None:
    callback = fit(tmp_path, 2, 4)
    assert callback.history is not None
    first, last = callback.history[0], callback.history[-1]
    assert first.weights == ("same", "none", "same", "none", "same", "none", "same")
    assert first.moved is not None
    assert first.moved.tolist() == [0.0] * 7
    assert last.weights == ("same", "none", "changed", "none", "changed", "none", "same")
    assert last.moved is not None
    assert (last.moved > 0).tolist() == [False, False, True, True, True, True, True]
    said = describe(callback.history)
    assert f"Since step 0 the weights of layers {'3 (net.2), 5 (net.4)'} alone changed." in said
    rows = last.to_dataframe()
    assert rows["weights"].tolist() == list(last.weights)
    assert rows["moved"].tolist() == last.moved.tolist()


def test_nothing_is_said_where_all_layers_are_trained(tmp_path: Path) -> None:
    callback = fit(tmp_path, 0, 2, 4, 6)
    assert callback.history is not None
    assert "alone changed" not in describe(callback.history)


def test_that_no_layer_was_trained_is_said(tmp_path: Path) -> None:
    module = Net(plain_net())
    module.net[:6].requires_grad_(False)
    callback = watcher(tmp_path, layers=["net.0", "net.2", "net.4"], when=[4])
    trainer(tmp_path, callback, max_epochs=1).fit(module, loader(64, 16), loader(64, 16))
    assert callback.history is not None
    assert "No layer's weights changed since step 0." in describe(callback.history)


def test_beside_training_it_is_the_same(tmp_path: Path) -> None:
    inline, aside = fit(tmp_path / "inline", 2), fit(tmp_path / "aside", 2, solve="background")
    assert inline.history is not None
    assert aside.history is not None
    assert_same_history(inline.history, aside.history)


def test_the_start_outlives_a_checkpoint() -> None:
    context = LookContext(step=0, epoch=0, probe={})
    analysis, again = Analysis(effort="fast", bootstrap_samples=0), Analysis(effort="fast", bootstrap_samples=0)
    start, later = layers(24, 3, seed=0), layers(24, 3, seed=1)
    known = dict.fromkeys(start, "a")
    analysis.look(start, context, weights=known)
    again.load_state_dict(analysis.state_dict())
    now = {**known, next(iter(start)): "b"}
    one, other = (each.look(later, replace(context, step=5), weights=now) for each in (analysis, again))
    assert one.weights == other.weights == ("changed", "same", "same")
    assert one.moved is not None
    assert other.moved is not None
    assert one.moved.tolist() == other.moved.tolist()
    assert (one.moved > 0.1).all()


def test_a_checkpoint_of_older_versions_knows_of_no_start() -> None:
    analysis = Analysis(effort="fast", bootstrap_samples=0)
    context = LookContext(step=0, epoch=0, probe={})
    start = layers(24, 3)
    analysis.look(start, context)
    state = analysis.state_dict()
    del state["begun"]["whereabouts"]
    analysis.load_state_dict(state)
    record = analysis.look(start, replace(context, step=5), weights=dict.fromkeys(start, "a"))
    assert record.weights is None
    assert record.moved is not None
    assert np.isnan(record.moved).all()
    assert "weights of" not in describe([record, replace(record, step=9)])
    assert Record.from_json(record.to_json(), record.arrays()).weights is None
