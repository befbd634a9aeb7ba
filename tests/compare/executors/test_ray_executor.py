"""Runs on Ray: tasks on a cluster of this machine's own, whose nodes and workers are killed while they train."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from toy_comparison import assert_same_history, entries, run, start, wait_for, write_toy

from lightning_gw.compare.executors import make_executor
from lightning_gw.compare.executors.base import Ended, ExecutorSettings, Order
from lightning_gw.compare.executors.locks import is_held
from lightning_gw.compare.executors.process import file_hash
from lightning_gw.utilities.errors import UsageError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lightning-gw[ray]'")
pytestmark = pytest.mark.timeout(600)

RUNS = ("slow", "steady")


def parent_of(process: int) -> int:
    """Parent of a process; 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def trainings(folder: Path) -> dict[str, int]:
    """Strategy → process of every run that is training in a folder."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode().split("\0")
            run_dir = next((word for word in words if word.startswith("--run_dir=out/")), None)
            if run_dir and Path(os.readlink(place / "cwd")) == folder and parent_of(int(place.name)):
                found[run_dir.split("/")[1]] = int(place.name)
    return found


def asleep(order: Order) -> list[int]:
    """What still runs in an order's folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(place / "cwd")) == order.directory:
                found.append(int(place.name))
    return found


def has_checkpoint(folder: Path, strategy: str) -> bool:
    return (folder / "out" / strategy / "seed-0/checkpoints/last.ckpt").exists()


@pytest.fixture(autouse=True)
def _no_reports_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "plan.json").write_text("{}")
    return Order(
        key="fast/seed-0",
        command=[sys.executable, "-c", "raise SystemExit(3)"],
        directory=tmp_path,
        variables={},
        log=tmp_path / "log.txt",
        lock=tmp_path / "lock",
        plan=tmp_path / "plan.json",
        plan_hash=str(file_hash(tmp_path / "plan.json")),
    )


def test_an_address_where_no_cluster_answers_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"No Ray cluster answers at {address}: .*`ray start --head`"):
            make_executor(ExecutorSettings("ray", address), 1).open()
    with pytest.raises(UsageError, match="A Ray address is HOST:PORT"):
        make_executor(ExecutorSettings("ray", "cluster"), 1).open()


@pytest.mark.slow
def test_tasks_end_are_lost_and_are_stopped(order: Order) -> None:
    """One cluster of our own for all that a task may go through."""
    import ray

    executor = make_executor(ExecutorSettings("ray"), 1)
    assert executor.room
    ended: dict[str, Ended] = {}

    def wait_for_end() -> Ended:
        wait_for(lambda: bool(ended.update(executor.poll()) or ended), "its end", 90)
        assert len(executor) == 0
        return ended.popitem()[1]

    code = "import os, time; print('worker', os.getppid(), flush=True); time.sleep(600)"
    lasting = replace(order, command=[sys.executable, "-c", code])
    try:
        executor.open()
        assert executor.room == len(os.sched_getaffinity(0))
        executor.start(order)
        assert len(executor) == 1
        assert wait_for_end() == Ended(3)

        executor.start(lasting)
        told = re.compile(r"^worker (\d+)$", re.MULTILINE)
        wait_for(lambda: order.log.exists() and bool(told.search(order.log.read_text())), "its start", 90)
        assert is_held(order.lock) is True
        os.kill(int(told.findall(order.log.read_text())[0]), signal.SIGKILL)
        assert wait_for_end() == Ended(1, "its worker was lost", lost=True)

        # The process of a killed worker leaves by itself where it is a run; here it is only asleep, under the old lock.
        again = replace(lasting, log=order.directory / "again.txt", lock=order.directory / "another")
        executor.start(again)
        wait_for(lambda: again.log.exists() and bool(told.search(again.log.read_text())), "its start", 90)
        executor.stop()
        # A task that is cancelled takes its process along, but Ray may tell its end a moment earlier.
        wait_for(lambda: is_held(again.lock) is False, "the end of the process", 30)
        assert len(executor) == 0
    finally:
        executor.close()
        for process in asleep(order):
            os.kill(process, signal.SIGKILL)
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison that ran through on this machine alone."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_comparison_file(folder)
    code, output = run(folder, "compare", "compare.yaml", "--wandb", "disabled", timeout=500)
    assert code == 0, output
    return folder


