from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from tasks.strategies.phases import Phased, second_phase
from tasks.strategies.requirements import ComposableTask, required, stage_ends


class Assembled(Phased):
    """Trains every planted block apart from the others, puts them together, and fine-tunes the whole on the answer.

    It asks: do parts that never saw each other show as groups, and does fine-tuning keep or dissolve them?

    Parts fit together by a contract. To the stem's state of an input, ``s(x)``, one fixed random code per stage and
    class is added: block i learns to map ``s(x) + code[i - 1][y[i - 1]]`` to ``s(x) + code[i][y[i]]``, and the first
    block starts from the bare ``s(x)``. The stem stays as it was drawn. No gradient passes between blocks, which share
    nothing but the clipping of gradients; the held-out accuracy says nothing until they are put together, since no head
    is trained before. Then everything trains, with one head after the last layer, and the learning rate begins anew.

    Args:
        at: Share of the steps after which the blocks are put together.
        scale: Size of the codes over that of the stem's states.
    """

    def __init__(self, at: float = 0.75, scale: float = 1.5) -> None:
        super().__init__()
        self.at = at
        self.scale = scale
        self.codes: list[Tensor] = []
        self.spread = 1.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = self.task(pl_module)
        task.objective = None
        self.codes = []
        last = len(task.stage_of_layer) - 1
        task.supervise({last: task.stage_of_layer[last]})
        super().setup(trainer, pl_module, stage)

    def task(self, module: LightningModule) -> ComposableTask:
        return required(self, module, ComposableTask)  # type: ignore[type-abstract]

    def plan(self, module: LightningModule, steps: int) -> tuple[int, int]:
        return second_phase(self, self.at, steps)

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        task = self.task(module)
        if phase == 0:
            self.freeze(task.stem)
            task.objective = lambda batch: self.loss(task, *batch)
        else:
            self.make_trainable(task.stem)
            task.objective = None

    def draw_codes(self, task: ComposableTask, bare: Tensor, classes: list[int]) -> None:
        """Draws the codes from the run's seed, in the size of the states of the first batch ``(B, d)``."""
        # Not the standard deviation over inputs: at the "=" of a transformer the stem's state is always the same.
        self.spread = float(bare.square().mean().sqrt())
        size = self.scale * self.spread
        self.codes = [size * torch.randn(count, bare.shape[1]).to(bare) for count in classes]

    def loss(self, task: ComposableTask, x: Tensor, y: Tensor) -> Tensor:
        """How far all blocks together are from keeping the contract."""
        with torch.no_grad():
            stem = task.stem(x)
            bare = task.pooled(stem)
        if not self.codes:
            self.draw_codes(task, bare, list(task.moduli))
        codes = self.codes = [code.to(bare.device) for code in self.codes]
        losses, begin = [], 0
        for end, stage in stage_ends(task).items():
            h = stem if stage == 0 else task.spread(stem, codes[stage - 1][y[:, stage - 1]])
            for layer in list(task.layers)[begin : end + 1]:
                h = layer(h)
            wanted = task.spread(stem, codes[stage][y[:, stage]])
            # Squared differences alone are slow to tell codes apart: the one that is meant should also be the nearest.
            nearness = -torch.cdist(task.pooled(h) - bare, codes[stage]).square() / (bare.shape[1] * self.spread**2)
            losses.append(nn.functional.mse_loss(h, wanted) / self.spread**2)
            losses.append(nn.functional.cross_entropy(4 * nearness, y[:, stage]))
            begin = end + 1
        return torch.stack(losses).sum()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        if isinstance(pl_module, ComposableTask):
            pl_module.objective = None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "codes": list(self.codes), "spread": self.spread}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.codes, self.spread = list(state_dict["codes"]), state_dict["spread"]
