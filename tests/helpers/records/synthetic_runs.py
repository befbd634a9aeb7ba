"""Runs made from a script instead of a training: what the pictures must show is known beforehand.

A run is told as looks ``(step, strength, boundaries, identities)``. Distances between layers follow from the
boundaries, so matrices, profiles and groups agree with each other as they do in a real record.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.tracker import Event
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import BEFORE_TRAINING, Record

#: Three groups emerge over eight looks and the last boundary moves from after layer 5 to after layer 6 at step 120.
EMERGENCE = (
    (0, "none", (), ()),
    (10, "none", (), ()),
    (20, "weak", (1,), (0, 1)),
    (40, "weak", (1,), (0, 1)),
    (80, "strong", (1, 4), (0, 1, 2)),
    (120, "strong", (1, 5), (0, 1, 2)),
    (200, "strong", (1, 5), (0, 1, 2)),
    (350, "strong", (1, 5), (0, 1, 2)),
)
DRIFT = tuple((step, "none", (), ()) for step, *_ in EMERGENCE)
WEAK = tuple(
    (step, "weak" if step > 40 else "none", (3,) if step > 40 else (), (0, 1) if step > 40 else ())
    for step, *_ in EMERGENCE
)
#: Two groups that stand for a while and dissolve again.
PASSING = tuple(
    (
        step,
        "strong" if 40 <= step < 200 else "none",
        (4,) if 40 <= step < 200 else (),
        (0, 1) if 40 <= step < 200 else (),
    )
    for step, *_ in EMERGENCE
)


def make_run(
    story=EMERGENCE,
    layers: int = 9,
    *,
    names: tuple[str, ...] | None = None,
    inputs: int = 16,
    degenerate: int | None = None,
    paired_agrees: bool = True,
    accuracy: str = "val/accuracy",
    seed: int = 0,
    reference: str = "its own first look (step 0)",
) -> list[Record]:
    """The records of a run that follows `story`, with noise drawn from `seed`."""
    generator = np.random.default_rng(seed)
    names = names or ("model.embed", *(f"model.blocks.{i}" for i in range(layers - 1)))
    drift = 0.16 + 0.05 * generator.random(layers - 1)
    records: list[Record] = []
    for look, (step, strength, boundaries, identities) in enumerate(story):
        progress = look / max(1, len(story) - 1)
        steps_between = drift * (1 + 0.15 * generator.standard_normal(layers - 1) * progress).clip(0.5)
        steps_between[(layers - 1) // 2] *= 1 + 0.8 * progress  # something always grows, groups or not
        for boundary in boundaries:
            steps_between[boundary] = {"weak": 0.42, "strong": 0.75}[strength] * (1 + 0.1 * generator.random())
        distance = _distances(steps_between)
        paired_distance = distance * 1.06
        if degenerate is not None:
            for matrix in (distance, paired_distance):
                matrix[degenerate, :] = matrix[:, degenerate] = np.nan
        gw = GWMatrix(
            layers=names,
            geometry="standardized",
            distortion=distance**2,
            lower=distance**2 * 0.4,
            identity=paired_distance**2,
            couplings=np.broadcast_to(np.arange(inputs), (layers, layers, inputs)).copy(),
            converged=np.ones((layers, layers), dtype=bool),
            degenerate={} if degenerate is None else {names[degenerate]: "constant: all inputs at one point"},
        )
        groups = replace(_groups(distance, boundaries, strength, degenerate), reference=1)
        paired = groups if paired_agrees else replace(_groups(paired_distance, (), "none", degenerate), reference=1)
        adjacent = groups.adjacent
        start = records[0].groups.adjacent if records else adjacent
        first = not records and strength == "none"
        against = BEFORE_TRAINING if first else reference
        made = () if not records else tuple(b for b in boundaries if b not in records[0].groups.boundaries)
        record = Record(
            step=step,
            epoch=step // 50,
            layers=names,
            gw=gw,
            groups=groups,
            groups_paired=paired,
            group_ids=identities,
            events=_events(records, step, groups, identities),
            growth=adjacent / start,
            measures={
                "paired_dcor": np.asarray(1 - paired_distance**2 / 2.2),
                "paired_cka": np.asarray(1 - paired_distance**2 / 2.1),
            },
            probe={"hash": "3f9c51e07a42", "size": inputs, "source": "validation", "pooling": "auto"},
            reference=against,
            changed=None if not records else replace(_groups(distance, made, strength, degenerate), reference=1),
            metrics={
                accuracy: float(1 - 0.91 * np.exp(-step / (90 + 20 * seed))),
                "val/loss": float(2.4 * np.exp(-step / 110) + 0.05),
            },
            seconds=0.8,
        )
        records.append(record)
    return records


def make_large_run(looks: int = 100, layers: int = 50, seed: int = 0) -> list[Record]:
    """Many looks at a deep network, its two boundaries drifting downwards."""
    story = [
        (25 * look, "strong", (14 + look // 12, 32 + look // 15), (0, 1, 2))
        if look > 20
        else (25 * look, "none", (), ())
        for look in range(looks)
    ]
    return make_run(story, layers, inputs=8, seed=seed)


def with_names(records: list[Record], names: tuple[str, ...]) -> list[Record]:
    """The same run under other layer names."""
    return [replace(record, layers=names, gw=replace(record.gw, layers=names)) for record in records]


def _distances(steps_between: np.ndarray) -> np.ndarray:
    """Distances along the depth add up in squares and saturate below √2, where similarity ends."""
    depth = np.concatenate([[0.0], np.cumsum(steps_between**2)])
    squared = np.abs(depth[:, None] - depth[None, :])
    return np.asarray(np.sqrt(1.9 * -np.expm1(-squared / 1.9)))


def _groups(distance: np.ndarray, boundaries, strength, degenerate) -> Groups:
    layers = len(distance)
    labels = [sum(layer > boundary for boundary in boundaries) for layer in range(layers)]
    if degenerate is not None:
        labels[degenerate] = -1
    adjacent = np.array([distance[i, i + 1] for i in range(layers - 1)])
    inside = np.delete(adjacent, list(boundaries))
    contrast = float(adjacent[list(boundaries)].min() / np.nanmedian(inside)) if boundaries else float("nan")
    return Groups(
        labels=tuple(labels),
        boundaries=tuple(boundaries),
        adjacent=adjacent,
        strength=strength,
        contrast=contrast,
        roughness=float(np.nanstd(np.log(adjacent))),
        proposed=tuple(boundaries),
    )


def _events(records: list[Record], step: int, groups: Groups, identities: tuple[int, ...]) -> tuple[Event, ...]:
    """What a tracker says of these stories: births, splits, deaths and moved boundaries."""
    if not records:
        return ()
    before = records[-1]
    members = groups.members()
    events: list[Event] = []
    if not before.group_ids:
        events += [Event("birth", step, identity, members[i]) for i, identity in enumerate(identities)]
    elif not identities:
        old = before.groups.members()
        events += [Event("death", step, identity, old[i]) for i, identity in enumerate(before.group_ids)]
    elif len(identities) > len(before.group_ids):
        new = [identity for identity in identities if identity not in before.group_ids]
        events += [Event("split", step, n, members[identities.index(n)], (n - 1,)) for n in new]
    else:
        for k, (was, now) in enumerate(zip(before.groups.boundaries, groups.boundaries, strict=True)):
            if was != now:
                pair = (identities[k], identities[k + 1])
                events.append(Event("boundary_moved", step, pair[0], members[k], (pair[1],), was, now))
    return tuple(events)
