"""What the chosen layers put out for the probe inputs, pooled on the spot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from lightning_gw.activations.layers.names import named_layers
from lightning_gw.activations.layers.outputs import dense, first_tensor, output_leaves, why_unreadable
from lightning_gw.activations.layers.trace import bound_arguments
from lightning_gw.activations.probe.batches import count_rows, padding_mask
from lightning_gw.activations.probe.rows import Rows, regroup
from lightning_gw.activations.reading.axes import is_batch_second, is_channels_first
from lightning_gw.activations.reading.failures import explaining
from lightning_gw.activations.reading.masks import MaskSource
from lightning_gw.activations.reading.pooling import Pooling, PoolingFunction, pool, pool_by
from lightning_gw.activations.reading.readings import Reading
from lightning_gw.utilities.calls import call_key, module_of
from lightning_gw.utilities.errors import ArgumentError


@dataclass(frozen=True)
class Activations:
    """Representations of the probe inputs.

    Attributes:
        representations: Layer name → ``(n, d)``, in the order in which the layers were called. A module called several
            times in one forward appears as ``name``, ``name#2``, ``name#3``.
        notes: What was left out or done differently, in plain words.
        scaled: Layers whose positions were scaled to norm 1 before they were averaged.
        sequences: Names of the layers of each sequence that data flows through, such as encoder and decoder; empty
            where all layers are of one.
    """

    representations: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    sequences: tuple[tuple[str, ...], ...] = ()


class ShapeError(ValueError):
    """A layer's output has no row per input."""


def capture(
    module: nn.Module,
    layers: Sequence[str],
    batches: Sequence[Any],
    run: Callable[[Any], Any],
    pooling: Pooling = "auto",
    *,
    optional: bool = False,
    scaled_widths: Collection[int] = (),
    rows: Sequence[Rows] | None = None,
    how: Mapping[str, Reading | str] | None = None,
) -> Activations:
    """Run every batch through the network and keep what `layers` put out.

    Outputs are pooled inside the hook, because whole token tensors are many times larger than what is kept. Of a tuple
    the first tensor counts, of a mapping or Hugging Face ``ModelOutput`` its ``last_hidden_state`` or else its first
    tensor; nested tensors and packed sequences are padded. The hooks are gone when this returns or raises.

    Args:
        module: The network whose modules are named.
        layers: Natural names, as `layers.named_layers` gives them, with the number of the call where `how` has it.
        batches: The probe; each item is handed to `run`.
        run: Runs the network on one batch; what it returns is ignored.
        pooling: See `pooling.pool`.
        optional: Leave out, with a note, layers that are never called or have no row per input. Without it they are
            errors, as befits layers that somebody asked for by name.
        rows: The rows of every batch; None counts them by its first tensor.
        scaled_widths: Widths of states whose positions ``"auto"`` scales to norm 1 before it averages over them.
        how: How the output of each layer is read, or why it is not (see `readings`); calls that are not in it are left
            alone. None reads the first tensor of every call by its shape.

    Raises:
        ValueError: If a layer is never called, or `pooling` does not suit its output.
        ShapeError: If a layer's output has another number of rows than the batch.
        LookError: If a module of the network fails; the message names it and the shapes. Running out of memory is
            passed on as it is.
    """
    collector = Collector(pooling, optional, scaled_widths, how)
    with collector.hooked(module, layers):
        for number, batch in enumerate(batches, start=1):
            collector.begin(batch, Rows(count_rows(batch)) if rows is None else rows[number - 1])
            with explaining(module, batch, number, len(batches), lambda error: collector.refused is error):
                run(batch)
            collector.end()
    return collector.result(layers)


