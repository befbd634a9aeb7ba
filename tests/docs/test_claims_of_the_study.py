"""Verdicts on made-up measurements whose answers are known: groups win, tie, lose, or are too few to be judged."""

from __future__ import annotations

import numpy as np
import pytest
from claims import (
    first_table,
    groups_serve_compression,
    groups_serve_fine_tuning,
    layers_change_abruptly,
    settled_groups_can_be_frozen,
)
from claims.fine_tuning import at_equal_time
from claims.paired import holm, paired, sign_flips
from claims.steps import Profile, smooth_drift, step_at_boundaries
from effects_picture import draw_effects
from study_rows import freezings, looks, removals, tunings

# --- paired tests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "p"),
    [([1, 2, 3, 4, 5], 2 / 32), ([1, 2, 4, 8, -16], 32 / 32), ([0, 0, 0], 1.0), ([1, -1], 1.0), ([3, 2, -1], 4 / 8)],
)
def test_sign_flips_are_exact_for_few_values(values: list[float], p: float) -> None:
    signs = 1 - 2 * np.array(list(np.ndindex(*[2] * len(values))))
    assert np.mean(abs(signs @ values) >= abs(sum(values))) == pytest.approx(p)
    assert sign_flips(np.array(values, dtype=float)) == pytest.approx(p)


def test_many_values_are_drawn_and_never_reach_zero() -> None:
    assert sign_flips(np.ones(20)) == pytest.approx(1e-5, rel=0.5)
    assert sign_flips(np.array([1.0, -1.0] * 10)) == 1.0
    assert np.isnan(sign_flips(np.array([])))


def test_the_effect_is_the_mean_over_networks_and_the_interval_over_seeds() -> None:
    found = paired({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 0.0, ("b", 1): 0.0, ("c", 0): float("nan")})
    assert found.effect.value == pytest.approx(1.0)
    assert (found.better, found.worse, found.equal, found.blocks) == (2, 0, 2, 4)
    # Seeds' means over networks are .5 and 1.5: Student's interval with one degree of freedom.
    assert (found.effect.low, found.effect.high) == pytest.approx((1 - 12.706 * 0.5, 1 + 12.706 * 0.5), rel=1e-3)
    assert found.least == 2**-3
    assert paired({}).blocks == 0


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": float("nan")}) == pytest.approx(
        {"a": 0.04, "b": 0.09, "c": 0.09, "d": 1.0}
    )


# --- compression -------------------------------------------------------------------------------------------------

BASE = {"interiors": 0.02, "boundaries": 0.1, "cka": 0.03, "cosine": 0.03, "random": 0.08}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "found"),
        ({("interiors", "removed"): 0.09}, "found, with a condition: better than random layers after healing only"),
        ({("cka", "removed"): 0.0}, "layers of least CKA change were better to remove"),
        ({("random", when): 0.02 for when in ("removed", "healed")}, "not found"),
        ({("interiors", when): 0.2 for when in ("removed", "healed")}, "not found: random layers were better"),
    ],
    ids=["win", "healing", "cka", "tie", "lose"],
)
def test_compression(changes: dict[tuple[str, str], float], said: str) -> None:
    verdict = groups_serve_compression(removals(lambda rule, when, seed: changes.get((rule, when), BASE[rule])))
    assert said in verdict.found
    if not changes:
        assert verdict.found == "found"
        assert verdict.effect.startswith("+0.060 (+0.060 to +0.060) of accuracy kept")
        assert "nowhere for sure" in " ".join(verdict.evidence)
        assert "In 2 of 10 networks and seeds no groups stood out" in verdict.evidence[-1]
        assert verdict.table[1] == ("one", "1", *(f"{BASE[rule]:.3f} / {BASE[rule]:.3f}" for rule in _rules(verdict)))
    if "CKA" in said:
        assert "to layers of least CKA change before healing" in " ".join(verdict.evidence)


def _rules(verdict: object) -> list[str]:
    return [column.split(",")[0] for column in verdict.table[0][2:]]  # type: ignore[attr-defined]


def test_too_few_seeds_judge_nothing() -> None:
    rows = removals(lambda rule, when, seed: BASE[rule], seeds=2)
    assert groups_serve_compression(rows).found.startswith("not judged: too few")
    assert groups_serve_compression([]).found.startswith("not judged: too few")
    assert groups_serve_fine_tuning([]).found.startswith("not judged: too few")
    assert settled_groups_can_be_frozen([]).found.startswith("not judged: too few")
    assert layers_change_abruptly([], []).found.startswith("not judged: there are too few")


def test_a_rule_that_has_not_enough_layers_is_left_out() -> None:
    rows = removals(lambda rule, when, seed: BASE[rule])
    skipped = [
        {**{k: v for k, v in row.items() if k != "accuracy"}, "skipped": "there are not 3 such layers"}
        if row["case"] == "removal/interiors/3/0"
        else row
        for row in rows
    ]
    verdict = groups_serve_compression(skipped)
    assert verdict.found == "found"
    assert verdict.table[2][2] == "– / –"


