"""Whatever call of ours fails in a look, training ends as it would have without, and the reason is said once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_trainings import Ended, train, train_by_two
from faults import Site, Tracer
from forked_solver import ForkedProcess

from lightning_gw.analysis import background, worker
from lightning_gw.gw.moves.compiled.warmup import prepare

pytestmark = pytest.mark.usefixtures("few_draws")

#: Where a fault costs a line on the screen or less, which is nothing to be said.
COSMETIC = ("utilities/output.py:", "callback/progress_bar.py:", "callback/messages.py:say")
#: Sites of the first tier, and into how many cases the second tier parts all of them.
SAMPLE, PARTS = 4, 16


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What training is without looks, and the sites of every way of solving, once asked for."""
    prepare()  # here, so that every forked process has it
    return {"alone": train(tmp_path_factory.mktemp("alone"), "inline", looks=False)}


def sites(found: dict[str, Any], solve: str, root: Path) -> list[Site]:
    """One call into every function that looks call, in the order of the first calls."""
    if solve not in found:
        train(root / "before", solve)  # what is called once in a process, to be remembered, is called here
        tracer = Tracer()
        train(root / "traced", solve, tracer)
        found[solve] = first_calls(tracer.sites)
    return found[solve]  # type: ignore[no-any-return]


def first_calls(calls: Any) -> list[Site]:
    return list({site.callee: site for site in reversed(list(calls))}.values())[::-1]


def assert_undisturbed(ended: Ended, alone: Ended, site: Site) -> list[str]:
    """Weights and modes are those of a training without looks; gives what was said of the fault, once at most."""
    assert all(torch.equal(ended.weights[name], alone.weights[name]) for name in alone.weights), site
    assert ended.modes == alone.modes == [True] * len(ended.modes), site
    reasons = [message for message in ended.said if "injected into" in message]
    assert len(reasons) <= 1, f"{site}: {reasons}"
    return reasons


@pytest.mark.parametrize("solve", ["inline", "background"])
@pytest.mark.parametrize("part", ["sample", *(f"part {k}" for k in range(PARTS))])
@pytest.mark.representatives("sample-inline")
def test_a_fault_anywhere_in_a_look_changes_nothing_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], solve: str, part: str
) -> None:
    monkeypatch.setattr(worker, "NICENESS", 0)
    monkeypatch.setattr(background, "start_process", ForkedProcess)
    every = sites(found, solve, tmp_path)
    assert len(every) > 150  # the tracing sees the looks
    chosen = random.Random(solve).sample(every, SAMPLE) if part == "sample" else every[int(part.split()[1]) :: PARTS]
    missed = []
    for number, site in enumerate(chosen):
        ended = train(tmp_path / str(number), solve, tracer := Tracer(site))
        reasons = assert_undisturbed(ended, found["alone"], site)
        if tracer.raised:
            assert reasons or site.callee.startswith(COSMETIC), site
        else:
            missed.append(site)
    # What is called while something waits for the process beside training depends on which of the two is faster.
    assert len(missed) <= (len(chosen) // 4 if solve == "background" else 0), missed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("part", ["sample", *(f"part {k}" for k in range(PARTS))])
def test_a_fault_on_one_of_two_processes_changes_nothing_of_the_training_of_both(
    tmp_path: Path, found: dict[str, Any], rank: int, part: str
) -> None:
    if f"rank {rank}" not in found:
        (tmp_path / "traced").mkdir()
        first, *others = train_by_two(tmp_path / "traced", [{"looks": False}, {"tracer": Tracer(rank=rank)}])
        assert not isinstance(first[0], str), first[0]
        found["alone by two"] = [ended for ended, _ in first]
        found[f"rank {rank}"] = first_calls(others[0][rank][1][0])
    every = found[f"rank {rank}"]
    assert len(every) > (150 if rank == 0 else 100)
    chosen = random.Random(rank).sample(every, SAMPLE) if part == "sample" else every[int(part.split()[1]) :: PARTS]
    faults = [{"tracer": Tracer(site, rank)} for site in chosen]
    for site, both in zip(chosen, train_by_two(tmp_path, faults), strict=True):
        reasons = []
        for mine, alone in zip(both, found["alone by two"], strict=True):
            assert not isinstance(mine, str), f"{site}: {mine}"
            reasons += assert_undisturbed(mine[0], alone, site)
        assert both[rank][1][1], f"{site} was not called"
        assert reasons or site.callee.startswith(COSMETIC), site
