"""What a dry run prints: the plan, and from a short trial how long it will take."""

from __future__ import annotations

import heapq
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import TYPE_CHECKING

from lightning_gw.compare import folder
from lightning_gw.compare.optimizer_steps import configured_steps, step_count_lines
from lightning_gw.compare.plan import PlannedRun
from lightning_gw.compare.run_command import fit_arguments
from lightning_gw.compare.showing.progress import clock
from lightning_gw.compare.trial import STEPS, Trial, TrialError, try_run
from lightning_gw.records.words.misnamed import never_logged

if TYPE_CHECKING:
    from lightning_gw.compare.comparison import Comparison

#: Seconds of trials after which a task's other strategies are taken to last as long a step as those that were tried.
_TRIAL_SECONDS = 60.0


def show_plan(comparison: Comparison, trial: bool = True) -> int:
    """Check and print the plan: every run, whether it is new, goes on or is finished, its command and its time.

    Returns:
        0, or 1 where a `trial` was asked for and failed.

    Raises:
        UsageError: If a run's config or the folder cannot be used.
    """
    plan, say = comparison.plan, comparison.say
    folder.check_owner(plan)
    comparison.take_what_is_finished()
    comparison.check()
    count = "1 run" if len(comparison.runs) == 1 else f"{len(comparison.runs)} runs"
    at_a_time = f"{comparison.workers} at a time" if comparison.workers else "as many at a time as the cluster has room"
    say(f"{plan.title}: {count}, {at_a_time}, into {plan.out}")
    steps = {run.path: comparison.states[run.path].steps or configured_steps(run) for run in plan.runs}
    for line in step_count_lines(plan, steps):
        say(line)
    open_runs = [run for run in comparison.runs if comparison.states[run.path].status != "finished"]
    for run in comparison.runs:
        checkpoint = folder.last_checkpoint(plan.out / run.path)
        state = "finished" if run not in open_runs else f"goes on from {checkpoint.name}" if checkpoint else "new"
        state += f"; {steps[run.path]} optimizer steps" if steps[run.path] else ""
        say(f"\n{comparison.states[run.path].name} ({run.task}; {state})")
        if run.question:
            say(f"  {run.question}")
        say(f"  lightning-gw fit {shlex.join(fit_arguments(plan, run, None))}")
    if not open_runs:
        say("\nEvery run is finished; the same command without --dry-run writes the page anew.")
        return 0
    return _say_times(comparison, open_runs) if trial else 0


def _say_times(comparison: Comparison, runs: list[PlannedRun]) -> int:
    say = comparison.say
    say(f"\nTrying {STEPS} optimizer steps ...")
    at_a_time = min(comparison.workers or 1, len(runs))
    tried, failed = _try_strategies(comparison, runs, at_a_time)
    for name, why in failed.items():
        say(f"The trial of {name} failed: {why}")
    wrong = _unlogged(runs, tried)
    for line in wrong:
        say(line)
    times: dict[str, float] = {}
    for run in runs:
        place = comparison.plan.out / run.path
        alike = tried.get(run.strategy) or next((each for each in tried.values() if each.task == run.task), None)
        report = folder.read_json(place / "progress.json") or {}
        done = int(report.get("step", 0)) if folder.last_checkpoint(place) else 0
        if alike is not None and (seconds := alike.seconds(configured_steps(run), done)) is not None:
            times[run.path] = seconds
    if len(times) < len(runs):
        say("How long the plan will take cannot be told: not every run has a known number of steps and a trial.")
        return 1 if failed or wrong else 0
    width = max(len(comparison.states[path].name) for path in times)
    say("\nEstimated time:")
    for path, seconds in times.items():
        say(f"  {comparison.states[path].name:<{width}}  about {clock(seconds)}")
    workers = comparison.workers or 1
    total = makespan(list(times.values()), workers)
    say(f"  {'the whole plan':<{width}}  about {clock(total)}, {workers} at a time")
    say("This rests on:")
    for name, trial in tried.items():
        say(f"  {name}: {trial.sentence()}")
    for strategy in dict.fromkeys(run.strategy for run in runs if run.strategy not in tried):
        why = "its trial failed" if strategy in failed else "not tried"
        say(f"  {strategy}: {why}; taken to last as long a step as the first of its task above")
    side = "alone" if at_a_time == 1 else f"with {at_a_time} of them at a time, as the runs will,"
    say(f"Each trial ran {side} on this machine; runs on another may be slower or faster.")
    return 1 if failed or wrong else 0


def _unlogged(runs: Sequence[PlannedRun], tried: Mapping[str, Trial]) -> list[str]:
    """What to say of metrics named as ``accuracy`` that no run of their task logs.

    One run is enough: a strategy of several phases may log a metric in a later one than the trial came to.
    """
    logged: dict[tuple[str, str], set[str] | None] = {}
    for run in runs:
        trial = tried.get(run.strategy)
        if run.accuracy is None or trial is None:
            continue
        seen = logged.setdefault((run.task, run.accuracy), None)
        if trial.logged is not None:
            logged[run.task, run.accuracy] = (seen or set()) | set(trial.logged)
    said = []
    for (task, accuracy), names in logged.items():
        if names is None:
            said.append(f"Whether {task} logs {accuracy!r} was not seen: no validation came with the trial.")
        elif accuracy not in names:
            said.append(f"accuracy of {task}: {never_logged(accuracy, sorted(names))}")
    return said


def _try_strategies(
    comparison: Comparison, runs: Sequence[PlannedRun], at_a_time: int
) -> tuple[dict[str, Trial], dict[str, str]]:
    """Strategy → its trial, and strategy → why that failed; one of each task at least.

    As many are tried at a time as will run at a time, since they share the machine; where there are too few, some are
    tried twice.
    """
    tried: dict[str, Trial] = {}
    failed: dict[str, str] = {}
    spent: dict[str, float] = {}
    waiting = list({run.strategy: run for run in reversed(runs)}.values())[::-1]

    def attempt(run: PlannedRun) -> Trial | TrialError:
        try:
            return try_run(comparison.plan, run)
        except TrialError as error:
            return error

    with ThreadPoolExecutor(at_a_time) as pool:
        while True:
            done = {trial.task for trial in tried.values()}
            waiting = [run for run in waiting if run.task not in done or spent[run.task] <= _TRIAL_SECONDS]
            now, waiting = waiting[:at_a_time], waiting[at_a_time:]
            if not now:
                return tried, failed
            started = time.monotonic()
            ends = list(pool.map(attempt, islice(cycle(now), at_a_time)))
            for run, end in zip(now, ends, strict=False):
                if isinstance(end, TrialError):
                    failed[run.strategy] = str(end)
                else:
                    tried[run.strategy] = end
                spent[run.task] = spent.get(run.task, 0.0) + time.monotonic() - started


def makespan(seconds: list[float], workers: int) -> float:
    """When the last of some runs ends that last so long and are taken up in this order, as workers come free."""
    free = [0.0] * max(1, workers)
    for length in seconds:
        heapq.heapreplace(free, free[0] + length)
    return max(free)
