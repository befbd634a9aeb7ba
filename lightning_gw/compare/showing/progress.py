"""What the terminal shows while a comparison runs: a table that updates in place, or plain lines where it cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lightning_gw.utilities.output import say

Status = Literal["waiting", "running", "finished", "failed"]
_STYLES = {"waiting": "dim", "running": "bold", "finished": "green", "failed": "red"}
_MARKS = {"waiting": "·", "running": "▸", "finished": "✓", "failed": "✗"}
#: Which runs to show first when the terminal is too low for all.
_ORDER = {"running": 0, "failed": 1, "waiting": 2, "finished": 3}
#: Columns from which there is room for a bar.
_WIDE = 100
_BAR = 16


@dataclass
class RunState:
    """How one run of a comparison stands.

    Attributes:
        path: The run's folder relative to the comparison's; its key.
        name: What to call it in one line.
        task: Its task; runs of one task are taken to last about equally long.
        status: Where it is.
        step: Optimizer steps done.
        steps: Optimizer steps planned, or None where unknown.
        pace: Seconds a step takes, or None where unknown.
        accuracy: Last value of the metric shown, or None.
        looks: Looks at the layers so far.
        groups: The groups of the last look in words, or None before the first.
        seconds: Wall-clock seconds so far, over all attempts.
        error: What went wrong, or None.
        metrics: Names of the metrics the run has logged.
    """

    path: str
    name: str
    task: str
    status: Status = "waiting"
    step: int = 0
    steps: int | None = None
    pace: float | None = None
    accuracy: float | None = None
    looks: int = 0
    groups: str | None = None
    seconds: float = 0.0
    error: str | None = None
    metrics: list[str] = field(default_factory=list)

    def take(self, report: dict[str, Any]) -> None:
        """Take over what the run wrote about itself."""
        for name in ("step", "steps", "pace", "accuracy", "looks", "groups", "metrics"):
            setattr(self, name, report[name])

    def forget(self) -> None:
        """The run starts over: keep its name, not how far it was."""
        vars(self).update(vars(RunState(self.path, self.name, self.task)))

    def expected_seconds(self) -> float | None:
        """How long the whole run will have taken, judged by its own pace; None before there is any."""
        if self.status == "finished":
            return self.seconds
        if self.status == "running" and self.steps and self.pace is not None:
            return self.seconds + self.pace * max(0, self.steps - self.step)
        return None


def seconds_left(states: Sequence[RunState], workers: int) -> float | None:
    """Estimate of the time until all runs are done, or None while nothing is known to go by.

    A run that has no pace yet is taken to last as long as those of its task do on average, else as long as any.
    """
    known = [(state.task, expected) for state in states if (expected := state.expected_seconds()) is not None]
    if not known:
        return None
    total, longest = 0.0, 0.0
    for state in states:
        if state.status in ("finished", "failed"):
            continue
        expected = state.expected_seconds()
        if expected is None:
            alike = [seconds for task, seconds in known if task == state.task] or [seconds for _, seconds in known]
            expected = sum(alike) / len(alike)
        left = max(0.0, expected - state.seconds)
        total, longest = total + left, max(longest, left)
    return max(longest, total / workers)


def clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class View(ABC):
    """Shows how the runs stand."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    @abstractmethod
    def update(self, states: Sequence[RunState]) -> None:
        """Show `states` as they are now."""

    def note(self, text: str) -> None:
        """Print a line that stays: above a table, among other lines."""
        say(text, lambda line: self._console.print(line, soft_wrap=True, markup=False, end=""))


def make_view(title: str, workers: int, elapsed: Callable[[], float], console: Console | None = None) -> View:
    """A live table in a terminal, plain lines elsewhere.

    Args:
        title: Title of the comparison.
        workers: Runs at a time.
        elapsed: Seconds since the comparison was started.
        console: Where to write; standard output when None.
    """
    console = console or Console(highlight=False)
    return TableView(title, workers, elapsed, console) if console.is_terminal else LineView(console)


