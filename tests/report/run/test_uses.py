"""The page of a run with groups ends its answer with what they can be used for, by commands that work."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from report_folders import Parsed, keep_skips, save, skip_test
from synthetic_runs import DRIFT, EMERGENCE, WEAK, make_run, with_names

from lightning_gw.cli import main
from lightning_gw.records.history import History, load_history
from lightning_gw.report import write_report
from lightning_gw.report.run.afterwards import Afterwards
from lightning_gw.report.run.uses import uses_of


def layers(count: int) -> tuple[str, ...]:
    return tuple(f"model.layers.{k}" for k in range(count))


def page_of(run: Path) -> str:
    return " ".join(Parsed(write_report(run).read_text(encoding="utf-8")).text.split())


def exports(history: History) -> list[str]:
    """The export commands that are named for a run in memory."""
    found = [command for use in uses_of(history, Afterwards()) for command, _ in use.commands]
    return [command for command in found if command.startswith("lightning-gw export")]


@pytest.mark.parametrize(("story", "anyway"), [(EMERGENCE, False), (WEAK, True)])
def test_the_exports_that_are_named_work(tmp_path, monkeypatch, capsys, story, anyway):
    monkeypatch.chdir(tmp_path)
    records = with_names(make_run(story, 9), layers(9))
    run = save(records, tmp_path / "my run")
    text = page_of(run)
    assert "What these groups can be used for" in text
    assert "docs/using-groups.md" in text
    assert ("although it is not to be relied on" in text) == anyway
    told = exports(load_history(run))
    assert [re.search(r"--for (\S+)", each)[1] for each in told] == [
        "peft",
        "finetuning-scheduler",
        "mergekit",
        "patterns",
    ]
    for each in told:
        assert each in text
        assert main(shlex.split(each.replace("MODEL", "a/model"))[1:]) == 0, each
    assert "layers_to_transform" in capsys.readouterr().out


def test_no_form_is_named_that_a_group_cannot_be_written_in():
    said = exports(History(make_run()))  # an embedding is in no list, but not in the last group
    assert "lightning-gw export RUN --for mergekit --model MODEL" in said
    records = with_names(make_run(), tuple(f"part{chr(97 + k)}" for k in range(9)))
    forms = ("finetuning-scheduler", "patterns")
    assert exports(History(records)) == [f"lightning-gw export RUN --for {form}" for form in forms]


def test_the_skip_test_is_offered_with_the_runs_own_checkpoint_until_it_is_there(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    assert "lightning-gw skip-test CHECKPOINT -c CONFIG " in page_of(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").touch()
    (run / "config.yaml").touch()
    assert f"lightning-gw skip-test {run}/checkpoints/last.ckpt -c {run}/config.yaml " in page_of(run)
    keep_skips(skip_test(records), run / "gw")
    page = page_of(run)
    assert "lightning-gw skip-test" not in page
    assert "lightning-gw export" in page


def test_where_there_are_no_groups_none_are_used():
    records = make_run()
    none = replace(records[-1], groups=replace(records[-1].groups, strength="none"))
    assert uses_of(History(make_run(DRIFT)), Afterwards()) == ()
    assert uses_of(History(records), Afterwards(tested=none)) == (), "a test took them back"
    assert uses_of(History(), Afterwards()) == ()
