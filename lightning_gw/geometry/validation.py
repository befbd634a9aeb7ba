"""Representations as they come, checked: what cannot be compared is refused or named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_gw.geometry.geometries import GEOMETRIES, PRECOMPUTED, Geometry

MINIMUM_INPUTS = 4
#: Below this share of the largest squared norm, distances are rounding noise and the layer is constant.
CONSTANT_TOLERANCE = 1e-10
#: Powers of two within which squares, and sums of them, lose nothing.
WORKABLE = 256


def to_float64(x: Tensor) -> Tensor:
    """``x`` in float64 on its own device, or on the CPU where the device has no float64 (MPS)."""
    if x.device.type == "mps":
        x = x.cpu()
    return x.detach().to(torch.float64)


def at_workable_scale(x: Tensor, geometry: Geometry | None = None) -> Tensor:
    """``x`` in float64, of a size whose squares neither overflow nor vanish: nothing here depends on the scale.

    Values beyond `WORKABLE` are multiplied by a power of two, which changes no digit. A geometry that is none of
    `GEOMETRIES` may depend on the scale, and gets the values as they are.
    """
    x = to_float64(x)
    if geometry is not None and geometry is not GEOMETRIES.get(geometry.name):
        return x
    exponent = int(torch.frexp(x.abs().max()).exponent) if x.numel() else 0
    if abs(exponent) <= WORKABLE:
        return x
    half = exponent // 2  # in two steps, since the power itself might overflow
    return torch.ldexp(torch.ldexp(x, torch.tensor(-half)), torch.tensor(half - exponent))


def find_defect(x: Tensor, geometry: Geometry | None = None) -> str | None:
    """Why a representation ``(n, d)`` cannot be compared with others, in plain words; None when it can.

    Of an ``(n, n)`` matrix, where the geometry is precomputed, no more is asked than that it be finite.
    """
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        bad = int((~finite).any(dim=1).sum())
        return f"{bad} of its {len(x)} inputs have NaN or infinite values"
    if geometry is PRECOMPUTED:
        return None
    x = at_workable_scale(x, geometry)
    spread = (x - x.mean(dim=0)).square().sum(dim=1).max()
    size = x.square().sum(dim=1).max()
    if not bool(torch.isfinite(size)):
        return "its values are too large: their squared distances overflow float64"
    if bool(spread <= CONSTANT_TOLERANCE * size) or x.shape[1] == 0:
        return "it is constant: every input has the same representation"
    return None


def check_layer(what: str, x: object, geometry: Geometry) -> Tensor:
    """One ``(n, d)`` representation, or ``(n, n)`` matrix where the geometry is precomputed, as a real tensor.

    Raises:
        TypeError: For complex or boolean values.
        ValueError: For another shape.
    """
    checked = torch.as_tensor(x)
    if checked.is_complex() or checked.dtype == torch.bool:
        raise TypeError(f"{what} has dtype {checked.dtype}; expected real numbers (float or integer).")
    shape = tuple(checked.shape)
    if geometry is PRECOMPUTED:
        if checked.ndim != 2 or shape[0] != shape[1]:
            raise ValueError(f'{what} has shape {shape}; geometry="precomputed" expects a symmetric (n, n) matrix.')
    elif checked.ndim != 2:
        raise ValueError(f"{what} has shape {shape}; expected (n, d), one row per input. Pool it first.")
    return checked.detach() if checked.is_floating_point() else checked.detach().to(torch.float64)


def check_representations(
    representations: Mapping[str, Tensor] | Sequence[Tensor],
    minimum: int = MINIMUM_INPUTS,
    geometry: Geometry = GEOMETRIES["standardized"],
    of: str = "",
) -> dict[str, Tensor]:
    """Representations as a checked mapping of ``(n, d)`` tensors; a sequence gets the names ``"0"``, ``"1"``, ….

    Args:
        representations: Layer name to tensor, or a sequence of tensors.
        minimum: Fewest inputs.
        geometry: What they are for; precomputed ones are ``(n, n)``.
        of: Which set they are, for messages, such as ``" of others"``.

    Raises:
        TypeError: For something that is no real floating or integer tensor or array.
        ValueError: For no layers, a shape other than ``(n, d)``, layers with different ``n`` or on different devices,
            two layers of one name, or too few inputs.
    """
    if not isinstance(representations, Mapping):
        representations = {str(i): x for i, x in enumerate(representations)}
    if not representations:
        raise ValueError(f"No representations{of} were given; expected at least one layer name with its (n, d) tensor.")
    checked: dict[str, Tensor] = {}
    for name, x in representations.items():
        if str(name) in checked:
            raise ValueError(f"Two layers{of} are called {str(name)!r}; give each a name of its own.")
        checked[str(name)] = check_layer(f"Layer {str(name)!r}{of}", x, geometry)
    sizes = {name: len(x) for name, x in checked.items()}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{name!r}: {n}" for name, n in sizes.items())
        raise ValueError(
            f"All layers{of} need the same number of inputs, got {listing}. Sets of different size are compared by "
            "gw_matrix(representations, others), single pairs by gw_distance."
        )
    devices = {str(x.device) for x in checked.values()}
    if len(devices) > 1:
        raise ValueError(f"The layers{of} lie on {', '.join(sorted(devices))}; move them to one device.")
    n = next(iter(sizes.values()))
    if n < minimum:
        raise ValueError(f"{n} inputs{of} are too few to compare layers; at least {minimum} are needed.")
    return checked
