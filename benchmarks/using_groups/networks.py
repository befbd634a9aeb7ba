"""Networks of the study, made as their configs say, trained for some steps, and measured on held-out data."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

import tasks.strategies
from benchmarks.using_groups.plan import Network
from lightning_gw import GWSimilarity
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.interventions.validation import validate
from lightning_gw.lightning_cli.options import find_class, read_yaml
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors

#: Times within a training at which it is measured how far it came, beside the start.
EVALUATIONS = 4


def build(
    network: Network, seed: int, model: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None
) -> tuple[Any, LightningDataModule]:
    """The module with its first weights, and its data, ready to be read.

    Args:
        network: Which.
        seed: Of the weights that are drawn, and of the order of training.
        model: Arguments of the module beside the network's own.
        data: Arguments of the data, likewise.
    """
    config = read_yaml(network.config)
    seed_everything(seed, verbose=False)
    split = {"split_seed": seed} if network.split_by_seed else {}
    made = _made(config["model"], {**network.model, **(model or {})}, network)
    held = _made(config["data"], {**network.data, **split, **(data or {})}, network)
    held.setup("fit")
    return made, held


def _made(section: Mapping[str, Any], arguments: Mapping[str, Any], network: Network) -> Any:
    where = str(network.config)
    return find_class(section["class_path"], where)(**{**section.get("init_args", {}), **arguments})


def strategy_of(network: Network) -> list[Callback]:
    """The callbacks that a network is trained with, fresh."""
    return [] if network.strategy is None else [getattr(tasks.strategies, network.strategy)()]


def watcher(network: Network, folder: Path, **options: Any) -> GWSimilarity:
    """A `GWSimilarity` with the layers and the probe of the network's config, which looks when `options` say.

    Args:
        network: Which.
        folder: Where its history is written.
        options: Further arguments.
    """
    written = _watching(network)
    for name in ("when", "looks", "null_samples"):
        written.pop(name, None)
    if (make := untrained_of(network)) is not None:
        written["untrained"] = make
    if network.probe is not None:
        written["probe_size"] = network.probe
    written |= {"max_overhead": None, "verbose": False, "save_dir": folder, "on_error": "raise"}
    return GWSimilarity(**{**written, **options})


def untrained_of(network: Network) -> Callable[[], nn.Module] | None:
    """What builds the network with fresh weights where its config names such a function, in the network's own sizes."""
    path = _watching(network).get("untrained")
    if path is None:
        return None
    make = find_class(path, str(network.config))
    taken = inspect.signature(make).parameters
    return partial(make, **{name: value for name, value in network.model.items() if name in taken})


def _watching(network: Network) -> dict[str, Any]:
    """Arguments of the `GWSimilarity` of the network's config."""
    callbacks = read_yaml(network.config)["trainer"]["callbacks"]
    return next(dict(entry["init_args"]) for entry in callbacks if entry["class_path"].endswith("GWSimilarity"))


def fit(module: LightningModule, data: LightningDataModule, steps: int, callbacks: Sequence[Callback] = ()) -> None:
    """Train for some optimizer steps, on the CPU and in silence."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, train_dataloaders=data.train_dataloader(), val_dataloaders=data.val_dataloader())


def held_out(data: Any) -> list[Any]:
    """All held-out batches."""
    return list(data.val_dataloader())


def one_batch(data: Any, size: int) -> Any:
    """The first `size` held-out inputs, as one batch."""
    return next(iter(DataLoader(data.held_out, batch_size=size)))


def measured(module: Any, batches: Sequence[Any], accuracy: str, trainer: Any = None) -> dict[str, float]:
    """``accuracy`` and ``loss`` on these batches; the module stays what it was."""
    with isolated_randomness(0), plain_tensors(), undisturbed(module, trainer):
        logged = validate(module, batches, lambda batch: batch)
    return {"accuracy": logged[accuracy].mean, "loss": logged["val/loss"].mean}


class Clock(Callback):
    """Processor time of training steps, and what was reached at some of them; measuring takes no time of it.

    To be the first of the callbacks, so that those of others are not counted.

    Args:
        measure: Called with module and Trainer.
        steps: Optimizer steps of the training.

    Attributes:
        seconds: Processor seconds of all steps.
        curve: ``step``, ``seconds`` until then, and what was measured.
    """

    def __init__(self, measure: Callable[[Any, Any], dict[str, float]] | None = None, steps: int = 0) -> None:
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self._measure = measure
        self._at = {round(steps * k / EVALUATIONS) for k in range(1, EVALUATIONS + 1)}
        self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds += time.process_time() - self._began
        if trainer.global_step in self._at:
            self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        if self._measure is not None:
            found = self._measure(module, trainer)
            self.curve.append({"step": float(trainer.global_step), "seconds": self.seconds, **found})


def parameters_of(layers: Sequence[Any]) -> list[int]:
    """Numbers of parameters, one for each layer."""
    return [int(np.sum([p.numel() for p in layer.parameters()])) for layer in layers]
