"""The ways in which a network may be run on a batch, in the order in which they are tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_gw.activations.probe.batches import leaves
from lightning_gw.utilities.errors import ArgumentError, near_names, sentence

#: ``(module, batch) -> anything``, a forward pass of one's own; or the name of a method of the module.
ProbeStep = Callable[[nn.Module, Any], Any] | str

#: Steps that Lightning calls with a batch and its number.
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


#: What Lightning calls before the first validation step.
BEGINNINGS = ("on_validation_start", "on_validation_epoch_start")


@dataclass(frozen=True)
class Way:
    """One way of running a network on a batch.

    Attributes:
        name: What records call it.
        run: ``(module, batch) -> anything``; of any module of the same class.
        asked: Whether the user asked for this one.
    """

    name: str
    run: Callable[[nn.Module, Any], Any]
    asked: bool = False


def ways_to_run(module: nn.Module, probe_step: ProbeStep | None = None) -> list[Way]:
    """The ways in which a network may be run, the first to be tried first.

    `probe_step` comes first, then the module's own method ``probe_step(batch)``, then its ``validation_step``, which
    Lightning calls with just such a batch (once more with its hooks for the start of validation before it), then
    ``forward`` as the batch suggests (see `call_as_suggested`), and ``predict_step``. What the module does not define
    is not among them.

    Args:
        module: The network, usually the LightningModule.
        probe_step: ``function(module, batch)``, or the name of a method of the module. Lightning's steps are called as
            Lightning calls them, other methods as the batch suggests.

    Raises:
        ArgumentError: If the module has no method of that name.
    """
    ways = []
    if isinstance(probe_step, str):
        method = getattr(module, probe_step, None)
        if not callable(method):
            own = [name for name in dir(type(module)) if not name.startswith("_") and defines(module, name)]
            raise ArgumentError(
                sentence(
                    f"probe_step={probe_step!r} names no method of {type(module).__name__}.",
                    near_names(probe_step, own),
                )
            )
        ways.append(Way(f"probe_step={probe_step!r}", _method(probe_step), asked=True))
    elif probe_step is not None:
        name = getattr(probe_step, "__qualname__", type(probe_step).__name__)
        ways.append(Way(f"probe_step={name}", probe_step, asked=True))
    if callable(getattr(module, "probe_step", None)):
        ways.append(Way("probe_step", lambda module, batch: module.probe_step(batch)))  # type: ignore[operator]
    if defines(module, "validation_step"):
        ways.append(Way("validation_step", _method("validation_step")))
        if begins := [hook for hook in BEGINNINGS if defines(module, hook)]:  # which may make what the step takes up
            ways.append(Way(f"validation_step after {' and '.join(begins)}", _begun(begins)))
    forward = defines(module, "forward")
    if forward:
        ways.append(Way("forward", _method("forward")))
    if defines(module, "predict_step") or (forward and hasattr(module, "predict_step")):
        ways.append(Way("predict_step", _method("predict_step")))
    return ways


def first_tensor_ways(module: nn.Module) -> list[Way]:
    """``forward`` of a batch's first tensor of numbers with a fraction alone, such as the first of several views."""
    return [Way("forward, of the first tensor", _of_the_first_tensor)] if defines(module, "forward") else []


def training_way(module: nn.Module) -> Way | None:
    """The ``training_step``, which is never taken unasked, since it may change what it pleases."""
    return Way("training_step", _method("training_step")) if defines(module, "training_step") else None


def defines(module: nn.Module, method: str) -> bool:
    """Whether a module has a method that is not merely Lightning's or PyTorch's placeholder for it."""
    compiled = getattr(module, "_compiler_ctx", None) is not None  # which puts all of them into the module itself
    if method in vars(module) and (method == "forward" or not compiled):
        return True
    of_class = getattr(type(module), method, None)
    home = getattr(of_class, "__module__", "") or ""
    lightnings = home.endswith((".core.module", ".core.hooks")) and home.split(".")[0] in (
        "pytorch_lightning",
        "lightning",
    )
    return callable(of_class) and of_class is not nn.Module.forward and not lightnings


