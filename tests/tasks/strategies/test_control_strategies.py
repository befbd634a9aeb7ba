"""Controls and other ways to hold training back: what they promise holds to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from small_task import SmallData, Watch, changed, heads, parts, small_task, weights
from torch.utils.data import DataLoader

from tasks.strategies import (
    FromScratch,
    LayerwiseRates,
    Lora,
    ShuffledLabels,
    Untrained,
)
from tasks.strategies.controls.shuffled_labels import Relabelled


def test_untrained_changes_nothing_while_steps_are_counted(tiny_trainer):
    task = small_task()
    before = copy.deepcopy(task.state_dict())
    trainer = tiny_trainer(max_steps=3, limit_val_batches=1.0, callbacks=[Untrained()])
    trainer.fit(task, SmallData())
    assert trainer.global_step == 3
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert {"train/loss", "val/accuracy_stage3"} <= set(trainer.callback_metrics)


class Normalised(BoringModel):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.norm(x))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(RandomDataset(32, 64), batch_size=8)


def test_untrained_leaves_running_statistics_too(tiny_trainer):
    def running(module: LightningModule) -> torch.Tensor:
        return module.get_buffer("norm.running_mean").clone()

    task, trained = Normalised(), Normalised()
    before = running(task)
    tiny_trainer(max_steps=2, callbacks=[Untrained()]).fit(task)
    tiny_trainer(max_steps=2).fit(trained)
    assert torch.equal(running(task), before)
    assert not torch.equal(running(trained), before)


def test_shuffled_labels_are_dealt_once_and_only_to_training_data(tiny_trainer):
    plain, shuffled = SmallData(), SmallData()
    plain.setup("fit")
    trainer = tiny_trainer(max_steps=1, callbacks=[ShuffledLabels()])
    trainer.fit(small_task(), shuffled)
    x, y = zip(*plain.train, strict=True)
    dealt_x, dealt_y = zip(*shuffled.train, strict=True)
    assert torch.equal(torch.stack(x), torch.stack(dealt_x))
    same = (torch.stack(y) == torch.stack(dealt_y)).all(dim=1).float().mean()
    assert same < 0.2  # of 24 different answers
    assert sorted(map(tuple, torch.stack(y).tolist())) == sorted(map(tuple, torch.stack(dealt_y).tolist()))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain.held_out, shuffled.held_out, strict=True))
    assert [item[1].tolist() for item in shuffled.train] == [label.tolist() for label in dealt_y]
    other = Relabelled(plain.train, seed=1)
    assert [item[1].tolist() for item in other] != [label.tolist() for label in dealt_y]


def test_shuffled_labels_of_mappings():
    items = [{"text": index, "labels": index} for index in range(20)]
    dealt = [Relabelled(items, seed=0)[index] for index in range(20)]
    assert [item["text"] for item in dealt] == list(range(20))
    assert sorted(item["labels"] for item in dealt) == list(range(20))
    assert [item["labels"] for item in dealt] != list(range(20))


def test_every_layer_has_its_own_learning_rate(tiny_trainer):
    task = small_task()
    trainer = tiny_trainer(max_steps=2, callbacks=[LayerwiseRates(decay=0.5)])
    trainer.fit(task, SmallData())
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    rates: dict[str, float] = {}
    for group in trainer.optimizers[0].param_groups:
        for parameter in group["params"]:
            rates[names.pop(id(parameter))] = group["initial_lr"]
    assert not names  # every parameter is in just one group
    for name, rate in rates.items():
        (part,) = parts({name})
        height = 10 if part == "embedding" else 9 - int(part.split(".")[1]) if part.startswith("blocks") else 0
        assert rate == pytest.approx(0.1 * 0.5**height)


def test_equal_rates_are_plain_training(tiny_trainer):
    plain, rated, lower = small_task(), small_task(), small_task()
    for task, strategies in ((plain, []), (rated, [LayerwiseRates(1.0)]), (lower, [LayerwiseRates(0.5)])):
        tiny_trainer(max_steps=3, callbacks=strategies).fit(task, SmallData())
    assert not changed(weights(plain), weights(rated))
    assert changed(weights(plain), weights(lower))


@pytest.mark.parametrize("transformer", [False, True], ids=["mlp", "transformer"])
def test_adapters_start_as_nothing_and_leave_the_network_as_it_was(transformer, tiny_trainer):
    pytest.importorskip("peft")
    plain, task, watch = small_task(transformer=transformer), small_task(transformer=transformer), Watch()
    x = torch.randint(4, (8, 4))
    answers = plain(x)
    tiny_trainer(max_steps=0, callbacks=[Lora(rank=2)]).fit(task, SmallData())
    assert all(torch.equal(task(x)[layer], answers[layer]) for layer in answers)
    tiny_trainer(max_steps=3, callbacks=[Lora(rank=2), watch]).fit(task, SmallData())
    moved = changed(watch.weights[0], weights(task))
    assert moved
    assert all("lora_" in name or name.startswith("model.heads.8.") for name in moved)
    assert {name.split(".")[2] for name in moved if "lora_" in name} == {str(layer) for layer in range(9)}
    base = {name.replace(".base_layer", ""): value for name, value in weights(task).items() if "lora_" not in name}
    assert parts(changed(weights(plain), base)) == heads(8)


def test_adapters_can_be_put_into_one_block_alone(tiny_trainer):
    pytest.importorskip("peft")
    task = small_task()
    tiny_trainer(max_steps=2, callbacks=[Lora(rank=2, first=1, last=2)]).fit(task, SmallData())
    adapted = {name.split(".")[2] for name, value in weights(task).items() if "lora_B" in name and value.any()}
    assert adapted == {"1", "2"}
    assert {name.split(".")[2] for name in weights(task) if "lora_" in name} == {"1", "2"}


def test_nothing_was_learnt_before_on_arithmetic(tiny_trainer):
    with pytest.raises(TypeError, match=r"FromScratch cannot serve task StagedArithmetic.*no `pretrained`"):
        tiny_trainer(max_steps=1, callbacks=[FromScratch()]).fit(small_task(), SmallData())
