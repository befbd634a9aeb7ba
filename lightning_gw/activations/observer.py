"""Looks at the network: settles layers and probe once, then brings their representations whenever asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lightning_gw.activations.batches import count_rows, in_pieces
from lightning_gw.activations.capture import Activations, capture
from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.contract import Choice, choose_way
from lightning_gw.activations.failures import is_out_of_memory
from lightning_gw.activations.forward import Way, training_way, ways_to_run
from lightning_gw.activations.isolation.snapshot import is_sharded, kept_generators
from lightning_gw.activations.isolation.steps import harmless_steps, kept_weights
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.layers import choose_layers, match_layers
from lightning_gw.activations.normalisation import (
    OWN_STATISTICS,
    PROBE_STATISTICS,
    has_running_statistics,
    normalised_widths,
    read_by_the_probe,
    unsettled_layers,
)
from lightning_gw.activations.probe import Probe, ProbeError, WrongProbeError, draw_probe
from lightning_gw.utilities import output
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import ArgumentError, LookError


class Observer:
    """The probe, the layers, and the way the one goes through the other.

    Args:
        config: What is looked at, and how.

    Attributes:
        config: The same.
        probe: The probe inputs; None before `prepare`.
        notes: What the user should know of the probe; empty before `prepare`.
    """

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        self.probe: Probe | None = None
        self._modules: tuple[str, ...] = ()
        self._way: Way | None = None
        self._unsettled: frozenset[str] | None = None  # normalisation layers, as they were at the start of the run
        self._running = False  # whether there are any that gather statistics
        self._scaled: tuple[str, ...] = ()
        self._fits: int | None = None  # inputs per forward pass that fit in memory, once all of a batch did not
        self.notes: tuple[str, ...] = ()

    @property
    def probe_hash(self) -> str | None:
        """SHA-256 of the probe inputs; None before `prepare`."""
        return None if self.probe is None else self.probe.hash

    @property
    def seen_by(self) -> str:
        """What decides beside the layers on what they put out, in one line: the probe, its way through, the pooling."""
        pooling = self.config.pooling if isinstance(self.config.pooling, str) else _name(self.config.pooling)
        return f"{self.probe_hash} {self._way.name if self._way else ''} {pooling}"

    def description(self, layers: Sequence[str]) -> dict[str, Any]:
        """How the layers are looked at, as plain JSON values."""
        assert self.probe is not None
        pooling = self.config.pooling if isinstance(self.config.pooling, str) else _name(self.config.pooling)
        facts = {"hash": self.probe.hash, "size": self.probe.size, "source": self.probe.source}
        facts |= {
            "through": self._way.name if self._way else "",
            "pooling": pooling,
            "positions": "scaled to norm 1" if self._scaled else "as they are",
        }
        return facts | ({"normalisation": self.normalisation} if self._running else {}) | {"layers": list(layers)}

    @property
    def normalisation(self) -> str:
        """How layers are read that gather statistics in training, at every look of the run alike."""
        return PROBE_STATISTICS if self._unsettled else OWN_STATISTICS

    @property
    def unsettled(self) -> list[str] | None:
        """Names of the layers that are read by the probe's statistics, for a checkpoint; None before `prepare`."""
        return None if self._unsettled is None else sorted(self._unsettled)

    def prepare(
        self,
        trainer: Trainer,
        module: LightningModule,
        known_hash: str | None,
        known_layers: Sequence[str],
        unsettled: Sequence[str] | None = None,
    ) -> list[str]:
        """Settle the layers, draw the probe, and find out how the network is run on it.

        Args:
            trainer: The Trainer, whose data is drawn from where none was given.
            module: The network.
            known_hash: Hash of the probe that the history so far was made with, if there is one.
            known_layers: Layers that the history so far was made with.
            unsettled: Layers that the history so far read by the probe's statistics; None for those whose own are not
                settled now.

        Returns:
            What the user should be warned of.

        Raises:
            ArgumentError: If what the user wrote cannot be used, such as a layer that is unknown.
            ValueError: If there are too few inputs.
            LookError: If the network cannot be run on them.
        """
        if any(nn.parameter.is_lazy(p) for p in module.parameters()):
            raise ValueError(
                "The network has lazy modules that have not seen an input yet. Run one batch through it before fit, as "
                "Lightning needs too, so that their weights exist when training starts."
            )
        known = known_hash or self.probe_hash if known_layers else None
        ways = ways_to_run(module, self.config.step)
        self._modules = _layers(module, self.config.layers)
        before = {name.split("#")[0] for name in known_layers}
        if not before <= set(self._modules) or (
            before and self.config.layers is not None and before != set(self._modules)
        ):
            raise (ValueError if self.config.layers is None else ArgumentError)(
                f"The history began with the layers {', '.join(known_layers)}, but now they would be "
                f"{', '.join(self._modules)}. A history follows one set of layers: use the same layers=..., or start a "
                "new history without the checkpoint's state."
            )
        self._running = has_running_statistics(module)
        self._unsettled = unsettled_layers(module) if unsettled is None else frozenset(unsettled)
        source, data = find_data(trainer, self.config.data)
        with kept_generators(data):  # an augmentation that draws from a generator of its own is not to notice
            self.probe = draw_probe(data, source, self.config)
        self._fits = None
        choice = self._choose_way(trainer, module, ways)
        self._way = choice.way
        warnings = [*self.probe.notes, *choice.warnings]
        if known is not None and known != self.probe.hash:
            warnings.append(
                "The probe inputs are not those that this history began with (their hash changed), so what was found "
                f"before and after step {trainer.global_step} is seen through different inputs. Is the data the same?"
            )
        self.notes = tuple(warnings)
        return warnings

    def observe(self, trainer: Trainer, module: LightningModule) -> Activations:
        """Run the probe through the network, which afterwards is what it was before.

        Where the memory does not hold a probe batch, it goes through in halves, quarters and so on, and so it does from
        then on; the notes say so. They also say what the forward pass changed that could not be put back. Of several
        processes all look, and if one fails all do.

        Raises:
            ValueError: If a layer is silent or its output has no row per input.
            LookError: If a module fails on the probe, or a single input does not fit in memory.
        """
        assert self.probe is not None
        with Ranks("world", f"The look at step {trainer.global_step}").failing_together(agree=True):
            activations, disturbed = self._capture_what_fits(trainer, module, self.probe.batches)
        for said in disturbed:
            output.warn(f"A look of GWSimilarity disturbed training: {said}. See docs/undisturbed.md.")
        notes = [*activations.notes, *(f"This look disturbed training: {said}." for said in disturbed)]
        if self._fits is not None:
            notes.append(f"The probe went through the network {self._fits} at a time; more did not fit in memory.")
        activations = replace(activations, notes=tuple(notes))
        return self._enough(activations)

    def _choose_way(self, trainer: Trainer, module: LightningModule, ways: Sequence[Way]) -> Choice:
        """Try the ways on the first batch and on the last, which may be a smaller one."""
        assert self.probe is not None
        batches = self.probe.batches[:1] + self.probe.batches[1:][-1:]

        def attempt(way: Way) -> int:
            self._way, self._fits = way, None
            with kept_weights(module) as changed:
                found, _ = self._capture_what_fits(trainer, module, batches)
            if changed:
                raise LookError(f"it changes weights: {', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}")
            return len(self._enough(found).representations)

        remedies = [(f"GWSimilarity(probe_step={way.name!r})", way) for way in filter(None, [training_way(module)])]
        return choose_way(ways, attempt, len(self._modules), remedies)

    def _enough(self, activations: Activations) -> Activations:
        if len(activations.representations) >= 2:
            return activations
        raise (LookError if self.config.layers is None else ArgumentError)(
            f"At least 2 layers are needed to compare, but only {len(activations.representations)} put something "
            f"out ({', '.join(activations.representations) or 'none'}). {' '.join(activations.notes)} Name layers "
            "with GWSimilarity(layers=[...])."
        )

    def _capture_what_fits(
        self, trainer: Trainer, module: LightningModule, batches: Sequence[Any]
    ) -> tuple[Activations, list[str]]:
        """Begin again with half as many inputs at a time as long as the memory runs out."""
        largest = max(count_rows(batch) for batch in batches)
        while True:
            try:
                return self._capture(trainer, module, batches)
            except Exception as error:
                if not is_out_of_memory(error) or self._shared_forward(trainer):
                    raise
                problem = f"{type(error).__name__}: {error}"
            # Only here, where the error is gone, are the tensors gone that its traceback held.
            self._halve(min(largest, self._fits or largest), problem)

    @property
    def batches(self) -> Sequence[Any]:
        """The probe, no more of it at a time than fits in memory; `prepare` comes first."""
        assert self.probe is not None
        return self.probe.batches if self._fits is None else in_pieces(self.probe.batches, self._fits)

    @staticmethod
    def placing(trainer: Trainer, module: LightningModule) -> Callable[[Any], Any]:
        """Batch to batch as the module takes it: the same way that Lightning's evaluation loop prepares one."""

        def place(batch: Any) -> Any:
            batch = trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
            return trainer.strategy.batch_to_device(batch, dataloader_idx=0)

        return place

    def _capture(
        self, trainer: Trainer, module: LightningModule, batches: Sequence[Any]
    ) -> tuple[Activations, list[str]]:
        batches = batches if self._fits is None else in_pieces(batches, self._fits)
        run = self._runner(trainer, module)
        # A copy with fresh weights has not settled whatever the live network has.
        by_probe = (self._unsettled or frozenset()) | unsettled_layers(module)
        with undisturbed(module, trainer) as disturbed, harmless_steps(module, trainer):
            said = read_by_the_probe(module, by_probe, batches, run)
            activations = capture(
                module,
                self._modules,
                batches,
                run,
                self.config.pooling,
                optional=self.config.layers is None,
                scaled_widths=normalised_widths(module),
            )
        self._scaled = activations.scaled
        return replace(activations, notes=(*activations.notes, *filter(None, [said]))), disturbed

    def _halve(self, tried: int, problem: str) -> None:
        """Take half as many inputs at a time from now on."""
        if tried <= 1:
            raise LookError(
                f"The probe does not fit in memory, not even one input at a time: {problem}. Free some memory, for "
                "example with a smaller training batch, or pass smaller inputs with GWSimilarity(probe=...)."
            )
        self._fits = tried // 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _shared_forward(self, trainer: Trainer) -> bool:
        """Whether the forward pass is one of all processes, in which none can begin again by itself."""
        return trainer.world_size > 1 and any(is_sharded(child) for child in trainer.lightning_module.modules())

    def _runner(self, trainer: Trainer, module: LightningModule) -> Callable[[Any], Any]:
        place, way = self.placing(trainer, module), self._way
        assert way is not None

        def run(batch: Any) -> Any:
            batch = place(batch)
            with trainer.precision_plugin.forward_context():
                return way.run(module, batch)

        return run


