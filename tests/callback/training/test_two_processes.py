"""Two processes find what one finds, write it once, train the same, and fail together instead of waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import two_processes
from every_training import differences
from two_processes import train

from lightning_gw import History, load_history
from lightning_gw.gw.looks import LayerMatrices
from lightning_gw.utilities.distributed import Ranks


def assert_same_history(one: History, other: History) -> None:
    """Equal record by record, but for the seconds spent."""
    assert [record.step for record in one] == [record.step for record in other]
    for first, second in zip(one, other, strict=True):
        left, right = first.to_json(), second.to_json()
        differing = {key for key in left if left[key] != right[key]} - {"seconds", "gw_seconds"}
        assert differing == set(), f"step {first.step}"
        theirs = second.arrays()
        for name, values in first.arrays().items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=f"{name} at step {first.step}")


@pytest.mark.usefixtures("few_draws")
def test_two_processes_find_what_one_finds_and_train_undisturbed(tmp_path: Path) -> None:
    train(tmp_path / "one")
    watched = train(tmp_path / "two", "ddp_fork", 2)
    alone = train(tmp_path / "without", "ddp_fork", 2, looks=False)
    history = load_history(tmp_path / "two")
    assert [record.step for record in history] == [0, 2, 3, 4]
    assert_same_history(history, load_history(tmp_path / "one"))
    assert differences(watched, alone) == []
    assert watched[0]["order of batches"] == watched[1]["order of batches"]
    # One process wrote: every record is there once, and nothing was set aside or left half-written.
    written = sorted(path.name for path in (tmp_path / "two" / "gw").iterdir())
    assert written == sorted(path.name for path in (tmp_path / "one" / "gw").iterdir())


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.slow
def test_a_look_that_fails_on_one_process_fails_on_all_and_none_waits(tmp_path: Path, rank: int) -> None:
    alone = train(tmp_path / "without", "ddp_fork", 2, looks=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = train(tmp_path / "with", "ddp_fork", 2, fails={rank: (2, "this layer gave up")}, on_error="warn")
    history = load_history(tmp_path / "with")
    assert [record.step for record in history] == [0, 3, 4]
    for mine in (*watched, *alone):
        del mine["memories"]  # they hold how it fails
    assert differences(watched, alone) == []


@pytest.mark.usefixtures("few_draws")
@pytest.mark.slow
def test_a_process_that_runs_out_of_memory_takes_smaller_batches_alone(tmp_path: Path) -> None:
    train(tmp_path / "one")
    train(tmp_path / "two", "ddp_fork", 2, fails={0: (2, "out of memory")})
    one, two = load_history(tmp_path / "one"), load_history(tmp_path / "two")
    assert [record.step for record in two] == [0, 2, 3, 4]
    assert any("4 at a time" in note for note in two[1].notes)
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine.gw.distortion, theirs.gw.distortion, atol=1e-5)


@pytest.mark.slow
def test_spawned_processes_find_what_one_finds(tmp_path: Path) -> None:
    train(tmp_path / "one")
    train(tmp_path / "two", "ddp_spawn", 2)
    assert_same_history(load_history(tmp_path / "two"), load_history(tmp_path / "one"))


def run_script(folder: Path, strategy: str, looks: bool = True) -> list[dict[str, Any]]:
    helpers = Path(two_processes.__file__).parents[1]
    folders = (helpers / "networks", helpers / "trainings", helpers.parents[1])
    paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [sys.executable, two_processes.__file__, str(folder), strategy, str(looks)],
        check=True,
        timeout=140,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
    )
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.slow
def test_a_script_of_two_processes_finds_what_one_finds(tmp_path: Path) -> None:
    train(tmp_path / "one")
    run_script(tmp_path / "two", "ddp")
    assert_same_history(load_history(tmp_path / "two"), load_history(tmp_path / "one"))


@pytest.mark.slow
def test_sharded_weights_train_undisturbed_and_are_looked_at(tmp_path: Path) -> None:
    """The layers' weights are spread over both processes, which gather them for every forward pass."""
    train(tmp_path / "one")
    watched = run_script(tmp_path / "two", "fsdp")
    alone = run_script(tmp_path / "without", "fsdp", looks=False)
    assert differences(watched, alone) == []
    one, two = load_history(tmp_path / "one"), load_history(tmp_path / "two")
    assert [record.step for record in two] == [0, 2, 3, 4]
    assert [record.notes for record in two] == [record.notes for record in one]
    np.testing.assert_allclose(two[-1].gw.distortion, one[-1].gw.distortion, atol=1e-5)


