"""What is looked at, and how, settled by a few passes of one batch before training begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lightning_gw.activations.layers.choice import (
    MOST_LAYERS,
    Choice,
    choose_layers,
    listed_shortly,
    sequences,
    thinned,
)
from lightning_gw.activations.layers.names import match_layers, named_layers
from lightning_gw.activations.layers.trace import Trace, trace
from lightning_gw.activations.probe.batches import count_rows, is_cut_by_rows, leaves, take_rows
from lightning_gw.activations.probe.rows import Rows
from lightning_gw.activations.reading.readings import Reading, parse_layout, readings
from lightning_gw.utilities.calls import call_key, module_of
from lightning_gw.utilities.errors import ArgumentError, LookError

#: Axes of outputs in words, for all layers or by name or glob.
Layout = str | Mapping[str, str]


@dataclass(frozen=True)
class Settled:
    """What is looked at, and how.

    Attributes:
        choice: The layers, in order.
        how: How each of them is read, or why it is not.
        shapes: Layer → shape of the first tensor that it put out.
    """

    choice: Choice
    how: Mapping[str, Reading | str]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def masks(self) -> dict[str, str]:
        """Stack → the argument that is the mask of its layers."""
        read = [reading for reading in self.how.values() if isinstance(reading, Reading)]
        return {held.mask.stack: held.mask.argument for held in read if held.mask is not None}

    @property
    def readable(self) -> list[str]:
        """Names of the layers that put out a row per input."""
        return [name for name, reading in self.how.items() if isinstance(reading, Reading)]

    @property
    def sequences(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers of each sequence; empty where all are of one."""
        return self.choice.sequences if len(self.choice.sequences) > 1 else ()

    def description(self) -> dict[str, Any]:
        """What there is to say of the layers, as plain JSON values."""
        facts: dict[str, Any] = {}
        if self.sequences:
            facts["sequences"] = [list(part) for part in self.sequences]
        if masks := self.masks():
            facts["masks"] = masks
        return facts | ({"left_out": self.choice.left_out} if self.choice.left_out else {})


def settle(
    module: nn.Module,
    batch: Any,
    run: Callable[[Any], Any],
    asked: str | Sequence[str] | None = None,
    layout: Layout | None = None,
    *,
    known: Sequence[str] = (),
    rows: Callable[[Sequence[tuple[int, ...]]], Rows] | None = None,
    with_rows: bool = False,
) -> Settled:
    """Run a batch through the network and see what it calls; then fewer inputs, and shorter ones, to tell axes apart.

    Args:
        module: The network, within `isolation.undisturbed`.
        batch: The batch.
        run: Runs the network on one batch.
        asked: Names or globs of layers; None for those a person would name.
        layout: See `check_layout`.
        known: Layers that the history so far was made with, which are taken where others would be chosen now.
        rows: The rows of the batch, told by the shapes of what the layers put out for it; None counts its first tensor.
        with_rows: Whether to choose among the modules that put out a row per input, where too few of those a person
            would name do.

    Raises:
        ArgumentError: If a layout does not fit.
        ValueError: If fewer than two layers are found.
    """
    full = trace(module, lambda: run(batch))
    choice = choose_layers(module, full) if asked is None else asked_layers(module, full, asked)
    if asked is None and not set(known) <= set(choice.layers):
        choice = asked_layers(module, full, [f"{name}#1" if "#" not in name else name for name in known])
    shapes = full.shapes(choice.layers)
    of = Rows(count_rows(batch)) if rows is None else rows(list(shapes.values()))
    if of.count is None or of.index is not None:  # they are read by the index, or as they come
        return Settled(choice, dict.fromkeys(choice.layers, "its rows are not those of the batch"), shapes)
    full.rows = of.count

    def read(choice: Choice) -> Settled:
        said = {name: words for name in choice.layers if (words := _layout_of(module_of(name), layout)) is not None}
        fewer, shorter = _told_apart(module, batch, run, full, choice.layers)
        return Settled(choice, readings(choice.layers, full, fewer, shorter, said), full.shapes(choice.layers))

    settled = read(choice)
    if not with_rows or asked is not None or known or len(settled.readable) > 1:
        return settled
    found = readings(list(full.first_calls()), full, None, None)
    with suppress(ValueError, LookError):
        other = read(choose_layers(module, full, [name for name, how in found.items() if isinstance(how, Reading)]))
        if len(other.readable) > len(settled.readable):
            gone = listed_shortly([name for name in choice.layers if name not in settled.readable])
            also = other.choice.left_out.removeprefix("Left out: ").removesuffix(".")
            said = "; ".join(filter(None, [f"{gone} (no row per input)", also]))
            return replace(other, choice=replace(other.choice, left_out=f"Left out: {said}."))
    return settled


