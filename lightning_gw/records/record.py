"""What one look found: the `Record`, and its JSON and array forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_gw.groups.events import Event
from lightning_gw.groups.groups import Groups, Strength
from lightning_gw.gw.result import GWMatrix
from lightning_gw.utilities.json_values import (
    integers,
    metrics_from_json,
    metrics_to_json,
    number,
    numbers,
    parse_number,
    parse_numbers,
    plain,
)

FloatArray = NDArray[np.float64]

#: Version of the on-disk form; raised whenever a reader of the old one would misread the new one.
SCHEMA_VERSION = 1
#: What precedes the name of a further measure's matrix in the array file.
MEASURE_PREFIX = "measures/"
STRENGTHS = get_args(Strength)


@dataclass(frozen=True)
class Record:
    """What one look at the network found.

    Attributes:
        step: Trainer global step of the look.
        epoch: Trainer epoch of the look, from 0.
        layers: Names of the layers, ``L`` of them, in depth order.
        gw: Gromov-Wasserstein matrix with bounds, couplings and its identity column.
        groups: Groups of the Gromov-Wasserstein distances.
        groups_paired: Groups of the identity column, the paired measure on the same matrices.
        identities: Lasting identity of each group of `groups`, by group index; empty when there are no groups.
        events: What this look made certain to have happened to the groups; each names the look that first showed it.
        growth: ``(L − 1,)`` adjacent distances over their value at the first look of the run.
        measures: Further ``(L, L)`` similarity matrices from the same activations, by name: ``paired_dcor`` (squared
            distance correlation) and ``paired_cka`` (linear CKA).
        probe: How the layers were looked at: ``hash``, ``size``, ``source``, ``pooling`` (plain JSON values).
        metrics: The run's own scalars as last known at this step; a validation may lie some steps back.
        seconds: Wall-clock seconds this look cost the training.
        notes: What is missing from this record or was done differently, and why, in plain words.
        found_in: Which matrix `groups` were found in: ``"gw"``, that of `gw` itself, or ``"gw_anchored"`` or
            ``"gw_unpaired"``, which are among `measures`. `growth` and ``groups.adjacent`` are of that matrix too.
        null: What ``groups.p_value`` was held against, or why there is none, in words beginning with "none".
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

    step: int
    epoch: int
    layers: tuple[str, ...]
    gw: GWMatrix
    groups: Groups
    groups_paired: Groups
    identities: tuple[int, ...]
    events: tuple[Event, ...]
    growth: FloatArray
    measures: Mapping[str, FloatArray]
    probe: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    found_in: str = "gw"
    null: str = ""
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for a terminal: the groups as 1-based layer ranges and how strongly they stand out."""
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
        return {
            "schema": SCHEMA_VERSION,
            "step": int(self.step),
            "epoch": int(self.epoch),
            "layers": list(self.layers),
            "geometry": self.gw.geometry,
            "unit_scale": bool(self.gw.unit_scale),
            "anchor": number(self.gw.anchor),
            "warm_looks": int(self.gw.warm_looks),
            "groups": _groups_to_json(self.groups),
            "groups_paired": _groups_to_json(self.groups_paired),
            "identities": integers(self.identities),
            "events": [_event_to_json(event) for event in self.events],
            "growth": numbers(self.growth),
            "probe": plain(self.probe, "probe"),
            "metrics": metrics_to_json(self.metrics),
            "seconds": number(self.seconds),
            "gw_seconds": number(self.gw.seconds),
            "gw_solver": self.gw.solver,
            "degenerate": dict(self.gw.degenerate),
            "notes": list(self.notes),
            "found_in": self.found_in,
            "null": self.null,
            "agreement": {
                measure: {name: number(value) for name, value in values.items()}
                for measure, values in self.agreement.items()
            },
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The matrices, by the names they have in the array file: float64, couplings as int32, flags as bool."""
        arrays: dict[str, NDArray[Any]] = {
            "distortion": np.asarray(self.gw.distortion, dtype=np.float64),
            "lower": np.asarray(self.gw.lower, dtype=np.float64),
            "identity": np.asarray(self.gw.identity, dtype=np.float64),
            "couplings": np.asarray(self.gw.couplings, dtype=np.int32),
            "converged": np.asarray(self.gw.converged, dtype=np.bool_),
        }
        if self.gw.variation is not None:
            arrays["variation"] = np.asarray(self.gw.variation, dtype=np.float64)
        if self.gw.restricted is not None:
            arrays["restricted"] = np.asarray(self.gw.restricted, dtype=np.bool_)
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
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a value has the wrong form ({error})") from error
        record._check_shapes()
        return record

    @classmethod
    def _from_parts(cls, line: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Record:
        layers = tuple(str(name) for name in line["layers"])
        variation, restricted = arrays.get("variation"), arrays.get("restricted")
        gw = GWMatrix(
            layers=layers,
            geometry=str(line["geometry"]),
            distortion=np.asarray(arrays["distortion"], dtype=np.float64),
            lower=np.asarray(arrays["lower"], dtype=np.float64),
            identity=np.asarray(arrays["identity"], dtype=np.float64),
            couplings=np.asarray(arrays["couplings"], dtype=np.int64),
            converged=np.asarray(arrays["converged"], dtype=np.bool_),
            degenerate={str(name): str(reason) for name, reason in line.get("degenerate", {}).items()},
            variation=None if variation is None else np.asarray(variation, dtype=np.float64),
            seconds=parse_number(line.get("gw_seconds", 0.0)),
            solver=str(line.get("gw_solver", "")),
            # What follows was not kept at first: None is what the geometry's name says, or that it is not known.
            anchor=parse_number(line.get("anchor", 0.0)),
            warm_looks=int(line.get("warm_looks", 0)),
            unit_scale=None if line.get("unit_scale") is None else bool(line["unit_scale"]),
            restricted=None if restricted is None else np.asarray(restricted, dtype=np.bool_),
        )
        return cls(
            step=int(line["step"]),
            epoch=int(line["epoch"]),
            layers=layers,
            gw=gw,
            groups=_groups_from_json(line["groups"]),
            groups_paired=_groups_from_json(line["groups_paired"]),
            identities=tuple(int(identity) for identity in line["identities"]),
            events=tuple(_event_from_json(event) for event in line["events"]),
            growth=parse_numbers(line["growth"]),
            measures={
                name.removeprefix(MEASURE_PREFIX): np.asarray(values, dtype=np.float64)
                for name, values in sorted(arrays.items())
                if name.startswith(MEASURE_PREFIX)
            },
            probe=dict(line["probe"]),
            metrics=metrics_from_json(line.get("metrics", {})),
            seconds=parse_number(line.get("seconds", 0.0)),
            notes=tuple(str(note) for note in line.get("notes", ())),
            # Older records lack these: their groups are of the matrix itself, and there were no nulls.
            found_in=str(line.get("found_in", "gw")),
            null=str(line.get("null", "")),
            agreement={
                str(measure): {str(name): parse_number(value) for name, value in values.items()}
                for measure, values in line.get("agreement", {}).items()
            },
        )

    def _check_shapes(self) -> None:
        size = len(self.layers)
        gaps = max(size - 1, 0)
        square = {"distortion": self.gw.distortion, "lower": self.gw.lower, "identity": self.gw.identity}
        square |= {MEASURE_PREFIX + name: values for name, values in self.measures.items()}
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
        shapes = {name: (values.shape, (size, size)) for name, values in square.items()}
        shapes["converged"] = (self.gw.converged.shape, (size, size))
        if self.gw.restricted is not None:
            shapes["restricted"] = (self.gw.restricted.shape, (size, size))
        shapes["couplings"] = (self.gw.couplings.shape, (size, size, *self.gw.couplings.shape[2:3]))
        if self.gw.variation is not None:
            shapes["variation"] = (self.gw.variation.shape, (size,))
        for name, groups in (("groups", self.groups), ("groups_paired", self.groups_paired)):
            shapes[f"{name}.labels"] = ((len(groups.labels),), (size,))
            shapes[f"{name}.adjacent"] = (groups.adjacent.shape, (gaps,))
        shapes["growth"] = (self.growth.shape, (gaps,))
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ValueError(f"{name} has shape {found}, where {size} layers ask for {expected}")


class SchemaError(ValueError):
    """A record was written under a newer schema than this version can read."""


def check_schema(line: Mapping[str, Any]) -> None:
    """Refuse a line that a newer version wrote, which this one might misread.

    Raises:
        SchemaError: If it has a newer schema version.
        ValueError: If it names no schema version.
    """
    version = line.get("schema")
    if not isinstance(version, int):
        raise ValueError(f"its schema version is {version!r}, where a whole number was expected")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"it was written under record schema {version}, and this version of lightning-gw reads up to "
            f"{SCHEMA_VERSION}; upgrade lightning-gw to read it"
        )


