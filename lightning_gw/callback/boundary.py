"""The boundary between a callback and a training that has begun: no error of the one crosses it into the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol


class Loses(Protocol):
    """What does without the thing that an error prevented; see `LookLoop.lose`."""

    def lose(self, error: Exception, step: int, what: str) -> None: ...


def costs_no_training(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook ``(self, trainer, …)`` whose errors are handed to ``self._look_loop`` and end nothing by themselves."""

    @functools.wraps(hook)
    def guarded(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, trainer, *args, **kwargs)
        except Exception as error:
            loop: Loses = self._look_loop
            loop.lose(error, trainer.global_step, f"do its part in {hook.__name__}")

    return guarded
