"""Comparisons of training strategies: strategies × seeds → runs → histories → one page.

Every run is a process of its own and nothing but a ``lightning-gw fit`` command that its folder holds in
``command.txt``. What is finished stays finished; the same command goes on wherever it was interrupted.
"""

from __future__ import annotations

from pathlib import Path

from lightning_gw.compare.plan import Plan, PlannedRun, read_plan
from lightning_gw.compare.running import Comparison

__all__ = ["Plan", "PlannedRun", "compare", "read_plan"]


def compare(
    config: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    wandb: str = "offline",
    dry_run: bool = False,
) -> int:
    """Train every strategy and seed of a comparison, and write its page.

    Args:
        config: YAML file of the comparison.
        out: Folder for everything; the config's when None.
        workers: Runs at a time; as many as fit on the cores when None.
        wandb: ``offline``, ``online`` or ``disabled``.
        dry_run: Check everything, print the plan, train nothing.

    Returns:
        0 when all runs ended well, 1 when some failed, 130 when interrupted.

    Raises:
        UsageError: If the config, one of its runs, or the folder cannot be used.
    """
    plan = read_plan(Path(config), None if out is None else Path(out))
    comparison = Comparison(plan, workers, wandb)
    return comparison.show_plan() if dry_run else comparison.run()
