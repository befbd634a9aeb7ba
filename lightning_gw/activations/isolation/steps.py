"""What a Lightning step does besides running the network, made harmless: it logs, prints and optimizes nothing.

A validation step is the one way of running a network that its author promised for a batch of this kind. It is run as
Lightning runs it, but nobody is to notice.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lightning_gw.activations.isolation.snapshot import ModuleSnapshot, is_sharded

#: What a LightningModule offers its steps that would change a training or be heard.
_SILENCED = ("print", "manual_backward", "clip_gradients", "toggle_optimizer", "untoggle_optimizer")


@contextmanager
def harmless_steps(module: nn.Module, trainer: Any) -> Iterator[None]:
    """Let the steps of a LightningModule run without effect on training; within `undisturbed`, which puts them back.

    Loggers take everything and keep nothing, as in Lightning's own ``fast_dev_run``. Optimizers and schedulers that the
    module asks for take no step; one that it keeps to itself and steps is an error, because what it did could not be
    undone. Files that are opened for writing below the working folder or the Trainer's are kept in memory and let go.
    A module that belongs to no Trainer, such as a copy with fresh weights, is lent this one.

    Args:
        module: The network.
        trainer: The Trainer, attached to it or not.

    Raises:
        RuntimeError: Inside, where any other optimizer takes a step.
    """
    loggers = trainer.loggers
    with ExitStack() as stack:
        stack.callback(setattr, trainer, "loggers", loggers)
        stack.callback(setattr, trainer, "should_stop", trainer.should_stop)
        trainer.loggers = [DummyLogger() for _ in loggers]
        if getattr(module, "_trainer", trainer) is None:
            module.trainer = trainer
        own = vars(module)
        for name in _SILENCED:
            if hasattr(module, name):
                own[name] = _silent
        for name in ("optimizers", "lr_schedulers"):
            if hasattr(module, name):
                own[name] = _idle(getattr(module, name))
        stack.callback(register_optimizer_step_pre_hook(_refuse).remove)
        stack.enter_context(_nothing_to_wandb())
        stack.enter_context(_files_in_memory([os.getcwd(), trainer.default_root_dir]))
        yield


@contextmanager
def _nothing_to_wandb() -> Iterator[None]:
    """``wandb.log`` does nothing, where a step calls it by itself."""
    wandb = sys.modules.get("wandb")
    with ExitStack() as stack:
        for owner in filter(None, (wandb, getattr(wandb, "run", None))):
            stack.enter_context(patch.object(owner, "log", _silent))
        yield


@contextmanager
def _files_in_memory(folders: Sequence[str]) -> Iterator[None]:
    """What this thread writes to files below some folders goes nowhere; hidden ones, such as caches, are written."""
    here, real, save = threading.get_ident(), io.open, torch.save
    roots = [Path(folder).absolute() for folder in folders]

    def kept(file: Any) -> bool:
        if threading.get_ident() != here or not isinstance(file, str | os.PathLike):
            return False
        path = Path(os.fspath(file)).absolute()
        return any(
            path.is_relative_to(root) and not any(part.startswith(".") for part in path.relative_to(root).parts)
            for root in roots
        )

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wax+") or not kept(file):
            return real(file, mode, *args, **kwargs)
        return io.BytesIO() if "b" in mode else io.StringIO()

    def saved(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        save(content, io.BytesIO() if kept(file) else file, *args, **kwargs)

    with patch("builtins.open", opened), patch("io.open", opened), patch("torch.save", saved):
        yield


@contextmanager
def kept_weights(module: nn.Module) -> Iterator[list[str]]:
    """Put back every weight that changes inside, to the bit, however it is written to.

    While inside, the weights are in the memory of the host once more. Weights that are spread over processes are left
    out.

    Yields:
        A list, filled at the end, of the names of weights that had changed.
    """
    changed: list[str] = []
    kept = [
        (f"{name}.{key}".lstrip("."), weight, weight.detach().to("cpu", copy=True))
        for name, child in ModuleSnapshot(module).modules.items()
        if not is_sharded(child)
        for key, weight in child._parameters.items()
        if weight is not None and not nn.parameter.is_lazy(weight) and weight.layout is torch.strided
        if not weight.is_meta and not weight.is_quantized
    ]
    try:
        yield changed
    finally:
        for name, weight, before in kept:
            if not _alike(weight.detach().cpu(), before):
                weight.data.copy_(before)
                changed.append(name)


class _Idle:
    """An optimizer or scheduler that takes no step, and is otherwise itself."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def step(self, closure: Any = None, *args: Any, **kwargs: Any) -> Any:
        return closure() if callable(closure) else None

    def zero_grad(self, *args: Any, **kwargs: Any) -> None:
        pass

    def toggle_model(self, *args: Any, **kwargs: Any) -> Any:
        return nullcontext()


def _idle(ask: Any) -> Any:
    def idle(*args: Any, **kwargs: Any) -> Any:
        found = ask(*args, **kwargs)
        if isinstance(found, list | tuple):
            return [_Idle(one) for one in found]
        return None if found is None else _Idle(found)

    return idle


def _silent(*args: Any, **kwargs: Any) -> None:
    """Stands in for what is not to happen."""


def _refuse(optimizer: Any, *_: Any) -> None:
    raise RuntimeError(f"this way of running the network steps a {type(optimizer).__name__}, which would train it")


def _alike(one: Tensor, other: Tensor) -> bool:
    """Equality of values, where NaN equals itself."""
    return torch.equal(one, other) or (
        one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
    )
