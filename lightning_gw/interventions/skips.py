"""What a skip test found, and its table, sentences and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gw.groups.groups import layer_ranges
from lightning_gw.interventions.passing import PASSING_MEASURES
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.storage.files import read_text
from lightning_gw.utilities.storage.json_values import from_json, to_json
from lightning_gw.utilities.text import plural

#: Fewer layers than this have no rank correlation that says something.
FEWEST_RANKED = 4


@dataclass(frozen=True)
class LayerSkip:
    """One layer left out.

    Attributes:
        layer: Its name.
        rise: How far the metric rose without it; NaN where it could not be left out.
        error: Standard error of `rise` over batches; NaN where there is one batch.
        adjacent: Gromov-Wasserstein distance from what comes in to what goes out.
        one_minus_cka: One minus linear CKA of the two.
        one_minus_cosine: One minus their cosine, the mean over inputs and positions.
        reason: Why it could not be left out; empty where it could.
        calls: Calls in one forward pass; all of them are left out together.
    """

    layer: str
    rise: float
    error: float
    adjacent: float
    one_minus_cka: float
    one_minus_cosine: float
    reason: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Control:
    """A random block of layers left out.

    Attributes:
        layers: Its layers.
        rise: How far the metric rose.
    """

    layers: tuple[str, ...]
    rise: float


@dataclass(frozen=True)
class GroupSkip:
    """The interior of one group left out.

    Attributes:
        members: Indices of the group's layers, from 0.
        interior: Layers that were left out.
        rise: How far the metric rose; NaN where they could not be left out.
        error: Standard error of `rise` over batches.
        reason: Why they could not be left out; empty where they could.
        controls: Random blocks of as many layers.
    """

    members: tuple[int, ...]
    interior: tuple[str, ...]
    rise: float
    error: float
    reason: str
    controls: tuple[Control, ...]

    @property
    def control_rise(self) -> float:
        """Mean rise of the random blocks; NaN where there are none."""
        rises = [control.rise for control in self.controls if np.isfinite(control.rise)]
        return float(np.mean(rises)) if rises else float("nan")


@dataclass(frozen=True)
class SkipTest:
    """What a network loses without its layers.

    Attributes:
        metric: Name of the metric.
        mode: ``"min"`` where less of it is better, else ``"max"``.
        whole: The metric of the whole network.
        inputs: Inputs it was measured on.
        layers: One row per layer, in depth order.
        groups: One per group that has an interior; none where there are no groups.
        labels: Group of each layer; None without groups.
        strength: Of the groups; empty without.
    """

    metric: str
    mode: str
    whole: float
    inputs: int
    layers: tuple[LayerSkip, ...]
    groups: tuple[GroupSkip, ...] = ()
    labels: tuple[int, ...] | None = None
    strength: str = ""

    @property
    def damage(self) -> FloatArray:
        """``(L,)`` how much worse the metric is without each layer: `rise`, or its negative with mode ``"max"``."""
        return self.harm([row.rise for row in self.layers])

    def harm(self, rises: Any) -> FloatArray:
        """Rises of the metric as damage: higher is worse."""
        return np.asarray(rises, dtype=np.float64) * (1.0 if self.mode == "min" else -1.0)

    def correlations(self) -> dict[str, float]:
        """Spearman's rank correlation of `damage` with every measure, over the layers that have both.

        NaN with fewer than `FEWEST_RANKED` of them, or where all are equal.
        """
        from scipy.stats import rankdata

        found = {}
        for measure in PASSING_MEASURES:
            said = np.array([getattr(row, measure) for row in self.layers])
            both = np.isfinite(said) & np.isfinite(self.damage)
            x, y = rankdata(said[both]), rankdata(self.damage[both])
            known = both.sum() >= FEWEST_RANKED and x.std() > 0 and y.std() > 0
            found[measure] = float(np.corrcoef(x, y)[0, 1]) if known else float("nan")
        return found

    def sentences(self) -> list[str]:
        """What was found, in words; layers counted from 1."""
        damage = self.damage
        if not np.isfinite(damage).any():
            return ["No layer could be left out."]
        worst, least = int(np.nanargmax(damage)), int(np.nanargmin(damage))
        said = [
            f"{self.metric} is {self.whole:.4g} on {self.inputs} inputs, and "
            f"{'less' if self.mode == 'min' else 'more'} of it is better. It suffers most without layer {worst + 1} "
            f"({self.layers[worst].layer}: {signed(self.layers[worst].rise)}) and least without layer {least + 1} "
            f"({self.layers[least].layer}: {signed(self.layers[least].rise)})."
        ]
        ranked = {name: value for name, value in self.correlations().items() if np.isfinite(value)}
        if ranked:
            told = ", ".join(f"{WORDS[name]} {value:.2f}" for name, value in ranked.items())
            said.append(f"Rank correlation of the damage with the measures of similarity: {told}.")
        return [*said, *(self._of_group(group) for group in self.groups)]

    def _of_group(self, group: GroupSkip) -> str:
        where = f"group {layer_ranges(group.members)}"
        if group.reason:
            return f"The interior of {where} could not be left out: {group.reason}."
        told = f"Without the {plural(len(group.interior), 'interior layer')} of {where}: {signed(group.rise)}"
        if not group.controls:
            return f"{told}."
        worse = sum(bool(self.harm(group.rise) > self.harm(control.rise)) for control in group.controls)
        shared = min(len(set(control.layers) & set(group.interior)) for control in group.controls)
        overlap = f" Each of these shares {shared} or more of the {len(group.interior)}, so that this tests no group."
        return (
            f"{told}; without as many layers in a row chosen at random: {signed(group.control_rise)} on average, and "
            f"less damage than the group's in {worse} of {len(group.controls)}."
            f"{overlap if 2 * shared > len(group.interior) else ''}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, with `correlations` and `sentences`."""
        extra = {"correlations": to_json(self.correlations(), dict[str, float]), "sentences": self.sentences()}
        return {**to_json(self), **extra}


def read_skip_test(file: Path) -> tuple[SkipTest, int]:
    """A skip test from its file, and the step of training that it is of.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
    """
    try:
        content = json.loads(read_text(file))
        found, step = from_json(content, SkipTest), from_json(content["step"], int)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is no skip test ({error})") from error
    if found.labels is not None and len(found.labels) != len(found.layers):
        raise ValueError(f"it has groups of {len(found.labels)} layers, and {len(found.layers)} layers")
    if any(not 0 <= place < len(found.layers) for group in found.groups for place in group.members):
        raise ValueError("one of its groups has a layer that it does not have")
    return found, step


#: What measures are called in front of people.
WORDS = {"adjacent": "GW distance", "one_minus_cka": "1 − CKA", "one_minus_cosine": "1 − cosine"}


def signed(value: float) -> str:
    """``+0.12`` or ``−0.3``."""
    return f"{value:+.3g}".replace("-", "−")
