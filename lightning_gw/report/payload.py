"""The data of the charts, as compact JSON: what a look holds, where things lie on the axes, and what they say in words.

All arithmetic and all wording happen here; the page's script only places what it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from lightning_gw.figures.comparisons.mean_matrices import spread_limit
from lightning_gw.figures.series import Series, accuracy_names, loss_names, metric_series
from lightning_gw.figures.style import (
    COLORMAP,
    NO_EVIDENCE,
    OKABE_ITO,
    StepAxis,
    axis_names,
    group_colour,
    group_identities,
    runs_of_layers,
    viewable,
)
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe_record, dominance_sentences
from lightning_gw.records.words.measure_names import measure_name, paired_name
from lightning_gw.records.words.support import (
    agreement_phrase,
    contrast_sentence,
    found_in_phrase,
    own_steps_phrase,
    p_value_phrase,
    stability_phrase,
)
from lightning_gw.report.axes import compact, task_axis, ticks
from lightning_gw.report.comparisons.answers import planted_sentence
from lightning_gw.report.comparisons.rectangles import TaskRectangles
from lightning_gw.report.comparisons.tasks import TaskAnswer
from lightning_gw.report.run.afterwards import answer_of, boundary_p_values
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.results import StrategySummary
from lightning_gw.utilities.text import short_names

#: What the terms of the evidence mean, in words that need none of the others.
WORDS = {
    "Strength": "How far the weakest boundary stands out from the steps around it.",
    "Found in": "Groups are cut in this matrix; “anchored”: inputs keep to themselves unless others fit far better.",
    "Held against": "Networks that learnt nothing: what they show as well, training did not make.",
    "Architecture": "Steps that the network takes before it learns anything.",
    "Paired view": "A second witness, which compares every input with itself only.",
    "Significance": "How often a network that learnt nothing (the null) shows as much, and whether other inputs agree.",
    "Other measures": "Whether other similarities put the pairs of layers in the same order.",
    "Spread": "Whether a few inputs or directions make the picture by themselves.",
    "Roughness": "How unevenly the steps from layer to layer differ in size.",
    "Certainty": "A search finds each value; no better matching can exceed the certified bound.",
    "Matching gain": "What is seen only when inputs may be matched to other inputs.",
    "Probe": "The inputs that all layers were looked at through.",
    "Geometry": "How the distance between two inputs is measured inside a layer.",
}


def page_payload(
    runs: Sequence[ReportRun], answers: Mapping[str, TaskAnswer], rectangles: Mapping[str, TaskRectangles]
) -> dict[str, Any]:
    """Everything the page's script draws.

    Runs of one task share their step axis and their growth scale, so that their timelines can be compared at a glance.
    The similarity scale is the same everywhere.

    Args:
        runs: All runs of the page.
        answers: Task to its comparison; empty for a run on its own.
        rectangles: Task to which layers of its strategies correspond.
    """
    shown = [run for run in runs if run.history]
    axes = {run.task: task_axis([other for other in shown if other.task == run.task]) for run in shown}
    return {
        "magnitudes": [to_hex(COLORMAP(step / 32)) for step in range(33)],
        "palette": list(OKABE_ITO),
        "words": WORDS,
        "axes": {task: layout for task, (_, layout) in axes.items()},
        "runs": [_run(run, axes[run.task][0]) for run in shown],
        "comparisons": {task: drawn for task, answer in answers.items() if (drawn := strategies_payload(answer))},
        "rectangles": {task: rectangles_payload(found) for task, found in rectangles.items()},
    }


def _run(run: ReportRun, scale: StepAxis) -> dict[str, Any]:
    history = run.history
    steps = [record.step for record in history]
    series = metric_series(history)
    edges = scale.edges(steps)
    adjacent = np.concatenate([record.groups.adjacent for record in history])
    first, last = history[0], history[-1]
    # A move is drawn at the look that showed it first, which a later one may have confirmed.
    moves: dict[int, list[tuple[int | None, int | None]]] = {}
    for event in (event for record in history for event in record.events if event.kind == "boundary_moved"):
        moves.setdefault(event.step, []).append((event.boundary_from, event.boundary_to))
    return {
        "key": run.key,
        "name": run.name,
        "task": run.task,
        "status": run.status,
        "answer": answer_of(history, run.afterwards),
        "folder": run.link,
        "wandb": None if run.wandb is None else {"words": run.wandb.words, "url": run.wandb.url},
        "planted": None if run.planted is None else list(run.planted),
        "plantedSentence": "" if run.planted is None else planted_sentence(last.groups, run.planted),
        "layers": list(last.layers),
        "labels": list(axis_names(last.layers)),
        "paired": paired_name(last.gw),
        "foundIn": last.found_in,
        "foundName": measure_name(last.found_in),
        "measures": {key: measure_name(key) for key in last.measures},
        "firstStep": first.step,
        "ticks": ticks(scale, steps, 12),
        "fewTicks": ticks(scale, steps, 5),
        "edges": compact(edges),
        "adjacentTop": float(np.nanmax(adjacent, initial=0.0)) or 1.0,
        "accuracy": _metrics(series, accuracy_names(series, run.accuracy), scale),
        "skips": _skips(run),
        "loss": _metrics(series, loss_names(series), scale),
        "looks": [
            _look(record, at, moves.get(record.step, []))
            for record, at in zip(history, scale.position(steps), strict=True)
        ],
        "events": [
            {
                "look": steps.index(event.step) if event.step in steps else index,
                "step": event.step,
                "text": event.sentence(short_names(record.layers)),
                "colour": NO_EVIDENCE if event.group < 0 else group_colour(event.group),
            }
            # In the order in which looks first showed it, not in that in which later ones confirmed it.
            for index, record, event in sorted(
                ((index, record, event) for index, record in enumerate(history) for event in record.events),
                key=lambda told: told[2].step,
            )
        ],
    }


def _skips(run: ReportRun) -> dict[str, Any] | None:
    if run.afterwards.skips is None:
        return None
    from lightning_gw.report.run.skips import skips_payload  # what it shows imports Lightning, which takes seconds

    return skips_payload(run.afterwards.skips, run.history[-1])


def _metrics(series: Series, names: Sequence[str], scale: StepAxis) -> list[dict[str, Any]]:
    found = []
    for name in names:
        steps, values = zip(*series[name], strict=True)
        found.append({"name": name, "step": list(steps), "x": compact(scale.position(steps)), "y": compact(values)})
    return found


def _look(record: Record, at: float, moves: Sequence[tuple[int | None, int | None]]) -> dict[str, Any]:
    gw, groups = viewable(record.gw), record.groups
    identities = group_identities(record)
    return {
        "step": record.step,
        "x": float(f"{at:.6g}"),
        "strength": groups.strength,
        "summary": record.summary().replace("  ", ", "),
        # [first layer, last layer, identity or null for a degenerate layer, palette index]
        "strips": [
            [first, last, identities[group] if group >= 0 else None, _palette_index(identities, group)]
            for group, first, last in runs_of_layers(groups)
        ],
        "boundaries": list(groups.boundaries),
        "builtIn": list(groups.built_in),
        "sequenceEnds": list(groups.sequence_ends),
        "moves": [list(move) for move in moves],
        "pairedBoundaries": list(record.groups_paired.boundaries),
        "gw": _upper(gw.similarity),
        "bound": _upper(gw.similarity_bound),
        "paired": _upper(gw.identity_similarity),
        "measures": {name: _upper(values) for name, values in record.measures.items()},
        "degenerate": [record.layers.index(name) for name in gw.degenerate],
        "adjacent": compact(groups.adjacent),
        "growth": compact(record.growth),
        "moved": None if record.moved is None else compact(record.moved),
        "trained": None if record.weights is None else [fate != "same" for fate in record.weights],
        "sentence": describe_record(record),
        "facts": _facts(record),
    }


def _references(record: Record) -> list[list[str]]:
    """What groups were held against, what the architecture does by itself, and what this training changed."""
    if not record.reference:  # records of older versions were held against nothing
        return []
    against = record.reference.removeprefix("none: ")
    facts = [["Held against", against if against == record.reference else f"nothing: {against}"]]
    if record.groups.reference:
        words = own_steps_phrase(record.groups)
        facts.append(["Architecture", words[0].upper() + words[1:]])
    if record.changed is not None:
        made = record.changed
        none = "no boundary: since the first look no step between layers grew beyond the others"
        facts.append(["This training", f"parted {made.ranges()}, {made.strength}" if made.boundaries else none])
    return facts


def _spread(record: Record) -> list[list[str]]:
    """How much of what is seen comes from a few inputs or a few directions."""
    if record.dominance is None or record.effective_rank is None or not np.isfinite(record.dominance).any():
        return []
    most = int(np.nanargmax(record.dominance))
    low, high = np.nanmin(record.effective_rank), np.nanmax(record.effective_rank)
    words = (
        f"the most distant 5 % of inputs carry up to {record.dominance[most]:.0%} of a layer's squared distance (layer "
        f"{most + 1}); layers spread the inputs over {low:.1f} to {high:.1f} directions"
    )
    return [["Spread", " ".join([words + ".", *dominance_sentences(record)]).rstrip(".")]]


def _palette_index(identities: Sequence[int], group: int) -> int | None:
    return identities[group] % len(OKABE_ITO) if group >= 0 else None


def _upper(matrix: NDArray[np.float64]) -> list[float | None]:
    """The values above the diagonal, row by row: a symmetric matrix in half the room."""
    return compact(np.asarray(matrix)[np.triu_indices(len(matrix), 1)])


def _facts(record: Record) -> list[list[str]]:
    """The evidence behind one look, as ``[term, what it says]``."""
    gw, groups = viewable(record.gw), record.groups
    pairs = np.triu_indices(len(record.layers), 1)
    facts = [["Strength", f"{groups.strength.capitalize()}. {contrast_sentence(groups)}"]]
    if record.found_in != "gw":
        facts.append(["Found in", found_in_phrase(record)])
    facts += _references(record)
    paired = record.groups_paired
    words = "no groups" if paired.strength == "none" else f"{paired.ranges()}, {paired.strength}"
    if not np.isfinite(paired.adjacent).any():
        words = "not measured"
    facts.append(["Paired view", f"{words} (groups of {paired_name(gw)}, from the same activations)"])
    p_values = "; ".join(filter(None, [p_value_phrase(record), boundary_p_values(record), stability_phrase(groups)]))
    facts.append(["Significance", p_values.replace("no p", "No p", 1) + "."])
    if words := agreement_phrase(record):
        facts.append(["Other measures", words])
    facts += _spread(record)
    if math.isfinite(groups.roughness):
        facts.append(
            ["Roughness", f"{groups.roughness:.3g}, the spread of log adjacent distance about a smooth curve in depth"]
        )
    found, bound = (values[pairs][np.isfinite(values[pairs])] for values in (gw.similarity, gw.similarity_bound))
    gain = (gw.similarity - gw.identity_similarity)[pairs]
    if found.size:
        open_pairs = int((~gw.converged[pairs]).sum())
        ended = "every search ended in a local optimum" if not open_pairs else f"{open_pairs} searches hit their limit"
        facts.append(
            [
                "Certainty",
                f"GW similarity found by search {found.mean():.3f} on average, "
                f"certified not above {bound.mean():.3f}; {ended}.",
            ]
        )
        facts.append(
            ["Matching gain", f"free matching sees {np.nanmean(gain):.3f} more similarity than pairing, on average"]
        )
    probe = record.probe
    known = [f"{key} {probe[key]}" for key in ("size", "source", "pooling") if key in probe]
    known += [f"hash {str(probe['hash'])[:12]}"] if "hash" in probe else []
    facts.append(["Probe", ", ".join(known) or "not described in the record"])
    facts.append(["Geometry", gw.geometry if gw is record.gw else f"{record.gw.geometry}, shown as {gw.geometry}"])
    facts.append(["Cost", f"{record.seconds:.2g} s of training time, without its loggers"])
    facts += [["Note", note] for note in record.notes]
    return facts


def strategies_payload(answer: TaskAnswer) -> dict[str, Any] | None:
    """What the page's script draws of a task's strategies over their seeds; None where no run has finished."""
    comparison = answer.comparison
    if comparison is None:
        return None
    return {
        "layers": list(comparison.layers),
        "labels": list(axis_names(comparison.layers)),
        "planted": [boundary for boundary in answer.planted if boundary < len(comparison.layers) - 1],
        "spreadTop": spread_limit(comparison),
        "strategies": {summary.strategy: _strategy(summary, comparison.layers) for summary in comparison.strategies},
    }


def rectangles_payload(rectangles: TaskRectangles) -> dict[str, Any]:
    """What the page's script draws of the correspondences of a task."""
    return {
        other: {
            "rows": list(axis_names(found.layers)),
            "columns": list(axis_names(found.other_layers)),
            "similarity": cells(found.similarity),
            "best": list(found.best),
            "returned": list(found.returned),
            "runs": found.runs,
        }
        for other, found in rectangles.found.items()
    }


def cells(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    """A matrix for a chart, to 3 decimals; null where it is not finite."""
    return [[round(value, 3) if np.isfinite(value) else None for value in row] for row in matrix.tolist()]


def _strategy(summary: StrategySummary, layers: Sequence[str]) -> dict[str, Any]:
    share = np.array([[e.value, e.low, e.high] for e in summary.boundary_share]).reshape(-1, 3)
    spread = summary.spread_similarity
    return {
        "runs": len(summary.findings),
        **({} if summary.layers == layers else {"labels": list(axis_names(summary.layers))}),  # not those of the task
        "share": cells(share),
        "mean": cells(summary.mean_similarity),
        "spread": cells(spread) if np.isfinite(spread).any() else None,
    }
