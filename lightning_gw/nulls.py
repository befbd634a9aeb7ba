"""The null of a training run: networks of its architecture with fresh weights, seen through its own probe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_gw.observer import Observer
from lightning_gw.significance import Null, Reinitialiser, looks_pretrained, reinitialisation_null

#: Seconds that a null may take unless it was asked for by number.
TIME_LIMIT = 30.0
#: Networks of a null that was not asked for by number.
SAMPLES = 99
#: Fewer networks than this cannot reach p = 0.05.
FEWEST = 19


def null_of_run(
    trainer: Trainer,
    module: LightningModule,
    observer: Observer,
    samples: int | None,
    solver: Mapping[str, Any],
    cache: Path | None = None,
) -> Null | str:
    """Look through re-initialised copies of the network, before training begins.

    Neither the network nor any random state changes. The null is stored in `cache` by architecture and probe, so that
    the next run of the same kind takes it up at once.

    Args:
        trainer: The Trainer.
        module: The network, with the weights that training begins with.
        observer: Prepared: it has probe and layers.
        samples: Networks; None takes 99, or as many as 30 seconds allow, and none where even one takes too long.
        solver: How neighbouring layers are compared: arguments of `reinitialisation_null`.
        cache: Folder where nulls are kept.

    Returns:
        The null, or why there is none, in words that begin with "none".
    """
    if samples == 0:
        return "none: no null was asked for"
    if trainer.world_size > 1:
        return "none: with several processes no null is made; `lightning-gw replay` on one makes it"
    try:
        fresh = Reinitialiser(module)
    except ValueError as error:
        return f"none: {error}"
    if reason := looks_pretrained(module, fresh):
        return (
            "none: the weights at the start are not fresh, so networks with fresh weights are no null of them "
            f"({reason}); stability, and growth since the start, are what speaks here"
        )

    def represent(network: nn.Module) -> Mapping[str, Tensor]:
        assert isinstance(network, LightningModule)
        return observer.observe(trainer, network).representations

    try:
        null = reinitialisation_null(
            module,
            represent,
            SAMPLES if samples is None else samples,
            **solver,
            build=fresh,
            time_limit=TIME_LIMIT if samples is None else None,
            cache=cache,
            probe=observer.probe_hash or "",
        )
    except ValueError as error:
        return f"none: networks with fresh weights could not be looked through ({error})"
    if null.samples < FEWEST:
        return (
            f"none: only {null.samples} networks with fresh weights could be looked through in {TIME_LIMIT:g} seconds, "
            f"and fewer than {FEWEST} cannot pass at 5 %; null_samples=99 takes the time it takes"
        )
    return null
