"""The queue of looks: made, being solved, solved; at once or in the background, which is up to its worker.

Looks are solved one after the other in the order in which they were made, because the groups of one and the start of
its search come from the one before. Either way gives the same records.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import torch

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob, LookResult, failed
from lightning_gw.records.history import History
from lightning_gw.utilities.distributed import Ranks

#: Seconds for which training waits until there is room for a look.
LONGEST_WAIT = 600.0


class Worker(Protocol):
    """Solves looks, one after the other.

    Attributes:
        capacity: Looks that may wait or be in work; None for any number.
        aside: Whether training goes on meanwhile. Otherwise the processes of a training can share the work.
        ready: How many results wait to be taken.
    """

    @property
    def capacity(self) -> int | None: ...
    @property
    def aside(self) -> bool: ...
    @property
    def ready(self) -> int: ...

    def begin(self, memory: dict[str, Any]) -> None:
        """Let go of all looks; the next begins with this memory of the analysis."""

    def close(self) -> None:
        """Let go of what is held outside this process; the next look takes hold of it again, and remembers the same."""

    def submit(self, job: LookJob, shared: bool) -> None:
        """Take a look in hand."""

    def take(self, wait: float) -> list[LookResult]:
        """What is solved, after up to so many seconds for the first of it."""

    def end_job(self, reason: str) -> None:
        """Give up the look in work, which fails for this reason, and go on with the next."""

    def warm_up(self, device: torch.device) -> None:
        """Make ready what takes long once; representations will be on that device."""

    def set_threads(self, threads: int) -> None:
        """Take so many threads from now on, where there is a choice."""

    def render_in_worker(self, history: History) -> None:
        """Draw the pictures too, if that is done beside training; `history` grows as records are collected."""


class InlineWorker:
    """Solves every look at once, in the training process.

    Args:
        config: How looks are analysed.
    """

    capacity = None
    aside = False

    def __init__(self, config: AnalysisConfig) -> None:
        self._analysis = Analysis(config)
        self._results: list[LookResult] = []

    @property
    def ready(self) -> int:
        return len(self._results)

    def begin(self, memory: dict[str, Any]) -> None:
        self._analysis.load_state_dict(memory)
        self._results = []

    def close(self) -> None:
        """Nothing: nothing is."""

    def submit(self, job: LookJob, shared: bool) -> None:
        before = self._analysis.state_dict()
        try:
            record = job.solve(self._analysis, shared)
        except Exception as error:
            if shared:  # or the others would only hear that this process left
                Ranks("world", f"The look at step {job.step}").tell(error)
            self._results.append(failed(job, error, before))
            self._analysis.load_state_dict(self._results[-1].after)
            return
        whole = replace(record, seconds=job.seconds + record.seconds)
        self._results.append(LookResult(job, whole, None, before, self._analysis.state_dict(), record.seconds))

    def end_job(self, reason: str) -> None:
        """Nothing: none is in work when this is asked."""

    def take(self, wait: float) -> list[LookResult]:
        results, self._results = self._results, []
        return results

    def warm_up(self, device: torch.device) -> None:
        if device.type == "cpu":
            with suppress(ImportError):  # without Numba the search runs in torch
                from lightning_gw.gw.moves.compiled.warmup import prepare

                prepare()

    def set_threads(self, threads: int) -> None:
        """Nothing: the threads are training's own."""

    def render_in_worker(self, history: History) -> None:
        """Nothing: pictures are drawn where they are logged."""


