"""Freezing the layers of groups that stopped changing, while the rest trains on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from lightning_gw.groups.choice import doubts_about, gaps_of
from lightning_gw.interventions.live import (
    decided_by_first,
    freeze,
    modules_of,
    refuse_rivals,
    refuse_unprepared,
    release,
    watcher_of,
)
from lightning_gw.records.record import Record
from lightning_gw.utilities.calls import module_of

#: Steps at the start, and after every freezing, that are slower than the others and not counted.
WARMING_UP = 3


class FreezeSettledGroups(Callback):
    """Freezes the layers of a group once it has stopped changing, and releases what the optimizer remembers of them.

    Needs a `GWSimilarity` in the same Trainer. A group has stopped changing when it had the same layers at so many
    looks in a row, and over these looks the distance between any two neighbours in it stayed within the noise of the
    probe (the standard deviation of its logarithm over resamples). Of a single layer the distance into it counts. What
    is frozen stays frozen, also in a run that is resumed. A module that is called several times is frozen only where
    all of its calls are in the group.

    What freezing saves is told after training: the median time of a step before the first freezing, less that of the
    steps after, times their number. On several processes it needs ``strategy="ddp_find_unused_parameters_true"``.

    Args:
        looks: Looks in a row over which nothing may change, at least 2.
        tolerance: Standard deviations of noise that the largest and the least distance may be apart.
        floor: Share of the parameters that train at the start which always goes on training.
        control: Seed; freeze as many layers chosen at random, in place of those of the group, and no others as long as
            the group is the same.
        anyway: Freeze groups too that are weak, unstable or built in.

    Attributes:
        frozen: Name of each frozen layer, and the step at which it was frozen.
        seconds_saved: What freezing saved so far, as far as can be told.

    Raises:
        ValueError: If an argument is out of range; at the start of ``fit``, if there is no `GWSimilarity`, another
            callback says what trains, or the strategy or an optimizer does not bear it.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> from lightning_gw import FreezeSettledGroups, GWSimilarity
        >>> freezing = FreezeSettledGroups(looks=3)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(max_steps=100, callbacks=[GWSimilarity(every_n_steps=10), freezing], **quiet)
        >>> freezing.frozen
        {}
    """

    def __init__(
        self,
        looks: int = 3,
        tolerance: float = 1.0,
        floor: float = 0.25,
        control: int | None = None,
        anyway: bool = False,
    ) -> None:
        super().__init__()
        if looks < 2:
            raise ValueError(f"looks={looks} must be 2 or more: one look shows no change.")
        if not tolerance > 0:
            raise ValueError(f"tolerance={tolerance} must be above 0.")
        if not 0 <= floor <= 1:
            raise ValueError(f"floor={floor} must be a share of the parameters, from 0 to 1.")
        self.looks = looks
        self.tolerance = tolerance
        self.floor = floor
        self.control = control
        self.anyway = anyway
        self.frozen: dict[str, int] = {}
        self._answered: set[str] = set()  # layers that settled; of a control others were frozen for them
        self._trained_at_start = 0
        self._seen: int | None = None  # step of the look that was decided on last
        self._phases: list[tuple[int, float]] = []  # steps and their median seconds, between freezings and resumptions
        self._before = 0  # phases of them before the first freezing
        self._times: list[float] = []
        self._started: float | None = None

    @property
    def seconds_saved(self) -> float:
        """See the class."""
        if not self.frozen:
            return 0.0
        before, after = self._phases[: self._before], [*self._phases[self._before :], self._phase()]
        whole = [(steps, median) for steps, median in before if median == median]
        if not whole:
            return 0.0
        usual = float(np.average([median for _, median in whole], weights=[steps for steps, _ in whole]))
        return sum(steps * (usual - median) for steps, median in after if median == median)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        refuse_rivals(self, trainer)
        if watcher_of(self, trainer).analysis_config.bootstrap_samples == 0:
            raise ValueError(
                "FreezeSettledGroups holds change against the noise over probe resamples: GWSimilarity must draw some "
                "(bootstrap_samples)."
            )
        self.frozen, self._phases, self._times, self._seen, self._trained_at_start = {}, [], [], None, 0
        self._answered, self._before, self._started = set(), 0, None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_unprepared(self, trainer)
        if not self._trained_at_start:
            self._trained_at_start = _trainable(pl_module)
        elif self.frozen:  # a resumed run
            freeze(pl_module, modules_of(pl_module, self.frozen))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # From start to start: what an accelerator still does at the end of a batch is over by then. Looks do not count.
        now = time.perf_counter() - watcher_of(self, trainer).seconds_spent
        if self._started is not None:
            self._times.append(now - self._started)
        self._started = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        watcher = watcher_of(self, trainer)
        if watcher.last_look == self._seen:
            return
        self._seen = watcher.last_look
        for names, settled in decided_by_first(trainer, lambda: self._decided(watcher.history or (), pl_module)):
            self._answered |= set(settled)
            self._freeze(names, trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.frozen:
            rank_zero_info("FreezeSettledGroups froze nothing: no group that can be relied on stopped changing.")
            return
        saved = f"{self.seconds_saved:.1f} s" if self.seconds_saved > 0 else "no time"
        rank_zero_info(
            f"FreezeSettledGroups froze {len(self.frozen)} layers from step {min(self.frozen.values())} on, which "
            f"saved {saved} (told from the median time of a step)."
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "frozen": dict(self.frozen),
            "answered": sorted(self._answered),
            "trained_at_start": self._trained_at_start,
            "seen": self._seen,
            "phases": [*self._phases, self._phase()],
            "before": self._before,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frozen = dict(state_dict["frozen"])
        self._answered = set(state_dict.get("answered", self.frozen))  # older versions kept none
        self._trained_at_start = int(state_dict["trained_at_start"])
        self._seen = state_dict["seen"]
        self._phases = [(int(steps), float(median)) for steps, median in state_dict["phases"]]
        self._before = state_dict.get("before", 1 if self.frozen else 0)

    def _decided(self, history: Sequence[Record], module: LightningModule) -> list[tuple[list[str], list[str]]]:
        """Layers to freeze now and the layers that settled, for every group that did; as far as the floor allows."""
        if len(history) < self.looks or history[-1].groups.strength == "none":
            return []
        recent = history[-self.looks :]
        decided: list[tuple[list[str], list[str]]] = []
        gone, answered = set(self.frozen), set(self._answered)
        for number, members in enumerate(recent[-1].groups.members()):
            if not settled(recent, members, self.tolerance) or (
                not self.anyway and doubts_about(recent[-1].groups, number)
            ):
                continue
            layers = recent[-1].layers
            newly = _whole_modules(layers, members, answered)
            names = newly if self.control is None else self._others(layers, newly, gone)
            if names and self._stays_above_floor(module, [*gone, *names]):
                decided.append((names, newly))
                gone |= set(names)
                answered |= set(newly)
        return decided

    def _others(self, layers: Sequence[str], newly: Sequence[str], gone: set[str]) -> list[str]:
        """Layers of as many modules as those that settled newly, drawn from all that train still."""
        others = list(dict.fromkeys(module_of(layer) for layer in layers if layer not in gone))
        random = np.random.default_rng([self.control or 0, len(gone)])
        chosen = random.permutation(others)[: len({module_of(layer) for layer in newly})].tolist()
        return [layer for layer in layers if module_of(layer) in chosen]

    def _stays_above_floor(self, module: LightningModule, frozen: Sequence[str]) -> bool:
        inside = {id(p) for layer in modules_of(module, frozen) for p in layer.parameters()}
        left = sum(p.numel() for p in module.parameters() if p.requires_grad and id(p) not in inside)
        return left >= self.floor * self._trained_at_start and left > 0

    def _freeze(self, names: Sequence[str], trainer: Trainer, module: LightningModule) -> None:
        released = release(trainer, freeze(module, modules_of(module, names)))
        self._phases.append(self._phase())
        self._times = []
        self._before = self._before or len(self._phases)
        self.frozen |= dict.fromkeys(names, trainer.global_step)
        share = _trainable(module) / self._trained_at_start
        rank_zero_info(
            f"FreezeSettledGroups freezes {', '.join(names)} at step {trainer.global_step}: {share:.0%} of the "
            f"parameters train on, and {released / 2**20:.1f} MiB of the optimizer's state were released."
        )

    def _phase(self) -> tuple[int, float]:
        counted = self._times[WARMING_UP:]
        return len(self._times), float(np.median(counted)) if counted else float("nan")


def settled(looks: Sequence[Record], members: tuple[int, ...], tolerance: float) -> bool:
    """Whether a group of the last of these looks stood in all of them, and did not change by more than noise.

    Args:
        looks: In the order of steps.
        members: Indices of the group's layers.
        tolerance: See `FreezeSettledGroups`.
    """
    last = looks[-1]
    stood = (look.layers == last.layers and look.groups.strength != "none" for look in looks)
    if last.groups.noise is None or not all(stood) or any(members not in look.groups.members() for look in looks):
        return False
    gaps = gaps_of(members, len(last.layers))
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(np.stack([look.growth[gaps] for look in looks]))
    apart = logarithms.max(axis=0) - logarithms.min(axis=0)
    return bool(len(gaps) and np.all(apart <= tolerance * last.groups.noise[gaps]))


def _whole_modules(layers: Sequence[str], members: Sequence[int], answered: set[str]) -> list[str]:
    """Members that were not answered yet; of a module that is called several times all calls or none."""
    outside = {module_of(layer) for place, layer in enumerate(layers) if place not in members}
    inside = [layers[place] for place in members if module_of(layers[place]) not in outside]
    return [layer for layer in inside if layer not in answered]


def _trainable(module: LightningModule) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
