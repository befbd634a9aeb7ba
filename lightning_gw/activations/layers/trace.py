"""One forward pass written down: which modules were called, on what, and what the result of each depends on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from lightning_gw.activations.layers.names import named_layers
from lightning_gw.activations.layers.outputs import output_leaves
from lightning_gw.utilities.calls import module_of

#: Calls of one module that are told apart; those after them are counted.
_TOLD_APART = 2
#: Operations that only move what they are given to another type or device; autocast keeps what it makes of weights.
_CASTS = frozenset({"aten::_to_copy", "aten::to", "aten::clone", "aten::detach", "aten::alias"})


@dataclass
class Call:
    """One call of a module.

    Attributes:
        name: Natural name of the module; empty for the whole network.
        module: The module.
        time: Which call of this module it is, from 1.
        parent: The call inside which it was made; None for the outermost.
        start: Number of the first operation inside it.
        end: Number of the first operation after it.
        ancestors: The calls whose results went into its own, as bits by `bit`, its own and those inside it included.
        bit: Its bit; 0 for calls that are not told apart.
        outputs: Path → tensor shape and type and the node that it is, for every tensor it put out, in order.
        masks: What it was given under names that say mask; None where it was given nothing.
        names: The names of its arguments.
        cross: Whether it was given states of another stack, as the layers of a decoder are.
        fed: 2 where it was given a tensor of the batch as it is, 1 where it was given what was made of one.
        given: Shape, ancestors and memory of every tensor among its arguments, in order.
    """

    name: str
    module: nn.Module
    time: int
    parent: Call | None
    start: int
    end: int = 0
    ancestors: int = 0
    bit: int = 0
    outputs: dict[str, Output] = field(default_factory=dict)
    masks: dict[str, Tensor | None] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    cross: bool = False
    fed: int = 0
    given: list[tuple[tuple[int, ...], int, int]] = field(default_factory=list)

    @property
    def stream(self) -> tuple[int, int]:
        """Ancestors and memory of the states that it works on: the first it was given of the shape that it puts out."""
        made = next((output.shape for output in self.outputs.values()), None)
        return next(((bits, memory) for shape, bits, memory in self.given if shape == made), (-1, 0))

    def within(self, other: Call) -> bool:
        """Whether it was made inside another one."""
        up = self.parent
        while up is not None and up is not other:
            up = up.parent
        return up is other

    def after(self, other: Call) -> bool:
        """Whether it used what the other one put out; what is called inside another is before it."""
        return bool(self.ancestors & other.bit) and self is not other and not self.within(other)


@dataclass(frozen=True)
class Output:
    """A tensor that a module put out: its form, and its `Node`."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    node: Node | None


@dataclass(frozen=True)
class Node:
    """A tensor as an operation made it.

    Attributes:
        operation: The name of the operation, such as ``aten::convolution``.
        number: The operation's number.
        shape: Shape of the tensor.
        inputs: Shape and node of every tensor that the operation was given.
        arguments: Its arguments that are no tensors, in order.
    """

    operation: str
    number: int
    shape: tuple[int, ...]
    inputs: tuple[tuple[tuple[int, ...], Node | None], ...]
    arguments: tuple[Any, ...]


