"""Numbers and containers as strict JSON can hold them, and back: NaN is None, an infinity ``"inf"`` or ``"-inf"``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def number(value: Any) -> float | str | None:
    """One number, from anything ``float`` takes."""
    as_float = float(value)
    if math.isnan(as_float):
        return None
    if math.isinf(as_float):
        return "inf" if as_float > 0 else "-inf"
    return as_float


def numbers(values: Iterable[Any]) -> list[float | str | None]:
    """A list of `number`."""
    return [number(value) for value in values]


def parse_number(value: Any) -> float:
    """Undo `number`."""
    return math.nan if value is None else float(value)


def parse_numbers(values: Iterable[Any]) -> NDArray[np.float64]:
    """Undo `numbers`, as a float64 array."""
    return np.array([parse_number(value) for value in values], dtype=np.float64)


def integers(values: Iterable[Any]) -> list[int]:
    """A list of plain integers, from NumPy's too."""
    return [int(value) for value in values]


def plain(value: Any, where: str) -> Any:
    """`value` with tuples as lists and NaN as None; anything JSON cannot hold is refused by name."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return number(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON cannot hold; give plain numbers, text or lists.")


def metrics_to_json(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Scalars by name, with NaN as None and infinities as strings.

    Raises:
        TypeError: If a value is no number; the message names it.
    """
    scalars: dict[str, Any] = {}
    for name, value in metrics.items():
        try:
            scalars[str(name)] = number(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"The metric {name!r} is a {type(value).__name__}, where a number was expected.") from error
    return scalars


def metrics_from_json(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Undo `metrics_to_json`."""
    return {str(name): parse_number(value) for name, value in metrics.items()}