def _groups_to_json(groups: Groups) -> dict[str, Any]:
    return {
        "labels": integers(groups.labels),
        "boundaries": integers(groups.boundaries),
        "adjacent": numbers(groups.adjacent),
        "strength": groups.strength,
        "contrast": number(groups.contrast),
        "roughness": number(groups.roughness),
        "proposed": integers(groups.proposed),
        "p_value": None if groups.p_value is None else number(groups.p_value),
        "stability": None if groups.stability is None else numbers(groups.stability),
        "support": None if groups.support is None else numbers(groups.support),
        "noise": None if groups.noise is None else numbers(groups.noise),
    }


def _groups_from_json(groups: Mapping[str, Any]) -> Groups:
    strength = groups["strength"]
    if strength not in STRENGTHS:
        raise ValueError(f"strength is {strength!r}, where one of {list(STRENGTHS)} was expected")
    p_value, stability = groups.get("p_value"), groups.get("stability")
    support, noise = groups.get("support"), groups.get("noise")  # not kept at first
    return Groups(
        labels=tuple(int(label) for label in groups["labels"]),
        boundaries=tuple(int(boundary) for boundary in groups["boundaries"]),
        adjacent=parse_numbers(groups["adjacent"]),
        strength=strength,
        contrast=parse_number(groups["contrast"]),
        roughness=parse_number(groups["roughness"]),
        proposed=tuple(int(boundary) for boundary in groups.get("proposed", ())),
        p_value=None if p_value is None else parse_number(p_value),
        stability=None if stability is None else tuple(parse_numbers(stability).tolist()),
        support=None if support is None else parse_numbers(support),
        noise=None if noise is None else parse_numbers(noise),
    )


def _event_to_json(event: Event) -> dict[str, Any]:
    return {
        **asdict(event),
        "step": int(event.step),
        "group": int(event.group),
        "layers": integers(event.layers),
        "others": integers(event.others),
        "boundary_from": None if event.boundary_from is None else int(event.boundary_from),
        "boundary_to": None if event.boundary_to is None else int(event.boundary_to),
        "confirmed": None if event.confirmed is None else int(event.confirmed),
        "factors": numbers(event.factors),
    }


def _event_from_json(event: Mapping[str, Any]) -> Event:
    return Event(
        kind=event["kind"],
        step=int(event["step"]),
        group=int(event["group"]),
        layers=tuple(int(layer) for layer in event["layers"]),
        others=tuple(int(other) for other in event.get("others", ())),
        boundary_from=event.get("boundary_from"),
        boundary_to=event.get("boundary_to"),
        confirmed=event.get("confirmed"),
        factors=tuple(parse_numbers(event.get("factors", ())).tolist()),
    )
