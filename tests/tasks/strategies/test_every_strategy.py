"""What every strategy promises, held against every strategy class of the package.

A contract says what trains at each of nine steps, what has moved in the end, and what is refused. A strategy without a
contract fails.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from small_task import SmallData, Watch, blocks, changed, heads, parts, small_task, weights

import tasks.strategies as s
from tasks.algebra import StagedArithmetic

STEPS = 9


class Pretrained(StagedArithmetic):
    """The small task as one whose layers were learnt before."""

    @property
    def pretrained(self) -> torch.nn.Module:
        return self.layers


@dataclass(frozen=True)
class Contract:
    """What a strategy promises on the small task of nine layers in three blocks.

    Attributes:
        make: A fresh instance.
        trains: Parts that require gradients, one set for each of equally long phases.
        moved: Parts that are not as they were in the end; None for all that ever trained.
        broken_off: Steps at which a run is interrupted, and resumed.
        refuses: How a task without layers is refused; None where any task is served.
        wrong: Bad arguments, and the words they are refused with, at once or before the first step.
        keeps_start: Whether the run starts from the weights that the task was made with.
        task: The class of the task.
    """

    make: Callable[[], Callback]
    trains: tuple[set[str], ...]
    moved: set[str] | None = None
    broken_off: tuple[int, ...] = (2,)
    refuses: str | None = "cannot serve task BoringModel.*no .*`stem`"
    wrong: tuple[tuple[Callable[[], Callback], str], ...] = ()
    keeps_start: bool = True
    task: type[StagedArithmetic] = StagedArithmetic

    def at(self, step: int) -> set[str]:
        return self.trains[len(self.trains) * step // STEPS]


STEM = {"embedding"}
ALL = STEM | blocks(*range(9))
BY_NAME = "cannot serve task BoringModel.*no .*`layers`"
NO_PHASE = "was given at=1.0, which of 9 steps leaves one phase"
TOO_MANY = "was given layers=9.*9 layers: choose 1 to 8"
NO_SUCH_BLOCK = r"first=3 and last=9.*the layers of task StagedArithmetic are 0 to 8"
TOO_FEW = "was given layers=0.*9 layers: choose 1 to 8"

CONTRACTS: dict[str, Contract] = {
    "Assembled": Contract(
        lambda: s.Assembled(at=2 / 3),
        (ALL - STEM | heads(8), ALL - STEM | heads(8), ALL | heads(8)),
        broken_off=(3, 7),
        wrong=((lambda: s.Assembled(at=1.0), NO_PHASE),),
    ),
    "EndToEnd": Contract(lambda: s.EndToEnd(), (ALL | heads(8),), refuses=BY_NAME),
    "FreezeLower": Contract(
        lambda: s.FreezeLower(4),
        (blocks(4, 5, 6, 7, 8) | heads(8),),
        refuses=BY_NAME,
        wrong=((lambda: s.FreezeLower(0), TOO_FEW), (lambda: s.FreezeLower(9), TOO_MANY)),
    ),
    "FromScratch": Contract(lambda: s.FromScratch(), (ALL | heads(8),), keeps_start=False, task=Pretrained),
    # The task reads one head, whatever else is set free.
    "Full": Contract(lambda: s.Full(), (ALL | heads(*range(9)),), ALL | heads(8), refuses=None),
    "Greedy": Contract(
        lambda: s.Greedy(),
        (STEM | blocks(0, 1) | heads(1), blocks(2, 3, 4, 5) | heads(5), blocks(6, 7, 8) | heads(8)),
        broken_off=(2, 3, 5, 6),
        refuses=BY_NAME,
    ),
    "GreedyByLayer": Contract(
        lambda: s.GreedyByLayer(),
        tuple(blocks(layer) | heads(layer) | (STEM if layer == 0 else set()) for layer in range(9)),
        broken_off=(4,),
    ),
    "HeadOnly": Contract(lambda: s.HeadOnly(), (heads(8),)),
    "LayerwiseRates": Contract(
        lambda: s.LayerwiseRates(),
        (ALL | heads(8),),
        wrong=((lambda: s.LayerwiseRates(1.5), r"decay must lie above 0 and be at most 1; got 1\.5"),),
    ),
    # What it adds to the blocks trains, which no weight that was there before does.
    "Lora": Contract(
        lambda: s.Lora(rank=2),
        (ALL - STEM | heads(8),),
        heads(8),
        wrong=(
            (
                lambda: s.Lora(targets=["query"]),
                r"targets=\['query'\].*'0.expand', '0.contract'",
            ),
            (lambda: s.Lora(first=3, last=9), NO_SUCH_BLOCK),
        ),
    ),
    "PlantedShift": Contract(
        lambda: s.PlantedShift(),
        (ALL | heads(*range(9)),),
        broken_off=(3, 6),
        wrong=(
            (lambda: s.PlantedShift(at=1.0), NO_PHASE),
            *(
                (lambda given=given: s.PlantedShift(given), r"was given block_lengths=\[")
                for given in ([4, 3], [4, 4, 4], [9, 0, 0], [2, 4, 3])
            ),
        ),
    ),
    "Pruned": Contract(
        lambda: s.Pruned(),
        (ALL | heads(8),),
        broken_off=(3, 6),
        wrong=((lambda: s.Pruned(at=1.0), NO_PHASE), (lambda: s.Pruned(amount=1.0), "amount must lie between 0 and 1")),
    ),
    "SelfDistillation": Contract(
        lambda: s.SelfDistillation(),
        (ALL | heads(8),),
        broken_off=(3, 6),
        wrong=(
            (lambda: s.SelfDistillation(at=1.0), NO_PHASE),
            (lambda: s.SelfDistillation(weight=0.0), "weight must lie above 0 and be at most 1"),
            (lambda: s.SelfDistillation(teacher="nowhere.ckpt"), r"no teacher at nowhere\.ckpt: give a checkpoint"),
        ),
    ),
    "ShuffledLabels": Contract(
        lambda: s.ShuffledLabels(),
        (ALL | heads(8),),
        refuses="cannot serve bare data loaders: it shuffles the labels of",
    ),
    "StageEnd": Contract(lambda: s.StageEnd(), (ALL | heads(1, 5, 8),), refuses=BY_NAME),
    "StageSupervised": Contract(lambda: s.StageSupervised(), (ALL | heads(*range(9)),), refuses=BY_NAME),
    "TrainBlock": Contract(
        lambda: s.TrainBlock(3, 5),
        (blocks(3, 4, 5) | heads(8),),
        refuses=BY_NAME,
        wrong=(
            (lambda: s.TrainBlock(5, 3), r"first=5 and last=3.*the layers of task StagedArithmetic are 0 to 8"),
            (lambda: s.TrainBlock(3, 9), NO_SUCH_BLOCK),
        ),
    ),
    "TrainLower": Contract(
        lambda: s.TrainLower(2),
        (blocks(0, 1) | heads(8),),
        refuses=BY_NAME,
        wrong=((lambda: s.TrainLower(0), TOO_FEW), (lambda: s.TrainLower(9), TOO_MANY)),
    ),
    "UnfreezeBottomUp": Contract(
        lambda: s.UnfreezeBottomUp(5),
        (heads(8), STEM | blocks(0, 1, 2, 3) | heads(8), ALL | heads(8)),
        broken_off=(3, 5),
        wrong=((lambda: s.UnfreezeBottomUp(0), "layers_at_a_time must be 1 or more; got 0"),),
    ),
    "UnfreezeTopDown": Contract(
        lambda: s.UnfreezeTopDown(5),
        (heads(8), blocks(4, 5, 6, 7, 8) | heads(8), ALL | heads(8)),
        broken_off=(3, 5),
        wrong=(
            (lambda: s.UnfreezeTopDown(0), "layers_at_a_time must be 1 or more; got 0"),
            (lambda: s.UnfreezeTopDown(1), "needs a step for each of 11 phases, and there are 9"),
        ),
    ),
    # It trains, and puts every weight back.
    "Untrained": Contract(lambda: s.Untrained(), (ALL | heads(8),), set(), refuses=None),
}


def concrete(value: object, module: str) -> bool:
    """Whether this is a strategy of the module itself that leaves nothing to subclasses."""
    if not (isinstance(value, type) and issubclass(value, Callback) and value.__module__ == module):
        return False
    return not any(getattr(getattr(value, name), "__isabstractmethod__", False) for name in dir(value))


def found_names() -> set[str]:
    """Every concrete strategy of every module of the package."""
    modules = (importlib.import_module(info.name) for info in pkgutil.walk_packages(s.__path__, f"{s.__name__}."))
    return {name for module in modules for name, value in vars(module).items() if concrete(value, module.__name__)}


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


def base(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that the task itself has, by the names it has without adapters."""
    return {name.replace(".base_layer", ""): value for name, value in found.items() if "lora_" not in name}


