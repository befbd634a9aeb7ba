"""Calls a network's forward with a batch, as the batch and the signature suggest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

#: ``(module, batch) -> anything``: a forward pass of one's own.
ProbeStep = Callable[[nn.Module, Any], Any]

_HOW = (
    "Say how to run it on a batch: define probe_step(self, batch) on the module, or pass "
    "GWSimilarity(probe_step=function) with function(module, batch). What it returns is ignored."
)


def call_forward(module: nn.Module, batch: Any, probe_step: ProbeStep | None = None) -> Any:
    """Run the network on a batch. Never a ``*_step``: those log, count and may change what they please.

    A `probe_step` argument comes first, then the module's own method ``probe_step(batch)``, then ``forward``:

    - a mapping is passed by keyword, as far as forward has parameters of those names (all of it, if forward takes
      ``**kwargs``); whole, if forward takes a single argument of another name;
    - of a tuple or list, forward gets as many leading elements as it *requires* arguments, at least one, so that
      ``(inputs, labels)`` loses its labels; whole, if forward's one parameter is called ``batch``;
    - anything else is passed as it is.

    Args:
        module: The network, usually the LightningModule.
        batch: One batch, on the module's device.
        probe_step: ``(module, batch) -> anything``, to call instead.

    Raises:
        NotImplementedError: If there is no forward to call.
        TypeError: If the batch cannot be matched to forward's parameters; the message names both.
    """
    if probe_step is not None:
        return probe_step(module, batch)
    own = getattr(module, "probe_step", None)
    if callable(own):
        return own(batch)
    if not _has_forward(module):
        raise NotImplementedError(f"{type(module).__name__} defines no forward. {_HOW}")
    positional, keyword = _arguments(module, batch)
    return module(*positional, **keyword)


def _has_forward(module: nn.Module) -> bool:
    if "forward" in vars(module):  # put there by torch.compile
        return True
    home = getattr(type(module).forward, "__module__", "")
    return not (home.startswith("torch.nn.") and type(module).forward is nn.Module.forward) and not (
        home.endswith(".core.module") and home.split(".")[0] in ("pytorch_lightning", "lightning")
    )


def _arguments(module: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if positional and positional[0].name == "batch" and len(required) <= 1:
        return (batch,), {}
    if isinstance(batch, Mapping):
        return _from_mapping(module, batch, list(parameters))
    if isinstance(batch, list | tuple):
        count = max(1, len(required))
        if len(batch) < count:
            raise TypeError(
                f"{type(module).__name__}.forward requires {count} arguments "
                f"({', '.join(p.name for p in required)}), but the batch has {len(batch)} elements. {_HOW}"
            )
        if count == 1 and isinstance(batch[0], Mapping):
            return _from_mapping(module, batch[0], list(parameters))
        return tuple(batch[:count]), {}
    return (batch,), {}


def _from_mapping(
    module: nn.Module, batch: Mapping[Any, Any], parameters: list[inspect.Parameter]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in by_name if p.default is p.empty]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    missing = [name for name in required if name not in batch]
    if not missing:
        names = {p.name for p in by_name}
        accepted = {key: value for key, value in batch.items() if isinstance(key, str) and (takes_all or key in names)}
        if accepted:
            return (), accepted
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if positional and len(required) <= 1 and missing in ([], [positional[0].name]):
        return (batch,), {}
    raise TypeError(
        f"{type(module).__name__}.forward requires {', '.join(missing) or 'other arguments'}, which the batch, a "
        f"mapping with the keys {', '.join(map(str, batch))}, does not hold. {_HOW}"
    )
