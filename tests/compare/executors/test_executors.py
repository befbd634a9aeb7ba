"""Which executor a comparison runs on, and what happens to one run wherever it was sent."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from toy_comparison import entries, wait_for, write_toy

from lightning_gw.cli import main
from lightning_gw.compare import comparison as running
from lightning_gw.compare.comparison import Comparison
from lightning_gw.compare.executors import make_executor
from lightning_gw.compare.executors.base import Ended, ExecutorSettings, Order, read_executor
from lightning_gw.compare.executors.local import LocalExecutor
from lightning_gw.compare.executors.locks import hold, is_held
from lightning_gw.compare.executors.process import carry_out, file_hash
from lightning_gw.compare.plan import read_plan
from lightning_gw.utilities.errors import UsageError


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """A run that ends at once with code 3."""
    (tmp_path / "plan.json").write_text("{}")
    return Order(
        key="fast/seed-0",
        command=[
            sys.executable,
            "-c",
            "import os; print('here', os.getcwd(), os.environ['TOLD']); raise SystemExit(3)",
        ],
        directory=tmp_path,
        variables={"TOLD": "so"},
        log=tmp_path / "log.txt",
        lock=tmp_path / "lock",
        plan=tmp_path / "plan.json",
        plan_hash=str(file_hash(tmp_path / "plan.json")),
    )


def lasting(order: Order, seconds: float = 60) -> Order:
    return replace(
        order, command=[sys.executable, "-c", f"import time; print('up', flush=True); time.sleep({seconds})"]
    )


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (None, ExecutorSettings()),
        ("ray", ExecutorSettings("ray")),
        ({"name": "ray", "address": "auto", "cpus": 2, "gpus": 0.25}, ExecutorSettings("ray", "auto", 2.0, 0.25)),
        ({"name": "ray", "gpus": 2, "retries": 0}, ExecutorSettings("ray", gpus=2.0, retries=0)),
    ],
)
def test_the_executor_is_read_from_the_config(tmp_path: Path, given: object, settings: ExecutorSettings) -> None:
    file = write_toy(tmp_path, ["fast"])
    if given is not None:
        file.write_text(file.read_text() + f"executor: {given}\n")
    assert read_plan(file).executor == settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("rya", r"no executor 'rya'. Near names: ray\."),
        ("slurm", r"no executor 'slurm'. There are: local, ray\."),
        ({"name": "ray", "gpu": 1}, r"'gpu' is no option here. Near names: gpus"),
        ({"name": "ray", "gpus": 1.5}, r"gpus should be a share such as 0.25, or a whole number, but is 1\.5"),
        ({"name": "ray", "cpus": 0}, "cpus should be a number above 0"),
        ({"name": "ray", "retries": -1}, "retries should be a whole number from 0"),
        ({"name": "ray", "address": 6379}, "address should be like"),
        ({"name": "local", "gpus": 0.5}, "gpus are for the executor ray"),
        ({"address": "auto"}, "should be local or ray, or a mapping with such a name"),
        (["ray"], "should be local or ray"),
    ],
)
def test_a_wrong_executor_is_refused_with_near_names(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"toys.yaml: executor.*{said}"):
        read_executor(given, "toys.yaml: executor")


def test_the_command_line_wins_over_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ExecutorSettings("ray", "10.0.0.1:6379", gpus=0.5)
    assert settings.chosen("local", None).name == "local"
    assert settings.chosen(None, "auto") == ExecutorSettings("ray", "auto", gpus=0.5)
    assert ExecutorSettings().chosen(None, "auto").name == "ray"
    with pytest.raises(UsageError, match="--ray-address is for --executor ray"):
        settings.chosen("local", "auto")
    file = write_toy(tmp_path, ["fast"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["compare", str(file), "--executor", "rey"]) == 2
    assert "--executor: there is no executor 'rey'. Near names: ray." in capsys.readouterr().err


def test_ray_that_is_not_installed_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    with pytest.raises(UsageError, match=r"pip install 'lightning-gw\[ray\]'.*--executor local works without it"):
        make_executor(ExecutorSettings("ray"), 1)
    assert isinstance(make_executor(ExecutorSettings(), 1), LocalExecutor)


def test_a_run_is_done_as_ordered_and_its_end_told(order: Order) -> None:
    assert carry_out(order) == Ended(3)
    log = order.log.read_text()
    assert f"on {socket.gethostname()}  {sys.executable}" in log
    assert f"here {order.directory} so" in log
    assert is_held(order.lock) is False

    executor = LocalExecutor()
    executor.start(order)
    assert len(executor) == 1
    ended: dict[str, Ended] = {}
    wait_for(lambda: bool(ended.update(executor.poll()) or ended), "its end")
    assert ended == {"fast/seed-0": Ended(3)}
    assert len(executor) == 0


def test_a_machine_that_sees_another_disk_does_nothing(order: Order, tmp_path: Path) -> None:
    elsewhere = replace(order, plan=tmp_path / "gone" / "plan.json")
    for blind, said in (
        (elsewhere, "gone/plan.json is not there"),
        (replace(order, plan_hash="0" * 64), "plan.json is that of another comparison"),
        (replace(order, directory=tmp_path / "nowhere"), "nowhere is not there"),
    ):
        end = carry_out(blind, disk_delay=0.1)
        assert end.code == 1
        assert not end.lost, "another node would see no more"
        assert said in str(end.error)
        assert "Every node must see the comparison's folder under the same path" in str(end.error)
    assert not order.log.exists()


def test_a_disk_that_shows_the_plan_late_is_waited_for(order: Order) -> None:
    content = order.plan.read_text()
    order.plan.unlink()
    threading.Timer(0.3, lambda: order.plan.write_text(content)).start()
    assert carry_out(order, disk_delay=20).code == 3


def test_what_cannot_be_started_is_a_run_that_failed(order: Order) -> None:
    end = carry_out(replace(order, command=["/no/such/python"]))
    assert "/no/such/python could not be started" in str(end.error)
    executor = LocalExecutor()
    executor.start(replace(order, command=["/no/such/python"]))
    assert len(executor) == 1
    assert "could not be started" in str(executor.poll()["fast/seed-0"].error)
    assert len(executor) == 0


def test_a_run_holds_its_lock_until_it_is_stopped(order: Order) -> None:
    executor = LocalExecutor()
    executor.start(lasting(order))
    wait_for(lambda: "up\n" in order.log.read_text(), "its start")
    assert is_held(order.lock) is True
    executor.stop()
    free = hold(order.lock, patience=5)
    assert free is not None
    free.close()


def test_an_interrupted_worker_takes_its_run_along(order: Order) -> None:
    """What Ray does to a task that is cancelled: KeyboardInterrupt in the main thread of its worker."""

    def interrupt() -> None:
        wait_for(lambda: order.log.exists() and "up\n" in order.log.read_text(), "its start")
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            carry_out(lasting(order))
    finally:
        signal.signal(signal.SIGINT, before)
    assert is_held(order.lock) is False, "the run is gone"


class Losing(LocalExecutor):
    """Loses every run as soon as it is started."""

    def start(self, order: Order) -> None:
        """Count it, no more."""
        self.started = [*getattr(self, "started", []), order.key]
        self._refused[order.key] = Ended(1, "its node was lost", lost=True)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, whose toy network can be imported here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "toy_net", raising=False)
    return tmp_path


@pytest.mark.slow
def test_a_run_that_is_lost_again_and_again_is_given_up(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = read_plan(write_toy(toys, ["fast"]), out=toys / "out")
    executor = Losing()
    assert Comparison(plan, wandb="disabled", executor=executor, retries=2).run() == 1
    assert executor.started == ["fast/seed-0"] * 3
    said = capsys.readouterr().out
    assert said.count("fast: its node was lost after 0:0") == 3
    assert said.count("fast: goes on from the start") == 2
    assert "failed: its node was lost, 3 times in all" in said
    assert "Note: fast lost its node or worker 3 times." in said
    assert entries(toys / "out")["fast"]["status"] == "failed"


@pytest.mark.slow
def test_a_lost_run_that_is_still_at_work_somewhere_is_not_started_again(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(write_toy(toys, ["fast"]), out=toys / "out")
    monkeypatch.setattr(running, "_LOST_PATIENCE", 1.0)
    kept = []

    class Parted(Losing):
        def start(self, order: Order) -> None:
            super().start(order)
            kept.append(hold(order.lock))  # its process is on a node that cannot be reached

    executor = Parted()
    assert Comparison(plan, wandb="disabled", executor=executor).run() == 1
    assert executor.started == ["fast/seed-0"]
    assert "still at work where it cannot be reached" in str(entries(toys / "out")["fast"]["error"])
    kept[0].close()  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_first_seed_of_every_strategy_comes_first(toys: Path) -> None:
    plan = read_plan(write_toy(toys, ["slow", "fast"], seeds=[3, 1]), out=toys / "out")
    executor = Losing()
    assert Comparison(plan, workers=1, wandb="disabled", executor=executor, retries=0).run() == 1
    assert executor.started == ["slow/seed-3", "fast/seed-3", "slow/seed-1", "fast/seed-1"]
