"""The end of a comparison: what it found in the terminal, and its page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_gw.compare.budget import budget_lines, configured_steps, unequal_budgets
from lightning_gw.compare.progress import clock

if TYPE_CHECKING:
    from lightning_gw.compare.comparison import Comparison


def conclude(comparison: Comparison, seconds: float) -> int:
    """Say how the runs ended, and write the page once no other process has runs left to do.

    Args:
        comparison: The comparison; all its runs have ended.
        seconds: What they took.

    Returns:
        0 when all of them ended well, 1 when some failed.
    """
    from lightning_gw.compare.summary import accuracy_notes, history_of, log_tail, probe_notes, summary_lines

    plan, states, say = comparison.plan, comparison.states, comparison.say
    comparison.save()
    comparison.take_what_is_finished()  # what others finished meanwhile
    mine = {run.path for run in comparison.runs}
    histories = [history_of(plan, run) for run in plan.runs]
    steps = {run.path: states[run.path].steps or configured_steps(run) for run in plan.runs}
    notes = [
        *probe_notes(plan, histories),
        *accuracy_notes(plan, states),
        *unequal_budgets(plan, steps),
        *comparison.losses,
    ]
    comparison.save(notes)
    failed = [run for run in comparison.runs if states[run.path].status == "failed"]
    for run in failed:
        log = plan.out / run.path / "log.txt"
        say(f"\n{states[run.path].name} failed. The end of {log}:")
        for line in log_tail(log) or [str(states[run.path].error)]:
            say(f"  {line}")
    say(f"\n{plan.title}, {clock(seconds)}:")
    shown = [(run, history) for run, history in zip(plan.runs, histories, strict=True) if run.path in mine]
    for line in summary_lines(replace(plan, runs=tuple(run for run, _ in shown)), states, [each for _, each in shown]):
        say(f"  {line}")
    for line in budget_lines(plan, steps):
        if not any(note.startswith(line) for note in notes):  # a note says it with what follows from it
            say(line)
    for note in notes:
        say(f"Note: {note}")
    left = [run for run in plan.runs if run.path not in mine and states[run.path].status != "finished"]
    if left:
        done = len(plan.runs) - len(left) - len(failed)
        say(f"{done} of {len(plan.runs)} runs are finished; `lightning-gw report {plan.out}` draws those that are.")
    elif any(histories):
        from lightning_gw.compare.wandb import log_summary_run
        from lightning_gw.report import write_report

        page = write_report(plan.out)
        if told := log_summary_run(plan, comparison.wandb, page):
            say(told)
        say(f"Open {page.resolve().as_uri()}")
    else:
        say("No run left a history, so there is no page to open.")
    if failed:
        say(f"{len(failed)} of {len(comparison.runs)} runs failed; the same command tries them again.")
    return 1 if failed else 0
