"""Staged arithmetic: right answers, an honest split, and heads that do not depend on the strategy."""

from __future__ import annotations

import itertools

import pytest
import torch
from pytorch_lightning import seed_everything

from tasks.algebra import ArithmeticData, StagedArithmetic
from tasks.algebra.data import staged_arithmetic


def test_answers_agree_with_brute_force():
    inputs, answers = staged_arithmetic()
    assert inputs.shape == (11**4, 4)
    assert answers.shape == (11**4, 3)
    expected = []
    for a, b, c, d in itertools.product(range(11), repeat=4):
        u = (a + b) % 11
        v = (u + c) % 5
        expected.append((u, v, (v + d) % 2))
    assert answers.tolist() == [list(row) for row in expected]
    assert inputs.tolist() == [list(row) for row in itertools.product(range(11), repeat=4)]


def test_other_operations_agree_with_brute_force():
    inputs, answers = staged_arithmetic([7, 3], ["subtract", "multiply"], operands=5)
    for (a, b, c), (u, v) in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert u == (a - b) % 7  # never negative
        assert v == (u * c) % 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"moduli": []}, "at least one stage"),
        ({"moduli": [11, 1]}, "2 or more"),
        ({"moduli": [11, 5], "operations": ["add"]}, "2 moduli need 2 operations"),
        ({"moduli": [11], "operations": ["divide"]}, "unknown operation 'divide'; choose from add"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        staged_arithmetic(**arguments)


def split(**arguments) -> tuple[torch.Tensor, torch.Tensor]:
    data = ArithmeticData(**arguments)
    data.setup("fit")
    return torch.stack([x for x, _ in data.train]), torch.stack([x for x, _ in data.held_out])


def test_split_is_disjoint_complete_and_seeded():
    train, held_out = split()
    assert len(train) == pytest.approx(0.8 * 11**4, abs=1)
    together = torch.cat([train, held_out])
    assert len(torch.unique(together, dim=0)) == len(together) == 11**4

    seed_everything(123, verbose=False)  # the training seed has no say in the split
    again, _ = split()
    other, _ = split(split_seed=1)
    assert torch.equal(train, again)
    assert not torch.equal(train, other)


def test_items_are_a_pair_of_operands_and_answers():
    data = ArithmeticData()
    data.setup("fit")
    x, y = data.held_out[0]
    assert (x.shape, y.shape) == ((4,), (3,))
    assert x.dtype == y.dtype == torch.int64
    assert y[0] == (x[0] + x[1]) % 11


def test_a_head_reads_every_stage_and_depth_only_cuts():
    module = StagedArithmetic()
    assert module.stage_of_layer == (0, 0, 1, 1, 1, 1, 2, 2, 2)
    x = torch.randint(11, (6, 4))
    states = module.model(x)
    assert [tuple(state.shape) for state in states] == [(6, 96)] * 9
    for state, shallow in zip(states, module.model(x, depth=4), strict=False):
        assert torch.equal(state, shallow)
    assert [module.model.read(states, 3, stage).shape[1] for stage in range(3)] == [11, 5, 2]
    assert {layer: tuple(logits.shape) for layer, logits in module(x).items()} == {8: (6, 2)}


def test_position_matters_to_the_embedding():
    module = StagedArithmetic()
    one, other = module.stem(torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]]))
    assert not torch.allclose(one, other)


def test_supervision_names_what_does_not_exist():
    module = StagedArithmetic(moduli=[7, 3], block_lengths=[1, 2])
    with pytest.raises(ValueError, match="stage 0 after layer 3: there are 3 layers and 2 stages"):
        module.supervise({3: 0})
    with pytest.raises(ValueError, match="at least one head"):
        module.supervise({})
    with pytest.raises(ValueError, match="each of 2 stages one layer or more"):
        StagedArithmetic(moduli=[7, 3], block_lengths=[3])


def test_model_and_data_must_agree(tiny_trainer):
    with pytest.raises(ValueError, match=r"the data has moduli \(7, 3\) but the model was built for"):
        tiny_trainer(max_steps=1).fit(StagedArithmetic(), ArithmeticData([7, 3]))


def test_learning_rate_needs_an_end(tiny_trainer):
    with pytest.raises(ValueError, match="set max_steps or max_epochs"):
        tiny_trainer(max_steps=-1).fit(StagedArithmetic(), ArithmeticData())


def test_learning_rate_warms_up_and_ends_at_zero(tiny_trainer):
    module = StagedArithmetic(learning_rate=1.0, warmup_steps=4)
    trainer = tiny_trainer(max_steps=12)
    trainer.fit(module, ArithmeticData())
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    rates = [scheduler.lr_lambdas[0](step) for step in range(13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == 0.0
    assert min(rates[:12]) > 0