@pytest.mark.slow
def test_weights_and_biases_gets_from_two_processes_what_it_gets_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    from pytorch_lightning.loggers import WandbLogger
    from wandb_file import OfflineRun

    monkeypatch.setenv("WANDB_SILENT", "true")

    def logged(devices: int) -> list[dict[str, Any]]:
        folder = tmp_path / str(devices)
        folder.mkdir()
        logger = WandbLogger(save_dir=folder, mode="offline", project="any")
        train(folder, "auto" if devices == 1 else "ddp_fork", devices, logger=logger)
        wandb.finish()
        rows = OfflineRun.read(folder).rows
        return [{key: value for key, value in row.items() if isinstance(value, int | float)} for row in rows]

    one, two = logged(1), logged(2)
    timing = ("seconds", "_runtime", "_timestamp", "page.size")  # the page tells seconds, too
    for row in (*one, *two):
        for key in [key for key in row if key.endswith(timing)]:
            del row[key]
    assert any("gw/groups/count" in row for row in one)
    assert one == two


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
def test_the_pairs_of_layers_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process works on its own pairs only, and together on all of them."""
    inner = Ranks.pairs

    def noted(self: Ranks, work: Any, first: torch.Tensor, second: torch.Tensor, *more: torch.Tensor) -> Any:
        worked = [0]

        def working(i: torch.Tensor, j: torch.Tensor, *rest: torch.Tensor) -> Any:
            worked.append(len(i))
            return work(i, j, *rest)

        found = inner(self, working, first, second, *more)
        with (tmp_path / f"pairs-{self.rank}-of-{self.size}").open("a") as file:
            file.write(f"{sum(worked)} of {len(first)}\n")
        return found

    monkeypatch.setattr(Ranks, "pairs", noted)
    train(tmp_path / "two", "ddp_fork", 2)
    lines = [(tmp_path / f"pairs-{rank}-of-2").read_text().splitlines() for rank in range(2)]
    assert lines[0]
    for mine, theirs in zip(*lines, strict=True):
        shares, whole = (int(mine.split()[0]), int(theirs.split()[0])), int(mine.split()[-1])
        assert sum(shares) == whole
        assert shares[0] - shares[1] in (0, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.representatives("0")
def test_a_solution_that_fails_on_one_process_costs_all_that_look_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """It fails between the two matrices of a look, where the other process is already waiting for the second."""
    inner, calls = LayerMatrices._solved, []

    def failing(self: LayerMatrices, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4 and dist.get_rank() == rank:  # the anchored matrix of the second look
            raise RuntimeError("no more of this")
        return inner(self, *arguments)

    monkeypatch.setattr(LayerMatrices, "_solved", failing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = train(tmp_path / "with", "ddp_fork", 2, on_error="warn")
    history = load_history(tmp_path / "with")
    assert [record.step for record in history] == [0, 3, 4]
    assert "no more of this" in " ".join(history[1].notes)
    assert differences(watched[:1], train(tmp_path / "without", "ddp_fork", 2, looks=False)[:1]) == []


@pytest.mark.usefixtures("few_draws")
@pytest.mark.slow
def test_processes_whose_buffers_differ_find_what_the_first_sees(tmp_path: Path) -> None:
    """Each process has running means of its own batches, as BatchNorm has between two broadcasts."""
    train(tmp_path / "one")
    train(tmp_path / "two", "ddp_fork", 2, apart=0.5)
    assert_same_history(load_history(tmp_path / "two"), load_history(tmp_path / "one"))
