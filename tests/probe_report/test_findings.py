"""What settings and draws find on planted representations, whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from snapshots import Snapshots
from torch import Tensor

from lightning_gw.activations.reading.capture import Activations
from lightning_gw.activations.reading.pooling import pool
from lightning_gw.probe_report import (
    ProbeLook,
    ProbeReport,
    ProbeSetting,
    SettingFindings,
    answer,
    draw_probe_report,
    probe_report,
    settings_around,
)
from lightning_gw.probe_report.picture import colours
from lightning_gw.probe_report.words import cells

LAYERS = 8
BOUNDARY = 3
OWN = ProbeSetting(size=24, pooling="mean")


def data(inputs: int = 200) -> list[Tensor]:
    """``(inputs, t, d)`` outputs of every layer: tokens 1 and 2 change arrangement once, token 0 drifts."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    blocks = normal(inputs, 12), normal(inputs, 12)
    first = normal(inputs, 12)
    outputs = []
    for layer in range(LAYERS):
        first = 0.97 * first + 0.24 * normal(inputs, 12)
        rest = blocks[layer > BOUNDARY] + 0.25 * normal(inputs, 12)
        outputs.append(torch.stack([first, 5 * rest, 5 * rest], dim=1))
    return outputs


def drawn(setting: ProbeSetting, total: int) -> list[int]:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(setting.draw)).tolist()
    assert setting.size is not None
    if setting.size > total:
        raise ValueError(f"{setting.size} inputs are more than the {total} there are")
    return order[: setting.size]


def looking_at(outputs: list[Tensor]) -> Callable[[ProbeSetting], Mapping[str, Tensor]]:
    def represent(setting: ProbeSetting) -> Mapping[str, Tensor]:
        rows = drawn(setting, len(outputs[0]))
        return {f"l.{i}": pool(x[rows], None, setting.pooling, layer=str(i)) for i, x in enumerate(outputs)}

    return represent


def test_mean_pooling_shows_what_the_first_token_cannot(snapshots: Snapshots) -> None:
    report = probe_report(looking_at(data()), [OWN, replace(OWN, pooling="first")], draws=2, resamples=20)
    own, first = report.settings
    assert {look.boundaries for look in own.looks} == {(BOUNDARY,)}
    assert own.usual() == ("1–4 | 5–8", 2)
    assert own.share(BOUNDARY) == 1
    assert own.repeat == own.agreement == 1
    assert first.usual() == ("none", 2)
    assert first.agreement == 0
    assert first.share(BOUNDARY) == 0
    assert cells(own, (BOUNDARY,))[8] == "4: 100%"
    assert cells(first, ())[8] == "none", "a run without boundaries has none that another setting could find"
    assert answer(report).startswith("Yes")
    snapshots.compare("pooling decides", answer(report))


def test_what_cannot_be_looked_through_says_why_and_the_rest_stands(snapshots: Snapshots) -> None:
    settings = [OWN, replace(OWN, size=999), replace(OWN, without="nothing*"), replace(OWN, without="l.[0-6]")]
    report = probe_report(looking_at(data()), [*settings, replace(OWN, without="l.0")], draws=2, resamples=0)
    assert [bool(found.why) for found in report.settings] == [False, True, True, True, False]
    why = [f"{found.label}: {found.why}" for found in report.settings if found.why]
    snapshots.compare("settings that fail", "\n".join([*why, answer(report)]))
    last = report.settings[4]
    assert last.looks[0].labels == (-1, 0, 0, 0, 1, 1, 1, 1), "told in the places of the run's layers"
    assert last.looks[0].boundaries == (BOUNDARY,)
    assert last.usual()[0] == "2–4 | 5–8"
    assert last.agreement == 1, "layers that are left out have no part in it"
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [row["label"] for row in plain["settings"]] == [found.label for found in report.settings]
    assert plain["settings"][0]["boundary_share"] == [0, 0, 0, 1, 0, 0, 0]
    assert plain["settings"][1]["looks"] == []
    drawn = [patch.get_gid() for patch in draw_probe_report(report).axes[0].patches]
    assert drawn.count("left-out") == 2
    assert drawn.count("group-0") == 2 * 4 + 2 * 3
    assert drawn.count("group-1") == 4 * 4


