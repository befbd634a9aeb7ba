"""Groups: planted ones are found, drift has none, and bad matrices are refused by name."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_gw.groups.finding import Method, find_boundaries, find_groups
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.partition import contrasts
from lightning_gw.groups.roughness import roughness
from lightning_gw.groups.strength import no_stronger_than_stable, why_weak
from lightning_gw.gw.matrix import gw_matrix


def blocks(
    lengths: tuple[int, ...], within: float = 0.2, between: float = 1.0, noise: float = 0.0
) -> NDArray[np.float64]:
    """Distances of layers that sit in blocks."""
    label = np.repeat(np.arange(len(lengths)), lengths)
    distances = np.where(label[:, None] == label[None, :], within, between)
    jitter = np.random.default_rng(0).normal(0, noise, distances.shape)
    distances = np.abs(distances + np.triu(jitter, 1) + np.triu(jitter, 1).T)
    np.fill_diagonal(distances, 0)
    return distances


def drift(count: int) -> NDArray[np.float64]:
    """Distances of layers that move on by equal steps, as on a line that slowly bends."""
    depth = np.arange(count)
    return np.asarray(np.sqrt(np.abs(depth[:, None] - depth[None, :])) / np.sqrt(count))


@pytest.mark.parametrize(
    "lengths", [(2, 4, 3), (4, 3, 2), (1, 5, 2), (5, 1, 3), (3, 2, 4, 6), (2, 3, 5, 2, 7, 4), tuple(range(2, 14))]
)
def test_planted_blocks_are_found(lengths: tuple[int, ...]) -> None:
    groups = find_groups(blocks(lengths, noise=0.02), reference=drift(sum(lengths)))
    assert groups.boundaries == tuple((np.cumsum(lengths)[:-1] - 1).tolist())
    assert groups.strength == "strong"
    assert groups.labels == tuple(np.repeat(np.arange(len(lengths)), lengths).tolist())
    assert groups.count == len(lengths)
    assert groups.contrast > 2.5


@pytest.mark.parametrize("count", [3, 4, 9, 24, 200])
def test_smooth_drift_has_no_groups_although_a_best_cut_exists(count: int) -> None:
    groups = find_groups(drift(count))
    assert groups.strength == "none"
    assert groups.boundaries == ()
    assert groups.labels == (0,) * count
    if count > 3:
        assert groups.proposed


@pytest.mark.parametrize("lengths", [(1, 5), (5, 1), (1, 6, 1)])
def test_single_layers_cut_off_at_the_ends_are_never_strong(lengths: tuple[int, ...]) -> None:
    groups = find_groups(blocks(lengths, noise=0.02), reference=drift(sum(lengths)))
    assert groups.boundaries == tuple((np.cumsum(lengths)[:-1] - 1).tolist())
    assert groups.strength == "weak"
    assert groups.contrast > 2


@pytest.mark.parametrize("ratio", [0.5, 0.7, 1.4, 2.0])
@pytest.mark.parametrize("count", [5, 9, 24])
def test_steps_that_shrink_or_grow_steadily_are_no_groups(ratio: float, count: int) -> None:
    place = np.cumsum([0, *ratio ** np.arange(count - 1)])
    groups = find_groups(np.abs(place[:, None] - place[None, :]))
    assert groups.strength == "none"
    assert groups.proposed


def test_a_boundary_amid_shrinking_steps_is_found() -> None:
    steps = 0.8 ** np.arange(9)
    steps[4] *= 4
    place = np.cumsum([0, *steps])
    assert find_groups(np.abs(place[:, None] - place[None, :])).boundaries == (4,)


def test_contrast_is_the_studentised_residual_of_the_trend() -> None:
    steps = np.array([0.9, 0.5, 0.55, 2.0, 0.4, 0.35, 0.3])
    inside = np.array([0, 1, 2, 4, 5, 6])
    design = np.stack([np.ones(6), inside], axis=1)
    line, *_ = np.linalg.lstsq(design, np.log(steps[inside]), rcond=None)
    new = np.array([1.0, 3.0])
    leverage = new @ np.linalg.inv(design.T @ design) @ new
    expected = np.exp((np.log(2.0) - new @ line) / np.sqrt(1 + leverage))
    found = contrasts(np.stack([steps, 10 * steps]), np.tile(np.arange(len(steps)) == 3, (2, 1)))
    assert found[:, 3] == pytest.approx([expected, expected])


def test_a_false_split_is_taken_back_and_the_true_ones_stay() -> None:
    position = np.cumsum([0, 1, 6, 1, 1, 1, 1, 1, 1, 1, 6, 1])
    groups = find_groups(np.abs(position[:, None] - position[None, :]) / 10.0, reference=drift(12), gamma=0.5)
    assert set(groups.boundaries) == {1, 9}
    assert groups.strength == "strong"


def test_the_cut_is_the_best_of_all_cuts() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        points = generator.normal(size=(7, 2)).cumsum(axis=0)
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        costs = distances**4
        mean = costs[np.triu_indices(7, 1)].mean()

        def modularity(cuts: tuple[int, ...], costs: NDArray[np.float64] = costs, mean: float = mean) -> float:
            edges = [0, *[cut + 1 for cut in cuts], 7]
            return sum(
                sum(mean - costs[i, j] for i, j in itertools.combinations(range(a, b), 2)) / (b - a)
                for a, b in itertools.pairwise(edges)
            )

        every = [cuts for size in range(7) for cuts in itertools.combinations(range(6), size)]
        assert find_groups(distances).proposed == max(every, key=modularity)


def test_scale_does_not_matter() -> None:
    distances = blocks((2, 4, 3), noise=0.05)
    one, other = find_groups(distances), find_groups(1e-3 * distances)
    assert one.boundaries == other.boundaries
    assert one.contrast == pytest.approx(other.contrast)
    assert one.roughness == pytest.approx(other.roughness)


def test_a_degenerate_layer_is_left_out_and_the_rest_stands() -> None:
    whole = find_groups(blocks((2, 4, 3)))
    with_hole = np.insert(np.insert(blocks((2, 4, 3)), 3, np.nan, axis=0), 3, np.nan, axis=1)
    groups = find_groups(with_hole)
    assert groups.labels == (0, 0, 1, -1, 1, 1, 1, 2, 2, 2)
    assert groups.boundaries == (1, 6)
    assert np.isnan(groups.adjacent[2:4]).all()
    assert groups.strength == whole.strength
    assert groups.members() == ((0, 1), (2, 4, 5, 6), (7, 8, 9))


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_layers_cannot_stand_out(count: int) -> None:
    groups = find_groups(1.0 - np.eye(count))
    assert groups.strength == "none"
    assert groups.labels == (0,) * count
    assert len(groups.adjacent) == count - 1


def test_all_distances_equal_has_no_groups_and_always_the_same_answer() -> None:
    first = find_groups(1.0 - np.eye(8))
    assert first.strength == "none"
    assert all(find_groups(1.0 - np.eye(8)).proposed == first.proposed for _ in range(3))


def test_groups_of_identical_layers_are_strong() -> None:
    groups = find_groups(blocks((3, 3, 2), within=0.0))
    assert groups.boundaries == (2, 5)
    assert groups.contrast == 20.0, "against a twentieth of the largest step, as there is no other"
    tiny = blocks((3, 3, 2), within=0.0)
    tiny[:6, 6:] = tiny[6:, :6] = 1.0
    tiny[:3, 3:6] = tiny[3:6, :3] = 0.01
    assert 2 not in find_groups(tiny, gamma=0.1).boundaries


def test_boundaries_are_kept_nowhere_but_where_they_may_be() -> None:
    distances = blocks((2, 4, 3), noise=0.05)
    for method in get_args(Method):
        assert find_groups(distances, method=method, among=(1, 3)).boundaries == (1,)
        assert find_groups(distances, method=method, among=()).strength == "none"
        assert find_groups(distances, method=method, among=range(8)).boundaries == (1, 5)


def test_roughness_sees_jumps_and_not_slow_change() -> None:
    depth = np.arange(12)
    assert roughness(np.exp(0.02 * depth**2 - 0.1 * depth)) == pytest.approx(0, abs=1e-9)
    jump = np.ones(12)
    jump[5] = np.e
    # The residuals of a unit impulse about a quadratic: its own leverage is what the fit explains.
    design = np.vander(depth, 3)
    residual = (jump > 1) - design @ np.linalg.lstsq(design, (jump > 1).astype(float), rcond=None)[0]
    assert roughness(jump) == pytest.approx(residual.std())
    assert np.isnan(roughness([1, 2, np.nan, 3]))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3, 4)), r"square .* got shape \(3, 4\)"),
        (np.array([[0, 1], [2, 0]]), r"entry \(0, 1\) is 1, but \(1, 0\) is 2"),
        (np.array([[0, -1], [-1, 0]]), "negative"),
        (np.array([[0, np.inf], [np.inf, 0]]), "infinite"),
        (np.array([[0, np.nan, 1], [np.nan, 0, 1], [1, 1, 0]]), r"\(0, 1\) is NaN"),
    ],
)
def test_bad_matrices_are_refused(matrix: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_groups(matrix)


def test_a_matrix_between_two_sets_of_layers_has_no_groups_even_where_it_is_square() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [{f"{name}.{k}": torch.randn(6, 3, generator=generator) for k in range(3)} for name in ("bert", "net")]
    with pytest.raises(ValueError, match=r"two sets of layers, 'bert.0', … \(3\) and 'net.0', … \(3\).*find_groups\("):
        find_groups(gw_matrix(*sets, effort="fast"))
    assert find_groups(gw_matrix(sets[0], effort="fast")).count >= 1


def apart() -> NDArray[np.float64]:
    """Three kinds of layers, one of which comes back at the end."""
    kind = np.array([0, 0, 0, 1, 1, 2, 2, 2, 0, 0])
    distances = np.where(kind[:, None] == kind[None, :], 0.2, 1.0)
    np.fill_diagonal(distances, 0)
    return distances


def test_hierarchical_groups_need_not_be_contiguous() -> None:
    groups = find_groups(apart(), reference=drift(10), method="hierarchical")
    assert groups.labels == (0, 0, 0, 1, 1, 2, 2, 2, 0, 0)
    assert groups.boundaries == (2, 4, 7)
    assert groups.count == 3
    assert groups.ranges() == "1–3, 9–10 | 4–5 | 6–8"
    assert groups.strength == "strong"
    contiguous = find_groups(apart())
    assert contiguous.labels == (0, 0, 0, 1, 1, 2, 2, 2, 3, 3)
    assert contiguous.boundaries == groups.boundaries


@pytest.mark.parametrize("lengths", [(2, 4, 3), (1, 5), (2, 3, 5, 2, 7, 4), tuple(range(2, 14))])
def test_where_groups_are_contiguous_both_methods_agree(lengths: tuple[int, ...]) -> None:
    matrix = blocks(lengths, noise=0.02)
    assert find_groups(matrix, method="hierarchical").labels == find_groups(matrix).labels


@pytest.mark.parametrize("count", [3, 9, 24, 200])
def test_hierarchical_groups_of_smooth_drift_do_not_stand_out(count: int) -> None:
    assert find_groups(drift(count), method="hierarchical").strength == "none"


def test_a_known_number_of_groups_is_kept_to() -> None:
    generator = np.random.default_rng(1)
    points = generator.normal(size=(7, 2)).cumsum(axis=0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    costs = distances**4
    mean = costs[np.triu_indices(7, 1)].mean()
    for count in range(1, 8):
        groups = find_groups(distances, count=count)
        assert groups.count == count
        assert find_groups(distances, count=count, method="hierarchical").count == count

        def modularity(cuts: tuple[int, ...]) -> float:
            edges = [0, *[cut + 1 for cut in cuts], 7]
            return sum(
                sum(mean - costs[i, j] for i, j in itertools.combinations(range(a, b), 2)) / (b - a)
                for a, b in itertools.pairwise(edges)
            )

        assert groups.boundaries == max(itertools.combinations(range(6), count - 1), key=modularity)
    # Kept, but no stronger for it: drift cut in three is not three groups.
    assert find_groups(drift(9), count=3).strength == "none"
    assert len(find_groups(drift(9), count=3).boundaries) == 2


def test_more_groups_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="count=4 groups cannot be made of 3 usable layers"):
        find_groups(blocks((1, 2)), count=4)
    with pytest.raises(ValueError, match=r"Unknown method 'kmeans'\. Known: contiguous, hierarchical"):
        find_groups(blocks((1, 2)), method="kmeans")  # type: ignore[arg-type]


def test_weak_groups_say_why() -> None:
    def found(*depth: float) -> Groups:
        even = np.arange(len(depth))
        return find_groups(abs(np.subtract.outer(depth, depth)), abs(np.subtract.outer(even, even)))

    strong = found(0, 1, 2, 7, 8, 9)
    assert strong.strength == "strong"
    assert why_weak(strong) == ""
    assert why_weak(found(0, 1, 2, 3, 4, 5)) == "", "where there are none nothing is weak"
    little = found(0, 1, 2, 3.55, 4.55, 5.55)
    assert little.strength == "weak"
    assert why_weak(little).startswith("the step at their weakest boundary is 1.")
    assert "lead one to expect there, and strong is from 1.8 times on" in why_weak(little)
    entry = found(0, 9, 10, 11, 12, 13)
    assert entry.strength == "weak"
    assert "a single layer at an end" in why_weak(entry)
    shaky = no_stronger_than_stable(replace(strong, stability=(0.4,)))
    assert why_weak(shaky) == "a boundary returned in only 40% of probe resamples"
    alone = find_groups(abs(np.subtract.outer(np.array([0, 1, 2, 7, 8, 9]), np.array([0, 1, 2, 7, 8, 9]))))
    assert why_weak(alone) == "what the architecture does by itself is not known"


def test_boundaries_alone_are_those_of_the_groups() -> None:
    generator = np.random.default_rng(0)
    for count in range(1, 14):
        points = generator.normal(size=(16, count, 3)).cumsum(axis=1)
        distances = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        if count > 4:
            distances[::4, 2, :] = distances[::4, :, 2] = np.nan
        if count > 6:
            distances[1::4, 3:6, 3:6] = 0.0  # identical layers
        for one, ends in zip(distances, find_boundaries(distances), strict=True):
            assert tuple(np.flatnonzero(ends)) == find_groups(one).boundaries
