"""The null of a training run: networks of its architecture with fresh weights, seen through its own probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.analysis import NO_NULL
from lightning_gw.significance import Null, reinitialisation_null
from lightning_gw.significance.nulls.origin import Origin, origin_of
from lightning_gw.utilities.errors import ArgumentError, reason_of
from lightning_gw.utilities.progress import counted
from lightning_gw.utilities.storage.files import user_cache

#: Networks with fresh weights that a run looks through unless it is told how many: so many where a forward pass is
#: next to nothing beside the search, which is up to so many parameters times inputs, and one where it is not.
FEW = 3
SMALL = 10**8
#: Said of a network of which nothing can be told.
UNKNOWN = "whether its weights are fresh could not be told"


def few(module: nn.Module, observer: Observer) -> int:
    """Networks that together cost less than one look. Not timed: the same run is to find the same on any machine."""
    inputs = 0 if observer.probe is None else observer.probe.size
    return FEW if inputs * sum(p.numel() for p in module.parameters()) <= SMALL else 1


def null_of_run(
    trainer: Trainer,
    module: LightningModule,
    observer: Observer,
    samples: int | None,
    solver: Mapping[str, Any],
    untrained: Callable[[], nn.Module] | None = None,
    origin: Origin | None = None,
) -> tuple[Null | str, str]:
    """Look through copies of the network with fresh weights, before training begins.

    Neither the network nor any random state changes. The null is kept by architecture and probe (see `cache_folder`),
    so that the next run of the same kind takes it up at once. What takes longer than a second shows its progress.

    Args:
        trainer: The Trainer.
        module: The network, with the weights that training begins with.
        observer: Prepared: it has probe and layers.
        samples: Networks; 0 for no null, None for a `few`.
        solver: How neighbouring layers are compared: arguments of `reinitialisation_null`.
        untrained: Returns a network like it with fresh weights.
        origin: What the network was before it got the weights that it has now; None asks it.

    Returns:
        The null, or why there is none, in words that begin with "none"; and why the network had learnt something before
        this training, empty where it had not.

    Raises:
        ArgumentError: If `untrained` fails, or gives another architecture or weights that are not fresh.
    """
    alone = trainer.world_size == 1
    try:
        origin = origin or origin_of(module, untrained, copies=samples != 0 and alone)
    except ArgumentError:
        raise
    except Exception as error:
        origin = Origin(UNKNOWN, None, f"its weights could not be read ({reason_of(error)})")
    trained = f"training went on from step {trainer.global_step}" if trainer.global_step else origin.trained
    if samples == 0:
        return NO_NULL, trained
    if not alone:
        return "none: of several processes no null is made; `lightning-gw replay` makes it on one", trained
    fresh = origin.fresh
    if fresh is None:
        return f"none: {origin.reason}", trained

    def represent(network: nn.Module) -> Mapping[str, Tensor]:
        assert isinstance(network, LightningModule)
        return observer.observe(trainer, network).representations

    asked = few(module, observer) if samples is None else samples
    try:
        # Also in a file: training has not begun, and there is nothing else to see.
        with counted("Networks with fresh weights", delay=1.0, files=True) as progress:
            null = reinitialisation_null(
                module,
                represent,
                asked,
                **solver,
                build=fresh,
                cache=None if trainer.fast_dev_run else cache_folder(),  # type: ignore[attr-defined]
                probe=observer.seen_by,
                progress=progress,
            )
    except Exception as error:
        return f"none: networks with fresh weights could not be looked through ({error})", trained
    return null, trained


def cache_folder() -> Path:
    """Where nulls are kept: ``lightning-gw/nulls`` in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return user_cache("nulls")
