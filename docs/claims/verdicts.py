"""What became of a claim, and the table that the results begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightning_gw.statistics.results import Estimate

LEVEL = 0.05
#: What stands for all networks together.
POOLED = "all networks"
#: Of which version of the paper a claim is; the last is none of it.
FIRST, LATER, OURS = "first (2024)", "later (2025)", "this project"
#: What the verdicts cannot say, beside the first table.
LIMITS = (
    "Encoders here have six layers, one of them distilled (MiniLM); in full-size encoders of twelve layers and more "
    "block structure is known to be plainer. The one larger model, of 30 layers, was read from a 4-bit file.",
    "Trainings are short, of a thousand optimizer steps and fewer; what grows slowly is not seen.",
    "Seeds of a pre-trained network share its weights: they differ in the order of training and, of the language model "
    "alone, in the texts. What is found of it is found of that network.",
    "With five seeds a single network cannot reach p below 1/16, two-sided. Tests therefore pool networks and seeds, "
    "and p says whether the networks tried here differ beyond seed noise, not whether all networks do.",
    "Where no groups stood out, the best cut was taken all the same, so that groups could be tried at all; each "
    "claim says how often.",
)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: The claim, in one sentence.
        found: ``"found"``, ``"not found"``, ``"not judged"`` or ``"found, with a condition"``, with what follows a
            colon.
        evidence: The figures behind it, one sentence each.
        table: More of them, as rows, the first of which names the columns.
        version: Of which version of the paper it is.
        effect: How large it is, with a 95 % interval, in a few words.
        control: What it is held against, in a few words.
        picture: Name of its picture, without ``results-`` and ``.png``; empty for none.
        panels: What the picture shows: title of a panel to what is compared, the network and the estimate.
        better: What a value above zero means in it.
    """

    claim: str
    found: str
    evidence: tuple[str, ...]
    table: tuple[tuple[str, ...], ...] = ()
    version: str = FIRST
    effect: str = ""
    control: str = ""
    picture: str = ""
    panels: Mapping[str, Sequence[tuple[str, str, Estimate]]] = field(default_factory=dict)
    better: str = ""


def first_table(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    """Rows of the table that the results begin with, the first of which names the columns."""
    yield "claim", "of the paper's version", "verdict", "effect (95 % interval)", "held against"
    for verdict in verdicts:
        yield verdict.claim, verdict.version, f"**{verdict.found}**", verdict.effect, verdict.control


def with_interval(estimate: Estimate, form: str = ".2f") -> str:
    """An estimate in words: ``0.50 (0.30 to 0.70)``."""
    if np.isnan(estimate.value):
        return "unknown"
    value = format(estimate.value, form)
    if np.isnan(estimate.low):
        return f"{value} (no interval)"
    return f"{value} ({format(estimate.low, form)} to {format(estimate.high, form)})"
