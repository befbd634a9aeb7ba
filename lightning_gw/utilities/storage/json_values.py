"""Dataclasses, arrays and numbers as strict JSON can hold them, and back.

NaN is None, and an infinity ``"inf"`` or ``"-inf"``, because JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

import numpy as np
from cattrs import Converter

from lightning_gw.utilities.output import quoted

T = TypeVar("T")
#: Whole numbers beyond this are no counts, steps or layers, and not exact as floating-point numbers.
LARGEST_WHOLE = 2**53


def number(value: Any) -> float | str | None:
    """One number, from anything ``float`` takes."""
    as_float = float(value)
    if math.isnan(as_float):
        return None
    if math.isinf(as_float):
        return "inf" if as_float > 0 else "-inf"
    return as_float


def parse_number(value: Any) -> float:
    """Undo `number`.

    Raises:
        TypeError, ValueError: If it is none.
    """
    if value is None:
        return math.nan
    if isinstance(value, str) and value not in ("inf", "-inf"):
        raise TypeError(f"{quoted(value)} was found where a number was expected")
    if not isinstance(value, int | float | str | np.number) or isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__} was found where a number was expected")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number is too large") from None


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
    try:
        return _CONVERTER.structure(value, kind)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise
    except Exception as error:  # of what the library finds wrong by itself
        raise ValueError(quoted(str(error))) from error


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


def _whole(value: Any, kind: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{quoted(value)} was found where a whole number was expected")
    if abs(value) > LARGEST_WHOLE:
        raise ValueError("a whole number is too large")
    return value


def _exactly(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} was found where a {kind.__name__} was expected")
    return value


def _tuple_from_json(value: Any, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a {type(value).__name__} was found where a list was expected")
    kinds = get_args(kind)
    each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
    return tuple(_CONVERTER.structure(item, its) for item, its in zip(value, each, strict=True))


#: Numbers go through ``int`` and ``float``, so that NumPy's become plain ones.
_CONVERTER = Converter(detailed_validation=False)
_CONVERTER.register_unstructure_hook(int, int)
_CONVERTER.register_unstructure_hook(bool, bool)
_CONVERTER.register_unstructure_hook(float, number)
_CONVERTER.register_structure_hook(float, lambda value, _: parse_number(value))
_CONVERTER.register_structure_hook(int, _whole)
_CONVERTER.register_structure_hook(str, _exactly)
_CONVERTER.register_structure_hook(bool, _exactly)
_CONVERTER.register_structure_hook_func(lambda kind: get_origin(kind) is tuple, _tuple_from_json)
_CONVERTER.register_unstructure_hook_func(_is_array, _array_to_json)
_CONVERTER.register_structure_hook_func(_is_array, _array_from_json)
