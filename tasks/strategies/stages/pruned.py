from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Optimizer

from tasks.strategies.phases import Phased, second_phase
from tasks.strategies.requirements import layered


class Pruned(Phased):
    """Trains everything, then sets the smallest weights inside the layers to zero for good, and trains the rest on.

    It asks: do groups survive the loss of most of the weights that made them?

    Weights of linear maps and convolutions are ranked by size over all layers together (``L1Unstructured`` of
    ``torch.nn.utils.prune``). Lightning's `ModelPruning` is not used: it prunes at the end of epochs, and a run that is
    resumed from its checkpoints would let pruned weights grow back. Warm-up and decay of the learning rate begin anew.

    Args:
        amount: Share of the weights that is pruned, between 0 and 1.
        at: Share of the steps after which it is.
    """

    def __init__(self, amount: float = 0.7, at: float = 0.5) -> None:
        super().__init__()
        if not 0 < amount < 1:
            raise ValueError(f"amount must lie between 0 and 1; got {amount}.")
        self.amount = amount
        self.at = at
        self.kept: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        layered(self, pl_module)
        self.kept = {}
        super().setup(trainer, pl_module, stage)

    def plan(self, module: LightningModule, steps: int) -> tuple[int, int]:
        return second_phase(self, self.at, steps)

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        if phase == 1 and not self.kept:  # a resumed run knows what it pruned
            self.prune(trainer, module)

    def weights(self, module: LightningModule) -> dict[str, Tensor]:
        """What can be pruned, by name within the layers."""
        return {
            f"{name}.weight": part.weight
            for name, part in layered(self, module).layers.named_modules()
            if isinstance(part, nn.Linear | nn.Conv2d)
        }

    @torch.no_grad()
    def prune(self, trainer: Trainer, module: LightningModule) -> None:
        """Sets the smallest weights to zero, and with them the optimizer's memory, which would move them again."""
        weights = self.weights(module)
        flat = torch.cat([weight.flatten() for weight in weights.values()])
        mask = prune.L1Unstructured(self.amount).compute_mask(flat, torch.ones_like(flat))
        parts = mask.split([weight.numel() for weight in weights.values()])
        for (name, weight), part in zip(weights.items(), parts, strict=True):
            kept = part.view_as(weight)
            weight.mul_(kept)
            for optimizer in trainer.optimizers:
                for value in optimizer.state.get(weight, {}).values():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        value.mul_(kept)
            self.kept[name] = kept.bool()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not self.kept:
            return
        for name, weight in self.weights(pl_module).items():
            if weight.grad is not None:
                weight.grad.mul_(self.kept[name].to(weight.device))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "kept": dict(self.kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.kept = dict(state_dict["kept"])
