"""The fixed inputs that every look goes through: drawn once, held for the whole run, known by their hash."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_gw.activations.isolation.snapshot import ModuleSnapshot
from lightning_gw.activations.probe.apart import ApartError, can_read_apart, read_apart
from lightning_gw.activations.probe.batches import fingerprint, is_cut_by_rows, leaves, take_rows
from lightning_gw.activations.probe.loaders import Drawing, Drawn
from lightning_gw.activations.probe.rows import guess_rows
from lightning_gw.utilities.errors import ArgumentError
from lightning_gw.utilities.random_state import isolated_randomness

if TYPE_CHECKING:
    from lightning_gw.activations.config import ProbeConfig

#: Inputs drawn where nobody says how many.
DEFAULT_PROBE_SIZE = 128
#: Fewer inputs than this have no geometry to speak of.
SMALLEST_PROBE = 4

#: Key into an item, or a function of it, that gives the class to balance over.
Balance = int | Callable[[Any], Any] | str


class ProbeError(ValueError):
    """There are no inputs to look through, or they cannot be read."""


class WrongProbeError(ProbeError, ArgumentError):
    """What the user wrote of the probe cannot be had, such as more inputs than there are."""


@dataclass(frozen=True)
class Probe:
    """Fixed probe inputs.

    Attributes:
        batches: The inputs as the collate function made them, on the CPU.
        size: Number of inputs over all batches, the ``n`` of everything that follows.
        source: Where they come from, in words.
        hash: SHA-256 over every tensor.
        notes: What was done differently from what one may expect, in plain words.
        items: Of every batch the number of items that were put together in it; None where that is not known.
        wanted: How many inputs were looked for.
        places: Of every input its batch and its row there in the loader it comes from, where that gives what it has in
            one order; empty where that is not known.
    """

    batches: tuple[Any, ...]
    size: int
    source: str
    hash: str
    notes: tuple[str, ...] = ()
    items: tuple[int | None, ...] = ()
    wanted: int = DEFAULT_PROBE_SIZE
    places: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a probe may come from.

    Attributes:
        name: What it is, in words, such as ``"validation data"``.
        get: Gives the data; called where nothing that it does is noticed.
        several: What a user should know of its being one of several; empty otherwise.
        batch: A batch, where that is all there is to it.
        maker: Whose hook `get` calls, if it does; what that remembers is put back.
    """

    name: str
    get: Callable[[], Any]
    several: str = ""
    batch: Any = None
    maker: Any = None


def draw_probe(data: Any, source: str, config: ProbeConfig) -> Probe:
    """Draw the probe inputs from data of any usual kind.

    Batches are those that the loader makes, by its own samplers, workers and collate function, read in a copy of this
    process: whatever loaders, samplers and data sets remember stays as it is. Where a loader's sampler would put any
    inputs together, the probe is a random choice of them; of batches that a sampler of somebody's own makes, it is a
    random choice of whole batches; what can only be iterated gives its first.

    Args:
        data: A batch (tensor, tuple, list or mapping of tensors), a ``Dataset``, a ``DataLoader`` or any iterable of
            batches, a ``CombinedLoader``, or a list, tuple or dict of loaders (of several, the first is taken), or a
            function without arguments that returns one of these.
        source: Where the data comes from, in words, such as ``"validation data"``.
        config: How many inputs, how many of them per forward pass, balanced over what, and the seed of the draw.

    Raises:
        WrongProbeError: If there are fewer inputs than asked for, or what was asked for makes no sense.
        ProbeError: If there are fewer than 4 inputs, or the data cannot be read.
    """
    probe = read_probe(sources_of(data, source)[0], config)
    return require(probe, probe.size, config)


