"""How much each layer changes what passes through it, by every measure that skipping it is held against."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gw.activations.layers.outputs import first_tensor
from lightning_gw.activations.probe.batches import count_rows, padding_mask
from lightning_gw.activations.reading.axes import is_channels_first
from lightning_gw.activations.reading.pooling import Pooling, pool
from lightning_gw.interventions.identity import state_argument
from lightning_gw.measures.catalogue import MEASURES
from lightning_gw.significance import AdjacentSolver
from lightning_gw.utilities.arrays import FloatArray

#: What the measures are called, in tables and JSON; of all of them less is closer.
PASSING_MEASURES = ("adjacent", "one_minus_cka", "one_minus_cosine")


@dataclass
class Passing:
    """What came into layers and what went out of them, pooled to one vector per input.

    Attributes:
        came: Layer to ``(n, d)`` per batch: the state before its first call.
        went: Layer to ``(n, d)`` per batch: the state after its last call.
        turned: Layer to one minus the cosine between the state before and after, per batch, the mean over positions.
        calls: Layer to the most calls in one forward pass.
    """

    came: dict[str, list[Tensor]] = field(default_factory=dict)
    went: dict[str, list[Tensor]] = field(default_factory=dict)
    turned: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def measures(self, layers: Sequence[str], solver: AdjacentSolver) -> dict[str, FloatArray]:
        """Every one of `PASSING_MEASURES`, ``(L,)``; NaN where a layer keeps no shape or is degenerate.

        Args:
            layers: Names, in the order of the values.
            solver: Solves one pair of neighbours for ``adjacent``, the Gromov-Wasserstein distance.
        """
        values = {name: np.full(len(layers), np.nan) for name in PASSING_MEASURES}
        for place, layer in enumerate(layers):
            if not self.turned.get(layer):
                continue
            pair = {"before": torch.cat(self.came[layer]), "after": torch.cat(self.went[layer])}
            values["adjacent"][place] = solver(pair).matched[0]
            values["one_minus_cka"][place] = 1 - MEASURES["paired_cka"](pair)[0, 1]
            values["one_minus_cosine"][place] = np.mean(self.turned[layer])
        return values


@contextmanager
def watching(
    layers: Mapping[str, nn.Module], pooling: Pooling, scaled_widths: Collection[int]
) -> Iterator[tuple[Passing, Callable[[Any], Any]]]:
    """Gather what passes through layers.

    Args:
        layers: Name to layer.
        pooling: See `pooling.pool`.
        scaled_widths: See `capture.capture`.

    Yields:
        What is gathered, and what is to be told of every batch before it is run.
    """
    passing = Passing()
    before: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    current: list[Any] = []

    def begin(batch: Any) -> Any:
        current[:] = [count_rows(batch), padding_mask(batch)]
        calls.clear()
        before.clear()
        return batch

    def enter(name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        found = state_argument(args, kwargs)
        if name not in before and found is not None and found[1].is_floating_point():
            before[name] = found[1].detach().clone()  # an in-place residual writes into what comes

    def leave(name: str, layer: nn.Module, output: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        passing.calls[name] = max(passing.calls.get(name, 0), calls[name])
        came, went = before.get(name), first_tensor(output)
        if came is None or went is None or came.shape != went.shape:
            return
        if calls[name] == 1:
            passing.came.setdefault(name, []).append(one_vector(name, layer, came))
        elif passing.went.get(name):  # of several calls in one forward pass the last
            del passing.went[name][-1], passing.turned[name][-1]
        passing.went.setdefault(name, []).append(one_vector(name, layer, went))
        first = is_channels_first(layer) or went.dim() > 3
        cosine = nn.functional.cosine_similarity(came.float(), went.float(), dim=1 if first else -1)
        mask = current[1]
        if mask is not None and cosine.shape == mask.shape:
            cosine = cosine[mask.to(cosine.device).bool()]
        passing.turned.setdefault(name, []).append(1 - float(cosine.mean()))

    def one_vector(name: str, layer: nn.Module, state: Tensor) -> Tensor:
        rows, mask = current
        if state.dim() == 3 and state.shape[0] != rows and state.shape[1] == rows:
            state = state.transpose(0, 1)
        fits = mask is not None and state.dim() == 3 and mask.shape == state.shape[:2]
        first = is_channels_first(layer)
        scale = state.dim() == 3 and not first and state.shape[-1] in scaled_widths
        kept = mask.to(state.device) if fits else None
        return pool(state, kept, pooling, layer=name, channels_first=first, scale_positions=scale)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            entering = layer.register_forward_pre_hook(
                lambda child, args, kwargs, name=name: enter(name, child, args, kwargs), with_kwargs=True
            )
            leaving = layer.register_forward_hook(lambda child, _, output, name=name: leave(name, child, output))
            hooks.callback(entering.remove)
            hooks.callback(leaving.remove)
        yield passing, begin