def write_comparison_file(folder: Path) -> None:
    write_toy(folder, ["slow", {"name": "steady", "config": "strategies/slow.yaml"}])


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one core, each a cluster's machine as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes(timeout=120)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_runs_go_on_elsewhere_when_their_node_or_worker_is_lost(
    uninterrupted: Path, tmp_path: Path, cluster: Any
) -> None:
    write_comparison_file(tmp_path)
    driver = start(tmp_path, "compare", "compare.yaml", "--ray-address", cluster.address, "--wandb", "disabled")
    try:
        wait_for(lambda: all(has_checkpoint(tmp_path, name) for name in RUNS), "a checkpoint of both", 300)
        found = trainings(tmp_path)
        (second,) = cluster.worker_nodes
        raylet = second.all_processes["raylet"][0].process.pid
        there = [name for name, process in found.items() if parent_of(parent_of(process)) == raylet]
        assert len(there) == 1, "each node has one of the two runs"
        (here,) = set(found) - set(there)
        os.kill(parent_of(found[here]), signal.SIGKILL)
        cluster.remove_node(second, allow_graceful=False)
        output, _ = driver.communicate(timeout=500)
    finally:
        driver.kill()
    assert driver.returncode == 0, output
    for name in RUNS:
        assert f"{name}: goes on from step=" in output or f"{name}: goes on from last" in output, output
        assert f"Note: {name} lost its node or worker once." in output
        log = (tmp_path / "out" / name / "seed-0/log.txt").read_text()
        assert log.count("\n--- ") == 2
        assert "--ckpt_path=" in (tmp_path / "out" / name / "seed-0/command.txt").read_text()
        assert_same_history(tmp_path / "out" / name / "seed-0", uninterrupted / "out" / name / "seed-0", kills=1)
    for noise in ("raylet", "worker.py", "WARNING", "Traceback"):
        assert noise not in output
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert any("lost its node or worker" in note for note in content["notes"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_interrupted_and_a_killed_comparison_leave_no_run_behind(
    uninterrupted: Path, tmp_path: Path, cluster: Any
) -> None:
    write_comparison_file(tmp_path)
    command = ("compare", "compare.yaml", "--ray-address", cluster.address, "--wandb", "disabled")
    first = start(tmp_path, *command)
    wait_for(lambda: all(has_checkpoint(tmp_path, name) for name in RUNS), "a checkpoint of both", 300)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 130, output
    assert trainings(tmp_path) == {}, "they were gone when the command ended"
    assert {entry["status"] for entry in entries(tmp_path / "out").values()} == {"waiting"}

    second = start(tmp_path, *command)
    wait_for(lambda: len(trainings(tmp_path)) == 2, "two runs", 300)
    second.kill()
    second.communicate()
    wait_for(lambda: not trainings(tmp_path), "the end of all runs", 120)

    code, output = run(tmp_path, *command, timeout=500)
    assert code == 0, output
    for name in RUNS:
        assert_same_history(tmp_path / "out" / name / "seed-0", uninterrupted / "out" / name / "seed-0", kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_cluster_of_our_own_goes_with_its_comparison(uninterrupted: Path, tmp_path: Path) -> None:
    write_comparison_file(tmp_path)
    content = yaml.safe_load((tmp_path / "compare.yaml").read_text())
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(content | {"executor": {"name": "ray", "cpus": 0.5}}))
    first = start(tmp_path, "compare", "compare.yaml", "--wandb", "disabled")
    wait_for(lambda: all(has_checkpoint(tmp_path, name) for name in RUNS), "a checkpoint of both", 300)
    raylets = {parent_of(parent_of(process)) for process in trainings(tmp_path).values()}
    assert len(raylets) == 1
    first.kill()
    first.communicate()
    wait_for(lambda: not trainings(tmp_path), "the end of all runs", 120)
    wait_for(lambda: not any(parent_of(raylet) for raylet in raylets), "the end of the cluster", 120)

    code, output = run(tmp_path, "compare", "compare.yaml", "--executor", "local", "--wandb", "disabled", timeout=500)
    assert code == 0, output
    for name in RUNS:
        assert_same_history(tmp_path / "out" / name / "seed-0", uninterrupted / "out" / name / "seed-0", kills=1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_again_and_again_on_a_cluster_the_numbers_are_the_same(
    uninterrupted: Path, tmp_path: Path, cluster: Any
) -> None:
    write_comparison_file(tmp_path)
    command = ("compare", "compare.yaml", "--ray-address", cluster.address, "--wandb", "disabled")
    draw = np.random.default_rng(0)
    driver = start(tmp_path, *command)
    for number in range(10):
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(float(draw.uniform(4, 25)))
        workers = [parent_of(process) for process in trainings(tmp_path).values()]
        if number % 2 and workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(draw.choice(workers)), signal.SIGKILL)
        else:
            driver.kill()
            driver.communicate()
        if driver.poll() is not None:
            driver = start(tmp_path, *command)
    driver.communicate(timeout=600)
    code, output = run(tmp_path, *command, timeout=600)
    assert code == 0, output
    for name in RUNS:
        assert_same_history(tmp_path / "out" / name / "seed-0", uninterrupted / "out" / name / "seed-0", kills=10)
