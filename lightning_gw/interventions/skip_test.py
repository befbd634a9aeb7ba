"""The skip test: what a network loses without one of its layers, or without the interior of one of its groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lightning_gw.activations.isolation.steps import harmless_steps
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.layers.choice import choose_layers
from lightning_gw.activations.layers.names import match_layers, named_layers
from lightning_gw.activations.layers.trace import trace
from lightning_gw.activations.probe.batches import count_rows
from lightning_gw.activations.reading.failures import explained
from lightning_gw.activations.reading.pooling import Pooling
from lightning_gw.activations.running.normalisation import normalised_widths
from lightning_gw.geometry.geometries import Geometry
from lightning_gw.groups.groups import Groups
from lightning_gw.interventions.identity import Identity, SkipError, learning_identities, replaced
from lightning_gw.interventions.passing import watching
from lightning_gw.interventions.skips import Control, GroupSkip, LayerSkip, SkipTest
from lightning_gw.interventions.validation import Logged, Metric, choose_metric, lower_is_better, validate
from lightning_gw.measures.catalogue import ANCHOR
from lightning_gw.significance import AdjacentSolver
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.errors import LookError
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors

#: Random blocks of equally many layers that every group is held against.
CONTROLS = 5
#: ``(passes done, passes in all, what is left out next)``.
Progress = Callable[[int, int, str], None]


def skip_test(
    module: nn.Module,
    batches: Sequence[Any],
    *,
    layers: str | Sequence[str] | None = None,
    groups: Groups | None = None,
    metric: Metric | None = None,
    monitor: str | None = None,
    mode: str | Mapping[str, str] | None = None,
    pooling: Pooling = "auto",
    geometry: str | Geometry = "standardized",
    anchor: float = ANCHOR,
    controls: int = CONTROLS,
    seed: int = 0,
    trainer: Any = None,
    prepare: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
) -> SkipTest:
    """Replace every layer that keeps its shape by the identity, one at a time, and then the interior of every group.

    The interior of a group is all its layers but the first, which makes the step into the group. Beside it, equally
    many layers in a row are left out that were chosen at random. Told is how far the module's own validation metric
    rises on the same inputs, beside what measures of similarity say of the layer: its Gromov-Wasserstein distance from
    what comes in to what goes out (`adjacent`, as between neighbours in a record), one minus linear CKA, one minus the
    cosine of the two, position by position.

    The module is afterwards what it was, to the last bit, also after an error; see `undisturbed`.

    Args:
        module: The network, usually the LightningModule.
        batches: Inputs with their labels, as its ``validation_step`` takes them.
        layers: Names or globs (see `match_layers`), or None for those that `choose_layers` finds.
        groups: What was found in exactly these layers; None tests layers alone.
        metric: ``function(module, batch) -> number``, in place of ``validation_step``.
        monitor: Which of the logged metrics to judge by; None takes the first loss.
        mode: ``"min"`` where less of it is better, ``"max"`` where more is, or either by the name of a metric. What is
            not told goes by the name of what was logged, and is ``"min"`` for a `metric` of one's own.
        pooling: See `pooling.pool`.
        geometry: See `gw_matrix`.
        anchor: See `gw_matrix`.
        controls: Random blocks for every group; fewer where there are not as many.
        seed: Seed of the random states, the search and the choice of blocks.
        trainer: The Trainer, where there is one.
        prepare: Batch to batch as the module takes it; None moves it to the module's device.
        progress: Called before every pass.

    Returns:
        SkipTest.

    Raises:
        ValueError: If a layer or metric is unknown, there are no batches, `groups` are of another number of layers, or
            no layer keeps its shape; the message says why for each.
        LookError: If the validation cannot be run; the message says where.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Block(nn.Module):
        ...     def __init__(self, size):
        ...         super().__init__()
        ...         self.size, self.linear = size, nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         return x + self.size * self.linear(x)
        >>> net = nn.Sequential(*(Block(size) for size in (0.01, 2.0, 0.01)))
        >>> x = torch.randn(32, 4)
        >>> aim = net(x).detach()
        >>> found = skip_test(net, [x], metric=lambda net, x: (net(x) - aim).square().mean())
        >>> [row.layer for row in sorted(found.layers, key=lambda row: -row.rise)][0]
        '1'
    """
    if not isinstance(mode, Mapping) and mode not in (None, "min", "max"):
        raise ValueError(f"mode={mode!r} must be 'min' or 'max', or None to go by the metric's name.")
    mode = mode or ("min" if metric is not None else {})
    if not batches:
        raise ValueError("There are no batches to run the skip test on.")
    if layers is not None:
        wanted = _named(module, layers)
    with ExitStack() as stack:
        stack.enter_context(isolated_randomness(seed))
        stack.enter_context(plain_tensors())
        stack.enter_context(undisturbed(module, trainer))
        if trainer is not None:
            stack.enter_context(harmless_steps(module, trainer))
        runs = _Runs(module, batches, prepare or _to_device(module), metric, seed)
        if layers is None:
            wanted = runs.called()
        if groups is not None and len(groups.labels) != len(wanted):
            raise ValueError(
                f"The groups are of {len(groups.labels)} layers, and the skip test is of {len(wanted)} "
                f"({wanted[0]}, …, {wanted[-1]}): are they of another model?"
            )
        solver = AdjacentSolver(geometry, "fast", anchor, seed)
        return _Test(runs, wanted, monitor, mode, controls, progress).run(groups, pooling, solver)


def _named(module: nn.Module, layers: str | Sequence[str]) -> tuple[str, ...]:
    """Names in the order that they were given in, as groups of a record are in that of its layers."""
    found = match_layers(module, layers)
    return tuple(layers) if not isinstance(layers, str) and set(layers) == set(found) else found


def _to_device(module: nn.Module) -> Callable[[Any], Any]:
    device = next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    return lambda batch: apply_to_collection(batch, Tensor, lambda tensor: tensor.to(device))


class _Runs:
    """Validation of the network, as it is or without some layers, each time from the same random state."""

    def __init__(
        self,
        module: nn.Module,
        batches: Sequence[Any],
        prepare: Callable[[Any], Any],
        metric: Metric | None,
        seed: int,
    ) -> None:
        self.module, self.batches = module, batches
        self._prepare, self._metric, self._seed = prepare, metric, seed

    def called(self) -> tuple[str, ...]:
        """The layers that a person would name, in the order of depth; all calls of one together."""
        one = _Runs(self.module, self.batches[:1], self._prepare, self._metric, self._seed)
        full = trace(self.module, lambda: one.whole(lambda batch: batch))
        return tuple(dict.fromkeys(module_of(name) for name in choose_layers(self.module, full).layers))

    def whole(self, before: Callable[[Any], Any]) -> dict[str, Logged]:
        """What is logged of the network as it is; `before` is told of every batch.

        Raises:
            LookError: If the validation cannot be run.
        """
        try:
            return self._validated(lambda batch: before(self._prepare(batch)))
        except (ValueError, LookError):
            raise
        except Exception as error:
            raise LookError(f"The validation cannot be run ({self._said(error)}).") from error

    def without(self, identities: Mapping[str, Identity]) -> dict[str, Logged]:
        """What is logged without these layers.

        Raises:
            SkipError: If the network cannot run without them.
        """
        with replaced(self.module, identities):
            try:
                return self._validated(self._prepare)
            except SkipError:
                raise
            except Exception as error:
                raise SkipError(f"the network cannot run without it ({self._said(error)})") from error

    def _said(self, error: Exception) -> str:
        said = explained(error, self.module, self.batches[0], 1, len(self.batches)) or error
        return f"{type(error).__name__}: {said}"

    def _validated(self, prepare: Callable[[Any], Any]) -> dict[str, Logged]:
        with isolated_randomness(self._seed):
            return validate(self.module, self.batches, prepare, self._metric)


class _Test:
    def __init__(
        self,
        runs: _Runs,
        wanted: Sequence[str],
        monitor: str | None,
        mode: str | Mapping[str, str],
        controls: int,
        progress: Progress | None,
    ) -> None:
        self._runs, self._wanted = runs, wanted
        self._monitor, self._mode = monitor, mode
        self._controls = controls
        self._progress = progress
        self._done, self._all = 0, 1
        self._identities: dict[str, Identity] = {}
        self._whole: Logged | None = None

    def run(self, groups: Groups | None, pooling: Pooling, solver: AdjacentSolver) -> SkipTest:
        module = self._runs.module
        named = named_layers(module)
        layers = {name: named[name] for name in self._wanted}
        self._tell("the whole network")
        with (
            learning_identities(module, layers) as found,
            watching(layers, pooling, normalised_widths(module)) as (passing, begin),
        ):
            logged = self._runs.whole(begin)
        monitor = choose_metric(logged, self._monitor)
        self._whole, self._monitor = logged[monitor], monitor
        told = self._mode if isinstance(self._mode, str) else self._mode.get(monitor)
        mode = told or ("min" if lower_is_better(monitor) else "max")
        self._identities = {name: identity for name, identity in found.items() if isinstance(identity, Identity)}
        reasons = {name: identity for name, identity in found.items() if isinstance(identity, str)}
        if not self._identities:
            said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ValueError(f"No layer of {type(module).__name__} can be left out ({said}).")
        blocks = [] if groups is None else self._blocks(groups)
        self._all = 1 + len(self._identities) + sum(1 + len(controls) for *_, controls in blocks)
        measures = passing.measures(self._wanted, solver)
        rows = []
        for place, name in enumerate(self._wanted):
            rise, error, reason = self._rise([name], reasons.get(name, ""))
            distances = {measure: float(values[place]) for measure, values in measures.items()}
            rows.append(LayerSkip(name, rise, error, reason=reason, calls=passing.calls.get(name, 0), **distances))
        return SkipTest(
            metric=monitor,
            mode=mode,
            whole=self._whole.mean,
            inputs=sum(count_rows(batch) for batch in self._runs.batches),
            layers=tuple(rows),
            groups=tuple(self._group(*block) for block in blocks),
            labels=None if groups is None else groups.labels,
            strength="" if groups is None else groups.strength,
        )

    def _tell(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._all, what)
        self._done += 1

    def _rise(self, names: Sequence[str], reason: str = "") -> tuple[float, float, str]:
        """How far the metric rises without these layers, its standard error, and why neither is known."""
        if not reason:
            self._tell(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}")
            try:
                logged = self._runs.without({name: self._identities[name] for name in names})
            except SkipError as error:
                reason = str(error)
            else:
                assert self._whole is not None
                assert self._monitor is not None
                if self._monitor in logged:
                    return (*logged[self._monitor].rise_since(self._whole), "")
                reason = f"without it the validation does not log {self._monitor!r}"
        return float("nan"), float("nan"), reason

    def _blocks(self, groups: Groups) -> list[tuple[tuple[int, ...], tuple[str, ...], list[tuple[str, ...]]]]:
        """Every group with an interior: its layers, the interior, and random blocks of as many layers."""
        blocks = []
        usable = [name for name in self._wanted if name in self._identities]
        random = np.random.default_rng(self._runs._seed)
        for members in groups.members() if groups.count > 1 else ():
            interior = tuple(self._wanted[place] for place in members[1:] if self._wanted[place] in self._identities)
            size = len(interior)
            if not size:
                continue
            others = [tuple(usable[k : k + size]) for k in range(len(usable) - size + 1)]
            others = [block for block in others if block != interior]
            drawn = random.permutation(len(others))[: self._controls]
            blocks.append((members, interior, [others[k] for k in sorted(drawn)]))
        return blocks

    def _group(
        self, members: tuple[int, ...], interior: tuple[str, ...], controls: Sequence[tuple[str, ...]]
    ) -> GroupSkip:
        rise, error, reason = self._rise(interior)
        found = tuple(Control(block, self._rise(block)[0]) for block in controls)
        return GroupSkip(members, interior, rise, error, reason, found)
