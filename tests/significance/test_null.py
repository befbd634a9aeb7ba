"""Nulls: what they are made of, what they find, and that a stored one equals a fresh one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from significance_nets import CustomStart, Drift, planted, probe, represent_on, snapshot
from torch import Tensor, nn

from lightning_gw.groups.finding import find_groups
from lightning_gw.groups.roughness import roughness
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.significance import AdjacentSolver, Null, null_of, p_value, reinitialisation_null
from lightning_gw.significance.nulls.p_values import Statistic


def drift_null(samples: int = 8, **options: object) -> Null:
    torch.manual_seed(0)
    return reinitialisation_null(Drift(), represent_on(probe()), samples, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("geometry", ["standardized", "dcor"])
def test_neighbours_alone_come_out_as_in_the_whole_matrix(geometry: str) -> None:
    layers = planted(n=6)  # so few inputs are solved exactly
    found = AdjacentSolver(geometry)(layers)
    whole = gw_matrix(layers, geometry=geometry)
    assert found.matched == pytest.approx(np.diag(whole.distance, 1))
    assert found.paired == pytest.approx(np.diag(whole.identity_distance, 1))
    anchored = AdjacentSolver(geometry, anchor=0.4)(layers).matched
    assert anchored == pytest.approx(np.diag(gw_matrix(layers, geometry=geometry, anchor=0.4).distance, 1))
    assert (anchored >= found.matched - 1e-9).all()
    assert (anchored <= found.paired + 1e-9).all()


def test_beside_a_degenerate_layer_there_is_no_distance() -> None:
    layers = planted()
    layers["layer2"] = torch.zeros_like(layers["layer2"])
    layers["layer6"] = torch.full_like(layers["layer6"], torch.nan)
    found = AdjacentSolver()(layers)
    assert np.flatnonzero(np.isnan(found.matched)).tolist() == [1, 2, 5, 6]
    nothing = AdjacentSolver()({"a": torch.zeros(5, 2), "b": torch.ones(5, 2)})
    assert np.isnan(nothing.matched).all()
    assert AdjacentSolver()({"only": torch.randn(5, 2)}).matched.shape == (0,)


def test_a_null_repeats_and_leaves_the_network_and_the_random_states_alone() -> None:
    module, x = Drift(), probe()
    before, state = snapshot(module), torch.get_rng_state()
    seen = []

    def represent(network: nn.Module) -> Mapping[str, Tensor]:
        seen.append(network)
        torch.rand(3)
        return represent_on(x)(network)

    done: list[tuple[int, int]] = []
    one = reinitialisation_null(module, represent, 4, progress=lambda *counts: done.append(counts))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert module not in seen
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert one.adjacent.shape == one.paired.shape == (4, 5)
    assert one.layers == tuple(f"layer{k}" for k in range(6))
    assert one.kind == "re-initialised"
    assert one.way == "reset_parameters"
    assert len({*one.adjacent[:, 0].tolist()}) == 4
    assert (one.adjacent <= one.paired).all()
    torch.rand(5)  # neither do global random states matter to it
    assert np.array_equal(reinitialisation_null(module, represent, 3).adjacent, one.adjacent[:3])
    assert not np.array_equal(reinitialisation_null(module, represent, 3, seed=1).adjacent, one.adjacent[:3])


def test_planted_groups_are_significant_and_smooth_drift_is_not() -> None:
    represent = represent_on(probe(n=32))
    null = reinitialisation_null(Drift(10), represent, 19)
    torch.manual_seed(123)
    fresh = represent(Drift(10))
    for paired in (False, True):
        groups = null.test(planted(n=32), paired=paired)
        assert groups.value == 1 / 20
        assert groups.observed > 2 * groups.null.max()
        assert null.test(fresh, paired=paired).value > 1 / 20  # type: ignore[operator]
        assert null.p_value(np.exp(0.02 * np.arange(9)), paired=paired).value == 1.0
        assert groups.statistic == "roughness"
        assert groups.reason == ""


def test_the_network_is_measured_as_those_of_the_null_are() -> None:
    null = drift_null(effort="fast", anchor=0.3)
    representations = represent_on(probe())(Drift())
    found = AdjacentSolver(effort="fast", anchor=0.3)(representations)
    assert null.test(representations).observed == pytest.approx(roughness(found.matched))
    assert null.test(representations, paired=True).observed == pytest.approx(roughness(found.paired))
    groups = find_groups(gw_matrix(representations))
    assert null.p_value(groups).observed == pytest.approx(groups.roughness)


def test_roughness_is_that_of_the_groups_and_departure_forgives_the_architecture() -> None:
    generator = np.random.default_rng(0)
    profile = np.array([1.0, 1, 1, 8, 1, 1, 1, 1])  # a steep place that every network of this architecture has
    null = profile * np.exp(generator.normal(0, 0.05, size=(59, 8)))
    assert p_value(null[0], null[1:]).null[7] == pytest.approx(roughness(null[8]))
    learnt = null[0] * np.array([1, 1, 1, 1, 1, 1.6, 1, 1])
    found: dict[Statistic, float | None] = {
        name: p_value(learnt, null[1:], name).value for name in ("roughness", "departure")
    }
    assert found["departure"] == 1 / 59
    assert found["roughness"] is not None
    assert found["roughness"] > 0.2


def test_ties_count_against_significance() -> None:
    flat = np.ones(6)
    assert p_value(flat, np.ones((9, 6))).value == 1.0
    assert p_value(3 * flat, np.ones((9, 6)), "departure").value == 1.0
    rough = np.exp(np.random.default_rng(0).normal(size=6))
    assert p_value(rough, np.stack([rough, 2 * rough, flat, flat])).value == 3 / 5


def test_missing_distances_are_left_out_of_both_and_said() -> None:
    generator = np.random.default_rng(1)
    null, observed = np.exp(generator.normal(size=(19, 8))), np.exp(generator.normal(size=8))
    observed[[2, 5]] = np.nan, 0.0
    kept = [0, 1, 3, 4, 6, 7]
    depths = np.array(kept)
    found = p_value(observed, null)
    holes = null.copy()
    holes[:, [2, 5]] = np.nan
    assert found.null == pytest.approx([roughness(row) for row in holes])
    assert found.observed == pytest.approx(roughness(observed))
    assert "2 of 8 adjacent distances are zero or missing" in found.reason
    null[4, depths[0]] = np.nan
    broken = p_value(observed, null)
    assert np.isinf(broken.null[4])
    assert broken.value >= found.value  # type: ignore[operator]
    assert "1 of 19 networks" in broken.reason


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_layers_have_no_p_value_and_a_reason(depth: int) -> None:
    null = reinitialisation_null(Drift(depth), represent_on(probe()), 2)
    found = null.test(represent_on(probe())(Drift(depth)))
    assert found.value is None
    assert f"so 5 layers, and there are {depth - 1}" in found.reason
    assert np.isnan(found.observed)


def test_a_null_without_a_usable_network_gives_no_p_value() -> None:
    found = p_value(np.ones(6), np.full((3, 6), np.nan))
    assert found.value is None
    assert "none of the 3 networks" in found.reason


def test_time_that_runs_out_keeps_what_was_done_and_says_so() -> None:
    null = drift_null(50, time_limit=0.0)
    assert null.samples == 1
    assert null.asked == 50
    assert null.notes == ("The null has 1 of 50 networks: time ran out after 0 s.",)
    assert null.test(represent_on(probe())(Drift())).value in (0.5, 1.0)


def test_a_stored_null_equals_a_fresh_one_and_grows(tmp_path: Path) -> None:
    fresh = drift_null(6)
    calls = []

    def run(samples: int, **options: object) -> Null:
        module = Drift()

        def represent(network: nn.Module) -> Mapping[str, Tensor]:
            calls.append(network)
            return represent_on(probe())(network)

        calls.clear()
        return reinitialisation_null(module, represent, samples, cache=tmp_path, probe="abc", **options)  # type: ignore[arg-type]

    assert np.array_equal(run(4).adjacent, fresh.adjacent[:4])
    assert len(calls) == 4
    again = run(4)
    assert len(calls) == 1  # made once more, to see that it is the same
    assert np.array_equal(again.adjacent, fresh.adjacent[:4])
    assert np.array_equal(again.paired, fresh.paired[:4])
    assert np.array_equal(run(6).adjacent, fresh.adjacent)
    assert len(calls) == 3
    assert np.array_equal(run(3).adjacent, fresh.adjacent[:3])
    assert len(calls) == 1
    assert len(list(tmp_path.iterdir())) == 1
    run(2, anchor=0.4)
    assert len(calls) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stored_null_that_no_longer_holds_is_made_anew(tmp_path: Path) -> None:
    """The description is the same and yet the networks are not: hyperparameters that change no name and no shape."""
    represent = represent_on(probe())
    reinitialisation_null(CustomStart(steep=4.0), represent, 3, cache=tmp_path)
    other = reinitialisation_null(CustomStart(steep=1.0), represent, 3, cache=tmp_path)
    assert "came out differently now" in other.notes[0]
    assert np.array_equal(other.adjacent, reinitialisation_null(CustomStart(steep=1.0), represent, 3).adjacent)


@pytest.mark.parametrize("damage", ["cut", "swapped", "emptied"])
def test_a_damaged_store_is_said_and_made_anew(tmp_path: Path, damage: str) -> None:
    fresh = drift_null(3, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    if damage == "swapped":
        drift_null(3, cache=tmp_path, anchor=0.5)
        (other,) = set(tmp_path.iterdir()) - {file}
        file.write_bytes(other.read_bytes())
    else:
        file.write_bytes(file.read_bytes()[: 40 if damage == "cut" else 0])
    again = drift_null(3, cache=tmp_path)
    assert "made anew" in again.notes[0]
    assert np.array_equal(again.adjacent, fresh.adjacent)
    assert drift_null(3, cache=tmp_path).notes == ()


def test_a_store_that_cannot_be_written_is_said_and_the_null_stands(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    null = drift_null(2, cache=blocked)
    assert null.samples == 2
    assert any("could not be stored" in note for note in null.notes)


def test_networks_that_the_caller_has_make_a_null_too() -> None:
    networks = [represent_on(probe())(Drift()) for _ in range(3)]
    null = null_of("trained on shuffled labels", networks)
    assert null.kind == "trained on shuffled labels"
    assert null.adjacent == pytest.approx(np.stack([AdjacentSolver()(each).matched for each in networks]))
    with pytest.raises(ValueError, match="No networks that are other"):
        null_of("other", [])
    with pytest.raises(ValueError, match="different layers"):
        null_of("other", [networks[0], {"a": probe()}])


def test_what_cannot_be_tested_is_refused() -> None:
    null = drift_null(1)
    with pytest.raises(ValueError, match=r"layers layer0, layer1.*got a, b"):
        null.test({"a": probe(), "b": probe(1)})
    with pytest.raises(ValueError, match=r"Unknown statistic 'contrast'. Known: roughness, departure"):
        p_value(np.ones(5), np.ones((2, 5)), "contrast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got \(5,\) and \(2, 4\)"):
        p_value(np.ones(5), np.ones((2, 4)))
    with pytest.raises(ValueError, match="samples is 0"):
        drift_null(0)
    with pytest.raises(ValueError, match="anchor is -1"):
        drift_null(1, anchor=-1.0)
    with pytest.raises(ValueError, match="Unknown effort 'much'"):
        drift_null(1, effort="much")
    depths = iter([6, 5])
    changing = lambda network: dict(list(represent_on(probe())(network).items())[: next(depths)])  # noqa: E731
    with pytest.raises(ValueError, match="the same layers of all"):
        reinitialisation_null(Drift(), changing, 2)