class TableView(View):
    """A table with one line per run, redrawn in place."""

    def __init__(self, title: str, workers: int, elapsed: Callable[[], float], console: Console) -> None:
        super().__init__(console)
        self._title, self._workers, self._elapsed = title, workers, elapsed
        self._live = Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, states: Sequence[RunState]) -> None:
        """Redraw."""
        self._live.update(self.render(states), refresh=True)

    def render(self, states: Sequence[RunState]) -> RenderableType:
        """The heading and the table."""
        width, room = self._console.width, max(3, self._console.height - 5)
        shown = list(states)
        if len(shown) > room:
            kept = sorted(shown, key=lambda state: _ORDER[state.status])[: room - 1]
            shown = [state for state in states if state in kept]
        # Numbers keep their width whatever the terminal's; names and groups share what is left.
        steps = max(4, *(len(_steps(state)) for state in states))
        times = max(5, *(len(clock(state.seconds)) for state in states))
        names = min(width // 3, max(len(state.name) for state in states))
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
        table.add_column("", width=1)
        table.add_column("run", width=names, no_wrap=True, overflow="ellipsis")
        if width >= _WIDE:
            table.add_column("", width=_BAR)
        table.add_column("step", justify="right", width=steps, no_wrap=True)
        table.add_column("accuracy", justify="right", width=8, no_wrap=True)
        table.add_column("groups", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("time", justify="right", width=times, no_wrap=True)
        for state in shown:
            table.add_row(*self._cells(state, width))
        parts: list[RenderableType] = [Text(self._heading(states), style="bold", no_wrap=True), table]
        if len(shown) < len(states):
            hidden = [state.status for state in states if state not in shown]
            counts = [f"{hidden.count(status)} {status}" for status in _ORDER if status in hidden]
            parts.append(Text(f"  … and {', '.join(counts)}", style="dim"))
        return Group(*parts)

    def _heading(self, states: Sequence[RunState]) -> str:
        done = sum(state.status in ("finished", "failed") for state in states)
        left = seconds_left(states, self._workers)
        times = f"{clock(self._elapsed())} gone"
        if left is not None and done < len(states):
            times += f", about {clock(left)} left"
        numbers = f": {done} of {len(states)} runs done, {times}"
        room = self._console.width - len(numbers)
        title = self._title if len(self._title) <= room else f"{self._title[: max(0, room - 1)]}…"
        return f"{title}{numbers}"

    @staticmethod
    def _cells(state: RunState, width: int) -> list[RenderableType]:
        style = _STYLES[state.status]
        if state.status == "waiting":
            groups = "waiting"
        elif state.status == "failed":
            groups = state.error or "failed"
        elif state.status == "running" and not state.steps:
            groups = "starting"
        else:
            groups = state.groups or ("not looked at yet" if state.status == "running" else "not looked at")
        bar: list[RenderableType] = []
        if width >= _WIDE:
            bar.append(ProgressBar(total=state.steps, completed=state.step, width=_BAR) if state.steps else Text(""))
        return [
            Text(_MARKS[state.status], style=style),
            Text(state.name, style=style),
            *bar,
            Text(_steps(state)),
            Text("" if state.accuracy is None else f"{state.accuracy:.3f}"),
            Text(groups, style="red" if state.status == "failed" else ""),
            Text(clock(state.seconds) if state.seconds else ""),
        ]


class LineView(View):
    """One line per event: a run started, looked at its layers, ended. For logs of builds and clusters."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._told: dict[str, tuple[Status, int]] = {}

    def update(self, states: Sequence[RunState]) -> None:
        """Print what is new."""
        for state in states:
            status, looks = self._told.get(state.path, ("waiting", 0))
            if (state.status, state.looks) == (status, looks):
                continue
            self._told[state.path] = (state.status, state.looks)
            self.note(f"{state.name}: {self._event(state, status)}")

    @staticmethod
    def _event(state: RunState, before: Status) -> str:
        if state.status == "failed":
            return f"failed after {clock(state.seconds)}: {state.error}"
        if state.status == "running" and before != "running":
            return "started"
        accuracy = "" if state.accuracy is None else f", accuracy {state.accuracy:.3f}"
        groups = f", {state.groups}" if state.groups else ""
        what = "finished" if state.status == "finished" else f"step {_steps(state)}"
        return f"{what}{accuracy}{groups}, {clock(state.seconds)}"


def _steps(state: RunState) -> str:
    if not state.step and not state.steps:
        return ""
    return f"{state.step}/{state.steps}" if state.steps else str(state.step)