# --- fine-tuning -------------------------------------------------------------------------------------------------


def test_a_group_that_is_ahead_in_everything_is_found() -> None:
    verdict = groups_serve_fine_tuning(tunings(lambda arm, seed: 0.9 if "group" in arm else 0.7))
    assert verdict.found == "found"
    assert verdict.effect.startswith("+0.200 (+0.200 to +0.200) of accuracy in full")
    assert "In 2 of 10 networks and seeds" in verdict.evidence[-1]


def test_a_group_that_is_slow_is_not_ahead_at_equal_time() -> None:
    rows = tunings(lambda arm, seed: 0.9 if arm == "group" else 0.7, lambda arm: 4.0 if arm == "group" else 1.0)
    verdict = groups_serve_fine_tuning(rows)
    assert verdict.found == (
        "found, with a condition: in full, at equal steps; behind a random block in full, at equal time"
    )


def test_ties_and_defeats_in_fine_tuning_are_not_found() -> None:
    assert groups_serve_fine_tuning(tunings(lambda arm, seed: 0.8)).found == "not found"
    behind = groups_serve_fine_tuning(tunings(lambda arm, seed: 0.6 if "group" in arm else 0.8))
    assert behind.found == "not found: a random block was better to train"


def test_equal_time_is_the_end_of_the_quicker_one() -> None:
    slow = {"curve": [{"seconds": 0.0, "accuracy": 0.0}, {"seconds": 10.0, "accuracy": 1.0}]}
    quick = {"curve": [{"seconds": 0.0, "accuracy": 0.0}, {"seconds": 4.0, "accuracy": 0.5}]}
    assert at_equal_time(slow, quick) == pytest.approx((0.4, 0.5))


# --- freezing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settled", "random", "said"),
    [
        ((0.9, 7.0), (0.8, 7.0), "found"),
        ((0.9, 7.0), (0.9, 7.0), "found, with a condition: random layers could be frozen as well"),
        ((0.9, 10.0), (0.9, 7.0), "not found: no time was saved for sure"),
        ((0.8, 7.0), (0.8, 7.0), "not found: time was saved, but more than 0.01 of accuracy may be lost"),
    ],
)
def test_freezing(settled: tuple[float, float], random: tuple[float, float], said: str) -> None:
    found = {"settled groups": settled, "random layers": random, "nothing": (0.9, 10.0)}
    verdict = settled_groups_can_be_frozen(freezings(lambda what, seed: found[what]))
    assert verdict.found == said
    if said == "found":
        assert verdict.effect.startswith("30% (30% to 30%) of the time of steps saved")
        assert "Looks took 5.0%" in verdict.evidence[1]


# --- steps -------------------------------------------------------------------------------------------------------

SMOOTH = [0.3, 0.32, 0.34, 0.37, 0.41, 0.46, 0.52, 0.6]
STEPPED = [0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.9, 0.1]


def test_smooth_drift_is_what_a_curve_with_the_probes_noise_is() -> None:
    noise = [0.05] * 8
    random = np.random.default_rng(0)
    shaken = [np.array(SMOOTH) * np.exp(0.05 * random.normal(size=8)) for _ in range(200)]
    values = [smooth_drift(Profile(steps, np.array(noise)), draws=199) for steps in shaken]
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1
    stepped = Profile(np.array(STEPPED), np.array(noise), (2, 6))
    assert smooth_drift(stepped) == 1e-4
    assert step_at_boundaries(stepped) > 5
    assert Profile.made([0.1, None, 0.2, 0.3], noise[:4], ()) is None  # three distances fit any quadratic
    assert Profile.made(STEPPED, None, ()) is None


@pytest.mark.parametrize(
    ("end", "untrained", "said"),
    [
        (STEPPED, SMOOTH, "found"),
        (SMOOTH, SMOOTH, "not found"),
        (STEPPED, STEPPED, "learnt nothing are abrupt as often"),
    ],
)
def test_abrupt_changes(end: list[float], untrained: list[float], said: str) -> None:
    verdict = layers_change_abruptly([], looks(end, untrained))
    assert verdict.found.endswith(said)
    assert (verdict.found == "found") == (said == "found")


# --- what is shown -----------------------------------------------------------------------------------------------


def test_the_first_table_has_version_effect_and_control() -> None:
    verdict = groups_serve_compression(removals(lambda rule, when, seed: BASE[rule]))
    columns, line = list(first_table([verdict]))
    assert columns == ("claim", "of the paper's version", "verdict", "effect (95 % interval)", "held against")
    assert line[1:3] == ("later (2025)", "**found**")
    assert line[4].startswith("as many random layers")


def test_the_picture_has_a_line_for_every_comparison_and_network() -> None:
    verdict = groups_serve_compression(removals(lambda rule, when, seed: BASE[rule]))
    figure = draw_effects(verdict.panels, verdict.better)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["before healing", "after healing"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:3] == ["random layers: all networks", "one", "two"]
    assert len(labels) == 4 * 3
