"""Who is at work on which run: locks that end with the process that holds them, on a disk that machines may share.

Every run has two. Its **claim** is held by the comparison that has the run to do, from its beginning to its end; its
**work** lock by whatever trains it. When a comparison is killed its claims are free at once, while its runs, which
notice within a batch, hold their work locks for as long as they can still write.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say

LOCKS_FOLDER = ".locks"
#: Seconds for which a lock that is in the way may just have been looked at by someone.
_GLANCE = 2.0


class LockedError(Exception):
    """Somebody else holds the lock."""


def lock_file(out: Path, path: str, kind: Literal["claim", "work"]) -> Path:
    """Where a run's lock lies in the comparison's folder: not in the run's, which is emptied when it starts over."""
    return out / LOCKS_FOLDER / f"{path}.{kind}"


def hold(file: Path, patience: float = _GLANCE) -> BinaryIO | None:
    """Lock a file until what is returned is closed, here and in all processes that inherited it.

    Args:
        file: The lock file; made where it is missing.
        patience: Seconds to wait for it.

    Returns:
        The open file; None where the system or the disk has no such locks (Windows, some network disks), and then
        nothing keeps two processes apart.

    Raises:
        LockedError: If somebody else still holds it after `patience` seconds.
        UsageError: If the file cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return None
    stream = _open(file)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except BlockingIOError:
            if time.monotonic() > deadline:
                stream.close()
                raise LockedError(str(file)) from None
            time.sleep(min(0.1, patience / 4))
        except OSError:  # a disk without locks
            stream.close()
            return None


def is_held(file: Path) -> bool | None:
    """Whether somebody holds a lock; None where there are no locks to tell."""
    try:
        import fcntl
    except ImportError:
        return None
    if not file.exists():
        return False
    with _open(file) as stream:
        try:
            # Shared, so that two who only look are not in each other's way.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
    return False


@contextmanager
def alone(out: Path, patience: float = 60.0) -> Iterator[None]:
    """What runs inside is done by one process at a time among those at work in a comparison's folder."""
    stream = hold(out / LOCKS_FOLDER / "folder", patience)
    try:
        yield
    finally:
        if stream is not None:
            stream.close()


class Claims:
    """The runs that one comparison has to do, kept from all others until `release`.

    Args:
        out: The comparison's folder.
        paths: Folders of the runs, relative to it.
        elsewhere: What to do in place of waiting, as the end of a sentence.
        patience: Seconds for which to wait for runs that a killed comparison left at work.

    Attributes:
        unlocked: Whether the system or the disk has no locks, so that nothing keeps others away.

    Raises:
        UsageError: If another comparison has one of these runs to do, or one of them is still at work.
    """

    def __init__(self, out: Path, paths: Sequence[str], elsewhere: str, patience: float = 30.0) -> None:
        self._held: list[BinaryIO] = []
        self.unlocked = False
        try:
            for path in paths:
                self._claim(out, path, elsewhere)
            self._wait_for_workers(out, paths, elsewhere, patience)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the runs."""
        for stream in self._held:
            stream.close()
        self._held.clear()

    def _claim(self, out: Path, path: str, elsewhere: str) -> None:
        try:
            stream = hold(lock_file(out, path, "claim"))
        except LockedError:
            raise UsageError(
                f"Another comparison is at work on {path} in {out}. Wait for it, or give {elsewhere}"
            ) from None
        if stream is None:
            self.unlocked = True
        else:
            self._held.append(stream)

    @staticmethod
    def _wait_for_workers(out: Path, paths: Sequence[str], elsewhere: str, patience: float) -> None:
        deadline, told = time.monotonic() + patience, False
        for path in paths:
            while is_held(lock_file(out, path, "work")):
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"The run {path} in {out} is still at work, though its comparison is gone. Stop it (the log in "
                        f"its folder names its process and machine), or give {elsewhere}"
                    )
                if not told:
                    say(f"Waiting for the runs that are still at work in {out} ...")
                    told = True
                time.sleep(0.2)


def _open(file: Path) -> BinaryIO:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not "w": locking must not depend on who came first, and a network disk locks only what is open for writing.
        stream = file.open("a+b")
    except OSError as error:
        raise UsageError(
            f"{file.parent} cannot be written: {error.strerror}. Give another folder with --out."
        ) from error
    assert not os.get_inheritable(stream.fileno())
    return stream
