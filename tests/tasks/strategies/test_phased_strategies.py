"""Strategies that change underway: each phase trains what it should, and a resumed run is the run."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_task import SmallData, Watch, blocks, changed, heads, parts, small_task, weights

from tasks.strategies import (
    Assembled,
    GreedyByLayer,
    PlantedShift,
    Pruned,
    SelfDistillation,
    UnfreezeBottomUp,
    UnfreezeTopDown,
)
from tasks.strategies.requirements import stage_ends
from tasks.strategies.stages.self_distillation import evaluating

STEM = {"embedding"}


def test_greedy_by_layer_reads_every_layer_for_its_stage(tiny_trainer):
    task = small_task()
    tiny_trainer(max_steps=9, callbacks=[GreedyByLayer()]).fit(task, SmallData())
    assert task.supervision == dict(enumerate(task.stage_of_layer))


TOP_DOWN = [set(), blocks(8, 7, 6, 5), blocks(*range(1, 9)), blocks(*range(9)) | STEM]
BOTTOM_UP = [set(), STEM | blocks(0, 1, 2), STEM | blocks(*range(7)), STEM | blocks(*range(9))]


@pytest.mark.parametrize(("strategy", "free"), [(UnfreezeTopDown, TOP_DOWN), (UnfreezeBottomUp, BOTTOM_UP)])
def test_unfreezing_sets_more_free_with_every_phase(strategy, free, tiny_trainer):
    task, watch = small_task(), Watch()
    trainer = tiny_trainer(max_steps=8, callbacks=[strategy(layers_at_a_time=4), watch])
    trainer.fit(task, SmallData())
    assert watch.trainable == [free[step // 2] | heads(8) for step in range(8)]
    for phase, (before, after) in enumerate(itertools.pairwise([*watch.weights[::2], weights(task)])):
        assert parts(changed(before, after)) == free[phase] | heads(8)
    assert task.schedule_starts == (0,)  # the learning rate is the task's own


def test_a_planted_shift_changes_what_the_heads_are_read_for(tiny_trainer):
    task, watch = small_task(), Watch()
    tiny_trainer(max_steps=4, callbacks=[PlantedShift([4, 3, 2]), watch]).fit(task, SmallData())
    assert list(task.supervision.values()) == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert task.schedule_starts == (0, 2)
    assert PlantedShift().planted(task) == PlantedShift([4, 3, 2]).planted(task)
    # Until the shift it is the same run whatever the shift will be, from then on it is not.
    other = Watch()
    tiny_trainer(max_steps=4, callbacks=[PlantedShift([3, 3, 3]), other]).fit(small_task(), SmallData())
    assert not any(changed(watch.weights[step], other.weights[step]) for step in range(3))
    assert changed(watch.weights[3], other.weights[3])


def linear_weights(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in found.items() if "blocks" in name and value.dim() == 2}


def test_pruned_weights_stay_zero_and_the_others_train_on(tiny_trainer):
    task, watch = small_task(), Watch()
    tiny_trainer(max_steps=6, callbacks=[Pruned(amount=0.7), watch]).fit(task, SmallData())
    at_prune, end = (linear_weights(found) for found in (watch.weights[3], weights(task)))
    total = sum(value.numel() for value in end.values())
    zero = sum(int((value == 0).sum()) for value in at_prune.values())
    assert zero == round(0.7 * total)
    assert not any((value == 0).any() for value in linear_weights(watch.weights[2]).values())
    for name, value in end.items():
        assert torch.equal(value == 0, at_prune[name] == 0)
        assert not torch.equal(value, at_prune[name])


@pytest.mark.slow
def test_the_student_starts_where_the_teacher_started_and_follows_it(tiny_trainer):
    task, watch = small_task(), Watch()
    strategy = SelfDistillation(weight=1.0)
    start = weights(task)
    seen = []

    memory = {}

    class Distance(Watch):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            memory[trainer.global_step] = len(trainer.optimizers[0].state)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if strategy.taught:
                seen.append(float(outputs["loss"]))

    tiny_trainer(max_steps=40, callbacks=[strategy, watch, Distance()]).fit(task, SmallData())
    assert not changed(watch.weights[20], start)
    assert memory[19] > 0 == memory[20]  # the optimizer begins anew as well
    assert changed(watch.weights[19], start)
    assert seen[-1] < 0.5 * seen[0]  # nothing but the teacher is in the loss
    assert task.objective is None  # afterwards the task has its own loss again


def test_a_teacher_from_a_checkpoint_teaches_from_the_first_step(tiny_trainer, tmp_path):
    trainer = tiny_trainer(max_steps=5)
    teacher = small_task()
    trainer.fit(teacher, SmallData())
    trainer.save_checkpoint(tmp_path / "teacher.ckpt")
    strategy = SelfDistillation(teacher=str(tmp_path / "teacher.ckpt"))
    tiny_trainer(max_steps=2, callbacks=[strategy]).fit(small_task(), SmallData())
    assert strategy.phase_starts == (0,)
    assert not changed(weights(teacher), strategy.taught)
    with pytest.raises(ValueError, match=r"another network than StagedTransformer"):
        tiny_trainer(max_steps=2, callbacks=[SelfDistillation(teacher=str(tmp_path / "teacher.ckpt"))]).fit(
            small_task(transformer=True), SmallData()
        )
    with pytest.raises(FileNotFoundError, match=r"no teacher at nowhere\.ckpt: give a checkpoint"):
        tiny_trainer(max_steps=2, callbacks=[SelfDistillation(teacher="nowhere.ckpt")]).fit(small_task(), SmallData())


def test_evaluating_puts_every_mode_back():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.Dropout()))
    network[1].training = False
    with evaluating(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == [True, True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("transformer", [False, True], ids=["mlp", "transformer"])
def test_assembled_blocks_keep_their_contract(transformer, tiny_trainer):
    task = small_task(transformer=transformer, width=32, learning_rate=0.004)
    strategy, watch = Assembled(at=0.98), Watch(keep=1)
    start = weights(task)
    tiny_trainer(max_steps=100, callbacks=[strategy, watch]).fit(task, SmallData())
    assembled = watch.weights[-1]
    assert parts(changed(start, weights(task))) == STEM | blocks(*range(9)) | heads(8)
    data = SmallData()
    data.setup("fit")
    x, y = map(torch.stack, zip(*data.train, strict=True))
    task.load_state_dict(assembled, strict=False)
    with torch.no_grad():
        bare = task.pooled(task.stem(x))
        states = task.model(x)  # the blocks as they stand on each other, without any code being given
        for end, stage in stage_ends(task).items():
            nearest = torch.cdist(states[end] - bare, strategy.codes[stage]).argmin(dim=1)
            commonest = y[:, stage].bincount().max() / len(y)
            assert (nearest == y[:, stage]).float().mean() > commonest + 0.2


def test_blocks_are_trained_apart(tiny_trainer):
    """What one block learns does not depend on the others: with another second block the first comes out the same."""
    found = []
    for factor in (1.0, 1.1):
        task, watch = small_task(), Watch()
        with torch.no_grad():
            for parameter in task.layers[3].parameters():
                parameter.mul_(factor)
        tiny_trainer(max_steps=4, gradient_clip_val=None, callbacks=[Assembled(at=0.75), watch]).fit(task, SmallData())
        found.append(watch.weights[3])  # before the whole is fine-tuned
    assert parts(changed(*found)) == blocks(2, 3, 4, 5)
    assert parts(changed(weights(small_task()), found[0])) == blocks(*range(9))  # stem and heads wait for the whole
