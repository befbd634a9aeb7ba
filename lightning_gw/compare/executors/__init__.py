"""Where the runs of a comparison are done: as processes on this machine, or as tasks on a Ray cluster.

Either way a run is one command, `base.Order`, carried out by `process` and locked by `locks`.
"""

from __future__ import annotations

import importlib.util

from lightning_gw.compare.executors.base import Executor, ExecutorSettings
from lightning_gw.utilities.errors import UsageError


def make_executor(settings: ExecutorSettings, threads: int) -> Executor:
    """The executor that the settings ask for, for runs of so many compute threads.

    Raises:
        UsageError: If it is not installed.
    """
    if settings.name == "local":
        from lightning_gw.compare.executors.local import LocalExecutor

        return LocalExecutor(threads)
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "The executor ray needs Ray, which is not installed: pip install 'lightning-gw[ray]'. "
            "--executor local works without it, on this machine alone."
        )
    from lightning_gw.compare.executors.ray_tasks import RayExecutor

    return RayExecutor(settings, threads)
