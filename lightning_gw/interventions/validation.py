"""A module's own validation, run by hand: what it would log for these batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_gw.activations.probe.batches import count_rows
from lightning_gw.activations.running.forward import BEGINNINGS, call_step, defines
from lightning_gw.utilities.errors import near_names, sentence

#: ``(module, batch) -> number``: a metric of one's own, the mean over the inputs of a batch.
Metric = Callable[[nn.Module, Any], Any]
#: Parts of the names of metrics of which less is better.
_LOSSES = ("loss", "err", "perplexity", "ppl", "nll", "mse", "mae", "entropy")
#: Words that such a name is, or holds.
_ERRORS = {"wer", "cer", "ter", "fid", "kid", "lpips", "ece", "brier", "bpb", "bpc"}
#: Name of what ``validation_step`` returns.
RETURNED = "validation_step"


@dataclass
class Logged:
    """One metric over several batches.

    Attributes:
        values: Per batch; a single one where it was computed over all batches at once.
        rows: Inputs behind each of them.
    """

    values: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Over inputs."""
        return float(np.average(self.values, weights=self.rows))

    def rise_since(self, before: Logged) -> tuple[float, float]:
        """How much it rose on the same batches, and the standard error of that; NaN where there is one value only."""
        rises: NDArray[np.float64] = np.subtract(self.values, before.values)
        if len(rises) < 2:
            return float(rises.mean()), float("nan")
        weights = np.array(self.rows) / np.sum(self.rows)
        mean = float(weights @ rises)
        return mean, float(np.sqrt((weights**2) @ (rises - mean) ** 2 * len(rises) / (len(rises) - 1)))


def validate(
    module: Any, batches: Sequence[Any], prepare: Callable[[Any], Any], metric: Metric | None = None
) -> dict[str, Logged]:
    """Run batches through a module's ``validation_step`` and gather what it logs, and what it returns.

    Logged numbers are averaged over inputs, torchmetrics are reset before and computed after all batches. To be called
    inside `activations.isolation.undisturbed`, which puts back what this changes.

    Args:
        module: The network.
        batches: Inputs with what belongs to them.
        prepare: Batch to batch on the module's device.
        metric: Called in place of ``validation_step``.

    Returns:
        Metrics by name.

    Raises:
        ValueError: If there is neither a metric nor a ``validation_step``, or it gives no number.
    """
    found: dict[str, Logged] = {}
    whole: dict[str, Any] = {}

    def keep(name: str, value: Any, rows: int) -> None:
        if callable(getattr(value, "compute", None)):
            whole[name] = value
        elif not isinstance(value, Tensor) or value.numel() == 1:
            logged = found.setdefault(name, Logged())
            logged.values.append(float(value))
            logged.rows.append(rows)

    if metric is not None:
        for batch in batches:
            keep(_name(metric), metric(module, prepare(batch)), count_rows(batch))
    else:
        _run_validation(module, batches, prepare, keep)
    for name, computed in whole.items():
        value = computed.compute()
        if isinstance(value, Tensor) and value.numel() == 1:
            found[name] = Logged([float(value)], [1])
    if not found:
        raise ValueError(
            f"{_name(metric or type(module))} gives no number for a batch, so there is none whose rise could be told. "
            "Let validation_step log a loss, or pass metric=function with function(module, batch) -> number."
        )
    return found


def _run_validation(
    module: Any, batches: Sequence[Any], prepare: Callable[[Any], Any], keep: Callable[[str, Any, int], None]
) -> None:
    if not defines(module, "validation_step"):
        raise ValueError(
            f"{type(module).__name__} defines no validation_step, so it has no metric whose rise could be told. Define "
            "one that logs a loss, or pass metric=function with function(module, batch) -> number."
        )
    logging = [child for child in module.modules() if hasattr(child, "log") and hasattr(child, "log_dict")]
    for child in module.modules():
        if all(callable(getattr(child, name, None)) for name in ("reset", "update", "compute")):
            child.reset()
    for hook in BEGINNINGS:
        if defines(module, hook):
            getattr(module, hook)()
    for index, batch in enumerate(batches):
        log = _Log(keep, count_rows(batch))
        for child in logging:
            vars(child)["log"], vars(child)["log_dict"] = log.one, log.several
        returned = call_step(module.validation_step, prepare(batch), index)
        returned = returned.get("loss") if isinstance(returned, Mapping) else returned
        if returned is not None:
            log.one(RETURNED, returned)
    if defines(module, "on_validation_epoch_end"):
        module.on_validation_epoch_end()


@dataclass(frozen=True)
class _Log:
    """Stands in for ``self.log`` and ``self.log_dict`` during one batch."""

    keep: Callable[[str, Any, int], None]
    rows: int

    def one(self, name: str, value: Any, *_: Any, batch_size: int | None = None, **__: Any) -> None:
        self.keep(name, value, batch_size or self.rows)

    def several(self, values: Mapping[str, Any], *_: Any, batch_size: int | None = None, **__: Any) -> None:
        for name, value in values.items():
            self.keep(name, value, batch_size or self.rows)


def choose_metric(found: Mapping[str, Any], monitor: str | None) -> str:
    """The metric that is asked for; without one the first loss among them, else what is returned, else the first.

    Raises:
        ValueError: If the one that is asked for was not logged.
    """
    if monitor is None:
        losses = [name for name in found if lower_is_better(name) and name != RETURNED]
        return [*losses, *(name for name in found if name == RETURNED), *found][0]
    if monitor not in found:
        raise ValueError(
            sentence(
                f"The module's validation logs no {monitor!r}; it logs {', '.join(found)}.",
                near_names(monitor, found, dotted=False),
            )
        )
    return monitor


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better, by its name."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return name == RETURNED or bool(words & _ERRORS) or any(part in name.lower() for part in _LOSSES)


def watched_modes(callbacks: Iterable[Any]) -> dict[str, str]:
    """Whether less or more is better of the metrics that checkpoints are kept or training is stopped by."""
    told = {getattr(one, "monitor", None): getattr(one, "mode", None) for one in callbacks}
    return {name: mode for name, mode in told.items() if name is not None and mode in ("min", "max")}


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
