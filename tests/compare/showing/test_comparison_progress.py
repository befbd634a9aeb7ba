"""What the terminal shows while a comparison runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lightning_gw.compare.showing.progress import LineView, RunState, TableView, make_view, seconds_left

STATES = [
    RunState(
        "a/seed-0", "stage_supervised", "algebra", "finished", 350, 350, 0.04, 0.993, 8, "1–2 | 3–6 | 7–9  strong", 41
    ),
    RunState(
        "b/seed-0", "stage_end", "algebra", "running", 120, 600, 0.05, 0.71, 5, "1–2 | 3–4 | 5–7 | 8–9  weak", 12.4
    ),
    RunState("c/seed-0", "greedy", "algebra", "running", seconds=3),
    RunState(
        "d/seed-0", "end_to_end", "algebra", "failed", 17, 600, 0.1, None, 2, "no groups", 9, "RuntimeError: out of it"
    ),
    RunState("e/seed-0", "full", "language"),
]


def drawn(width: int, height: int = 30, states: list[RunState] = STATES) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(TableView("Toys", 2, lambda: 65.0, console).render(states))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_run_has_one_line_with_whole_numbers(width: int) -> None:
    lines = drawn(width)
    assert len(lines) == 2 + len(STATES)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("Toys: 2 of 5 runs done, 1:05 gone, about ")
    assert "350/350" in lines[2]
    assert "0.993" in lines[2]
    assert lines[2].endswith("0:41")
    assert "120/600" in lines[3]
    assert "starting" in lines[4]
    assert "RuntimeError" in lines[5]
    assert "waiting" in lines[6]


def test_groups_are_whole_at_80_columns() -> None:
    assert "1–2 | 3–6 | 7–9  strong" in drawn(80)[2]


def test_a_long_title_gives_way_to_the_time_left() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(
        TableView("How the way of training moves the groups of layers", 2, lambda: 65.0, console).render(STATES)
    )
    heading = console.file.getvalue().splitlines()[0]  # type: ignore[attr-defined]
    assert len(heading.rstrip()) <= 80
    assert heading.startswith("How the way")
    assert heading.rstrip().endswith("left")


def test_what_does_not_fit_a_low_terminal_is_counted() -> None:
    many = [RunState(f"{k}/seed-0", f"run {k}", "toy", "finished", seconds=1) for k in range(40)]
    many += [RunState("r/seed-0", "the running one", "toy", "running"), RunState("w/seed-0", "next", "toy")]
    lines = drawn(80, 15, many)
    assert len(lines) <= 15
    assert any("the running one" in line for line in lines)
    assert lines[-1].strip() == "… and 33 finished"


def test_without_a_terminal_each_event_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    view = make_view("Toys", 2, lambda: 0.0, console)
    assert isinstance(view, LineView)
    state = RunState("a/seed-0", "fast [bold]", "toy")
    view.update([state])
    state.status, state.seconds = "running", 1
    view.update([state])
    view.update([state])
    state.step, state.steps, state.looks, state.groups, state.accuracy = 4, 24, 1, "1–2 | 3–4  strong", 0.5
    view.update([state])
    view.update([state])
    state.status = "finished"
    view.update([state])
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "fast [bold]: started",
        "fast [bold]: step 4/24, accuracy 0.500, 1–2 | 3–4  strong, 0:01",
        "fast [bold]: finished, accuracy 0.500, 1–2 | 3–4  strong, 0:01",
    ]


def test_time_left_shares_the_work_among_the_workers() -> None:
    waiting = [RunState(f"{k}", f"{k}", "toy") for k in range(4)]
    assert seconds_left(waiting, 2) is None, "nothing to go by yet"
    done = RunState("done", "done", "toy", "finished", seconds=30)
    assert seconds_left([done, *waiting], 2) == 60
    assert seconds_left([done, *waiting], 1) == 120
    assert seconds_left([done, waiting[0]], 8) == 30, "one run cannot be shared"
    running = RunState("r", "r", "toy", "running", step=10, steps=40, pace=2.0, seconds=25)
    assert seconds_left([running], 1) == 60
    other = RunState("o", "o", "language", "finished", seconds=500)
    assert seconds_left([done, other, waiting[0]], 1) == 30, "runs of one task last alike"
    assert seconds_left([done], 1) == 0
