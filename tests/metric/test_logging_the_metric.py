"""What is said where the metric itself is given to Lightning's ``self.log``, which takes numbers."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_gw import GromovWassersteinMatrix, gw_matrix


class Logging(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.gw = GromovWassersteinMatrix(["first", "second"], effort="fast")

    def training_step(self, batch: Tensor) -> Tensor:
        return self.second(self.first(batch)).square().mean()

    def validation_step(self, batch: Tensor) -> None:
        hidden = self.first(batch)
        self.gw.update({"first": hidden, "second": self.second(hidden)})
        self.log("gw", self.gw)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_metric_that_is_logged_whole_names_how_to_log_numbers_of_it() -> None:
    data = DataLoader(torch.randn(16, 6, generator=torch.Generator().manual_seed(0)), 8)  # type: ignore[arg-type, var-annotated]
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=1, num_sanity_val_steps=0, accelerator="cpu", **quiet)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frozen dataclass") as caught:
        trainer.fit(Logging(), data, data)
    assert isinstance(caught.value.__cause__, FrozenInstanceError)
    assert "self.log('gw/first_to_last', metric.compute().similarity[0, -1].item())" in str(caught.value.__cause__)


def test_a_matrix_does_not_change() -> None:
    matrix = gw_matrix({"one": torch.randn(8, 3), "two": torch.randn(8, 3)}, effort="fast")
    with pytest.raises(FrozenInstanceError, match="does not change, so 'layers' cannot be set"):
        matrix.layers = ()  # type: ignore[misc]
