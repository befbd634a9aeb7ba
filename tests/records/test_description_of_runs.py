"""A run's answer in words: complete, and never claiming more than the records hold. The words are kept as files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from snapshots import Snapshots
from synthetic_runs import DRIFT, EMERGENCE, PASSING, WEAK, make_run

from lightning_gw.analysis.analysis import NO_NULL
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe, describe_record, inherited_sentences
from lightning_gw.records.words.support import contrast_sentence


def readout_collapse() -> list[Record]:
    """A lone boundary before the last layer."""
    return make_run([(step, strength, *(((7,), (0, 1)) if strength != "none" else ((), ())))
                     for step, strength, *_ in EMERGENCE])  # fmt: skip


def inherited() -> list[Record]:
    """A boundary that stood at the first look, and one that training made."""
    return make_run(
        [(step, "strong", (3,) if step < 80 else (3, 6), (0, 1) if step < 80 else (0, 1, 2)) for step, *_ in EMERGENCE],
        reference="3 re-initialised networks (transformers config)",
    )


def pre_trained() -> list[Record]:
    """A network whose own groups cannot be told from its architecture, and what fine-tuning made of it."""
    lacking = "none: its weights were loaded from 'a/model', and there are no networks with fresh weights (two devices)"
    runs = make_run(WEAK, reference=lacking)
    return [replace(record, reference=lacking, groups=replace(record.groups, reference=0)) for record in runs]


def widening() -> list[Record]:
    """An untrained network that takes larger steps where its width changes."""
    runs = make_run(DRIFT)
    return [replace(runs[0], groups=replace(runs[0].groups, built_in=(2, 5)))]


def nothing_measured() -> list[Record]:
    record = make_run(DRIFT)[-1]
    nothing = replace(record.groups, labels=(-1,) * 9, adjacent=np.full(8, np.nan))
    constant = replace(record.gw, degenerate={name: "constant" for name in record.layers})
    return [replace(record, gw=constant, groups=nothing, groups_paired=nothing, growth=np.full(8, np.nan))]


def grown(by: float) -> list[Record]:
    return [replace(record, growth=np.full(8, by)) for record in make_run(DRIFT)]


def dominated() -> list[Record]:
    """Groups that hang on a few inputs far from all others."""
    runs = make_run()
    return [replace(r, dominance=np.full(9, 0.83), effective_rank=np.full(9, 4.0), without_dominant=()) for r in runs]


#: Runs, whose whole answer is kept.
RUNS: dict[str, Callable[[], list[Record]]] = {
    "groups from first to last": make_run,
    "no groups, and what grew": lambda: make_run(DRIFT),
    "groups that did not last": lambda: make_run(PASSING),
    "weak groups, and a paired view that sees none": lambda: make_run(WEAK, paired_agrees=False),
    "readout collapse": readout_collapse,
    "inherited boundaries": inherited,
    "a pre-trained network without copies": pre_trained,
    "an architecture before training": widening,
    "a layer left out": lambda: make_run(degenerate=4),
    "groups that hang on a few inputs": dominated,
    "nothing measured": nothing_measured,
    "nothing grew": lambda: grown(1.0),
    "growth unknown": lambda: grown(np.nan),
    "nothing recorded": list,
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_in_words(name: str, snapshots: Snapshots) -> None:
    snapshots.compare(name, describe(RUNS[name]()))


def computed() -> Record:
    record = make_run()[-1]
    return replace(record, groups=replace(record.groups, p_value=0.0123, stability=(0.99, 0.96)))


#: Records, whose sentence is kept.
RECORDS: dict[str, Callable[[], Record]] = {
    "record, nothing computed": lambda: make_run()[-1],
    "record, p-value and stability computed": computed,
    "record, paired view differs": lambda: replace(make_run()[-1], groups_paired=make_run(PASSING)[4].groups),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_in_words(name: str, snapshots: Snapshots) -> None:
    snapshots.compare(name, describe_record(RECORDS[name]()))


@pytest.mark.parametrize("story", [EMERGENCE, DRIFT, WEAK])
def test_what_was_not_computed_is_said_of_every_record(story) -> None:
    for record in make_run(story)[1:]:
        stability = (
            "" if record.groups.strength == "none" else "; stability not measured"
        )  # of no boundary there is none
        assert f"no p-value computed{stability}." in describe_record(record)


def test_no_groups_are_told_in_two_plain_sentences_whatever_they_were_held_against(snapshots: Snapshots) -> None:
    record = make_run(DRIFT)[-1]
    groups, paired = record.groups, record.groups_paired
    networks = "19 re-initialised networks (reset_parameters)"
    variants = (
        record,
        replace(record, groups=replace(groups, reference=0)),
        replace(record, groups=replace(groups, built_in=(2,))),
        replace(record, groups=replace(groups, sequence_ends=(4,))),
        replace(record, groups_paired=replace(paired, adjacent=np.full(8, np.nan))),
        replace(record, groups_paired=make_run()[-1].groups),
        replace(record, groups=replace(groups, p_value=0.35), null=networks),
        replace(record, null=NO_NULL),
        replace(record, null="none: 4 networks with fresh weights are too few for one (null_samples=19 are enough)"),
        replace(record, null="none: its weights were loaded from 'a/model'"),
    )
    told = [describe(variant) for variant in variants]
    assert len(set(told)) == len(told)
    for said in told:
        assert said.count(". ") == 1
        assert not re.search(r"\([^)]*\(", said)
    snapshots.compare("no groups, in every way", "\n".join(told))


def test_inherited_boundaries_of_several_runs(snapshots: Snapshots) -> None:
    snapshots.compare("inherited boundaries of two runs", "\n".join(inherited_sentences([inherited(), make_run()])))


def test_only_what_is_so_is_said() -> None:
    """The words that a kept file must not pick up when it is renewed."""
    said = {name: describe(make()) for name, make in RUNS.items()}
    assert [name for name in said if "readout collapse" in said[name]] == ["readout collapse"]
    assert [name for name in said if "at the first look already" in said[name]] == ["inherited boundaries"]
    assert [name for name in said if "did not last" in said[name]] == ["groups that did not last"]
    assert "form" not in said["no groups, and what grew"]
    assert "drift" not in said["nothing measured"]
    assert "cannot be said" in said["nothing measured"]
    assert "grew" not in said["nothing grew"] + said["growth unknown"]
    assert "not measured" not in describe_record(computed())


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("-++", "These groups stood at each of the two looks since step 10."),
        ("--+", "They were first seen at this last look."),
        ("+-+", "They are back at this last look, first seen at step 0, and gone in between."),
        ("-+o+", "They are back at this last look, first seen at step 10, and gone in between."),
        (
            "+-++",
            "These groups stood at each of the two looks since step 20; they were first seen at step 0, and gone in "
            "between.",
        ),
    ],
)
def test_since_when_groups_stand_forgets_no_earlier_look(seen: str, said: str) -> None:
    kinds = {"-": ("none", (), ()), "+": ("weak", (3,), (0, 1)), "o": ("weak", (5,), (0, 1))}
    told = describe(make_run([(10 * k, *kinds[sign]) for k, sign in enumerate(seen)]))
    assert said in told
    both = "stood at each" in said and "gone" in said
    assert told.count("first seen") + told.count("stood at each") == (2 if both else 1)


def test_a_contrast_that_has_no_trend_beside_it_is_not_one_that_is_missing() -> None:
    """Records of older versions hold infinite ones."""
    groups = make_run()[-1].groups
    assert contrast_sentence(replace(groups, contrast=np.inf)).startswith("Layers inside groups are identical")
    assert contrast_sentence(replace(groups, contrast=np.nan)).startswith("No boundary was proposed")
    assert contrast_sentence(replace(groups, contrast=2.0)).startswith("The weakest boundary is 2.00 times")


def test_a_stretch_that_was_not_looked_at_is_said_where_groups_are_said_to_have_stood():
    history = make_run()
    steps = [0, 10, 20, 30, 40, 50, 60, 400]
    sparse = [replace(record, step=step) for record, step in zip(history, steps, strict=True)]
    said = " of which none lies between steps 60 and 400"
    assert said in describe(sparse)
    assert said not in describe([replace(record, step=10 * k) for k, record in enumerate(history)])


def test_one_look_by_itself_is_described_like_a_history_of_it():
    last = make_run()[-1]
    assert describe(last) == describe([last])
