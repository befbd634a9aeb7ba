"""The probe's way through the network: by which method, of which rows, and as many inputs at a time as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_gw.activations.batches import is_cut_by_rows, take_rows
from lightning_gw.activations.capture import Activations, capture, output_shapes
from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.failures import is_out_of_memory
from lightning_gw.activations.forward import Way
from lightning_gw.activations.isolation.snapshot import is_sharded
from lightning_gw.activations.isolation.steps import harmless_steps
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.normalisation import normalised_widths, read_by_the_probe, unsettled_layers
from lightning_gw.activations.probe import Probe
from lightning_gw.activations.rows import RowRule, Rows, guess_rows
from lightning_gw.utilities.errors import ArgumentError, LookError


class TooFewLayers(LookError):
    """Fewer layers put something out than can be compared."""


class ProbePass:
    """Brings what layers put out for a probe; settled by `Observer`, then the same at every look.

    Args:
        config: What is looked at, and how.

    Attributes:
        modules: The layers.
        way: Runs the network.
        rule: Tells the rows of a batch.
        kept: Those of all rows that are looked at.
        fits: Inputs per forward pass that fit in memory, once all of a batch did not; None before.
        unsettled: Normalisation layers that are read by the probe's statistics.
        scaled: Layers whose positions were scaled to norm 1 in the last pass.
    """

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        self.modules: tuple[str, ...] = ()
        self.way: Way | None = None
        self.rule: RowRule | None = None
        self.kept: slice | Tensor = slice(None)
        self.fits: int | None = None
        self.unsettled: frozenset[str] = frozenset()
        self.scaled: tuple[str, ...] = ()

    def shapes(self, trainer: Trainer, module: LightningModule, probe: Probe) -> dict[str, tuple[int, ...]]:
        with undisturbed(module, trainer), harmless_steps(module, trainer):
            return output_shapes(module, self.modules, probe.batches[0], self._runner(trainer, module))

    def enough(self, activations: Activations) -> Activations:
        if len(activations.representations) >= 2:
            return activations
        raise (TooFewLayers if self.config.layers is None else ArgumentError)(
            f"At least 2 layers are needed to compare, but only {len(activations.representations)} put something "
            f"out ({', '.join(activations.representations) or 'none'}). {' '.join(activations.notes)} Name layers "
            "with GWSimilarity(layers=[...])."
        )

    def capture(self, trainer: Trainer, module: LightningModule, probe: Probe) -> tuple[Activations, list[str]]:
        """Begin again with half as many inputs at a time as long as the memory runs out."""
        while True:
            batches, rows = self.pieces(probe)
            try:
                return self._once(trainer, module, batches, rows)
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
        run = self._runner(trainer, module)
        # A copy with fresh weights has not settled whatever the live network has.
        by_probe = self.unsettled | unsettled_layers(module)
        smallest = min(map(guess_rows, batches, (of.count for of in rows)))
        with undisturbed(module, trainer) as disturbed, harmless_steps(module, trainer):
            said = read_by_the_probe(module, by_probe, batches, run, smallest)
            activations = capture(
                module,
                self.modules,
                batches,
                run,
                self.config.pooling,
                optional=self.config.layers is None,
                scaled_widths=normalised_widths(module),
                rows=rows,
            )
        self.scaled = activations.scaled
        kept = {name: values[self.kept] for name, values in activations.representations.items()}
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


def placing(trainer: Trainer, module: LightningModule) -> Callable[[Any], Any]:
    """Batch to batch as the module takes it: the same way that Lightning's evaluation loop prepares one."""

    def place(batch: Any) -> Any:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        return trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    return place
