"""Looks at the network: settles layers and probe once, then brings their representations whenever asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.isolation.steps import kept_weights
from lightning_gw.activations.isolation.weights import fingerprints
from lightning_gw.activations.layers.names import named_layers
from lightning_gw.activations.passes import ProbePass, TooFewLayers, difference_of_passes, placing
from lightning_gw.activations.probe.probe import SMALLEST_PROBE, Probe, Source, read_probe, require
from lightning_gw.activations.probe.rows import OWN, PLAIN, RowRule, row_rules
from lightning_gw.activations.probe.sources import find_sources
from lightning_gw.activations.reading.capture import Activations, ShapeError
from lightning_gw.activations.riding import Riding
from lightning_gw.activations.running.contract import Choice, choose_way
from lightning_gw.activations.running.forward import Way, first_tensor_ways, training_way, ways_to_run
from lightning_gw.activations.running.normalisation import (
    OWN_STATISTICS,
    PROBE_STATISTICS,
    has_running_statistics,
    unsettled_layers,
)
from lightning_gw.activations.running.settle import check_layers
from lightning_gw.utilities import output
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import ArgumentError, LookError, RestoreError
from lightning_gw.utilities.random_state import isolated_randomness


class Observer:
    """The probe, the layers, and the way the one goes through the other.

    Args:
        config: What is looked at, and how.

    Attributes:
        config: The same.
        probe: The probe inputs; None before `prepare`.
        notes: What the user should know of the probe; empty before `prepare`.
        riding: Catches the same in the passes of Lightning's validation.
    """

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        self.probe: Probe | None = None
        self._pass = ProbePass(config)
        self.riding = Riding(self._pass)
        self._unsettled: frozenset[str] | None = None  # normalisation layers, as they were at the start of the run
        self._running = False  # whether there are any that gather statistics
        self._unsteady = ""  # what to say of a network that gave other outputs the second time
        self.notes: tuple[str, ...] = ()

    @property
    def probe_hash(self) -> str | None:
        """SHA-256 of the probe inputs; None before `prepare`."""
        return None if self.probe is None else self.probe.hash

    @property
    def seen_by(self) -> str:
        """What decides beside the layers on what they put out, in one line: the probe, its way through, the pooling."""
        pooling = self.config.pooling if isinstance(self.config.pooling, str) else _name(self.config.pooling)
        return f"{self.probe_hash} {self._pass.way.name if self._pass.way else ''} {pooling}"

    def description(self, layers: Sequence[str]) -> dict[str, Any]:
        """How the layers are looked at, as plain JSON values."""
        assert self.probe is not None
        pooling = self.config.pooling if isinstance(self.config.pooling, str) else _name(self.config.pooling)
        facts = {"hash": self.probe.hash, "size": self.probe.size, "source": self.probe.source}
        if self._pass.rule is not None and self._pass.rule.name != PLAIN:
            facts["rows"] = self._pass.rule.name
        facts |= {
            "through": self._pass.way.name if self._pass.way else "",
            "pooling": pooling,
            "positions": "scaled to norm 1" if self._pass.scaled else "as they are",
        }
        assert self._pass.settled is not None
        facts |= self._pass.settled.description()
        return facts | ({"normalisation": self.normalisation} if self._running else {}) | {"layers": list(layers)}

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that are looked at, in order; empty before `prepare`."""
        return self._pass.layers

    @property
    def remarkable(self) -> str:
        """What there is to say of the layers beside their names: branches, and what was left out; else empty."""
        choice = None if self._pass.settled is None else self._pass.settled.choice
        if choice is None or len(choice.sequences) > 1:
            return "" if choice is None else f"looks at {choice.sentence}"
        return f"{choice.left_out[:1].lower()}{choice.left_out[1:]}"

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
        ways = [*ways_to_run(module, self.config.step), *first_tensor_ways(module)]
        if self.config.layers is not None:
            check_layers(module, self.config.layers)
        self._pass.known = tuple(name for name in known_layers if module_of(name) in named_layers(module))
        self._running = has_running_statistics(module)
        self._unsettled = unsettled_layers(module) if unsettled is None else frozenset(unsettled)
        self._pass.unsettled = self._unsettled
        warnings = self._settle(trainer, module, ways)
        assert self.probe is not None
        before, now = set(known_layers), set(self.layers)
        if not before <= now or (before and self.config.layers is not None and before != now):
            raise (ValueError if self.config.layers is None else ArgumentError)(
                f"The history began with the layers {', '.join(known_layers)}, but now they would be "
                f"{', '.join(self.layers)}. A history follows one set of layers: use the same layers=..., or "
                "start a new history without the checkpoint's state."
            )
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
            activations, disturbed = self._pass.capture(trainer, module, self.probe)
        for said in disturbed:
            output.warn(f"A look of GWSimilarity disturbed training: {said}. See docs/undisturbed.md.")
        notes = [*activations.notes, *(f"This look disturbed training: {said}." for said in disturbed)]
        if self._pass.fits is not None:
            notes.append(f"The probe went through the network {self._pass.fits} at a time; more did not fit in memory.")
        assert self._pass.settled is not None
        activations = replace(activations, notes=tuple(notes), sequences=self._pass.settled.sequences)
        return self._pass.enough(activations)

    def weights_of_layers(self, module: nn.Module) -> dict[str, str]:
        """What tells the weights of each layer from any others; see `fingerprints`."""
        named = named_layers(module)
        return fingerprints({name: named[module_of(name)] for name in self.layers if module_of(name) in named})

    @property
    def batches(self) -> Sequence[Any]:
        """The probe, no more of it at a time than fits in memory; `prepare` comes first."""
        assert self.probe is not None
        return self._pass.pieces(self.probe)[0]

    placing = staticmethod(placing)

    def _settle(self, trainer: Trainer, module: LightningModule, ways: Sequence[Way]) -> list[str]:
        """Take the first source of inputs that the network can be run on; gives what to say of it."""
        problems: list[Exception] = []
        for source in find_sources(trainer, self.config.data):
            try:
                choice = self._choose_way(trainer, module, ways, self._read(source))
            except (ArgumentError, RestoreError):
                raise
            except Exception as error:
                problems.append(error)
                continue
            assert self.probe is not None
            self._pass.way = choice.way
            return [*self.probe.notes, *choice.warnings, *filter(None, [self._unsteady])]
        raise problems[0]

    def _read(self, source: Source) -> Probe:
        probe = read_probe(source, self.config)
        rule = row_rules(probe.batches[0], probe.items[0], self.config.rows)[0] if probe.batches else None
        if rule is None or rule.name == PLAIN:  # all else is known only when the layers were seen
            require(probe, 0 if rule is None else _count(rule, probe), self.config)
        return probe

    def _choose_way(self, trainer: Trainer, module: LightningModule, ways: Sequence[Way], probe: Probe) -> Choice:
        """Try the ways on the first batch and on the last, which may be a smaller one."""
        few = probe if len(probe.batches) < 3 else _only(probe, (0, -1))
        settled: dict[str, tuple[RowRule, int, str]] = {}

        def attempt(way: Way) -> int:
            self._pass.way, self._pass.fits, self._pass.kept = way, None, slice(None)
            with kept_weights(module) as changed:
                rules = self._pass.settle(trainer, module, probe)
                try:
                    found, rule, rows = self._first_that_fits(trainer, module, rules, probe, few)
                except (ShapeError, TooFewLayers):  # by no rule: other layers may have rows of inputs
                    rules = self._pass.settle(trainer, module, probe, with_rows=True)
                    found, rule, rows = self._first_that_fits(trainer, module, rules, probe, few)
                again = self._captured(trainer, module, probe if rule.name == OWN else few)
                settled[way.name] = rule, rows, difference_of_passes(found, again)
            if changed:
                raise LookError(f"it changes weights: {', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}")
            return len(found.representations)

        try:
            choice = choose_way(ways, attempt, 2, self._remedies(trainer, module, ways, probe, attempt))
        finally:
            self._pass.asked = self.config.layers  # a remedy may have been tried with others
        self._pass.rule, rows, self._unsteady = settled[choice.way.name]
        self.probe = require(probe, rows, self.config)
        self._pass.kept = slice(self.probe.size)
        if self._pass.rule.name == OWN and rows > self.probe.size:
            order = torch.randperm(rows, generator=torch.Generator().manual_seed(self.config.seed), device="cpu")
            self._pass.kept = order[: self.probe.size].sort().values
        return choice

    def _first_that_fits(
        self, trainer: Trainer, module: LightningModule, rules: Sequence[RowRule], probe: Probe, few: Probe
    ) -> tuple[Activations, RowRule, int]:
        """The first rule by which layers have rows of inputs, and how many there are."""
        for rule in rules:
            self._pass.rule = rule
            seen = probe if rule.name == OWN else few
            try:
                found = self._pass.enough(self._captured(trainer, module, seen))
            except (ShapeError, TooFewLayers):
                if rule is rules[-1]:
                    raise
                continue
            rows = len(next(iter(found.representations.values()))) if rule.name == OWN else _count(rule, probe)
            if rows >= SMALLEST_PROBE or rule is rules[-1]:
                return found, rule, rows
        raise AssertionError("there is always a rule")

    def _captured(self, trainer: Trainer, module: LightningModule, probe: Probe) -> Activations:
        """A pass that draws what every such pass draws."""
        with isolated_randomness(self.config.seed):
            return self._pass.capture(trainer, module, probe)[0]

    def _remedies(
        self,
        trainer: Trainer,
        module: LightningModule,
        ways: Sequence[Way],
        probe: Probe,
        attempt: Callable[[Way], int],
    ) -> Iterator[tuple[str, Callable[[], int]]]:
        """What to write where no way works, with an attempt at it: the training step, or layers whose rows agree."""
        if (training := training_way(module)) is not None:
            yield f"GWSimilarity(probe_step={training.name!r})", partial(attempt, training)
        for way in ways if self.config.layers is None else ():
            self._pass.way, self._pass.asked = way, None
            try:
                self._pass.settle(trainer, module, probe)
            except Exception:
                continue
            assert self._pass.settled is not None
            lengths = {name: shape[0] for name, shape in self._pass.settled.shapes.items() if shape}
            if lengths and (most := Counter(lengths.values()).most_common(1)[0])[1] >= 2:
                self._pass.asked = [name for name, length in lengths.items() if length == most[0]]
                yield f"GWSimilarity(layers={self._pass.asked!r})", partial(attempt, way)


def _only(probe: Probe, places: Sequence[int]) -> Probe:
    """A few of a probe's batches."""
    return replace(probe, batches=tuple(probe.batches[k] for k in places), items=tuple(probe.items[k] for k in places))


def _count(rule: RowRule, probe: Probe) -> int:
    return sum(rule.of(*pair).count or 0 for pair in zip(probe.batches, probe.items, strict=True))


def _name(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
