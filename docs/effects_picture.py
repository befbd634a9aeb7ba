"""A picture of effects with their intervals: one panel for each question, one line for each comparison and network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from claims.verdicts import POOLED
from matplotlib.figure import Figure

from lightning_gw.figures.style import INK, OKABE_ITO, QUIET
from lightning_gw.statistics.results import Estimate


def draw_effects(panels: Mapping[str, Sequence[tuple[str, str, Estimate]]], better: str) -> Figure:
    """Draw estimates as dots with 95 % intervals, against a line at zero.

    Args:
        panels: Title of a panel to its lines: what is compared, the network (or `POOLED`), and the estimate.
        better: What a value above zero means, said below.

    Returns:
        A figure with panels side by side, which share their lines.
    """
    lines = max((len(rows) for rows in panels.values()), default=1)
    figure = Figure(figsize=(3.2 + 3.6 * len(panels), 1.2 + 0.24 * lines), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, (title, rows) in zip(axes, panels.items(), strict=True):
        colours = {what: OKABE_ITO[k % len(OKABE_ITO)] for k, what in enumerate(dict.fromkeys(row[0] for row in rows))}
        for place, (what, network, estimate) in enumerate(rows):
            pooled = network == POOLED
            shade = {"color": colours[what], "alpha": 1.0 if pooled else 0.55}
            if np.isfinite(estimate.low):
                panel.plot([estimate.low, estimate.high], [place, place], linewidth=2.4 if pooled else 1.2, **shade)
            panel.plot(estimate.value, place, "o", markersize=6 if pooled else 4, **shade)
        panel.axvline(0, color=QUIET, linewidth=0.8)
        panel.set_title(title, fontsize=10, color=INK, loc="left")
        panel.tick_params(labelsize=8, colors=QUIET)
        panel.spines[["top", "right", "left"]].set_visible(False)
    rows = next(iter(panels.values()), ())
    labels = [f"{what}: {network}" if network == POOLED else network for what, network, _ in rows]
    axes[0].set_yticks(range(len(rows)), labels, fontsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel(better, fontsize=9, color=QUIET)
    return figure
