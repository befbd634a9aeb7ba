"""How a layer's output is read: which tensor of it, which axis is inputs, channels, positions, and by which mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_gw.activations.layers.trace import Call, Output, Trace
from lightning_gw.activations.reading.axes import channel_axis
from lightning_gw.activations.reading.masks import MaskSource, mask_of
from lightning_gw.utilities.calls import call_key, module_of
from lightning_gw.utilities.errors import ArgumentError


@dataclass(frozen=True)
class Reading:
    """How one layer's output is read.

    Attributes:
        path: The tensor that stands for it, such as ``[1]`` or ``.logits``.
        rank: Its number of axes.
        rows: Axis of the inputs.
        channels: Axis of the channels; None where there is one value per input.
        mask: Where its mask comes from; None where there is none.
        unmasked: Why no mask is for it, though there are masks; empty otherwise.
        guessed: What was read from sizes alone, in words; empty where all of it was told.
    """

    path: str
    rank: int
    rows: int
    channels: int | None
    mask: MaskSource | None = None
    unmasked: str = ""
    guessed: str = ""

    def arranged(self, tensor: Tensor) -> tuple[Tensor, bool]:
        """The tensor as ``(n, ...)``, and whether its channels come before its positions.

        Channels that lie last come out as ``(n, t, d)``, others as ``(n, c, ...)``.
        """
        tensor = tensor.movedim(self.rows, 0)
        if self.channels is None or self.rank < 3:
            return tensor, False
        channels = self.channels + 1 if self.channels < self.rows else self.channels
        if channels == self.rank - 1:
            return tensor if self.rank == 3 else tensor.flatten(1, -2), False
        return tensor.movedim(channels, 1), True


def readings(
    layers: Sequence[str],
    full: Trace,
    fewer: Trace | None,
    shorter: Trace | None,
    layout: Mapping[str, str] | None = None,
) -> dict[str, Reading | str]:
    """How each layer is read, or why it is not.

    Args:
        layers: Names, with the number of the call from the second on.
        full: A pass of a whole batch.
        fewer: One of fewer inputs, which tells the axis of the inputs; None where there was none.
        shorter: One of as few, each of them shorter, which tells the axis of positions; None where there was none.
        layout: Layer → axes in words such as ``"n t d"``, in place of what is found.

    Raises:
        ArgumentError: If a layout does not fit the output.
    """
    found: dict[str, Reading | str] = {}
    there = [_by_key(trace) if trace is not None else {} for trace in (full, fewer, shorter)]
    for key in layers:
        call = there[0].get(key)
        if call is None:
            continue
        reading = _reading(
            call, full, *((held.get(key), trace) for held, trace in zip(there[1:], (fewer, shorter), strict=True))
        )
        said = (layout or {}).get(key) or (layout or {}).get(module_of(key))
        if said is not None:
            reading = _laid_out(key, call, said, reading)
        if isinstance(reading, Reading):
            mask, why = mask_of(call, layers, full)
            reading = replace(reading, mask=mask, unmasked=why)
        found[key] = reading
    return found


def parse_layout(said: str) -> tuple[int, int | None, int]:
    """The axis of the inputs, that of the channels, and how many there are, of a layout such as ``"n h w c"``.

    Raises:
        ValueError: If it does not name one axis ``n`` and at most one ``c`` or ``d``.
    """
    axes = said.split() if " " in said.strip() else list(said.strip())
    channels = [k for k, axis in enumerate(axes) if axis in ("c", "d")]
    if axes.count("n") != 1 or len(channels) > 1:
        raise ValueError(
            f"layout={said!r} is not understood; it names every axis of an output, n for the inputs, c or d for the "
            "channels and any other letters for positions, such as 'n h w c' or 't n d'."
        )
    return axes.index("n"), (channels[0] if channels else None), len(axes)


def _by_key(trace: Trace) -> dict[str, Call]:
    return {call_key(call.name, call.time): call for call in trace.calls}


def _reading(
    call: Call, full: Trace, fewer: tuple[Call | None, Trace | None], shorter: tuple[Call | None, Trace | None]
) -> Reading | str:
    floating = {path: out for path, out in call.outputs.items() if _is_read(out.dtype)}
    if not call.outputs:
        return "it put out no tensor"
    if not floating:
        kinds = ", ".join(sorted({str(out.dtype).removeprefix("torch.") for out in call.outputs.values()}))
        return f"it put out whole numbers only ({kinds}), between which there is no distance"
    candidates = []
    for path, out in floating.items():
        found = _row_axis(path, out, call, full, *fewer)
        if found is not None:
            candidates.append((not path.endswith("last_hidden_state"), len(out.shape) < 2, path, out, found))
    if not candidates:
        return "no row per input"
    *_, path, out, (rows, certain) = min(candidates, key=lambda candidate: candidate[:2])
    channels, told = _channel_axis(path, out, rows, call, fewer[0], shorter[0])
    guessed = [] if certain or len(out.shape) < 3 else ["inputs"]
    guessed += [] if told else ["channels"]
    return Reading(path, len(out.shape), rows, channels, guessed=" and ".join(guessed))


def _row_axis(
    path: str, out: Output, call: Call, full: Trace, other: Call | None, fewer: Trace | None
) -> tuple[int, bool] | None:
    """The axis of the inputs, and whether a pass of another number of them told it."""
    same = other.outputs.get(path) if other is not None else None
    if same is not None and fewer is not None and len(same.shape) == len(out.shape):
        axes = [
            k for k, sizes in enumerate(zip(out.shape, same.shape, strict=True)) if sizes == (full.rows, fewer.rows)
        ]
        return (axes[0], True) if axes else None
    second = len(out.shape) > 2 and out.shape[1] == full.rows
    if second and (out.shape[0] != full.rows or getattr(call.module, "batch_first", None) is False):
        return 1, False
    return (0, False) if out.shape and out.shape[0] == full.rows else None


def _channel_axis(
    path: str, out: Output, rows: int, call: Call, fewer: Call | None, shorter: Call | None
) -> tuple[int | None, bool]:
    """The axis of the channels, and whether it was told."""
    rank = len(out.shape)
    others = [k for k in range(rank) if k != rows]
    if len(others) < 2:
        return (others[0] if others else None), True
    told = channel_axis(out.node)
    here = fewer.outputs.get(path) if fewer is not None else None
    there = shorter.outputs.get(path) if shorter is not None else None
    if here is not None and there is not None and len(here.shape) == len(there.shape) == rank:
        fixed = [k for k in others if here.shape[k] == there.shape[k]]
        if len(fixed) == 1:
            return fixed[0], True
        others = fixed or others
    if told in others:
        return told, True
    return (others[-1] if rank == 3 else others[0]), False


def _laid_out(key: str, call: Call, said: str, found: Reading | str) -> Reading:
    rows, channels, rank = parse_layout(said)
    path = found.path if isinstance(found, Reading) else next(iter(call.outputs), "")
    shape = call.outputs[path].shape if path in call.outputs else ()
    if len(shape) != rank:
        raise ArgumentError(
            f"layout={said!r} names {rank} axes, but layer {key!r} puts out shape {shape}. Name every axis of it."
        )
    return Reading(path, rank, rows, channels)


def _is_read(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex or dtype in (torch.qint8, torch.quint8, torch.qint32)
