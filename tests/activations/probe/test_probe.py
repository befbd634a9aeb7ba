"""The probe: where its inputs come from, that they stay the same, and that drawing them moves nothing."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from callback_nets import loader, task
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, SubsetRandomSampler

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.probe.batches import count_rows, fingerprint, take_rows
from lightning_gw.activations.probe.probe import Probe, ProbeError, draw_probe
from lightning_gw.utilities.random_state import isolated_randomness


class Text(Dataset):
    """Items of unequal length, which only their own collate function can put together."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.arange(1 + index % 4), "label": index % 2}

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence([item["input_ids"] for item in items], batch_first=True)
        return {"input_ids": ids, "labels": torch.tensor([item["label"] for item in items])}


class Stream(IterableDataset):
    def __init__(self, n: int = 40) -> None:
        self.n = n
        self.read = 0

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for index in range(self.n):
            self.read += 1
            yield torch.full((3,), float(index)), index % 2


def draw(data: Any, **options: Any) -> Probe:
    return draw_probe(data, "validation data", ProbeConfig(**options))


def inputs(probe: Probe) -> Tensor:
    return torch.cat([batch if isinstance(batch, Tensor) else batch[0] for batch in probe.batches])


def test_same_seed_same_probe_and_other_seed_another() -> None:
    one, same, other = (draw(loader(), size=16, seed=seed) for seed in (0, 0, 1))
    assert one.hash == same.hash != other.hash
    assert torch.equal(inputs(one), inputs(same))
    assert len({tuple(row) for row in inputs(one).tolist()}) == 16


def test_drawing_moves_no_random_state_and_no_iterator() -> None:
    stream = Stream()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    draw(loader(shuffle=True), size=16)
    draw(DataLoader(stream, batch_size=4), size=8)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert stream.read == 0


def test_batches_are_the_loaders_own_unless_asked_otherwise() -> None:
    assert [count_rows(batch) for batch in draw(loader(batch_size=5), size=12).batches] == [5, 5, 2]
    assert [count_rows(batch) for batch in draw(loader(batch_size=5), size=12, batch_size=12).batches] == [12]


def test_collate_function_of_the_loader_is_used() -> None:
    probe = draw(DataLoader(Text(), batch_size=10, collate_fn=Text.collate), size=20)
    assert [batch["input_ids"].shape for batch in probe.batches] == [(10, 4), (10, 4)]


def test_default_takes_what_there_is_and_says_so() -> None:
    probe = draw(loader(20))
    assert probe.size == 20
    assert "20 inputs, all there are" in probe.notes[0]
    assert draw(loader(200)).size == 128
    assert draw(loader(200)).notes == ()


def test_more_than_there_is_is_an_error() -> None:
    with pytest.raises(ProbeError, match="probe_size=30 asks for more inputs than the validation data holds: 20"):
        draw(loader(20), size=30)
    with pytest.raises(ProbeError, match="holds 3 inputs; at least 4"):
        draw(loader(3))
    with pytest.raises(ProbeError, match="holds 0 inputs"):
        draw(loader(0))
    with pytest.raises(ProbeError, match="at least 4 inputs are needed"):
        draw(loader(20), size=3)


def test_balanced_over_classes_however_the_label_is_found() -> None:
    skewed = [(torch.randn(2), 0)] * 90 + [(torch.randn(2), 1)] * 10
    for balance in (1, lambda item: item[1]):
        probe = draw(DataLoader(skewed, batch_size=16), size=12, balance=balance)
        assert Counter(torch.cat([batch[1] for batch in probe.batches]).tolist()) == {0: 6, 1: 6}
    assert "balanced over 2 classes" in probe.source
    text = draw(DataLoader(Text(), collate_fn=Text.collate, batch_size=4), size=8, balance="label")
    assert sum(int(batch["labels"].sum()) for batch in text.batches) == 4


def test_vector_labels_make_a_class_of_each_vector() -> None:
    items = [(torch.randn(2), torch.tensor([k % 2, k % 3])) for k in range(60)]
    probe = draw(DataLoader(items, batch_size=60), size=12, balance=1)
    assert set(Counter(map(tuple, probe.batches[0][1].tolist())).values()) == {2}


def test_rare_and_missing_classes_are_named() -> None:
    items = [(torch.randn(2), int(k == 0)) for k in range(40)]
    assert "Some classes are rare: classes have 1 to 11" in draw(DataLoader(items), size=12, balance=1).notes[0]
    many = [(torch.randn(2), k) for k in range(40)]
    assert "cannot hold all of the 40 classes" in draw(DataLoader(many), size=12, balance=1).notes[0]
    with pytest.raises(ProbeError, match=r"balance='colour' finds no label.*keys input_ids, label"):
        draw(DataLoader(Text(), collate_fn=Text.collate), size=8, balance="colour")


