"""What a strategy needs of the task it is attached to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pytorch_lightning import Callback, LightningModule
from torch import nn


@runtime_checkable
class LayeredTask(Protocol):
    """A LightningModule that says what its layers are."""

    @property
    def stem(self) -> nn.Module:
        """What comes before the first layer, such as the embeddings."""

    @property
    def layers(self) -> nn.ModuleList:
        """The repeated layers, first to last."""


@runtime_checkable
class StagedTask(LayeredTask, Protocol):
    """A layered task with one planted stage per layer, which can be read after any of them."""

    stage_of_layer: tuple[int, ...]
    schedule_starts: tuple[int, ...]

    @property
    def heads(self) -> nn.ModuleList:
        """One readout per layer."""

    def supervise(self, heads: Mapping[int, int]) -> None:
        """Reads and trains these heads (layer to stage), and no others."""


def layered(strategy: Callback, module: LightningModule) -> LayeredTask:
    """Returns the module as a layered task; the TypeError otherwise names strategy, task and what is missing."""
    if not isinstance(module, LayeredTask):
        raise TypeError(_mismatch(strategy, module, LayeredTask))
    return module


def staged(strategy: Callback, module: LightningModule) -> StagedTask:
    """Returns the module as a staged task; the TypeError otherwise names strategy, task and what is missing."""
    if not isinstance(module, StagedTask):
        raise TypeError(_mismatch(strategy, module, StagedTask))
    return module


def _mismatch(strategy: Callback, module: LightningModule, task_type: type) -> str:
    offered = set(dir(module))
    missing = ", ".join(f"`{name}`" for name in _members(task_type) if name not in offered)
    return (
        f"strategy {type(strategy).__name__} cannot serve task {type(module).__name__}: "
        f"it needs a {task_type.__name__}, and the task has no {missing}."
    )


def _members(task_type: type) -> list[str]:
    """Names that a protocol asks for, inherited ones first."""
    names: dict[str, None] = {}
    for base in reversed(task_type.__mro__):
        if getattr(base, "_is_protocol", False):
            own = [*getattr(base, "__annotations__", {}), *vars(base)]
            names.update(dict.fromkeys(name for name in own if not name.startswith("_")))
    return list(names)


def stage_ends(task: StagedTask) -> dict[int, int]:
    """The last layer of every planted block, with its stage."""
    last = {stage: layer for layer, stage in enumerate(task.stage_of_layer)}
    return {layer: stage for stage, layer in last.items()}


def split_layers(strategy: Callback, task: LayeredTask, lower: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The lowest layers and the ones above them; raises a ValueError unless there is at least one of each."""
    layers = list(task.layers)
    if not 0 < lower < len(layers):
        raise ValueError(
            f"strategy {type(strategy).__name__} was given layers={lower}, but task {type(task).__name__} has "
            f"{len(layers)} layers: choose 1 to {len(layers) - 1}."
        )
    return layers[:lower], layers[lower:]
