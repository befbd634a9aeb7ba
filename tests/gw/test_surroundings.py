"""What surrounds the work: memory asked for beforehand, precision set and set back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw.gw import gw_matrix, memory
from lightning_gw.gw.memory import check_memory, free_memory, needed_memory
from lightning_gw.gw.moves.choice import TENSORS_PER_PAIR
from lightning_gw.gw.precision import full_precision

CPU = torch.device("cpu")


def free(amount: int | None) -> Callable[[torch.device], int | None]:
    return lambda _: amount


def test_too_little_memory_is_told_before_the_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = needed_memory(4, 40)
    monkeypatch.setattr(memory, "free_memory", free(needed))
    gw_matrix(layers(), effort="fast")
    monkeypatch.setattr(memory, "free_memory", free(needed - 1))
    monkeypatch.setattr("lightning_gw.gw.matrix.make_spaces", None)  # it is not reached
    with pytest.raises(
        MemoryError,
        match=rf"4 layers on n = 40 inputs need at least .*\({needed} bytes\) on cpu, where .*\({needed - 1} bytes\) "
        r"are free.* Use fewer inputs \(probe_size\)",
    ):
        gw_matrix(layers())


def test_both_sides_and_their_transport_plans_count(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = needed_memory(4, 40, 2, 30)
    plans = 4 * 4 * 2 * 40 * 30
    assert needed == needed_memory(4, 40) + needed_memory(2, 30) - needed_memory(0, 30) + plans
    monkeypatch.setattr(memory, "free_memory", free(needed - 1))
    with pytest.raises(MemoryError, match=r"4 layers on n = 40 inputs and 2 on n = 30 need"):
        gw_matrix(layers(40), layers(30, count=2))
    monkeypatch.setattr(memory, "free_memory", free(needed_memory(6, 40)))
    gw_matrix(layers(40), layers(40, count=2), effort="fast")  # permutations are small


def test_the_search_of_a_pair_is_counted() -> None:
    assert needed_memory(0, 100) == TENSORS_PER_PAIR * 100 * 100 * 4
    assert needed_memory(1, 100) - needed_memory(0, 100) >= 100 * 100 * 8


def test_where_free_memory_is_not_told_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", free(None))
    check_memory(CPU, 10**6, 10**6)


def test_free_memory_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:       2000 kB\nMemFree:        1000 kB\nMemAvailable:   1500 kB\n")
    monkeypatch.setattr(memory, "MEMORY_FACTS", facts)
    assert free_memory(CPU) == 1500 * 1024
    monkeypatch.setattr(memory, "MEMORY_FACTS", tmp_path / "elsewhere")
    assert free_memory(CPU) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_free_memory_of_a_device() -> None:
    assert 0 < (free_memory(torch.device("cuda")) or 0) <= torch.cuda.get_device_properties(0).total_memory


def switches() -> list[object]:
    """All that says how precise a product is, as far as torch will tell."""

    def read(one: Callable[[], object]) -> object:
        try:
            return one()
        except (RuntimeError, AttributeError) as error:
            return type(error)

    backends = torch.backends
    return [
        read(torch.get_float32_matmul_precision),
        read(lambda: backends.cuda.matmul.allow_tf32),
        read(lambda: backends.cudnn.allow_tf32),
        read(lambda: backends.cuda.matmul.fp32_precision),
        read(lambda: backends.mkldnn.matmul.fp32_precision),
    ]


@pytest.fixture
def _restored() -> Iterator[None]:
    with full_precision():
        before = switches()
    yield
    for backend in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):
        if hasattr(backend, "fp32_precision"):
            backend.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    with full_precision():
        assert switches() == before


def older(precision: str) -> Callable[[], None]:
    return lambda: torch.set_float32_matmul_precision(precision)


def allow_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def newer() -> None:
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has only the older switches")
    torch.backends.cuda.matmul.fp32_precision = "tf32"


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("choose", [older("highest"), older("high"), older("medium"), allow_tf32, newer])
def test_precision_is_full_inside_and_as_it_was_afterwards(choose: Callable[[], None]) -> None:
    choose()
    before = switches()
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
    assert switches() == before
    with pytest.raises(ValueError, match="No representations"), full_precision():
        gw_matrix({})
    assert switches() == before


def test_autocast_around_it_changes_nothing() -> None:
    model = layers(16)
    outside = gw_matrix(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gw_matrix(model)
    np.testing.assert_array_equal(inside.distortion, outside.distortion)
