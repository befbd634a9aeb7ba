"""Comparisons of training strategies: strategies × seeds → runs → histories → one page.

Every run is a process of its own and nothing but a ``lightning-gw fit`` command that its folder holds in
``command.txt``. What is finished stays finished; the same command goes on wherever it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_gw.compare.comparison import Comparison
from lightning_gw.compare.executors import make_executor
from lightning_gw.compare.executors.base import Executor, ExecutorSettings
from lightning_gw.compare.plan import Plan, PlannedRun, read_plan
from lightning_gw.compare.sweep import choose_runs, write_sweep

__all__ = ["Comparison", "Executor", "ExecutorSettings", "Plan", "PlannedRun", "compare", "read_plan", "write_sweep"]


def compare(
    config: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    wandb: str = "offline",
    dry_run: bool = False,
    trial: bool = True,
    executor: str | None = None,
    ray_address: str | None = None,
    only: Sequence[str] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> int:
    """Train every strategy and seed of a comparison, and write its page.

    Args:
        config: YAML file of the comparison.
        out: Folder for everything; the config's when None.
        workers: Runs at a time; as many as fit when None.
        wandb: ``offline``, ``online`` or ``disabled``.
        dry_run: Check everything, print the plan and how long it will take, and leave nothing behind.
        trial: Whether a dry run trains for a few steps to tell how long the plan will take.
        executor: ``local`` or ``ray``; the config's when None.
        ray_address: Address of a Ray cluster; the config's when None.
        only: Paths of the runs to do (``STRATEGY/seed-K``); others may be at work on the rest at the same time.
        strategies: Do the runs of these strategies only.
        seeds: Do the runs with these seeds only.

    Returns:
        0 when all runs ended well, 1 when some failed, 130 when interrupted.

    Raises:
        UsageError: If the config, one of its runs, the executor or the folder cannot be used.
    """
    plan = read_plan(Path(config), None if out is None else Path(out))
    settings = plan.executor.chosen(executor, ray_address)
    comparison = Comparison(
        plan,
        workers,
        wandb,
        executor=make_executor(settings, plan.threads),
        retries=settings.retries,
        only=choose_runs(plan, only, strategies, seeds),
    )
    if dry_run:
        from lightning_gw.compare.dry_run import show_plan

        return show_plan(comparison, trial)
    return comparison.run()