def task_of(contract: Contract, seed: int = 0) -> StagedArithmetic:
    pytest.importorskip("peft")
    return small_task(seed, kind=contract.task)


def test_every_strategy_has_a_contract() -> None:
    assert found_names() == set(CONTRACTS) == set(s.__all__)


@pytest.mark.representatives(
    "TrainBlock",
    "Assembled",
    "Lora",
    "StageSupervised",
    "EndToEnd",
    "Full",
    "FreezeLower",
    "Pruned",
    "LayerwiseRates",
    "UnfreezeBottomUp",
    "SelfDistillation",
)
@pytest.mark.parametrize("name", CONTRACTS)
def test_what_it_says_trains_and_all_else_stays_equal_to_the_bit(name: str, tiny_trainer) -> None:
    contract, watch = CONTRACTS[name], Watch()
    task = task_of(contract)
    made = weights(task)
    trainer = tiny_trainer(max_steps=STEPS, callbacks=[contract.make(), watch])
    trainer.fit(task, SmallData())
    assert trainer.global_step == STEPS
    assert watch.trainable == [contract.at(step) for step in range(STEPS)]
    assert parts({key for key, p in task.named_parameters() if p.requires_grad}) == contract.at(STEPS - 1)
    assert bool(changed(base(made), base(watch.weights[0]))) != contract.keeps_start
    for step, (before, after) in enumerate(itertools.pairwise([*watch.weights, weights(task)])):
        assert parts(changed(before, after)) <= contract.at(step), f"step {step}"
    moved = set().union(*contract.trains) if contract.moved is None else contract.moved
    assert parts(changed(base(watch.weights[0]), base(weights(task)))) == moved
    # Which would have shrunk what is only idle.
    assert any(group["weight_decay"] > 0 for group in trainer.optimizers[0].param_groups)


