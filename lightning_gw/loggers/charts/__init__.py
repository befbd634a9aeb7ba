"""Vega-Lite charts of the tables that W&B gets, as presets that a workspace shows.

A preset is a Vega-Lite specification whose fields are named ``${field:name}``; W&B puts the columns of a table in their
place and gives the table's rows as the data set ``wandb``. Any other renderer draws it once it is `filled`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Chart:
    """A preset, and the table it is made for.

    Attributes:
        name: Names its file here, and with what the file holds, the preset in W&B.
        title: What a person calls it.
        table: Key of the table, without prefix.
        fields: Field of the specification → column of the table.
    """

    name: str
    title: str
    table: str
    fields: Mapping[str, str]

    @property
    def preset(self) -> str:
        """What W&B calls it: another name for other content, since it replaces no preset by one of the same name."""
        return f"{self.name}-{hashlib.sha256(_text(self.name).encode()).hexdigest()[:8]}"

    @property
    def specification(self) -> dict[str, Any]:
        """The Vega-Lite specification with its fields open, as W&B takes it."""
        content: dict[str, Any] = json.loads(_text(self.name))
        return content

    def filled(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The specification with the columns in the places of its fields and the rows inside, for any renderer.

        Args:
            rows: Of the table.
        """
        text = _text(self.name)
        for field, column in self.fields.items():
            text = text.replace(f"${{field:{field}}}", column)
        whole: dict[str, Any] = json.loads(text)
        return whole | {"data": {"name": "wandb", "values": list(rows)}}


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")


#: Every layer against every other, in the two halves of one square; groups outlined.
MATRIX = Chart(
    "gw-layer-matrix",
    "How alike the layers are",
    "matrix",
    {
        "a": "place_a", "b": "place_b", "name_a": "layer_a", "name_b": "layer_b", "group": "group",
        "found": "found", "similarity": "similarity", "bound": "similarity_bound", "paired": "paired",
        "ends": "sequence_ends_after",
    },
)  # fmt: skip
#: Which group every layer belongs to, look by look.
TIMELINE = Chart(
    "gw-group-timeline",
    "Groups over training",
    "layers",
    {
        "start": "start", "end": "end", "step": "step", "layer": "layer", "name": "name",
        "group": "group", "strength": "strength", "boundary": "boundary_after", "ends": "sequence_ends_after",
    },
)  # fmt: skip
#: Distances to the next layer, one line a layer.
ADJACENT = Chart(
    "gw-adjacent-distances",
    "Distance from each layer to the next",
    "layers",
    {"step": "step", "layer": "layer", "name": "name", "value": "distance_to_next"},
)
#: The same over their values at the first look.
GROWTH = Chart(
    "gw-growth",
    "Growth of the distance to the next layer since the first look",
    "layers",
    {"step": "step", "layer": "layer", "name": "name", "value": "growth"},
)
CHARTS = (TIMELINE, MATRIX, ADJACENT, GROWTH)
