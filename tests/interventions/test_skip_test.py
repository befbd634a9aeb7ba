"""Layers left out: what the network loses, and that it is afterwards what it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torchmetrics
from callback_nets import CLASSES, Block, Net, loader, trainer, watcher
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_gw.activations.isolation.undisturbed import changes_of
from lightning_gw.figures import draw_skip_test
from lightning_gw.groups.finding import find_groups
from lightning_gw.interventions import skip_test
from lightning_gw.loggers import content
from lightning_gw.loggers.dispatch import log_skip_test

#: How much each layer adds: the third nothing, the fourth most.
SIZES = (0.2, 0.05, 0.0, 1.5, 0.4, 0.1)


class Named(NamedTuple):
    state: Tensor
    extra: Any


class Scaled(nn.Module):
    """Adds `size` times a map of its own; what it returns beside, and how it is packed, is up to `pack`."""

    def __init__(self, size: float, pack: Any = lambda state, extra: state) -> None:
        super().__init__()
        self.size, self.pack = size, pack
        self.linear = nn.Linear(8, 8)

    def forward(self, state: Tensor, extra: Any = None) -> Any:
        return self.pack(state + self.size * torch.tanh(self.linear(state)), extra)


class Stack(LightningModule):
    """Layers in a row; logs a loss, an accuracy of its own and a torchmetric."""

    def __init__(self, layers: list[nn.Module], unpack: Any = lambda output: output) -> None:
        super().__init__()
        self.layers, self.head, self.unpack = nn.ModuleList(layers), nn.Linear(8, CLASSES), unpack
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        extra = torch.ones(3)
        for layer in self.layers:
            x = self.unpack(layer(x, extra=extra) if isinstance(layer, Scaled) else layer(x))
        return self.head(x)

    def validation_step(self, batch: Any, index: int) -> None:
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val/loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log_dict({"val/accuracy": self.accuracy})


def stack(sizes: tuple[float, ...] = SIZES, **options: Any) -> Stack:
    torch.manual_seed(0)
    return Stack([Scaled(size, **options) for size in sizes])


def batches() -> list[Any]:
    return list(loader(48, 16))


def test_what_a_layer_adds_is_what_is_lost_without_it() -> None:
    net = stack()
    aims = [net(x).detach() for x, _ in batches()]
    inputs = [(x, aim) for (x, _), aim in zip(batches(), aims, strict=True)]
    found = skip_test(
        net, inputs, layers="layers.*", metric=lambda net, batch: (net(batch[0]) - batch[1]).square().mean()
    )
    assert found.whole == 0
    assert found.inputs == 48
    assert np.argsort(found.damage).tolist() == np.argsort(SIZES).tolist()
    assert found.layers[2].rise == 0, "a layer that adds nothing"
    assert found.layers[2].one_minus_cosine == pytest.approx(0, abs=1e-6)
    assert found.correlations() == pytest.approx(dict.fromkeys(found.correlations(), 1.0), abs=0.2)
    by_hand = [
        float(
            np.mean(
                [float((without(net, 3, x) - aim).square().mean()) for (x, _), aim in zip(batches(), aims, strict=True)]
            )
        )
    ]
    assert found.layers[3].rise == pytest.approx(by_hand[0], rel=1e-5)


def without(net: Stack, left_out: int, x: Tensor) -> Tensor:
    for place, layer in enumerate(net.layers):
        x = x if place == left_out else layer(x)
    return net.head(x).detach()


def test_the_modules_own_metrics_are_its_validation_s() -> None:
    net = stack()
    with torch.no_grad():
        outputs = [(net(x), y) for x, y in batches()]
    loss = np.mean([float(nn.functional.cross_entropy(logits, y)) for logits, y in outputs])
    by_loss = skip_test(net, batches(), layers="layers.*")
    assert (by_loss.metric, by_loss.mode, by_loss.whole) == ("val/loss", "min", pytest.approx(loss, rel=1e-6))
    assert np.isfinite([row.error for row in by_loss.layers]).all()
    by_accuracy = skip_test(net, batches(), layers="layers.*", monitor="val/accuracy")
    fresh = torchmetrics.classification.MulticlassAccuracy(CLASSES)
    for logits, y in outputs:
        fresh.update(logits, y)
    assert (by_accuracy.mode, by_accuracy.whole) == ("max", pytest.approx(float(fresh.compute())))
    np.testing.assert_array_equal(by_accuracy.damage, [-row.rise for row in by_accuracy.layers])
    with pytest.raises(ValueError, match=r"logs no 'val/acuracy'.*Near names: val/accuracy"):
        skip_test(net, batches(), layers="layers.*", monitor="val/acuracy")


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_afterwards_what_it_was(fails: bool) -> None:
    net = stack()
    net.train()
    net.layers[1].eval()
    net.accuracy.update(torch.eye(CLASSES), torch.arange(CLASSES))
    inputs, calls = batches(), 0

    def metric(net: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if fails and calls == 3:
            raise KeyboardInterrupt
        return net(batch[0] + torch.randn(1)).square().mean()

    with changes_of(net) as changes:
        if fails:
            with pytest.raises(KeyboardInterrupt):
                skip_test(net, inputs, layers="layers.*", metric=metric)
        else:
            skip_test(net, inputs, layers="layers.*", metric=metric)
    assert changes == []
    assert not any("forward" in vars(child) for child in net.modules())
    net(batches()[0][0])


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda state, extra: (state, None), lambda output: output[0]),
        (lambda state, extra: (state, extra), lambda output: output[0] * output[1].mean()),
        (lambda state, extra: [state], lambda output: output[0]),
        (lambda state, extra: {"extra": extra, "last_hidden_state": state}, lambda output: output["last_hidden_state"]),
        (lambda state, extra: Named(state, extra), lambda output: output.state),
    ],
)
@pytest.mark.slow
def test_packed_outputs_keep_their_form(pack: Any, unpack: Any) -> None:
    plain, packed = stack(), stack(pack=pack)
    packed.unpack = unpack
    packed.load_state_dict(plain.state_dict())
    found, expected = (skip_test(net, batches(), layers="layers.*") for net in (packed, plain))
    np.testing.assert_allclose(found.damage, expected.damage, rtol=1e-6)


def test_what_a_layer_keeps_for_others_is_named() -> None:
    net = stack(pack=lambda state, extra: (state, state.mean()))
    net.unpack = lambda output: output[0]
    with pytest.raises(ValueError, match=r"layers\.0: beside its state it puts out a tensor .* use_cache=False"):
        skip_test(net, batches(), layers="layers.*")


def test_a_network_that_cannot_run_without_a_layer_says_so() -> None:
    class Keeps(Scaled):
        def forward(self, state: Tensor, extra: Any = None) -> Any:
            self.kept = state.detach()
            return super().forward(state)

    net = stack()
    net.layers[0] = Keeps(0.1)

    def metric(net: Any, batch: Any) -> Tensor:
        net.layers[0].kept = None
        return (net(batch[0]).mean() * net.layers[0].kept.mean()).abs()

    found = skip_test(net, batches(), layers="layers.*", metric=metric)
    assert "the network cannot run without it (AttributeError" in found.layers[0].reason
    assert np.isfinite(found.damage[1:]).all()


def test_layers_that_change_the_shape_are_left_in() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(6, 4)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in list(self.layers)[: 2 if self.short else 4]:
                x = layer(x)
            return x

        short = False

    tokens = [torch.randint(5, (8, 3))]
    found = skip_test(Net(), tokens, layers="layers.*", metric=lambda net, x: net(x).square().mean())
    assert [row.reason for row in found.layers] == [
        "it turns int64 into float32",
        "",
        "it changes the shape 3×4 into 3×6",
        "it changes the shape 3×6 into 3×4",
    ]
    with pytest.raises(ValueError, match=r"No layer of Net can be left out \(layers.0: .*layers.2: .*\)"):
        skip_test(Net(), tokens, layers=["layers.0", "layers.2"], metric=lambda net, x: net(x).square().mean())
    net = Net()
    net.short = True
    found = skip_test(net, tokens, layers="layers.*", metric=lambda net, x: net(x).square().mean())
    assert found.layers[3].reason == "Net.forward never calls it"


def test_groups_lose_all_layers_but_their_first_and_random_blocks_as_many() -> None:
    depth = np.array([0, 1, 2, 9, 10, 11])
    groups = find_groups(abs(np.subtract.outer(depth, depth)))
    found = skip_test(stack(), batches(), layers="layers.*", groups=groups, controls=3)
    assert [group.interior for group in found.groups] == [("layers.1", "layers.2"), ("layers.4", "layers.5")]
    for group in found.groups:
        assert len({control.layers for control in group.controls}) == 3
        for control in group.controls:
            assert len(control.layers) == 2
            assert control.layers != group.interior
            assert int(control.layers[1][-1]) == int(control.layers[0][-1]) + 1
    assert "as many layers in a row chosen at random" in " ".join(found.sentences())
    assert "tests no group" not in " ".join(found.sentences())
    one = find_groups(abs(np.subtract.outer(np.arange(6), np.arange(6))))
    assert skip_test(stack(), batches(), layers="layers.*", groups=one).groups == ()
    with pytest.raises(ValueError, match="groups are of 6 layers, and the skip test is of 2"):
        skip_test(stack(), batches(), layers=["layers.0", "layers.1"], groups=groups)


def test_blocks_that_are_nearly_the_interior_itself_are_no_control() -> None:
    depth = np.array([0, 8, 9, 10, 11, 12])
    groups = find_groups(abs(np.subtract.outer(depth, depth)), weak=0, weak_end=0)
    assert groups.labels == (0, 1, 1, 1, 1, 1)
    found = skip_test(stack(), batches(), layers="layers.*", groups=groups, controls=3)
    assert [control.layers[0] for control in found.groups[0].controls] == ["layers.0", "layers.1"]
    assert "Each of these shares 2 or more of the 4, so that this tests no group." not in found.sentences()[-1]
    short = replace(found.groups[0], controls=found.groups[0].controls[1:])
    assert (
        replace(found, groups=(short,))
        .sentences()[-1]
        .endswith("shares 3 or more of the 4, so that this tests no group.")
    )


def test_layers_are_taken_in_the_order_of_a_record() -> None:
    names = ["layers.2", "layers.0"]
    assert [row.layer for row in skip_test(stack(), batches(), layers=names).layers] == names


def test_a_layer_called_twice_is_left_out_of_both_calls() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.other = Block(8), Block(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.other(self.block(x)))

    found = skip_test(Net(), [torch.randn(8, 8)], layers=["block", "other"], metric=lambda net, x: net(x).mean())
    assert [row.calls for row in found.layers] == [2, 1]


def test_without_a_metric_the_remedy_is_named() -> None:
    with pytest.raises(ValueError, match=r"Sequential defines no validation_step.*metric=function"):
        skip_test(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), batches())


def test_the_picture_outlines_groups_and_marks_what_was_kept() -> None:
    depth = np.array([0, 1, 2, 9, 10, 11])
    groups = find_groups(abs(np.subtract.outer(depth, depth)))
    found = skip_test(stack(), batches(), layers="layers.*", groups=groups)
    rows = list(found.layers)
    rows[2] = replace(rows[2], rise=float("nan"), error=float("nan"), reason="it changes the shape")
    figure = draw_skip_test(replace(found, layers=tuple(rows)))
    figure.canvas.draw()
    gids = {artist.get_gid() for artist in figure.axes[0].get_children()}
    assert {"group-0", "group-3", "kept-2", "layer-0"} <= gids
    assert "layer-2" not in gids


class Recorded:
    """What W&B's run offers, as far as loggers ask for it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def define_metric(self, *args: Any, **options: Any) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


