"""gw_matrix: invariants that hold for every input, and answers that are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gw.gw import GWMatrix, gw_coupling, gw_matrix
from lightning_gw.gw.moves import BatchedMoves, CompiledMoves
from lightning_gw.gw.search import SearchMatrices
from lightning_gw.gw.starts import invert
from lightning_gw.spaces import make_spaces

GEOMETRIES = ["standardized", "euclidean", "dcor", "cka", "cosine", "sqeuclidean", "rbf"]


def layers(n: int = 40, count: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """A drift through random tanh layers of differing width."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    out = {"layer.0": x}
    for k in range(1, count):
        width = 8 + 4 * k
        x = torch.tanh(x @ torch.randn(x.shape[1], width, generator=generator) / 2)
        out[f"layer.{k}"] = x
    return out


@pytest.fixture(params=["compiled", "batched torch"])
def moves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every invariant holds on both machineries."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr("lightning_gw.gw.pairs.choose_moves", BatchedMoves)
    return str(request.param)


@pytest.fixture(params=GEOMETRIES)
def result(request: pytest.FixtureRequest, moves: str) -> GWMatrix:
    return gw_matrix(layers(), geometry=request.param)


def test_values_lie_between_bound_and_identity(result: GWMatrix) -> None:
    assert (result.distortion <= result.identity).all()
    assert (result.lower <= result.distortion).all()
    assert (result.lower >= 0).all()
    assert (result.lower[~np.eye(4, dtype=bool)] > 0).all()
    assert result.converged.all()


def test_matrices_are_symmetric_with_zero_diagonal(result: GWMatrix) -> None:
    for values in (result.distortion, result.lower, result.identity):
        np.testing.assert_array_equal(values, values.T)
        np.testing.assert_array_equal(values.diagonal(), 0)


def test_couplings_are_permutations_inverse_across_the_diagonal(result: GWMatrix) -> None:
    couplings = torch.from_numpy(result.couplings)
    assert (couplings.sort(dim=-1).values == torch.arange(40)).all()
    assert (invert(couplings) == couplings.transpose(0, 1)).all()


def test_a_geometry_of_unit_scale_has_similarities_up_to_one(result: GWMatrix) -> None:
    if result.geometry == "euclidean":
        with pytest.raises(ValueError, match="no unit scale"):
            _ = result.similarity
    else:
        assert (result.similarity >= result.identity_similarity).all()
        assert (result.similarity <= result.similarity_bound).all()
        assert (result.similarity <= 1).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("moves")
def test_a_relabelled_layer_has_distance_zero_and_its_permutation_is_recovered(geometry: str, seed: int) -> None:
    x = layers(n=60, seed=seed)["layer.2"]
    scrambled = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    result = gw_matrix({"here": x, "relabelled": x[scrambled]}, geometry=geometry)
    assert result.distortion[0, 1] == pytest.approx(0, abs=1e-12)
    # Input k of "here" is matched to the place that the relabelling put it in.
    np.testing.assert_array_equal(scrambled.numpy()[result.couplings[0, 1]], np.arange(60))


def test_equal_layers_give_exactly_zero() -> None:
    x = layers()["layer.1"]
    result = gw_matrix({"one": x, "same": x.clone(), "scaled and turned": 3 * x.flip(1)})
    np.testing.assert_allclose(result.distortion, 0, atol=1e-12)
    assert result.distortion[0, 1] == 0


def test_relabelling_all_layers_alike_leaves_every_value() -> None:
    reps = layers(n=50)
    scrambled = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    one = gw_matrix(reps, effort="high")
    other = gw_matrix({name: x[scrambled] for name, x in reps.items()}, effort="high")
    np.testing.assert_allclose(one.identity, other.identity, atol=1e-12)
    np.testing.assert_allclose(one.lower, other.lower, atol=1e-9)
    np.testing.assert_allclose(one.distortion, other.distortion, rtol=0.05, atol=1e-9)


def test_warm_start_never_loses_to_the_start_it_was_given() -> None:
    cold = gw_matrix(layers())
    warm = gw_matrix(layers(), warm_start=cold)
    assert (warm.distortion <= cold.distortion + 1e-12).all()


def test_a_warm_start_of_layers_that_moved_on_is_no_worse_than_a_cold_one() -> None:
    before, now = layers(n=64), layers(n=64, seed=1)
    cold = gw_matrix(now)
    warm = gw_matrix(now, warm_start=gw_matrix(before))
    off = np.triu_indices(4, 1)
    assert (warm.distortion[off] / cold.distortion[off]).mean() < 1.03


