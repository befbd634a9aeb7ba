"""What takes long shows a bar where somebody may see it, and nowhere else."""

from __future__ import annotations

import io
import itertools
import sys
from functools import partial
from typing import Any

import pytest
import torch

from lightning_gw.gw import gw_matrix, matrix
from lightning_gw.utilities import progress
from lightning_gw.utilities.progress import counted, counting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **how: Any) -> str:
    """What is written while three steps are counted."""
    monkeypatch.setattr(sys, "stderr", stream)
    with counted("Layers of clay", **how) as moved:
        for done in range(1, 4):
            moved(done, 3)
    return stream.getvalue()


def test_a_bar_is_drawn_in_a_terminal_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Layers of clay" in shown(monkeypatch, Terminal(), delay=0.0)
    assert shown(monkeypatch, Terminal(), delay=60.0) == ""


def test_a_file_gets_one_only_where_it_is_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), delay=0.0) == ""
    assert "Layers of clay" in shown(monkeypatch, io.StringIO(), delay=0.0, files=True)


def test_the_last_line_of_a_file_says_that_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, io.StringIO(), delay=0.0, files=True)
    assert "100%" in said.split("\r")[-1]
    assert said.endswith("\n")


def test_items_are_counted_one_after_the_other_where_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert list(counting("abc", "Letters")) == ["a", "b", "c"]
    assert stream.getvalue() == ""
    times = itertools.count(step=2.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    assert list(counting("abc", "Letters")) == ["a", "b", "c"]
    assert "Letters:   0%" in stream.getvalue()
    assert "3/3" in stream.getvalue().split("\r")[-1]


def test_a_callable_is_called_in_its_place_and_false_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    assert shown(monkeypatch, Terminal(), delay=0.0, progress=lambda *counts: calls.append(counts)) == ""
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert shown(monkeypatch, Terminal(), delay=0.0, progress=False) == ""


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (stream := Terminal()).close()
    for gone in (stream, None):
        monkeypatch.setattr(sys, "stderr", gone)
        with counted("Layers", delay=0.0, files=True) as moved:
            moved(1, 2)


def test_a_long_solve_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "counted", partial(counted, delay=0.0))
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    layers = {"one": x, "two": x.tanh(), "three": x.sin()}
    said = []
    for told in (None, False):
        monkeypatch.setattr(sys, "stderr", stream := Terminal())
        gw_matrix(layers, progress=told)  # type: ignore[arg-type]
        said.append(stream.getvalue())
    assert "Pairs of 3 layers: " in said[0]
    assert said[1] == ""
