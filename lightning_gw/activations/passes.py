"""The probe's way through the network: by which method, of which rows, and as many inputs at a time as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.isolation.snapshot import is_sharded
from lightning_gw.activations.isolation.steps import harmless_steps
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.probe.batches import is_cut_by_rows, take_rows
from lightning_gw.activations.probe.probe import Probe
from lightning_gw.activations.probe.rows import RowRule, Rows, best_rule, guess_rows, row_rules
from lightning_gw.activations.reading.capture import Activations, capture
from lightning_gw.activations.reading.failures import explaining, is_out_of_memory
from lightning_gw.activations.running.forward import Way
from lightning_gw.activations.running.normalisation import normalised_widths, read_by_the_probe, untouched_layers
from lightning_gw.activations.running.settle import Settled, settle
from lightning_gw.utilities.errors import ArgumentError, LookError

Found = TypeVar("Found")


class TooFewLayers(LookError):
    """Fewer layers put something out than can be compared."""


class ProbePass:
    """Brings what layers put out for a probe; settled by `Observer`, then the same at every look.

    Args:
        config: What is looked at, and how.

    Attributes:
        asked: Names or globs of the layers; None for those a person would name.
        known: Layers of the history so far.
        settled: The layers, and how each is read; None before `settle`.
        way: Runs the network.
        rule: Tells the rows of a batch.
        kept: Those of all rows that are looked at.
        fits: Inputs per forward pass that fit in memory, once all of a batch did not; None before.
        unsettled: Normalisation layers that are read by the probe's statistics.
        scaled: Layers whose positions were scaled to norm 1 in the last pass.
    """

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        self.asked = config.layers
        self.known: tuple[str, ...] = ()
        self.settled: Settled | None = None
        self.way: Way | None = None
        self.rule: RowRule | None = None
        self.kept: slice | Tensor = slice(None)
        self.fits: int | None = None
        self.unsettled: frozenset[str] = frozenset()
        self.scaled: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in order; empty before `settle`."""
        return self.settled.choice.layers if self.settled is not None else ()

    def settle(self, trainer: Trainer, module: LightningModule, probe: Probe, with_rows: bool = False) -> list[RowRule]:
        """Settle by the first batch which layers are looked at and how; gives the rules by which rows may be told.

        Args:
            trainer, module: Training.
            probe: The inputs.
            with_rows: Whether layers are chosen among those that put out a row per input.
        """
        rules = row_rules(probe.batches[0], probe.items[0], self.config.rows)
        self.rule = rules[0]

        def work(batches: Sequence[Any], rows: Sequence[Rows]) -> list[RowRule]:
            standing = rules

            def told(shapes: Sequence[tuple[int, ...]]) -> Rows:
                nonlocal standing
                if len(rules) > 2:  # which is the right one shows in what the layers put out
                    standing = [best_rule(rules, batches[0], probe.items[0], shapes)]
                return standing[0].of(batches[0], rows[0].count if standing[0] is rules[0] else None)

            def run(batch: Any) -> Any:
                with explaining(module, batch, 1, 1):
                    return runner(batch)

            runner = self._runner(trainer, module)
            with undisturbed(module, trainer), harmless_steps(module, trainer):
                settled = settle(
                    module,
                    batches[0],
                    run,
                    self.asked,
                    self.config.layout,
                    known=self.known,
                    rows=told,
                    with_rows=with_rows,
                )
            self.settled = settled  # a module that can reach its Trainer's callbacks would have had this put back
            return standing

        return self._fitting(trainer, replace(probe, batches=probe.batches[:1], items=probe.items[:1]), work)

    def enough(self, activations: Activations) -> Activations:
        if len(activations.representations) >= 2:
            return activations
        few = (
            f"At least 2 layers are needed to compare, but only {len(activations.representations)} put something "
            f"out ({', '.join(activations.representations) or 'none'})."
        )
        remedy = "Name layers" if self.config.layers is None else "Name two or more"
        raise (TooFewLayers if self.config.layers is None else ArgumentError)(
            " ".join([few, *activations.notes, f"{remedy} with GWSimilarity(layers=[...])."])
        )

    def capture(self, trainer: Trainer, module: LightningModule, probe: Probe) -> tuple[Activations, list[str]]:
        """What the layers put out, and what the forward pass changed that could not be put back."""
        return self._fitting(trainer, probe, lambda batches, rows: self._once(trainer, module, batches, rows))

    def _fitting(self, trainer: Trainer, probe: Probe, work: Callable[[Sequence[Any], Sequence[Rows]], Found]) -> Found:
        """Begin again with half as many inputs at a time as long as the memory runs out."""
        while True:
            batches, rows = self.pieces(probe)
            try:
                return work(batches, rows)
            except Exception as error:
                if not is_out_of_memory(error) or self._shared_forward(trainer):
                    raise
                problem = f"{type(error).__name__}: {error}"
            # Only here, where the error is gone, are the tensors gone that its traceback held.
            self._halve(max(map(guess_rows, batches, (of.count for of in rows))), problem)

    def pieces(self, probe: Probe) -> tuple[list[Any], list[Rows]]:
        """The batches, cut to what fits in memory where they can be cut, and the rows of each."""
        assert self.rule is not None
        batches: list[Any] = []
        rows: list[Rows] = []
        for batch, items in zip(probe.batches, probe.items, strict=True):
            of = self.rule.of(batch, items)
            count = guess_rows(batch, of.count)
            most = self.fits if self.fits is not None and is_cut_by_rows(batch, count) else count
            for start in range(0, count, most):
                batches.append(take_rows(batch, start, start + most, count))
                whole = most >= count or of.count is None
                rows.append(of if whole else Rows(min(most, count - start)))
        return batches, rows

    def _once(
        self, trainer: Trainer, module: LightningModule, batches: Sequence[Any], rows: Sequence[Rows]
    ) -> tuple[Activations, list[str]]:
        assert self.settled is not None
        run = self._runner(trainer, module)
        # A copy with fresh weights has settled nothing, whatever the live network has. Statistics that were loaded are
        # read alike at all looks, also once a few batches were counted.
        by_probe = self.unsettled | untouched_layers(module)
        smallest = min(map(guess_rows, batches, (of.count for of in rows)))
        with undisturbed(module, trainer) as disturbed, harmless_steps(module, trainer):
            said = read_by_the_probe(module, by_probe, batches, run, smallest)
            activations = capture(
                module,
                self.layers,
                batches,
                run,
                self.config.pooling,
                optional=self.config.layers is None,
                scaled_widths=normalised_widths(module),
                rows=rows,
                how=self.settled.how,
            )
        self.scaled = activations.scaled
        found = activations.representations
        kept = {name: found[name][self.kept] for name in self.layers if name in found}
        return replace(activations, representations=kept, notes=(*activations.notes, *filter(None, [said]))), disturbed

    def _halve(self, tried: int, problem: str) -> None:
        """Take half as many inputs at a time from now on."""
        if tried <= 1:
            raise LookError(
                f"The probe does not fit in memory, not even one input at a time: {problem}. Free some memory, for "
                "example with a smaller training batch, or pass smaller inputs with GWSimilarity(probe=...)."
            )
        self.fits = tried // 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _shared_forward(self, trainer: Trainer) -> bool:
        """Whether the forward pass is one of all processes, in which none can begin again by itself."""
        return trainer.world_size > 1 and any(is_sharded(child) for child in trainer.lightning_module.modules())

    def _runner(self, trainer: Trainer, module: LightningModule) -> Callable[[Any], Any]:
        place, way = placing(trainer, module), self.way
        assert way is not None

        def run(batch: Any) -> Any:
            batch = place(batch)
            with trainer.precision_plugin.forward_context():
                return way.run(module, batch)

        return run


def difference_of_passes(one: Activations, other: Activations) -> str:
    """What to say where two passes of the same inputs gave other outputs; empty where they did not."""
    for name, before in one.representations.items():
        now = other.representations.get(name)
        # Not every device adds in the same order each time.
        exact = before.device.type == "cpu"
        if now is None or not _alike(before, now, 0.0 if exact else 1e-3):
            return (
                f"Layer {name} put out something else for the same inputs the second time: what the network keeps was "
                "not all put back, or it is not deterministic, so training may differ from training without looks. "
                "Global variables of installed packages are not put back, nor is what is kept outside the process; see "
                "docs/undisturbed.md."
            )
    return ""


def _alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def placing(trainer: Trainer, module: LightningModule) -> Callable[[Any], Any]:
    """Batch to batch as the module takes it: the same way that Lightning's evaluation loop prepares one."""

    def place(batch: Any) -> Any:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        return trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    return place
