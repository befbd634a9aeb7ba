"""Strategies: the right things train, frozen things stay equal to the bit, a resumed run is the run."""

from __future__ import annotations

import itertools

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from small_task import SmallData, Watch, blocks, changed, heads, parts, small_task, weights

from tasks.strategies import EndToEnd, Greedy, StageEnd, StageSupervised


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


PHASES = [
    {"embedding"} | blocks(0, 1) | heads(1),
    blocks(2, 3, 4, 5) | heads(5),
    blocks(6, 7, 8) | heads(8),
]


@pytest.mark.slow
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


def test_greedy_keeps_its_plan_when_resumed_with_a_longer_budget(tiny_trainer, tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=8)
    tiny_trainer(max_steps=9, callbacks=[Greedy(), saver], enable_checkpointing=True).fit(small_task(), SmallData())
    watch = Watch()
    checkpoint = tmp_path / "step=8.ckpt"  # in the last of three phases; a plan for 30 steps would go back to the first
    tiny_trainer(max_steps=30, callbacks=[Greedy(), watch]).fit(small_task(), SmallData(), ckpt_path=checkpoint)
    assert watch.trainable == [PHASES[2]] * 22