def sources_of(data: Any, name: str) -> list[Source]:
    """What data may be a source of: of several loaders the first, then batches of all of them together.

    Raises:
        WrongProbeError: If it is nothing that inputs can be drawn from.
    """
    if is_batch(data):
        return [Source(name, lambda: data, batch=data)]
    several = _several(data)
    if len(several) > 1:
        first, loader = next(iter(several.items()))
        said = f"Of {len(several)} loaders the probe was drawn from the first, {first}."
        one = Source(f"{name} ({first})", lambda: loader, said)
        together = Source(f"{name} (all loaders)", lambda: _combined(data))
        return [together, one] if getattr(data, "_mode", "sequential") != "sequential" else [one, together]
    if several:
        data = next(iter(several.values()))
    if not (isinstance(data, Iterable) or callable(data) or hasattr(data, "__getitem__")):
        raise WrongProbeError(
            f"The probe cannot be drawn from a {type(data).__name__}; give a batch, a Dataset, a DataLoader, or a "
            "function that returns one."
        )
    return [Source(name, lambda: data)]


def read_probe(source: Source, config: ProbeConfig) -> Probe:
    """Read the probe inputs from one source, however many there are.

    Raises:
        WrongProbeError: If what was asked for makes no sense.
        ProbeError: If the data cannot be read.
    """
    if config.size is not None and config.size < SMALLEST_PROBE:
        raise WrongProbeError(f"probe_size={config.size}: at least {SMALLEST_PROBE} inputs are needed to compare.")
    if config.batch_size is not None and config.batch_size < 1:
        raise WrongProbeError(f"probe_batch_size={config.batch_size} must be at least 1.")
    size = DEFAULT_PROBE_SIZE if config.size is None else config.size
    drawn = _drawn(source, size, config)
    if drawn.given:
        size = _split(drawn, config)
    elif not drawn.whole:
        _cut_last(drawn, size)
    notes = [*filter(None, [source.several]), *drawn.notes]
    return Probe(
        tuple(drawn.batches),
        drawn.size,
        drawn.source,
        fingerprint(drawn.batches),
        tuple(notes),
        tuple(drawn.items),
        size,
        tuple(drawn.places),
    )


def require(probe: Probe, rows: int, config: ProbeConfig) -> Probe:
    """Refuse a probe with too few inputs, and have it say so where there are fewer than usual.

    Args:
        probe: As it was read.
        rows: How many inputs it really holds.
        config: How many were asked for.

    Raises:
        WrongProbeError: If there are fewer inputs than asked for.
        ProbeError: If there are fewer than 4.
    """
    if config.size is not None and rows < config.size:
        raise WrongProbeError(
            f"probe_size={config.size} asks for more inputs than the {probe.source} holds: {rows}. Lower "
            "probe_size, or leave it out to take what there is."
        )
    if rows < SMALLEST_PROBE:
        raise ProbeError(
            f"The {probe.source} holds {rows} input{'' if rows == 1 else 's'}; at least {SMALLEST_PROBE} are needed "
            "to compare layers. Pass other inputs with GWSimilarity(probe=...)."
        )
    notes = probe.notes
    if rows < probe.wanted:
        notes += (f"The probe has {rows} inputs, all there are in the {probe.source}, not {probe.wanted}.",)
    return replace(probe, size=min(rows, probe.wanted), notes=notes)


def is_batch(data: Any) -> bool:
    """Whether nothing but tensors and plain values is in it."""
    if isinstance(data, Tensor):
        return True
    if not isinstance(data, Mapping | list | tuple):
        return False
    found = [leaf for _, leaf in leaves(data)]
    return any(isinstance(leaf, Tensor) for leaf in found) and not any(
        isinstance(leaf, DataLoader) or (hasattr(leaf, "__getitem__") and not isinstance(leaf, Tensor | str | bytes))
        for leaf in found
    )


def _drawn(source: Source, size: int, config: ProbeConfig) -> Drawn:
    """Draw in a copy of this process; where there can be none, from a copy of the data."""
    if source.batch is not None:
        return Drawn(source.name, [source.batch], [None], given=True)

    def draw(alive: Callable[[], None]) -> Drawn:
        return _draw(source.get(), source.name, size, config, alive)

    try:
        if can_read_apart():
            return read_apart(draw)
    except ApartError:
        pass
    except ArgumentError as error:
        raise WrongProbeError(str(error)) from error
    except Exception as error:
        if "forked subprocess" not in str(error):  # data on an accelerator cannot be read in a copy of the process
            raise ProbeError(
                f"The {source.name} cannot be read ({type(error).__name__}: {error}). Pass inputs with "
                "GWSimilarity(probe=...)."
            ) from error
    return _drawn_from_copy(source, size, config)


