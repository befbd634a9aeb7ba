"""The study of what acting on groups gains: its choices, its plan, its file, and small studies from end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the study needs the extra `tasks`")

from tiny_study import tiny_options, tiny_plan, write_study

from benchmarks.using_groups.__main__ import jobs_of
from benchmarks.using_groups.base import FORCED
from benchmarks.using_groups.fine_tuning import trained_block
from benchmarks.using_groups.job import measure
from benchmarks.using_groups.measurements import FILE, appending, read_rows
from benchmarks.using_groups.networks import untrained_of
from benchmarks.using_groups.plan import ARMS, FROZEN, read_plan
from benchmarks.using_groups.rules import ABOUT_EQUAL, random_block, removed
from lightning_gw.utilities.errors import UsageError

# --- choices -----------------------------------------------------------------------------------------------------

LABELS = [0, 0, 1, 1, 1, 2]
MEASURES = {
    "adjacent": np.array([0.1, 0.2, 0.9, 0.4, 0.3, 0.8]),
    "one_minus_cka": np.array([0.5, 0.1, 0.2, 0.9, 0.9, 0.9]),
    "one_minus_cosine": np.array([0.9, 0.9, 0.9, 0.9, 0.0, 0.1]),
}


@pytest.mark.parametrize(
    ("rule", "count", "chosen"),
    [
        ("interiors", 1, (1,)),
        ("interiors", 3, (1, 3, 4)),
        ("interiors", 4, None),  # layers 0, 2 and 5 are the first of their groups
        ("boundaries", 2, (2, 5)),
        ("boundaries", 3, (2, 3, 5)),  # of the neighbours of boundaries the one that steps furthest
        ("cka", 2, (1, 2)),
        ("cosine", 2, (4, 5)),
    ],
)
def test_which_layers_a_rule_removes(rule: str, count: int, chosen: tuple[int, ...] | None) -> None:
    assert removed(rule, count, LABELS, range(6), MEASURES) == chosen


def test_only_layers_that_can_be_removed_are() -> None:
    assert removed("interiors", 1, LABELS, [0, 3, 4], MEASURES) == (4,)
    assert removed("boundaries", 1, LABELS, [0, 3, 4], MEASURES) == (3,)
    assert removed("boundaries", 1, [0] * 6, range(6), MEASURES) is None
    drawn = [removed("random", 2, LABELS, [0, 3, 4], MEASURES, draw) for draw in range(30)]
    assert set(drawn) == {(0, 3), (0, 4), (3, 4)}
    assert drawn[7] == removed("random", 2, LABELS, [0, 3, 4], MEASURES, 7)
    with pytest.raises(ValueError, match="no rule 'nearest'"):
        removed("nearest", 1, LABELS, range(6), MEASURES)


def test_a_random_block_has_about_as_many_parameters_and_is_another() -> None:
    group = range(3, 6)
    equal = {random_block(group, [10] * 6, seed) for seed in range(50)}
    assert equal == {range(3), range(1, 4), range(2, 5)}
    sizes = [100, 1, 1, 1, 50, 52]
    for seed in range(20):
        block = random_block(range(4, 6), sizes, seed)
        assert abs(sum(sizes[k] for k in block) - 102) <= ABOUT_EQUAL * 102
    # Nothing is near: the nearest three are drawn from.
    assert len({random_block(range(2, 3), [1, 2, 1000], seed) for seed in range(50)}) <= 3
    with pytest.raises(ValueError, match="whole network"):
        random_block(range(6), [10] * 6, 0)


def test_what_each_arm_trains() -> None:
    arms = {arm: trained_block(arm, LABELS, [10] * 6, 3) for arm in ARMS}
    assert arms["group"] == arms["LoRA on the group"] == range(5, 6)
    assert arms["everything"] == range(6)
    assert arms["random block"] == arms["LoRA on a random block"] != arms["group"]
    assert len(arms["random block"]) == 1
    assert all(groups < most for most, groups in FORCED)


# --- the plan ----------------------------------------------------------------------------------------------------


def test_the_shipped_study_has_what_it_promises() -> None:
    plan, whole = read_plan(), read_plan(whole=True)
    assert len(plan.seeds) == 5
    removing = [n for n in plan.networks.values() if n.removal]
    assert {"algebra", "MiniLM", "SmolLM2", "EfficientNet"} <= {n.name for n in removing if n.fine_tuning}
    assert sum(n.freezing is not None for n in plan.networks.values()) == 3
    changed = [name for name in plan.networks if plan.networks[name].settings != whole.networks[name].settings]
    assert changed == ["SmolLM2"]
    # Below twice the level, by all comparisons at once, for the tests of compression: eight of them, five seeds each.
    assert 8 * 2.0 ** (1 - len(plan.seeds) * len(removing)) < 0.05


def test_cases_of_a_network_and_what_is_missing(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, [0, 1])
    network = plan.networks["tiny"]
    cases = network.cases()
    assert cases[0] == "look"
    assert [case for case in cases if case.startswith("removal/random")] == ["removal/random/1/0", "removal/random/8/0"]
    assert len(cases) == 1 + 2 * 5 + len(ARMS) + len(FROZEN)
    row = {"network": "tiny", "seed": 0, "case": "look", "settings": network.settings}
    assert plan.missing([row])["tiny", 0] == cases[1:]
    assert plan.missing([{**row, "settings": "older"}])["tiny", 0] == cases
    rows = [{**row, "case": case, "seed": seed} for case in cases for seed in (0, 1)]
    assert plan.missing(rows) == {}
    assert plan.current([*rows, {**row, "settings": "older"}, {**row, "seed": 5}, {**row, "network": "gone"}]) == rows


def test_what_a_measurement_depends_on_changes_its_settings(tmp_path: Path) -> None:
    def settings(**changes: Any) -> str:
        return tiny_plan(tmp_path, [0], **changes).networks["tiny"].settings

    assert settings() == settings()
    assert settings() != settings(train=4)
    assert settings() != settings(data={"batch_size": 32})
    own = tmp_path / "algebra.yaml"
    own.write_text("model: 1")
    first = settings(config=str(own))
    own.write_text("model: 2")
    assert settings(config=str(own)) != first


def test_an_unknown_option_is_refused_with_near_names(tmp_path: Path) -> None:
    file = write_study(tmp_path, [0], tiny=tiny_options(removals={}))
    with pytest.raises(UsageError, match=r"'tiny' has no option 'removals'.*removal"):
        read_plan(file)


def test_the_largest_network_is_begun_first(tmp_path: Path) -> None:
    small, large = tiny_options(), tiny_options(train=0, pretrained=True)
    plan = read_plan(write_study(tmp_path, [0, 1], small=small, large=large))
    assert [(network.name, seed) for network, seed, _ in jobs_of(plan, [])] == [
        ("large", 0), ("large", 1), ("small", 0), ("small", 1)
    ]  # fmt: skip
    assert [network.name for network, *_ in jobs_of(plan, [], ["small"])] == ["small", "small"]
    with pytest.raises(UsageError, match="no network 'huge'; there are small, large"):
        jobs_of(plan, [], ["huge"])


# --- the file ----------------------------------------------------------------------------------------------------


def test_half_a_line_is_passed_over_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    with appending(tmp_path) as measurements:
        measurements.add({"case": "look", "loss": math.nan})
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"case": "remo')
    assert read_rows(tmp_path) == [{"case": "look", "loss": None}]
    with appending(tmp_path) as measurements:
        assert file.read_bytes() == whole
        measurements.add({"case": "next"})
        with pytest.raises(UsageError, match="Another process is at work"), appending(tmp_path):
            pass
    assert [row["case"] for row in read_rows(tmp_path)] == ["look", "next"]
    assert read_rows(tmp_path / "nowhere") == []


# --- small studies -----------------------------------------------------------------------------------------------


def measured(folder: Path, cases: list[str], **changes: Any) -> dict[str, dict[str, Any]]:
    plan = tiny_plan(folder, [0], **changes)
    rows: list[Any] = []
    measure(plan.networks["tiny"], 0, folder / "out", cases, rows.append)
    assert json.loads(json.dumps(rows, allow_nan=False))
    return {row["case"]: row for row in rows}


def test_layers_are_removed_from_a_trained_network_and_it_heals(tmp_path: Path) -> None:
    rows = measured(tmp_path, ["look", "removal/cosine/1/0", "removal/interiors/8/0"])
    look, one = rows["look"], rows["removal/cosine/1/0"]
    assert len(look["labels"]) == len(look["measures"]["adjacent"]) == 9
    assert look["removable"] == list(range(9))
    assert look["profiles"]["untrained"] == look["profiles"]["start"] != look["profiles"]["end"]
    cosine = look["measures"]["one_minus_cosine"]
    assert one["layers"] == [cosine.index(min(cosine))]
    assert 0.05 < one["share"] < 0.2
    assert one["loss"]["whole"] == look["loss"]
    assert len({one["loss"][when] for when in ("whole", "removed", "healed")}) == 3
    assert "not 8 such layers" in rows["removal/interiors/8/0"]["skipped"]


@pytest.mark.slow
def test_every_case_is_measured_and_the_base_is_the_same_when_read_again(tmp_path: Path) -> None:
    from tiny_study import found_in

    plan = tiny_plan(tmp_path, [0])
    cases = list(plan.networks["tiny"].cases())
    rows = measured(tmp_path, cases)
    assert list(rows) == cases
    # As a killed study does it: what was kept of the network is read, and the rest measured.
    again = measured(tmp_path, cases[1:])
    assert [found_in(again[case]) for case in cases[1:]] == [found_in(rows[case]) for case in cases[1:]]
    frozen = rows["freezing/nothing"]
    assert frozen["frozen"] == {}
    assert frozen["looking"] == 0
    tuned = {arm: rows[f"fine-tuning/{arm}"] for arm in ARMS}
    assert tuned["everything"]["parameters"] > tuned["group"]["parameters"]
    assert tuned["LoRA on the group"]["trained"] == tuned["group"]["trained"] != tuned["random block"]["trained"]
    assert [point["step"] for point in tuned["group"]["curve"]] == [0, 1, 2, 3, 4]
    starts = {json.dumps(row["curve"][0]["loss"]) for row in tuned.values()}
    assert len(starts) == 1


def test_fresh_copies_are_built_in_the_sizes_of_the_network() -> None:
    plan = read_plan()
    make = untrained_of(plan.networks["EfficientNet"])
    assert make is not None
    assert make().model.resolution == plan.networks["EfficientNet"].model["resolution"] != 64
    assert untrained_of(plan.networks["algebra"]) is None
