"""What one look gives to loggers, in the forms they take, each made at most once."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lightning_gw.figures.png import Picture, draw_pictures
from lightning_gw.figures.style import axis_names
from lightning_gw.interventions.passing import PASSING_MEASURES
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.loggers.charts import ADJACENT, GROWTH
from lightning_gw.loggers.scalars import Table, events_table, layer_scalars, layers_table, matrix_table, record_scalars
from lightning_gw.records.record import Record
from lightning_gw.records.rows import similarities_of
from lightning_gw.records.words.description import describe_record
from lightning_gw.utilities.text import short_names

STEP_KEY = "trainer/global_step"


#: Seconds that a logger may take to fail and still be asked again.
PATIENCE = 10.0
#: Rows of a table that W&B draws; further ones it cuts off without a word.
MOST_ROWS = 10_000
#: Layers of which all pairs, and each layer with itself, are as many rows.
_MOST_LAYERS = int((math.sqrt(8 * MOST_ROWS + 1) - 1) / 2)


@dataclass(frozen=True)
class Series:
    """Lines over training, for one chart.

    Attributes:
        title: Of the chart.
        rows: ``(step, line, value)``.
    """

    title: str
    rows: list[tuple[int, str, float]]


class LogContent:
    """One record in the forms loggers take, each made at most once however many loggers there are."""

    def __init__(
        self,
        record: Record,
        looks: Sequence[Record],
        prefix: str,
        drawn: Mapping[str, Picture | str] | None = None,
        every_layer: bool = False,
    ) -> None:
        self.record, self.looks, self.prefix, self._drawn = record, looks, prefix, drawn
        self._every_layer = every_layer
        self.problems: list[str] = []
        numbers, per_layer = record_scalars(record), layer_scalars(record)
        scalars = {prefix + key: value for key, value in (numbers | per_layer).items()}
        self.scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
        self._per_layer = frozenset(prefix + key for key in per_layer)
        if left_out := [key for key in scalars if key not in self.scalars]:
            self.problems.append(f"Not logged, because they are not finite: {', '.join(left_out)}.")
        if similarities_of(record.gw) is None:
            self.problems.append(
                f"No similarities were logged: geometry {record.gw.geometry!r} has none. Distances were."
            )

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """By key; one that could not be drawn is missing and named in `problems`."""
        names = ("similarity", "timeline")
        drawn = self._drawn if self._drawn is not None else draw_pictures(self.record, self.looks)
        pictures: dict[str, Picture] = {}
        for name in names:
            match drawn.get(name):
                case str() as problem:
                    self.problems.append(f"{self.prefix}{name} was not drawn: {problem}")
                case None:
                    pass
                case picture:
                    pictures[self.prefix + name] = picture
        return pictures

    @property
    def values(self) -> dict[str, float | str]:
        """The scalars as a logger with charts takes them: strength in words, and none that are in the `series`."""
        values: dict[str, float | str] = {
            key: value for key, value in self.scalars.items() if self._every_layer or key not in self._per_layer
        }
        values[f"{self.prefix}groups/strength"] = self.record.groups.strength
        if self.record.changed is not None:
            values[f"{self.prefix}changed/strength"] = self.record.changed.strength
        return values

    @cached_property
    def series(self) -> dict[str, Series]:
        """Distances to the next layer and their growth, one chart each however many layers there are."""
        drawn: dict[str, tuple[str, Callable[[Record], Iterable[float]]]] = {
            "adjacent": (ADJACENT.title, lambda record: record.groups.adjacent),
            "growth": (GROWTH.title, lambda record: record.growth),
        }
        return {
            self.prefix + key: Series(
                title,
                [
                    (record.step, name, float(value))
                    for record in self._looks_in_tables
                    for name, value in zip(axis_names(record.layers), of(record), strict=False)
                    if math.isfinite(value)
                ],
            )
            for key, (title, of) in drawn.items()
        }

    @cached_property
    def tables(self) -> dict[str, Table]:
        made = {
            "events": events_table(self.looks),
            "matrix": matrix_table(self.record, every=math.ceil(len(self.record.layers) / _MOST_LAYERS)),
            "layers": layers_table(self._looks_in_tables),
        }
        if len(self._looks_in_tables) < len(self.looks) or len(self.record.layers) > _MOST_LAYERS:
            self.problems.append(
                f"W&B draws no more than {MOST_ROWS} rows of a table: those of this run hold layers or looks evenly "
                "spread, and the pictures, the page and the artifact all of them."
            )
        return {self.prefix + name: table for name, table in made.items()}

    @cached_property
    def _looks_in_tables(self) -> Sequence[Record]:
        """As many looks as there is room for with a row for each layer: evenly spread, the first and the last too."""
        most = max(2, MOST_ROWS // len(self.record.layers))
        if len(self.looks) <= most:
            return self.looks
        return [self.looks[round(place)] for place in np.linspace(0, len(self.looks) - 1, most)]

    @property
    def step(self) -> int:
        return self.record.axis

    @property
    def caption(self) -> str:
        return f"step {self.record.step}: {self.record.summary()}"

    @property
    def texts(self) -> dict[str, str]:
        """By name, in Markdown."""
        names = short_names(self.record.layers)
        events = "\n".join(f"- {event.sentence(names)}" for event in self.record.events)
        return {"sentence": describe_record(self.record)} | ({"events": events} if events else {})


class SkipContent:
    """A skip test in the same forms."""

    def __init__(self, found: SkipTest, step: int, prefix: str) -> None:
        self.found, self.step, self.prefix = found, step, prefix
        self.problems: list[str] = []
        scalars = {f"{prefix}skip/rise/{row.layer}": row.rise for row in found.layers}
        scalars |= {f"{prefix}skip/correlation/{name}": value for name, value in found.correlations().items()}
        self.scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
        self.values: dict[str, float | str] = {**self.scalars}
        self.series: dict[str, Series] = {}
        self.caption = f"step {step}: {found.sentences()[0]}"
        self.texts = {"skip_test": "\n\n".join(found.sentences())}

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        from lightning_gw.figures import draw_skip_test  # Matplotlib is slow to import

        return {f"{self.prefix}skip_test": Picture.of(draw_skip_test(self.found))}

    @cached_property
    def tables(self) -> dict[str, Table]:
        columns = ("layer", "rise", "error", *PASSING_MEASURES, "reason")
        rows = [[getattr(row, column) for column in columns] for row in self.found.layers]
        return {f"{self.prefix}skip": Table(columns, rows)}


def remember(thing: Any, among: dict[int, weakref.ref[Any]]) -> None:
    key = id(thing)
    among[key] = weakref.ref(thing, lambda _: among.pop(key, None))


def name_of(logger: Any) -> str:
    return type(logger).__name__
