"""What looks under several settings and draws of the probe found, and how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_gw.groups.groups import Strength
from lightning_gw.probe_report.settings import ProbeSetting
from lightning_gw.utilities.storage.json_values import number, plain

#: Version of what `ProbeReport.to_json` gives.
SCHEMA = 1


@dataclass(frozen=True)
class ProbeLook:
    """What one draw of the probe found under one setting, told in the layers of the run's own setting.

    Attributes:
        draw: Which draw.
        inputs: Number of probe inputs.
        labels: Group of each of the run's layers; −1 for one that was left out or could not be measured.
        boundaries: Each ``k`` such that a group ends after the ``k``-th (0-based) of the run's layers.
        ranges: The groups as 1-based ranges of the run's layers; ``"none"`` where no boundary stands.
        strength: See `Groups`.
        contrast: See `Groups`.
        stability: Share of probe resamples in which the least stable boundary returned; NaN where there is none.
        seconds: Wall-clock seconds of the forward pass and the analysis.
    """

    draw: int
    inputs: int
    labels: tuple[int, ...]
    boundaries: tuple[int, ...]
    ranges: str
    strength: Strength
    contrast: float
    stability: float
    seconds: float


@dataclass(frozen=True)
class SettingFindings:
    """What the draws under one setting found.

    Attributes:
        setting: The setting.
        label: What sets it apart from the run's own, in words.
        looks: One for each draw that could be made.
        agreement: Adjusted Rand index of each look with the run's own setting on the same draw, averaged over draws;
            NaN where there is no such pair.
        repeat: Adjusted Rand index between the draws of this setting, averaged over pairs; NaN for a single draw.
        shared: Share of inputs that two draws have in common, averaged over pairs; NaN for a single draw. Where it is 1
            the draws are one, and their agreement says nothing.
        notes: What was done differently, in words.
        why: Why there is no look, in words; empty where there is one.
    """

    setting: ProbeSetting
    label: str
    looks: tuple[ProbeLook, ...]
    agreement: float = float("nan")
    repeat: float = float("nan")
    shared: float = float("nan")
    notes: tuple[str, ...] = ()
    why: str = ""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all looks."""
        return sum(look.seconds for look in self.looks)

    @property
    def same(self) -> bool:
        """Whether all draws found the same groups."""
        return len({look.labels for look in self.looks}) == 1

    def usual(self) -> tuple[str, int]:
        """The groups that most draws found, as ranges, and how many draws did; of equals those found first."""
        ranges, count = Counter(look.ranges for look in self.looks).most_common(1)[0]
        return ranges, count

    def share(self, boundary: int) -> float:
        """Share of draws in which a group ended after the run's layer `boundary`."""
        return sum(boundary in look.boundaries for look in self.looks) / len(self.looks) if self.looks else float("nan")


@dataclass(frozen=True)
class ProbeReport:
    """How groups depend on how one looks.

    Attributes:
        layers: The run's layers, in depth order.
        settings: What each setting found, the run's own first.
        draws: Draws asked for.
        analysis: How groups were found, as `Analysis.description` has it.
        source: Where the network and its inputs come from, in words.
        notes: What concerns all settings.
    """

    layers: tuple[str, ...]
    settings: tuple[SettingFindings, ...]
    draws: int
    analysis: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> SettingFindings:
        """The run's own setting."""
        return self.settings[0]

    def sizes(self) -> list[SettingFindings]:
        """The settings that differ from the run's own in size at most, smallest first."""
        own = self.own.setting
        found = [s for s in self.settings if s.looks and s.setting.differs(own) in ((), ("size",))]
        return sorted(found, key=lambda setting: setting.looks[0].inputs)

    def enough_inputs(self) -> int | None:
        """The smallest size looked at from which the groups no longer change, over draws and sizes; None if none is.

        Sizes whose draws are all of the same inputs cannot tell and are left out.
        """
        enough: int | None = None
        settled: tuple[int, ...] | None = None
        for found in reversed([s for s in self.sizes() if len(s.looks) > 1 and s.shared < 1]):
            labels = found.looks[0].labels
            if not found.same or (settled is not None and labels != settled):
                break
            enough, settled = found.looks[0].inputs, labels
        return enough

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; boundaries and layers count from 0."""
        gaps = range(len(self.layers) - 1)
        rows = [
            {
                "label": found.label,
                "setting": found.setting.to_json(),
                "agreement": number(found.agreement),
                "repeat": number(found.repeat),
                "shared_inputs": number(found.shared),
                "boundary_share": [number(found.share(k)) for k in gaps],
                "seconds": number(found.seconds),
                "why": found.why,
                "notes": list(found.notes),
                "looks": [plain(vars(look), f"look {look.draw}") for look in found.looks],
            }
            for found in self.settings
        ]
        return {
            "schema": SCHEMA,
            "source": self.source,
            "layers": list(self.layers),
            "draws": self.draws,
            "analysis": plain(self.analysis, "analysis"),
            "enough_inputs": self.enough_inputs(),
            "settings": rows,
            "notes": list(self.notes),
        }
