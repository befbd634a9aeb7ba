"""Layers replaced by the identity: what they would have changed is passed on as it came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lightning_gw.activations.layers.names import named_layers
from lightning_gw.activations.layers.outputs import first_tensor
from lightning_gw.utilities.errors import LookError

#: An argument of a call: its position, or its keyword.
Argument = int | str


class SkipError(LookError):
    """A layer cannot be left out; the message says which, and why."""


@dataclass(frozen=True)
class Identity:
    """What a layer is to return that passes its state on, learnt from one of its calls.

    The state is the layer's first tensor. What it returns beside it is known where it is nothing, or something that the
    layer was called with and handed on, such as a position bias or a cache.

    Attributes:
        state: Argument that the state came in.
        kind: How the output is packed: ``Tensor``, ``tuple``, ``list``, or the class of a mapping.
        items: Of a packed output, argument that each item came in, or None for items that are None; by place or key.
    """

    state: Argument
    kind: Any = Tensor
    items: Mapping[Any, Argument | None] = field(default_factory=dict)

    @staticmethod
    def of(args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Identity | str:
        """The identity in the place of a layer that gave `output`; or why there is none, in words."""
        found, out = state_argument(args, kwargs), first_tensor(output)
        if found is None or out is None:
            return "it takes no tensor" if found is None else f"it puts out a {type(output).__name__} without a tensor"
        state, came = found
        if not came.is_floating_point() or not out.is_floating_point():
            return f"it turns {came.dtype} into {out.dtype}".replace("torch.", "")
        if came.shape != out.shape:
            return f"it changes the shape {_shape(came)} into {_shape(out)}"
        if isinstance(output, Tensor):
            return Identity(state)
        if not isinstance(output, tuple | list | Mapping):
            return f"it packs its output as {type(output).__name__}"
        return _packed(_arguments(args, kwargs), state, output, out)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer would return if it changed nothing."""
        found = {place: None if name is None else _taken(name, args, kwargs) for place, name in self.items.items()}
        if self.kind is Tensor:
            return _taken(self.state, args, kwargs)
        if issubclass(self.kind, Mapping):
            return self.kind(**found)
        values = [found[place] for place in sorted(found)]
        return self.kind(*values) if hasattr(self.kind, "_fields") else self.kind(values)


def state_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Argument, Tensor] | None:
    """The first tensor that a layer is called with, and the argument it comes in; None where there is none."""
    arguments = _arguments(args, kwargs).items()
    return next(((name, value) for name, value in arguments if isinstance(value, Tensor)), None)


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Argument, Any]:
    named: dict[Argument, Any] = dict(enumerate(args))
    named.update(kwargs)
    return named


def _packed(arguments: Mapping[Argument, Any], state: Argument, output: Any, out: Tensor) -> Identity | str:
    packed = output.items() if isinstance(output, Mapping) else enumerate(output)
    items: dict[Any, Argument | None] = {}
    for place, item in packed:
        if item is out:
            items[place] = state
        elif item is None:
            items[place] = None
        else:
            handed_on = [name for name, value in arguments.items() if value is item]
            if not handed_on:
                return (
                    f"beside its state it puts out {_what(item)} of its own, which the rest of the network may need "
                    "(turn caches and auxiliary outputs off, such as use_cache=False)"
                )
            items[place] = handed_on[0]
    if state not in items.values():
        return "its state is nested in its output"
    return Identity(state, type(output), items)


def _taken(name: Argument, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if isinstance(name, int):
        if name < len(args):
            return args[name]
        raise SkipError(
            f"A layer that is left out was called with {len(args)} arguments, and argument {name} is needed."
        )
    if name not in kwargs:
        raise SkipError(f"A layer that is left out was called without {name!r}, which is passed on in its place.")
    return kwargs[name]


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape[1:])) or "()"


def _what(item: Any) -> str:
    return f"a tensor of shape {tuple(item.shape)}" if isinstance(item, Tensor) else f"a {type(item).__name__}"


@contextmanager
def learning_identities(module: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Identity | str]]:
    """Watch the calls of layers, and learn what would be the identity in the place of each.

    Args:
        module: The network, for messages.
        layers: Name to layer.

    Yields:
        A mapping that fills as the network runs: name to the identity, or to why there is none.
    """
    found: dict[str, Identity | str] = {}

    def watch(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if isinstance(found.get(name), str):
            return
        here = Identity.of(args, kwargs, output)
        alike = isinstance(here, str) or found.setdefault(name, here) == here
        found[name] = here if alike else "it is called in different ways"

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hook = layer.register_forward_hook(
                lambda _, args, kwargs, output, name=name: watch(name, args, kwargs, output), with_kwargs=True
            )
            hooks.callback(hook.remove)
        yield found
    for name in layers:
        found.setdefault(name, f"{type(module).__name__}.forward never calls it")


@contextmanager
def replaced(module: nn.Module, identities: Mapping[str, Identity]) -> Iterator[None]:
    """Inside, these layers pass their state on; afterwards they are what they were, also after an error.

    Weights, buffers and modes are not touched: only what a call of the layer runs is.

    Args:
        module: The network.
        identities: Name of a layer, as `named_layers` has it, to what is run in its place.

    Raises:
        SkipError: If a layer's ``forward`` cannot be replaced, as that of compiled TorchScript cannot.
    """
    named = named_layers(module)
    with ExitStack() as stack:
        for name, identity in identities.items():
            layer = named[name]
            own = vars(layer).get("forward")  # what torch.compile or a library has put there
            try:
                layer.forward = identity.forward
            except Exception as error:
                raise SkipError(f"Layer {name!r}, a {type(layer).__name__}, cannot be left out: {error}") from error
            stack.callback(_put_back, layer, own)
        yield


def _put_back(layer: nn.Module, own: Any) -> None:
    if own is None:
        del layer.forward
    else:
        layer.forward = own
