"""A task small enough to train in a moment, and what tests ask of its weights."""

from __future__ import annotations

import copy

import torch
from pytorch_lightning import Callback, LightningModule, seed_everything
from torch.utils.data import DataLoader

from tasks.algebra import ArithmeticData, StagedArithmetic, StagedTransformer


class SmallData(ArithmeticData):
    """A small task in one fixed batch, so that a resumed run sees exactly what an uninterrupted one sees."""

    def __init__(self) -> None:
        super().__init__(moduli=[4, 3, 2], operands=4)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=len(self.train))


def small_task(
    seed: int = 0,
    transformer: bool = False,
    width: int = 16,
    learning_rate: float = 0.1,
    kind: type[StagedArithmetic] = StagedArithmetic,
) -> StagedArithmetic:
    seed_everything(seed, verbose=False)
    return (StagedTransformer if transformer else kind)(
        moduli=[4, 3, 2],
        operands=4,
        block_lengths=[2, 4, 3],
        width=width,
        hidden=width,
        learning_rate=learning_rate,
        warmup_steps=1,
    )


def weights(module: LightningModule) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(module.named_parameters()))


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the parameters that are not equal to the last bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def parts(names: set[str]) -> set[str]:
    """`model.blocks.3.norm.weight` becomes `blocks.3`."""
    return {".".join(name.split(".")[1 : 2 if name.startswith("model.embedding") else 3]) for name in names}


def blocks(*layers: int) -> set[str]:
    return {f"blocks.{layer}" for layer in layers}


def heads(*layers: int) -> set[str]:
    return {f"heads.{layer}" for layer in layers}


class Watch(Callback):
    """Notes, before every step, what is trainable and what the weights are; of the last `keep` steps, where given."""

    def __init__(self, keep: int = 0) -> None:
        self.keep = keep
        self.trainable: list[set[str]] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer) -> None:
        self.trainable.append(parts({name for name, p in pl_module.named_parameters() if p.requires_grad}))
        self.weights = [*self.weights, weights(pl_module)][-self.keep :]
