"""Saved checkpoints in place of training: read, put into the network that a run's config builds, and looked at.

Checkpoints are loaded ``weights_only``: tensors and plain values, and no code from the file is ever run.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.analysis import AnalysisConfig
from lightning_gw.analysis.start import Held, Start, null_of_layers
from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.geometry.geometries import get_geometry
from lightning_gw.groups.reference import Reference
from lightning_gw.interventions import DropLayers, FreezeSettledGroups, TrainGroup, expect_dropped_layers
from lightning_gw.interventions.validation import watched_modes
from lightning_gw.lightning_cli.fit import FitCLI
from lightning_gw.lightning_cli.notices import without_notices
from lightning_gw.lightning_cli.options import find_class
from lightning_gw.records.reading import RECORDS_FILE, address_of, folder_name
from lightning_gw.report import write_report
from lightning_gw.significance.evidence import null_from_state
from lightning_gw.utilities.errors import UsageError, reason_of
from lightning_gw.utilities.output import say

#: Act on groups while a network trains, which it does not here; layers that they removed `put_weights` removes again.
_ACTING = DropLayers | FreezeSettledGroups | TrainGroup


#: The histories in a run's folder.
HISTORIES = f"{folder_name(None)}*/{RECORDS_FILE}"
#: So many folders above a checkpoint the history of its run is looked for.
_FOLDERS_ABOVE = 3


@dataclass(frozen=True)
class Checkpoint:
    """A file that Lightning saved.

    Attributes:
        path: The file.
        step: Trainer global step.
    """

    path: Path
    step: int


class CheckpointCLI(FitCLI):
    """Builds what ``fit`` would build, and has a callback look where training would begin.

    Attributes:
        looking: Makes that callback of the `GWSimilarity` callbacks of the configs, or of one with defaults where there
            is none. It is to stop training before its first step.
        modes: Filled with whether less or more is better (``"min"``, ``"max"``) of each metric that a callback of
            Lightning's is to watch.
    """

    looking: Callable[[Sequence[GWSimilarity]], Callback]
    modes: dict[str, str]

    @classmethod
    def look(
        cls,
        configs: Sequence[str | Path],
        looking: Callable[[Sequence[GWSimilarity]], Callback],
        modes: dict[str, str] | None = None,
    ) -> None:
        """Parse, build and look; for `looking` and `modes` see the class."""
        told = {} if modes is None else modes
        job = type("_CheckpointJob", (cls,), {"looking": staticmethod(looking), "modes": told})
        with without_notices():
            job(
                args=["fit", *(word for config in configs for word in ("--config", str(config)))],
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
        lightnings = [callback for callback in callbacks if _is_lightnings(callback.class_path)]
        self.modes |= watched_modes(callback.get("init_args") or Namespace() for callback in lightnings)
        config.trainer.callbacks = [callback for callback in callbacks if callback not in lightnings]

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        everything = [*(config.get("callbacks") or []), *callbacks]
        watchers = [callback for callback in everything if isinstance(callback, GWSimilarity)] or [GWSimilarity()]
        others = [callback for callback in everything if not isinstance(callback, GWSimilarity | _ACTING)]
        config["callbacks"] = [*others, self.looking(watchers)]
        return Trainer(**config)


def _is_lightnings(class_path: str) -> bool:
    target = find_class(class_path, "trainer.callbacks")
    home = class_path if target is None else target.__module__
    return "." not in home or home.split(".")[0] in ("pytorch_lightning", "lightning")


def find_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint with the step that it was saved at.

    Raises:
        UsageError: If there is none at `path`.
    """
    step = load_checkpoint(path, lazily=True).get("global_step")
    if not isinstance(step, int):
        raise UsageError(f"{path} is no checkpoint of Lightning: it names no global_step.")
    return Checkpoint(path, step)


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that left a checkpoint: the nearest above it with a history; None where there is none."""
    above = list(checkpoint.absolute().parents)[:_FOLDERS_ABOVE]
    return next((folder for folder in above if any(folder.glob(HISTORIES))), None)


def tell_page(history: Path) -> None:
    """Draw the page of the run anew whose history is in a folder, and say where it is."""
    run = address_of(history)
    try:
        say(f"The page of the run shows it:  {write_report(run).resolve().as_uri()}")
    except (OSError, ValueError) as error:
        again = f"lightning-gw report {quote(str(run))} --out ELSEWHERE"
        say(f"The page of the run could not be written ({reason_of(error)}). Elsewhere:  {again}")


def load_checkpoint(path: Path, lazily: bool = False) -> dict[str, Any]:
    """What a checkpoint holds.

    Args:
        path: The file.
        lazily: Whether to read tensors only where they are used, for as long as the file stays as it is.

    Raises:
        UsageError: If there is none at `path`, or it holds more than tensors and plain values.
    """
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder, as sharded training saves. Make a file of it: "
            "python -m pytorch_lightning.utilities.consolidate_checkpoint."
        )
    if not path.is_file():
        raise UsageError(f"{path} does not exist. Give a checkpoint file of a run.")
    try:
        # Torch maps no other files than those, which it has written since 1.6.
        mapped = lazily and zipfile.is_zipfile(path)
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise UsageError(
            f"{path} holds more than tensors and plain values, and is not loaded, because that would run code from it "
            f"({reason})."
        ) from error
    except Exception as error:  # whatever torch makes of a file that is no checkpoint
        raise UsageError(f"{path} cannot be read ({reason_of(error)}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is no checkpoint of Lightning: it holds no state_dict.")
    return checkpoint


def put_weights(module: LightningModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Give a network the weights of a checkpoint, which was loaded from `path`.

    Raises:
        UsageError: If they do not fit.
    """
    module.on_load_checkpoint(checkpoint)
    expecting = expect_dropped_layers(module)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UsageError(f"The weights of {path} do not fit the model of the config: {error}") from error
    finally:
        expecting.remove()


def reference_of_run(state: Mapping[str, Any], config: AnalysisConfig) -> Reference | None:
    """What the run held its last look against, from its state in a checkpoint; None where there was nothing."""
    memory = state.get("analysis", {})
    if "begun" not in memory:
        return None
    null = null_of_layers(null_from_state(memory["null"], get_geometry(config.geometry)), memory["layers"])
    return Held.of(Start.from_state(memory["begun"]), null, first=False, comparable=config.paired).reference
