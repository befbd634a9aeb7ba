"""What training makes the default dtype and device is nothing to what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from drifting_layers import layers

from lightning_gw import gw_distance, gw_matrix, layer_similarities, unpaired_gw_matrix
from lightning_gw.analysis.analysis import Analysis
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.job import LookJob
from lightning_gw.records.context import LookContext
from lightning_gw.significance.resampling import resample_distances
from lightning_gw.significance.split_halves import split_half_noise
from lightning_gw.utilities.random_state import usual_defaults

#: Made under the usual defaults, like the representations of a network that has none of its own.
SMALL, OTHER, MIDDLE = layers(12, 2), layers(9, 2), layers(16)


def a_look() -> np.ndarray:
    context = LookContext(step=0, epoch=0, probe={}, metrics={}, notes=())
    record = LookJob(context, MIDDLE).solve(Analysis(AnalysisConfig(bootstrap_samples=8)))
    assert record.groups.stability is not None
    return np.concatenate(
        [record.gw.distortion.ravel(), record.groups.adjacent, *map(np.ravel, record.measures.values())]
    )


FOUND: dict[str, Callable[[], np.ndarray]] = {
    "matrix": lambda: gw_matrix(MIDDLE, bounds="tight", anchor=0.4).distortion,
    "rectangle": lambda: gw_matrix(SMALL, OTHER).distortion,
    "a pair": lambda: np.array([gw_distance(SMALL["layer.0"], OTHER["layer.1"])]),
    "similarities": lambda: np.stack([*layer_similarities(MIDDLE).values()]),
    "resamples": lambda: resample_distances(MIDDLE, gw_matrix(MIDDLE), draws=4),
    "halves": lambda: split_half_noise(MIDDLE, splits=2).mean,
    "unpaired": lambda: unpaired_gw_matrix(MIDDLE, splits=2).debiased,
    "a look": a_look,
}


@pytest.fixture(params=["float64", "bfloat16", "meta"])
def other_defaults(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "meta":  # stands for any device but the CPU: no value could ever come from it
        with torch.device("meta"):
            yield
        return
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("other_defaults")
@pytest.mark.parametrize("name", FOUND)
@pytest.mark.representatives("float64-coupling", "meta-coupling")
def test_what_is_found_does_not_depend_on_the_defaults(name: str) -> None:
    with usual_defaults():
        expected = FOUND[name]()
    np.testing.assert_array_equal(FOUND[name](), expected)


@pytest.mark.usefixtures("other_defaults")
def test_the_defaults_are_put_back() -> None:
    before = torch.get_default_dtype(), torch.get_default_device()
    with usual_defaults():
        assert (torch.ones(1).dtype, torch.ones(1).device.type) == (torch.float32, "cpu")
    assert (torch.get_default_dtype(), torch.get_default_device()) == before
    with pytest.raises(ZeroDivisionError), usual_defaults():
        _ = 1 / 0
    assert (torch.get_default_dtype(), torch.get_default_device()) == before
