"""Fresh copies of compiled networks: they run themselves, and never the live one."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.compile import from_compiled
from significance_nets import snapshot
from torch import Tensor, nn

from lightning_gw.significance import Reinitialiser, reinitialised


class Compiled(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def validation_step(self, batch: Tensor, index: int) -> Tensor:
        return self(batch)


@pytest.mark.parametrize("how", ["torch.compile", "Module.compile"])
def test_a_copy_of_what_was_compiled_runs_itself_and_not_the_live_network(how: str) -> None:
    module = Compiled()
    if how == "torch.compile":
        module = from_compiled(torch.compile(module, backend="eager"))  # type: ignore[assignment, arg-type]
    else:
        module.compile(backend="eager")
    before = snapshot(module)
    fresh = reinitialised(module, 1)
    x = torch.randn(8, 4)
    torch.testing.assert_close(fresh(x), fresh.body(x))
    fresh.validation_step(x, 0)
    assert fresh.body[1].num_batches_tracked == 3
    after = module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert (module._compiler_ctx is None) == (how == "Module.compile"), "the live one stays compiled"


def test_no_copy_is_made_of_a_method_that_was_replaced_before_it_was_compiled() -> None:
    module = Compiled()
    module.validation_step = lambda batch, index: module(batch)  # type: ignore[method-assign]
    compiled = from_compiled(torch.compile(module, backend="eager"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="its validation_step was replaced before it was compiled"):
        Reinitialiser(compiled)
