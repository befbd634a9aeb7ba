"""The page of a run with groups ends its answer with what they can be used for, by commands that work."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import pytest
from report_folders import Parsed, keep_skips, save, skip_test
from synthetic_runs import DRIFT, EMERGENCE, WEAK, make_run, with_names

from lightning_gw.cli import main
from lightning_gw.records.history import History
from lightning_gw.report import write_report
from lightning_gw.report.afterwards import Afterwards
from lightning_gw.report.uses import uses_sentence


def layers(count: int) -> tuple[str, ...]:
    return tuple(f"model.layers.{k}" for k in range(count))


def commands(said: str) -> list[str]:
    """What is told to be typed, each form of an export by itself."""
    (export,) = re.findall(r"lightning-gw (export .+?)(?:;|$)", said)
    head, *forms = re.split(r"(?= --for)", re.sub(r" \(.*?\)| or(?= --for)", "", export))
    return [head + form.replace("MODEL", "a/model") for form in forms]


@pytest.mark.parametrize(("story", "anyway"), [(EMERGENCE, False), (WEAK, True)])
def test_the_exports_that_are_named_work(tmp_path, monkeypatch, capsys, story, anyway):
    monkeypatch.chdir(tmp_path)
    records = with_names(make_run(story, 9), layers(9))
    run = save(records, tmp_path / "my run")
    text = " ".join(Parsed(write_report(run).read_text(encoding="utf-8")).text.split())
    (said,) = re.findall(r"To use these groups: .*?docs/using-groups\.md\.", text)
    assert ("although it is not to be relied on" in said) == anyway
    told = commands(said)
    assert [re.search(r"--for (\S+)", each)[1] for each in told] == [
        "peft",
        "finetuning-scheduler",
        "mergekit",
        "patterns",
    ]
    for each in told:
        assert main(shlex.split(each)) == 0, each
    assert "layers_to_transform" in capsys.readouterr().out


def test_no_form_is_named_that_a_group_cannot_be_written_in():
    said = uses_sentence(History(make_run()), Afterwards())  # an embedding is in no list, but not in the last group
    assert "--for mergekit" in said
    records = with_names(make_run(), tuple(f"part{chr(97 + k)}" for k in range(9)))
    said = uses_sentence(History(records), Afterwards())
    assert "--for peft" not in said
    assert "--for mergekit" not in said
    assert "lightning-gw export RUN --for finetuning-scheduler or --for patterns" in said


def test_the_skip_test_is_offered_with_the_runs_own_checkpoint_until_it_is_there(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    page = Parsed(write_report(run).read_text(encoding="utf-8")).text
    assert "lightning-gw skip-test CHECKPOINT -c CONFIG;" in page
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").touch()
    (run / "config.yaml").touch()
    page = Parsed(write_report(run).read_text(encoding="utf-8")).text
    assert f"lightning-gw skip-test {run}/checkpoints/last.ckpt -c {run}/config.yaml;" in page
    keep_skips(skip_test(records), run / "gw")
    page = Parsed(write_report(run).read_text(encoding="utf-8")).text
    assert "lightning-gw skip-test" not in page
    assert "lightning-gw export" in page


def test_where_there_are_no_groups_none_are_used():
    records = make_run()
    none = replace(records[-1], groups=replace(records[-1].groups, strength="none"))
    assert uses_sentence(History(make_run(DRIFT)), Afterwards()) == ""
    assert uses_sentence(History(records), Afterwards(tested=none)) == "", "a test took them back"
    assert uses_sentence(History(), Afterwards()) == ""
