"""Labelled texts, tokenised for an encoder or decoder of Hugging Face."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import AutoTokenizer

from tasks.language.model import from_hub, model_folder
from tasks.language.sources import LABELS, Labelled, read_csv, read_hub, read_tweets


class TokenisedTexts(Dataset):
    """Items are dicts with ``input_ids`` and ``attention_mask``, int64 of shape ``(max_length,)``, and ``labels``.

    Padding stands on the right, for decoders too: they are read at all their tokens, and none of them sees what comes
    after it.

    Args:
        texts: Texts with their classes.
        tokenizer: Name or directory of a tokenizer in the Hugging Face format.
        max_length: Tokens per text.

    Raises:
        FileNotFoundError: If the tokenizer cannot be reached.
        ValueError: If a text has no token.
    """

    def __init__(self, texts: list[Labelled], tokenizer: str | Path, max_length: int) -> None:
        tokenize: Any = from_hub(AutoTokenizer, tokenizer, "tokenizer")
        tokenize.padding_side = "right"
        if tokenize.pad_token is None:
            tokenize.pad_token = tokenize.eos_token  # decoders often have none; the mask hides it whatever it is
        words, labels = zip(*texts, strict=True)
        tokens = tokenize(
            list(words), truncation=True, padding="max_length", max_length=max_length, return_tensors="pt"
        )
        blank = (tokens["attention_mask"].sum(dim=1) == 0).nonzero().flatten().tolist()
        if blank:
            raise ValueError(
                f"the text {words[blank[0]]!r} has no token in the vocabulary of {tokenizer}; leave it out."
            )
        self.columns: dict[str, Tensor] = {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "labels": torch.tensor(labels),
        }

    def __len__(self) -> int:
        return len(self.columns["labels"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


class TextData(LightningDataModule, ABC):
    """Labelled texts, shuffled once and split; where they come from is said by `read`.

    Args:
        tokenizer_path: Name or directory of a tokenizer in the Hugging Face format, that of the model; the packaged
            MiniLM's when left out.
        max_length: Tokens per text; longer ones are cut, shorter ones padded.
        batch_size: Texts in one training batch.
        train_size: Texts to train on; a short fine-tuning sees only a few.
        val_size: Texts held out.
        split_seed: Seed of the shuffle before the split. It is not the training seed, so that runs which differ only
            in their training seed or strategy are judged on the same texts.
    """

    train: TokenisedTexts
    held_out: TokenisedTexts
    #: Names of the classes, once the texts were read.
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        tokenizer_path: str | None = None,
        max_length: int = 24,
        batch_size: int = 16,
        train_size: int = 4000,
        val_size: int = 400,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        if train_size < batch_size or val_size < 1:
            raise ValueError(f"need train_size >= batch_size and val_size >= 1; got {train_size}, {val_size}.")
        self.tokenizer_path = tokenizer_path
        self.max_length = max_length
        self.batch_size = batch_size
        self.train_size = train_size
        self.val_size = val_size
        self.split_seed = split_seed

    @abstractmethod
    def read(self) -> tuple[list[Labelled], tuple[str, ...]]:
        """All texts with their classes, from 0, and the names of the classes."""

    @property
    def classes(self) -> int | None:
        """Number of classes; None before the texts were read."""
        return len(self.labels) or None

    def setup(self, stage: str) -> None:
        texts, self.labels = self.read()
        if len(texts) < self.train_size + self.val_size:
            raise ValueError(
                f"train_size {self.train_size} and val_size {self.val_size} ask for more than the {len(texts)} texts."
            )
        random.Random(self.split_seed).shuffle(texts)
        held_out, train = texts[: self.val_size], texts[self.val_size : self.val_size + self.train_size]
        path = model_folder(self.tokenizer_path)
        self.held_out = TokenisedTexts(held_out, path, self.max_length)
        self.train = TokenisedTexts(train, path, self.max_length)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=4 * self.batch_size)


class TweetData(TextData):
    """Negative against positive tweets, which ship in a package; no network is needed. Arguments as of `TextData`."""

    def read(self) -> tuple[list[Labelled], tuple[str, ...]]:
        return read_tweets(), LABELS


class CsvData(TextData):
    """Texts of a CSV file with a header, one column of texts and one of labels. A text that stands twice is kept once.

    Args:
        path: The file, in UTF-8.
        text_column: Name of the column of texts.
        label_column: Name of the column of labels.
        arguments: As of `TextData`.
    """

    def __init__(self, path: str, text_column: str = "text", label_column: str = "label", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.path = path
        self.text_column = text_column
        self.label_column = label_column

    def read(self) -> tuple[list[Labelled], tuple[str, ...]]:
        texts, labels = read_csv(self.path, self.text_column, self.label_column)
        return list(dict.fromkeys(texts)), labels


class HubData(TextData):
    """Texts of a data set of the Hugging Face hub, such as ``yelp_polarity``, or of a folder in its format.

    A text that stands twice with the same label is kept once. The held-out texts are drawn from the same split, so that
    data sets whose own test labels are secret can be used.

    Args:
        dataset: Name on the hub, or a folder that ``save_to_disk`` of ``datasets`` wrote.
        text_column: Name of the column of texts; of ``sst2`` it is ``sentence``.
        label_column: Name of the column of labels.
        subset: Name of a configuration of the data set, where it has several.
        split: The split that is read.
        arguments: As of `TextData`.
    """

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        label_column: str = "label",
        subset: str | None = None,
        split: str = "train",
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.dataset = dataset
        self.text_column = text_column
        self.label_column = label_column
        self.subset = subset
        self.split = split

    def read(self) -> tuple[list[Labelled], tuple[str, ...]]:
        texts, labels = read_hub(self.dataset, self.text_column, self.label_column, self.subset, self.split)
        return list(dict.fromkeys(texts)), labels
