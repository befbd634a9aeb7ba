"""What went wrong in a forward pass is understood, and batches are cut where they must be smaller."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from lightning_gw.activations.probe.batches import is_cut_by_rows, take_rows
from lightning_gw.activations.reading.failures import is_out_of_memory, shapes


def raised_by_an_allocator() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    return caught.value


def test_what_allocators_really_say_is_understood() -> None:
    assert is_out_of_memory(raised_by_an_allocator())
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_batches_are_cut_with_all_that_has_one_entry_per_input() -> None:
    batch = {"x": torch.arange(10).reshape(5, 2), "texts": list("abcde"), "scale": torch.tensor(2.0), "names": ("x",)}
    piece = take_rows(batch, 1, 3)
    assert piece["x"].tolist() == [[2, 3], [4, 5]]
    assert piece["texts"] == ["b", "c"]
    assert piece["scale"] == 2.0
    assert piece["names"] == ("x",)
    pair = [torch.arange(2), torch.arange(2)]  # two tensors are not one entry for each of two inputs
    assert [part.tolist() for part in take_rows(pair, 1, 2)] == [[1], [1]]
    images = [torch.zeros(3, 4, 5), torch.zeros(3, 6, 7)]  # nor two images, whose first dimension is another
    assert [len(part) for part in take_rows([images, torch.arange(2)], 0, 1, rows=2)] == [1, 1]


def test_only_batches_that_hold_inputs_and_nothing_else_are_cut() -> None:
    assert is_cut_by_rows({"x": torch.zeros(5, 2), "texts": list("abcde"), "scale": torch.tensor(2.0)}, 5)
    assert is_cut_by_rows([[torch.zeros(3, 4), torch.zeros(3, 5)], torch.zeros(2)], 2)
    assert not is_cut_by_rows({"x": torch.zeros(5, 2), "weights of classes": torch.zeros(3)}, 5)
    assert not is_cut_by_rows([torch.zeros(5, 2), object()], 5)


def test_shapes_in_words() -> None:
    assert shapes({"ids": torch.zeros(3, 4), "n": [torch.zeros(3), 2]}) == "ids (3, 4), n[0] (3,)"
    assert shapes([torch.zeros(2, 1)] * 9).endswith("and 3 more")


def test_named_tuples_are_cut_entry_by_entry() -> None:
    Batch = namedtuple("Batch", ["past", "covariates", "names", "future"])
    batch = Batch(torch.arange(8).reshape(4, 2), None, list("abcd"), torch.arange(4))
    assert is_cut_by_rows(batch, 4)
    piece = take_rows(batch, 1, 3)
    assert type(piece) is Batch
    assert (piece.past.tolist(), piece.covariates, piece.names, piece.future.tolist()) == (
        [[2, 3], [4, 5]],
        None,
        ["b", "c"],
        [1, 2],
    )
    assert not is_cut_by_rows(pack_sequence([torch.zeros(1, 2)] * 3), 3)
