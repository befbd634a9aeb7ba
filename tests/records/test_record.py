"""A record survives its JSON and array forms to the last bit, and refuses by name what is not whole."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from example_records import example_record
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from same_records import assert_same

from lightning_gw.groups.groups import Groups
from lightning_gw.groups.tracking.tracker import Event
from lightning_gw.gw.result import GWMatrix
from lightning_gw.records.record import SCHEMA_VERSION, Record, SchemaError

any_float = st.floats(width=64)
small = st.integers(-1, 10**6)
indices = st.lists(small, max_size=4).map(tuple)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
events = st.builds(
    Event,
    kind=st.sampled_from(["birth", "death", "split", "merge", "boundary_moved"]),
    step=small,
    group=small,
    layers=indices,
    others=indices,
    boundary_from=st.none() | small,
    boundary_to=st.none() | small,
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    layers = tuple(draw(st.lists(st.text(max_size=5), max_size=4, unique=True)))
    size, inputs = len(layers), draw(st.integers(0, 5))

    def matrix() -> np.ndarray:
        return draw(numpy_arrays(np.float64, (size, size), elements=any_float))

    def vector(length: int) -> np.ndarray:
        return draw(numpy_arrays(np.float64, (max(length, 0),), elements=any_float))

    def groups() -> Groups:
        return Groups(
            labels=tuple(draw(st.lists(small, min_size=size, max_size=size))),
            boundaries=draw(indices),
            adjacent=vector(size - 1),
            strength=draw(st.sampled_from(["none", "weak", "strong"])),
            contrast=draw(any_float),
            roughness=draw(any_float),
            proposed=draw(indices),
            p_value=draw(st.none() | st.floats(0, 1)),
            stability=draw(st.none() | st.lists(any_float, max_size=3).map(tuple)),
        )

    gw = GWMatrix(
        layers=layers,
        geometry=draw(st.text()),
        distortion=matrix(),
        lower=matrix(),
        identity=matrix(),
        couplings=draw(numpy_arrays(np.int64, (size, size, inputs), elements=st.integers(-(2**31), 2**31 - 1))),
        converged=draw(numpy_arrays(np.bool_, (size, size))),
        degenerate=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
        variation=vector(size) if draw(st.booleans()) else None,
        seconds=draw(any_float),
    )
    return Record(
        step=draw(st.integers(0, 10**9)),
        epoch=draw(st.integers(0, 10**6)),
        layers=layers,
        gw=gw,
        groups=groups(),
        groups_paired=groups(),
        group_ids=draw(indices),
        events=tuple(draw(st.lists(events, max_size=2))),
        growth=vector(size - 1),
        measures={name: matrix() for name in draw(st.lists(st.sampled_from(["paired_dcor", "ä/b c"]), unique=True))},
        probe=draw(st.dictionaries(st.text(), plain_json, max_size=3)),
        metrics=draw(st.dictionaries(st.text(), any_float, max_size=3)),
        seconds=draw(any_float),
        notes=tuple(draw(st.lists(st.text(), max_size=2))),
    )


@settings(max_examples=60, deadline=None)
@given(record=records())
def test_a_record_is_the_same_after_strict_json_and_arrays(record: Record) -> None:
    text = json.dumps(record.to_json(), allow_nan=False)
    assert_same(Record.from_json(json.loads(text), record.arrays()), record)


def test_the_line_holds_no_matrices_and_the_arrays_are_small_types() -> None:
    record = example_record(step=10)
    line, arrays = record.to_json(), record.arrays()
    assert line["schema"] == SCHEMA_VERSION
    assert {array.dtype for array in arrays.values()} == {np.dtype("float64"), np.dtype("int32"), np.dtype("bool")}
    assert arrays["couplings"].dtype == np.int32
    assert set(arrays) == {
        *("distortion", "lower", "identity", "couplings", "converged", "variation", "restricted"),
        *("measures/paired_dcor", "measures/paired_cka"),
    }
    deepest = {key: value for key, value in line.items() if isinstance(value, list)}
    assert not [key for key, value in deepest.items() if any(isinstance(item, list) for item in value)]


def test_keys_of_later_versions_are_ignored() -> None:
    record = example_record(step=10)
    line = record.to_json() | {"later": {"than": "now"}}
    line["groups"] = line["groups"] | {"later": 1}
    arrays = record.arrays() | {"later": np.zeros(3)}
    assert_same(Record.from_json(line, arrays), record)


def test_a_record_of_an_earlier_version_loads_and_claims_nothing_it_did_not_keep() -> None:
    record = example_record(step=10)
    line = {key: value for key, value in record.to_json().items() if key not in ("unit_scale", "anchor")}
    arrays = {name: values for name, values in record.arrays().items() if name != "restricted"}
    loaded = Record.from_json(line, arrays).gw
    assert loaded.restricted is None
    assert loaded.anchor == 0
    assert loaded.unit_scale is True  # as the geometry's name says
    np.testing.assert_array_equal(loaded.similarity, record.gw.similarity)


def test_anchor_and_scale_survive() -> None:
    record = example_record()
    gw = replace(record.gw, geometry="my own", unit_scale=True, anchor=0.4)
    loaded = Record.from_json(replace(record, gw=gw).to_json(), record.arrays()).gw
    assert (loaded.anchor, loaded.unit_scale) == (0.4, True)
    np.testing.assert_array_equal(loaded.similarity, gw.similarity)


def test_a_newer_schema_is_refused_with_what_to_do() -> None:
    record = example_record()
    with pytest.raises(SchemaError, match=rf"schema {SCHEMA_VERSION + 1}.*upgrade lightning-gw"):
        Record.from_json(record.to_json() | {"schema": SCHEMA_VERSION + 1}, record.arrays())


@pytest.mark.parametrize("key", ["schema", "step", "layers", "geometry", "groups", "events", "growth", "probe"])
def test_a_missing_key_is_named(key: str) -> None:
    record = example_record()
    line = {name: value for name, value in record.to_json().items() if name != key}
    with pytest.raises(ValueError, match=key):
        Record.from_json(line, record.arrays())


@pytest.mark.parametrize("name", ["distortion", "lower", "identity", "couplings", "converged"])
def test_a_missing_matrix_is_named(name: str) -> None:
    record = example_record()
    arrays = {key: value for key, value in record.arrays().items() if key != name}
    with pytest.raises(ValueError, match=f"lacks '{name}'"):
        Record.from_json(record.to_json(), arrays)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"growth": [1.0]}, "growth"),
        ({"layers": ["only one"]}, "distortion"),
        ({"identities": 3}, "wrong form"),
        ({"metrics": {"accuracy": "high"}}, "high"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(change: dict[str, Any], name: str) -> None:
    record = example_record()
    with pytest.raises(ValueError, match=name):
        Record.from_json(record.to_json() | change, record.arrays())


def test_a_strength_that_does_not_exist_is_refused() -> None:
    record = example_record()
    line = record.to_json()
    line["groups"]["strength"] = "mighty"
    with pytest.raises(ValueError, match="mighty"):
        Record.from_json(line, record.arrays())


def test_numbers_of_numpy_and_torch_become_plain_ones() -> None:
    record = example_record(
        probe={"size": np.int64(6), "share": np.float32(0.5), "classes": (0, 1), "none": None},
        metrics={"accuracy": torch.tensor(0.75), "loss": np.float64("inf")},
    )
    line = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert line["probe"] == {"size": 6, "share": 0.5, "classes": [0, 1], "none": None}
    assert line["metrics"] == {"accuracy": 0.75, "loss": "inf"}
    assert Record.from_json(line, record.arrays()).metrics["loss"] == math.inf


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"probe\['inputs'\]\[0\] is a Tensor"):
        example_record(probe={"inputs": [torch.zeros(2)]}).to_json()
    with pytest.raises(TypeError, match="metric 'confusion' is a Tensor"):
        example_record(metrics={"confusion": torch.zeros(2, 2)}).to_json()


def test_a_matrix_of_other_layers_is_refused() -> None:
    record = example_record()
    with pytest.raises(ValueError, match="same order"):
        replace(record, layers=record.layers[::-1]).to_json()


def test_a_matrix_between_two_sets_is_refused() -> None:
    record = example_record()
    rectangle = replace(record.gw, other_layers=record.layers)
    with pytest.raises(ValueError, match="between two sets of layers"):
        replace(record, gw=rectangle).to_json()