def _draw(data: Any, name: str, size: int, config: ProbeConfig, alive: Callable[[], None]) -> Drawn:
    while callable(data) and not isinstance(data, Iterable):
        data = data()
    if is_batch(data):
        return Drawn(name, [data], [None], given=True)
    if isinstance(data, list | tuple | Mapping) and not data:
        return Drawn(name)
    if not hasattr(data, "flattened"):  # what Lightning gave its loops only now may be several loaders
        source = sources_of(data, name)[0]
        data, name = source.get(), source.name
        drawing = Drawing(name, size, config, alive)
        drawing.drawn.notes += filter(None, [source.several])
        return drawing.draw(data)
    return Drawing(name, size, config, alive).draw(data)


def _drawn_from_copy(source: Source, size: int, config: ProbeConfig) -> Drawn:
    made_by = ModuleSnapshot([source.maker, source.get])  # asked for loaders once more than Lightning asks
    try:
        drawn = _drawn_here(source, size, config)
    finally:
        lost, failed = made_by.restore()
    drawn.notes += [f"Reading the {source.name} disturbed training: {said}." for said in (*lost, *failed)]
    return drawn


def _drawn_here(source: Source, size: int, config: ProbeConfig) -> Drawn:
    data = source.get()
    try:
        twin = copy.copy(data)
        if isinstance(twin, DataLoader):
            vars(twin)["_iterator"] = None  # its workers stay where they are
        twin = copy.deepcopy(twin)
    except Exception as error:
        raise ProbeError(
            f"The {source.name}, a {type(data).__name__}, can neither be read in a copy of the process nor be copied, "
            f"which would leave the original as it is ({error}). Pass inputs with GWSimilarity(probe=...)."
        ) from error
    with isolated_randomness(config.seed):
        return _draw(twin, source.name, size, config, lambda: None)


def _split(drawn: Drawn, config: ProbeConfig) -> int:
    """Take of a batch that somebody put together what was asked for, in batches of the size that was."""
    (batch,) = drawn.batches
    rows = guess_rows(batch)
    size = min(config.size or rows, rows)
    if is_cut_by_rows(batch, rows):
        step = config.batch_size or size
        drawn.batches = [take_rows(batch, start, min(start + step, size), rows) for start in range(0, size, step)]
        drawn.items = [None] * len(drawn.batches)
    return size


def _cut_last(drawn: Drawn, size: int) -> None:
    """Leave out of the last batch what is too many, where all of it can be cut."""
    if not drawn.batches:
        return
    rows = guess_rows(drawn.batches[-1], drawn.items[-1])
    left = size - (drawn.size - rows)
    if 0 < left < rows and is_cut_by_rows(drawn.batches[-1], rows):
        drawn.batches[-1] = take_rows(drawn.batches[-1], 0, left, rows)
        drawn.items[-1] = None if drawn.items[-1] is None else left


def _several(data: Any) -> dict[str, Any]:
    """The loaders in a ``CombinedLoader``, list, tuple or dict, by name."""
    if hasattr(data, "flattened") and hasattr(data, "iterables"):  # CombinedLoader, of either Lightning package
        data = data.iterables
        if not isinstance(data, Mapping | list | tuple):
            return {"loader 0": data}
    if isinstance(data, Mapping):
        return {str(key): value for key, value in data.items()}
    if isinstance(data, list | tuple) and any(isinstance(value, DataLoader) for value in data):
        return {f"loader {index}": value for index, value in enumerate(data)}
    return {}


def _combined(data: Any) -> Any:
    return data if hasattr(data, "flattened") else CombinedLoader(data)
