"""What one look found: the `Record`, and its JSON and array forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from lightning_gw.groups.groups import Groups, Strength
from lightning_gw.groups.tracking.events import Event
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.checks import check_shapes
from lightning_gw.records.context import LookContext
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.shown import Shown
from lightning_gw.utilities.storage.json_values import from_json, metrics_to_json, number, parse_number, plain, to_json

#: Version of the on-disk form; raised whenever a reader of the old one would misread the new one.
SCHEMA_VERSION = 1
#: What precedes the name of a further measure's matrix in the array file.
MEASURE_PREFIX = "measures/"
#: `Record.reference` of the first look at a network that had learnt nothing by then.
BEFORE_TRAINING = "itself, before training"
#: What `Record.group_ids` are called in a line.
_ON_DISK = "identities"
STRENGTHS = get_args(Strength)
#: The matrix's arrays, and those that were not kept at first.
_ARRAYS: dict[str, Any] = {
    "distortion": np.float64,
    "lower": np.float64,
    "identity": np.float64,
    "couplings": np.int64,
    "converged": np.bool_,
}
_LATER_ARRAYS: dict[str, Any] = {"variation": np.float64, "restricted": np.bool_}


@dataclass(frozen=True, kw_only=True)
class Record(LookContext, Shown):
    """What one look at the network found: its `LookContext`, and this.

    Attributes:
        layers: Names of the layers, ``L`` of them, in depth order.
        gw: Gromov-Wasserstein matrix with bounds, couplings and its identity column.
        groups: Groups of the Gromov-Wasserstein distances.
        groups_paired: Groups of the identity column, the paired measure on the same matrices.
        group_ids: Lasting identity of each group of `groups`, by group index; empty when there are no groups.
        events: What this look made certain to have happened to the groups; each names the look that first showed it.
        growth: ``(L − 1,)`` adjacent distances over their value at the first look of the run.
        measures: Further ``(L, L)`` similarity matrices from the same activations, by name: ``paired_dcor`` (squared
            distance correlation) and ``paired_cka`` (linear CKA).
        seconds: Wall-clock seconds this look cost the training.
        found_in: Which matrix `groups` were found in: ``"gw"``, that of `gw` itself, or ``"gw_anchored"`` or
            ``"gw_unpaired"``, which are among `measures`. `growth` and ``groups.adjacent`` are of that matrix too.
        null: What ``groups.p_value`` was held against, or why there is none, in words beginning with "none".
        reference: What `groups` are held against: steps that networks take which learnt nothing, in words; or why there
            is nothing, in words beginning with "none".
        changed: What this training changed since its start: the boundaries whose steps grew beyond those of the first
            look, whatever the network was then. None at the first look.
        dominance: ``(L,)`` share of each layer's squared distance that its most distant 5 % of inputs carry; None in
            records of older versions.
        effective_rank: ``(L,)`` number of directions that each layer spreads the inputs over, likewise.
        without_dominant: Boundaries that stand without the 5 % of inputs that are most distant on average; None where
            that was not tried.
        moved: ``(L,)`` how far each layer came by itself since the first look of the run: root mean square change of
            its matrix of distances between the inputs, over the matrix's own root mean square, which tells a layer
            before training from itself after (Merchant et al. 2020 do so by RSA). 0 where it puts out what it did, NaN
            for a degenerate layer; None in records of older versions.
        weights: Of each layer, whether its weights and what it gathers beside them (running statistics) are those of
            the first look: ``"same"``, ``"changed"``, or ``"none"`` where it has none of its own. None where that is
            not known.
        agreement: How far Gromov-Wasserstein agrees with each of `measures`, and with the identity column: measure to
            plain numbers (see `measures.agreements`).

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> from lightning_gw import GWSimilarity
        >>> model = BoringModel()
        >>> model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> watching = GWSimilarity(save_dir=folder.name, probe_size=16, verbose=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> Trainer(max_steps=4, callbacks=[watching], default_root_dir=folder.name, **quiet).fit(model)
        >>> last = watching.history[-1]
        >>> last.step, last.layers, last.gw.similarity.shape
        (4, ('layer.0', 'layer.1', 'layer.2', 'layer.3'), (4, 4))
        >>> last.groups.adjacent.shape, last.probe["size"]
        ((3,), 16)
        >>> folder.cleanup()
    """

    layers: tuple[str, ...]
    gw: GWMatrix
    groups: Groups
    groups_paired: Groups
    group_ids: tuple[int, ...]
    events: tuple[Event, ...]
    growth: FloatArray
    measures: Mapping[str, FloatArray]
    seconds: float = 0.0
    found_in: str = "gw"
    null: str = ""
    reference: str = ""
    changed: Groups | None = None
    dominance: FloatArray | None = None
    effective_rank: FloatArray | None = None
    without_dominant: tuple[int, ...] | None = None
    moved: FloatArray | None = None
    weights: tuple[str, ...] | None = None
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def identities(self) -> tuple[int, ...]:
        """An older name of `group_ids`."""
        return self.group_ids

    @property
    def before_training(self) -> bool:
        """Whether this is the first look at a network that had learnt nothing by then."""
        return self.reference == BEFORE_TRAINING

    def __repr__(self) -> str:
        return f"Record(step {self.step}, {len(self.layers)} layers: {self.summary().replace('  ', ', ')})"

    def found_similarity(self) -> FloatArray:
        """``(L, L)`` similarities in the matrix that `groups` were found in; see `found_in`.

        Raises:
            ValueError: If the geometry has no similarities.
        """
        found = self.measures.get(self.found_in)
        return self.gw.similarity if found is None else found

    def summary(self) -> str:
        """One line for a terminal: the groups as 1-based layer ranges and how strongly they stand out."""
        if self.before_training:
            steps = ", ".join(str(k + 1) for k in self.groups.built_in)
            return f"before training; largest steps of the architecture after {steps}" if steps else "before training"
        if self.groups.strength == "none":
            return "no groups"
        return f"{self.groups.ranges()}  {self.groups.strength}"

    def to_json(self) -> dict[str, Any]:
        """Everything but the matrices, as plain values that strict JSON can hold (docs/record-schema.md).

        NaN becomes None and an infinity the string ``"inf"`` or ``"-inf"``, because JSON has neither.

        Raises:
            ValueError: If the matrix names other layers than the record, or is one between two sets of layers.
            TypeError: If a metric is no number or a probe value is no plain JSON value; the message names it.
        """
        if self.gw.layers != self.layers:
            raise ValueError(
                f"The record of step {self.step} names the layers {list(self.layers)}, "
                f"but its matrix names {list(self.gw.layers)}; they must be the same, in the same order."
            )
        if self.gw.other_layers is not None:
            raise ValueError(
                f"The matrix of step {self.step} is one between two sets of layers; a record holds that of one set."
            )
        named = {"probe": plain(self.probe, "probe"), "metrics": metrics_to_json(self.metrics)}
        own = {name: to_json(getattr(self, name), kind) for name, kind in _LINE.items() if name not in named}
        own[_ON_DISK] = own.pop("group_ids")
        if self.logged_at is None:
            del own["logged_at"]
        return {
            "schema": SCHEMA_VERSION,
            **own,
            **{name: to_json(getattr(self.gw, name), kind) for name, kind in _LINE_OF_GW.items()},
            "gw_seconds": number(self.gw.seconds),
            "gw_solver": self.gw.solver,
            **named,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The matrices, by the names they have in the array file: float64, couplings as int32, flags as bool."""
        kept = {name: getattr(self.gw, name) for name in (*_ARRAYS, *_LATER_ARRAYS)}
        kinds = {**_ARRAYS, **_LATER_ARRAYS, "couplings": np.int32}
        arrays = {name: np.asarray(values, kinds[name]) for name, values in kept.items() if values is not None}
        for name, values in self.measures.items():
            arrays[MEASURE_PREFIX + name] = np.asarray(values, dtype=np.float64)
        return arrays

    @classmethod
    def from_json(cls, line: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Record:
        """Put a record together again from what `to_json` and `arrays` gave; keys it does not know are left alone.

        Args:
            line: The plain values.
            arrays: The matrices, by name.

        Raises:
            SchemaError: If the line was written under a newer schema than this version reads.
            ValueError: If something is missing or has the wrong form or shape; the message names it.
        """
        check_schema(line)
        try:
            record = cls._from_parts(line, arrays)
        except KeyError as error:
            raise ValueError(f"it lacks {error.args[0]!r}") from error
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"a value has the wrong form ({error})") from error
        check_shapes(record)
        return record

    @classmethod
    def _from_parts(cls, line: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Record:
        for groups in (line["groups"], line["groups_paired"]):
            if (strength := groups["strength"]) not in STRENGTHS:
                raise ValueError(f"strength is {strength!r}, where one of {list(STRENGTHS)} was expected")
        # Older records lack some of these, and their defaults are what was the case then.
        line = {**line, "group_ids": line[_ON_DISK]}
        own = {name: from_json(line[name], kind) for name, kind in _LINE.items() if name in line or name in _NEEDED}
        of_gw: dict[str, Any] = {
            name: from_json(line[name], kind) for name, kind in _LINE_OF_GW.items() if line.get(name) is not None
        }
        matrix: dict[str, Any] = {name: np.asarray(arrays[name], kind) for name, kind in _ARRAYS.items()}
        matrix |= {name: np.asarray(arrays[name], kind) for name, kind in _LATER_ARRAYS.items() if name in arrays}
        matrix |= {"geometry": line["geometry"], **of_gw}
        seconds, solver = parse_number(line.get("gw_seconds", 0.0)), str(line.get("gw_solver", ""))
        gw = GWMatrix(layers=own["layers"], seconds=seconds, solver=solver, **matrix)
        measures = {
            name.removeprefix(MEASURE_PREFIX): np.asarray(values, dtype=np.float64)
            for name, values in sorted(arrays.items())
            if name.startswith(MEASURE_PREFIX)
        }
        return cls(gw=gw, measures=measures, **own)


class SchemaError(ValueError):
    """A record was written under a newer schema than this version can read."""


def check_schema(line: Mapping[str, Any]) -> None:
    """Refuse a line that a newer version wrote, which this one might misread.

    Raises:
        SchemaError: If it has a newer schema version.
        ValueError: If it names no schema version.
    """
    version = line.get("schema")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f"its schema version is {version!r}, where a whole number was expected")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"it was written under record schema {version}, and this version of lightning-gw reads up to "
            f"{SCHEMA_VERSION}; upgrade lightning-gw to read it"
        )


_HINTS = get_type_hints(Record)
#: Fields whose values a line holds, and those of the matrix that stand beside them, by type.
_LINE = {name: _HINTS[name] for name in Record.__dataclass_fields__ if name not in ("gw", "measures")}
_LATER = {"reference", "changed", "dominance", "effective_rank", "without_dominant", "moved", "weights"}
_NEEDED = frozenset(_LINE) - {"metrics", "seconds", "notes", "logged_at", "found_in", "null", "agreement"} - _LATER
_LINE_OF_GW = {"geometry": str, "unit_scale": bool, "anchor": float, "warm_looks": int, "degenerate": dict[str, str]}
