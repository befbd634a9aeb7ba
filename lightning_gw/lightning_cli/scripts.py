"""`replay` and its like for scripts: a module and data of one's own in place of a config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.lightning_cli.notices import without_notices
from lightning_gw.lightning_cli.p_values import NETWORKS, require_enough, tell
from lightning_gw.lightning_cli.replay import replaying
from lightning_gw.records.history import History, load_history
from lightning_gw.records.reading import folder_name
from lightning_gw.records.record import Record


def replay(
    module: LightningModule,
    data: Any,
    checkpoints: Sequence[str | Path],
    out: str | Path = "replay",
    watcher: GWSimilarity | None = None,
) -> History:
    """Look at the saved checkpoints of a training, watched or not; nothing is trained.

    Args:
        module: The network that the checkpoints are of; afterwards it has the weights of the last one.
        data: A datamodule, or the training loader where the probe is to be drawn from that.
        checkpoints: Files that Lightning saved, in any order.
        out: Folder in which ``gw/`` is made.
        watcher: How to look; a `GWSimilarity` with its defaults where None.

    Returns:
        The history, one record a checkpoint. Those of a run that was watched are its own, to the last bit, if `module`,
        `data` and `watcher` are.

    Raises:
        UsageError: If a file cannot be used, or `out` holds a history already.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> import lightning_gw as lgw
        >>> def network():
        ...     model = BoringModel()
        ...     model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        ...     return model
        >>> folder = tempfile.TemporaryDirectory()
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(max_steps=4, default_root_dir=folder.name, **quiet)
        >>> trainer.fit(network())  # nobody watched
        >>> trainer.save_checkpoint(f"{folder.name}/last.ckpt")
        >>> model, watcher = network(), lgw.GWSimilarity(probe_size=16, verbose=False)
        >>> saved = [f"{folder.name}/last.ckpt"]
        >>> seen = lgw.replay(model, model.train_dataloader(), saved, f"{folder.name}/seen", watcher)
        gw ...
        >>> seen[-1]
        Record(step 4, 4 layers: no groups)
        >>> folder.cleanup()
    """
    watcher = watcher or GWSimilarity()
    looking(module, data, replaying([watcher], checkpoints, out))
    return load_history(Path(out) / folder_name(watcher.name))


def p_values(
    module: LightningModule,
    data: Any,
    checkpoint: str | Path,
    out: str | Path = "test",
    watcher: GWSimilarity | None = None,
    networks: int = NETWORKS,
) -> Record:
    """Hold the groups in a saved checkpoint against networks of its architecture with fresh weights.

    Args:
        module: The network that the checkpoint is of, as it is built; afterwards it has the checkpoint's weights.
        data: A datamodule, or the training loader where the probe is to be drawn from that.
        checkpoint: File that Lightning saved.
        out: Folder in which ``gw/`` is made; ``test`` in the run's folder, and the page of the run shows them.
        watcher: How to look, as during the training; a `GWSimilarity` with its defaults where None.
        networks: How many networks; the smallest p-value is 1 over one more.

    Returns:
        The record of that checkpoint, whose groups have a p-value for every boundary (`Groups.p_values`).

    Raises:
        UsageError: If a file cannot be used, `out` holds a history already, or there are too few networks.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> import lightning_gw as lgw
        >>> def network():
        ...     model = BoringModel()
        ...     model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        ...     return model
        >>> folder = tempfile.TemporaryDirectory()
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(max_steps=4, default_root_dir=folder.name, **quiet)
        >>> trainer.fit(network())  # nobody watched
        >>> trainer.save_checkpoint(f"{folder.name}/last.ckpt")
        >>> model, watcher = network(), lgw.GWSimilarity(probe_size=16, verbose=False)
        >>> data, saved = model.train_dataloader(), f"{folder.name}/last.ckpt"
        >>> record = lgw.p_values(model, data, saved, f"{folder.name}/tested", watcher, networks=19)
        19 networks with fresh weights were looked through; now the checkpoint itself.
        gw ...
        >>> record.null, 0 < record.groups.p_value <= 1
        ('19 re-initialised networks (reset_parameters)', True)
        >>> folder.cleanup()
    """
    require_enough(f"networks={networks}", networks)
    watcher = watcher or GWSimilarity()
    looking(module, data, replaying([watcher], [checkpoint], out, networks))
    found = load_history(Path(out) / folder_name(watcher.name))
    tell(found)
    return found[-1]


def looking(module: LightningModule, data: Any, look: Callback) -> None:
    """Have a callback look where training would begin."""
    with without_notices():
        trainer = Trainer(
            callbacks=[look],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            devices=1,
        )
        trainer.fit(module, data)
