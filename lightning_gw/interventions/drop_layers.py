"""Removing the interior of a group, and training on: prune and heal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from lightning_gw.activations.layers.names import match_layers, named_layers
from lightning_gw.groups.choice import NoGroupError
from lightning_gw.interventions.identity import Identity, SkipError, learning_identities
from lightning_gw.interventions.live import (
    check_share,
    choose_from,
    modules_of,
    recorded,
    refuse_rivals,
    refuse_unprepared,
    release,
    same_everywhere,
    share_of_steps,
    watcher_of,
)
from lightning_gw.utilities.calls import module_of

#: Key of a dropped layer in the state of a network, after its name.
_MARK = "_extra_state"
_KINDS: dict[str, type] = {"tensor": Tensor, "tuple": tuple, "list": list, "dict": dict}


class DroppedLayer(nn.Module):
    """Stands in the place of a layer that was removed, and passes its state on.

    It has no weights. That it is there is part of the network's ``state_dict``, so that a checkpoint of a network with
    removed layers says which (see `expect_dropped_layers`).

    Args:
        identity: What the layer is to return.
        attributes: Plain values that others may read of the layer, such as its index.
    """

    def __init__(self, identity: Identity, attributes: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._identity = identity
        for name, value in (attributes or {}).items():
            setattr(self, name, value)
        self._attributes = dict(attributes or {})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The state as it came."""
        return self._identity.forward(*args, **kwargs)

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


def dropped_from(state: Mapping[str, Any]) -> DroppedLayer:
    """Make a `DroppedLayer` of its extra state."""
    told = state["dropped"]
    identity = Identity(told["state"], _KINDS[told["kind"]], {place: argument for place, argument in told["items"]})
    return DroppedLayer(identity, state.get("attributes"))


def drop_layers(module: nn.Module, identities: Mapping[str, Identity]) -> list[nn.Parameter]:
    """Remove layers from a network for good; others keep their names and indices.

    Args:
        module: The network.
        identities: Name of a layer to what stands in its place, as `learning_identities` learns it.

    Returns:
        Parameters that are in the network no more.

    Raises:
        SkipError: If a layer packs its output in a way that no checkpoint can hold.
    """
    for name, identity in identities.items():
        if identity.kind not in _KINDS.values():
            kind = identity.kind.__name__
            raise SkipError(
                f"Layer {name!r} cannot be removed: it packs its output as {kind}, which no checkpoint can say."
            )
    before = list(module.parameters())
    named = named_layers(module)
    gone = {id(named[name]): DroppedLayer(identity, _plain(named[name])) for name, identity in identities.items()}
    for name in identities:
        gone[id(named[name])].training = named[name].training
    for parent in list(module.modules()):
        for key, child in list(parent._modules.items()):
            if id(child) in gone:
                parent._modules[key] = gone[id(child)]
    left = {id(parameter) for parameter in module.parameters()}
    return [parameter for parameter in before if id(parameter) not in left]


def _plain(layer: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(layer).items() if not name.startswith("_") and name != "training"}
    return {name: value for name, value in own.items() if isinstance(value, str | int | float | bool)}


def expect_dropped_layers(module: nn.Module) -> None:
    """Have ``load_state_dict`` remove the layers that the network whose state it loads had lost.

    To be called before a checkpoint of such a network is loaded into one that is whole. `DropLayers` does it by itself.
    """

    def make_room(module: nn.Module, state: dict[str, Any], *rest: Any) -> None:
        for key, value in state.items():
            if key.endswith("." + _MARK) and isinstance(value, Mapping) and "dropped" in value:
                parent, _, name = key.removesuffix("." + _MARK).rpartition(".")
                children = module.get_submodule(parent)._modules
                if not isinstance(children[name], DroppedLayer):
                    children[name] = dropped_from(value)

    module.register_load_state_dict_pre_hook(make_room)