class Solver:
    """Hands looks to a worker, and results on in the order of their steps.

    Args:
        config: How looks are analysed.
        worker: Who solves them; by default at once, in this process.

    Attributes:
        config: How looks are analysed.
        shared: Whether every process of the training hands in every look, and they share the pairs of layers.
        layers: Layers of the looks so far; empty before the first.
    """

    def __init__(self, config: AnalysisConfig, worker: Worker | None = None) -> None:
        self.config = config
        self.shared = False
        self.worker: Worker = worker or InlineWorker(config)
        self.reset()

    def _take_up(self, analysis: Analysis) -> None:
        self._pending: list[LookJob] = []
        self._done: list[LookResult] = []
        self.layers: tuple[str, ...] = ()
        # As of the last result that was collected: what a checkpoint may rely on is on disk by then.
        self._memory = analysis.state_dict()
        self._before: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None
        self._solving = self._alone = 0.0
        self.worker.begin(self._memory)

    def reset(self) -> None:
        """Forget everything: the next look is the first."""
        self._take_up(Analysis(self.config))

    @property
    def pending(self) -> tuple[int, ...]:
        """Steps of the looks that were made and not yet collected."""
        return tuple(job.step for job in self._pending)

    @property
    def ready(self) -> bool:
        """Whether there is something to collect."""
        return self._solved > 0

    @property
    def backlog(self) -> float:
        """Seconds until there is room for another look, as far as can be told; 0 where there is."""
        most = self.worker.capacity
        full = most is not None and len(self._pending) - self._solved >= most
        return max(self._solving, 0.1) if full else 0.0

    @property
    def closing(self) -> float:
        """Seconds for which the end of training will wait for its look to be solved, as far as can be told."""
        return self._alone

    def share(self, processes: int) -> None:
        """Let the processes of a training share the work from now on, where the worker can."""
        self.shared = processes > 1 and not self.worker.aside

    def set_layers(self, job: LookJob) -> None:
        """Another process of the training solves this look; this one is to know what the layers are."""
        self.layers = self.layers or tuple(job.representations)

    def submit(self, job: LookJob) -> None:
        """Take a look in hand, once there is room; what comes of it is collected.

        A look that makes this one wait for longer than `LONGEST_WAIT` is given up.

        Raises:
            RuntimeError: If there is no room even then.
        """
        if self.backlog and not self._take(LONGEST_WAIT):
            self.worker.end_job(f"did not answer for {LONGEST_WAIT:.0f} s, and was ended")
            if not self._take(LONGEST_WAIT):
                raise RuntimeError("the looks before it are still being solved, and none of them ends.")
        if self.worker.aside:  # the memory of the accelerator is training's
            on_host = {name: x.detach().cpu() for name, x in job.representations.items()}
            job = replace(job, representations=on_host)
        self.set_layers(job)
        self._pending.append(job)
        try:
            self.worker.submit(job, self.shared)
        except BaseException:
            self._pending.pop()  # nobody has it in hand, so nobody is to wait for it
            raise

    def collect(self, patience: float = 0.0) -> list[LookResult]:
        """What was solved since the last call, in the order of the steps.

        Args:
            patience: Seconds to wait for each look that is still being solved.
        """
        self._take(wait=0.0)
        while patience and len(self._done) < len(self._pending) and self._take(wait=patience):
            continue
        done, self._done = self._done, []
        for result in done:
            self._pending.remove(result.job)
            self._before, self._memory = result.before, result.after
            context = result.job.context
            self._last = {"step": context.step, "epoch": context.epoch, "metrics": dict(context.metrics)}
        return done

    def resume(self) -> None:
        """Take in hand what was pending in a loaded state."""
        for job in self._pending:
            self.worker.submit(job, self.shared)

    def forget_pending(self) -> None:
        """Solve none of the looks that were pending in a loaded state: their records were written since."""
        self._pending = []

    def abandon(self) -> tuple[int, ...]:
        """Give up the looks that are not solved yet, and return their steps."""
        self._take(wait=0.0)
        solved = {result.job.step for result in self._done}
        left = tuple(step for step in self.pending if step not in solved)
        self._pending = [job for job in self._pending if job.step in solved]
        self.close()
        return left

    def close(self) -> None:
        """Let go of whatever is held outside this process; the next look takes hold of it again."""
        self.worker.close()

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors: the memory of the analysis, and the looks that wait to be solved.

        ``last`` is the look that was collected last, and ``before`` the memory that it began with, from which a replay
        gives the same record.
        """
        return {
            "analysis": self._memory,
            "before": self._before,
            "last": self._last,
            "layers": list(self.layers),
            "pending": [job.state_dict() for job in self._pending],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave; `resume` goes on with what was pending."""
        analysis = Analysis(self.config)
        analysis.load_state_dict(state["analysis"])
        self._take_up(analysis)
        self._before, self._last = state.get("before"), state.get("last")
        self.layers = tuple(state.get("layers") or analysis.layers)
        self._pending = [LookJob.from_state(job) for job in state.get("pending", ())]

    @property
    def _solved(self) -> int:
        return len(self._done) + self.worker.ready

    def _take(self, wait: float) -> bool:
        """Fetch what the worker finished; whether that was anything."""
        results = self.worker.take(wait)
        self._done += results
        for result in results:
            self._solving = result.solving
            self._alone = result.alone or self._alone
        return bool(results)
