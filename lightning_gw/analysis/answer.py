"""What the last look found, kept for the next: where nothing changed that it depends on, it holds once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from lightning_gw.analysis.start import Start
from lightning_gw.gw.result import GWMatrix
from lightning_gw.significance import Null
from lightning_gw.utilities.distributed import digest


@dataclass(frozen=True)
class Question:
    """Everything that what a look finds depends on, beside the configuration and what was found before.

    Attributes:
        layers: Name and digest of every layer's representations, in depth order.
        probe: How the layers were looked at.
        notes: What was missing or different in that.
        weights: What tells the weights of each layer from any others.
        null: What is held against it; the same object, not one that is equal.
        start: The look it is held against, likewise.
    """

    layers: tuple[tuple[str, str], ...]
    probe: Mapping[str, Any]
    notes: tuple[str, ...]
    weights: Mapping[str, str]
    null: Null | str = field(compare=False)
    start: Start | None = field(compare=False)

    @staticmethod
    def of(
        representations: Mapping[str, Tensor],
        probe: Mapping[str, Any],
        notes: tuple[str, ...],
        weights: Mapping[str, str],
        null: Null | str,
        start: Start | None,
    ) -> Question:
        """Of what `Analysis.look` is given and what it remembers; `representations` are ``(n, d)`` by layer."""
        layers = tuple((name, digest(values)) for name, values in representations.items())
        return Question(layers, dict(probe), notes, dict(weights), null, start)

    def repeats(self, other: Question) -> bool:
        """Whether it is the same question once more."""
        return self == other and self.null is other.null and self.start is other.start


@dataclass(frozen=True)
class Answer:
    """What a look found.

    Attributes:
        question: What it depends on.
        found: Fields of its record that come from the look alone.
        anchored: The matrix that its groups were found in.
        start: The look it is held against.
    """

    question: Question
    found: dict[str, Any]
    anchored: GWMatrix
    start: Start

    def once_more(self, warm: bool) -> Answer:
        """The same for the next look; `warm` says whether its search would have begun with the matrices of this one."""
        gw, anchored = (
            replace(matrix, warm_looks=matrix.warm_looks + warm, seconds=0.0)
            for matrix in (self.found["gw"], self.anchored)
        )
        same = self.anchored is self.found["gw"]
        return replace(self, found={**self.found, "gw": gw}, anchored=gw if same else anchored)
