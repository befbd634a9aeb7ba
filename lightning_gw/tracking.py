"""Groups through training: which group is which from one look to the next, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EventKind = Literal["birth", "death", "split", "merge", "boundary_moved"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a group between two looks.

    Attributes:
        kind: ``birth`` (a group where there was none), ``death``, ``split`` (out of `others`), ``merge`` (of `others`
            into `group`), ``boundary_moved`` (`boundary_from` → `boundary_to`, between `group` and ``others[0]``).
        step: Trainer global step of the look that showed it.
        group: Identity of the group, the same number for its whole life.
        layers: Indices of the group's layers at this look (at the previous one for a death).
        others: Identities of the other groups that took part.
        boundary_from: Where the boundary stood: the 0-based layer it came after.
        boundary_to: Where it stands now.
    """

    kind: EventKind
    step: int
    group: int
    layers: tuple[int, ...]
    others: tuple[int, ...] = ()
    boundary_from: int | None = None
    boundary_to: int | None = None

    def sentence(self) -> str:
        """What happened, in words, with 1-based layer numbers."""
        span = f"{self.layers[0] + 1}–{self.layers[-1] + 1}" if len(self.layers) > 1 else f"{self.layers[0] + 1}"
        match self.kind:
            case "birth":
                return f"Layers {span} became a group."
            case "death":
                return f"The group of layers {span} dissolved."
            case "split":
                return f"Layers {span} split off into a group of their own."
            case "merge":
                return f"Layers {span} merged into one group."
            case "boundary_moved":
                assert self.boundary_from is not None
                assert self.boundary_to is not None
                return (
                    f"The boundary after layer {self.boundary_from + 1} moved to after layer {self.boundary_to + 1}."
                )
