"""Staged arithmetic: right answers, an honest split, and heads that do not depend on the strategy."""

from __future__ import annotations

import itertools

import pytest
import torch
from pytorch_lightning import seed_everything

from tasks.algebra import ArithmeticData, StagedArithmetic, StagedTransformer
from tasks.algebra.data import staged_arithmetic
from tasks.algebra.model import AttentionBlock


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


def test_the_quadratic_form_agrees_with_brute_force():
    inputs, answers = staged_arithmetic([7], ["quadratic"], operands=7)
    assert answers[:, 0].tolist() == [(x * x + x * y + y * y) % 7 for x, y in inputs.tolist()]


def test_permutations_compose_as_functions_and_make_a_group():
    inputs, answers = staged_arithmetic([120], ["permute"], operands=120)
    table = list(itertools.permutations(range(5)))
    for (p, q), (product,) in list(zip(inputs.tolist(), answers.tolist(), strict=True))[::97]:
        assert table[product] == tuple(table[p][table[q][place]] for place in range(5))
    products = answers.view(120, 120)
    everything = torch.arange(120)
    assert torch.equal(products[0], everything)  # the first permutation changes nothing
    assert all(torch.equal(row.sort().values, everything) for row in (*products, *products.T))  # a Latin square
    assert not torch.equal(products, products.T)  # and not a commutative one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"moduli": []}, "at least one stage"),
        ({"moduli": [11, 1]}, "2 or more"),
        ({"moduli": [11, 5], "operations": ["add"]}, "2 moduli need 2 operations"),
        ({"moduli": [11], "operations": ["divide"]}, "unknown operation 'divide'; choose from add"),
        ({"moduli": [11], "operations": ["substract"]}, "Near names: subtract"),
        ({"moduli": [120], "operations": ["permute"], "operands": 121}, "numbers 0 to 119 .* met 120: set operands to"),
        ({"moduli": [7] * 9}, "make 25937424601 tuples"),
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


def test_held_out_pairs_are_never_seen():
    train, held_out = split(hold_out_by=2)
    assert len(train) + len(held_out) == 11**4
    seen, unseen = ({tuple(row) for row in part[:, :2].tolist()} for part in (train, held_out))
    assert not seen & unseen
    assert len(seen | unseen) == 11**2
    assert len(held_out) == len(unseen) * 11**2
    assert len(train) == pytest.approx(0.8 * 11**4, abs=11**2)
    with pytest.raises(ValueError, match="hold_out_by must count 1 to 4 operands; got 5"):
        ArithmeticData(hold_out_by=5)


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


def test_a_transformer_is_read_at_its_last_token():
    module = StagedTransformer(attention_heads=2)
    assert module.stage_of_layer == (0, 1, 1, 1, 2, 2)
    x = torch.randint(11, (6, 4))
    stem = module.stem(x)
    assert stem.shape == (6, 5, 64)
    assert torch.equal(stem[0, -1], stem[1, -1])  # the "=" is the same in every input
    h, code = stem, torch.randn(6, 64)
    for layer, state in zip(module.layers, module.model(x), strict=True):
        h = layer(h)
        assert torch.equal(module.pooled(h), state)
    torch.testing.assert_close(module.pooled(module.spread(h, code)), module.pooled(h) + code)
    assert torch.equal(module.spread(h, code)[:, :-1], h[:, :-1])
    assert {layer: tuple(logits.shape) for layer, logits in module(x).items()} == {5: (6, 2)}
    with pytest.raises(ValueError, match="attention_heads=5 must divide the width 64"):
        StagedTransformer(attention_heads=5)


def test_attention_agrees_with_the_one_of_torch():
    block = AttentionBlock(width=8, hidden=16, attention_heads=2)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.project.weight)
        theirs.in_proj_bias.copy_(block.project.bias)
        theirs.out_proj.load_state_dict(block.merge.state_dict())
    h = torch.randn(3, 5, 8)
    normal = block.norm(h)
    expected = block.perceptron(h + theirs(normal, normal, normal, need_weights=False)[0])
    torch.testing.assert_close(block(h), expected)


@pytest.mark.parametrize("task", [StagedArithmetic, StagedTransformer])
def test_position_matters_to_the_embedding(task):
    module = task()
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


@pytest.mark.slow
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
