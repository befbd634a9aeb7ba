"""The names a user imports: all there, each loaded when first used."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import lightning_gw as lgw


@pytest.mark.parametrize("name", [name for name in lgw.__all__ if name != "__version__"])
def test_every_public_name_is_the_one_of_its_home(name: str) -> None:
    value = getattr(lgw, name)
    assert value.__name__ == name
    assert getattr(sys.modules[value.__module__], name) is value
    assert value.__doc__
    assert name in dir(lgw)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, lightning_gw; print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_name_that_does_not_exist_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'gw_matrx'"):
        _ = lgw.gw_matrx


def test_a_geometry_and_a_coupling_of_ones_own_need_no_other_import() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    own = lgw.Geometry("manhattan", lambda rows: torch.cdist(rows, rows, p=1), "offdiagonal", "rms")
    found = lgw.gw_coupling(x, x[[2, 0, 1, 5, 4, 3]], geometry=own)
    assert isinstance(found, lgw.GWCoupling)
    assert found.distortion == pytest.approx(0.0, abs=1e-9)
    matrix = lgw.gw_matrix({"a": x, "b": x**3}, geometry=own, effort="fast")
    assert matrix.similarity[0, 1] > matrix.identity_similarity[0, 1] - 1e-12
