"""Reading the probe leaves data sets, samplers and files as they were, and gives batches that the loader would make."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, WeightedRandomSampler, get_worker_info

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.probe import probe as probes
from lightning_gw.activations.probe.apart import ApartError, read_apart
from lightning_gw.activations.probe.probe import Probe, ProbeError, WrongProbeError, draw_probe

WIDTH = 8


def draw(data: Any, **options: Any) -> Probe:
    return draw_probe(data, "validation data", ProbeConfig(**options))


class Lazy(Dataset):
    """Opens its file at the first read, caches, counts, and draws from a generator of its own."""

    def __init__(self, path: Path, count: int = 40) -> None:
        np.arange(count * WIDTH, dtype=np.float32).tofile(path)
        self.path, self.count = path, count
        self.file: Any = None
        self.asked = 0
        self.cache: dict[int, Tensor] = {}
        self.noise = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        self.asked += 1
        self.noise.random()
        if self.file is None:
            self.file = self.path.open("rb")
        self.file.seek(4 * WIDTH * index)
        row = torch.from_numpy(np.frombuffer(self.file.read(4 * WIDTH), np.float32).copy())
        return self.cache.setdefault(index, row)


def remembered(data: Lazy) -> tuple[Any, ...]:
    return data.file, data.asked, dict(data.cache), data.noise.bit_generator.state


def test_a_data_set_that_opens_its_file_at_the_first_read_stays_closed(tmp_path: Path) -> None:
    data = Lazy(tmp_path / "rows")
    before = remembered(data)
    probe = draw(DataLoader(data, batch_size=10), size=20)
    assert remembered(data) == before
    assert torch.equal(probe.batches[0].diff(dim=1), torch.ones(10, WIDTH - 1))
    assert draw(data, size=20, batch_size=10).hash == probe.hash
    assert remembered(data) == before


def open_in_worker(number: int) -> None:
    data = get_worker_info().dataset
    data.opened = data.path.open("rb")


class OpenedByWorker(Lazy):
    opened: Any = None

    def __getitem__(self, index: int) -> Tensor:
        self.opened.seek(4 * WIDTH * index)
        return torch.from_numpy(np.frombuffer(self.opened.read(4 * WIDTH), np.float32).copy())


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_items_are_read_in_a_worker_made_as_the_loader_makes_them(tmp_path: Path, context: str) -> None:
    data = OpenedByWorker(tmp_path / "rows")
    loader = DataLoader(
        data,
        batch_size=10,
        num_workers=2,
        worker_init_fn=open_in_worker,
        multiprocessing_context=context,
        persistent_workers=True,
    )
    training = iter(loader)  # its workers live on while the probe is read
    first = next(training)
    probe = draw(loader, size=20)
    assert data.opened is None
    assert [len(batch) for batch in (first, *training)] == [10] * 4
    assert sorted(torch.cat(probe.batches)[:, 0].tolist())[:1] >= [0.0]
    assert len(torch.cat(probe.batches)[:, 0].unique()) == 20


def test_files_that_are_open_stand_where_they_stood(tmp_path: Path) -> None:
    """A file that was open before is shared with the copy of the process, and so is where it stands."""

    class Lines(IterableDataset):
        def __init__(self, path: Path) -> None:
            path.write_text("".join(f"{k}\n" for k in range(20_000)))
            self.file = path.open()

        def __iter__(self) -> Iterator[Tensor]:
            for line in iter(self.file.readline, ""):
                yield torch.tensor([float(line)])

    data = Lines(tmp_path / "lines")
    assert data.file.readline() == "0\n"
    probe = draw(DataLoader(data, batch_size=6), size=12)
    assert torch.cat(probe.batches)[:, 0].tolist() == list(range(1, 13))
    rest = data.file.read().split()
    assert rest == [str(k) for k in range(1, 20_000)]


class Ragged(Dataset):
    """Texts of three lengths, which only batches of one length can hold."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((2 + index % 3,), float(index))


class Buckets(Sampler[list[int]]):
    """Batches of one length each; remembers its epoch, and draws from a generator of its own."""

    def __init__(self) -> None:
        self.epoch = 0
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return 15

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        batches = [[*range(length + 3 * start, 60, 15)] for length in range(3) for start in range(5)]
        for k in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[k]


def test_batches_are_those_of_a_batch_sampler_of_its_own() -> None:
    sampler = Buckets()
    state = sampler.generator.get_state()
    probe = draw(DataLoader(Ragged(), batch_sampler=sampler), size=12)
    assert probe.size == 12
    assert [len(batch) for batch in probe.batches] == [4, 4, 4]
    assert all(batch.shape[1] == 2 + int(batch[0, 0]) % 3 for batch in probe.batches)
    assert sampler.epoch == 0
    assert torch.equal(sampler.generator.get_state(), state)


class Keys(Dataset):
    """Items by name, at a size."""

    def __getitem__(self, key: tuple[str, int]) -> Tensor:
        name, size = key
        return torch.full((size,), float(ord(name)))

    def __len__(self) -> int:
        return 26


def test_samplers_of_keys_and_sizes_say_what_is_read() -> None:
    keys = [(chr(97 + k), 5) for k in range(26)]
    probe = draw(DataLoader(Keys(), batch_size=4, sampler=keys), size=12)
    assert [tuple(batch.shape) for batch in probe.batches] == [(4, 5)] * 3
    assert len(torch.cat(probe.batches)[:, 0].unique()) == 12