def call_forward(module: nn.Module, batch: Any) -> Any:
    """Run a network's forward on a batch; see `call_as_suggested`."""
    return call_as_suggested(module, module.forward, batch, type(module).__name__)


def call_as_suggested(call: Callable[..., Any], signed: Callable[..., Any], batch: Any, name: str) -> Any:
    """Call a function with what of a batch its parameters suggest.

    - a mapping is passed by keyword, as far as there are parameters of those names (all of it, if there is
      ``**kwargs``); whole, if there is a single parameter of another name;
    - of a tuple or list, as many leading elements are passed as arguments are *required*, at least one, so that
      ``(inputs, labels)`` loses its labels; whole, if the one parameter is called ``batch``;
    - anything else is passed as it is.

    Args:
        call: What is called.
        signed: What has its signature.
        batch: One batch, on the module's device.
        name: What errors call it.

    Raises:
        TypeError: If the batch cannot be matched to the parameters; the message names both.
    """
    positional, keyword = _arguments(signed, batch, name)
    return call(*positional, **keyword)


def _method(name: str) -> Callable[[nn.Module, Any], Any]:
    def run(module: nn.Module, batch: Any) -> Any:
        if name == "forward":
            return call_forward(module, batch)
        method = getattr(module, name)
        if name in _STEPS:
            return call_step(method, batch)
        return call_as_suggested(method, method, batch, f"{type(module).__name__}.{name}")

    return run


def _of_the_first_tensor(module: nn.Module, batch: Any) -> Any:
    inputs = [leaf for _, leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim()]
    given = batch[:1] if isinstance(batch, list | tuple) else [batch]
    if not inputs or any(inputs[0] is one for one in given):
        raise TypeError("there is no other than forward was given")
    required = [p for p in inspect.signature(module.forward).parameters.values() if p.default is p.empty]
    if sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in required) > 1:
        raise TypeError("forward takes more than one tensor")
    return module.forward(inputs[0])


def _begun(hooks: list[str]) -> Callable[[nn.Module, Any], Any]:
    step = _method("validation_step")

    def run(module: nn.Module, batch: Any) -> Any:
        for hook in hooks:
            getattr(module, hook)()
        return step(module, batch)

    return run


def call_step(step: Callable[..., Any], batch: Any, index: int = 0) -> Any:
    """Call one of Lightning's steps as Lightning does: with the number of the batch, and of its loader, if it asks."""
    parameters = inspect.signature(step).parameters
    places = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if "dataloader_iter" in parameters:
        raise TypeError("it draws its batches itself, from dataloader_iter")
    takes_all = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    positional = [batch, index] if len(places) > 1 or takes_all else [batch]
    taken = [p.name for p in places[: len(positional)]]
    named = {"batch_idx": index, "dataloader_idx": 0}
    keyword = {name: value for name, value in named.items() if name in parameters and name not in taken}
    return step(*positional, **keyword)


def _arguments(signed: Callable[..., Any], batch: Any, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    parameters = inspect.signature(signed).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if positional and positional[0].name == "batch" and len(required) <= 1:
        return (batch,), {}
    if [p.name for p in required] == ["batch", "batch_idx"]:
        return (batch, 0), {}
    if isinstance(batch, Mapping):
        return _from_mapping(batch, list(parameters), name)
    if isinstance(batch, list | tuple):
        count = max(1, len(required))
        if len(batch) < count:
            raise TypeError(
                f"{name} requires {count} arguments ({', '.join(p.name for p in required)}), but the batch has "
                f"{len(batch)} elements."
            )
        if count == 1 and isinstance(batch[0], Mapping):
            return _from_mapping(batch[0], list(parameters), name)
        return tuple(batch[:count]), {}
    return (batch,), {}


def _from_mapping(
    batch: Mapping[Any, Any], parameters: list[inspect.Parameter], name: str
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
        f"{name} requires {', '.join(missing) or 'other arguments'}, which the batch, a mapping with the keys "
        f"{', '.join(map(str, batch))}, does not hold."
    )
