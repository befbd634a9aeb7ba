"""``lightning-gw skip-test``: what the network in a checkpoint loses without each of its layers.

The network, the data and the `GWSimilarity` are built and loaded as ``lightning-gw replay`` builds and loads them, and
nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn

from lightning_gw.activations.reading.capture import Activations
from lightning_gw.activations.running.normalisation import unsettled_layers
from lightning_gw.analysis.analysis import Analysis
from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.callback.skip_test import SKIP_TEST_PICTURE, skip_test_of_run, write_skip_test
from lightning_gw.groups.reference import Reference
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.lightning_cli.checkpoints import (
    CheckpointCLI,
    find_checkpoint,
    load_checkpoint,
    put_weights,
    reference_of_run,
    run_of,
    tell_page,
)
from lightning_gw.records.reading import RECORDS_FILE, SKIP_TEST_FILE, folder_name
from lightning_gw.report.run.afterwards import SKIP_TEST_FOLDER, folder_of_skip_test
from lightning_gw.significance import AdjacentSolver
from lightning_gw.significance.nulls.origin import origin_of
from lightning_gw.significance.nulls.reinitialise import Reinitialiser
from lightning_gw.utilities.errors import LookError, UsageError
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors

#: Columns that the table needs where the terminal does not say how many it has.
_WIDTH = 150


def run_skip_test(
    checkpoint: str | Path,
    configs: Sequence[str | Path],
    out: str | Path | None = None,
    monitor: str | None = None,
    mode: str | None = None,
) -> None:
    """Make the skip test of a checkpoint, and print, write and draw it.

    Args:
        checkpoint: File that Lightning saved.
        configs: Configs of ``lightning-gw fit``, as `replay.replay` takes them.
        out: Folder for ``skip-test.json`` and ``skip-test.png``; None for ``skip-test`` in the folder of the run, where
            its page finds them, or in the working directory where the run left no history.
        monitor: Which metric of the module's validation to judge by; None takes its first loss.
        mode: ``"min"`` where less of it is better, ``"max"`` where more is; None goes by the callbacks of the configs
            that watch it, such as ModelCheckpoint, then by its name.

    Raises:
        UsageError: If a file cannot be used, or the network allows no skip test.
    """
    at = find_checkpoint(Path(checkpoint))
    watched: dict[str, str] = {}
    place = (run_of(at.path) or Path()) / SKIP_TEST_FOLDER if out is None else Path(out)
    CheckpointCLI.look(configs, lambda watchers: _SkipTest(watchers, at.path, place, monitor, mode or watched), watched)


class _SkipTest(Callback):
    """Makes the test where training would begin, and stops it before its first step."""

    def __init__(
        self,
        watchers: Sequence[GWSimilarity],
        path: Path,
        out: Path,
        monitor: str | None,
        mode: str | Mapping[str, str],
    ) -> None:
        self._watchers = watchers
        self._path = path
        self._out = out
        self._monitor, self._mode = monitor, mode

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True
        if trainer.world_size > 1:
            raise UsageError("`skip-test` runs on one device; pass a config with trainer.devices: 1.")
        checkpoint = load_checkpoint(self._path)
        built = sorted(unsettled_layers(pl_module))  # for a run that was not watched
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        for watcher in self._watchers:
            state = checkpoint.get("callbacks", {}).get(watcher.checkpoint_key) or {}
            # Of the network as the config builds it: with the checkpoint's weights it would look trained.
            fresh = origin_of(pl_module, watcher.untrained).fresh
            put_weights(pl_module, checkpoint, self._path)
            reference = reference_of_run(state, watcher.analysis_config)
            try:
                unsettled = state.get("unsettled") if state else built
                found = self._found(watcher, reference, fresh, unsettled, trainer, pl_module, console)
            except (ValueError, LookError) as error:
                raise UsageError(f"No skip test: {error}") from error
            folder = self._out if watcher.name is None else self._out / watcher.name
            console.print(table_of(found))
            console.print("\n".join(found.sentences()), highlight=False, markup=False)
            try:
                write_skip_test(folder, found, checkpoint=str(self._path), step=checkpoint["global_step"])
            except OSError as error:
                raise UsageError(f"{folder} cannot be written ({error}). Name another folder with --out.") from error
            console.print(
                f"Picture and numbers are in {folder}: {SKIP_TEST_PICTURE}, {SKIP_TEST_FILE}", highlight=False
            )
            history = self._out.parent / folder_name(watcher.name)
            if folder == folder_of_skip_test(history) and (history / RECORDS_FILE).is_file():
                tell_page(history)

    def _found(
        self,
        watcher: GWSimilarity,
        reference: Reference | None,
        fresh: Reinitialiser | None,
        unsettled: Sequence[str] | None,
        trainer: Trainer,
        module: LightningModule,
        console: Console,
    ) -> SkipTest:
        observer, config = watcher.observer, watcher.analysis_config

        def seen(network: nn.Module) -> Activations:
            assert isinstance(network, LightningModule)
            with isolated_randomness(watcher.seed), plain_tensors():
                return observer.observe(trainer, network)

        with isolated_randomness(watcher.seed), plain_tensors():
            for warning in observer.prepare(trainer, module, None, (), unsettled):
                console.print(f"Note: {warning}", highlight=False, markup=False)
        activations = seen(module)
        if reference is None and fresh is not None:
            solver = AdjacentSolver(config.geometry, "fast", config.anchor, config.seed)
            reference = Reference(solver(seen(fresh.draw(watcher.seed)).representations).matched[None])
        groups, _ = Analysis(config).groups_alone(activations.representations, reference, activations.sequences)
        console.print(groups.sentence(), highlight=False, markup=False)
        with Progress(
            TextColumn("[progress.description]{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task("Without")

            def show(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total, description=f"Without {what}" if done else what)

            layers = tuple(activations.representations)
            return skip_test_of_run(trainer, module, observer, config, layers, groups, self._monitor, show, self._mode)


def table_of(found: SkipTest) -> Table:
    """The layers, one a row, numbered from 1."""
    table = Table(box=None, header_style="bold")
    for name in ("layer", "", "group", f"{'rise' if found.mode == 'min' else 'change'} of {found.metric}", "± s.e."):
        table.add_column(name, justify="left" if name in ("", "layer") else "right")
    for name in ("GW distance", "1 − CKA", "1 − cosine"):
        table.add_column(name, justify="right")
    groups = ["–" if label < 0 else str(label + 1) for label in found.labels or [-1] * len(found.layers)]
    if len(set(groups) - {"–"}) == 1:  # all that was found is that there is no boundary
        groups = ["none"] * len(groups)
    for place, (row, group) in enumerate(zip(found.layers, groups, strict=True), start=1):
        rise = row.reason or f"{row.rise:+.4g}".replace("-", "−")
        rest = (row.error, row.adjacent, row.one_minus_cka, row.one_minus_cosine)
        told = ["–" if value != value else f"{value:.3g}" for value in rest]
        table.add_row(str(place), row.layer, group, rise, *told)
    return table
