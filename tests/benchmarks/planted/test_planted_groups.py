"""The referee's verdicts, and that it counts looks at what is set aside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("sklearn")

from tiny_planted import TINY, TINY_NULL_ASIDE, blocks

from benchmarks import planted_groups
from benchmarks.planted import cache, evaluation, measures
from benchmarks.planted import train as train_command
from benchmarks.planted.cache import Net
from benchmarks.planted.detectors import CEILING, SHIPPED
from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.specification import Specification
from benchmarks.planted.measures import Distances
from benchmarks.planted.scores import adjusted_rand_index

# --- verdicts ----------------------------------------------------------------------------------------------------


def net_of(one: Specification, steps: tuple[int, ...] = (0,), **notes: int) -> Net:
    return Net(one, {step: {} for step in steps}, {"notes": notes}, Path("net"))


def test_a_shift_is_followed_only_if_it_was_quiet_before_and_quick_after() -> None:
    one = Specification("mlp", "sums", spec.SHIFT, (2, 4, 3), 0, shifted=(4, 2, 3))
    before, after = blocks((2, 4, 3)), blocks((4, 2, 3))

    def verdict(**at: np.ndarray) -> evaluation.ShiftRow:
        looks = {int(step[1:]): Distances(matrix, 0.0) for step, matrix in at.items()}
        rows = evaluation.judge_shift(net_of(one, shift_step=100), "measure", looks)
        return next(row for row in rows if row.detector == SHIPPED)

    good = verdict(s20=blocks((4, 5)), s40=before, s100=before, s120=before, s140=after)
    assert (good.settled, good.spurious, good.delay, good.followed) == (40, 0, 40, True)
    late = verdict(s40=before, s100=before, s180=after)
    assert (late.delay, late.followed) == (80, False)
    noisy = verdict(s40=before, s60=blocks((4, 5)), s80=before, s100=before, s140=after)
    assert (noisy.spurious, noisy.followed) == (2, False)
    assert not verdict(s40=blocks((4, 5)), s100=blocks((4, 5)), s140=after).followed
    unsettled = verdict(s40=blocks((4, 5)), s100=blocks((4, 5)), s120=before, s140=after)  # settled, but too late
    assert (unsettled.settled, unsettled.followed) == (None, False)
    assert verdict(s40=before, s100=before, s140=before).delay is None


def test_nulls_count_false_positives_and_planted_nets_are_scored() -> None:
    one = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 4, 3), 0)
    null = Specification("mlp", "sums", spec.UNTRAINED, (9,), 0)
    found, untrained = Distances(blocks((2, 4, 3)), 1.0), Distances(blocks((9,)), 1.0)
    rows = evaluation.judge(net_of(one), "m", found, untrained)
    rows += evaluation.judge(net_of(null), "m", found, untrained)
    summary = {(row["strategy"], row["detector"]): row for row in evaluation.summarise(rows)}
    assert summary[spec.EVERY_LAYER, SHIPPED]["ari"] == 1
    assert summary[spec.UNTRAINED, SHIPPED]["called_strong"] == 1
    assert summary[spec.UNTRAINED, SHIPPED]["ari"] == 0
    assert (spec.UNTRAINED, CEILING) not in summary


def test_the_difference_to_cka_is_taken_net_by_net() -> None:
    good, bad = blocks((2, 4, 3)), blocks((4, 5))
    rows = []
    for seed, mine in ((0, good), (2, bad)):
        one = Specification("mlp", "sums", spec.EVERY_LAYER, (2, 4, 3), seed)
        rows += evaluation.judge(net_of(one), "mine", Distances(mine, 0.0))
        rows += evaluation.judge(net_of(one), measures.PAIRED_CKA, Distances(good, 0.0))
    (found,) = evaluation.against_cka(rows)
    expected = (adjusted_rand_index((3,), (1, 5), 9) - 1) / 2
    assert (found["measure"], found["nets"]) == ("mine", 2)
    assert found["difference"] == pytest.approx(expected)


# --- the two commands --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_training_to_the_final_table(
    tiny_grid: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results.json"
    arguments = ["--folder", str(tmp_path / "nets"), "--output", str(output)]
    arguments += ["--measures", "paired cka", "gw dcor", "--effort", "fast"]
    with pytest.raises(SystemExit, match="Train them first"):
        planted_groups.main(arguments)
    train_command.main(["--split", "development", "--folder", str(tmp_path / "nets")])
    train_command.main(["--list", "--folder", str(tmp_path / "nets")])
    assert "not trained yet" in " ".join(capsys.readouterr().out.split())
    planted_groups.main(arguments)  # four steps teach nothing: only the null is judged
    held = json.loads(output.read_text())["splits"]["development"]
    assert (held["nets"], held["not_learned"]) == (1, [TINY.name])
    monkeypatch.setattr(cache, "LEARNED", 0.0)
    planted_groups.main(arguments)
    held = json.loads(output.read_text())
    assert held["final_looks"] == 0
    assert held["splits"]["development"]["nets"] == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert "head on every layer (1 mlp)" in shown
    assert "looked at 0 times" in shown

    for refusal in ("None of 2 set aside networks", "to be taken once, at all 2"):  # refused looks are not counted
        with pytest.raises(SystemExit, match=refusal):
            planted_groups.main([*arguments, "--final"])
        assert json.loads(output.read_text())["final_looks"] == 0
        cache.train_and_keep(TINY_NULL_ASIDE, tmp_path / "nets")
    train_command.main(["--folder", str(tmp_path / "nets")])
    for looks in (1, 2):
        planted_groups.main([*arguments, "--final"])
        assert json.loads(output.read_text())["final_looks"] == looks
    assert f"looked at {looks} times" in " ".join(capsys.readouterr().out.split())
    planted_groups.main([*arguments, "--show"])
    assert json.loads(output.read_text())["final_looks"] == 2


@pytest.mark.slow
def test_disjoint_halves_are_judged_both_ways(tiny_grid: None, tmp_path: Path) -> None:
    cache.train_and_keep(TINY, tmp_path)
    rows = evaluation.evaluate_unpaired(cache.load_nets("development", tmp_path))
    expected = {f"{kind} {geometry}" for kind in ("gw", "identity") for geometry in measures.UNPAIRED_GEOMETRIES}
    assert {row.measure for row in rows} == expected
    summary = evaluation.summarise(rows)
    console = Console(width=150, record=True)
    empty = {
        "summary": summary,
        "split": "development",
        "nets": 1,
        "nets_in_grid": 1,
        "not_learned": [],
        "effort": "fast",
    }
    planted_groups.show({**empty, "final_looks": 0, "unpaired": summary}, console)
    assert "disjoint halves of the probe" in console.export_text()