class DropLayers(Callback):
    """Removes the interior of a group after a share of the training, and trains what is left on.

    The interior is all layers of the group but the first. Names and indices of the others stay, a removed layer's place
    is taken by a `DroppedLayer`, and its parameters leave the optimizers. A run that is resumed, or a checkpoint that
    `lightning-gw replay` or `skip-test` reads with the same config, has lost the same layers.

    Where there is no group to be relied on in this training's own looks, it says so and removes nothing. Layers that
    do not keep their shape, or that put out something of their own beside the state, are errors, which leave the
    network as it was. On several processes it needs ``strategy="ddp_find_unused_parameters_true"``.

    Args:
        history: Folder of a run of the same model; None for the looks of a `GWSimilarity` in the same Trainer.
        group: ``"last"``, ``"largest"``, ``"changed-most"``, or a number from 1.
        layers: Names or globs of layers to remove, in place of a group.
        at: Share of the steps after which they are removed, from 0.
        control: Seed; remove as many layers in a row chosen at random in place of the interior.
        anyway: Take a group too that is weak, unstable or built in.

    Attributes:
        dropped: Names of the removed layers.

    Raises:
        ValueError: If an argument is out of range; at the start of ``fit``, if a layer is unknown, or the history is of
            another model or has no group to be relied on.
        SkipError: If a layer cannot be removed.

    Example:
        >>> from lightning_gw import DropLayers
        >>> DropLayers(group="largest", at=0.5).dropped
        ()
    """

    def __init__(
        self,
        history: str | Path | None = None,
        group: str | int = "last",
        layers: Sequence[str] | None = None,
        at: float = 0.5,
        control: int | None = None,
        anyway: bool = False,
    ) -> None:
        super().__init__()
        self.history = history
        self.group = group
        self.layers = None if layers is None else tuple(layers)
        self.at = check_share(at)
        self.control = control
        self.anyway = anyway
        self.dropped: tuple[str, ...] = ()
        self._due: int | None = None
        self._decided = False
        self._learning = ExitStack()
        self._learnt: dict[str, Identity | str] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        expect_dropped_layers(pl_module)
        if stage != "fit":
            return
        refuse_rivals(self, trainer)
        self.dropped, self._due, self._decided = (), None, False
        if self.layers is not None:
            match_layers(pl_module, self.layers)
        elif self.history is not None:
            self._interior(recorded(self.history, pl_module))
        else:
            watcher_of(self, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_unprepared(self, trainer)
        if self._due is None:  # a resumed run keeps its plan
            self._due = share_of_steps(self, trainer, self.at)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._decided or self._due is None or trainer.global_step < self._due:
            return
        self._decided = True
        names = same_everywhere(trainer, self._chosen(trainer, pl_module) if trainer.is_global_zero else None)
        if isinstance(names, str):
            rank_zero_warn(f"DropLayers removes nothing at step {trainer.global_step}: {names}")
            return
        layers = {name: modules_of(pl_module, [name])[0] for name in names}
        # What the layers return beside their state is learnt from the calls of one more step.
        self._learnt = self._learning.enter_context(learning_identities(pl_module, layers))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._learnt is None:
            return
        learnt, self._learnt = self._learnt, None
        self._learning.close()
        if reasons := [f"{name}: {reason}" for name, reason in learnt.items() if isinstance(reason, str)]:
            raise SkipError(f"DropLayers cannot remove {'; '.join(reasons)}.")
        identities = {name: identity for name, identity in learnt.items() if isinstance(identity, Identity)}
        gone = drop_layers(pl_module, identities)
        release(trainer, gone)
        _forget(trainer, gone)
        self.dropped = tuple(identities)
        rank_zero_info(
            f"DropLayers removed {', '.join(identities)} at step {trainer.global_step}, "
            f"{sum(p.numel() for p in gone):,} parameters, and trains on."
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._learning.close()

    def state_dict(self) -> dict[str, Any]:
        return {"dropped": list(self.dropped), "due": self._due, "decided": self._decided and self._learnt is None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.dropped = tuple(state_dict["dropped"])
        self._due, self._decided = state_dict["due"], state_dict["decided"]

    def _chosen(self, trainer: Trainer, module: LightningModule) -> list[str] | str:
        if self.layers is not None:
            return list(match_layers(module, self.layers))
        if self.history is not None:
            return self._interior(recorded(self.history, module))
        try:
            return self._interior(watcher_of(self, trainer).history[-1])
        except NoGroupError as error:
            return str(error)

    def _interior(self, record: Any) -> list[str]:
        choice = choose_from(record, self.group, self.control, self.anyway)
        inside = {module_of(name) for name in choice.interior}
        outside = [name for name in choice.layers if name not in choice.interior]
        if not inside:
            raise NoGroupError(f"{choice.said} has one layer, and so no interior that could be removed.")
        if shared := inside & {module_of(name) for name in outside}:
            raise NoGroupError(f"Layer {sorted(shared)[0]!r} is called outside the group as well.")
        return [name for name in dict.fromkeys(module_of(name) for name in choice.interior)]


def _forget(trainer: Trainer, parameters: Iterable[nn.Parameter]) -> None:
    """Take parameters out of the optimizers, as they will be in those that a resumed run makes."""
    gone = {id(parameter) for parameter in parameters}
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
