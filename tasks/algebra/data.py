"""Staged modular arithmetic: every input tuple there is, each with the answer of every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import permutations

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

from lightning_gw.utilities.errors import near_names

#: Permutations of five things, which the values of operands and answers number in lexicographic order.
PERMUTATIONS = 120
#: Tuples of a task, all of which are kept in memory.
MOST_TUPLES = 20_000_000


@cache
def permutation_products() -> Tensor:
    """The number of ``p ∘ q`` (first q, then p) for the numbers of p and q: int64 of shape ``(120, 120)``."""
    table = torch.tensor(list(permutations(range(5))))  # (120, 5)
    products = table[:, table]  # (120, 120, 5): p[q[i]]
    digits = 5 ** torch.arange(5)
    number = torch.full((5**5,), -1)
    number[(table * digits).sum(dim=-1)] = torch.arange(PERMUTATIONS)
    return number[(products * digits).sum(dim=-1)]


def compose(p: Tensor, q: Tensor) -> Tensor:
    """Number of the permutation of five that does first q, then p."""
    if max(int(p.max()), int(q.max())) >= PERMUTATIONS:
        raise ValueError(
            f"operation 'permute' takes the numbers 0 to {PERMUTATIONS - 1} of the permutations of five, and met "
            f"{max(int(p.max()), int(q.max()))}: set operands to {PERMUTATIONS} and the modulus of the stage before to "
            f"{PERMUTATIONS}, or lower."
        )
    return permutation_products()[p, q]


# One stage's operation before its modulus is taken: (previous stage's answer, next operand) -> integer.
OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "quadratic": lambda x, y: x * x + x * y + y * y,
    "permute": compose,
}


def staged_arithmetic(
    moduli: Sequence[int] = (11, 5, 2), operations: Sequence[str] | None = None, operands: int = 11
) -> tuple[Tensor, Tensor]:
    """Enumerates the whole task.

    With the defaults and inputs a, b, c, d in 0..10 the stages are u = (a + b) mod 11, v = (u + c) mod 5 and
    w = (v + d) mod 2: each stage needs the answer of the one before it, and each splits the inputs into a different
    number of classes. Gromov-Wasserstein cannot tell apart two stages that split into equally many equal classes,
    so the moduli should differ.

    One stage is the task on which delayed generalisation ("grokking") was described (Power and others, "Grokking:
    Generalization Beyond Overfitting on Small Algorithmic Datasets"): ``moduli=[97], operands=97``, or
    ``moduli=[120], operations=["permute"], operands=120``, with few of the tuples to train on.

    Args:
        moduli: The modulus of each stage, first stage first.
        operations: The operation of each stage, a key of `OPERATIONS`; addition everywhere when left out.
        operands: Inputs run from 0 to ``operands - 1``.

    Returns:
        Inputs, int64 of shape ``(operands ** (stages + 1), stages + 1)``, and answers, int64 of shape
        ``(operands ** (stages + 1), stages)``.

    Raises:
        ValueError: If there is no stage, a modulus is below 2, an operation is unknown or takes no such values, the
            numbers of moduli and operations differ, or there are too many tuples to hold.
    """
    operations = ["add"] * len(moduli) if operations is None else operations
    if not moduli or min(moduli) < 2:
        raise ValueError(f"moduli must name at least one stage, each 2 or more; got {list(moduli)}.")
    if len(operations) != len(moduli):
        raise ValueError(f"{len(moduli)} moduli need {len(moduli)} operations; got {list(operations)}.")
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown:
        near = near_names(unknown[0], OPERATIONS)
        raise ValueError(f"unknown operation {unknown[0]!r}; choose from {', '.join(OPERATIONS)}. {near}".rstrip())
    if (tuples := operands ** (len(moduli) + 1)) > MOST_TUPLES:
        raise ValueError(
            f"{operands} operands at {len(moduli) + 1} places make {tuples} tuples, and at most {MOST_TUPLES} are "
            "held: choose fewer operands or stages."
        )

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
        train_fraction: Share of all tuples that is trained on; the rest is held out. With a small share
            generalisation may come long after the training tuples are known.
        batch_size: Tuples in one training batch.
        split_seed: Seed of the split. It is not the training seed, so that runs which differ only in their training
            seed or strategy are trained on, probed with and judged on the same tuples.
        hold_out_by: How many of the first operands decide where a tuple goes. With 2, pairs (a, b) are split, and those
            held out are never seen in training, whatever the other operands; when left out, every tuple goes by itself.
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
        hold_out_by: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < train_fraction < 1:
            raise ValueError(f"train_fraction must lie between 0 and 1; got {train_fraction}.")
        if hold_out_by is not None and not 1 <= hold_out_by <= len(moduli) + 1:
            raise ValueError(f"hold_out_by must count 1 to {len(moduli) + 1} operands; got {hold_out_by}.")
        self.moduli = tuple(moduli)
        self.operations = operations
        self.operands = operands
        self.train_fraction = train_fraction
        self.batch_size = batch_size
        self.split_seed = split_seed
        self.hold_out_by = hold_out_by

    def setup(self, stage: str) -> None:
        dataset = TensorDataset(*staged_arithmetic(self.moduli, self.operations, self.operands))
        generator = torch.Generator().manual_seed(self.split_seed)
        if self.hold_out_by is None:
            shares = [self.train_fraction, 1 - self.train_fraction]
            self.train, self.held_out = random_split(dataset, shares, generator)
            return
        # Tuples with the same first operands stand next to each other, as the enumeration runs over the last fastest.
        together = self.operands ** (len(self.moduli) + 1 - self.hold_out_by)
        groups = torch.randperm(len(dataset) // together, generator=generator)
        count = round(self.train_fraction * len(groups))
        self.train, self.held_out = (
            Subset(dataset, (part[:, None] * together + torch.arange(together)).flatten().tolist())
            for part in (groups[:count], groups[count:])
        )
        for name, part in (("train_fraction", self.train), ("1 - train_fraction", self.held_out)):
            if not len(part):
                raise ValueError(f"{name} of {len(groups)} combinations is none: raise it, or hold_out_by.")

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=4 * self.batch_size)
