"""Pictures hold what they must: looked at through their artists, not their pixels."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import _pylab_helpers
from matplotlib.colors import to_hex
from synthetic_runs import DRIFT, EMERGENCE, WEAK, make_large_run, make_run, with_names

from lightning_gw.figures import draw_comparison, draw_matrix, draw_profile, draw_rectangle, draw_timeline
from lightning_gw.figures.style import StepAxis, axis_names, group_colour, viewable
from lightning_gw.geometry.geometries import GEOMETRIES, Geometry
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.loggers.scalars import similarities_of
from lightning_gw.metric.metric import GromovWassersteinMatrix


def gids(axes, prefix):
    return [artist for artist in axes.get_children() if (artist.get_gid() or "").startswith(prefix)]


def texts(figure):
    return " ".join(artist.get_text() for artist in figure.findobj(lambda a: hasattr(a, "get_text")))


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("draw", [draw_matrix, draw_profile])
@pytest.mark.parametrize("layers", [2, 9, 50])
@pytest.mark.representatives("50-*")
def test_pictures_of_a_look_render_at_any_depth(draw, layers):
    story = DRIFT if layers < 9 else EMERGENCE
    figure = draw(make_run(story, layers)[-1])
    figure.canvas.draw()
    assert _pylab_helpers.Gcf.figs == {}, "pyplot's state was touched"


def test_matrix_outlines_every_group_in_its_own_colour():
    record = make_run()[-1]
    outlines = gids(draw_matrix(record).axes[0], "group-")
    assert [to_hex(outline.get_edgecolor()) for outline in outlines] == [group_colour(i).lower() for i in (0, 1, 2)]
    assert [(o.get_x() + 0.5, o.get_width()) for o in outlines] == [(0, 2), (2, 4), (6, 3)]


def test_matrix_shows_gw_above_and_the_paired_measure_below_on_a_fixed_scale():
    record = make_run()[-1]
    (image,) = draw_matrix(record).axes[0].get_images()
    shown = np.asarray(image.get_array())
    upper = np.triu_indices(9, 1)
    np.testing.assert_array_equal(shown[upper], record.gw.similarity[upper])
    np.testing.assert_array_equal(shown.T[upper], record.gw.identity_similarity.T[upper])
    assert image.get_clim() == (0, 1)


def test_matrix_without_groups_has_no_outline_and_says_so():
    figure = draw_matrix(make_run(DRIFT)[-1])
    assert not gids(figure.axes[0], "group-")
    assert "no groups" in figure.axes[0].get_title(loc="left")


def test_degenerate_layers_are_blank_and_named():
    figure = draw_matrix(make_run(degenerate=4)[-1])
    shown = figure.axes[0].get_images()[0].get_array()
    assert shown.mask[4].all()
    assert shown.mask[:, 4].all()
    assert not np.delete(np.delete(shown.mask, 4, 0), 4, 1).any()
    assert "model.blocks.3" in texts(figure)


def test_a_plain_euclidean_matrix_is_shown_in_the_geometry_whose_values_are_similarities():
    record = make_run()[-1]
    plain = replace(record.gw, variation=np.linspace(0.3, 0.6, 9)).to("euclidean")
    (image,) = draw_matrix(replace(record, gw=plain)).axes[0].get_images()
    upper = np.triu_indices(9, 1)
    np.testing.assert_allclose(np.asarray(image.get_array())[upper], record.gw.similarity[upper])
    with pytest.raises(ValueError, match="cannot be read"):
        draw_matrix(replace(record, gw=replace(plain, variation=None)))


def representations(prefix, widths, n=12):
    generator = torch.Generator().manual_seed(0)
    return {f"{prefix}.{k}": torch.randn(n, width, generator=generator) for k, width in enumerate(widths)}


def test_whether_there_are_similarities_is_asked_of_the_matrix_and_not_of_its_geometrys_name():
    distance = GEOMETRIES["euclidean"].distance
    x = representations("net", (3, 4, 5))
    scaled = gw_matrix(x, geometry=Geometry("own", distance, "double", "rms"), effort="fast")
    assert viewable(scaled) is similarities_of(scaled) is scaled
    # Its own scale makes this no matrix of similarities, although the name is that of one.
    unscaled = gw_matrix(x, geometry=Geometry("dcor", distance, "double", "none"), effort="fast")
    distances = gw_matrix({name: distance(rows) for name, rows in x.items()}, geometry="precomputed", effort="fast")
    for matrix in (unscaled, distances):
        assert similarities_of(matrix) is None
        with pytest.raises(ValueError, match="cannot be read"):
            viewable(matrix)


@pytest.mark.representatives("same*")
@pytest.mark.parametrize("others", [12, 9], ids=["same inputs", "other inputs"])
def test_a_matrix_between_two_sets_is_drawn_with_the_names_of_both(others):
    columns = representations("net", (6, 3, 4, 5), others)
    columns["net.2"] = torch.ones(others, 4)
    gw = gw_matrix(representations("bert", (3, 4)), columns)
    figure, axes = GromovWassersteinMatrix(["bert.0", "bert.1"]).plot(gw)
    figure.canvas.draw()
    shown = axes.get_images()[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), gw.similarity)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1 bert.0", "2 bert.1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{k + 1} net.{k}" for k in range(4)]
    assert axes.get_title(loc="left") == "Two layers against four layers of another set"
    assert "left out: net.2 of the second set (it is constant" in figure.get_supxlabel()
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(j, i): f"{gw.similarity[i, j]:.2f}" for i in range(2) for j in (0, 1, 3)}


def test_a_matrix_between_two_large_sets_thins_its_names():
    gw = gw_matrix(representations("a", [2] * 3, 4), representations("b", [2] * 60, 4), effort="fast")
    axes = draw_rectangle(gw).axes[0]
    assert len(axes.get_yticks()) == 3
    assert 12 <= len(axes.get_xticks()) <= 25
    assert not axes.texts


def test_a_look_with_a_matrix_between_two_sets_says_what_draws_it():
    record = make_run()[-1]
    with pytest.raises(ValueError, match=r"between two sets of layers.*draw_rectangle\(gw\)"):
        draw_matrix(replace(record, gw=replace(record.gw, other_layers=record.layers)))


def test_a_group_keeps_its_colour_for_life():
    axes = draw_timeline(make_run()).axes[0]
    for identity, looks in ((0, 6), (1, 6), (2, 4)):
        bars = gids(axes, f"group-{identity}")
        assert len(bars) == looks
        strong = {to_hex(bar.get_facecolor()) for bar in bars if not bar.get_hatch()}
        assert strong == {group_colour(identity).lower()}


def test_timeline_tells_strong_weak_and_none_apart():
    axes = draw_timeline(make_run(WEAK)).axes[0]
    assert len(gids(axes, "none")) == 4
    assert all(bar.get_hatch() for bar in gids(axes, "group-"))


def test_timeline_draws_boundaries_where_they_stand_and_move():
    axes = draw_timeline(make_run()).axes[0]
    heights = [line.get_ydata()[0] for line in gids(axes, "boundary") if line.get_gid() == "boundary"]
    assert sorted(set(heights)) == [1.5, 4.5, 5.5]
    (moved,) = gids(axes, "boundary-moved")
    assert sorted(moved.get_ydata()) == [4.5, 5.5]


def test_timeline_puts_accuracy_and_loss_on_the_same_axis():
    figure = draw_timeline(make_run())
    strips, accuracy, loss = figure.axes
    assert strips.get_xlim() == accuracy.get_xlim() == loss.get_xlim()
    assert (accuracy.get_ylabel(), loss.get_ylabel()) == ("accuracy", "loss")


def test_accuracy_in_percent_and_a_loss_below_zero_are_drawn_where_they_lie():
    def logged(record):
        accuracy, loss = record.metrics["val/accuracy"], record.metrics["val/loss"]
        return replace(record, metrics={"val/accuracy": 100 * accuracy, "val/loss": loss - 2})

    run = [logged(record) for record in make_run()]
    for axes in (*draw_timeline(run).axes[1:], draw_comparison({"joint": {0: run}}).axes[-1]):
        low, high = axes.get_ylim()
        drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()])
        assert low <= min(0, drawn.min())
        assert high > drawn.max()
    for figure in (draw_timeline(make_run()), draw_comparison({"joint": {0: make_run()}})):
        assert figure.axes[1].get_ylim() == (-0.03, 1.03), "shares of one have the same axis everywhere"


def test_timeline_without_metrics_says_so():
    figure = draw_timeline([replace(record, metrics={}) for record in make_run()])
    assert len(figure.axes) == 1
    assert "Neither accuracy nor loss was logged" in texts(figure)


@pytest.mark.slow
def test_timeline_of_a_long_run_of_a_deep_network_thins_its_labels():
    figure = draw_timeline(make_large_run())
    figure.canvas.draw()
    assert len(figure.axes[0].get_yticks()) <= 25
    assert len(figure.axes[-1].get_xticks()) <= 13


def test_a_timeline_draws_no_more_columns_than_it_can_show_and_says_so():
    few = make_run()
    many = [replace(few[k % len(few)], step=k, events=()) for k in range(2000)]
    moved = next(event for record in few for event in record.events if event.kind == "boundary_moved")
    many[1003] = replace(many[1003], events=(replace(moved, step=1001),))
    figure = draw_timeline(many)
    looks = next(artist for artist in figure.axes[0].get_lines() if artist.get_gid() == "looks")
    assert 55 <= len(looks.get_xdata()) <= 61
    assert looks.get_xdata()[[0, -1]].tolist() == [0, 1999]
    assert len(gids(figure.axes[0], "boundary-moved")) == 1
    assert f"Drawn are {len(looks.get_xdata())} of 2000 looks" in texts(figure)
    assert "Drawn are" not in texts(draw_timeline(few))


def test_an_empty_history_is_refused_by_name():
    with pytest.raises(ValueError, match="at least one look"):
        draw_timeline([])
    with pytest.raises(ValueError, match="at least one look"):
        draw_comparison({"greedy": {0: []}})


def test_profile_draws_now_start_growth_and_boundaries():
    run = make_run()
    above, below = draw_profile(run[-1], run[0]).axes
    start, now = (line for line in above.get_lines() if line.get_gid() != "boundary")
    np.testing.assert_array_equal(start.get_ydata(), run[0].groups.adjacent)
    np.testing.assert_array_equal(now.get_ydata(), run[-1].groups.adjacent)
    (growth,) = gids(below, "growth")
    np.testing.assert_array_equal(growth.get_ydata(), run[-1].growth)
    assert [line.get_xdata()[0] for line in gids(above, "boundary")] == [1, 5]


def test_profile_refuses_looks_at_different_networks():
    with pytest.raises(ValueError, match="different layers"):
        draw_profile(make_run()[-1], make_run(DRIFT, 5)[0])


def test_comparison_has_a_row_a_strategy_a_column_a_seed_and_accuracy():
    figure = draw_comparison({"joint": {0: make_run(), 1: make_run(seed=1)}, "greedy": {0: make_run(DRIFT), 1: []}})
    figure.canvas.draw()
    assert len(figure.axes) == 6
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert "no looks recorded" in texts(figure)


def test_names_are_shown_as_they_are():
    names = ("a$b", "x_1^2", "</script>", "emb\x07ed", "\\alpha", "%s", "a" * 90, "ü", "$\\frac{1}{2}$")
    run = with_names(make_run(), names)
    for figure in (draw_matrix(run[-1]), draw_timeline(run)):
        figure.canvas.draw()
        assert "1 a$b" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize(
    ("full", "short"),
    [
        (("model.blocks.0", "model.blocks.1"), ("1 blocks.0", "2 blocks.1")),
        (("model.embed", "model.blocks.0"), ("1 embed", "2 blocks.0")),
        (("only.one",), ("1 only.one",)),
        (("a.b", "a.b.c"), ("1 b", "2 b.c")),
        (("deep.stage0.attention.dense", "deep.stage1.attention.dense"), ("1 stage0", "2 stage1")),
        (("x", "x.encoder.layer.attention.11"), ("1 x", "2 …attention.11")),
    ],
)
def test_layer_names_lose_the_path_they_share(full, short):
    assert axis_names(full) == short


@pytest.mark.parametrize("steps", [[0, 10, 20, 40, 80, 160], [0, 100, 200, 300], [7], [0, 1], [5, 500]])
def test_the_step_axis_keeps_order_and_puts_each_look_inside_its_column(steps):
    scale = StepAxis.of(steps)
    edges, at = scale.edges(steps), scale.position(steps)
    assert (np.diff(edges) > 0).all()
    assert (edges[:-1] < at).all()
    assert (at < edges[1:]).all()
    labels = scale.ticks(steps)[1]
    assert (labels[0], labels[-1]) == (str(steps[0]), str(steps[-1]))


def test_the_step_axis_is_logarithmic_only_where_looks_spread():
    assert StepAxis.of([0, 10, 20, 40, 80, 160]).unit == 10
    assert StepAxis.of([0, 100, 200, 300]).unit is None
