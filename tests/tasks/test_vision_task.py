"""Small images: an honest split, networks that learn, and every strategy that does not need planted stages."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning import seed_everything
from small_task import changed, weights

from tasks.strategies import (
    FreezeLower,
    Full,
    HeadOnly,
    LayerwiseRates,
    Lora,
    Pruned,
    SelfDistillation,
    ShuffledLabels,
    StageEnd,
    TrainLower,
    UnfreezeBottomUp,
    UnfreezeTopDown,
    Untrained,
)
from tasks.vision import Cifar10Data, ConvNetClassifier, DigitsData, VisionTransformerClassifier
from tasks.vision import data as data_module

pytest.importorskip("sklearn", reason="the digits ship in scikit-learn")

NETWORKS = [
    pytest.param(lambda: ConvNetClassifier(layers=3, width=8), id="convnet"),
    pytest.param(lambda: ConvNetClassifier(layers=3, width=8, widen_at=[1]), id="widening convnet"),
    pytest.param(lambda: VisionTransformerClassifier(layers=3, width=16, hidden=16), id="transformer"),
]


def test_digits_are_split_once_and_for_all():
    data, again, other = DigitsData(), DigitsData(), DigitsData(split_seed=1)
    for part in (data, again, other):
        part.setup("fit")
        seed_everything(7, verbose=False)  # the training seed has no say in the split
    assert len(data.train) + len(data.held_out) == 1797
    assert not set(data.train.indices) & set(data.held_out.indices)
    assert data.train.indices == again.train.indices != other.train.indices
    x, y = data.train[0]
    assert (x.shape, x.dtype, y.dtype) == ((1, 8, 8), torch.float32, torch.int64)
    with pytest.raises(ValueError, match="val_size must be 1 to 1733"):
        DigitsData(val_size=1797).setup("fit")


@pytest.mark.slow
@pytest.mark.parametrize("make", [ConvNetClassifier, VisionTransformerClassifier])
@pytest.mark.representatives("ConvNetClassifier")
def test_digits_are_learnt(make, tiny_trainer):
    seed_everything(0, verbose=False)
    task = make(layers=3)
    trainer = tiny_trainer(max_steps=60, val_check_interval=20, limit_val_batches=1.0)
    trainer.fit(task, DigitsData())
    assert trainer.callback_metrics["val/accuracy"] > 0.6  # of ten classes


def test_blocks_widen_where_they_are_told_to():
    task = ConvNetClassifier(layers=4, width=8, widen_at=[1, 3])
    h, shapes = task.stem(torch.randn(2, 1, 8, 8)), []
    for block in task.layers:
        h = block(h)
        shapes.append(tuple(h.shape[1:]))
    assert shapes == [(8, 8, 8), (16, 4, 4), (16, 4, 4), (32, 2, 2)]
    with pytest.raises(ValueError, match=r"widen_at=\[4\] names blocks that 4 layers do not have"):
        ConvNetClassifier(layers=4, widen_at=[4])


STRATEGIES = [
    (lambda: Full(), {"stem", "0", "1", "2"}),
    (lambda: FreezeLower(1), {"1", "2"}),
    (lambda: TrainLower(1), {"0"}),
    (lambda: HeadOnly(), set()),
    (lambda: UnfreezeTopDown(2), {"stem", "0", "1", "2"}),
    (lambda: UnfreezeBottomUp(2), {"stem", "0", "1", "2"}),
    (lambda: LayerwiseRates(), {"stem", "0", "1", "2"}),
    (lambda: Pruned(), {"stem", "0", "1", "2"}),
    (lambda: SelfDistillation(), {"stem", "0", "1", "2"}),
    (lambda: ShuffledLabels(), {"stem", "0", "1", "2"}),
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("strategy", "trained"), STRATEGIES, ids=[type(make()).__name__ for make, _ in STRATEGIES])
@pytest.mark.representatives("Full-*")
def test_strategies_train_what_they_should(strategy, trained, network, tiny_trainer):
    seed_everything(0, verbose=False)
    task = network()
    before = weights(task)
    tiny_trainer(max_steps=4, callbacks=[strategy()]).fit(task, DigitsData())
    moved = {
        name.split(".")[1 if name.startswith(("model.stem", "model.head")) else 2]
        for name in changed(before, weights(task))
    }
    assert moved == trained | {"head"}


def test_frozen_layers_keep_their_running_statistics(tiny_trainer):
    task = ConvNetClassifier(layers=3, width=8)
    tiny_trainer(max_steps=2, callbacks=[FreezeLower(1)]).fit(task, DigitsData())
    assert not task.layers[0].norm.running_mean.any()
    assert task.layers[1].norm.running_mean.any()


def test_untrained_images(tiny_trainer):
    task = ConvNetClassifier(layers=3, width=8)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    tiny_trainer(max_steps=2, callbacks=[Untrained()]).fit(task, DigitsData())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize("network", NETWORKS)
def test_adapters_change_no_weight_that_was_there(network, tiny_trainer):
    pytest.importorskip("peft")
    task = network()
    before = weights(task)
    tiny_trainer(max_steps=2, callbacks=[Lora(rank=2)]).fit(task, DigitsData())
    after = weights(task)
    base = {name.replace(".base_layer", ""): value for name, value in after.items() if "lora_" not in name}
    assert {name.split(".")[1] for name in changed(before, base)} == {"head"}
    assert {name.split(".")[2] for name, value in after.items() if "lora_B" in name and value.any()} == {"0", "1", "2"}


def test_what_does_not_fit_is_refused(tiny_trainer, monkeypatch):
    with pytest.raises(TypeError, match=r"StageEnd cannot serve task ConvNetClassifier.*no `stage_of_layer`"):
        tiny_trainer(max_steps=1, callbacks=[StageEnd()]).fit(ConvNetClassifier(), DigitsData())
    with pytest.raises(ValueError, match="the data has classes 10 but the model was built for 3"):
        tiny_trainer(max_steps=1).fit(ConvNetClassifier(classes=3), DigitsData())
    with pytest.raises(ValueError, match="the data has size 8 but the model was built for 32"):
        tiny_trainer(max_steps=1).fit(VisionTransformerClassifier(size=32), DigitsData())
    with pytest.raises(ValueError, match="patch=3 must divide the size 8"):
        VisionTransformerClassifier(patch=3)
    monkeypatch.setattr(data_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install torchvision, or train on the digits"):
        Cifar10Data().setup("fit")
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        DigitsData().setup("fit")