def find_data(trainer: Trainer, given: Any) -> tuple[str, Any]:
    """Where the probe is drawn from: what the user gave, else the validation data, else the training data.

    Returns:
        What it is, in words, and the data.

    Raises:
        ProbeError: If there is none.
    """
    if given is not None and not isinstance(given, str):
        return "probe data", given
    if given not in (None, "validation", "val", "train", "training"):
        raise WrongProbeError(f"probe={given!r} is not understood; the names are 'validation' and 'train'.")
    loaded = trainer.val_dataloaders
    validation = _not_yet_loaded(trainer) if loaded is None else loaded
    for name, data in (("validation data", validation), ("training data", trainer.train_dataloader)):
        wanted = given is None or name.startswith(given[:3])
        if wanted and data is not None and not _empty(data):
            return name, data
    lacking = "There is no validation and no training data to draw the probe from"
    if given is not None:
        lacking = f"probe={given!r}, but there is no such data"
    raise (ProbeError if given is None else WrongProbeError)(
        f"{lacking}. Pass inputs with GWSimilarity(probe=batch or dataset)."
    )


def _not_yet_loaded(trainer: Trainer) -> Any:
    """Validation data that Lightning has not asked for yet because its first validation is epochs away."""
    source = getattr(trainer.fit_loop.epoch_loop.val_loop, "_data_source", None)
    if source is None or source.instance is None or not source.is_defined():
        return None
    return source.dataloader()


def _layers(module: nn.Module, asked: str | Sequence[str] | None) -> tuple[str, ...]:
    if asked is None:
        return choose_layers(module)
    try:
        return match_layers(module, asked)
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _empty(data: Any) -> bool:
    return isinstance(data, list | tuple | dict) and len(data) == 0


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