@dataclass
class Trace:
    """What one forward pass did.

    Attributes:
        calls: Calls of modules, in the order in which they began.
        feeds: For every operation the numbers of those that made what it was given, and -1 for what came from outside.
        counts: Natural name → how often the module was called.
        rows: Inputs in the batch; 0 where that is not known.
    """

    calls: list[Call] = field(default_factory=list)
    feeds: list[tuple[int, ...]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    _first: dict[str, Call] = field(default_factory=dict)

    def first_calls(self) -> dict[str, Call]:
        """The first call of every module, by name, in order."""
        if not self._first:
            self._first = {call.name: call for call in self.calls if call.time == 1}
        return self._first

    def goes_on(self, call: Call) -> bool:
        """Whether a call is the first of its module or goes on from what that put out, and begins nothing anew."""
        first = self.first_calls()[call.name]
        return call is first or call.after(first)

    def shapes(self, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shape of the first tensor that each of these layers put out, at the first call of each."""
        first = self.first_calls()
        put_out = {
            name: first[name].outputs for name in dict.fromkeys(module_of(key) for key in layers) if name in first
        }
        return {name: next(iter(found.values())).shape for name, found in put_out.items() if found}

    def uses_all(self, call: Call, others: Sequence[Call]) -> bool:
        """Whether the first tensor that `call` put out depends on something that each of `others` did."""
        first = next(iter(call.outputs.values()), None)
        todo = [] if first is None or first.node is None else [first.node.number]
        seen: set[int] = set()
        while todo:
            number = todo.pop()
            if number >= call.start and number not in seen:
                seen.add(number)
                todo += self.feeds[number]
        return all(any(number in seen for number in range(other.start, other.end)) for other in others)

    def goes_around(self, call: Call, others: list[Call]) -> bool:
        """Whether anything gets from what `call` was given to what it puts out without passing any of `others`."""
        held = [(other.start, other.end) for other in others]
        todo = [output.node.number for output in call.outputs.values() if output.node is not None]
        seen: set[int] = set()
        while todo:
            number = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            if number < call.start:
                return True
            if any(start <= number < end for start, end in held):
                continue
            todo += self.feeds[number]
        return False


def trace(module: nn.Module, run: Callable[[], Any], rows: int = 0) -> Trace:
    """Run a network once and write down what happens.

    Args:
        module: The network, in evaluation mode and without gradients (see `isolation.undisturbed`).
        run: Runs it on one batch; what it returns is ignored.
        rows: Inputs in the batch, where that is known yet.
    """
    recorder = _Recorder(module, rows)
    handles = []
    try:
        for name, child in recorder.names.values():
            if isinstance(child, torch.jit.ScriptModule):  # takes no hooks
                continue
            begin = partial(recorder.begin, name)
            handles.append(child.register_forward_pre_hook(begin, prepend=True, with_kwargs=True))
            handles.append(child.register_forward_hook(partial(recorder.end, name)))
        with recorder:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return recorder.trace


class _Recorder(TorchDispatchMode):
    """Sees every operation; knows of every tensor what it depends on, by the memory that holds it."""

    def __init__(self, module: nn.Module, rows: int) -> None:
        super().__init__()
        self.trace = Trace(rows=rows)
        self.names: dict[int, tuple[str, nn.Module]] = {id(module): ("", module)}
        for name, child in named_layers(module).items():
            self.names.setdefault(id(child), (name, child))
        self._open: list[Call] = []
        self._bit_numbers = count()
        self._bits = 0
        self._number = 0
        self._nodes: Any = WeakTensorKeyDictionary()
        # Weak references to memory keep its address from being given out again.
        self._held: dict[int, tuple[StorageWeakRef | None, int, int, bool]] = {}
        self._weights = {key for held in (*module.parameters(), *module.buffers()) if (key := _memory(held))}

    def begin(self, name: str, module: nn.Module, args: Any, keywords: dict[str, Any]) -> None:
        time = self.trace.counts[name] = self.trace.counts.get(name, 0) + 1
        call = Call(name, module, time, self._open[-1] if self._open else None, self._number)
        if time <= _TOLD_APART:
            call.bit = 1 << next(self._bit_numbers)
        bound = _bound(module, args, keywords)
        call.names = tuple(bound)
        call.masks = {key: _small(value) for key, value in bound.items() if "mask" in key}
        call.cross = any(
            isinstance(bound.get(key), Tensor) for key in ("encoder_hidden_states", "memory", "encoder_outputs")
        )
        for value in bound.values():
            if not isinstance(value, Tensor):
                continue
            _, past, outside = self._known(value)
            call.given.append((_shape(value), past, _memory(value)))
            if outside:
                node = self._nodes.get(value)
                call.fed = max(call.fed, 2 if node is None or node.operation in _CASTS else 1)
        self.trace.calls.append(call)
        self._open.append(call)
        self._bits |= call.bit

    def end(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        # A call that ended in an error that the network itself caught never ends here.
        while self._open and self._open[-1].module is not module:
            self._close()
        if not self._open:
            return
        call = self._open[-1]
        call.end = self._number
        for path, tensor in output_leaves(output):
            call.outputs[path] = Output(tuple(tensor.shape), tensor.dtype, self._nodes.get(tensor))
            call.ancestors |= self._known(tensor)[1]
        call.ancestors |= call.bit
        self._close()

    def _close(self) -> None:
        call = self._open.pop()
        call.end = call.end or self._number
        self._bits &= ~call.bit
        if call.parent is not None:
            call.parent.ancestors |= call.ancestors

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        made = func(*args, **kwargs)
        self._write_down(func, given, args, _tensors(made))
        return made

    def _write_down(self, func: Any, given: list[Tensor], args: Any, made: list[Tensor]) -> None:
        number, self._number = self._number, self._number + 1
        before = [self._known(tensor) for tensor in given]
        name = func._schema.name
        fed = any(outside for *_, outside in before) or torch.Tag.nondeterministic_seeded in func.tags
        bits = 0
        for _, past, _ in before:
            bits |= past
        if fed or name not in _CASTS:
            bits |= self._bits
        self.trace.feeds.append(tuple(feed for feed, _, outside in before if feed >= 0 or outside))
        inputs = tuple((_shape(tensor), self._nodes.get(tensor)) for tensor in given)
        plain = tuple(arg for arg in args if _is_plain(arg))
        for tensor in made:
            self._nodes[tensor] = Node(name, number, _shape(tensor), inputs, plain)
        sources = {_memory(tensor) for tensor in given}
        written = made if func._schema.is_mutable else [t for t in made if _memory(t) not in sources]
        for tensor in written:
            key = _memory(tensor)
            if key and key not in self._weights:
                self._held[key] = (StorageWeakRef(tensor.untyped_storage()), number, bits, fed)

    def _known(self, tensor: Tensor) -> tuple[int, int, bool]:
        """The operation that last wrote to a tensor, the calls it depends on, and whether it comes from the batch."""
        key = _memory(tensor)
        if key in self._weights or not key:
            return -1, 0, False
        if key not in self._held:  # nothing made it: it came from outside
            self._held[key] = (StorageWeakRef(tensor.untyped_storage()), -1, 0, True)
        _, number, bits, outside = self._held[key]
        return number, bits, outside


def bound_arguments(module: nn.Module, args: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names that forward gives them; those without a name are left out."""
    try:
        return dict(inspect.signature(module.forward).bind_partial(*args, **keywords).arguments)
    except (TypeError, ValueError):
        return dict(keywords)


def _bound(module: nn.Module, args: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    found = bound_arguments(module, args, keywords)
    try:
        names = inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return found
    inner = found.pop("kwargs", {})
    return {name: None for name in names if "mask" in name} | (inner if isinstance(inner, dict) else {}) | found


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, list | tuple) and all(isinstance(item, int) for item in value)
    )


def _small(value: Any) -> Tensor | None:
    return value.detach() if isinstance(value, Tensor) and value.dim() <= 2 else None


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if tensor.is_nested else tuple(tensor.shape)


def _memory(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except RuntimeError:  # of sparse tensors and the like it is a NotImplementedError, which is one
        return 0


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    return []
