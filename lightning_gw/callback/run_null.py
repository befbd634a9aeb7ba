"""The null of a training run: networks of its architecture with fresh weights, seen through its own probe."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.analysis import NO_NULL
from lightning_gw.significance import Null, Reinitialiser, looks_pretrained, reinitialisation_null


def null_of_run(
    trainer: Trainer, module: LightningModule, observer: Observer, samples: int, solver: Mapping[str, Any]
) -> Null | str:
    """Look through re-initialised copies of the network, before training begins.

    Neither the network nor any random state changes. The null is kept by architecture and probe (see `cache_folder`),
    so that the next run of the same kind takes it up at once. What takes longer than a second shows its progress.

    Args:
        trainer: The Trainer.
        module: The network, with the weights that training begins with.
        observer: Prepared: it has probe and layers.
        samples: Networks; 0 for no null.
        solver: How neighbouring layers are compared: arguments of `reinitialisation_null`.

    Returns:
        The null, or why there is none, in words that begin with "none".
    """
    if samples == 0:
        return NO_NULL
    if trainer.world_size > 1:
        return "none: of several processes no null is made; `lightning-gw replay` makes it on one"
    try:
        fresh = Reinitialiser(module)
    except ValueError as error:
        return f"none: {error}"
    if reason := looks_pretrained(module, fresh):
        # What stands in parentheses in the reason describes single parameters: too much for every record.
        return (
            f"none: the weights at the start are not fresh ({reason.split(' (')[0]}), so networks with fresh weights "
            "are no null of them; stability, and growth since the start, are what speaks here"
        )

    def represent(network: nn.Module) -> Mapping[str, Tensor]:
        assert isinstance(network, LightningModule)
        return observer.observe(trainer, network).representations

    # Beneath the second after which it is drawn, the bar is not seen; in a file it is not to be drawn over and over.
    pace = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(total=samples, desc="Networks with fresh weights", delay=1, leave=False, mininterval=pace) as bar:

        def progress(done: int, total: int) -> None:
            with suppress(Exception):  # a terminal that is gone is no reason to do without the null
                bar.update(done - bar.n)

        try:
            return reinitialisation_null(
                module,
                represent,
                samples,
                **solver,
                build=fresh,
                cache=None if trainer.fast_dev_run else cache_folder(),  # type: ignore[attr-defined]
                probe=observer.probe_hash or "",
                progress=progress,
            )
        except ValueError as error:
            return f"none: networks with fresh weights could not be looked through ({error})"


def cache_folder() -> Path:
    """Where nulls are kept: ``lightning-gw/nulls`` in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning-gw" / "nulls"
