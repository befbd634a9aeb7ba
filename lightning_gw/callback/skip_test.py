"""The skip test of a Trainer's network, on the inputs that its looks are made through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from lightning_gw.activations.isolation.snapshot import is_sharded
from lightning_gw.activations.observer import Observer
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.groups.groups import Groups
from lightning_gw.interventions.skip_test import Progress, skip_test
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.interventions.validation import watched_modes
from lightning_gw.records.reading import SKIP_TEST_FILE
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.storage.files import write_json, write_whole

#: Its picture, in the folder of the history.
SKIP_TEST_PICTURE = "skip-test.png"


def skip_test_of_run(
    trainer: Trainer,
    module: LightningModule,
    observer: Observer,
    config: AnalysisConfig,
    layers: Sequence[str],
    groups: Groups | None,
    monitor: str | None = None,
    progress: Progress | None = None,
    mode: str | Mapping[str, str] | None = None,
) -> SkipTest:
    """Make the skip test through the probe, which brings labels where it is drawn from the validation data.

    Args:
        trainer: The Trainer.
        module: The network.
        observer: Prepared: it has the probe.
        config: How looks are analysed.
        layers: Layers of a record, in its order.
        groups: Groups of these layers; None where there are none.
        monitor: See `skip_test`.
        progress: See `skip_test`.
        mode: See `skip_test`; None goes by the Trainer's callbacks that watch the metric, then by its name.

    Raises:
        ValueError: See `skip_test`; and if the weights of the network are spread over several processes.
        LookError: If the network cannot be run.
    """
    if any(is_sharded(child) for child in module.modules()):
        raise ValueError(
            "The skip test needs a network whose weights are whole on every process, and these are sharded."
        )
    single = tuple(dict.fromkeys(module_of(layer) for layer in layers))
    with trainer.precision_plugin.forward_context():
        return skip_test(
            module,
            observer.batches,
            layers=single,
            # Of a layer that is called several times all calls are left out together, whatever groups they are in.
            groups=groups if len(single) == len(layers) else None,
            monitor=monitor,
            pooling=observer.config.pooling,
            geometry=config.geometry,
            anchor=config.anchor,
            seed=config.seed,
            trainer=trainer,
            prepare=observer.placing(trainer, module),
            progress=progress,
            mode=watched_modes(trainer.callbacks) if mode is None else mode,  # type: ignore[attr-defined]
        )


def write_skip_test(folder: Path, found: SkipTest, **more: Any) -> None:
    """Write ``skip-test.json``, with what else there is to say, and ``skip-test.png`` into a folder.

    Raises:
        OSError: If they cannot be written.
    """
    from lightning_gw.figures import draw_skip_test  # Matplotlib is slow to import
    from lightning_gw.figures.png import Picture

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SKIP_TEST_FILE, {**more, **found.to_json()})
    write_whole(folder / SKIP_TEST_PICTURE, Picture.of(draw_skip_test(found)).png)
