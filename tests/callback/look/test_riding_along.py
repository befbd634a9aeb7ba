"""Looks that ride along with Lightning's validation: that they do, and that they find the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Block, Net, loader, plain_net, task
from every_training import differences
from riding_trainings import Counted, assert_found_alike, own_passes, run
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_gw.activations.riding import Riding

pytestmark = pytest.mark.usefixtures("few_draws")


class Tokens(pl.LightningModule):
    """A transformer with attention of its own, on batches that are dictionaries with ids, a mask and a nested label."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        for block in self.blocks:
            scores = (x @ x.mT).masked_fill(~attention_mask[:, None].bool(), -1e9)
            x = block(x + scores.softmax(-1) @ x)
        return self.head((x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))

    def _loss(self, batch: Any) -> Tensor:
        if isinstance(batch, list):
            batch = {
                "tokens": {"input_ids": batch[0].abs().long() % 20, "attention_mask": torch.ones_like(batch[0])}
            } | {"label": batch[1]}
        return nn.functional.cross_entropy(self(**batch["tokens"]), batch["label"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


class Texts(Dataset[Any]):
    """Items of two levels: token ids with their mask, and a label."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.ids = torch.randint(0, 20, (64, 9), generator=generator)
        self.lengths = torch.randint(3, 10, (64,), generator=generator)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Any]:
        mask = (torch.arange(9) < self.lengths[index]).long()
        return {
            "tokens": {"input_ids": self.ids[index], "attention_mask": mask},
            "label": int(self.ids[index, 0]) % 3,
        }


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(task(64, seed=1))


RIDING: dict[str, dict[str, Any]] = {
    "checkpoints": {},
    "every so many steps": {"when": [4], "every_n_steps": 4},
    "within an epoch": {"every_n_steps": 2, "when": [2], "options": {"val_check_interval": 2, "max_epochs": 3}},
    "balanced": {"balance": 1},
    "other batches": {"held_out": lambda: loader(64, 10, seed=1), "probe_size": 24},
    "a stream": {"held_out": lambda: DataLoader(Stream(), batch_size=16)},
    "masks and nested batches": {"module": Tokens, "held_out": lambda: DataLoader(Texts(), batch_size=16)},
    "without inference mode": {"options": {"inference_mode": False}},
    "half precision": {"options": {"precision": "bf16-mixed"}},
    "double precision": {"options": {"precision": "64-true"}},
    "several loaders": {"held_out": lambda: [loader(64, 16, seed=1), loader(32, 16, seed=2)]},
}


class SeveralLoaders(Net):  # type: ignore[misc, valid-type]
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx)


RIDING["several loaders"]["module"] = lambda: SeveralLoaders(plain_net())


@pytest.mark.parametrize("kind", RIDING)
@pytest.mark.representatives("checkpoints", "every so many steps", "masks and nested batches")
def test_a_look_that_rides_finds_what_a_pass_of_its_own_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rode = run(tmp_path / "rode", **RIDING[kind])
    own = own_passes(tmp_path / "own", monkeypatch, **RIDING[kind])
    alone = run(
        tmp_path / "alone",
        False,
        **{key: RIDING[kind][key] for key in ("module", "held_out", "options") if key in RIDING[kind]},
    )
    assert len(rode.captured) >= 2
    assert_found_alike(rode, own)
    assert differences(rode.state, alone.state) == []


def test_looks_that_ride_make_no_forward_pass(tmp_path: Path) -> None:
    """Beyond the first, and the one that is made both ways, looks are for free."""

    def passes_of(epochs: int) -> tuple[int, int]:
        options: dict[str, Any] = {"module": lambda: Net(Counted(plain_net())), "options": {"max_epochs": epochs}}
        watched = run(tmp_path / f"with {epochs}", **options)
        alone = run(tmp_path / f"without {epochs}", False, **options)
        assert watched.callback is not None
        assert len(watched.callback.history or ()) == epochs + 1
        return watched.passes, alone.passes

    few, more = passes_of(2), passes_of(5)
    assert more[0] - few[0] == more[1] - few[1] > 0
    assert few[0] > few[1]  # a count that sees no look would pass above


def test_the_end_of_a_run_says_how_many_looks_rode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rode = run(tmp_path, verbose=True)
    assert len(rode.captured) == 3
    assert (
        "3 of 5 looks were captured during validation, without a forward pass of their own." in capsys.readouterr().out
    )


def test_what_is_kept_is_made_of_plain_tensors_of_the_probe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    original = Riding.take

    def take(self: Riding, module: nn.Module) -> Any:
        found = original(self, module)
        taken.extend([] if found is None else found.representations.values())
        return found

    monkeypatch.setattr(Riding, "take", take)
    run(tmp_path)
    assert len(taken) >= 6
    assert {len(held) for held in taken} == {12}
    assert not any(held.is_inference() or held.requires_grad for held in taken)
