"""A look that waits to be solved, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from lightning_gw.analysis.analysis import Analysis
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record
from lightning_gw.utilities.random_state import usual_defaults


@dataclass(frozen=True)
class LookJob:
    """One look that was made and waits to be solved.

    Attributes:
        context: When and how it was made.
        representations: Layer name → ``(n, d)``.
        carried: What this record is to say of looks before it, which are missing.
        seconds: What the look cost the training so far.
        first: Whether it is the first of its history, whose errors always end a training that has not begun yet.
        null: What it and all that follow are held against, as `evidence.null_state` gives it; None keeps what there is.
        weights: Layer → what tells its weights from any others; empty where that is not known.
    """

    context: LookContext
    representations: Mapping[str, Tensor]
    carried: tuple[str, ...] = ()
    seconds: float = 0.0
    first: bool = False
    null: Mapping[str, Any] | None = None
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Trainer global step."""
        return self.context.step

    def state_dict(self) -> dict[str, Any]:
        """Everything in plain types and tensors, for a checkpoint or another process."""
        fields = vars(self.context) | vars(self)
        left_out = {"context"} if self.context.logged_at is not None else {"context", "logged_at"}
        return {name: _plainly(value) for name, value in fields.items() if name not in left_out}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LookJob:
        """Put together again what `state_dict` gave."""
        values = {**state, "notes": tuple(state["notes"]), "carried": tuple(state["carried"])}
        context = LookContext(**{name: values.pop(name) for name in LookContext.__dataclass_fields__ if name in values})
        return cls(context, **values)

    def solve(self, analysis: Analysis, shared: bool = False) -> Record:
        """The record, whose ``seconds`` are those of the analysis alone.

        Args:
            analysis: What solves it.
            shared: Whether all processes of the training come by here and share the work.
        """
        context = replace(self.context, notes=(*self.context.notes, *self.carried))
        with usual_defaults():
            group: Literal["world"] | None = "world" if shared else None
            return analysis.look(self.representations, context, self.null, self.weights, process_group=group)


@dataclass(frozen=True)
class LookResult:
    """What became of a look.

    Attributes:
        job: The look.
        record: What was found; None where solving failed.
        error: Why it failed.
        before: State of the analysis before the look.
        after: And after it; the same where it failed, but for what came with it (see `failed`).
        solving: Seconds that solving took, wherever it was done.
        alone: Seconds it would have taken with nothing beside it; 0 where that is not known.
        aside: Whether training went on meanwhile.
        pictures: What `figures.png.draw_pictures` gives, where they were drawn already.
    """

    job: LookJob
    record: Record | None
    error: Exception | None
    before: dict[str, Any]
    after: dict[str, Any]
    solving: float
    alone: float = 0.0
    aside: bool = False
    pictures: Mapping[str, Any] | None = None


def failed(
    job: LookJob, error: Exception, memory: dict[str, Any], solving: float = 0.0, aside: bool = False
) -> LookResult:
    """What becomes of a look that fails: nothing is remembered of it but the null that later looks are held against.

    A null comes with the look before training. Without that look nobody knows what the network was then, and those that
    come later do not pass for it.
    """
    after = memory
    if job.null is not None:
        lost = f"its first look (step {job.step}) failed, which alone saw it before training"
        after = {**memory, "null": job.null, "trained": str(job.null.get("trained") or lost)}
    return LookResult(job, None, error, memory, after, solving, aside=aside)


def _plainly(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: tensor.cpu() if isinstance(tensor, Tensor) else tensor for name, tensor in value.items()}
    return list(value) if isinstance(value, tuple) else value
