"""Strategies: the right things train, frozen things stay equal to the bit, a resumed run is the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from small_task import SmallData, Watch, blocks, changed, heads, parts, small_task, weights

from tasks.strategies import EndToEnd, FreezeLower, Full, Greedy, StageEnd, StageSupervised, TrainLower


@pytest.mark.parametrize(
    ("strategy", "supervision"),
    [
        (StageSupervised(), {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2}),
        (StageEnd(), {1: 0, 5: 1, 8: 2}),
        (EndToEnd(), {8: 2}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Callback) else "",
)
def test_only_supervised_heads_train_and_report(strategy, supervision, tiny_trainer):
    task = small_task()
    before = weights(task)
    trainer = tiny_trainer(max_steps=3, limit_val_batches=1.0, callbacks=[strategy])
    trainer.fit(task, SmallData())
    assert task.supervision == supervision
    assert parts(changed(before, weights(task))) == {"embedding"} | blocks(*range(9)) | heads(*supervision)
    reported = {name for name in trainer.callback_metrics if name.startswith("val/accuracy")}
    assert reported == {f"val/accuracy_stage{stage + 1}" for stage in supervision.values()}


def test_validation_accuracy_is_that_of_the_deepest_head(tiny_trainer):
    task, data = small_task(), SmallData()
    trainer = tiny_trainer(max_steps=5, limit_val_batches=1.0, callbacks=[StageSupervised()])
    trainer.fit(task, data)
    x, y = map(torch.stack, zip(*data.held_out, strict=True))
    with torch.no_grad():
        logits = task(x)
    for stage, deepest in enumerate([1, 5, 8]):
        expected = (logits[deepest].argmax(dim=1) == y[:, stage]).float().mean()
        assert trainer.callback_metrics[f"val/accuracy_stage{stage + 1}"] == pytest.approx(float(expected), abs=1e-6)


def test_same_seed_means_same_start_under_every_strategy(tiny_trainer):
    starts = []
    for strategy in (StageSupervised(), StageEnd(), Greedy(), EndToEnd(), Full(), FreezeLower(), TrainLower()):
        watch = Watch()
        tiny_trainer(max_steps=1, callbacks=[strategy, watch]).fit(small_task(), SmallData())
        starts.append(watch.weights[0])
    assert all(not changed(starts[0], start) for start in starts[1:])
    assert changed(starts[0], weights(small_task(seed=1)))


PHASES = [
    {"embedding"} | blocks(0, 1) | heads(1),
    blocks(2, 3, 4, 5) | heads(5),
    blocks(6, 7, 8) | heads(8),
]


def test_greedy_trains_one_block_at_a_time(tiny_trainer):
    task, watch = small_task(), Watch()
    trainer = tiny_trainer(max_steps=9, limit_val_batches=1.0, callbacks=[Greedy(), watch])
    trainer.fit(task, SmallData())
    assert watch.trainable == [PHASES[step // 3] for step in range(9)]
    snapshots = [*watch.weights[::3], weights(task)]
    for phase, (before, after) in enumerate(itertools.pairwise(snapshots)):
        assert parts(changed(before, after)) == PHASES[phase]
    rates = trainer.lr_scheduler_configs[0].scheduler.lr_lambdas[0]
    assert [rates(step) for step in (0, 3, 6)] == [1.0, 1.0, 1.0]  # each phase warms up (in one step) and decays anew
    assert rates(2) < 1
    assert {f"val/accuracy_stage{stage}" for stage in (1, 2, 3)} <= set(trainer.callback_metrics)


def states(value: object) -> Iterator[torch.Tensor]:
    """All tensors inside an optimizer's state, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from states(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from states(item)


@pytest.mark.parametrize(
    ("strategy", "interrupted_at"),
    [(Greedy, 2), (Greedy, 3), (Greedy, 5), (Greedy, 6), (StageEnd, 2), (FreezeLower, 2), (TrainLower, 2)],
)
def test_resumed_run_equals_uninterrupted_one(strategy, interrupted_at, tiny_trainer, tmp_path):
    whole = small_task()
    trainer = tiny_trainer(
        max_steps=9,
        callbacks=[strategy(), ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)],
        enable_checkpointing=True,
    )
    trainer.fit(whole, SmallData())

    resumed, watch = small_task(seed=1), Watch()
    again = tiny_trainer(max_steps=9, callbacks=[strategy(), watch])
    again.fit(resumed, SmallData(), ckpt_path=tmp_path / f"step={interrupted_at}.ckpt")

    if strategy is Greedy:
        assert watch.trainable == [PHASES[step // 3] for step in range(interrupted_at, 9)]
    assert not changed(weights(whole), weights(resumed))
    one, other = (list(states(t.optimizers[0].state_dict())) for t in (trainer, again))
    assert len(one) == len(other) > 0
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_greedy_keeps_its_plan_when_resumed_with_a_longer_budget(tiny_trainer, tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=8)
    tiny_trainer(max_steps=9, callbacks=[Greedy(), saver], enable_checkpointing=True).fit(small_task(), SmallData())
    watch = Watch()
    checkpoint = tmp_path / "step=8.ckpt"  # in the last of three phases; a plan for 30 steps would go back to the first
    tiny_trainer(max_steps=30, callbacks=[Greedy(), watch]).fit(small_task(), SmallData(), ckpt_path=checkpoint)
    assert watch.trainable == [PHASES[2]] * 22


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        (Full(), {"embedding"} | blocks(*range(9))),
        (FreezeLower(4), blocks(4, 5, 6, 7, 8)),
        (TrainLower(2), blocks(0, 1)),
    ],
    ids=["full", "freeze_lower", "train_lower"],
)
def test_frozen_parts_stay_equal_to_the_bit(strategy, trained, tiny_trainer):
    task = small_task()
    before = weights(task)
    trainer = tiny_trainer(max_steps=5, callbacks=[strategy])
    trainer.fit(task, SmallData())
    assert trainer.optimizers[0].param_groups[0]["weight_decay"] > 0  # which would have shrunk what is only idle
    assert parts(changed(before, weights(task))) == trained | heads(8)


@pytest.mark.parametrize("strategy", [StageSupervised, StageEnd, EndToEnd, Greedy, FreezeLower, TrainLower])
def test_a_task_that_a_strategy_cannot_serve_is_refused(strategy, tiny_trainer):
    with pytest.raises(TypeError, match=rf"strategy {strategy.__name__} cannot serve task BoringModel.*no .*`layers`"):
        tiny_trainer(max_steps=1, callbacks=[strategy()]).fit(BoringModel())


@pytest.mark.parametrize("strategy", [FreezeLower, TrainLower])
@pytest.mark.parametrize("count", [0, 9])
def test_a_number_of_layers_that_leaves_nothing_is_refused(strategy, count, tiny_trainer):
    with pytest.raises(ValueError, match=f"{strategy.__name__} was given layers={count}.*9 layers: choose 1 to 8"):
        tiny_trainer(max_steps=1, callbacks=[strategy(count)]).fit(small_task(), SmallData())
