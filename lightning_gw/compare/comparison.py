"""A comparison at work: checks its runs, starts them as there is room, and lets those go on that lost their node."""

from __future__ import annotations

import itertools
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_gw.compare import folder
from lightning_gw.compare.executors.base import Ended, Executor, Order
from lightning_gw.compare.executors.local import LocalExecutor
from lightning_gw.compare.executors.locks import Claims, is_held, lock_file
from lightning_gw.compare.executors.process import file_hash
from lightning_gw.compare.folder import write_comparison
from lightning_gw.compare.optimizer_steps import configured_steps
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.run_command import fit_arguments, prepare, thread_variables
from lightning_gw.compare.showing.progress import RunState, View, clock, make_view
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say

#: Seconds between two looks at the runs.
_PERIOD = 0.25
#: Seconds that a lost run may still hold its folder before it is given up: a network disk frees locks late.
_LOST_PATIENCE = 180.0


class Comparison:
    """One comparison, from its plan to its page.

    Args:
        plan: What to run.
        workers: Runs at a time; as many as the executor has room for when None.
        wandb: ``offline``, ``online`` or ``disabled``.
        executor: What starts the runs; processes on this machine when None.
        retries: How often a run goes on elsewhere that was lost with its node.
        only: Paths of the runs to do, of the plan's; all when None. The others may be done by other processes at the
            same time.

    Raises:
        UsageError: If `workers` is below 1.
    """

    def __init__(
        self,
        plan: Plan,
        workers: int | None = None,
        wandb: str = "offline",
        executor: Executor | None = None,
        retries: int = 2,
        only: Sequence[str] | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"--workers should be at least 1, but is {workers}.")
        self.plan = plan
        self.wandb = wandb
        self.executor: Executor = LocalExecutor(plan.threads) if executor is None else executor
        self.runs = [run for run in plan.runs if only is None or run.path in only]
        several = len({run.seed for run in plan.runs}) > 1
        self.states = {
            run.path: RunState(run.path, f"{run.strategy}, seed {run.seed}" if several else run.strategy, run.task)
            for run in plan.runs
        }
        self._workers = workers
        self._retries = retries
        self._console = Console(highlight=False)
        self._variables = thread_variables(plan)
        self._plan_file, self._plan_hash = plan.out, ""
        self._started: dict[str, float] = {}
        self._earlier: dict[str, float] = {}
        self._lost: dict[str, list[float]] = {}
        self._begun = time.monotonic()

    @property
    def workers(self) -> int | None:
        """Runs at a time; None where only the executor knows, and does not before it is open."""
        room = self._workers or self.executor.room
        return None if room is None else min(room, len(self.runs))

    @property
    def losses(self) -> list[str]:
        """What became of the runs that lost their node or worker, in sentences."""
        times = {path: "once" if len(at) == 1 else f"{len(at)} times" for path, at in self._lost.items()}
        return [f"{self.states[path].name} lost its node or worker {count}." for path, count in times.items()]

    def run(self) -> int:
        """Run everything that is not finished yet, then write the page.

        Returns:
            0 when all runs ended well, 1 when some failed, 130 when interrupted.

        Raises:
            UsageError: If a run's config, the folder or the executor cannot be used; nothing has been started then.
        """
        from lightning_gw.compare.showing.summary import conclude

        folder.check_owner(self.plan)  # before anything is written there, and again once nobody else can
        open_runs = [run.path for run in self.runs if folder.finished_seconds(self.plan.out / run.path) is None]
        claims = Claims(self.plan.out, open_runs, f"another folder: --out {folder.free_folder(self.plan.out)}")
        if claims.unlocked:
            self.say(f"Note: {self.plan.out} has no file locks; see to it that no other process does these runs.")
        try:
            folder.check_owner(self.plan)
            self.take_what_is_finished()
            if any(self.states[run.path].status == "waiting" for run in self.runs):
                self.say("Checking the configs ...")
                self.check()
                with self._at_work() as view:
                    self._work(view)
            else:
                folder.claim(self.plan)
        except KeyboardInterrupt:
            self.say("The same command goes on from here.")
            for state in self.states.values():
                state.status = "waiting" if state.status == "running" else state.status
            if self._plan_hash:  # else the folder is not this comparison's yet
                self.save()
            return 130
        finally:
            claims.release()
        return conclude(self, time.monotonic() - self._begun)

    def say(self, text: str) -> None:
        """Print a line or several."""
        say(text, lambda line: self._console.print(line, soft_wrap=True, markup=False, end=""))

    # -- before -------------------------------------------------------------------------------------------------------

    def take_what_is_finished(self) -> None:
        """Learn from the disk which runs need not be done."""
        for run in self.plan.runs:
            state, place = self.states[run.path], self.plan.out / run.path
            self._take_report(run)
            seconds = folder.finished_seconds(place)
            if seconds is not None:
                state.status, state.seconds = "finished", seconds

    def check(self) -> None:
        """Parse the options of every strategy that has something to run, so that no mistake surfaces late."""
        from lightning_gw.lightning_cli.fit import check

        checked = set()
        for run in self.runs:
            if self.states[run.path].status == "waiting" and run.strategy not in checked:
                checked.add(run.strategy)
                check(fit_arguments(self.plan, run, None))

    @contextmanager
    def _at_work(self) -> Iterator[View]:
        """The folder claimed, the executor open, and what the terminal shows of it."""
        self._plan_file = folder.claim(self.plan).absolute()
        self._plan_hash = file_hash(self._plan_file) or ""
        self.save()
        before = signal.getsignal(signal.SIGTERM)
        try:
            for note in self.executor.open():
                self.say(f"Note: {note}")
            # SIGTERM stops a comparison as Ctrl-C does; after opening, since Ray sets a handler of its own.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            self._begun = time.monotonic()
            with make_view(self.plan.title, self.workers or 1, lambda: time.monotonic() - self._begun) as view:
                yield view
        except KeyboardInterrupt:
            self.say("\nInterrupted: stopping the runs.")
            raise
        finally:
            self.executor.close()
            signal.signal(signal.SIGTERM, before)

    # -- while --------------------------------------------------------------------------------------------------------

    def _work(self, view: View) -> None:
        waiting = _first_seeds_first([run for run in self.runs if self.states[run.path].status == "waiting"])
        runs = {run.path: run for run in self.runs}
        states = [self.states[path] for path in runs]
        view.update(states)
        while waiting or len(self.executor):
            while waiting and len(self.executor) < (self.workers or 1) and (run := self._next(waiting)):
                self._start(run, view)
            time.sleep(_PERIOD)
            ended = self.executor.poll()
            now = time.monotonic()
            for path, run in runs.items():
                if self.states[path].status == "running":
                    self.states[path].seconds = self._earlier[path] + now - self._started[path]
                    self._take_report(run)
            for path, end in ended.items():
                if self._end(runs[path], end, view):
                    waiting.insert(0, runs[path])
            view.update(states)

    def _next(self, waiting: list[PlannedRun]) -> PlannedRun | None:
        """Take the first run that can be started: one that was lost may still be at work for a moment."""
        for run in list(waiting):
            held = run.path in self._lost and is_held(lock_file(self.plan.out, run.path, "work"))
            if held and time.monotonic() - self._lost[run.path][-1] < _LOST_PATIENCE:
                continue
            waiting.remove(run)
            if not held:
                return run
            state = self.states[run.path]
            state.status, state.error = "failed", "it was lost, and yet is still at work where it cannot be reached"
            self.save()
        return None

    def _start(self, run: PlannedRun, view: View) -> None:
        place, state = self.plan.out / run.path, self.states[run.path]
        checkpoint = folder.last_checkpoint(place)
        self._earlier[run.path] = 0.0
        if checkpoint is not None:
            self._earlier[run.path] = float((folder.read_json(place / "progress.json") or {}).get("seconds", 0.0))
        elif place.exists():
            # Interrupted before its first checkpoint: there is nothing to go on from, and half a history would mislead.
            shutil.rmtree(place)
            state.forget()
        if run.path in self._lost:
            view.note(f"{state.name}: goes on from {checkpoint.name if checkpoint else 'the start'}")
        command = prepare(self.plan, run, self.wandb, checkpoint)
        self.executor.start(
            Order(
                key=run.path,
                command=command,
                directory=Path.cwd(),
                variables=self._variables,
                log=(place / "log.txt").absolute(),
                lock=lock_file(self.plan.out, run.path, "work").absolute(),
                plan=self._plan_file,
                plan_hash=self._plan_hash,
            )
        )
        self._started[run.path] = time.monotonic()
        state.status = "running"
        self.save()

    def _end(self, run: PlannedRun, end: Ended, view: View) -> bool:
        """Take note of how a run ended; returns whether it is to go on."""
        from lightning_gw.compare.showing.summary import failure

        state, place = self.states[run.path], self.plan.out / run.path
        again = False
        if end.code == 0:
            state.status = "finished"
            folder.mark_finished(place, state.seconds)
        elif end.lost:
            times = self._lost.setdefault(run.path, [])
            times.append(time.monotonic())
            again = len(times) <= self._retries
            state.status = "waiting" if again else "failed"
            state.error = None if again else f"{end.error}{f', {len(times)} times in all' if len(times) > 1 else ''}"
            view.note(f"{state.name}: {end.error} after {clock(state.seconds)}")
        else:
            state.status, state.error = "failed", end.error or failure(end.code, place / "log.txt")
        self.save()
        return again

    def _take_report(self, run: PlannedRun) -> None:
        report = folder.read_json(self.plan.out / run.path / "progress.json")
        if report is not None:
            self.states[run.path].take(report)

    # -- after --------------------------------------------------------------------------------------------------------

    def save(self, notes: list[str] | None = None) -> None:
        """Write ``comparison.json``, and learn from it how the runs stand that others may have to do."""
        states: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            state = self.states[run.path]
            states[run.path] = {
                "status": state.status,
                "error": state.error,
                "seconds": round(state.seconds, 2) if state.seconds else None,
                "steps": state.steps or configured_steps(run),
            }
        entries = write_comparison(self.plan, states, notes)
        for run in self.plan.runs:
            if run.path not in states:
                state, entry = self.states[run.path], entries[run.path]
                state.status, state.error, state.seconds = entry["status"], entry["error"], entry["seconds"] or 0.0


def _first_seeds_first(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The first seed of every strategy, then the second: a comparison can be read as far as it got."""
    ranks: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
    return sorted(runs, key=lambda run: next(ranks[run.strategy]))
