"""gw_matrix on a CUDA device: the same answers as on the CPU, whatever precision the caller allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ranks_at_work import batched_torch, layers, on_a_device, run_ranks
from torch import Tensor

from lightning_gw import GromovWassersteinMatrix, GWMatrix, gw_matrix

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ARRAYS = ("distortion", "lower", "identity", "couplings", "converged", "variation")


def on_device(count: int = 4, n: int = 12) -> dict[str, Tensor]:
    return {name: x.cuda() for name, x in layers(count, n).items()}


def assert_same_bits(one: GWMatrix, other: GWMatrix) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("geometry", ["standardized", "euclidean", "dcor", "cka"])
@pytest.mark.parametrize("anchor", [0.0, 0.4])
def test_the_device_finds_what_the_batched_search_finds_on_the_cpu(geometry: str, anchor: float) -> None:
    # Small enough for both to end at the optimum; from there only float64 sums in another order differ.
    with batched_torch():
        host = gw_matrix(layers(4, 12), geometry=geometry, anchor=anchor)
    device = gw_matrix(on_device(), geometry=geometry, anchor=anchor)
    assert device.solver == host.solver == "batched torch"
    for name in ("distortion", "lower", "identity", "variation"):
        if getattr(host, name) is not None:
            np.testing.assert_allclose(getattr(device, name), getattr(host, name), rtol=1e-6, atol=1e-9, err_msg=name)


def test_results_lie_on_the_host() -> None:
    found = gw_matrix(on_device())
    assert all(isinstance(getattr(found, name), np.ndarray) for name in ARRAYS)


def test_permutations_are_valid_and_never_worse_than_the_identity_on_larger_inputs() -> None:
    found = gw_matrix(on_device(6, 96), effort="fast")
    np.testing.assert_array_equal(np.sort(found.couplings, axis=-1), np.broadcast_to(np.arange(96), (6, 6, 96)))
    assert (found.lower <= found.distortion).all()
    assert (found.distortion <= found.identity).all()


def test_what_the_caller_allows_changes_no_bit() -> None:
    plain = gw_matrix(on_device(5, 64))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cuda", dtype=torch.float16):
            allowed = gw_matrix(on_device(5, 64))
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert_same_bits(allowed, plain)


def test_the_result_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gw_matrix(on_device(5, 64))
    monkeypatch.setattr("lightning_gw.gw.moves.choice.chunk_size", lambda *_: 1)
    assert_same_bits(gw_matrix(on_device(5, 64)), whole)


def test_nothing_random_of_the_device_is_used_up() -> None:
    before = torch.cuda.get_rng_state()
    gw_matrix(on_device())
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_warm_start_is_taken_up_on_the_device() -> None:
    cold = gw_matrix(on_device(5, 64))
    warm = gw_matrix(on_device(5, 64), warm_start=cold)
    assert (warm.distortion <= cold.distortion).all()


def test_the_metric_keeps_inputs_on_the_device_and_moves_them() -> None:
    found = on_device()
    metric = GromovWassersteinMatrix(found).to("cuda")
    metric.update(found)
    assert metric.device.type == "cuda"
    assert metric.metric_state["representations.layer.0"][0].is_cuda
    assert_same_bits(metric.compute(), gw_matrix(found))
    metric.to("cpu")
    assert not metric.metric_state["representations.layer.0"][0].is_cuda


def test_two_ranks_share_one_device_through_gloo(tmp_path: Path) -> None:
    plain = gw_matrix({name: x.cuda() for name, x in layers().items()})
    for theirs in run_ranks(2, on_a_device, tmp_path):
        assert_same_bits(theirs, plain)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_ranks_with_a_device_each_through_nccl(tmp_path: Path) -> None:
    plain = gw_matrix({name: x.cuda() for name, x in layers().items()})
    for theirs in run_ranks(2, on_a_device, tmp_path, backend="nccl"):
        assert_same_bits(theirs, plain)