def test_a_warm_start_that_lacks_a_layer_searches_it_from_cold() -> None:
    reps = layers()
    part = gw_matrix({name: x for name, x in reps.items() if name != "layer.2"})
    warm = gw_matrix(reps, warm_start=part)
    assert (torch.from_numpy(warm.couplings).sort(dim=-1).values == torch.arange(40)).all()
    np.testing.assert_allclose(warm.distortion, gw_matrix(reps).distortion, rtol=0.05)


def test_warm_start_of_other_size_is_refused() -> None:
    with pytest.raises(ValueError, match="40 inputs, but the representations have 30"):
        gw_matrix(layers(n=30), warm_start=gw_matrix(layers(), effort="fast"))


def test_same_seed_same_result_and_no_global_randomness() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, other = gw_matrix(layers(), seed=5), gw_matrix(layers(), seed=5)
    np.testing.assert_array_equal(one.couplings, other.couplings)
    np.testing.assert_array_equal(one.distortion, other.distortion)
    assert torch.equal(torch.get_rng_state(), before)


def test_result_does_not_depend_on_how_pairs_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gw.gw.pairs.choose_moves", BatchedMoves)
    together = gw_matrix(layers(n=64))
    monkeypatch.setattr("lightning_gw.gw.moves.chunk_size", lambda *_: 1)
    single = gw_matrix(layers(n=64))
    assert single.solver == "batched torch"
    np.testing.assert_array_equal(together.couplings, single.couplings)
    np.testing.assert_array_equal(together.distortion, single.distortion)


def test_result_does_not_depend_on_threads() -> None:
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(gw_matrix(layers(n=64)))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(results[0].couplings, results[1].couplings)
    np.testing.assert_array_equal(results[0].distortion, results[1].distortion)


@pytest.mark.parametrize("geometry", ["standardized", "dcor"])
def test_both_machineries_climb_the_same_objective(geometry: str) -> None:
    pytest.importorskip("numba")
    matrices = make_spaces(layers(n=33), geometry).matrices
    search = SearchMatrices.of(matrices)
    batched, compiled = BatchedMoves(search, anchor=0.3), CompiledMoves(search, anchor=0.3)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    generator = torch.Generator().manual_seed(0)
    starts = torch.stack([torch.randperm(33, generator=generator) for _ in range(6)]).view(2, 3, 33)
    torch.testing.assert_close(
        batched.values(first, second, starts), compiled.values(first, second, starts), rtol=1e-5, atol=1e-2
    )
    for moves in (batched, compiled):
        found, converged = moves.descend(first, second, starts, 1000)
        assert converged.all()
        assert (moves.values(first, second, found) > moves.values(first, second, starts)).all()
        # Where the one has nothing left to gain, neither has the other.
        again, _ = (compiled if moves is batched else batched).descend(first, second, found, 1000)
        torch.testing.assert_close(
            batched.values(first, second, again), batched.values(first, second, found), rtol=1e-5, atol=1e-2
        )


def test_standardized_and_euclidean_convert_exactly_into_each_other() -> None:
    standardized = gw_matrix(layers())
    euclidean = standardized.to("euclidean")
    direct = gw_matrix(layers(), geometry="euclidean")
    np.testing.assert_allclose(euclidean.identity, direct.identity, atol=1e-12)
    for pair in ((0, 1), (1, 3)):
        matrices = [_mean_scaled(layers()[f"layer.{k}"]) for k in pair]
        p = standardized.couplings[pair]
        by_hand = ((matrices[0] - matrices[1][p][:, p]) ** 2).mean()
        assert euclidean.distortion[pair] == pytest.approx(by_hand, abs=1e-10)
    back = euclidean.to("standardized")
    np.testing.assert_allclose(back.distortion, standardized.distortion, atol=1e-9)
    assert (euclidean.lower <= euclidean.distortion).all()
    with pytest.raises(ValueError, match="cannot be read as 'cka'"):
        standardized.to("cka")


def _mean_scaled(x: Tensor) -> np.ndarray:
    distances = torch.cdist(x.double(), x.double()).numpy()
    return np.asarray(distances / distances.mean())