def test_errors_of_the_own_setting_and_interruptions_pass() -> None:
    with pytest.raises(ValueError, match="999 inputs are more"):
        probe_report(looking_at(data()), [replace(OWN, size=999)])

    def interrupted(setting: ProbeSetting) -> Mapping[str, Tensor]:
        if setting.pooling == "first":
            raise KeyboardInterrupt
        return looking_at(data())(setting)

    with pytest.raises(KeyboardInterrupt):
        probe_report(interrupted, [OWN, replace(OWN, pooling="first")], draws=1, resamples=0)
    with pytest.raises(ValueError, match="No settings"):
        probe_report(looking_at(data()), [])
    with pytest.raises(ValueError, match="draws=0"):
        probe_report(looking_at(data()), [OWN], draws=0)


def test_a_draw_that_fails_costs_that_draw() -> None:
    def represent(setting: ProbeSetting) -> Activations:
        if setting.draw == 1 and setting.size == 20:
            raise RuntimeError("no such inputs")
        return Activations(dict(looking_at(data())(setting)), ("Something to know.",))

    steps: list[tuple[int, int, str]] = []
    settings = [OWN, replace(OWN, size=20)]
    report = probe_report(
        represent,
        settings,
        draws=3,
        resamples=0,
        progress=lambda *said: steps.append(said),  # type: ignore[misc]
    )
    assert report.own.notes == ("Something to know.",)
    other = report.settings[1]
    assert [look.draw for look in other.looks] == [0, 2]
    assert "Draw 1 failed: RuntimeError: no such inputs" in other.notes
    assert other.why == ""
    assert [done for done, _, _ in steps] == list(range(7))
    assert steps[3] == (3, 6, "20 inputs")


def test_draws_are_held_against_the_same_draw_of_the_run(snapshots: Snapshots) -> None:
    outputs = data()
    flat = [outputs[0]] * LAYERS

    def represent(setting: ProbeSetting) -> Mapping[str, Tensor]:
        rows = drawn(setting, 200)
        seen = outputs if setting.draw == 0 else flat  # what there is to see depends on the draw alone
        noise = torch.Generator().manual_seed(1)
        return {
            f"l.{i}": x[rows].mean(dim=1) + 0.5 * torch.randn(len(rows), 12, generator=noise, dtype=torch.float64)
            for i, x in enumerate(seen)
        }

    report = probe_report(represent, [OWN, replace(OWN, size=32)], draws=2, resamples=0)
    for found in report.settings:
        assert [look.ranges for look in found.looks] == ["1–4 | 5–8", "none"]
        assert found.agreement == 1
        assert found.repeat == 0
    snapshots.compare("draws decide", answer(report))
    assert report.enough_inputs() is None


@pytest.mark.parametrize(("total", "size"), [(40, 24), (24, 24), (200, 24)])
def test_inputs_that_draws_share_are_counted(total: int, size: int) -> None:
    setting, plain = replace(OWN, size=size), looking_at(data(total))

    def represent(setting: ProbeSetting) -> Mapping[str, Tensor]:
        classes = torch.tensor(drawn(setting, total)) % 2  # a layer that tells classes apart and no inputs
        return {**plain(setting), "classes": torch.eye(2)[classes]}

    report = probe_report(represent, [setting], draws=2, resamples=0)
    rows = [set(drawn(replace(setting, draw=draw), total)) for draw in (0, 1)]
    assert report.own.shared == pytest.approx(len(rows[0] & rows[1]) / size)


def look(labels: str, draw: int = 0, inputs: int = 32) -> ProbeLook:
    numbers = tuple(int(label) for label in labels)
    boundaries = tuple(k for k in range(len(numbers) - 1) if numbers[k] != numbers[k + 1])
    return ProbeLook(draw, inputs, numbers, boundaries, labels, "strong" if boundaries else "none", 2.0, 1.0, 0.1)


