"""What a strategy needs of the task it is attached to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn


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


@runtime_checkable
class RatedTask(LayeredTask, Protocol):
    """A layered task whose optimizer gives each layer a rate of its own.

    Attributes:
        layer_rates: Factors of the learning rate, of the stem and then of each layer; empty for the same everywhere.
    """

    layer_rates: tuple[float, ...]


@runtime_checkable
class GuidedTask(LayeredTask, Protocol):
    """A layered task whose training loss a strategy can replace.

    Its ``forward`` takes the first item of a batch, or all items of a batch that is a mapping, by name; it returns
    logits, or a mapping of logits.

    Attributes:
        objective: Batch to training loss, in the place of the task's own; None for its own.
    """

    objective: Callable[[Any], Tensor] | None

    def loss_and_logits(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """The task's own loss, and the logits of every readout that ``forward`` returns, in its order."""


@runtime_checkable
class ComposableTask(StagedTask, GuidedTask, Protocol):
    """A staged task whose blocks can be run apart from each other, on states that somebody else made.

    Its batches are pairs of inputs and answers, int64 of shape ``(B, stages)``.
    """

    @property
    def moduli(self) -> tuple[int, ...]:
        """Classes of each stage."""

    def pooled(self, state: Tensor) -> Tensor:
        """What heads read of a state: ``(B, d)``."""

    def spread(self, state: Tensor, code: Tensor) -> Tensor:
        """The state that heads read as ``pooled(state) + code``; the code has the shape ``(B, d)``."""


@runtime_checkable
class PretrainedTask(LayeredTask, Protocol):
    """A layered task that starts from weights somebody else trained."""

    @property
    def pretrained(self) -> nn.Module:
        """The part that was trained before."""


Task = TypeVar("Task")


def required(strategy: Callback, module: LightningModule, task_type: type[Task]) -> Task:
    """Returns the module as a task of this type; the TypeError otherwise names strategy, task and what is missing."""
    if not isinstance(module, task_type):
        raise TypeError(_mismatch(strategy, module, task_type))
    return module


def layered(strategy: Callback, module: LightningModule) -> LayeredTask:
    """Returns the module as a layered task; the TypeError otherwise names strategy, task and what is missing."""
    return required(strategy, module, LayeredTask)  # type: ignore[type-abstract]


def staged(strategy: Callback, module: LightningModule) -> StagedTask:
    """Returns the module as a staged task; the TypeError otherwise names strategy, task and what is missing."""
    return required(strategy, module, StagedTask)  # type: ignore[type-abstract]


def block_of_layers(strategy: Callback, task: LayeredTask, first: int, last: int | None) -> range:
    """Places of the layers `first` to `last`, both in it, from 0; raises a ValueError unless there are such layers."""
    count = len(task.layers)
    end = count - 1 if last is None else last
    if not 0 <= first <= end < count:
        raise ValueError(
            f"strategy {type(strategy).__name__} was given first={first} and last={last}, but the layers of task "
            f"{type(task).__name__} are 0 to {count - 1}."
        )
    return range(first, end + 1)


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
