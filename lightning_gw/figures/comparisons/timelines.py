"""The comparison picture: timelines of all runs as small multiples on the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_gw.figures.matrix import headline_and_reading, new_figure, own_style, plain
from lightning_gw.figures.series import Series, accuracy_names, axis_range, logged_names, metric_series
from lightning_gw.figures.style import INK, QUIET, StepAxis, thinned, wrapped
from lightning_gw.figures.timeline import draw_strips
from lightning_gw.records.record import Record

_SEED_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
#: Up to this many panels there is room for large ones.
_FEW_PANELS = 16


@own_style
def draw_comparison(
    runs: Mapping[str, Mapping[int, Sequence[Record]]],
    *,
    accuracy: str | None = None,
    title: str = "Where groups form, by training strategy",
) -> Figure:
    """Draw the timelines of several strategies and seeds side by side.

    Args:
        runs: Strategy name to seed to that run's looks. A run without looks leaves its cell empty and says so.
        accuracy: Name of the metric to draw at the end of every row; the run's own choice when None.
        title: What the picture shows.

    Returns:
        A figure with one row a strategy and one column a seed, all on the same step axis, and accuracy at the end.

    Raises:
        ValueError: If no run holds a look.
    """
    steps = [record.step for seeds in runs.values() for history in seeds.values() for record in history]
    if not steps:
        raise ValueError("A comparison needs at least one look; none of the runs holds any.")
    seeds = sorted({seed for by_seed in runs.values() for seed in by_seed})
    scale = StepAxis.of(steps)
    limits = scale.edges(sorted(set(steps)))[[0, -1]]
    # Many runs get smaller panels, so that the whole still fits on a screen at its own size.
    many = len(runs) * len(seeds) > _FEW_PANELS
    width, height = (2.2, 1.45) if many else (3.4, 2.0)
    figure = new_figure(2.8 + width * (len(seeds) + 1), 1.9 + height * len(runs))
    grid = figure.add_gridspec(len(runs), len(seeds) + 1)
    every = [_accuracies(history, accuracy) for own in runs.values() for history in own.values()]
    values = (value for drawn in every for series in drawn.values() for _, value in series)
    accuracies = axis_range(values, shares=True)
    for row, (strategy, by_seed) in enumerate(runs.items()):
        last_row = row == len(runs) - 1
        for column, seed in enumerate(seeds):
            axes = figure.add_subplot(grid[row, column])
            if row == 0:
                axes.set_title(f"seed {seed}", loc="left", fontsize=10.5, color=QUIET)
            if history := by_seed.get(seed, ()):
                draw_strips(axes, history, scale)
                shown = thinned(len(history[-1].layers), 6)
                axes.set_yticks(shown, [f"{layer + 1}" for layer in shown])
            else:
                axes.set_yticks([])
                _say(axes, "no looks recorded")
            axes.set_xlim(*limits)
            _label_steps(axes, scale, sorted(set(steps)), last_row, 4 if many else 6)
            plain(axes)
            if column == 0:
                axes.set_ylabel(
                    wrapped(strategy), fontsize=10.5, color=INK, rotation=0, ha="right", va="center", parse_math=False
                )
        axes = figure.add_subplot(grid[row, len(seeds)])
        _draw_accuracy(axes, by_seed, scale, accuracy, accuracies, seeds, many, legend=row == 0 or not many)
        axes.set_xlim(*limits)
        _label_steps(axes, scale, sorted(set(steps)), last_row, 4 if many else 6)
        plain(axes)
        if row == 0:
            axes.set_title("accuracy", loc="left", fontsize=10.5, color=QUIET)
    headline_and_reading(
        figure,
        title,
        "How to read: each panel is one run; training goes right, depth goes down; layers of one colour are a group.\n"
        "Full colour is strong, hatched weak, grey no groups; dark lines are boundaries. All panels share their axes.",
    )
    return figure


def _label_steps(axes: Axes, scale: StepAxis, steps: list[int], named: bool, most: int) -> None:
    at, texts = scale.ticks(steps, most)
    axes.set_xticks(at, texts if named else [""] * len(texts))
    if named:
        axes.set_xlabel("training step", fontsize=10, color=QUIET)


def _draw_accuracy(
    axes: Axes,
    by_seed: Mapping[int, Sequence[Record]],
    scale: StepAxis,
    accuracy: str | None,
    limits: tuple[float, float],
    seeds: Sequence[int],
    many: bool,
    legend: bool,
) -> None:
    drawn, logged = False, set()
    for seed, history in sorted(by_seed.items()):
        colour = _SEED_COLOURS[seeds.index(seed) % len(_SEED_COLOURS)]  # the same seed in every row
        logged |= {*logged_names(history)}
        for series in _accuracies(history, accuracy).values():
            steps, values = zip(*series, strict=True)
            axes.plot(scale.position(steps), values, color=colour, linewidth=1.8, label=f"seed {seed}")
            drawn = True
    axes.set_ylim(limits)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    if many:
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 5, 10]))
    if drawn and legend:
        if many:  # no room inside; the colours are the same in every row
            axes.legend(fontsize=9.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            axes.legend(fontsize=9.5, frameon=False, loc="lower right")
    if not drawn:
        axes.set_yticks([])
        misnamed = accuracy is not None and accuracy not in logged
        _say(axes, f"{accuracy} was never logged" if misnamed else "no accuracy logged")


def _accuracies(history: Sequence[Record], accuracy: str | None) -> Series:
    """The metric that was asked for, or the run's own choice; empty where it was not logged."""
    series = metric_series(history)
    names = accuracy_names(series, most=1) if accuracy is None else {accuracy} & series.keys()
    return {name: series[name] for name in names}


def _say(axes: Axes, message: str) -> None:
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", fontsize=10, color=QUIET)
