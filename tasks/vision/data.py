"""Handwritten digits that ship with scikit-learn, and CIFAR-10 through torchvision."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset


class ImageData(LightningDataModule):
    """Images with labels, split once.

    Items are pairs ``(x, y)``: ``x`` float32 of shape ``(channels, size, size)``, ``y`` int64, a class.

    Args:
        batch_size: Images in one training batch.
        split_seed: Seed of the shuffle before the split. It is not the training seed, so that runs which differ only in
            their training seed or strategy are trained on, probed with and judged on the same images.
    """

    #: Shape of an image, and how many classes there are; must equal the model's.
    channels: int
    size: int
    classes: int

    train: Dataset
    held_out: Dataset

    def __init__(self, batch_size: int, split_seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
        self.batch_size = batch_size
        self.split_seed = split_seed

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=4 * self.batch_size)


class DigitsData(ImageData):
    """The 1797 handwritten digits of scikit-learn, 8 × 8 in grey; no network is needed.

    Args:
        batch_size: Images in one training batch.
        val_size: Images held out.
        split_seed: Seed of the split.

    Raises:
        ModuleNotFoundError: If scikit-learn is not installed.
    """

    channels, size, classes = 1, 8, 10

    def __init__(self, batch_size: int = 64, val_size: int = 360, split_seed: int = 0) -> None:
        super().__init__(batch_size, split_seed)
        self.val_size = val_size

    def setup(self, stage: str) -> None:
        if find_spec("sklearn") is None:
            raise ModuleNotFoundError("the digits ship in the package `scikit-learn`: pip install scikit-learn.")
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        if not 0 < self.val_size <= len(labels) - self.batch_size:
            raise ValueError(
                f"val_size must be 1 to {len(labels) - self.batch_size}, which leaves a batch to train on; got "
                f"{self.val_size}."
            )
        x = torch.as_tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        dataset = TensorDataset((x - x.mean()) / x.std(), torch.as_tensor(labels, dtype=torch.int64))
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(self.split_seed)).tolist()
        self.held_out, self.train = Subset(dataset, order[: self.val_size]), Subset(dataset, order[self.val_size :])


class Cifar10Data(ImageData):
    """CIFAR-10: 60 000 photographs of ten kinds of thing, 32 × 32 in colour; its own test images are held out.

    The task has no copy of its own: torchvision downloads one where asked to, or reads what lies in `root`.

    Args:
        root: Folder with torchvision's copy of CIFAR-10, or for it.
        download: Download what is missing.
        batch_size: Images in one training batch.

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
        FileNotFoundError: If the images are neither there nor to be downloaded.
    """

    channels, size, classes = 3, 32, 10

    def __init__(self, root: str = "data", download: bool = False, batch_size: int = 128) -> None:
        super().__init__(batch_size)
        self.root = root
        self.download = download

    def prepare_data(self) -> None:
        if self.download:
            for train in (True, False):
                self._read(train, download=True)

    def setup(self, stage: str) -> None:
        self.train, self.held_out = self._read(train=True), self._read(train=False)

    def _read(self, train: bool, download: bool = False) -> Dataset:
        if find_spec("torchvision") is None:
            raise ModuleNotFoundError(
                "CIFAR-10 is read by the package `torchvision`: pip install torchvision, or train on the digits, which "
                "need no download (tasks.vision.DigitsData)."
            )
        torchvision = import_module("torchvision")
        transforms = torchvision.transforms
        # Mean and standard deviation 0.5 bring every pixel to −1..1.
        to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
        try:
            found: Dataset = torchvision.datasets.CIFAR10(
                self.root, train=train, transform=to_tensor, download=download
            )
        except (RuntimeError, OSError) as error:
            raise FileNotFoundError(
                f"there is no CIFAR-10 in {self.root!r} ({error}). Set download: true where its site can be reached, "
                "give the root that holds `cifar-10-batches-py`, or train on the digits, which need no download "
                "(tasks.vision.DigitsData)."
            ) from error
        return found