def test_a_sampler_over_a_part_is_respected() -> None:
    data = [(torch.tensor([float(k)]), 0) for k in range(100)]
    probe = draw(DataLoader(data, sampler=SubsetRandomSampler(range(80, 100)), batch_size=4), size=20)
    assert sorted(inputs(probe)[:, 0].tolist()) == list(range(80, 100))


def test_whole_batches_by_number_and_by_lists_of_indices() -> None:
    batches = [torch.randn(6, 2) for _ in range(5)]
    probe = draw(DataLoader(batches, batch_size=None), size=10)
    assert [count_rows(batch) for batch in probe.batches] == [6, 4]

    class ByList(Dataset):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, indices: list[int]) -> Tensor:
            return torch.tensor(indices)[:, None].float()

    sampler = BatchSampler(SequentialSampler(range(30)), 8, False)
    assert draw(DataLoader(ByList(), sampler=sampler, batch_size=None), size=12).size == 12


def test_streams_are_read_from_a_copy() -> None:
    probe = draw(DataLoader(Stream(), batch_size=4), size=10)
    assert inputs(probe)[:, 0].tolist() == list(range(10))
    assert "can only be iterated" in probe.notes[0]
    assert draw(DataLoader(_Uncopyable(), batch_size=4), size=10).hash == probe.hash


class _Uncopyable(Stream):
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle a socket")


@pytest.mark.parametrize(
    "several",
    [
        CombinedLoader({"a": loader(20, seed=1), "b": loader(30)}, "sequential"),
        [loader(20, seed=1), loader(30)],
        {"a": loader(20, seed=1), "b": loader(30)},
    ],
    ids=["CombinedLoader", "list", "dict"],
)
def test_of_several_loaders_the_first_is_taken_and_named(several: Any) -> None:
    probe = draw(several, size=8)
    assert probe.hash == draw(loader(20, seed=1), size=8).hash
    assert "Of 2 loaders" in probe.notes[0]
    assert probe.source in ("validation data (a)", "validation data (loader 0)")


def test_batches_data_sets_and_functions_serve_as_probe() -> None:
    batch = {"x": torch.randn(20, 3), "scale": torch.tensor(2.0)}
    assert draw(batch).size == 20
    assert [count_rows(part) for part in draw(batch, size=12, batch_size=5).batches] == [5, 5, 2]
    assert float(draw(batch, size=12, batch_size=5).batches[2]["scale"]) == 2.0
    assert draw((torch.randn(9, 2), torch.randn(9))).size == 9
    assert draw(task(30), size=10).hash == draw(DataLoader(task(30), batch_size=10), size=10).hash
    assert draw(lambda: loader(30), size=10).size == 10
    with pytest.raises(ProbeError, match="drawn from a int"):
        draw(3)


def test_random_augmentation_is_the_same_every_time() -> None:
    class Noisy(Dataset):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Tensor:
            return torch.randn(2) + random.random() + np.random.rand()

    hashes = set()
    for _ in range(2):
        with isolated_randomness(seed=3):
            hashes.add(draw(Noisy()).hash)
        torch.rand(1), random.random()
    assert len(hashes) == 1


def test_hash_sees_every_tensor_its_place_type_and_shape() -> None:
    batch = {"x": torch.arange(6.0).view(2, 3), "y": (torch.tensor([1, 2]), "name")}
    known = fingerprint([batch])
    assert fingerprint([copy.deepcopy(batch)]) == known
    changed = [
        {**batch, "x": batch["x"].view(3, 2)},
        {**batch, "x": batch["x"].double()},
        {**batch, "x": batch["x"] + torch.eye(2, 3) * 1e-7},
        {**batch, "y": (torch.tensor([1, 2]), "other")},
        {"z": batch["x"], "y": batch["y"]},
    ]
    assert known not in {fingerprint([other]) for other in changed}
    assert fingerprint([torch.ones(2, dtype=torch.bfloat16)]) != fingerprint([torch.ones(2, dtype=torch.float16)])


def test_rows_are_cut_from_all_that_has_them() -> None:
    cut = take_rows({"x": torch.arange(5), "pair": [torch.zeros(5, 2), torch.tensor(1)]}, 1, 3)
    assert cut["x"].tolist() == [1, 2]
    assert cut["pair"][0].shape == (2, 2)
    with pytest.raises(ValueError, match="holds no tensor"):
        count_rows({"x": "text"})
