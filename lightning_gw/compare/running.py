"""A comparison at work: checks its runs, starts them as workers come free, and tells how it went."""

from __future__ import annotations

import shlex
import shutil
import signal
import time
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from lightning_gw.compare import folder
from lightning_gw.compare.command import fit_arguments, prepare, thread_variables
from lightning_gw.compare.local import LocalExecutor, default_workers
from lightning_gw.compare.plan import Plan, PlannedRun
from lightning_gw.compare.progress import RunState, View, clock, make_view
from lightning_gw.errors import UsageError

#: Seconds between two looks at the runs.
_PERIOD = 0.25


class Comparison:
    """One comparison, from its plan to its page.

    Args:
        plan: What to run.
        workers: Runs at a time; as many as fit on the cores when None.
        wandb: ``offline``, ``online`` or ``disabled``.

    Raises:
        UsageError: If `workers` is below 1.
    """

    def __init__(self, plan: Plan, workers: int | None = None, wandb: str = "offline") -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"--workers should be at least 1, but is {workers}.")
        self.plan = plan
        self.workers = min(workers or default_workers(plan.threads), len(plan.runs))
        self.wandb = wandb
        several = len({run.seed for run in plan.runs}) > 1
        self.states = {
            run.path: RunState(run.path, f"{run.strategy}, seed {run.seed}" if several else run.strategy, run.task)
            for run in plan.runs
        }
        self._console = Console(highlight=False)
        self._started: dict[str, float] = {}
        self._earlier: dict[str, float] = {}
        self._begun = time.monotonic()

    def show_plan(self) -> int:
        """Check and print the plan: every run, whether it is new, goes on or is finished, and its command."""
        folder.check_owner(self.plan)
        self._check()
        count = "1 run" if len(self.plan.runs) == 1 else f"{len(self.plan.runs)} runs"
        self._say(f"{self.plan.title}: {count}, {self.workers} at a time, into {self.plan.out}")
        for run in self.plan.runs:
            place = self.plan.out / run.path
            checkpoint = folder.last_checkpoint(place)
            state = (
                "finished" if folder.is_finished(place) else f"goes on from {checkpoint.name}" if checkpoint else "new"
            )
            self._say(f"\n{self.states[run.path].name} ({run.task}; {state})")
            if run.question:
                self._say(f"  {run.question}")
            self._say(f"  lightning-gw fit {shlex.join(fit_arguments(self.plan, run, None))}")
        return 0

    def run(self) -> int:
        """Run everything that is not finished yet, then write the page.

        Returns:
            0 when all runs ended well, 1 when some failed, 130 when interrupted.

        Raises:
            UsageError: If a run's config or the folder cannot be used; nothing has been started then.
        """
        folder.check_owner(self.plan)  # before anything is written there, and again once nobody else can
        lock = folder.lock(self.plan.out)
        executor = LocalExecutor(thread_variables(self.plan), lock)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            folder.check_owner(self.plan)
            self._take_what_is_finished()
            if any(state.status == "waiting" for state in self.states.values()):
                self._say("Checking the configs ...")
                self._check()
            folder.claim(self.plan)
            self._save()
            self._begun = time.monotonic()
            with make_view(self.plan.title, self.workers, lambda: time.monotonic() - self._begun) as view:
                self._work(executor, view)
        except KeyboardInterrupt:
            self._say("\nInterrupted: stopping the runs. The same command goes on from here.")
            executor.stop()
            for state in self.states.values():
                state.status = "waiting" if state.status == "running" else state.status
            self._save()
            return 130
        finally:
            executor.stop()
            signal.signal(signal.SIGTERM, before)
            if lock is not None:
                lock.close()
        return self._conclude()

    # -- before -------------------------------------------------------------------------------------------------------

    def _take_what_is_finished(self) -> None:
        for run in self.plan.runs:
            state, place = self.states[run.path], self.plan.out / run.path
            self._take_report(run)
            seconds = folder.finished_seconds(place)
            if seconds is not None:
                state.status, state.seconds = "finished", seconds

    def _check(self) -> None:
        """Parse the options of every strategy that has something to run, so that no mistake surfaces late."""
        from lightning_gw.fit import check

        checked = set()
        for run in self.plan.runs:
            if self.states[run.path].status == "waiting" and run.strategy not in checked:
                checked.add(run.strategy)
                check(fit_arguments(self.plan, run, None))

    # -- while --------------------------------------------------------------------------------------------------------

    def _work(self, executor: LocalExecutor, view: View) -> None:
        waiting = [run for run in self.plan.runs if self.states[run.path].status == "waiting"]
        # The first seed of every strategy comes first: a comparison that is interrupted can be read as far as it got.
        waiting.sort(
            key=lambda run: [other.seed for other in self.plan.runs if other.strategy == run.strategy].index(run.seed)
        )
        runs = {run.path: run for run in self.plan.runs}
        view.update(list(self.states.values()))
        while waiting or len(executor):
            while waiting and len(executor) < self.workers:
                self._start(waiting.pop(0), executor)
            time.sleep(_PERIOD)
            ended = executor.poll()
            now = time.monotonic()
            for path, state in self.states.items():
                if state.status == "running":
                    state.seconds = self._earlier[path] + now - self._started[path]
                    self._take_report(runs[path])
            for path, code in ended.items():
                self._end(runs[path], code)
            view.update(list(self.states.values()))

    def _start(self, run: PlannedRun, executor: LocalExecutor) -> None:
        place, state = self.plan.out / run.path, self.states[run.path]
        checkpoint = folder.last_checkpoint(place)
        self._earlier[run.path] = 0.0
        if checkpoint is not None:
            self._earlier[run.path] = float((folder.read_json(place / "progress.json") or {}).get("seconds", 0.0))
        elif place.exists():
            # Interrupted before its first checkpoint: there is nothing to go on from, and half a history would mislead.
            shutil.rmtree(place)
            self.states[run.path] = state = RunState(run.path, state.name, state.task)
        command = prepare(self.plan, run, self.wandb, checkpoint)
        executor.start(run.path, command, place / "log.txt")
        self._started[run.path] = time.monotonic()
        state.status = "running"
        self._save()

    def _end(self, run: PlannedRun, code: int) -> None:
        from lightning_gw.compare.summary import failure

        state, place = self.states[run.path], self.plan.out / run.path
        if code == 0:
            state.status = "finished"
            folder.mark_finished(place, state.seconds)
        else:
            state.status, state.error = "failed", failure(code, place / "log.txt")
        self._save()

    def _take_report(self, run: PlannedRun) -> None:
        report = folder.read_json(self.plan.out / run.path / "progress.json")
        if report is not None:
            self.states[run.path].take(report)

    # -- after --------------------------------------------------------------------------------------------------------

    def _conclude(self) -> int:
        from lightning_gw.compare.summary import accuracy_notes, history_of, log_tail, probe_notes, summary_lines

        histories = [history_of(self.plan, run) for run in self.plan.runs]
        notes = [*probe_notes(self.plan, histories), *accuracy_notes(self.plan, self.states)]
        self._save(notes)
        failed = [run for run in self.plan.runs if self.states[run.path].status == "failed"]
        for run in failed:
            log = self.plan.out / run.path / "log.txt"
            self._say(f"\n{self.states[run.path].name} failed. The end of {log}:")
            for line in log_tail(log):
                self._say(f"  {line}")
        self._say(f"\n{self.plan.title}, {clock(time.monotonic() - self._begun)}:")
        for line in summary_lines(self.plan, self.states, histories):
            self._say(f"  {line}")
        for note in notes:
            self._say(f"Note: {note}")
        if any(histories):
            from lightning_gw.report import write_report

            page = write_report(self.plan.out)
            self._say(f"Open {page.resolve().as_uri()}")
        else:
            self._say("No run left a history, so there is no page to open.")
        if failed:
            self._say(f"{len(failed)} of {len(self.plan.runs)} runs failed; the same command tries them again.")
        return 1 if failed else 0

    def _save(self, notes: list[str] | None = None) -> None:
        states: dict[str, dict[str, Any]] = {
            path: {
                "status": state.status,
                "error": state.error,
                "seconds": round(state.seconds, 2) if state.seconds else None,
            }
            for path, state in self.states.items()
        }
        folder.write_comparison(self.plan, states, notes or [])

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM stops a comparison as Ctrl-C does."""
    raise KeyboardInterrupt
