"""The boundary between a callback and a training that has begun: no error of the one crosses it into the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.look_loop import LookLoop
from lightning_gw.callback.messages import stopped_message
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import RestoreError


def costs_no_training(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook of `GWSimilarity` whose errors are lost; see `lose`."""

    @functools.wraps(hook)
    def guarded(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, trainer, *args, **kwargs)
        except Exception as error:
            step = self._steps.now(trainer)
            lose(self._look_loop, self._error_policy, error, step, f"do its part in {hook.__name__}")

    return guarded


def lose(loop: LookLoop, policy: ErrorPolicy, error: Exception, step: int, what: str) -> None:
    """Do without what `error` prevented; where that was a look, on every process alike.

    Args:
        loop: Whose looks they are.
        policy: Whether errors end the training.
        error: What was raised.
        step: Trainer global step.
        what: What could not be done, after "could not", if it was no look.

    Raises:
        Exception: The error itself, where errors end the training.
    """
    together, loop.together = loop.together, False
    if together:
        try:
            Ranks("world", f"The look at step {step}").tell(error)
        except RestoreError as theirs:
            error = theirs
    if isinstance(error, RestoreError):
        loop.stopped = True
        policy.warn(stopped_message(step))
    if together and loop.last != step:
        loop.failed = step
        policy.note(policy.cost_a_look(error, step))
    else:
        policy.tolerate(error, what)