def asked_layers(module: nn.Module, full: Trace, asked: str | Sequence[str]) -> Choice:
    """The layers that were asked for, in the order in which data flows through them.

    ``name#3`` is the third call of a module and ``name#*`` all of them. Without that, a module that is called over and
    over on what it put out is one layer per call, 64 at most, and any other its first call.

    Raises:
        ValueError: If names or globs find nothing.
    """
    patterns = [asked] if isinstance(asked, str) else list(asked)
    natural = named_layers(module)
    parted = [_module_and_time(pattern, natural) for pattern in patterns]
    names = match_layers(module, [plain for plain, _ in parted])
    first = full.first_calls()
    called = {id(call.module): name for name, call in first.items()}
    known = {name: called.get(id(natural[name]), name) for name in names}
    times: dict[str, set[str]] = {}
    for plain, time in parted:
        if time:
            times.setdefault(plain, set()).add(time)
    loops = _loops(full, list(dict.fromkeys(known.values())))
    parts, gone = [], 0
    for part in sequences(full, sorted(dict.fromkeys(known.values()), key=lambda name: _begun(full, name))):
        rows = [(call.name, call.time) for call in full.calls if call.name in part]
        rows += [(name, 1) for name in part if name not in first]
        onward = {(call.name, call.time) for call in full.calls if call.name in loops and full.goes_on(call)}
        said = {name: [times[p] for p in (name, *_aliases(known, name)) if p in times] for name in part}
        wanted = [
            (name, time)
            for name, time in rows
            if (any(t & {"*", str(time)} for t in said[name]) if said[name] else time == 1 or (name, time) in onward)
        ]
        kept = [call_key(name, time) for name, time in wanted]
        if loops & set(part) and not times:
            few = thinned([kept])[0]
            gone += len(kept) - len(few)
            kept = few
        parts.append(kept)
    twice = [name for name in names if known[name] != name and known[name] in names]
    why = [f"{name}, another name of {known[name]}" for name in twice]
    if gone:
        why.append(f"{gone} calls, evenly, since more than {MOST_LAYERS} cost too much ('name#*' asks for all)")
    layers = tuple(name for part in parts for name in part)
    return Choice(layers, tuple(map(tuple, parts)), f"Left out: {'; '.join(why)}." if why else "")


def check_layers(module: nn.Module, asked: str | Sequence[str]) -> None:
    """Refuse names of layers that the network does not have.

    Raises:
        ArgumentError: If names or globs find nothing.
    """
    natural = named_layers(module)
    patterns = [asked] if isinstance(asked, str) else asked
    try:
        match_layers(module, [_module_and_time(pattern, natural)[0] for pattern in patterns])
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _module_and_time(pattern: str, named: Mapping[str, nn.Module]) -> tuple[str, str]:
    """A pattern of modules, and which of their calls are meant, if that is said; a module's own name may hold a #."""
    return (pattern, "") if pattern in named else (module_of(pattern), pattern[len(module_of(pattern)) + 1 :])


def check_layout(layout: Layout | None) -> None:
    """Refuse a layout that is not understood.

    Raises:
        ArgumentError: If it does not name one axis ``n`` and at most one ``c`` or ``d``.
    """
    for said in (layout,) if isinstance(layout, str) else (layout or {}).values():
        try:
            parse_layout(said)
        except ValueError as error:
            raise ArgumentError(str(error)) from error


def _layout_of(name: str, layout: Layout | None) -> str | None:
    if layout is None or isinstance(layout, str):
        return layout
    return next((said for pattern, said in layout.items() if pattern == name or fnmatchcase(name, pattern)), None)


def _loops(full: Trace, names: Sequence[str]) -> set[str]:
    first = full.first_calls()
    return {call.name for call in full.calls if call.time == 2 and call.name in names and call.after(first[call.name])}


def _aliases(known: Mapping[str, str], name: str) -> list[str]:
    return [other for other, one in known.items() if one == name]


def _begun(full: Trace, name: str) -> int:
    return next((number for number, call in enumerate(full.calls) if call.name == name), len(full.calls))


def _told_apart(
    module: nn.Module, batch: Any, run: Callable[[Any], Any], full: Trace, layers: Sequence[str]
) -> tuple[Trace | None, Trace | None]:
    """A pass of fewer inputs, and one of as few and shorter ones, where any output has more than one axis to tell."""
    first = full.first_calls()
    deep = [out for name in layers if name in first for out in first[name].outputs.values() if len(out.shape) > 2]
    if full.rows < 2 or not is_cut_by_rows(batch, full.rows):
        return None, None
    few = full.rows // 2 if full.rows > 3 else full.rows - 1
    part = take_rows(batch, 0, few, full.rows)
    fewer = _attempted(module, part, run, few)
    if fewer is None or not deep:
        return fewer, None
    for cut in _shortened(part, few):
        if (shorter := _attempted(module, cut, run, few)) is not None:
            return fewer, shorter
    return fewer, None


def _attempted(module: nn.Module, batch: Any, run: Callable[[Any], Any], rows: int) -> Trace | None:
    """The pass of another batch, where the network takes it; not every network takes any size."""
    try:
        return trace(module, lambda: run(batch), rows)
    except Exception:
        return None


def _shortened(batch: Any, rows: int) -> list[Any]:
    """The same inputs with a quarter of their positions cut off, for each axis that may be that of positions.

    Only sequences are cut, ``(n, t)`` of whole numbers or ``(n, t, d)``; images come in sizes that networks insist on.
    """
    tensors = [
        leaf for _, leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 1 and leaf.shape[0] == rows
    ]
    ids = [leaf for leaf in tensors if leaf.dim() == 2 and not leaf.is_floating_point() and leaf.shape[1] > 2]
    series = [leaf for leaf in tensors if leaf.dim() == 3]
    places = [(1, ids[0].shape[1])] if ids else [(axis, series[0].shape[axis]) for axis in (1, 2)] if series else []

    def cut(axis: int, length: int) -> Any:
        def shorten(leaf: Tensor) -> Tensor:
            fits = leaf.dim() > axis and leaf.shape[0] == rows and leaf.shape[axis] == length
            return leaf.narrow(axis, 0, length - max(1, length // 4)) if fits else leaf

        return apply_to_collection(batch, Tensor, shorten)

    return [cut(axis, length) for axis, length in places if length > 2]
