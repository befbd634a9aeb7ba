"""Whatever a folder holds, its page is made, or what is wrong is said in one line: soon, and in little memory."""

from __future__ import annotations

import os
import resource
import shutil
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hostile_folders import copy_of, damage
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from report_folders import entry, keep_skips, save, skip_test, write_comparison
from synthetic_runs import make_run

import lightning_gw.compare
import lightning_gw.report.command  # noqa: F401  # what a case takes is not to hold what importing takes
from lightning_gw.cli import main
from lightning_gw.utilities.errors import UsageError

#: Seconds of the processor, and bytes, that a case may take.
SECONDS, MEMORY = 5.0, 2**30
STORY = ((0, "none", (), ()), (10, "weak", (1,), (0, 1)), (20, "strong", (1,), (0, 1)))
#: Seeds whose folders were not survived when they were found.
FAILED = (83, 100, 106)

#: Seeds have nothing to be made smaller.
PHASES = (Phase.explicit, Phase.generate)
any_seed = st.integers(min_value=0, max_value=2**32)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here outlasts a power cut; waiting for it is half of what a case takes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, one with what was done afterwards, and a comparison of two, small enough to be read thousands of times."""
    folder = tmp_path_factory.mktemp("whole")
    records = make_run(STORY, 4, inputs=6)
    save(records, folder / "run")
    deeper = make_run(STORY, 9, inputs=6)
    save(deeper[-1:], folder / "tested")
    groups = replace(deeper[-1].groups, p_value=0.01, p_values=(0.01,))
    save([replace(deeper[-1], groups=groups, null="99 re-initialised networks")], folder / "tested/test")
    keep_skips(skip_test(deeper), folder / "tested/gw")
    for seed in (0, 1):
        save(make_run(STORY, 4, inputs=6, seed=seed), folder / f"comparison/joint/seed-{seed}")
    entries = [entry("joint", seed, planted=[1]) for seed in (0, 1)]
    write_comparison(folder / "comparison", entries)
    (folder / "configs").mkdir()
    (folder / "configs/base.yaml").write_text("# What is it?\nmodel:\n  class_path: a.B\n  init_args: {width: 3}\n")
    (folder / "configs/compare.yaml").write_text(
        "title: A comparison\nthreads: 1\nwandb: {project: p}\nexperiments:\n  - task: t\n    config: base.yaml\n"
        "    strategies: [{name: one, config: null, overrides: {model.width: &w 4}}, {name: two, config: base.yaml}]\n"
        "    seeds: [0, 1]\n    planted: [1]\n    accuracy: acc\n"
    )
    return {name: folder / name for name in ("run", "tested", "comparison", "configs")}


def report(folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage a folder by `seed`, and see that the command copes."""
    what = damage(folder, Random(seed))
    capsys.readouterr()
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = main(["report", str(folder)])
    took, grown = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    said = capsys.readouterr()
    assert took < SECONDS, f"{what}: {took:.1f} s"
    assert grown * 1024 < MEMORY, f"{what}: {grown >> 10} MiB"
    lines = (said.out if code == 0 else said.err).splitlines()
    assert all(line.isprintable() for line in lines), f"{what}: {lines}"
    if code == 0:
        assert all(line.startswith("Note: ") for line in lines[:-1]), f"{what}: {lines}"
        assert lines[-1].startswith("Open file:"), f"{what}: {lines}"
        assert (folder / "report.html").read_bytes().rstrip().endswith(b"</html>"), what
    else:
        assert code == 2, what
        assert len(lines) == 1, f"{what}: {lines}"
        assert any(name in lines[0] for name in ("comparison.json", "history", "metrics.jsonl")), f"{what}: {lines}"


def check(whole: dict[str, Path], kind: str, seed: int, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "configs":
        folder = copy_of(whole[kind], place / "folder")
        read_config(folder, seed)
    else:
        report(copy_of(whole[kind], place / "folder"), seed, capsys)
    shutil.rmtree(place / "folder")


def read_config(folder: Path, seed: int) -> None:
    from lightning_gw.compare import read_plan

    what = damage(folder, Random(seed))
    started = time.process_time()
    said = "no error of the config file"
    try:
        read_plan(folder / "compare.yaml")
    except UsageError as error:
        said = str(error)
    assert len(said.splitlines()) == 1, f"{what}: {said}"
    assert ".yaml" in said or "onfig file" in said, f"{what}: {said}"
    assert time.process_time() - started < SECONDS, what


@pytest.mark.parametrize("kind", ["run", "tested", "comparison", "configs"])
@pytest.mark.representatives("run")
def test_a_few_hundred_folders_from_strangers(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    count = {"run": 15, "tested": 60, "comparison": 30, "configs": 130}[kind]

    @settings(deadline=None, database=None, derandomize=True, max_examples=count, phases=PHASES)
    @given(any_seed)
    def each(seed: int) -> None:
        check(whole, kind, seed, tmp_path, capsys)

    for seed in FAILED:
        each = example(seed)(each)
    each()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize(("kind", "share"), [("run", 800), ("tested", 400), ("comparison", 400), ("configs", 400)])
def test_twenty_thousand_folders_from_strangers(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, share: int, part: int
) -> None:
    for seed in range(part * share, (part + 1) * share):
        check(whole, kind, seed, tmp_path, capsys)


def test_bombs_of_a_few_bytes_are_refused_at_once(tmp_path: Path) -> None:
    from lightning_gw.lightning_cli.options import read_yaml

    levels = "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10))
    deep = ("a: " + "[" * 10**6, "- " * 10**5, "{a: " * 10**5, "? " * 10**5)
    long = ("a: " + "9" * 10**6, "a: 1" + ":1" * 10**6)
    for text in (f"a0: &a0 [x]\n{levels}\n", "a: &a [*a]\n", *deep, *long):
        (tmp_path / "bomb.yaml").write_text(text)
        started = time.process_time()
        with pytest.raises(UsageError, match=r"bomb\.yaml is no valid YAML: .*(unfold|itself|deeply|signs)"):
            read_yaml(tmp_path / "bomb.yaml")
        assert time.process_time() - started < SECONDS