RESUMED = [(name, step) for name, contract in CONTRACTS.items() for step in contract.broken_off]


@pytest.mark.parametrize(("name", "step"), RESUMED)
@pytest.mark.representatives("LayerwiseRates-2", "Assembled-7")
def test_a_resumed_run_is_the_run(name: str, step: int, tiny_trainer, tmp_path) -> None:
    contract, watch = CONTRACTS[name], Watch()
    whole = task_of(contract)
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = tiny_trainer(max_steps=STEPS, callbacks=[contract.make(), saver], enable_checkpointing=True)
    trainer.fit(whole, SmallData())
    resumed = task_of(contract, seed=1)
    again = tiny_trainer(max_steps=STEPS, callbacks=[contract.make(), watch])
    again.fit(resumed, SmallData(), ckpt_path=tmp_path / f"step={step}.ckpt")
    assert watch.trainable == [contract.at(later) for later in range(step, STEPS)]
    assert weights(whole).keys() == weights(resumed).keys()
    assert not changed(weights(whole), weights(resumed))
    one, other = (list(states(t.optimizers[0].state_dict())) for t in (trainer, again))
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one) > 0 or name == "Untrained"


@pytest.mark.parametrize("name", [name for name, contract in CONTRACTS.items() if contract.refuses])
def test_a_task_that_it_cannot_serve_is_refused_by_name(name: str, tiny_trainer) -> None:
    with pytest.raises(TypeError, match=f"{name} {CONTRACTS[name].refuses}"):
        tiny_trainer(max_steps=1, callbacks=[CONTRACTS[name].make()]).fit(BoringModel())


WRONG = [(name, *wrong) for name, contract in CONTRACTS.items() for wrong in contract.wrong]


@pytest.mark.parametrize(("name", "make", "said"), WRONG, ids=[f"{name}-{said[:24]}" for name, _, said in WRONG])
def test_a_bad_argument_is_refused_by_name(name: str, make: Callable[[], Callback], said: str, tiny_trainer) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        tiny_trainer(max_steps=STEPS, callbacks=[make()]).fit(task_of(CONTRACTS[name]), SmallData())
    assert f"{name} " in str(caught.value) or "must" in str(caught.value) or "nowhere" in str(caught.value)
