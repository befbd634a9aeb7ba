"""Pictures of a comparison hold its numbers: bars are shares, squares are means, grey is chance, dots are partners."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from synthetic_comparison import make_task_comparison
from synthetic_runs import make_run

from lightning_gw.figures import draw_comparison
from lightning_gw.figures.comparisons.boundaries import draw_boundaries
from lightning_gw.figures.comparisons.contrasts import EFFECT_COLORMAP, LEVEL, draw_contrasts, effect_limit, ink_on
from lightning_gw.figures.comparisons.correspondence import draw_correspondence
from lightning_gw.figures.comparisons.mean_matrices import draw_mean_matrices, spread_limit
from lightning_gw.figures.style import NO_EVIDENCE, effect_text, estimate_text, p_text, wrapped
from lightning_gw.statistics.correspondence import Correspondence
from lightning_gw.statistics.results import Estimate

NAN = float("nan")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def comparison():
    return make_task_comparison(3, 4, 7)


def gids(axes, gid):
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def texts(figure):
    return [artist for artist in figure.findobj(Text) if artist.get_text().strip()]


def all_text(figure):
    return " ".join(artist.get_text() for artist in texts(figure))


def make_correspondence(rows=4, columns=5, best=(0, 1, 1, -1)) -> Correspondence:
    similarity = np.linspace(0.1, 0.9, rows * columns).reshape(rows, columns)
    similarity[-1] = NAN
    return Correspondence(
        layers=tuple(f"a.{i}" for i in range(rows)),
        other_layers=tuple(f"b.{i}" for i in range(columns)),
        similarity=similarity,
        paired=None,
        best=best,
        margin=np.full(rows, 0.1),
        paired_best=(),
        order=0.87,
        returned=tuple(int(partner >= 0) for partner in best),
        runs=3,
    )


def test_bars_are_the_shares_of_runs_with_a_boundary(comparison):
    figure = draw_boundaries(comparison, [1, 4])
    assert len(figure.axes) == len(comparison.strategies)
    for axes, summary in zip(figure.axes, comparison.strategies, strict=True):
        heights = [bar.get_height() for bar in gids(axes, "share")]
        counted = [np.mean([gap in run.boundaries for run in summary.findings]) for gap in range(6)]
        assert heights == pytest.approx(counted)
        whiskers = {line.get_xdata()[0]: tuple(line.get_ydata()) for line in gids(axes, "interval")}
        wanted = {k: (e.low, e.high) for k, e in enumerate(summary.boundary_share) if e.value > 0}
        assert whiskers == wanted
        assert [line.get_xdata()[0] for line in gids(axes, "planted")] == [1, 4]
    assert "planted on purpose" in all_text(figure)


def test_planted_boundaries_beyond_the_layers_are_not_drawn(comparison):
    axes = draw_boundaries(comparison, [1, 6, 40]).axes[0]
    assert [line.get_xdata()[0] for line in gids(axes, "planted")] == [1]
    assert not gids(draw_boundaries(comparison).axes[0], "planted")


def test_squares_are_mean_and_spread_each_on_one_scale(comparison):
    figure = draw_mean_matrices(comparison)
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    for mean, spread, summary in zip(images[::2], images[1::2], comparison.strategies, strict=False):
        np.testing.assert_array_equal(mean.get_array(), summary.mean_similarity)
        np.testing.assert_array_equal(spread.get_array(), summary.spread_similarity)
        assert mean.get_clim() == (0, 1)
        assert spread.get_clim() == (0, spread_limit(comparison))
    largest = max(summary.spread_similarity.max() for summary in comparison.strategies)
    assert largest <= spread_limit(comparison) < largest + 0.05


def test_a_single_seed_has_no_spread_and_says_so():
    figure = draw_mean_matrices(make_task_comparison(2, 1, 7))
    assert all_text(figure).count("1 run:\nno spread") == 2
    assert "standard deviation" not in all_text(figure)
    figure.canvas.draw()


def test_a_pair_is_coloured_where_it_is_more_than_chance(comparison):
    names = [summary.strategy for summary in comparison.strategies]
    axes = draw_contrasts(comparison).axes[0]
    cells = {(round(c.get_x() + 0.48), round(c.get_y() + 0.48)): to_hex(c.get_facecolor()) for c in gids(axes, "pair")}
    assert len(cells) == len(names) * (len(names) - 1)
    for contrast in comparison.contrasts:
        low, high = names.index(contrast.one), names.index(contrast.other)
        column, row = (high, low) if contrast.by == "groups" else (low, high)  # groups stand above the diagonal
        assert (cells[column, row] == NO_EVIDENCE) == (contrast.p_corrected >= LEVEL)
        shown = [text.get_text() for text in axes.texts if text.get_position() == (column, row)]
        assert shown[0].startswith(f"{contrast.effect:.1f}\n")


def test_a_difference_that_is_none_is_never_coloured(comparison):
    closer = [replace(c, effect=-0.5, between=0.1, p_corrected=0.001) for c in comparison.contrasts]
    axes = draw_contrasts(replace(comparison, contrasts=tuple(closer))).axes[0]
    assert {to_hex(cell.get_facecolor()) for cell in gids(axes, "pair")} == {NO_EVIDENCE}
    unvarying = [replace(c, effect=NAN, p_corrected=0.001) for c in comparison.contrasts]
    figure = draw_contrasts(replace(comparison, contrasts=tuple(unvarying)))
    cells = gids(figure.axes[0], "pair")
    assert {to_hex(cell.get_facecolor()) for cell in cells} == {"#ffffff"}  # no size, no colour of one
    assert all(cell.get_linewidth() > 0 for cell in cells)
    assert "Outlined:" in all_text(figure)
    assert "Outlined:" not in all_text(draw_contrasts(comparison))


def test_too_few_runs_for_a_test_leave_every_pair_grey():
    figure = draw_contrasts(make_task_comparison(3, 1, 7))
    assert {to_hex(cell.get_facecolor()) for cell in gids(figure.axes[0], "pair")} == {NO_EVIDENCE}
    assert "no test" in all_text(figure)


def test_one_strategy_makes_no_pair():
    with pytest.raises(ValueError, match="holds 1 strategy; a pair needs two"):
        draw_contrasts(make_task_comparison(1, 3, 7))


def test_the_scale_of_effects_is_bounded(comparison):
    assert effect_limit([]) == 1
    assert effect_limit([replace(comparison.contrasts[0], effect=2.2)]) == 3
    assert effect_limit([replace(comparison.contrasts[0], effect=80.0)]) == 10
    figure = draw_contrasts(replace(comparison, contrasts=(replace(comparison.contrasts[0], effect=80.0),)))
    assert [label.get_text() for label in figure.axes[-1].get_yticklabels()][-1] == "≥ 10"


def test_text_on_every_effect_colour_can_be_read():
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear)) + 0.05

    for share in np.linspace(0, 1, 64):
        colour = to_hex(colormaps[EFFECT_COLORMAP](share))
        one, other = luminance(colour), luminance(ink_on(colour))
        assert max(one, other) / min(one, other) >= 4.5


def test_dots_mark_the_best_partners():
    found = make_correspondence()
    figure = draw_correspondence({"greedy": found, "joint": found}, "joint", task="algebra")
    for axes in figure.axes[:2]:
        (dots,) = gids(axes, "partner")
        assert dots.get_offsets().tolist() == [[0, 0], [1, 1], [1, 2]]  # the last layer was not measured
        shown = axes.get_images()[0]
        np.testing.assert_array_equal(np.ma.filled(shown.get_array(), np.nan), found.similarity)
        assert shown.get_clim() == (0, 1)
    assert "joint, other seeds" in all_text(figure)
    assert "3 pairs of runs, order 0.87" in all_text(figure)
    with pytest.raises(ValueError, match="no correspondence of 'joint'"):
        draw_correspondence({}, "joint")


@pytest.mark.parametrize("draw", ["boundaries", "means", "two means", "contrasts", "correspondence", "timelines"])
@pytest.mark.representatives("boundaries")
def test_every_picture_can_be_read_at_its_own_size(draw, comparison):
    if draw == "timelines":
        story = ((0, "none", (), ()), (9, "strong", (2,), (0, 1)))
        runs = {f"strategy_{i}": {seed: make_run(story, 5, inputs=4, seed=seed) for seed in range(5)} for i in range(4)}
        figure = draw_comparison(runs)
    else:
        figure = {
            "boundaries": lambda: draw_boundaries(comparison, [1]),
            "means": lambda: draw_mean_matrices(comparison),
            "two means": lambda: draw_mean_matrices(make_task_comparison(2, 2, 7)),
            "contrasts": lambda: draw_contrasts(comparison),
            "correspondence": lambda: draw_correspondence({"greedy": make_correspondence()}, "joint"),
        }[draw]()
    figure.canvas.draw()
    assert min(text.get_fontsize() for text in texts(figure)) * figure.dpi / 72 >= 12
    assert "How to read:" in all_text(figure)
    for text in texts(figure):
        box = text.get_window_extent()
        if text.get_visible() and box.width:
            assert box.x0 >= -1, text.get_text()
            assert box.x1 <= figure.bbox.width + 1, text.get_text()


def test_a_name_is_never_read_as_mathematics_or_lost():
    name = "$x_{1}$_a_very_long-name with/every.separator"
    assert wrapped(name).replace("\n", "") == name
    assert max(map(len, wrapped(name).split("\n"))) <= 18
    assert wrapped("a" * 40) == "a" * 40
    comparison = make_task_comparison(2, 2, 5)
    renamed = tuple(replace(summary, strategy=name + str(i)) for i, summary in enumerate(comparison.strategies))
    for draw in (draw_boundaries, draw_mean_matrices):
        figure = draw(replace(comparison, strategies=renamed))
        figure.canvas.draw()
        assert name + "0" in all_text(figure).replace("\n", "")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.951, 0.93, 0.97, 5), "0.95 (0.93–0.97)"),
        (Estimate(0.951, NAN, NAN, 1), "0.95"),
        (Estimate(3.0, 3.0, 3.0, 5), "3.00"),
        (Estimate(0.3, -0.5, 1.0, 3), "0.30 (−0.50–1.00)"),
        (Estimate(NAN, NAN, NAN, 0), "–"),
    ],
)
def test_an_estimate_is_written_with_what_is_known_of_it(estimate, text):
    assert estimate_text(estimate) == text


def test_p_values_and_effects_are_written_so_that_they_cannot_mislead():
    written = [p_text(p) for p in (0.0004, 0.0021, 0.048, 0.0499, 0.0501, 0.5, NAN)]
    assert written == ["p < 0.001", "p = 0.0021", "p = 0.048", "p < 0.05", "p = 0.05", "p = 0.50", "no test"]
    assert [effect_text(e) for e in (1.84, -0.04, -0.31, NAN)] == ["1.8", "0.0", "−0.3", "–"]
