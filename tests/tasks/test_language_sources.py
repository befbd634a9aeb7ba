"""Other models and other texts: by name or path, from a CSV file, and in the hub's format."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from pytorch_lightning import seed_everything
from small_task import changed, weights

pytest.importorskip("transformers", reason="the language task needs the extra `tasks`")

from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model

from tasks.language import CsvData, HubData, TweetData, TweetSentiment
from tasks.language import sources as sources_module
from tasks.strategies import (
    FreezeLower,
    FromScratch,
    HeadOnly,
    LayerwiseRates,
    Lora,
    Pruned,
    SelfDistillation,
    ShuffledLabels,
    UnfreezeBottomUp,
    UnfreezeTopDown,
    Untrained,
)

MODELS = {
    "bert": lambda: BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    ),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(dim=16, n_layers=3, n_heads=2, hidden_dim=32)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=30522, n_embd=16, n_layer=3, n_head=2)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """Random models of three layers on disk, in the hub's format, with the vocabulary of the packaged tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        torch.manual_seed(0)
        make().save_pretrained(folder / name)
    return {name: str(folder / name) for name in MODELS}


def tweets() -> TweetData:
    return TweetData(train_size=48, val_size=16)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.representatives("distilbert")
def test_any_encoder_or_decoder_is_layered_and_blind_to_padding(name, models, tiny_trainer):
    seed_everything(0, verbose=False)
    task = TweetSentiment(models[name])
    assert len(task.layers) == 3
    stem, layers = ({id(p) for p in part.parameters()} for part in (task.stem, task.layers))
    assert stem
    assert not stem & layers
    before = weights(task)
    tiny_trainer(max_steps=2, callbacks=[FreezeLower(1)]).fit(task, tweets())
    moved = {id(dict(task.named_parameters())[name]) for name in changed(before, weights(task))}
    assert not moved & (stem | {id(p) for p in task.layers[0].parameters()})
    assert moved >= {id(p) for p in task.layers[2].parameters() if p.requires_grad and p.grad is not None}

    task.eval()
    ids, mask = torch.randint(1000, 2000, (3, 10)), torch.ones(3, 10, dtype=torch.int64)
    padded = torch.cat([ids, torch.randint(1000, 2000, (3, 6))], dim=1)  # whatever stands there
    padded_mask = torch.cat([mask, torch.zeros(3, 6, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(task(padded, padded_mask), task(ids, mask))


STRATEGIES = [
    HeadOnly,
    LayerwiseRates,
    Lora,
    Pruned,
    SelfDistillation,
    ShuffledLabels,
    UnfreezeBottomUp,
    UnfreezeTopDown,
    Untrained,
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.representatives("HeadOnly")
def test_strategies_serve_texts(strategy, models, tiny_trainer):
    pytest.importorskip("peft")
    seed_everything(0, verbose=False)
    task = TweetSentiment(models["bert"])
    before = weights(task)
    tiny_trainer(max_steps=6, callbacks=[strategy()]).fit(task, tweets())
    after = {name.replace(".base_layer", ""): value for name, value in weights(task).items()}
    moved = changed(before, after)
    if strategy is Untrained:
        assert not moved
    elif strategy in (HeadOnly, Lora):
        assert moved == {"model.head.weight", "model.head.bias"}
    else:
        assert {"model.head.weight"} < moved


@pytest.mark.slow
def test_from_scratch_keeps_nothing_of_what_was_learnt(models, tiny_trainer):
    def start(seed: int) -> dict[str, torch.Tensor]:
        seed_everything(seed, verbose=False)
        task = TweetSentiment(models["bert"])
        with torch.no_grad():
            for parameter in task.model.encoder.parameters():
                parameter.add_(3.0)  # a mark of what was learnt, which a new draw would not leave
        tiny_trainer(max_steps=0, callbacks=[FromScratch()]).fit(task, tweets())
        return weights(task)

    drawn = start(0)
    assert all(float(value.mean()) < 2.5 for value in drawn.values())
    assert not changed(drawn, start(0))
    assert {name for name in changed(drawn, start(1)) if name.endswith("query.weight")}


def write_csv(path: Path, rows: list[str], header: str = "phrase,mood") -> str:
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return str(path)


ROWS = [f"this is phrase number {number},{('dull', 'fine', 'odd')[number % 3]}" for number in range(60)]


def test_a_csv_file_with_three_classes_is_learnt_from(models, tmp_path, tiny_trainer):
    path = write_csv(tmp_path / "texts.csv", [*ROWS, ROWS[0]])
    data = CsvData(path, "phrase", "mood", train_size=40, val_size=20, batch_size=8)
    task = TweetSentiment(models["bert"], classes=3)
    trainer = tiny_trainer(max_steps=2, val_check_interval=2, limit_val_batches=1.0)
    trainer.fit(task, data)
    assert data.labels == ("dull", "fine", "odd")
    shares = torch.stack([item["labels"] for item in data.held_out]).bincount(minlength=3) / 20
    assert trainer.callback_metrics["val/majority"] == pytest.approx(float(shares.max()), abs=1e-6)
    with pytest.raises(ValueError, match=r"the data has 3 classes but .* built for 2: set the model's classes to 3"):
        tiny_trainer(max_steps=1).fit(TweetSentiment(models["bert"]), data)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (ROWS, ("text", "mood"), r"no column 'text'; it has phrase, mood\."),
        (ROWS, ("phrase", "moods"), r"no column 'moods'.*Near names: mood"),
        (["one,dull", "two,dull"], ("phrase", "mood"), r"2 texts of 1 class \('dull'\); at least two classes"),
        (["one,dull", "  ,fine"], ("phrase", "mood"), "the text of row 2 is empty"),
        (["one,dull", "two,"], ("phrase", "mood"), "the label of row 2 is missing"),
        ([], ("phrase", "mood"), "0 texts of 0 classes"),
    ],
)
def test_a_csv_file_that_cannot_be_learnt_from_is_refused(rows, columns, message, tmp_path):
    data = CsvData(write_csv(tmp_path / "texts.csv", rows), *columns, train_size=16, val_size=8)
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


def test_what_cannot_be_reached_is_named(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no CSV file at .*nowhere\.csv"):
        CsvData(str(tmp_path / "nowhere.csv")).setup("fit")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"the model .*nowhere' cannot be reached.*packaged MiniLM"):
        TweetSentiment(str(tmp_path / "nowhere"))
    monkeypatch.setattr(sources_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install datasets, or train on the packaged tweets"):
        HubData("yelp_polarity").setup("fit")


@pytest.fixture
def saved(tmp_path) -> str:
    """A data set of two splits on disk, in the hub's format."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"sentence": [f"sentence number {number}" for number in range(60)], "label": [n % 2 for n in range(60)]}
    secret = {"sentence": ["a", "b"], "label": [-1, -1]}
    splits = {
        name: datasets.Dataset.from_dict(part, features) for name, part in {"train": rows, "test": secret}.items()
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    return str(tmp_path / "saved")


@pytest.mark.slow
def test_a_saved_data_set_and_model_train_together(saved, models, tiny_trainer):
    data = HubData(saved, text_column="sentence", train_size=40, val_size=20, batch_size=8)
    tiny_trainer(max_steps=2, callbacks=[]).fit(TweetSentiment(models["gpt2"]), data)
    assert data.labels == ("bad", "good")
    assert len(data.train) == 40
    for item in data.train:
        number = int(data_tokenizer().decode(item["input_ids"], skip_special_tokens=True).rsplit(" ", 1)[1])
        assert int(item["labels"]) == number % 2


def test_a_folder_of_parquet_files_is_read_as_a_repository_of_the_hub_is(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "repository").mkdir()
    rows = {"text": [f"text number {number}" for number in range(30)], "label": [number % 2 for number in range(30)]}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "repository" / "train.parquet"))
    texts, labels = sources_module.read_hub(str(tmp_path / "repository"), "text", "label")
    assert texts == list(zip(rows["text"], rows["label"], strict=True))
    assert labels == ("0", "1")


def data_tokenizer():
    from transformers import AutoTokenizer

    from tasks.language.model import packaged_encoder

    return AutoTokenizer.from_pretrained(packaged_encoder(), local_files_only=True)


def test_a_saved_data_set_that_does_not_fit_is_refused(saved):
    def read(**arguments) -> None:
        HubData(saved, **{"text_column": "sentence", "train_size": 40, "val_size": 20, **arguments}).setup("fit")

    with pytest.raises(ValueError, match=r"no column 'text'; it has sentence, label"):
        read(text_column="text")
    with pytest.raises(ValueError, match=r"no split 'tests'. Near names: test"):
        read(split="tests")
    with pytest.raises(ValueError, match="the label of row 1 is missing; leave such rows out, or choose a split with"):
        read(split="test")


def test_a_data_set_that_cannot_be_reached_is_named(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def unreachable(*_: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    assert importlib.import_module("datasets") is datasets
    with pytest.raises(FileNotFoundError, match=r"'yelp_polarity' cannot be reached \(ConnectionError: no route"):
        HubData("yelp_polarity").setup("fit")
