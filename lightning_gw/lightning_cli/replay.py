"""``lightning-gw replay``: the records of a run from its saved checkpoints, without training.

Every checkpoint's weights are put into the network that the run's config builds, the probe goes through it as it did
during training, and the look begins with the memory (groups, growth, where the search starts) that it began with then.
So the records are those of the run, to the last bit. A run that was not watched gets its first records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.activations.running.normalisation import unsettled_layers
from lightning_gw.analysis.analysis import NO_NULL
from lightning_gw.analysis.job import LookJob
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.callback.look.run_null import null_of_run
from lightning_gw.callback.messages import look_message
from lightning_gw.lightning_cli.checkpoints import (
    Checkpoint,
    CheckpointCLI,
    find_checkpoint,
    load_checkpoint,
    put_weights,
)
from lightning_gw.records.context import LookContext
from lightning_gw.records.history import History
from lightning_gw.records.reading import address_of, folder_name
from lightning_gw.significance.evidence import null_state
from lightning_gw.significance.nulls.origin import Origin, origin_of
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors


def replay(checkpoints: Sequence[str | Path], configs: Sequence[str | Path], out: str | Path) -> None:
    """Look at the checkpoints of a run as its `GWSimilarity` would have during training.

    Args:
        checkpoints: Files that Lightning saved.
        configs: Configs of ``lightning-gw fit`` that build the model, the data, the Trainer and its callbacks, such as
            the ``config.yaml`` that a run leaves. Without a `GWSimilarity` among the callbacks its defaults are taken.
        out: Folder in which ``gw/`` is made.

    Raises:
        UsageError: If a file cannot be used, or `out` holds a history already.
    """
    CheckpointCLI.look(configs, lambda watchers: replaying(watchers, checkpoints, out))


def replaying(
    watchers: Sequence[GWSimilarity], checkpoints: Sequence[str | Path], out: str | Path, networks: int | None = None
) -> Callback:
    """What looks at checkpoints where training would begin, and then stops it before its first step.

    Args:
        watchers: How to look.
        checkpoints: Files that Lightning saved.
        out: Folder in which ``gw/`` is made.
        networks: How many networks with fresh weights to hold the groups against; None for what the run had.

    Raises:
        UsageError: If a file is no checkpoint.
    """
    found = [find_checkpoint(Path(checkpoint)) for checkpoint in checkpoints]
    by_step = {at.step: at for at in found}  # a link to the newest is the same step
    return _Replay(watchers, [by_step[step] for step in sorted(by_step)], Path(out), networks)


class _Replay(Callback):
    """Looks at checkpoints where training would begin, and then stops it before its first step."""

    def __init__(
        self,
        watchers: Sequence[GWSimilarity],
        checkpoints: Sequence[Checkpoint],
        out: Path,
        networks: int | None,
    ) -> None:
        self._watchers = watchers
        self._checkpoints = checkpoints
        self._out = out
        self._networks = networks

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True
        if trainer.world_size > 1:
            raise UsageError("`replay` looks on one device; pass a config with trainer.devices: 1.")
        # Of the network as it was built: with a checkpoint's weights it would look trained.
        unsettled = sorted(unsettled_layers(pl_module))
        asked = self._networks is not None
        origins = [origin_of(pl_module, watcher.untrained) if asked else None for watcher in self._watchers]
        for watcher, origin in zip(self._watchers, origins, strict=True):
            replayed = _Replayed(watcher, self._out, self._networks, origin, unsettled)
            replayed.look_at(self._checkpoints, trainer, pl_module)


class _Replayed:
    """The records of one `GWSimilarity`, made once more."""

    def __init__(
        self,
        watcher: GWSimilarity,
        out: Path,
        networks: int | None,
        origin: Origin | None,
        unsettled: Sequence[str],
    ) -> None:
        folder = out / folder_name(watcher.name)
        self._history = History.open(folder)
        if len(self._history):
            raise UsageError(f"{folder} holds a history already. Name another folder: --out, or in a script out.")
        self._watcher = watcher
        self._key = watcher.checkpoint_key
        self._solver = Solver(watcher.analysis_config)
        self._networks, self._origin = networks, origin
        self._unsettled = unsettled  # what a run that was not watched would have read by the probe's statistics
        self._null: Mapping[str, Any] | None = None  # made for this replay

    def look_at(self, checkpoints: Sequence[Checkpoint], trainer: Trainer, module: LightningModule) -> None:
        prepared = False
        for at in checkpoints:
            checkpoint = load_checkpoint(at.path)
            put_weights(module, checkpoint, at.path)
            state = checkpoint.get("callbacks", {}).get(self._key) or {}
            with isolated_randomness(self._watcher.seed), plain_tensors():
                if not prepared:
                    layers = state.get("analysis", {}).get("layers", ())
                    observer = self._watcher.observer
                    unsettled = state.get("unsettled") if state else self._unsettled
                    for warning in observer.prepare(trainer, module, state.get("probe_hash"), layers, unsettled):
                        say(f"Note: {warning}")
                    prepared = True
                    self._make_null(trainer, module)
                self._look(trainer, module, at.step, checkpoint, state)
        say(f"The replayed history is in {self._history.path}.")
        assert self._history.path is not None
        if self._networks is None:  # a test has more to say
            say(f"For a page to look at:  lightning-gw report {quote(str(address_of(self._history.path)))}")

    def _make_null(self, trainer: Trainer, module: LightningModule) -> None:
        if self._networks is None:
            return
        watcher = self._watcher
        comparing = watcher.analysis_config.comparing
        found, trained = null_of_run(
            trainer, module, watcher.observer, self._networks, comparing, watcher.untrained, self._origin
        )
        if isinstance(found, str):
            raise UsageError(f"Groups cannot be tested: {found.removeprefix('none: ')}.")
        self._null = null_state(found) | {"trained": trained}
        say(f"{found.samples} networks with fresh weights were looked through; now the checkpoint itself.")

    def _look(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: int,
        checkpoint: Mapping[str, Any],
        state: Mapping[str, Any],
    ) -> None:
        observer = self._watcher.observer
        activations = observer.observe(trainer, module)
        live = self._begin_as_then(state, step)
        notes = [*observer.notes, *activations.notes]
        if not live and len(self._history) == 0 and step > 0:
            notes.append(
                "Replayed from a checkpoint that knows of no look at its step: growth and groups begin at this record."
            )
        context = LookContext(
            step=step,
            epoch=int(live.get("epoch", checkpoint.get("epoch", 0))),
            probe=observer.description(tuple(activations.representations)),
            metrics=dict(live.get("metrics", {})),
            notes=tuple(notes),
        )
        null = live.get("null")
        if not live and len(self._history) == 0 and step > 0:
            # It looks at a trained network first: what it finds there is not what the architecture does by itself.
            trained = {"trained": f"training had gone on to step {step} before the first look"}
            null = dict(self._null or null_state(NO_NULL)) | trained
        elif self._null is not None:
            null = self._null
        weights = observer.weights_of_layers(module)
        self._solver.submit(LookJob(context, activations.representations, null=null, weights=weights))
        for result in self._solver.collect():
            if result.record is None:
                assert result.error is not None
                raise result.error
            self._history.append(result.record)
            say(look_message(self._watcher.prefix, result, 0.0))

    def _begin_as_then(self, state: Mapping[str, Any], step: int) -> Mapping[str, Any]:
        """Give the solver the memory that the run's own look at this step began with, or would have.

        Returns:
            What the checkpoint knows of that look; nothing where it knows of none. Where the run was not watched, the
            memory is that of the look replayed before.
        """
        if not state:
            return {}
        pending, last = list(state.get("pending", ())), state.get("last") or {}
        if pending and pending[-1]["step"] == step:
            known, before, pending = pending[-1], state["analysis"], pending[:-1]
        elif last.get("step") == step and state.get("before") is not None:
            known, before, pending = last, state["before"], []
        else:
            known, before = {"metrics": state["metrics"]}, state["analysis"]
        self._solver.load_state_dict({"analysis": before, "pending": pending})
        self._solver.resume()  # those not solved yet when the checkpoint was saved come first
        self._solver.collect()
        return known
