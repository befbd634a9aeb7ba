"""Where the probe is drawn from, where nobody says it: what Lightning gives to validation, else what it trains on."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Trainer

from lightning_gw.activations.probe.probe import ProbeError, Source, WrongProbeError, sources_of


def find_sources(trainer: Trainer, given: Any) -> list[Source]:
    """What the user gave, else the validation data and then the training data, the first to be tried first.

    Args:
        trainer: The Trainer.
        given: Data, ``"train"``, ``"validation"``, or None.

    Raises:
        WrongProbeError: If what was given is none of these, or there is no such data.
        ProbeError: If there is no data at all.
    """
    if given is not None and not isinstance(given, str):
        return sources_of(given, "probe data")
    if given not in (None, "validation", "val", "train", "training"):
        raise WrongProbeError(f"probe={given!r} is not understood; the names are 'validation' and 'train'.")
    sources: list[Source] = []
    if given is None or given.startswith("val"):
        sources += _validation(trainer)
    if given is None or given.startswith("train"):
        training = _combined(trainer, "fit_loop", trainer.train_dataloader)
        sources += [] if _empty(training) else sources_of(training, "training data")
    if sources:
        return sources
    lacking = "There is no validation and no training data to draw the probe from"
    if given is not None:
        lacking = f"probe={given!r}, but there is no such data"
    kind = ProbeError if given is None else WrongProbeError
    raise kind(f"{lacking}. Pass inputs with GWSimilarity(probe=batch or dataset).")


def _validation(trainer: Trainer) -> list[Source]:
    name = "validation data"
    loaded = trainer.val_dataloaders
    if loaded is not None:
        data = _combined(trainer, "fit_loop.epoch_loop.val_loop", loaded)
        return [] if _empty(data) else sources_of(data, name)
    # Lightning has not asked for it yet, because its first validation is epochs away; where it is asked for here
    # nothing of that is noticed.
    made = getattr(trainer.fit_loop.epoch_loop.val_loop, "_data_source", None)
    if made is None or made.instance is None or not made.is_defined():
        return []
    return [Source(name, made.dataloader, maker=made.instance)]


def _combined(trainer: Trainer, loop: str, loaders: Any) -> Any:
    """The loop's own ``CombinedLoader``, which knows whether its loaders come one after the other or all at once."""
    held: Any = trainer
    for part in loop.split("."):
        held = getattr(held, part, None)
    combined = getattr(held, "_combined_loader", None)
    return loaders if combined is None or combined.iterables is not loaders else combined


def _empty(data: Any) -> bool:
    return data is None or (isinstance(data, list | tuple | dict) and len(data) == 0)