class Logger:
    def __init__(self) -> None:
        self.experiment = Recorded()


def test_wandb_gets_one_row_with_picture_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PATIENCE", 600.0)  # there is no server to wait for
    found, logger = skip_test(stack(), batches(), layers="layers.*"), Logger()
    assert log_skip_test([logger], found, 7) == []
    (row,) = logger.experiment.rows
    assert row["trainer/global_step"] == 7
    assert row["gw/skip/rise/layers.3"] == found.layers[3].rise
    assert row["gw/skip/correlation/adjacent"] == found.correlations()["adjacent"]
    assert type(row["gw/skip_test"]).__name__ == "Image"
    assert len(row["gw/skip"].data) == len(SIZES)


def blocks() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(*(Block(8) for _ in range(5)), nn.Linear(8, CLASSES))


@pytest.mark.parametrize("tested", [True, "val_loss"])
@pytest.mark.representatives("True")
def test_at_the_end_of_training_weights_stay_what_they_were(tmp_path: Path, tested: bool | str) -> None:
    weights = []
    for ask in (False, tested):
        torch.manual_seed(0)
        net = Net(blocks())
        watching = watcher(tmp_path / str(ask), skip_test=ask, bootstrap_samples=0, null_samples=0)
        trainer(tmp_path, watching, max_epochs=1).fit(net, loader(shuffle=True), loader(seed=1))
        weights.append(net.state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    written = json.loads((tmp_path / str(tested) / "gw/skip-test.json").read_text())
    assert written["metric"] == "val_loss"
    assert [row["layer"] for row in written["layers"]] == [f"net.{place}" for place in range(5)]
    assert (tmp_path / str(tested) / "gw/skip-test.png").read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "False/gw/skip-test.json").exists()


def test_a_skip_test_that_fails_costs_itself_and_not_the_training(tmp_path: Path) -> None:
    watching = watcher(tmp_path, skip_test="no such metric", bootstrap_samples=0, null_samples=0, on_error="warn")
    with pytest.warns(UserWarning, match="could not make the skip test: ValueError: .*logs no 'no such metric'"):
        trainer(tmp_path, watching, max_epochs=1).fit(Net(blocks()), loader(), loader(seed=1))
    assert watching.history is not None
    assert watching.history[-1].step == 4
