"""Dataclasses, arrays and numbers as strict JSON can hold them, and back.

NaN is None, and an infinity ``"inf"`` or ``"-inf"``, because JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin

import numpy as np
from cattrs import Converter

T = TypeVar("T")


def number(value: Any) -> float | str | None:
    """One number, from anything ``float`` takes."""
    as_float = float(value)
    if math.isnan(as_float):
        return None
    if math.isinf(as_float):
        return "inf" if as_float > 0 else "-inf"
    return as_float


def parse_number(value: Any) -> float:
    """Undo `number`."""
    return math.nan if value is None else float(value)


def to_json(value: Any, kind: Any = None) -> Any:
    """A dataclass, array, number, text or container of them as plain JSON values.

    Args:
        value: What is written.
        kind: The type it is declared as; its own where None.
    """
    return _CONVERTER.unstructure(value, kind)


def from_json(value: Any, kind: type[T]) -> T:
    """Undo `to_json`; what a dataclass does not know is left alone, what has a default may be missing.

    Args:
        value: Plain JSON values.
        kind: The type that is wanted.

    Raises:
        KeyError: With the name of what is missing.
        TypeError, ValueError, AttributeError: If something has the wrong form.
    """
    return _CONVERTER.structure(value, kind)


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


def _is_array(kind: Any) -> bool:
    return kind is np.ndarray or get_origin(kind) is np.ndarray


def _array_to_json(values: Any) -> Any:
    return number(values) if np.ndim(values) == 0 else [_array_to_json(row) for row in values]


def _array_from_json(value: Any, kind: Any) -> Any:
    def parsed(entry: Any) -> Any:
        return [parsed(each) for each in entry] if isinstance(entry, list | tuple) else parse_number(entry)

    return np.array(parsed(list(value)), dtype=np.float64)


#: Numbers go through ``int`` and ``float``, so that NumPy's become plain ones.
_CONVERTER = Converter(detailed_validation=False)
_CONVERTER.register_unstructure_hook(int, int)
_CONVERTER.register_unstructure_hook(bool, bool)
_CONVERTER.register_unstructure_hook(float, number)
_CONVERTER.register_structure_hook(float, lambda value, _: parse_number(value))
_CONVERTER.register_unstructure_hook_func(_is_array, _array_to_json)
_CONVERTER.register_structure_hook_func(_is_array, _array_from_json)
