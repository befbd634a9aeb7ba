"""Numbers of `LANES` inputs at once, as a type that functions compiled by Numba work with.

Of a loop that LLVM turns into one of vectors by itself, every vector fetches anew whatever does not change but finds no
room in the few registers; and a running maximum goes through memory. Here one operation is on `LANES` numbers, several
registers of them, so that what was fetched serves them all. LLVM splits it into the vectors that the CPU has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

#: How many: four registers of AVX2, two of AVX-512.
LANES = 32
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_PLACES = ir.VectorType(ir.IntType(32), LANES)


def _primitive(function: Any) -> Any:
    """Numba's decorator, whose own type is that of the generator instead of what compiled functions call."""
    return intrinsic(function)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"{LANES} x float32")


_LANES = _Lanes()


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _FLOATS)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@_primitive
def load(typing: Any, array: Any, at: Any) -> tuple[Any, Callable[..., Any]]:
    """The `LANES` numbers of a float32 array from place `at` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(_pointer(context, builder, array, *arguments))
        loaded.align = 4
        return loaded

    return _LANES(array, types.intp), generate


@_primitive
def store(typing: Any, array: Any, at: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """Write lanes into a float32 array from place `at` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(context, builder, array, *arguments[:2])).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, _LANES), generate


@_primitive
def splat(typing: Any, number: Any) -> tuple[Any, Callable[..., Any]]:
    """A float32 number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        one = builder.insert_element(nothing, arguments[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, nothing, ir.Constant(_PLACES, [0] * LANES))

    return _LANES(types.float32), generate


@_primitive
def larger(typing: Any, one: Any, other: Any) -> tuple[Any, Callable[..., Any]]:
    """The larger of two numbers in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments, flags=("nnan", "nsz")), *arguments)

    return _LANES(_LANES, _LANES), generate


@_primitive
def largest(typing: Any, lanes: Any) -> tuple[Any, Callable[..., Any]]:
    """The largest number of all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = f"llvm.vector.reduce.fmax.v{LANES}f32"
        reduce = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(ir.FloatType(), [_FLOATS]))
        return builder.call(reduce, arguments, fastmath=("nnan", "nsz"))

    return types.float32(_LANES), generate


def _of_two(instruction: str) -> Any:
    @_primitive
    def of_two(typing: Any, one: Any, other: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return _LANES(_LANES, _LANES), generate

    return of_two


def _define(function: Any, instruction: str) -> None:
    of_two = _of_two(instruction)

    @overload(function)
    def operate(one, other):  # type: ignore[no-untyped-def]
        if one is _LANES and other is _LANES:
            return lambda one, other: of_two(one, other)
        return None


for _function, _instruction in {
    operator.add: "fadd",
    operator.iadd: "fadd",
    operator.sub: "fsub",
    operator.isub: "fsub",
    operator.mul: "fmul",
}.items():
    _define(_function, _instruction)
