"""What was done to a run after its training is on its page: p-values, and what is lost without each layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_folders import Parsed, entry, keep_skips, save, skip_test, write_comparison
from synthetic_runs import DRIFT, make_run

from lightning_gw.lightning_cli.checkpoints import run_of
from lightning_gw.lightning_cli.p_values import tell
from lightning_gw.records.history import load_history
from lightning_gw.records.record import Record
from lightning_gw.report import write_report

NULL = "99 re-initialised networks (reset_parameters)"


def with_null(look: Record, *p_values: float, **changes) -> Record:
    """A look as ``lightning-gw test`` leaves it."""
    return replace(look, null=NULL, groups=replace(look.groups, p_value=min(p_values), p_values=p_values, **changes))


def page_of(run: Path) -> Parsed:
    return Parsed(write_report(run).read_text(encoding="utf-8"))


def facts_of(page: Parsed, look: int = -1) -> dict[str, str]:
    return dict(page.data["runs"][0]["looks"][look]["facts"])


def test_p_values_that_a_finished_run_got_are_on_its_page(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    before = page_of(run)
    assert "No p-value was computed" in before.text
    assert "lightning-gw test" in before.text
    save([with_null(records[-1], 0.01, 0.03)], run / "test")
    page = page_of(run)
    assert f"p = 0.01 for the largest step against {NULL}, made after training by lightning-gw test" in page.text
    each = "after layer 2 (blocks.0) p = 0.01 and after layer 6 (blocks.4) p = 0.03"
    assert f"P-values, boundary by boundary: {each}." in page.text
    assert "after layer 6 (blocks.4) p = 0.03" in facts_of(page)["Significance"]
    assert "No p-value" in facts_of(page, -2)["Significance"], "only the last look was tested"
    assert "No p-value was computed" not in page.text
    assert "hold them against 99 networks" not in page.text, "what was done is not asked for again"
    assert load_history(run)[-1].groups.p_value is None, "the run's own records stay as they are"


def test_what_the_test_takes_back_is_said_and_the_runs_own_groups_stay(tmp_path):
    records = make_run()
    (less,) = (record for record in records if record.step == 40)
    run = save(records, tmp_path / "run")
    left = replace(less.groups, boundaries=(1,), labels=(0, 0, 1, 1, 1, 1, 1, 1, 1), strength="weak")
    save([with_null(replace(records[-1], groups=left, group_ids=(0, 1), events=()), 0.02)], run / "test")
    page = page_of(run)
    assert "Networks that learnt nothing have as large a step at the boundary after layer 6 (blocks.4) (p > 0.05)." in (
        page.text
    )
    assert "Held against these networks, the groups are 1–2 | 3–9, weak." in page.text
    assert page.data["runs"][0]["looks"][-1]["boundaries"] == [1, 5]


def test_a_run_without_groups_is_tested_too(tmp_path):
    records = make_run(DRIFT)
    run = save(records, tmp_path / "run")
    look = replace(records[-1], null=NULL, groups=replace(records[-1].groups, p_value=0.4, p_values=()))
    save([look], run / "test")
    page = page_of(run)
    assert f"p = 0.4 for the largest step against {NULL}" in page.text
    assert "boundary by boundary" not in page.text


def test_a_test_of_another_checkpoint_names_its_step(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    save([with_null(records[-2], 0.01, 0.03)], run / "test")
    page = page_of(run)
    assert (
        f"Its checkpoint at step 200 was held against {NULL}, made after training by lightning-gw test: " in page.text
    )
    assert "No p-value" in facts_of(page)["Significance"]


def test_p_values_that_cannot_be_read_are_named_and_cost_nothing_else(tmp_path):
    run = save(make_run(), tmp_path / "run")
    (run / "test/gw").mkdir(parents=True)
    (run / "test/gw/history.jsonl").write_text('{"schema": 1, "step": 350}\n')
    page = page_of(run)
    assert len(page.data["runs"][0]["looks"]) == 8
    assert "history.jsonl line 1" in page.text[page.text.index("What is missing\n") :]


def test_a_run_of_a_comparison_shows_its_p_values(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "joint/seed-0")
    save([with_null(records[-1], 0.01, 0.03)], run / "test")
    page = page_of(write_comparison(tmp_path, [entry("joint", 0)]))
    assert "P-values, boundary by boundary: after layer 2" in page.data["runs"][0]["answer"]


@pytest.mark.parametrize("name", ["gw", "gw-words"])
def test_the_page_of_a_run_is_drawn_anew_where_its_test_lies_in_its_folder(tmp_path, capsys, name):
    records = make_run()
    save(records, tmp_path / "run")
    save([with_null(records[-1], 0.01, 0.03)], tmp_path / "run/test")
    for folder in (tmp_path / "run", tmp_path / "run/test"):
        (folder / "gw").rename(folder / name)
    page = tmp_path / "run" / ("" if name == "gw" else name) / "report.html"
    tell(load_history(tmp_path / "run/test"))
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"The page of the run shows it:  {page.as_uri()}"
    assert said[-2].startswith("P-values, boundary by boundary: after layer 2 (blocks.0) p = 0.01")
    assert "boundary by boundary" in page.read_text(encoding="utf-8")


def test_a_test_that_lies_elsewhere_says_how_to_see_it(tmp_path, capsys):
    records = make_run()
    run = save(records, tmp_path / "run")
    tell(load_history(save([with_null(records[-1], 0.01, 0.03)], tmp_path / "else where")))
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"lightning-gw report '{tmp_path / 'else where'}'")
    assert not (run / "report.html").exists()


def test_the_run_of_a_checkpoint_is_the_folder_above_it_that_holds_a_history(tmp_path, monkeypatch):
    run = save(make_run(DRIFT[:1]), tmp_path / "run")
    (run / "checkpoints").mkdir()
    assert run_of(run / "checkpoints/last.ckpt") == run
    monkeypatch.chdir(run / "checkpoints")
    assert run_of(Path("last.ckpt")) == run
    assert run_of(tmp_path / "none/last.ckpt") is None


def test_what_is_lost_without_each_layer_is_on_the_page(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    assert page_of(run).data["runs"][0]["skips"] is None
    assert "without each layer" not in page_of(run).text
    found = skip_test(records)
    keep_skips(found, run / "gw")
    page = page_of(run)
    skips = page.data["runs"][0]["skips"]
    assert "What the network loses without each layer" in page.text
    assert skips["what"] == "rise of val/loss without it"
    assert skips["damage"] == pytest.approx([None, 0.1, 0.2, 0.3, 1.5, 0.5, 0.6, 0.7, 0.8])
    assert skips["reasons"][0] == "it turns int64 into float32"
    assert skips["colours"] == [0, 0, 1, 1, 1, 1, 2, 2, 2], "those of the groups at the last look"
    assert [measure["name"].split(",")[0] for measure in skips["measures"]] == ["GW distance", "1 − CKA", "1 − cosine"]
    assert "rank correlation 1.00" in skips["measures"][0]["name"]
    (group,) = skips["groups"]
    assert (group["name"], group["damage"], group["colour"]) == ("3–6", 2.5, 1)
    assert [control["damage"] for control in group["controls"]] == [0.4, 0.8]
    assert skips["words"] == f"At step 350: {' '.join(found.sentences())}"


def test_damage_is_what_the_metric_falls_by_where_more_of_it_is_better(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    keep_skips(skip_test(records, mode="max"), run / "gw")
    skips = page_of(run).data["runs"][0]["skips"]
    assert skips["what"] == "fall of val/loss without it"
    assert skips["damage"][4] == 1.5


def test_of_several_skip_tests_the_latest_is_shown(tmp_path):
    records = make_run()
    run = save(records, tmp_path / "run")
    keep_skips(skip_test(records), run / "gw")
    keep_skips(skip_test(records, worst=7), run / "skip-test")
    keep_skips(skip_test(records, worst=6), run / "skip-test/words")  # of another callback
    assert page_of(run).data["runs"][0]["skips"]["damage"][7] == 1.5
    keep_skips(skip_test(records, worst=7), run / "skip-test", step=200)
    assert page_of(run).data["runs"][0]["skips"]["damage"][4] == 1.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "could not be read"),
        ('{"step": 1}', "no skip test"),
        ("labels", "groups of 3 layers, and 9 layers"),
        ("members", "has a layer that it does not have"),
    ],
)
def test_a_skip_test_that_cannot_be_read_is_named(tmp_path, content, said):
    records = make_run()
    run = save(records, tmp_path / "run")
    found = skip_test(records)
    if content == "labels":
        keep_skips(replace(found, labels=(0, 1, 1)), run / "gw")
    elif content == "members":
        keep_skips(replace(found, groups=(replace(found.groups[0], members=(9,)),)), run / "gw")
    else:
        (run / "gw/skip-test.json").write_text(content)
    page = page_of(run)
    missing = page.text[page.text.index("What is missing\n") :]
    assert "The skip test " in missing
    assert said in missing
    assert page.data["runs"][0]["skips"] is None
