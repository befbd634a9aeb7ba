"""Layers taken out of a network for good, what stands in their places, and checkpoints of what is left."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_gw.activations.layers.names import named_layers
from lightning_gw.interventions.identity import Identity, SkipError

#: Key of a dropped layer in the state of a network, after its name.
_MARK = "_extra_state"
_KINDS: dict[str, type] = {"tensor": Tensor, "tuple": tuple, "list": list, "dict": dict}
#: What a child is called that ``torch.compile`` wrapped.
_WRAPPED = "_orig_mod"
_BEFORE = "was saved before layers were removed from this network"


class DroppedLayer(nn.Module):
    """Stands in the place of a layer that was removed, and passes its state on.

    It has no weights. That it is there is part of the network's ``state_dict``, so that a checkpoint of a network with
    removed layers says which (see `expect_dropped_layers`).

    Args:
        identity: What the layer is to return.
        attributes: Plain values that others may read of the layer, such as its index.
        name: What messages call it.

    Raises:
        AttributeError: If anything else is read of it; the message names the layer.
    """

    def __init__(self, identity: Identity, attributes: Mapping[str, Any] | None = None, name: str = "") -> None:
        super().__init__()
        self._name = name
        self._identity = identity
        for attribute, value in (attributes or {}).items():
            setattr(self, attribute, value)
        self._attributes = dict(attributes or {})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The state as it came; in evaluation a copy, by which the place of the layer in the flow of data shows."""
        if not self.training:
            state = self._identity.state
            args = tuple(value.clone() if place == state else value for place, value in enumerate(args))
            kwargs = {name: value.clone() if name == state else value for name, value in kwargs.items()}
        return self._identity.forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise AttributeError(
                f"Layer {vars(self).get('_name', '')!r} was removed, and the network reads {name!r} of it. Leave this "
                "layer in: name others with DropLayers(layers=[...])."
            ) from error

    def get_extra_state(self) -> dict[str, Any]:
        """Plain values from which it can be made again."""
        kind = next(name for name, kind in _KINDS.items() if kind is self._identity.kind)
        items = [[place, argument] for place, argument in self._identity.items.items()]
        return {
            "dropped": {"state": self._identity.state, "kind": kind, "items": items},
            "attributes": self._attributes,
        }

    def set_extra_state(self, state: Any) -> None:
        """Take up what `get_extra_state` gave."""
        made = dropped_from(state)
        self._identity, self._attributes = made._identity, made._attributes

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if prefix + _MARK in state_dict:
            super()._load_from_state_dict(
                state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
            )
        elif strict and not any(_BEFORE in said for said in error_msgs):
            error_msgs.append(
                f"The state {_BEFORE}, {prefix.removesuffix('.')!r} among them. Load it into one that is built anew."
            )


def dropped_from(state: Mapping[str, Any], name: str = "") -> DroppedLayer:
    """Make a `DroppedLayer` of its extra state."""
    told = state["dropped"]
    identity = Identity(told["state"], _KINDS[told["kind"]], {place: argument for place, argument in told["items"]})
    return DroppedLayer(identity, state.get("attributes"), name)


def drop_layers(
    module: nn.Module, identities: Mapping[str, Identity], undo: ExitStack | None = None
) -> list[nn.Parameter]:
    """Remove layers from a network for good; others keep their names and indices.

    Args:
        module: The network.
        identities: Name of a layer to what stands in its place, as `learning_identities` learns it.
        undo: Takes up what puts the layers back when it is closed.

    Returns:
        Parameters that are in the network no more.

    Raises:
        SkipError: If a layer packs its output in a way that no checkpoint can hold.
    """
    before = list(module.parameters())
    for parent, key, layer in _put_in_place(module, identities):
        if undo is not None:
            undo.callback(parent._modules.__setitem__, key, layer)
    left = {id(parameter) for parameter in module.parameters()}
    return [parameter for parameter in before if id(parameter) not in left]


def _put_in_place(module: nn.Module, identities: Mapping[str, Identity]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace each layer, and what ``torch.compile`` wrapped around it; gives who held it, under which name, and it."""
    for name, identity in identities.items():
        if identity.kind not in _KINDS.values():
            kind = identity.kind.__name__
            raise SkipError(
                f"Layer {name!r} cannot be removed: it packs its output as {kind}, which no checkpoint can say."
            )
    named = named_layers(module)
    made = {id(named[name]): DroppedLayer(identity, _plain(named[name]), name) for name, identity in identities.items()}
    for name in identities:
        made[id(named[name])].training = named[name].training
    were = []
    for parent in list(module.modules()):
        for key, child in list(parent._modules.items()):
            # A wrapper goes on running what it has compiled, whatever is put inside it.
            if child is not None and key != _WRAPPED and id(inside := _unwrapped(child)) in made:
                were.append((parent, key, child))
                parent._modules[key] = made[id(inside)]
    return were


def _unwrapped(child: nn.Module) -> nn.Module:
    while isinstance(inside := child._modules.get(_WRAPPED), nn.Module):
        child = inside
    return child


def _plain(layer: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(layer).items() if not name.startswith("_") and name != "training"}
    return {name: value for name, value in own.items() if isinstance(value, str | int | float | bool)}


def expect_dropped_layers(module: nn.Module) -> RemovableHandle:
    """Have ``load_state_dict`` remove the layers that the network whose state it loads had lost.

    To be called before a checkpoint of such a network is loaded into one that is whole. `DropLayers` does it by itself.

    Returns:
        Its ``remove()`` ends that.
    """

    def make_room(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for key, value in state.items():
            name = key.removeprefix(prefix).removesuffix("." + _MARK)
            if key == f"{prefix}{name}.{_MARK}" and isinstance(value, Mapping) and "dropped" in value:
                parent, _, child = name.rpartition(".")
                children = module.get_submodule(parent)._modules
                if not isinstance(children[child], DroppedLayer):
                    children[child] = dropped_from(value, name)

    return module.register_load_state_dict_pre_hook(make_room)