class Half(Sampler[int]):
    """A sampler that is the validation split."""

    def __init__(self, indices: Any) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        yield from self.indices

    def __len__(self) -> int:
        return len(self.indices)


@pytest.mark.parametrize("kind", ["sampler", "weighted", "balanced", "batch size"])
def test_nothing_is_drawn_from_outside_a_sampler_that_is_the_split(kind: str) -> None:
    data = [(torch.tensor([float(k)]), k % 2) for k in range(100)]
    sampler: Any = Half(range(70, 100))
    if kind == "weighted":
        sampler = WeightedRandomSampler([0.0] * 70 + [1.0] * 30, 60)
    options = {"balanced": {"balance": 1}, "batch size": {"batch_size": 5}}.get(kind, {})
    probe = draw(DataLoader(data, batch_size=8, sampler=sampler), size=16, **options)
    inputs = torch.cat([batch[0] for batch in probe.batches])[:, 0]
    assert inputs.min() >= 70
    assert len(inputs) == 16
    if kind == "balanced":
        assert [int(batch[1].sum()) for batch in probe.batches] == [4, 4]


def test_a_loader_that_drops_its_last_batch_gives_full_ones() -> None:
    data = [torch.tensor([float(k)]) for k in range(100)]
    probe = draw(DataLoader(data, batch_size=24, drop_last=True), size=40)
    assert [len(batch) for batch in probe.batches] == [24, 24]
    assert probe.size == 40, "what is too many is left out of what the layers put out"
    few = draw(DataLoader(data, batch_size=32, drop_last=True))
    assert [len(batch) for batch in few.batches] == [32, 32, 32]


class Wrapping(DataLoader):
    """Hands its batches on in a form of its own."""

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            yield {"image": batch, "count": len(batch)}


def test_a_loader_that_iterates_in_a_way_of_its_own_is_iterated() -> None:
    data = [torch.tensor([float(k)]) for k in range(40)]
    probe = draw(Wrapping(data, batch_size=6), size=12)
    assert [batch["image"].tolist() for batch in probe.batches] == [
        [[float(k)] for k in range(6)],
        [[float(k)] for k in range(6, 12)],
    ]


def test_loaders_that_come_all_at_once_give_what_their_step_takes() -> None:
    labelled = [(torch.tensor([float(k)]), k % 2) for k in range(40)]
    plain = [torch.tensor([float(k)]) for k in range(30)]
    loaders = {"labelled": DataLoader(labelled, batch_size=5), "plain": DataLoader(plain, batch_size=5)}
    probe = draw(CombinedLoader(loaders, "max_size_cycle"), size=10)
    assert [set(batch) for batch in probe.batches] == [{"labelled", "plain"}] * 2
    assert [len(batch["plain"]) for batch in probe.batches] == [5, 5]
    assert probe.size == 10
    assert probe.source == "validation data (all loaders)"


def test_what_cannot_be_read_says_why_and_what_to_pass() -> None:
    class Broken(Dataset):
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> Tensor:
            raise FileNotFoundError("images/1.png")

    with pytest.raises(
        ProbeError, match=r"validation data cannot be read \(FileNotFoundError: images/1\.png\).*probe="
    ):
        draw(Broken())
    with pytest.raises(WrongProbeError, match="balance='class' finds no label"):
        draw(DataLoader([(torch.zeros(2), 0)] * 9), balance="class")


@pytest.mark.parametrize("why", ["no fork", "died", "accelerator"])
def test_where_no_copy_of_the_process_can_read_a_copy_of_the_data_is_read(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(read: Any) -> Any:
        if why == "died":
            raise ApartError("killed")
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")

    data = Lazy(tmp_path / "rows")
    loader = DataLoader(data, batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(1))
    expected = draw(loader, size=20)
    monkeypatch.setattr(probes, "can_read_apart", lambda: why != "no fork")
    monkeypatch.setattr(probes, "read_apart", refuse)
    before = remembered(data), random.getstate(), torch.get_rng_state(), loader.generator.get_state()
    assert draw(loader, size=20).hash == expected.hash
    after = remembered(data), random.getstate(), torch.get_rng_state(), loader.generator.get_state()
    assert after[:2] == before[:2]
    assert all(torch.equal(*pair) for pair in zip(after[2:], before[2:], strict=True))
    data.asked = open(os.devnull)  # noqa: SIM115
    with data.asked, pytest.raises(ProbeError, match=r"can neither be read in a copy of the process nor be copied"):
        draw(loader, size=20)


def test_errors_classes_and_sharing_come_through_from_the_copy() -> None:
    class Local(Exception):
        pass

    def fail(alive: Any) -> None:
        raise Local("as it is")

    with pytest.raises(Local, match="as it is"):
        read_apart(fail)
    kept = read_apart(lambda alive: (Local, os.getpid(), torch.arange(3)))
    assert kept[0] is Local
    assert kept[1] != os.getpid()
    assert kept[2].tolist() == [0, 1, 2]
    with pytest.raises(ApartError, match="ended without an answer"):
        read_apart(lambda alive: os._exit(3))


def test_a_copy_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr("lightning_gw.activations.probe.apart.PATIENCE", 0.2)
    with pytest.raises(ApartError, match="no sign of life"):
        read_apart(lambda alive: threading.Event().wait(60))
