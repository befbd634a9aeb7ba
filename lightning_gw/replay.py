"""``lightning-gw replay``: the records of a run from its saved checkpoints, without training.

Every checkpoint's weights are put into the network that the run's config builds, the probe goes through it as it did
during training, and the look begins with the memory (groups, growth, where the search starts) that it began with then.
So the records are those of the run, to the last bit. A run that was not watched gets its first records.

Checkpoints are loaded ``weights_only``: tensors and plain values, and no code from the file is ever run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.callback import GWSimilarity
from lightning_gw.errors import UsageError
from lightning_gw.fit import FitCLI
from lightning_gw.history import History
from lightning_gw.options import find_class
from lightning_gw.solving import Job, Solver
from lightning_gw.terminal import say_look
from lightning_gw.undisturbed import isolated_randomness, plain_tensors


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
    found = {at.step: at for at in map(_peek, map(Path, checkpoints))}  # a link to the newest is the same step
    arguments = [word for config in configs for word in ("--config", str(config))]
    _ReplayCLI.replay([found[step] for step in sorted(found)], Path(out), arguments)


@dataclass(frozen=True)
class _Checkpoint:
    path: Path
    step: int


class _Replay(Callback):
    """Looks at checkpoints where training would begin, and then stops it before its first step."""

    def __init__(self, watchers: Sequence[GWSimilarity], checkpoints: Sequence[_Checkpoint], out: Path) -> None:
        self._watchers = watchers
        self._checkpoints = checkpoints
        self._out = out

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True
        if trainer.world_size > 1:
            raise UsageError("`replay` looks on one device; pass a config with trainer.devices: 1.")
        for watcher in self._watchers:
            _Replayed(watcher, self._out).look_at(self._checkpoints, trainer, pl_module)


class _Replayed:
    """The records of one `GWSimilarity`, made once more."""

    def __init__(self, watcher: GWSimilarity, out: Path) -> None:
        folder = out / ("gw" if watcher.name is None else f"gw-{watcher.name}")
        self._history = History.open(folder)
        if len(self._history):
            raise UsageError(f"{folder} holds a history already. Name another folder with --out.")
        self._watcher = watcher
        self._key = watcher._generate_state_key(name=watcher.name)
        self._solver = Solver(watcher._solver.arguments)

    def look_at(self, checkpoints: Sequence[_Checkpoint], trainer: Trainer, module: LightningModule) -> None:
        prepared = False
        for at in checkpoints:
            checkpoint = _load(at.path)
            _put_weights(module, checkpoint, at.path)
            state = checkpoint.get("callbacks", {}).get(self._key) or {}
            with isolated_randomness(self._watcher.seed), plain_tensors():
                if not prepared:
                    layers = state.get("analysis", {}).get("layers", ())
                    observer = self._watcher._observer
                    for warning in observer.prepare(trainer, module, state.get("probe_hash"), layers):
                        print(f"Note: {warning}")
                    prepared = True
                self._look(trainer, module, at.step, checkpoint, state)
        print(f"The replayed history is in {self._history.path}.")
        print(f"For a page to look at:  lightning-gw report {self._out()}")

    def _out(self) -> Path:
        assert self._history.path is not None
        return self._history.path.parent

    def _look(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: int,
        checkpoint: Mapping[str, Any],
        state: Mapping[str, Any],
    ) -> None:
        observer = self._watcher._observer
        activations = observer.observe(trainer, module)
        live = self._begin_as_then(state, step)
        notes = [*observer.notes, *activations.notes]
        if not live and len(self._history) == 0 and step > 0:
            notes.append(
                "Replayed from a checkpoint that knows of no look at its step: growth and groups begin at this record."
            )
        job = Job(
            step=step,
            epoch=int(live.get("epoch", checkpoint.get("epoch", 0))),
            representations=activations.representations,
            probe=observer.description(tuple(activations.representations)),
            metrics=dict(live.get("metrics", {})),
            notes=tuple(notes),
            null=live.get("null"),
        )
        self._solver.submit(job)
        for outcome in self._solver.collect():
            if outcome.record is None:
                assert outcome.error is not None
                raise outcome.error
            self._history.append(outcome.record)
            print(say_look(self._watcher.prefix, outcome, 0.0))

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


class _ReplayCLI(FitCLI):
    """Builds what ``fit`` would build, and looks at checkpoints instead of training."""

    checkpoints: Sequence[_Checkpoint]
    out: Path

    @classmethod
    def replay(cls, checkpoints: Sequence[_Checkpoint], out: Path, arguments: Sequence[str]) -> None:
        """Parse, build and look."""
        job = type("_ReplayJob", (cls,), {"checkpoints": checkpoints, "out": out})
        job(
            args=["fit", *arguments],
            save_config_callback=None,
            parser_kwargs={"prog": "lightning-gw", "exit_on_error": False, "fit": {"exit_on_error": False}},
        )

    def before_instantiate_classes(self) -> None:
        """Leave out what writes, shows or limits, so that only the look remains."""
        config = self.config.fit
        config.ckpt_path = None
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        no_end = {"min_steps": None, "min_epochs": None, "max_time": None, "fast_dev_run": False}
        for name, value in {**quiet, **no_end, "logger": False, "num_sanity_val_steps": 0}.items():
            config.trainer[name] = value
        callbacks = config.trainer.callbacks or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        # Lightning's own save, stop and show; those of the user may change the network, as training strategies do.
        config.trainer.callbacks = [callback for callback in callbacks if not _is_lightnings(callback.class_path)]

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        everything = [*(config.get("callbacks") or []), *callbacks]
        watchers = [callback for callback in everything if isinstance(callback, GWSimilarity)] or [GWSimilarity()]
        others = [callback for callback in everything if not isinstance(callback, GWSimilarity)]
        config["callbacks"] = [*others, _Replay(watchers, self.checkpoints, self.out)]
        return Trainer(**config)


def _is_lightnings(class_path: str) -> bool:
    target = find_class(class_path, "trainer.callbacks")
    home = class_path if target is None else target.__module__
    return "." not in home or home.split(".")[0] in ("pytorch_lightning", "lightning")


def _peek(path: Path) -> _Checkpoint:
    step = _load(path).get("global_step")
    if not isinstance(step, int):
        raise UsageError(f"{path} is no checkpoint of Lightning: it names no global_step.")
    return _Checkpoint(path, step)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"{path} does not exist. `replay` takes the checkpoint files of a run.")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise UsageError(
            f"{path} holds more than tensors and plain values, and is not loaded, because that would run code from it "
            f"({reason})."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is no checkpoint of Lightning: it holds no state_dict.")
    return checkpoint


def _put_weights(module: LightningModule, checkpoint: dict[str, Any], path: Path) -> None:
    module.on_load_checkpoint(checkpoint)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UsageError(f"The weights of {path} do not fit the model of the config: {error}") from error
