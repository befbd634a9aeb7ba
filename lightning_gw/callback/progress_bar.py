"""Shows in the Trainer's own progress bar that a look is under way, where it takes long enough to wonder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from lightning_gw.utilities import output

#: Seconds after which a look shows itself.
SHOWN_AFTER = 1.0
#: Seconds that the bar is given to draw it.
DRAWN_WITHIN = 1.0


@contextmanager
def shown(trainer: Any, message: str, after: float = SHOWN_AFTER) -> Iterator[None]:
    """Put `message` where the progress bar says what it is doing, once what runs inside has taken long enough.

    A Trainer without a progress bar shows nothing; where its bar is not drawn yet, the message is logged.

    Args:
        trainer: The Trainer.
        message: What to show.
        after: Seconds to wait before.
    """
    describe = _description(trainer)
    if describe is None:
        yield
        return
    restore: list[Callable[[], None]] = []
    lock = threading.Lock()
    over = False

    def show() -> None:
        with lock, suppress(Exception):  # a picture of progress is worth no error
            if not over:
                restore.append(describe(message))

    timer = threading.Timer(after, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        over = True
        if lock.acquire(timeout=DRAWN_WITHIN):  # a terminal that was stopped is not waited for
            with suppress(Exception):
                for put_back in restore:
                    put_back()
            lock.release()


def _description(trainer: Any) -> Callable[[str], Callable[[], None]] | None:
    """How to describe what the Trainer is doing; calling it returns what puts the old description back."""
    bar = getattr(trainer, "progress_bar_callback", None)
    if bar is None or not getattr(bar, "is_enabled", True):
        return None
    with suppress(Exception):
        if getattr(bar, "progress", None) is not None and bar.train_progress_bar_id is not None:
            return partial(_in_rich, bar.progress, bar.train_progress_bar_id)
        return partial(_in_tqdm, bar.train_progress_bar)
    return _in_log  # before the first epoch there is no bar to ask for


def _in_tqdm(line: Any, message: str) -> Callable[[], None]:
    before = line.desc
    line.set_description(message)
    return lambda: line.set_description_str(before)


def _in_rich(progress: Any, task: Any, message: str) -> Callable[[], None]:
    before = progress.tasks[progress.task_ids.index(task)].description
    progress.update(task, description=message)
    progress.refresh()
    return lambda: progress.update(task, description=before)


def _in_log(message: str) -> Callable[[], None]:
    output.inform(f"{message} ...")
    return lambda: None
