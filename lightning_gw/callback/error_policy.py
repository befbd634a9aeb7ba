"""What happens when something goes wrong during training: it is said once and noted, and training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning_gw.utilities import output
from lightning_gw.utilities.distributed import is_known_to_all
from lightning_gw.utilities.errors import reason_of

OnError = Literal["warn", "raise"]
#: Top-level packages whose exceptions steer the Trainer and are nobody else's to catch.
_LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")


class ErrorPolicy:
    """Decides of every error whether it ends the training, says the others once each, and keeps them for the record.

    ``KeyboardInterrupt`` and whatever else is no `Exception` never comes here.

    Args:
        on_error: ``"warn"``: training goes on; ``"raise"``: it ends.

    Raises:
        ValueError: If `on_error` is neither.
    """

    def __init__(self, on_error: OnError) -> None:
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error={on_error!r} must be 'warn' or 'raise'.")
        self.on_error = on_error
        self._said: set[str] = set()
        self._notes: list[str] = []

    def cost_a_look(self, error: Exception, step: int) -> str:
        """A look failed, and is missing from the history.

        Returns:
            What the next record is to say of it.

        Raises:
            Exception: The error itself, where errors end the training.
        """
        return self._missing(error, step, f"look at step {step}, and training goes on without", "the look failed")

    def cost_a_record(self, error: Exception, step: int) -> str:
        """A record could not be written, and is missing from the history; see `cost_a_look`."""
        return self._missing(error, step, f"write the record of step {step}", "it was refused")

    def _missing(self, error: Exception, step: int, what: str, why: str) -> str:
        self.tolerate(error, what)
        return f"There is no record of step {step}, because {why} ({reason_of(error)})."

    def make_no_looks(self, error: Exception) -> None:
        """The network cannot be looked at, which is said before the first step and never again.

        Raises:
            Exception: The error itself, where errors end the training.
        """
        self.let_through(error)
        self.warn(f"GWSimilarity does not look at this network, and training goes on without: {error}")

    def tolerate(self, error: Exception, what: str) -> None:
        """Something beside the look failed.

        Args:
            error: Why.
            what: What could not be done, after "could not".

        Raises:
            Exception: The error itself, where errors end the training.
        """
        self.let_through(error)
        self.warn(f"GWSimilarity could not {what}: {reason_of(error)}", everywhere=not is_known_to_all(error))

    @contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """What runs inside can be done without; see `tolerate`."""
        try:
            yield
        except Exception as error:
            self.tolerate(error, what)

    def let_through(self, error: Exception) -> None:
        """Raise what is not to be caught here: every error where they end the training, and Lightning's own always.

        Raises:
            Exception: The error itself.
        """
        if self.on_error == "raise" or type(error).__module__.split(".")[0] in _LIGHTNING:
            raise error

    def note(self, message: str) -> None:
        """Have the next record say something."""
        self._notes.append(message)

    def take_notes(self) -> tuple[str, ...]:
        """What the record at hand has to say, each once."""
        notes, self._notes = self._notes, []
        return tuple(dict.fromkeys(notes))

    def warn(self, message: str, everywhere: bool = False) -> None:
        """Say something, unless the same reason was said before; the step, before the first colon, makes no other.

        Args:
            message: What.
            everywhere: Whether processes other than the first say it too.
        """
        reason = message.split(": ", 1)[-1]
        if reason not in self._said:
            self._said.add(reason)
            output.warn(message, everywhere)
