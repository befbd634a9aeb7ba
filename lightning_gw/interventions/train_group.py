"""Training one group of layers, and what reads the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer

from lightning_gw.groups.choice import Choice
from lightning_gw.interventions.live import (
    check_share,
    choose_from,
    decided_by_first,
    freeze,
    last_look_of,
    modules_of,
    recorded,
    refuse_rivals,
    refuse_unprepared,
    release,
    share_of_steps,
    watcher_of,
)
from lightning_gw.utilities.calls import module_of


class TrainGroup(BaseFinetuning):
    """Freezes every layer that was looked at but those of one group; what is in none of them, such as a head, trains.

    With the history of another run, as of a look at the pre-trained network, it does so from the start. Without one it
    takes the groups that a `GWSimilarity` in the same Trainer has found after a share of the steps, and trains
    everything until then; where there is no group to be relied on by then, it says so and goes on training everything.

    Args:
        history: Folder of a run of the same model; None for this training's own.
        group: ``"last"``, ``"largest"``, ``"changed-most"``, or a number from 1.
        at: Share of the steps after which the group is chosen; only without a history.
        control: Seed; train as many layers in a row chosen at random in place of the group.
        anyway: Take a group too that is weak, unstable or built in.

    Attributes:
        trained: Names of the layers that go on training; empty while all do.

    Raises:
        ValueError: If an argument is out of range; at the start of ``fit``, if the history is of another model, has no
            group to be relied on (`NoGroupError`), or another callback says what trains.

    Example:
        >>> from lightning_gw import TrainGroup
        >>> TrainGroup(history="runs/looked-at", group="changed-most").trained
        ()
    """

    def __init__(
        self,
        history: str | Path | None = None,
        group: str | int = "last",
        at: float = 0.25,
        control: int | None = None,
        anyway: bool = False,
    ) -> None:
        super().__init__()
        self.history = history
        self.group = group
        self.at = check_share(at)
        self.control = control
        self.anyway = anyway
        self.trained: tuple[str, ...] = ()
        self._frozen: tuple[str, ...] = ()
        self._due: int | None = None  # step at which the group is chosen
        self._decided = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.trained, self._frozen, self._due, self._decided = (), (), None, False
            refuse_rivals(self, trainer)
            if self.history is None:
                watcher_of(self, trainer)
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze what a history on disk says; without one nothing yet."""
        if self.history is not None:
            choice = choose_from(recorded(self.history, pl_module), self.group, self.control, self.anyway)
            self._keep(choice)
            freeze(pl_module, modules_of(pl_module, self._frozen))
            rank_zero_info(f"TrainGroup trains {choice.said}.")

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if self.history is not None:
            return
        refuse_unprepared(self, trainer)
        if self._frozen:  # a resumed run
            freeze(pl_module, modules_of(pl_module, self._frozen))
        if self._due is None:  # a resumed run keeps its plan, even if its budget was changed
            self._due = share_of_steps(self, trainer, self.at)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._decided or self._due is None or trainer.global_step < self._due:
            return
        self._decided = True
        watcher = watcher_of(self, trainer)
        found = decided_by_first(
            trainer, lambda: choose_from(last_look_of(watcher), self.group, self.control, self.anyway)
        )
        if isinstance(found, str):
            rank_zero_warn(f"TrainGroup goes on training everything from step {trainer.global_step} on: {found}")
            return
        self._keep(found)
        release(trainer, freeze(pl_module, modules_of(pl_module, self._frozen)))
        rank_zero_info(f"TrainGroup trains {found.said} from step {trainer.global_step} on.")

    def state_dict(self) -> dict[str, Any]:
        own = {"trained": list(self.trained), "frozen": list(self._frozen), "due": self._due, "decided": self._decided}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.trained, self._frozen = tuple(state_dict["trained"]), tuple(state_dict["frozen"])
        self._due, self._decided = state_dict["due"], state_dict["decided"]

    def _keep(self, choice: Choice) -> None:
        own = {module_of(name) for name in choice.names}
        self.trained = choice.names
        self._frozen = tuple(name for name in choice.layers if module_of(name) not in own)
