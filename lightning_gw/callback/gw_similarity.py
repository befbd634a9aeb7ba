"""`GWSimilarity`: what a user asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.observer import Observer
from lightning_gw.activations.probe.probe import Balance
from lightning_gw.activations.probe.rows import RowsOption
from lightning_gw.activations.reading.pooling import Pooling
from lightning_gw.activations.running.forward import ProbeStep
from lightning_gw.activations.running.settle import Layout
from lightning_gw.analysis.background import ProcessWorker
from lightning_gw.analysis.config import ANCHOR, BOOTSTRAP_SAMPLES, MEASURES_KEPT, AnalysisConfig
from lightning_gw.analysis.solver import Solver
from lightning_gw.callback.delivery import RecordDelivery
from lightning_gw.callback.error_policy import ErrorPolicy, OnError
from lightning_gw.callback.events import LookEvents
from lightning_gw.callback.look.look_loop import LookLoop
from lightning_gw.callback.when.budget import SHARES
from lightning_gw.callback.when.pace import Pace
from lightning_gw.callback.when.schedule import LOOKS, Schedule
from lightning_gw.callback.when.steps import Steps
from lightning_gw.gw.search.effort import Effort


class GWSimilarity(LookEvents):
    """Follows how the layers of a network fall into groups while it trains.

    At every look, fixed probe inputs go through the network in evaluation mode; the layers' representations are
    compared by Gromov-Wasserstein distance; neighbouring layers that are alike form groups, and groups keep their
    identity from look to look. What is found goes to ``<run folder>/gw`` on disk, to every logger of the Trainer, and
    as one line to the terminal. Training is not disturbed: weights, optimizer and random states stay what they would
    have been, to the last bit. There is always a look at the start and at the end of ``fit``, never two at one step.

    The state is part of every checkpoint. Resumed training takes up the same groups and history; where the run folder
    is a new one, as loggers with versions make it, the records up to the checkpoint are copied there. To keep one
    folder, pass `save_dir`. Works in the Trainers of ``pytorch_lightning`` and of ``lightning.pytorch``.

    The first six arguments are what most people need. The others, by name only, say more of the probe, the search, when
    to look and at what cost, the evidence, and the output.

    Args:
        layers: Names or globs of modules, such as ``"encoder.layer.*"`` (see `layers.match_layers`). None takes the
            repeated blocks that forward calls and the embedding before them, or every layer of its own where nothing
            repeats, 64 at most. ``"name#*"`` asks for every call of a module that is called several times.
        probe: Inputs to look through: a batch, a ``Dataset``, a ``DataLoader``, a function that returns one, or
            ``"train"``. None takes the validation data, else the training data.
        probe_size: Number of probe inputs; None takes 128, or all there are.
        when: ``"checkpoint"`` (whenever one is saved), ``"log"`` (log-spaced steps), ``"every_n_steps"``, or a list of
            steps.
        every_n_steps: Look every that many optimizer steps, whatever `when` says besides.
        save_dir: Run folder; ``gw`` is made inside it. None takes the first logger's, else the Trainer's.
        probe_batch_size: Inputs per forward pass; None takes the data loader's batch size.
        balance: Draw the probe evenly over classes: index or key of the label in an item, or a function of the item.
        pooling: How an output becomes one vector per input: ``"auto"``, ``"mean"``, ``"first"``, ``"last"``,
            ``"flatten"``, or a function ``(output, mask) -> (n, d)`` of what the layer put out, as it is.
        probe_step: How to run the network on a batch: ``function(module, batch)``, or the name of a method of the
            module. None takes the first that works of its own method ``probe_step(batch)``, ``validation_step``,
            ``forward`` and ``predict_step``; records say which.
        rows: What of a batch has one entry per input, where the number of items that the loader put together does not
            tell: its key or index, or a function of the batch that gives the number of inputs, or of every row of the
            layers the input that it belongs to, as ``(m,)`` integers.
        layout: The axes of what layers put out, for all of them or as a mapping of names or globs: ``n`` inputs, ``c``
            or ``d`` channels, other letters positions, as in ``"n h w c"``. None finds out by passes of other sizes.
        geometry: How representations are measured: ``"standardized"``, ``"euclidean"``, ``"dcor"``, ``"cka"``, ….
        effort: How hard to search: ``"fast"``, ``"default"`` or ``"high"``.
        warm_start: Whether searches start from what the look before found, which is cheaper; all but every eighth.
        anchor: Groups are found in anchored Gromov-Wasserstein with this weight, which keeps inputs matched to
            themselves unless others fit much better (see `gw_matrix`); 0 finds them in the plain matrix, which records
            hold in any case.
        paired: False finds groups as if every layer had seen other inputs (see `unpaired_gw_matrix`).
        seed: Seed of the probe's draw and of the search.
        looks: Number of looks after the first with ``when="log"``.
        max_overhead: What looking may cost, as a share of the training time, which counts as at least 300 s;
            ``"auto"`` is 0.02 inline and 0.005 in the background. Looks that do not fit are put off, which is said; the
            first, the last and those listed in `when` are always made. Trainings of less than 300 s may spend 60 s on
            looks. None for looks at any price.
        solve: ``"inline"``: training waits until a look is solved. ``"background"``: training waits only for the
            forward pass; another process solves the look, on the CPU, and its record is logged at its own step as soon
            as it is ready, all of them by the end of ``fit``.
        on_error: ``"warn"``: an error costs the look, never the training, is said once, and the next record names what
            is missing. A network that cannot be looked at trains without looks. Only what was written wrongly, such as
            an unknown layer or a folder that cannot be written, is an error at the start. ``"raise"``: errors end the
            training. ``KeyboardInterrupt`` and Lightning's own exceptions always pass through.
        measures: Similarity measures that records hold beside Gromov-Wasserstein: names of `measures.MEASURES`.
        bootstrap_samples: Resamples of the probe behind stability and noise; 0 leaves them out.
        null_samples: Networks of the same architecture with fresh weights that groups are held against, beside the
            run's own first look; 19 or more give every boundary a p-value that can say something, 99 are enough for p =
            0.01. None takes a few where they cost less than one look, 0 none. They are looked through once, before the
            first step, and kept for the next run of the same architecture and probe, and not counted towards
            `max_overhead`.
        untrained: ``function() -> module``: builds the network anew with fresh weights, where neither saved
            hyperparameters nor resetting its layers can. It is what a pre-trained network is held against.
        prefix: What log keys begin with.
        name: Sets instances in one Trainer apart; it becomes part of the state key, the folder and the log keys.
        verbose: Whether to print one line per look.
        layer_scalars: Whether W&B gets two scalars a layer, ``adjacent/<layer>`` and ``growth/<layer>``, beside the two
            charts that hold them all. Loggers that take no tables always get them.
        keep_representations: Whether to keep the representations of the last look beside the history, replaced at every
            look, for `load_representations`: with them the layers of one run can be compared with those of another.
        skip_test: Whether to leave every layer and the interior of every group out once after training and tell how
            far the module's own validation metric rises on the probe (see `interventions.skip_test`), or the name of
            that metric. As many passes of the probe as there are layers; not counted towards `max_overhead`.
        draws: An older name of `bootstrap_samples`.

    Raises:
        ValueError: If an argument is unknown, or, at the start of ``fit``, a layer is unknown or silent, or there are
            fewer inputs than asked for.
        OSError: At the start of ``fit``, if the run folder cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> from lightning_gw import GWSimilarity
        >>> model = BoringModel()
        >>> model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> watching = GWSimilarity(save_dir=folder.name, probe_size=16, verbose=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> Trainer(max_steps=4, callbacks=[watching], default_root_dir=folder.name, **quiet).fit(model)
        >>> watching.history[-1].step, watching.history[-1].gw.similarity.shape
        (4, (4, 4))
        >>> folder.cleanup()
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        probe: Any = None,
        probe_size: int | None = None,
        when: str | list[int] = "checkpoint",
        every_n_steps: int | None = None,
        save_dir: str | Path | None = None,
        *,
        # probe
        probe_batch_size: int | None = None,
        balance: Balance | None = None,
        pooling: Pooling = "auto",
        probe_step: ProbeStep | None = None,
        rows: RowsOption | None = None,
        layout: Layout | None = None,
        # search
        geometry: str = "standardized",
        effort: Effort = "default",
        warm_start: bool = True,
        anchor: float = ANCHOR,
        paired: bool = True,
        seed: int = 0,
        # when
        looks: int = LOOKS,
        max_overhead: float | Literal["auto"] | None = "auto",
        solve: Literal["inline", "background"] = "inline",
        on_error: OnError = "warn",
        # evidence
        measures: Sequence[str] = MEASURES_KEPT,
        bootstrap_samples: int = BOOTSTRAP_SAMPLES,
        null_samples: int | None = None,
        untrained: Callable[[], nn.Module] | None = None,
        skip_test: bool | str = False,
        # output
        prefix: str = "gw/",
        name: str | None = None,
        verbose: bool = True,
        layer_scalars: bool = False,
        keep_representations: bool = False,
        # older names
        draws: int | None = None,
    ) -> None:
        super().__init__()
        if solve not in ("inline", "background"):
            raise ValueError(f"solve={solve!r} must be 'inline' or 'background'.")
        self.name = name
        self.save_dir = save_dir
        self.seed = seed
        self.prefix = prefix if name is None else f"{prefix}{name}/"
        self.untrained = untrained
        self.skip_test = skip_test
        self.max_overhead = share = SHARES[solve] if max_overhead == "auto" else max_overhead
        self._schedule = Schedule(when, looks, every_n_steps)
        self._observer = Observer(
            ProbeConfig(layers, probe, probe_size, probe_batch_size, balance, pooling, probe_step, seed, rows, layout)
        )
        samples = bootstrap_samples if draws is None else draws
        config = AnalysisConfig(geometry, effort, warm_start, seed, anchor, paired, tuple(measures), samples)
        self._solver = Solver(config, ProcessWorker(config) if solve == "background" else None)
        self._pace = Pace(share)
        self._error_policy = ErrorPolicy(on_error)
        self._steps = Steps()
        self._delivery = RecordDelivery(self.prefix, self._error_policy, verbose, layer_scalars)
        self._look_loop = LookLoop(
            self._observer,
            self._solver,
            self._pace,
            self._error_policy,
            self._delivery,
            self._steps,
            seed=seed,
            null_samples=null_samples,
            untrained=untrained,
            keep_representations=keep_representations,
        )

    @property
    def observer(self) -> Observer:
        """What settles the layers and the probe, and brings representations."""
        return self._observer

    @property
    def analysis_config(self) -> AnalysisConfig:
        """How looks are analysed."""
        return self._solver.config

    @property
    def keep_representations(self) -> bool:
        """Whether the representations of the last look are kept beside the history."""
        return self._look_loop.keep_representations

    @keep_representations.setter
    def keep_representations(self, keep: bool) -> None:
        self._look_loop.keep_representations = keep

    def planned_looks(self, steps: float) -> int | None:
        """Looks after the first in so many steps, if none is put off; None where nobody can tell, as at checkpoints."""
        return self._schedule.count(steps)
