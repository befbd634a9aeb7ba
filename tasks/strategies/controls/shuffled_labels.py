from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import Dataset


class ShuffledLabels(Callback):
    """Deals the labels of the training data out anew among its inputs, once; held-out labels stay true.

    It asks: which groups does memorising make, where there is nothing to be learnt?

    Each class stays as frequent as it was, and an input keeps its wrong label for the whole run, so that it can be
    memorised. An accuracy above chance on held-out data would mean that the labels were not shuffled.

    Args:
        seed: Seed of the shuffle. It is not the training seed: runs that differ only in that memorise the same labels.

    Raises:
        TypeError: If the run has no data module with a dataset ``train`` of known length.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data: Any = getattr(trainer, "datamodule", None)
        train = getattr(data, "train", None)
        if not (hasattr(train, "__len__") and hasattr(train, "__getitem__")):
            raise TypeError(
                f"strategy {type(self).__name__} cannot serve {type(data).__name__ if data else 'bare data loaders'}: "
                "it shuffles the labels of the dataset `train` of a LightningDataModule, and there is none of known "
                "length."
            )
        data.train = Relabelled(train, self.seed)


class Relabelled(Dataset):
    """Items of a dataset with the labels of others: of pairs the second item, of mappings the item ``labels``.

    Args:
        dataset: Whose items are dealt new labels.
        seed: Seed of the shuffle.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.giver = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item, giver = self.dataset[index], self.dataset[self.giver[index]]
        if isinstance(item, Mapping):
            return {**item, "labels": giver["labels"]}
        return item[0], giver[1]
