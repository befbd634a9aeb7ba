"""The boundary between a callback and a training that has begun: no error of the one crosses it into the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lightning_gw.callback.error_policy import ErrorPolicy
from lightning_gw.callback.look.look_loop import LookLoop
from lightning_gw.callback.messages import stopped_message
from lightning_gw.utilities.distributed import Ranks
from lightning_gw.utilities.errors import RestoreError


def costs_no_training(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook of `GWSimilarity` whose errors are lost; see `lose`.

    With several processes all are to decide alike whether to look. So what fails on one of them before it got as far as
    that, and others may not fail in, is tried once more.
    """

    @functools.wraps(hook)
    def guarded(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        loop, policy = self._look_loop, self._error_policy
        before, rounds = self._before, loop.rounds
        what = f"do its part in {hook.__name__}"
        try:
            try:
                hook(self, trainer, *args, **kwargs)
            except Exception as error:
                if trainer.world_size == 1 or loop.together or loop.rounds != rounds:
                    raise
                policy.tolerate(error, f"{what} at once")
                self._before = before
                hook(self, trainer, *args, **kwargs)
        except Exception as error:
            lose(loop, policy, error, self._steps.now(trainer), what)

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
            Ranks("world", f"The look at step {step}").leave(error)
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
