"""Synthetic records and histories, the same every time, for tests that need what a look found without an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lightning_gw.groups.groups import Groups, Strength
from lightning_gw.groups.tracking.tracker import Event
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.history import History
from lightning_gw.records.record import Record

STEPS = (0, 10, 40, 160)


def example_record(
    step: int = 0,
    layers: tuple[str, ...] = ("embedding", "blocks.0", "blocks.1", "blocks.2", "head"),
    inputs: int = 6,
    seed: int = 0,
    degenerate: int | None = None,
    **changes: Any,
) -> Record:
    """A record of believable values; the `degenerate`-th layer's row is NaN and named."""
    rng = np.random.default_rng([seed, step])
    size = len(layers)
    root = rng.uniform(0.1, 0.9, (size, size))
    distortion = (root + root.T) / 2
    np.fill_diagonal(distortion, 0.0)
    identity = distortion * rng.uniform(1.0, 1.5)
    lower = distortion / 4
    reasons: dict[str, str] = {}
    if degenerate is not None:
        reasons = {layers[degenerate]: "all of its distances are zero"}
        for values in (distortion, identity, lower):
            values[degenerate, :] = values[:, degenerate] = np.nan
    couplings = np.array([[rng.permutation(inputs) for _ in layers] for _ in layers], dtype=np.int64)
    gw = GWMatrix(
        layers=layers,
        geometry="standardized",
        distortion=distortion,
        lower=lower,
        identity=identity,
        couplings=couplings.reshape(size, size, inputs),
        converged=rng.random((size, size)) < 0.8,
        restricted=rng.random((size, size)) < 0.1,
        degenerate=reasons,
        variation=rng.uniform(0.2, 0.4, size),
        seconds=float(rng.uniform(0.1, 0.5)),
    )
    groups = example_groups(np.diagonal(gw.distance, 1).copy(), (1, 2), "strong", degenerate)
    return replace(
        Record(
            step=step,
            epoch=step // 50,
            layers=layers,
            gw=gw,
            groups=groups,
            groups_paired=example_groups(np.diagonal(gw.identity_distance, 1).copy(), (2,), "weak", degenerate),
            group_ids=(0, 1, 2),
            events=(
                Event("boundary_moved", step, 1, (2,), others=(2,), boundary_from=1, boundary_to=2),
                Event("split", step, 2, (3, 4), others=(1,)),
            )
            if step
            else (),
            growth=groups.adjacent / 0.5,
            measures={"paired_dcor": 1 - identity / 3, "paired_cka": 1 - identity / 4},
            probe={"hash": "0f3a", "size": inputs, "source": "val_dataloaders", "pooling": "auto"},
            metrics={"val_acc": float(rng.uniform(0.5, 1.0)), "val_loss": float("nan") if step == 0 else 0.25},
            seconds=float(rng.uniform(0.5, 1.5)),
            notes=("p_value and stability were not asked for",),
        ),
        **changes,
    )


def example_groups(
    adjacent: np.ndarray, boundaries: tuple[int, ...], strength: Strength, degenerate: int | None = None
) -> Groups:
    size = len(adjacent) + 1
    labels = [sum(layer > boundary for boundary in boundaries) for layer in range(size)]
    if degenerate is not None:
        labels[degenerate] = -1
    return Groups(tuple(labels), boundaries, adjacent, strength, 2.5, float("nan"), proposed=boundaries)


def example_history_records(degenerate: int | None = None) -> list[Record]:
    return [example_record(step, degenerate=degenerate) for step in STEPS]


def steps_of(history: History) -> list[int]:
    """The step of every record, in order."""
    return [record.step for record in history]
