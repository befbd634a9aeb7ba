"""Pairs shared out over processes: any number finds what one finds, and none waits for one that failed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ranks_at_work import APART, LEFT, SAME, everything, run_ranks

from lightning_gw.gw import GWMatrix
from lightning_gw.utilities.distributed import RankError

#: In the first tier `callback/training/test_two_processes.py` stands for all of this.
pytestmark = pytest.mark.slow

#: How many processes.
SIZES = (1, 2, 4)
#: The plain calls, one after the other as they are asked for.
_plain: dict[str, GWMatrix] = {}


def plain(name: str) -> GWMatrix:
    """What one process finds that knows of no others."""
    if name not in _plain:
        _plain[name] = SAME[name]()
    return _plain[name]


class Found(dict[int, list[dict[str, Any]]]):
    """What every rank found, by the size of its group; groups are only made when they are asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self.folders = folders

    def __missing__(self, size: int) -> list[dict[str, Any]]:
        self[size] = run_ranks(size, everything, self.folders.mktemp(f"ranks-{size}"))
        return self[size]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return Found(tmp_path_factory)


def assert_same_bits(one: GWMatrix, other: GWMatrix) -> None:
    assert (one.layers, one.degenerate, one.solver, one.anchor) == (
        other.layers,
        other.degenerate,
        other.solver,
        other.anchor,
    )
    for name in ("distortion", "lower", "identity", "couplings", "converged", "variation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SAME)
def test_any_number_of_processes_finds_what_one_finds(name: str, size: int, found: Found) -> None:
    for theirs in found[size]:
        if isinstance(theirs[name], Exception):
            raise theirs[name]
        assert_same_bits(theirs[name], plain(name))


@pytest.mark.parametrize("size", SIZES)
def test_every_pair_is_worked_on_by_one_rank_in_turn(size: int, found: Found) -> None:
    for theirs in found[size]:
        assert theirs["shares"] == {count: [pair % size for pair in range(count)] for count in (1, 3, 10)}


def test_both_machineries_were_shared_out(found: Found) -> None:
    assert {theirs["batched torch"].solver for theirs in found[2]} == {"batched torch"}
    assert {theirs["default"].solver for theirs in found[2]} == {plain("default").solver}


@pytest.mark.parametrize("size", SIZES[1:])
def test_the_first_rank_is_believed_where_others_differ_by_rounding(size: int, found: Found) -> None:
    for theirs in found[size]:
        assert_same_bits(theirs["rounding"], plain("default"))


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("values", r"rank 1 has other values in 'layer\.3' than rank 0"),
        ("layers", r"rank 1 has layers \('layer\.0', .* 'layer\.3'\), rank 0 has .* 'layer\.4'\)"),
        ("shape", r"rank 1 has shape of 'layer\.0' \(23, 8\), rank 0 has \(24, 8\)"),
        ("others", r"rank 1 has other layers \('layer\.0', 'layer\.1'\), rank 0 has nothing"),
        ("effort", r"rank 1 has option of 'effort' fast, rank 0 has default"),
        ("warm start", r"rank 1 has option of 'warm_start' [0-9a-f]{8}, rank 0 has None"),
        ("degenerate", r"rank 1 has degenerate of 'layer\.2' it is constant.*, rank 0 has nothing"),
    ],
)
def test_ranks_that_ask_for_different_matrices_are_told_on_every_rank(
    name: str, said: str, size: int, found: Found
) -> None:
    for theirs in found[size]:
        with pytest.raises(ValueError, match=said):
            raise theirs[name]


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize(
    ("name", "error", "said"),
    [("failure", ZeroDivisionError, "rank 1 cannot count"), ("bad option", ValueError, "anchor is -1")],
)
def test_a_failure_on_one_rank_is_raised_on_all(
    name: str, error: type[Exception], said: str, size: int, found: Found
) -> None:
    for rank, theirs in enumerate(found[size]):
        expected, message = (error, said) if rank == 1 else (RankError, f"rank 1: {error.__name__}: {said}")
        with pytest.raises(expected, match=message):
            raise theirs[name]


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("name", LEFT)
def test_all_leave_together_however_far_each_had_come(name: str, size: int, found: Found) -> None:
    """Whoever fails, and whether or not others mind what they are told: none waits, and all go on in step."""
    for theirs in found[size]:
        assert theirs[name][1] == list(range(size))  # the exchange that follows
    said = [theirs[name][0] for theirs in found[size]]
    if name == "left: nobody":
        assert set(said) == {"done"}
        return
    failing = int(name.split("rank ")[1][0]) if "rank" in name else 1
    kind = "RestoreError" if "restored" in name else "ZeroDivisionError"
    assert said[failing] == f"{kind}: enough"
    others = {text for rank, text in enumerate(said) if rank != failing}
    if name.endswith(", caught") and "after 3" not in name:
        assert others == {"done"}
    else:
        told = "RestoreError" if "restored" in name else "RankError"
        assert others == {f"{told}: The work failed on rank {failing}: {kind}: enough"}


def test_every_way_to_differ_was_tried(found: Found) -> None:
    assert all((APART | LEFT).keys() <= theirs.keys() for theirs in found[2])


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_plain_call_on_one_rank_waits_for_nobody(size: int, found: Found) -> None:
    assert_same_bits(found[size][0]["alone"], plain("default"))


@pytest.mark.slow
def test_a_group_may_be_part_of_the_world(found: Found) -> None:
    for theirs in found[4][:2]:
        with pytest.raises(ValueError, match="does not hold this process"):
            raise theirs["subgroup"]
    for theirs in found[4][2:]:
        assert_same_bits(theirs["subgroup"], plain("default"))
