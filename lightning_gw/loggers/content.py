"""What one look gives to loggers, in the forms they take, each made at most once."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from lightning_gw.figures.png import Picture, draw_pictures
from lightning_gw.interventions.passing import PASSING_MEASURES
from lightning_gw.interventions.skips import SkipTest
from lightning_gw.loggers.scalars import Table, events_table, matrix_table, record_scalars, similarities_of
from lightning_gw.records.description import describe_record
from lightning_gw.records.record import Record

STEP_KEY = "trainer/global_step"


#: Seconds that a logger may take to fail and still be asked again.
PATIENCE = 10.0


class LogContent:
    """One record in the forms loggers take, each made at most once however many loggers there are."""

    def __init__(
        self, record: Record, looks: Sequence[Record], prefix: str, drawn: Mapping[str, Picture | str] | None = None
    ) -> None:
        self.record, self.looks, self.prefix, self._drawn = record, looks, prefix, drawn
        self.problems: list[str] = []
        scalars = {prefix + key: value for key, value in record_scalars(record).items()}
        self.scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
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

    @cached_property
    def tables(self) -> dict[str, Table]:
        return {self.prefix + "events": events_table(self.looks), self.prefix + "matrix": matrix_table(self.record)}

    @property
    def step(self) -> int:
        return self.record.step

    @property
    def caption(self) -> str:
        return f"step {self.record.step}: {self.record.summary()}"

    @property
    def texts(self) -> dict[str, str]:
        """By name, in Markdown."""
        events = "\n".join(f"- {event.sentence()}" for event in self.record.events)
        return {"sentence": describe_record(self.record)} | ({"events": events} if events else {})


class SkipContent:
    """A skip test in the same forms."""

    def __init__(self, found: SkipTest, step: int, prefix: str) -> None:
        self.found, self.step, self.prefix = found, step, prefix
        self.problems: list[str] = []
        scalars = {f"{prefix}skip/rise/{row.layer}": row.rise for row in found.layers}
        scalars |= {f"{prefix}skip/correlation/{name}": value for name, value in found.correlations().items()}
        self.scalars = {key: value for key, value in scalars.items() if math.isfinite(value)}
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
