"""From the representations of a look to its record: at once, or in the background while training goes on.

Looks are solved one after the other in the order in which they were made, because the groups of one and the start of
its search come from the one before. Either way gives the same records.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.records.history import History
from lightning_gw.records.record import Record


@dataclass(frozen=True)
class Job:
    """One look that was made and waits to be solved.

    Attributes:
        step: Trainer global step.
        epoch: Trainer epoch.
        representations: Layer name → ``(n, d)``.
        probe: How the layers were looked at.
        metrics: The run's own scalars.
        notes: What is missing or different in this look.
        carried: What this record is to say of looks before it, which are missing.
        seconds: What the look cost the training so far.
        first: Whether it is the first of its history, whose errors always end a training that has not begun yet.
        null: What it and all that follow are held against, as `evidence.null_state` gives it; None keeps what there is.
    """

    step: int
    epoch: int
    representations: Mapping[str, Tensor]
    probe: Mapping[str, Any]
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    seconds: float = 0.0
    first: bool = False
    null: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Everything in plain types and tensors, for a checkpoint or another process."""
        return {field.name: _plainly(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Job:
        """Put together again what `state_dict` gave."""
        return cls(**{**state, "notes": tuple(state["notes"]), "carried": tuple(state["carried"])})

    def solve(self, analysis: Analysis, shared: bool = False) -> Record:
        """The record, whose ``seconds`` are those of the analysis alone.

        Args:
            analysis: What solves it.
            shared: Whether all processes of the training come by here and share the work.
        """
        return analysis.look(
            self.representations,
            step=self.step,
            epoch=self.epoch,
            probe=self.probe,
            metrics=self.metrics,
            notes=(*self.notes, *self.carried),
            null=self.null,
            process_group="world" if shared else None,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: The look.
        record: What was found; None where solving failed.
        error: Why it failed.
        before: State of the analysis before the look.
        after: And after it; the same where it failed, but for a null that came with it.
        solving: Seconds that solving took, wherever it was done.
        alone: Seconds it would have taken with nothing beside it; 0 where that is not known.
        aside: Whether training went on meanwhile.
        pictures: What `pictures.draw_pictures` gives, where they were drawn already.
    """

    job: Job
    record: Record | None
    error: Exception | None
    before: dict[str, Any]
    after: dict[str, Any]
    solving: float
    alone: float = 0.0
    aside: bool = False
    pictures: Mapping[str, Any] | None = None


class Solver:
    """Solves every look at once, in the training process.

    Args:
        arguments: Those of `Analysis`, by name.

    Attributes:
        arguments: The same.
        shared: Whether every process of the training hands in every look, and they share the pairs of layers.

    Raises:
        ValueError: If one of them is unknown.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = dict(arguments)
        self._analysis = Analysis(**arguments)
        self.shared = False
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next look is the first."""
        self._analysis.reset()
        self._pending: list[Job] = []
        self._done: list[Outcome] = []
        self._layers: tuple[str, ...] = ()
        # As of the last outcome that was collected: what a checkpoint may rely on is on disk by then.
        self._state: dict[str, Any] = self._analysis.state_dict()
        self._before: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the looks so far; empty before the first."""
        return self._layers

    @property
    def pending(self) -> tuple[int, ...]:
        """Steps of the looks that were made and not yet collected."""
        return tuple(job.step for job in self._pending)

    @property
    def backlog(self) -> float:
        """Seconds until there is room for another look, as far as can be told; 0 where there is."""
        return 0.0

    @property
    def closing(self) -> float:
        """Seconds for which the end of training will wait for its look to be solved, as far as can be told."""
        return 0.0

    @property
    def null_options(self) -> dict[str, Any]:
        """How neighbouring layers are compared, for a null that is to be measured alike."""
        return self._analysis.solver_options

    def description(self) -> dict[str, Any]:
        """How the layers are compared, as plain JSON values."""
        return self._analysis.description()

    @property
    def ready(self) -> bool:
        """Whether there is something to collect."""
        return bool(self._done)

    def share(self, processes: int) -> None:
        """Let the processes of a training share the work from now on, where that can be."""
        self.shared = processes > 1

    def warm_up(self, device: torch.device) -> None:
        """Have compiled what is compiled once after installing, so that no look is charged with it.

        Args:
            device: Where the representations will be; the compiled search is that of the CPU.
        """
        if device.type == "cpu":
            with suppress(ImportError):  # without Numba the search runs in torch
                from lightning_gw.gw.moves.warmup import prepare

                prepare()

    def hurry(self, threads: int) -> None:
        """Training is over and waits for what is not solved yet: its processors are free for that.

        Args:
            threads: How many threads training had.
        """

    def draw_beside(self, history: History) -> None:
        """Have pictures drawn where looks are solved, if that is beside training.

        Args:
            history: The run so far, which grows as records are collected.
        """

    def know(self, job: Job) -> None:
        """Another process of the training solves this look; this one is to know what the layers are."""
        self._layers = self._layers or tuple(job.representations)

    def submit(self, job: Job) -> None:
        """Take a look in hand; what comes of it is collected."""
        self.know(job)
        self._pending.append(job)
        self._work(job)

    def collect(self, patience: float = 0.0) -> list[Outcome]:
        """What was solved since the last call, in the order of the steps.

        Args:
            patience: Seconds to wait for each look that is still being solved.
        """
        done, self._done = self._done, []
        for outcome in done:
            self._pending.remove(outcome.job)
            self._before, self._state = outcome.before, outcome.after
            job = outcome.job
            self._last = {"step": job.step, "epoch": job.epoch, "metrics": dict(job.metrics)}
        return done

    def resume(self) -> None:
        """Take in hand what was pending in a loaded state."""
        for job in self._pending:
            self._work(job)

    def abandon(self) -> tuple[int, ...]:
        """Give up the looks that are not solved yet, and return their steps."""
        return ()

    def close(self) -> None:
        """Let go of whatever is held outside this process; the next look takes hold of it again."""

    def _work(self, job: Job) -> None:
        before = self._analysis.state_dict()
        try:
            record = job.solve(self._analysis, self.shared)
        except Exception as error:
            self._done.append(Outcome(job, None, error, before, before, 0.0))
            return
        solving = record.seconds
        record = replace(record, seconds=job.seconds + solving)
        self._done.append(Outcome(job, record, None, before, self._analysis.state_dict(), solving))

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors: the memory of the analysis, and the looks that wait to be solved.

        ``last`` is the look that was collected last, and ``before`` the memory that it began with, from which a replay
        gives the same record.
        """
        return {
            "analysis": self._state,
            "before": self._before,
            "last": self._last,
            "layers": list(self._layers),
            "pending": [job.state_dict() for job in self._pending],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave; `resume` goes on with what was pending."""
        self.reset()
        self._analysis.load_state_dict(state["analysis"])
        self._state = self._analysis.state_dict()
        self._before, self._last = state.get("before"), state.get("last")
        self._layers = tuple(state.get("layers") or self._analysis.layers)
        self._pending = [Job.from_state(job) for job in state.get("pending", ())]


def _plainly(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: tensor.cpu() if isinstance(tensor, Tensor) else tensor for name, tensor in value.items()}
    return list(value) if isinstance(value, tuple) else value
