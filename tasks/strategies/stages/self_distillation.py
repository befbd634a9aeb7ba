from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.func import functional_call

from tasks.strategies.phases import Phased, second_phase
from tasks.strategies.requirements import GuidedTask, required


class SelfDistillation(Phased):
    """Trains the network, then starts it again from the same initial weights with its trained self as a teacher.

    It asks: does a network taught by another form the groups of its teacher, or those of its start?

    The student's loss is the task's own and, with `weight`, the Kullback-Leibler divergence from the teacher's softened
    answers (Hinton and others, "Distilling the Knowledge in a Neural Network"; Furlanello and others, "Born Again
    Neural Networks"). Optimizer and learning rate begin anew with the student.

    Args:
        teacher: A checkpoint of an earlier run of the same network, which then teaches from the first step; when left
            out, the network trained in the first part of this run.
        at: Share of the steps after which the student begins, where there is no `teacher`.
        weight: Share of the teacher in the student's loss, above 0 and at most 1.
        temperature: What logits are divided by before they are compared.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the checkpoint is of another network.
    """

    def __init__(
        self, teacher: str | None = None, at: float = 0.5, weight: float = 0.7, temperature: float = 2.0
    ) -> None:
        super().__init__()
        if not 0 < weight <= 1 or temperature <= 0:
            raise ValueError(
                f"weight must lie above 0 and be at most 1, temperature be above 0; got {weight} and {temperature}."
            )
        self.teacher = teacher
        self.at = at
        self.weight = weight
        self.temperature = temperature
        self.initial: dict[str, Tensor] = {}
        self.taught: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task: GuidedTask = required(self, pl_module, GuidedTask)  # type: ignore[type-abstract]
        task.objective = None
        self.initial, self.taught = {}, {}
        super().setup(trainer, pl_module, stage)

    def plan(self, module: LightningModule, steps: int) -> tuple[int, ...]:
        return (0,) if self.teacher else second_phase(self, self.at, steps)

    def enter(self, phase: int, trainer: Trainer, module: LightningModule) -> None:
        if self.teacher:
            self.taught = self.taught or read_weights(self.teacher, module)
        elif phase == 0:
            self.initial = self.initial or _copy(module.state_dict())
        elif not self.taught:  # a resumed run has its teacher
            self.taught = _copy(module.state_dict())
            module.load_state_dict(self.initial)
            self.initial = {}
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
        if self.taught:
            self.taught = {name: value.to(module.device) for name, value in self.taught.items()}
            task: GuidedTask = required(self, module, GuidedTask)  # type: ignore[type-abstract]
            task.objective = lambda batch: self.loss(module, batch)

    def loss(self, module: LightningModule, batch: Any) -> Tensor:
        """The student's loss on a batch."""
        own, logits = module.loss_and_logits(batch)  # type: ignore[operator]
        with torch.no_grad(), evaluating(module):
            named, given = (dict(batch), ()) if isinstance(batch, Mapping) else ({}, (batch[0],))
            answers = functional_call(module, self.taught, given, named)
        answers = list(answers.values()) if isinstance(answers, Mapping) else [answers]
        divergences = [
            nn.functional.kl_div(
                (student / self.temperature).log_softmax(dim=-1),
                (teacher / self.temperature).log_softmax(dim=-1),
                reduction="batchmean",
                log_target=True,
            )
            for student, teacher in zip(logits, answers, strict=True)
        ]
        # Softening shrinks gradients by the square of the temperature, which is put back.
        return (1 - self.weight) * own + self.weight * self.temperature**2 * torch.stack(divergences).mean()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        if isinstance(pl_module, GuidedTask):
            pl_module.objective = None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "initial": dict(self.initial), "taught": dict(self.taught)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.initial, self.taught = dict(state_dict["initial"]), dict(state_dict["taught"])


def read_weights(path: str, module: LightningModule) -> dict[str, Tensor]:
    """The weights in a checkpoint of Lightning; they must be those of this very network."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no teacher at {path}: give a checkpoint (*.ckpt) of a run of the same task, or leave `teacher` "
            "out to train one first."
        )
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in weights.items()}
    if ours != theirs:
        other = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        raise ValueError(
            f"the teacher at {path} is another network than {type(module).__name__}: {other[0]!r} has the shape "
            f"{theirs.get(other[0], 'none')} there and {ours.get(other[0], 'none')} here."
        )
    return weights


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every part in evaluation mode, and afterwards in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}