def report_on_sizes(found: Mapping[int, tuple[str, ...]], shared: Mapping[int, float]) -> ProbeReport:
    rows = [
        SettingFindings(
            ProbeSetting(size=size),
            f"{size} inputs",
            tuple(look(labels, draw, size) for draw, labels in enumerate(draws)),
            agreement=1.0,
            repeat=1.0,
            shared=shared.get(size, 0.1),
        )
        for size, draws in found.items()
    ]
    return ProbeReport(tuple("abcd"), tuple(rows), 2)


@pytest.mark.parametrize(
    ("name", "found", "shared", "enough"),
    [
        ("from the second size on", {32: ("0011", "0111"), 64: ("0011",) * 2, 128: ("0011",) * 2}, {}, 64),
        ("only at the largest", {32: ("0011",) * 2, 64: ("0011", "0111"), 128: ("0011",) * 2}, {}, 128),
        ("other groups at the smallest", {32: ("0011",) * 2, 64: ("0111",) * 2, 128: ("0111",) * 2}, {}, 64),
        ("no size is enough", {32: ("0011",) * 2, 64: ("0111", "0001")}, {}, None),
        ("sizes out of order", {64: ("0011",) * 2, 32: ("0011",) * 2}, {}, 32),
        ("one size does not count", {32: ("0011", "0111"), 64: ("0011",) * 2}, {64: 1.0}, None),
        ("draws share most inputs", {32: ("0011",) * 2, 64: ("0011",) * 2}, {64: 0.8}, 32),
        ("draws share all inputs", {32: ("0011",) * 2, 64: ("0011",) * 2}, {32: 1.0, 64: 1.0}, None),
        ("one draw", {32: ("0011",), 64: ("0011",)}, {}, None),
    ],
)
def test_how_many_inputs_are_enough(
    name: str,
    found: Mapping[int, tuple[str, ...]],
    shared: Mapping[int, float],
    enough: int | None,
    snapshots: Snapshots,
) -> None:
    report = report_on_sizes(found, shared)
    assert report.enough_inputs() == enough
    assert (f"{enough} inputs" in answer(report)) == (enough is not None)
    snapshots.compare(f"enough inputs {name}", answer(report))


def test_draws_that_differ_from_the_run_are_counted_where_most_do_not(snapshots: Snapshots) -> None:
    rows = report_on_sizes({32: ("0011",) * 3, 64: ("0011", "0111", "0011")}, {}).settings
    report = ProbeReport(tuple("abcd"), (rows[0], replace(rows[1], agreement=0.7)), 3)
    assert "“32 inputs”" not in answer(report)
    snapshots.compare("one draw differs", answer(report))


def test_settings_differ_from_the_run_in_one_thing_and_appear_once() -> None:
    own = ProbeSetting(None, "auto", None)
    settings = settings_around(own, 96, [64, 96, 32], ["auto", "mean", "last", "last"], [None, 1], ["a.*"])
    assert [setting.label(own) for setting in settings] == [
        "as the run",
        "32 inputs",
        "64 inputs",
        "pooling last",
        "balanced over 1",
        "without a.*",
        "without dominant inputs",
        "cosine",
    ]
    differs = [("size",), ("size",), ("pooling",), ("balance",), ("layers",), ("inputs",), ("distances",)]
    assert [setting.differs(own) for setting in settings[1:]] == differs
    labels = [s.label(own) for s in settings_around(own, 96, [], ["mean", "scaled"], auto="scaled")]
    assert labels == ["as the run", "pooling mean", "without dominant inputs", "cosine"], "auto is scaled here"


def test_a_setting_leaves_out_far_inputs_and_scales_what_is_left() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x[[7, 30]] *= 50
    seen = ProbeSetting(dominant=False, cosine=True).applied({"a": x, "b": 2 * x})
    kept = torch.tensor([k for k in range(40) if k not in (7, 30)])
    torch.testing.assert_close(seen["a"], x[kept] / x[kept].norm(dim=1, keepdim=True))
    torch.testing.assert_close(seen["a"], seen["b"])


def test_a_group_takes_the_colour_of_the_runs_group_that_it_shares_most_with() -> None:
    own = look("000111")
    assert colours(look("001111"), own) == [0, 1]
    assert colours(look("011122"), own)[1:] != [0, 0]
    assert colours(look("001122"), own) in ([0, 2, 1], [0, 1, 2])
    assert colours(look("000000"), own) == [0]
