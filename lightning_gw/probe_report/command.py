"""``lightning-gw probe-report``: how the groups in a checkpoint depend on how one looks at it.

The network, the data and the `GWSimilarity` are built and loaded as ``lightning-gw replay`` builds and loads them, and
nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from lightning_gw.activations.observer import Observer
from lightning_gw.activations.probe.probe import SMALLEST_PROBE, Balance, Probe
from lightning_gw.activations.reading.capture import Activations
from lightning_gw.activations.reading.pooling import check_pooling
from lightning_gw.activations.running.normalisation import unsettled_layers
from lightning_gw.callback.gw_similarity import GWSimilarity
from lightning_gw.groups.reference import Reference
from lightning_gw.lightning_cli.checkpoints import (
    CheckpointCLI,
    find_checkpoint,
    load_checkpoint,
    put_weights,
    reference_of_run,
)
from lightning_gw.lightning_cli.scripts import looking
from lightning_gw.probe_report.findings import ProbeReport
from lightning_gw.probe_report.looking import probe_report
from lightning_gw.probe_report.picture import draw_probe_report
from lightning_gw.probe_report.settings import ProbeSetting, settings_around
from lightning_gw.probe_report.words import say
from lightning_gw.significance import AdjacentSolver
from lightning_gw.significance.nulls.origin import Origin, origin_of
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors
from lightning_gw.utilities.storage.files import write_whole

SIZES = (32, 64, 128, 256)
POOLINGS = ("auto", "mean", "scaled", "first", "last")
#: Names under which a batch usually brings its labels.
_LABELS = ("labels", "label", "target", "targets", "y")
#: Columns that the table needs where the terminal does not say how many it has.
_WIDTH = 150


def report_on_probe(
    checkpoint: str | Path,
    configs: Sequence[str | Path],
    out: str | Path,
    sizes: Sequence[int] = SIZES,
    poolings: Sequence[str] = POOLINGS,
    balances: Sequence[str] | None = None,
    without: Sequence[str] | None = None,
    draws: int = 3,
) -> None:
    """Look at a checkpoint under every setting, and print, write and draw how the groups depend on it.

    Args:
        checkpoint: File that Lightning saved.
        configs: Configs of ``lightning-gw fit``, as `replay.replay` takes them.
        out: Folder for ``probe-report.json`` and ``probe-report.png``; one of that name is replaced.
        sizes: Probe sizes beside the run's own.
        poolings: Poolings beside the run's own.
        balances: What to balance the classes over: index or key of the label in an item, or ``none``. None takes
            ``none`` where the run balances; where it does not, the place where inputs usually bring their labels.
        without: Globs of layers to leave out, each on its own. None leaves out the first layer, which is the embedding
            where there is one.
        draws: Random draws of the probe under each setting.

    Raises:
        UsageError: If a file or an argument cannot be used.
    """
    asked = _Asked(sizes, poolings, balances, without, draws)
    at = find_checkpoint(Path(checkpoint))
    CheckpointCLI.look(configs, lambda watchers: _Report(watchers, at.path, asked, Path(out)))


def probe_report_of(
    module: LightningModule,
    data: Any,
    checkpoint: str | Path,
    out: str | Path = "probe-report",
    watcher: GWSimilarity | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    poolings: Sequence[str] = POOLINGS,
    balances: Sequence[str] | None = None,
    without: Sequence[str] | None = None,
    draws: int = 3,
) -> ProbeReport:
    """The same for scripts: a module and data of one's own in place of a config.

    Args:
        module: The network that the checkpoint is of, as it is built; afterwards it has the checkpoint's weights.
        data: A datamodule, or the training loader where the probe is to be drawn from that.
        checkpoint: File that Lightning saved.
        out: See `report_on_probe`, as are the others that are not named here.
        watcher: How the run looked; a `GWSimilarity` with its defaults where None.
        sizes: Probe sizes.
        poolings: Poolings.
        balances: What to balance over.
        without: Layers to leave out.
        draws: Draws of the probe.

    Raises:
        UsageError: If a file or an argument cannot be used.

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
        >>> ways = {"sizes": [8], "poolings": [], "balances": [], "without": [], "draws": 1}
        >>> report = lgw.probe_report_of(model, data, saved, folder.name, watcher, **ways)  # prints a table
        <BLANKLINE>
        ...Picture and numbers are in ...
        >>> [found.setting.size for found in report.settings][:2]
        [16, 8]
        >>> folder.cleanup()
    """
    asked = _Asked(sizes, poolings, balances, without, draws)
    report = _Report([watcher or GWSimilarity()], find_checkpoint(Path(checkpoint)).path, asked, Path(out))
    looking(module, data, report)
    return report.found[-1]


class _Asked:
    """What the settings are to be."""

    def __init__(
        self,
        sizes: Sequence[int],
        poolings: Sequence[str],
        balances: Sequence[str] | None,
        without: Sequence[str] | None,
        draws: int,
    ) -> None:
        for pooling in poolings:
            try:
                check_pooling(pooling)
            except ValueError as error:
                raise UsageError(f"--poolings: {error}") from error
        if draws < 1:
            raise UsageError(f"--draws-of-probe {draws}: at least 1 draw is needed, and 2 to see how draws differ.")
        if small := [size for size in sizes if size < SMALLEST_PROBE]:
            raise UsageError(f"--sizes {small[0]}: at least {SMALLEST_PROBE} inputs are needed to compare layers.")
        self._sizes = tuple(sizes)
        self._poolings = tuple(poolings)
        self._balances = None if balances is None else [_balance(word) for word in balances]
        self._without = without
        self.draws = draws

    def settings(
        self, own: ProbeSetting, inputs: int, batch: Any, layers: Sequence[str], auto: str
    ) -> list[ProbeSetting]:
        """The run's own setting and those around it."""
        balances = self._balances
        if balances is None:
            balances = [place_of_labels(batch) if own.balance is None else None]
        without = layers[:1] if self._without is None else self._without
        return settings_around(own, inputs, self._sizes, self._poolings, balances, without, auto)