class Collector:
    """Keeps what layers put out, pooled; `capture` says how, and runs the network."""

    def __init__(
        self,
        pooling: Pooling,
        optional: bool,
        scaled_widths: Collection[int],
        how: Mapping[str, Reading | str] | None = None,
    ) -> None:
        self._how = how
        read = [reading for reading in (how or {}).values() if isinstance(reading, Reading)]
        self._sources = {reading.mask for reading in read if reading.mask is not None}
        self.stacks = sorted({source.stack for source in self._sources})
        self._masks: dict[MaskSource, Tensor] = {}
        self._stack_calls: dict[str, int] = {}
        self._pooling = pooling
        self._scaled_widths = scaled_widths
        self._scaled: set[str] = set()
        self._optional = optional
        self._kept: list[dict[str, Tensor]] = []
        self._current: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._misshapen: dict[str, str] = {}
        self._notes: dict[str, None] = {}
        self._rows = Rows(None)
        self._mask: Tensor | None = None
        self._own_rows = False
        self._picked: Tensor | None = None
        self.refused: Exception | None = None  # the error of a hook, which is none of the network's

    @contextmanager
    def hooked(
        self,
        module: nn.Module,
        layers: Sequence[str],
        guard: Callable[[Callable[..., None]], Callable[..., None]] = lambda hook: hook,
    ) -> Iterator[None]:
        """The network has hooks on `layers` inside; `guard` makes of each what is registered in its place."""
        named = named_layers(module)
        with ExitStack() as hooks:
            for stack in self.stacks:
                giving = module if not stack else named[stack]
                masked = guard(partial(self.masked, stack))
                hooks.callback(giving.register_forward_pre_hook(masked, with_kwargs=True).remove)
            for name in dict.fromkeys(map(module_of, layers)):
                hooks.callback(named[name].register_forward_hook(guard(partial(self.hook, name))).remove)
            yield

    def begin(self, batch: Any, rows: Rows, picked: Tensor | None = None) -> None:
        """A batch is to go through the network; of its rows those in `picked` are kept, all where it is None."""
        self._rows, self._mask, self._picked = rows, padding_mask(batch), picked
        self._current, self._calls = {}, {}
        self._masks, self._stack_calls = {}, {}

    def end(self) -> None:
        self._kept.append(self._current)

    def hook(self, layer: str, module: nn.Module, args: Any, output: Any) -> None:
        try:
            self._keep(layer, module, output)
        except Exception as error:
            self.refused = error
            raise

    def masked(self, stack: str, module: nn.Module, args: Any, keywords: Any) -> None:
        """Keep the masks that a stack is given for its layers."""
        time = self._stack_calls[stack] = self._stack_calls.get(stack, 0) + 1
        for source in self._sources:
            if (source.stack, source.time) == (stack, time):
                mask = bound_arguments(module, args, keywords).get(source.argument)
                if isinstance(mask, Tensor):
                    self._masks[source] = source.read(mask)

    def _keep(self, layer: str, module: nn.Module, output: Any) -> None:
        self._calls[layer] = self._calls.get(layer, 0) + 1
        key = call_key(layer, self._calls[layer])
        if self._how is not None and key not in self._how:
            return
        if why := why_unreadable(output):
            if not self._optional:
                raise ArgumentError(f"Layer {key!r} cannot be read: {why}.")
            self._misshapen[key] = f"Layer {key!r} cannot be read: {why}."
            return
        if callable(self._pooling):
            self._current[key] = self._of_those_picked(self._pooled_by_user(self._pooling, key, output))
            return
        try:
            reading = None if self._how is None else self._how[key]
            of_the_batch = self._rows.index is None and self._rows.count is not None and not self._own_rows
            if reading is None or _is_packed(output) or not of_the_batch:
                tensor, mask = self._rowwise(key, module, output)
                channels_first = is_channels_first(module)
            elif isinstance(reading, str):
                raise ShapeError(f"Layer {key!r} is not read: {reading}.")
            else:
                tensor, mask, channels_first = self._read(key, reading, output)
        except ShapeError as error:
            if not self._optional or self._own_rows:
                raise
            self._misshapen[key] = str(error)
            return
        scale = tensor.dim() == 3 and not channels_first and tensor.shape[-1] in self._scaled_widths
        if scale and self._pooling == "auto":
            self._scaled.add(key)
        tensor, mask = self._of_those_picked(tensor), None if mask is None else self._of_those_picked(mask)
        self._current[key] = pool(
            tensor, mask, self._pooling, layer=key, channels_first=channels_first, scale_positions=scale
        )

    def _of_those_picked(self, tensor: Tensor) -> Tensor:
        return tensor if self._picked is None else tensor[self._picked.to(tensor.device)]

    def _read(self, key: str, reading: Reading, output: Any) -> tuple[Tensor, Tensor | None, bool]:
        """The output's tensor as ``(n, ...)``, the mask of its positions, and whether channels come before them."""
        tensor = dict(output_leaves(output)).get(reading.path)
        if tensor is None or tensor.dim() != reading.rank or tensor.shape[reading.rows] != self._rows.count:
            came = "nothing" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise ShapeError(
                f"Layer {key!r} put out {came}; expected {reading.rank} axes, axis {reading.rows} with one row per "
                f"probe input ({self._rows.count}). A layer that mixes or splits the inputs of a batch cannot be "
                "compared."
            )
        if reading.guessed:
            self._notes[
                f"Layer {key}: which axis of {tuple(tensor.shape)} holds the {reading.guessed} was not told by the "
                "network, and read from the sizes; layout= says it."
            ] = None
        tensor, channels_first = reading.arranged(tensor)
        if channels_first or tensor.dim() != 3:
            return tensor, None, channels_first
        mask = self._masks.get(reading.mask) if reading.mask is not None else self._mask
        if reading.unmasked:
            there_are_masks = self._sources or self._mask is not None
            mask = None
            if there_are_masks:
                said = f"Layer {key}: no mask fits, since {reading.unmasked}, so all positions were pooled."
                self._notes[said] = None
        lengthened = reading.mask is not None and reading.mask.lengthened
        return tensor, self._fitting(key, mask, tensor, lengthened), channels_first

    def _pooled_by_user(self, pooling: PoolingFunction, key: str, output: Any) -> Tensor:
        """The user's function gets what was put out; where it takes only tensors, the one that stands for it."""
        tensor = first_tensor(output)
        fits = self._mask is not None and tensor is not None and self._mask.shape == tensor.shape[:2]
        mask = self._mask.to(tensor.device) if fits else None  # type: ignore[union-attr]
        try:
            pooled = pool_by(pooling, output, mask, layer=key, rows=self._rows.count)
        except (AttributeError, TypeError):
            if tensor is None or isinstance(output, Tensor):
                raise
            pooled = pool_by(pooling, tensor, mask, layer=key, rows=self._rows.count)
        self._settle_rows(pooled)
        return pooled

    def _settle_rows(self, tensor: Tensor) -> None:
        """Where the rows are the layers' own, the first layer says how many there are."""
        if self._rows.count is None:
            self._own_rows, self._rows = True, Rows(tensor.shape[0])

    def _rowwise(self, key: str, module: nn.Module, output: Any) -> tuple[Tensor, Tensor | None]:
        """The output's tensor with one row per input, and the mask that fits it."""
        mask = self._mask
        if isinstance(output, tuple) and output and isinstance(output[0], PackedSequence):
            output = output[0]
        if isinstance(output, PackedSequence):
            output, lengths = pad_packed_sequence(output, batch_first=True)
            mask = torch.arange(output.shape[1], device=lengths.device)[None] < lengths[:, None]
        tensor = first_tensor(output)
        if tensor is None:
            raise ShapeError(f"Layer {key!r} put out a {type(output).__name__} that holds no tensor with rows.")
        tensor, of_rows = regroup(dense(tensor), self._rows)
        if of_rows is not None:
            return tensor, of_rows if tensor.dim() == 3 else None
        self._settle_rows(tensor)
        rows = self._rows.count
        if tensor.dim() >= 3 and tensor.shape[1] == rows:
            if is_batch_second(module):
                tensor = tensor.transpose(0, 1)
            elif tensor.shape[0] != rows:
                tensor = tensor.transpose(0, 1)
                self._notes[f"Layer {key}: its output was read as (positions, inputs, ...)."] = None
        if tensor.shape[0] != rows:
            raise ShapeError(
                f"Layer {key!r} put out shape {tuple(tensor.shape)}; expected one row per probe input, "
                f"({rows}, ...). A layer that mixes or splits the inputs of a batch cannot be compared."
            )
        if tensor.dim() != 3 or (is_channels_first(module) and (mask is None or mask.shape != tensor.shape[:2])):
            return tensor, None
        return tensor, self._fitting(key, mask, tensor)

    def _fitting(self, key: str, mask: Tensor | None, tensor: Tensor, lengthened: bool = False) -> Tensor | None:
        """The mask, where it is one of this tensor's positions; `lengthened` where the network pads them further."""
        if mask is None:
            return None
        if lengthened and mask.shape[1] < tensor.shape[1]:
            mask = nn.functional.pad(mask, (0, tensor.shape[1] - mask.shape[1]), value=False)
        if mask.shape[1] > tensor.shape[1] and not bool(mask[:, tensor.shape[1] :].any()):
            mask = mask[:, : tensor.shape[1]]  # nested tensors are padded to the longest input only
        if mask.shape != tensor.shape[:2]:
            self._notes[
                f"Layer {key}: the batch's padding mask has {mask.shape[1]} positions and the output "
                f"{tensor.shape[1]}, so all positions were pooled."
            ] = None
            return None
        return mask.to(tensor.device)

    def result(self, layers: Sequence[str]) -> Activations:
        layers = list(dict.fromkeys(map(module_of, layers)))
        order = list(self._kept[0]) if self._kept else []
        in_all = [key for key in order if all(key in kept for kept in self._kept)]
        called = {module_of(key) for key in (*chain.from_iterable(self._kept), *self._misshapen)}
        silent = [name for name in layers if name not in called]
        if silent and not self._optional:
            one = len(silent) == 1
            it, were = ("it", "was") if one else ("them", "were")
            raise ArgumentError(
                f"Layer{'' if one else 's'} {', '.join(map(repr, silent))} {were} never called in forward and put out "
                f"nothing. Called were: {', '.join(in_all) or 'none of the layers asked for'}. Take {it} out of "
                f"layers=[...], or name the modules inside or around {it} that forward does call; where training runs "
                "the network some other way than through forward, pass that way as probe_step=...."
            )
        notes = list(self._notes)
        if silent:
            notes.append(f"Left out because forward never calls them: {', '.join(silent)}.")
        notes += [f"Left out: {reason}" for reason in self._misshapen.values()]
        uneven = sorted({key for kept in self._kept for key in kept} - set(in_all))
        if uneven:
            notes.append(f"Left out because not every probe batch calls them: {', '.join(uneven)}.")
        scaled = tuple(key for key in in_all if key in self._scaled)
        return Activations({key: self._join(key) for key in in_all}, tuple(notes), scaled)

    def _join(self, key: str) -> Tensor:
        parts = [kept[key] for kept in self._kept]
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) > 1:
            raise ValueError(
                f"Layer {key!r} gave {' and '.join(map(str, widths))} values per input on different probe batches, "
                f"with pooling={self._pooling!r}; expected the same width everywhere. Batches padded to different "
                "lengths do this: pool over positions instead, or use one probe batch."
            )
        return torch.cat(parts)


def _is_packed(output: Any) -> bool:
    return isinstance(output[0] if isinstance(output, tuple) and output else output, PackedSequence)