def test_never_above_what_pot_reaches() -> None:
    reps = layers(n=48)
    ours = gw_matrix(reps, geometry="euclidean")
    matrices = [_mean_scaled(x) for x in reps.values()]
    import ot

    for i in range(4):
        for j in range(i):
            for start in (None, np.eye(48) / 48):
                theirs = ot.gromov.gromov_wasserstein2(matrices[i], matrices[j], G0=start)
                assert ours.distortion[i, j] <= theirs + 1e-9


@pytest.mark.parametrize("anchor", [0.0, 0.4])
def test_tight_bounds_are_higher_and_still_below_every_value(anchor: float) -> None:
    seen: list[tuple[int, int]] = []
    reps = layers(n=16, count=3)
    tight = gw_matrix(reps, bounds="tight", anchor=anchor, progress=lambda done, total: seen.append((done, total)))
    fast = gw_matrix(reps, anchor=anchor)
    between = ~np.eye(3, dtype=bool)
    assert (tight.lower >= fast.lower).all()
    assert (tight.lower[between] > fast.lower[between]).any()
    assert (tight.lower <= gw_matrix(reps, effort="high", anchor=anchor).distortion).all()
    assert seen[-1][0] == seen[-1][1]


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    gw_matrix(layers(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.usefixtures("moves")
class TestAnchor:
    def test_no_anchor_is_pure_gw_and_a_heavy_one_the_paired_measure(self) -> None:
        pure, unanchored = gw_matrix(layers()), gw_matrix(layers(), anchor=0.0)
        np.testing.assert_array_equal(pure.distortion, unanchored.distortion)
        heavy = gw_matrix(layers(), anchor=1e3)
        np.testing.assert_array_equal(heavy.distortion, heavy.identity)
        np.testing.assert_array_equal(heavy.moved, 0)

    def test_value_is_distortion_plus_the_share_moved_and_lies_between_bound_and_identity(self) -> None:
        anchored = gw_matrix(layers(), anchor=0.4)
        spaces = make_spaces(layers(), "standardized").matrices.numpy()
        for i, j in [(0, 1), (0, 3), (2, 3)]:
            p = anchored.couplings[i, j]
            by_hand = ((spaces[i] - spaces[j][p][:, p]) ** 2).mean() + 0.4 * (p != np.arange(40)).mean()
            assert anchored.distortion[i, j] == pytest.approx(by_hand, abs=1e-12)
        assert (anchored.lower <= anchored.distortion).all()
        assert (anchored.distortion <= anchored.identity).all()

    def test_a_heavier_anchor_moves_fewer_inputs_and_never_lowers_the_optimum(self) -> None:
        generator = torch.Generator().manual_seed(0)
        reps = [torch.randn(7, width, generator=generator) for width in (2, 3, 4, 5)]  # 7 inputs: exact
        series = [gw_matrix(reps, anchor=anchor) for anchor in (0.0, 0.1, 0.4, 1.6)]
        for lighter, heavier in pairwise(series):
            assert (heavier.distortion >= lighter.distortion - 1e-12).all()
            assert (heavier.moved <= lighter.moved + 1e-12).all()

    def test_it_is_not_converted_between_geometries(self) -> None:
        with pytest.raises(ValueError, match=r"anchored \(anchor=0.4\)"):
            gw_matrix(layers(), anchor=0.4).to("euclidean")

    @pytest.mark.parametrize("anchor", [-0.1, float("nan"), float("inf")])
    def test_impossible_anchors_are_refused(self, anchor: float) -> None:
        with pytest.raises(ValueError, match="anchor is"):
            gw_matrix(layers(), anchor=anchor)


class TestBadInput:
    def test_broken_layers_are_named_and_the_rest_stands(self) -> None:
        reps = layers()
        whole = gw_matrix(reps)
        reps["nan"] = torch.full((40, 3), float("nan"))
        reps["dead"] = torch.ones(40, 5)
        reps["half"] = reps["layer.0"].clone()
        reps["half"][3, 2] = float("inf")
        result = gw_matrix(reps)
        assert set(result.degenerate) == {"nan", "dead", "half"}
        assert "40 of its 40 inputs" in result.degenerate["nan"]
        assert "constant" in result.degenerate["dead"]
        assert "1 of its 40 inputs" in result.degenerate["half"]
        assert np.isnan(result.distortion[4:]).all()
        assert np.isnan(result.distortion[:, 4:]).all()
        np.testing.assert_array_equal(result.distortion[:4, :4], whole.distortion)

    def test_equidistant_inputs_have_no_centred_scale(self) -> None:
        result = gw_matrix({"simplex": torch.eye(8), "spread": torch.randn(8, 3), "other": torch.randn(8, 2)})
        assert "equally far apart" in result.degenerate["simplex"]
        assert not np.isnan(gw_matrix([torch.eye(8), torch.randn(8, 3)], geometry="euclidean").distortion).any()

    def test_all_layers_broken(self) -> None:
        result = gw_matrix({"a": torch.ones(5, 2), "b": torch.ones(5, 2)})
        assert np.isnan(result.distortion).all()

    def test_duplicated_inputs_still_give_permutations(self) -> None:
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
        y = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
        couplings = torch.from_numpy(gw_matrix({"x": x, "y": y}).couplings)
        assert (couplings.sort(dim=-1).values == torch.arange(24)).all()

    @pytest.mark.parametrize(
        ("reps", "error", "message"),
        [
            ({}, ValueError, "No representations"),
            ({"a": torch.ones(3, 2)}, ValueError, "3 inputs are too few"),
            ({"a": torch.ones(8, 2, 2)}, ValueError, r"'a' has shape \(8, 2, 2\)"),
            ({"a": torch.randn(8, 2), "b": torch.randn(9, 2)}, ValueError, "'a': 8, 'b': 9"),
            ({"a": torch.randn(8, 2).to(torch.complex64)}, TypeError, "complex64"),
        ],
    )
    def test_unusable_input_is_refused(self, reps: dict[str, Tensor], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            gw_matrix(reps)

    def test_unknown_options_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'eucldean'. Known: euclidean"):
            gw_matrix(layers(), geometry="eucldean")
        with pytest.raises(ValueError, match=r"'best'. Known: fast"):
            gw_matrix(layers(), effort="best")  # type: ignore[arg-type]

    def test_half_precision_integers_and_strides_are_fine(self) -> None:
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
        result = gw_matrix({"half": x.half(), "brain": x.bfloat16(), "int": (8 * x).int(), "view": x[:, ::2]})
        assert not result.degenerate
        assert result.distortion[0, 1] < 0.01

    def test_one_layer_has_a_matrix_of_one(self) -> None:
        assert gw_matrix({"only": torch.randn(8, 2)}).distortion.tolist() == [[0.0]]


class TestGeneral:
    @pytest.mark.parametrize(("n", "m"), [(6, 3), (8, 2), (12, 4)])
    def test_simplices_of_different_size(self, n: int, m: int) -> None:
        found = gw_coupling(1 - np.eye(n), 1 - np.eye(m), geometry="precomputed")
        assert found.distortion == pytest.approx(1 / m - 1 / n, abs=1e-9)
        np.testing.assert_allclose(found.coupling.sum(axis=1), 1 / n)
        np.testing.assert_allclose(found.coupling.sum(axis=0), 1 / m)

    def test_distance_to_a_point_is_the_size_of_the_space(self) -> None:
        generator = np.random.default_rng(0)
        x = generator.normal(size=(7, 3))
        distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
        weights = generator.dirichlet(np.ones(7))
        found = gw_coupling(distances, np.zeros((1, 1)), a=weights, geometry="precomputed")
        assert found.distortion == pytest.approx(weights @ distances**2 @ weights)

    def test_equal_sizes_agree_with_the_matrix(self) -> None:
        reps = layers(n=24)
        matrix = gw_matrix(reps, geometry="euclidean")
        found = gw_coupling(reps["layer.0"], reps["layer.3"])
        assert found.distortion <= matrix.distortion[0, 3] * (1 + 1e-9)
        assert found.distortion >= matrix.lower[0, 3]

    def test_splitting_an_input_in_two_halves_changes_nothing(self) -> None:
        x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
        doubled = torch.cat([x, x[:1]])
        weights = np.full(10, 1 / 9)
        weights[[0, 9]] = 1 / 18
        assert gw_coupling(x, doubled, b=weights).distortion == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (np.ones(5), "add up to 5"),
            (np.full(4, 0.25), r"expected \(5,\)"),
            (np.array([1.5, -0.5, 0, 0, 0]), "not negative"),
        ],
    )
    def test_unusable_weights_are_refused(self, weights: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            gw_coupling(torch.randn(5, 2), torch.randn(4, 2), a=weights)

    def test_a_broken_side_is_named(self) -> None:
        with pytest.raises(ValueError, match="y cannot be compared: it is constant"):
            gw_coupling(torch.randn(5, 2), torch.ones(4, 2))
