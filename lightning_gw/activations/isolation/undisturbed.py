"""Guards that leave everything as it was: random states, modes, buffers, caches, metrics, logging.

Training with looks in between is to be identical to the last bit to training without. What cannot be put back is named:
weights that forward itself writes to, tensors too large to be copied, iterators. Not seen is what the code of
installed packages keeps in global variables, nor are effects outside the process; see ``docs/undisturbed.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from lightning_gw.activations.isolation.hooks import foreign_hooks_off
from lightning_gw.activations.isolation.snapshot import ModuleSnapshot
from lightning_gw.activations.isolation.state import same_state
from lightning_gw.utilities.errors import RestoreError
from lightning_gw.utilities.random_state import plain_tensors, random_states


@contextmanager
def undisturbed(module: nn.Module, trainer: Any = None) -> Iterator[list[str]]:
    """Evaluation mode without gradients, after which the module is what it was before.

    Inside, every submodule is in evaluation mode, ``self.log`` does nothing, compiled code runs eagerly (hooks do not
    fire in warm compiled graphs), fused attention is off (it hands hooks nested tensors), and the trainer says that it
    is validating, so that batch hooks do not augment. Forward hooks that are no part of the network are off (see
    `hooks`). Afterwards modes, buffers and all that the modules remember are put back: plain attributes, containers and
    objects inside them, random generators of their own, the states of torchmetrics. Modules that are hidden in
    containers and objects are treated as those that are registered.

    Args:
        module: The network, usually the LightningModule.
        trainer: Its Trainer, where there is one.

    Yields:
        A list, filled at the end, of what was changed and is known not to be put back, in plain words.

    Raises:
        RestoreError: At the end, if something failed to be put back that should have been. Everything else was by then.
    """
    disturbed: list[str] = []
    snapshot = ModuleSnapshot(module)
    modes = [(child, child.training) for child in snapshot.modules.values()]
    stage = trainer.state.stage if trainer is not None else None
    with ExitStack() as stack:
        # The order matters: what is restored is written under the gradient mode of the caller, as it was read.
        restored: list[bool] = []
        stack.callback(_see_to_it, modes, snapshot, restored)
        stack.callback(_restore, modes, snapshot, disturbed, restored)
        stack.enter_context(foreign_hooks_off(snapshot.modules.values()))
        if trainer is not None:
            stack.callback(setattr, trainer.state, "stage", stage)
            trainer.validating = True
        for child, _ in modes:
            # Assigned rather than .eval(), which some modules override to merge weights and the like.
            child.training = False
            if hasattr(child, "log") and hasattr(child, "log_dict"):
                child.__dict__["log"] = child.__dict__["log_dict"] = _silent
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(plain_tensors())
        yield disturbed


@contextmanager
def changes_of(module: nn.Module) -> Iterator[list[str]]:
    """Compare everything before and after, to the bit: what a look, or any other code, leaves changed.

    Compared are weights, gradients, ``requires_grad``, buffers, training flags, hooks, attributes, containers and plain
    objects that the modules hold, their own random generators, the global random states and torch's global settings.
    While inside, the weights are in memory twice.

    Args:
        module: The network.

    Yields:
        A list, filled at the end (also after an error), of what changed, in plain words; empty if nothing did.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> with changes_of(net) as changes:
        ...     _ = net(torch.ones(3, 2))
        >>> changes
        ['tensor 1.running_mean changed', 'tensor 1.running_var changed', 'tensor 1.num_batches_tracked changed']
    """
    changes: list[str] = []
    snapshot = ModuleSnapshot(module, exact=True)
    settings = {name: ask() for name, ask in _SETTINGS.items()}
    states = {name: ask() for name, ask in random_states().items()}
    try:
        yield changes
    finally:
        changes += snapshot.changes()
        for name, before in settings.items():
            if (now := _SETTINGS[name]()) != before:
                changes.append(f"{name} is {now} now, and was {before}")
        asking = random_states()
        changes += [
            f"the random state of {name} moved on"
            for name, before in states.items()
            if not same_state(asking[name](), before)
        ]


#: Settings of the process that a forward pass could leave changed.
_SETTINGS: dict[str, Callable[[], Any]] = {
    "torch.is_grad_enabled()": torch.is_grad_enabled,
    "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled,
    "torch.get_default_dtype()": torch.get_default_dtype,
    "torch.get_num_threads()": torch.get_num_threads,
    "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision,
    "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled,
    "torch.is_autocast_enabled('cpu')": lambda: torch.is_autocast_enabled("cpu"),
    "torch.is_autocast_enabled('cuda')": lambda: torch.is_autocast_enabled("cuda"),
    "torch.backends.mha.get_fastpath_enabled()": torch.backends.mha.get_fastpath_enabled,
    "torch.backends.cudnn.enabled": lambda: torch.backends.cudnn.enabled,
    "torch.backends.cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
    "torch.backends.cudnn.deterministic": lambda: torch.backends.cudnn.deterministic,
}


def _silent(*args: Any, **kwargs: Any) -> None:
    """Stands in for ``self.log``."""


def _restore(
    modes: list[tuple[nn.Module, bool]], snapshot: ModuleSnapshot, disturbed: list[str], restored: list[bool]
) -> None:
    """Modes first, since a network left in evaluation mode trains otherwise from then on without a sign of it."""
    _set_modes(modes)
    lost, failed = snapshot.restore()
    failed += _set_modes(modes)
    disturbed += lost
    restored.append(True)
    if failed:
        raise RestoreError(f"After a look, this could not be put back as it was: {'; '.join([*failed, *lost])}.")


def _see_to_it(modes: list[tuple[nn.Module, bool]], snapshot: ModuleSnapshot, restored: list[bool]) -> None:
    """Where `_restore` itself broke off, put back once more."""
    if not restored:
        try:
            snapshot.restore()
        finally:
            _set_modes(modes)


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> list[str]:
    failed = []
    for child, training in modes:
        try:
            child.training = training
            problem = "" if child.training is training else f"training={child.training} stays, and was {training}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            failed.append(f"the training mode of a {type(child).__name__} ({problem})")
    return failed