def _balance(word: str) -> Balance | None:
    return None if word == "none" else int(word) if word.lstrip("-").isdigit() else word


def place_of_labels(batch: Any) -> Balance | None:
    """Where the items of a batch seem to bring their labels, a usual key or the second place; None if nowhere."""
    if isinstance(batch, Mapping):
        return next((name for name in _LABELS if name in batch), None)
    if isinstance(batch, list | tuple) and len(batch) > 1:
        labels = batch[1]
        if isinstance(labels, Tensor) and labels.dim() == 1 and not labels.is_floating_point():
            return 1
    return None


class _Report(Callback):
    """Looks where training would begin, and stops it before its first step."""

    def __init__(self, watchers: Sequence[GWSimilarity], path: Path, asked: _Asked, out: Path) -> None:
        self._watchers = watchers
        self._path = path
        self._asked = asked
        self._out = out
        self.found: list[ProbeReport] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = True
        if trainer.world_size > 1:
            raise UsageError("`probe-report` looks on one device; pass a config with trainer.devices: 1.")
        checkpoint = load_checkpoint(self._path)
        built = sorted(unsettled_layers(pl_module))  # for a run that was not watched
        # Of the network as it was built: with the checkpoint's weights it would look trained.
        origins = [origin_of(pl_module, watcher.untrained) for watcher in self._watchers]
        put_weights(pl_module, checkpoint, self._path)
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        for watcher, origin in zip(self._watchers, origins, strict=True):
            state = checkpoint.get("callbacks", {}).get(watcher.checkpoint_key) or {}
            of_run = reference_of_run(state, watcher.analysis_config)
            unsettled = state.get("unsettled") if state else built
            report = self._report(state, _Looked(watcher, trainer, pl_module, origin, of_run, unsettled), console)
            folder = self._out if watcher.name is None else self._out / watcher.name
            self.found.append(report)
            say(report, console)
            self._write(report, folder, console)

    def _report(self, state: Mapping[str, Any], looked: _Looked, console: Console) -> ProbeReport:
        own, seen = looked.own, looked.represent(looked.own)
        representations, auto = seen.representations, "scaled" if seen.scaled else "mean"
        probe = looked.first_probe
        settings = self._asked.settings(own, probe.size, probe.batches[0], tuple(representations), auto)
        watcher = looked.watcher
        config = watcher.analysis_config
        with Progress(
            TextColumn("[progress.description]{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task("Looking", total=len(settings) * self._asked.draws)

            def show(done: int, total: int, label: str) -> None:
                bar.update(task, completed=done, total=total, description=label)

            report = probe_report(
                looked.represent,
                settings,
                draws=self._asked.draws,
                geometry=config.geometry,
                effort=config.effort,
                anchor=config.anchor,
                paired=config.paired,
                resamples=config.bootstrap_samples,
                seed=watcher.seed,
                source=f"{self._path}, {probe.size} inputs of the {probe.source}",
                reference=looked.reference,
                progress=show,
            )
        notes = list(looked.notes)
        if state.get("probe_hash") not in (None, probe.hash):
            notes.append(
                "The probe inputs are not those that the run looked through (their hash changed): is the data the same?"
            )
        return replace(report, notes=tuple(notes))

    def _write(self, report: ProbeReport, folder: Path, console: Console) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "probe-report.json", json.dumps(report.to_json(), indent=1, allow_nan=False).encode())
            draw_probe_report(report).savefig(folder / "probe-report.png")
        except OSError as error:
            raise UsageError(f"{folder} cannot be written ({error}). Name another folder with --out.") from error
        console.print(f"Picture and numbers are in {folder}: probe-report.png, probe-report.json", highlight=False)


class _Looked:
    """Looks as a `GWSimilarity` does, with another probe or pooling."""

    def __init__(
        self,
        watcher: GWSimilarity,
        trainer: Trainer,
        module: LightningModule,
        origin: Origin,
        of_run: Reference | None,
        unsettled: Sequence[str] | None,
    ) -> None:
        self.watcher, self._trainer, self._module = watcher, trainer, module
        self._of_run, self._unsettled = of_run, unsettled
        self._fresh = origin.fresh
        self.notes: tuple[str, ...] = ()
        if self._fresh is None:
            self.notes = (
                "Other ways of looking are held against "
                + ("what the run saw at its start" if of_run else "nothing, so that none of their groups are strong")
                + f": no copies with fresh weights can be made ({origin.reason}).",
            )
        observer = watcher.observer
        self.own = ProbeSetting(observer.config.size, observer.config.pooling, observer.config.balance)
        self._first: Activations | None = None
        self._first_probe: Probe | None = None

    @property
    def first_probe(self) -> Probe:
        """The run's own probe."""
        assert self._first_probe is not None
        return self._first_probe

    def reference(self, setting: ProbeSetting) -> Reference | None:
        """What groups found under a setting are held against: for the run's own what the run had, else a fresh copy."""
        if self._fresh is None or (self._of_run is not None and setting == self.own):
            return self._of_run
        seen = setting.applied(self._seen(setting, self._fresh.draw(self.watcher.seed))[0].representations)
        config = self.watcher.analysis_config
        return Reference(AdjacentSolver(config.geometry, "fast", config.anchor, config.seed)(seen).matched[None])

    def represent(self, setting: ProbeSetting) -> Activations:
        """What the layers put out for the probe that `setting` asks for."""
        if setting == self.own and self._first is not None:
            return self._first
        seen, probe = self._seen(setting, self._module)
        if setting == self.own:
            self._first, self._first_probe = seen, probe
        return seen

    def _seen(self, setting: ProbeSetting, network: nn.Module) -> tuple[Activations, Probe | None]:
        assert isinstance(network, LightningModule)
        watcher = self.watcher
        config = replace(
            watcher.observer.config,
            size=setting.size,
            balance=setting.balance,
            pooling=setting.pooling,
            seed=watcher.seed + setting.draw,
        )
        observer = Observer(config)
        with isolated_randomness(watcher.seed), plain_tensors():
            notes = observer.prepare(self._trainer, network, None, (), self._unsettled)
        with isolated_randomness(watcher.seed), plain_tensors():
            seen = observer.observe(self._trainer, network)
        return replace(seen, notes=(*notes, *seen.notes)), observer.probe
