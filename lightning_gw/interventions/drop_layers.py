"""Removing the interior of a group, and training on: prune and heal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import nn

from lightning_gw.activations.layers.names import match_layers
from lightning_gw.groups.choice import NoGroupError
from lightning_gw.interventions.dropped import drop_layers, expect_dropped_layers
from lightning_gw.interventions.identity import Identity, SkipError, learning_identities
from lightning_gw.interventions.live import (
    check_share,
    choose_from,
    decided_by_first,
    last_look_of,
    modules_of,
    recorded,
    refuse_rivals,
    refuse_unprepared,
    release,
    share_of_steps,
    watcher_of,
)
from lightning_gw.utilities.calls import module_of

#: Batches after which a layer counts as never called; those that leave layers out at random need more than one.
LEARNING_BATCHES = 20
#: Callbacks that go through two networks side by side, parameter by parameter.
_AVERAGES = {"StochasticWeightAveraging", "WeightAveraging"}
#: What the states of schedulers hold one of for every group of parameters.
_OF_GROUPS = ("base_lrs", "_last_lr", "lr_lambdas", "min_lrs", "max_lrs", "base_momentums", "max_momentums")


class DropLayers(Callback):
    """Removes the interior of a group after a share of the training, and trains what is left on.

    The interior is all layers of the group but the first. Names and indices of the others stay, a removed layer's place
    is taken by a `DroppedLayer`, and its parameters leave the optimizers. A run that is resumed, or a checkpoint that
    `lightning-gw replay` or `skip-test` reads with the same config, has lost the same layers.

    Where there is no group to be relied on in this training's own looks, it says so and removes nothing. Layers that
    do not keep their shape, or that put out something of their own beside the state, are errors, which leave the
    network as it was; so is a network that cannot take the next step without them. On several processes it needs
    ``strategy="ddp_find_unused_parameters_true"``. Callbacks that average weights cannot stand beside it.

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
            another model or has no group to be relied on, or another callback averages weights.
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
        self._wanted: tuple[str, ...] = ()  # what is being learnt
        self._batches = 0  # learnt from
        self._undo: ExitStack | None = None  # until a step without the layers went well
        self._checkpoint: dict[str, Any] | None = None  # that is being resumed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        expect_dropped_layers(pl_module)
        if stage != "fit":
            return
        refuse_rivals(self, trainer)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if _AVERAGES & {kind.__name__ for kind in type(other).__mro__}:
                raise ValueError(
                    f"DropLayers cannot be used beside {type(other).__name__}, which pairs the weights of two networks "
                    "by their order: that of the removed layers would be averaged with others. Leave one of them out."
                )
        self.dropped, self._due, self._decided = (), None, False
        self._learnt, self._undo = None, None
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
        if self._checkpoint is not None:
            _leave_out_empty_groups(trainer, self._checkpoint)
            self._checkpoint = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._decided or self._due is None or trainer.global_step < self._due:
            return
        self._decided = True
        names = decided_by_first(trainer, lambda: self._chosen(trainer, pl_module))
        if isinstance(names, str):
            rank_zero_warn(f"DropLayers removes nothing at step {trainer.global_step}: {names}")
            return
        layers = {name: modules_of(pl_module, [name])[0] for name in names}
        # What the layers return beside their state is learnt from the calls of more steps, run as they are written:
        # compiled graphs call no layers.
        self._learning.enter_context(torch.compiler.set_stance("force_eager"))
        self._learnt = self._learning.enter_context(learning_identities(pl_module, layers))
        self._wanted, self._batches = tuple(layers), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._undo = None
        if self._learnt is None:
            return
        self._batches += 1
        seen = trainer.strategy.reduce_boolean_decision(all(name in self._learnt for name in self._wanted))
        if not seen and self._batches < LEARNING_BATCHES:
            return
        learnt, self._learnt = self._learnt, None
        self._learning.close()
        if reasons := [f"{name}: {reason}" for name, reason in learnt.items() if isinstance(reason, str)]:
            raise SkipError(f"DropLayers cannot remove {'; '.join(reasons)}.")
        identities = {name: identity for name, identity in learnt.items() if isinstance(identity, Identity)}
        self._undo = ExitStack()
        gone = drop_layers(pl_module, identities, self._undo)
        _forget(trainer, gone, self._undo)
        self.dropped = tuple(identities)
        rank_zero_info(
            f"DropLayers removed {', '.join(identities)} at step {trainer.global_step}, "
            f"{sum(p.numel() for p in gone):,} parameters, and trains on."
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._learning.close()
        if self._learnt is not None:
            rank_zero_warn("DropLayers removed nothing: training ended before each of the layers was called once.")
            self._learnt, self._decided = None, False
        self._undo = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._learning.close()
        if self._undo is not None:
            self._undo.close()
            self._undo, self.dropped, self._decided = None, (), False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._checkpoint = checkpoint

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._checkpoint = None

    def state_dict(self) -> dict[str, Any]:
        return {"dropped": list(self.dropped), "due": self._due, "decided": self._decided and self._learnt is None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.dropped = tuple(state_dict["dropped"])
        self._due, self._decided = state_dict["due"], state_dict["decided"]

    def _chosen(self, trainer: Trainer, module: LightningModule) -> list[str]:
        if self.layers is not None:
            return list(match_layers(module, self.layers))
        if self.history is not None:
            return self._interior(recorded(self.history, module))
        return self._interior(last_look_of(watcher_of(self, trainer)))

    def _interior(self, record: Any) -> list[str]:
        choice = choose_from(record, self.group, self.control, self.anyway)
        inside = {module_of(name) for name in choice.interior}
        outside = [name for name in choice.layers if name not in choice.interior]
        if not inside:
            raise NoGroupError(f"{choice.said} has one layer, and so no interior that could be removed.")
        if shared := inside & {module_of(name) for name in outside}:
            raise NoGroupError(f"Layer {sorted(shared)[0]!r} is called outside the group as well.")
        return [name for name in dict.fromkeys(module_of(name) for name in choice.interior)]


def _forget(trainer: Trainer, parameters: Sequence[nn.Parameter], undo: ExitStack) -> None:
    """Take parameters out of the optimizers, as they will be in those that a resumed run makes."""
    gone = {id(parameter) for parameter in parameters}
    for optimizer in trainer.optimizers:
        states = {parameter: optimizer.state[parameter] for parameter in parameters if parameter in optimizer.state}
        undo.callback(partial(optimizer.state.update, states))
        for group in optimizer.param_groups:
            undo.callback(group.__setitem__, "params", group["params"])
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
    release(trainer, parameters)


def _leave_out_empty_groups(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint fit optimizers that have no group for layers that were removed before they were made.

    Networks that give every layer a group make none for a layer without parameters, or an empty one: only the resumed
    optimizers say which.
    """
    for optimizer, saved in zip(trainer.optimizers, checkpoint.get("optimizer_states", []), strict=False):
        groups = saved.get("param_groups", [])
        kept = [place for place, group in enumerate(groups) if group["params"]]
        if len(optimizer.param_groups) != len(kept) or len(kept) == len(groups):
            continue
        saved["param_groups"] = [groups[place] for place in kept]
        schedulers = zip(trainer.lr_scheduler_configs, checkpoint.get("lr_schedulers", []), strict=False)
        for config, state in schedulers:
            if config.scheduler.optimizer is optimizer:
                _leave_out_rates(state, kept, len(groups))


def _leave_out_rates(state: dict[str, Any], kept: Sequence[int], count: int) -> None:
    """Let the state of a scheduler, and of those inside it, hold the values of these groups alone."""
    for inner in state.get("_schedulers", []):
        _leave_out_rates(inner, kept, count)
    for key in _OF_GROUPS:
        if isinstance(value := state.get(key), list) and len(value) == count:
            state[key] = [value[place] for place in kept]
