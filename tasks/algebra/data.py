"""Staged modular arithmetic: every input tuple there is, each with the answer of every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

# One stage's operation before its modulus is taken: (previous stage's answer, next operand) -> integer.
OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
}


def staged_arithmetic(
    moduli: Sequence[int] = (11, 5, 2), operations: Sequence[str] | None = None, operands: int = 11
) -> tuple[Tensor, Tensor]:
    """Enumerates the whole task.

    With the defaults and inputs a, b, c, d in 0..10 the stages are u = (a + b) mod 11, v = (u + c) mod 5 and
    w = (v + d) mod 2: each stage needs the answer of the one before it, and each splits the inputs into a different
    number of classes. Gromov-Wasserstein cannot tell apart two stages that split into equally many equal classes,
    so the moduli should differ.

    Args:
        moduli: The modulus of each stage, first stage first.
        operations: The operation of each stage, a key of `OPERATIONS`; addition everywhere when left out.
        operands: Inputs run from 0 to ``operands - 1``.

    Returns:
        Inputs, int64 of shape ``(operands ** (stages + 1), stages + 1)``, and answers, int64 of shape
        ``(operands ** (stages + 1), stages)``.

    Raises:
        ValueError: If there is no stage, a modulus is below 2, or operations and moduli differ in number or name.
    """
    operations = ["add"] * len(moduli) if operations is None else operations
    if not moduli or min(moduli) < 2:
        raise ValueError(f"moduli must name at least one stage, each 2 or more; got {list(moduli)}.")
    if len(operations) != len(moduli):
        raise ValueError(f"{len(moduli)} moduli need {len(moduli)} operations; got {list(operations)}.")
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown:
        raise ValueError(f"unknown operation {unknown[0]!r}; choose from {', '.join(OPERATIONS)}.")

    values = torch.arange(operands)
    inputs = torch.cartesian_prod(*[values] * (len(moduli) + 1))  # (N, stages + 1)
    answer, answers = inputs[:, 0], []
    for operand, modulus, operation in zip(inputs[:, 1:].T, moduli, operations, strict=True):
        answer = OPERATIONS[operation](answer, operand) % modulus
        answers.append(answer)
    return inputs, torch.stack(answers, dim=1)


class ArithmeticData(LightningDataModule):
    """All tuples of the task, split at random into training and held-out ones.

    Items are pairs ``(x, y)``: ``x`` int64 of shape ``(stages + 1,)``, ``y`` int64 of shape ``(stages,)`` with the
    answer of each stage.

    Args:
        moduli: The modulus of each stage.
        operations: The operation of each stage; addition everywhere when left out.
        operands: Inputs run from 0 to ``operands - 1``.
        train_fraction: Share of all tuples that is trained on; the rest is held out.
        batch_size: Tuples in one training batch.
        split_seed: Seed of the split. It is not the training seed, so that runs which differ only in their training
            seed or strategy are trained on, probed with and judged on the same tuples.
    """

    train: Subset
    held_out: Subset

    def __init__(
        self,
        moduli: Sequence[int] = (11, 5, 2),
        operations: Sequence[str] | None = None,
        operands: int = 11,
        train_fraction: float = 0.8,
        batch_size: int = 512,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < train_fraction < 1:
            raise ValueError(f"train_fraction must lie between 0 and 1; got {train_fraction}.")
        self.moduli = tuple(moduli)
        self.operations = operations
        self.operands = operands
        self.train_fraction = train_fraction
        self.batch_size = batch_size
        self.split_seed = split_seed

    def setup(self, stage: str) -> None:
        dataset = TensorDataset(*staged_arithmetic(self.moduli, self.operations, self.operands))
        generator = torch.Generator().manual_seed(self.split_seed)
        self.train, self.held_out = random_split(dataset, [self.train_fraction, 1 - self.train_fraction], generator)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=4 * self.batch_size)
