"""What layers put out for the probe, caught while Lightning validates, so that a look needs no forward pass of its own.

The hooks of a look are on the network while Lightning's own validation runs the batches that hold probe inputs, and
keep the rows of these. Nothing is run, drawn or put back for it, so whatever would make these rows other than those of
a pass of its own is a reason not to ride: other inputs, weights, modes or random numbers, foreign hooks, compiled code.
What remains is tried: of the first look that could ride both are made, and only where they are the same to the bit do
later ones ride. Sums are added up in an order that shapes decide, and not values, so that what holds once holds on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_gw.activations.isolation.hooks import foreign_hooks
from lightning_gw.activations.isolation.snapshot import is_sharded
from lightning_gw.activations.isolation.state import same_state
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.isolation.weights import Weights, weights_of
from lightning_gw.activations.passes import ProbePass, placing
from lightning_gw.activations.probe.batches import fingerprint, fingerprints_of_rows, is_cut_by_rows, leaves
from lightning_gw.activations.probe.probe import Probe
from lightning_gw.activations.probe.rows import PLAIN, Rows
from lightning_gw.activations.reading.capture import Activations, Collector
from lightning_gw.activations.running.forward import defines
from lightning_gw.activations.running.normalisation import has_spectral_norms, normalised_widths, untouched_layers
from lightning_gw.utilities.random_state import plain_tensors, random_states

#: Where the probe comes from whose places Lightning's validation has: its first loader.
_SOURCE = "validation data"
#: How looks may be run for validation to do the same, by the beginning of their names.
_WAYS = ("validation_step", "probe_step='validation_step'")
_FUSED = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


@dataclass(frozen=True)
class _Seen:
    """What the layers put out under some weights, and a fingerprint of it for each layer, in order."""

    weights: Weights
    activations: Activations
    bits: dict[str, str]

    @classmethod
    def of(cls, weights: Weights, activations: Activations, keep: bool) -> _Seen:
        """What was seen; `keep` the representations themselves too."""
        bits = {name: fingerprint([held]) for name, held in activations.representations.items()}
        kept = activations if keep else replace(activations, representations={})
        return cls(weights, kept, bits)


class Riding:
    """Catches what the layers put out for the probe in the passes of Lightning's validation.

    Args:
        probe_pass: How a look does it, settled.

    Attributes:
        why_not: Why no look of this training rides, in words; empty where one may.
        agrees: Whether a look that was made both ways gave the same to the bit, so that later ones ride.
        seconds: What catching took in the validation at hand, or the last one.
    """

    def __init__(self, probe_pass: ProbePass) -> None:
        self._pass = probe_pass
        self.why_not = "it was not prepared"
        self.agrees = False
        self.seconds = 0.0
        self._keys: list[str] = []
        self._path = ""
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._about: Activations | None = None  # all but the representations, as a pass of its own told it
        self._layers: list[str] = []
        self._hooks = ExitStack()
        self._collector: Collector | None = None
        self._left: dict[int, list[tuple[int, int]]] = {}
        self._order: list[int] = []
        self._weights: Weights | None = None
        self._states: dict[str, Any] | None = None
        self._fault: Exception | None = None
        self._own: _Seen | None = None
        self._caught: _Seen | None = None

    # ---- before training ----------------------------------------------------------------------------------------

    def prepare(self, trainer: Trainer, module: LightningModule, probe: Probe) -> None:
        """Learn which rows of which validation batches are the probe, and what they look like to the network.

        No pass is made; the probe is only prepared as for one.

        Args:
            trainer: The Trainer.
            module: The network.
            probe: The inputs that looks go through, as `ProbePass` was settled on.
        """
        self.agrees, self._about = False, None
        self.drop()
        self.why_not = self._never(trainer, module, probe)
        if self.why_not:
            return
        self._keys, paths = [], None
        with undisturbed(module, trainer):
            place = placing(trainer, module)
            for batch in map(place, probe.batches):
                here = _paths_by_length(batch)
                count = next((rows for path, rows in here.items() if paths is None or path in paths), 0)
                paths = [path for path, rows in here.items() if rows == count and (paths is None or path in paths)]
                if not count or not is_cut_by_rows(batch, count):
                    self.why_not = "its inputs are no rows of the batch"
                    return
                self._keys += fingerprints_of_rows(batch, count, range(count))
        if len(self._keys) < probe.size or len(probe.places) < probe.size:
            self.why_not = "it is not known where in validation its inputs are"
            return
        self._path = (paths or [""])[0]
        self._places = {}
        for position, (batch_number, row) in enumerate(probe.places[: probe.size]):
            self._places.setdefault(batch_number, []).append((row, position))

    def _never(self, trainer: Trainer, module: LightningModule, probe: Probe) -> str:
        way, rule = self._pass.way, self._pass.rule
        if trainer.world_size > 1:
            return "several processes validate different inputs"
        if not probe.source.startswith(_SOURCE) or not probe.places:
            return "it is not known where in validation its inputs are"
        if way is None or not way.name.startswith(_WAYS):
            return "looks do not go through validation_step"
        if rule is None or rule.name != PLAIN or not isinstance(self._pass.kept, slice):
            return "its inputs are no rows of the batch"
        if defines(module, "on_validation_batch_start"):
            return "on_validation_batch_start of the network may change a batch"
        if any(is_sharded(child) for child in module.modules()):
            return "weights are spread over processes"
        if has_spectral_norms(module):
            return "looks bring spectral norms to where they are heading"
        return ""

    def ready(self, module: nn.Module) -> bool:
        """Whether a pass of validation's would be one of a look's, as the network is now."""
        if self.why_not or self._pass.fits is not None:
            return False
        children = list(module.modules())
        if self._pass.unsettled or untouched_layers(module) or foreign_hooks(children):
            return False
        # PyTorch's attention takes another way as soon as there are hooks on it.
        fused = torch.backends.mha.get_fastpath_enabled() and any(isinstance(child, _FUSED) for child in children)
        return not fused and not any(_is_compiled(child) for child in children)

    # ---- during validation --------------------------------------------------------------------------------------

    def board(self, module: nn.Module) -> None:
        """A validation begins, in which a look may ride."""
        self._leave()
        self._caught = None
        self.seconds = 0.0
        if not self.ready(module):
            return
        assert self._pass.settled is not None
        config = self._pass.config
        self._left = {number: list(places) for number, places in self._places.items()}
        self._collector = Collector(
            config.pooling, config.layers is None, normalised_widths(module), self._pass.settled.how
        )

    def batch_begins(self, module: nn.Module, batch: Any, number: int, loader: int = 0) -> None:
        """A batch of validation's is about to go through the network.

        Args:
            module: The network.
            batch: As the network gets it.
            number: Its place in its loader.
            loader: Which of several.
        """
        if self._collector is None or loader != 0 or number not in self._left:
            return
        with self._timed(), plain_tensors():
            places = self._left.pop(number)
            self._weights = self._weights or weights_of(module)
            if problem := self._differs(module, batch, places):
                self._stay(problem)
                return
            rows = _paths_by_length(batch)[self._path]
            self._collector.begin(batch, Rows(rows), torch.tensor([row for row, _ in places], device="cpu"))
            self._order += [position for _, position in places]
            self._states = {name: ask() for name, ask in random_states().items()}
            self._hooks.enter_context(self._collector.hooked(module, self._pass.layers, self._guarded))

    def batch_ends(self) -> None:
        """A batch of validation's has gone through the network."""
        self._hooks.close()
        states, self._states = self._states, None
        if self._collector is None or states is None:
            return
        with self._timed():
            asking = random_states()
            if not all(same_state(asking[name](), before) for name, before in states.items()):
                self._stay("validation draws random numbers")
                return
            self._collector.end()

    def arrive(self, module: nn.Module) -> None:
        """The validation is over.

        Raises:
            Exception: What went wrong in a hook meanwhile.
        """
        collector, weights, fault, left = self._collector, self._weights, self._fault, self._left
        order = self._order
        self._leave()
        if fault is not None:
            self.why_not = "it failed once"
            raise fault
        if collector is None:
            return
        if left:
            self.why_not = "validation does not come to all of its inputs"
            return
        with self._timed(), plain_tensors():
            if weights != weights_of(module):
                return
            found = collector.result(self._pass.layers)
            back = torch.tensor(order, device="cpu").argsort()
            rows = {
                name: found.representations[name][back.to(found.representations[name].device)]
                for name in self._pass.layers
                if name in found.representations
            }
            self._caught = _Seen.of(weights, replace(found, representations=rows), keep=True)
            self._judge()

    def drop(self) -> None:
        """Forget what was caught: training goes on, or ends."""
        self._leave()
        self._own = self._caught = None

    # ---- at a look ----------------------------------------------------------------------------------------------

    def take(self, module: nn.Module) -> Activations | None:
        """What the layers put out for the probe, where it was caught under just these weights."""
        caught = self._caught
        if not self.agrees or caught is None or self._about is None or caught.weights != weights_of(module):
            return None
        if list(caught.activations.representations) != self._layers:
            return None
        return replace(self._about, representations=caught.activations.representations)

    def compare(self, module: nn.Module, activations: Activations) -> None:
        """A look was made by a pass of its own; where the same was caught, or will be, the two are held together."""
        if not self.agrees and not self.why_not:
            self._own = _Seen.of(weights_of(module), activations, keep=False)
            self._judge()

    def awaits(self, module: nn.Module) -> bool:
        """Whether a look under these weights waits to be held against what validation brings."""
        return self._own is not None and self._own.weights == weights_of(module)

    def _judge(self) -> None:
        own, caught = self._own, self._caught
        if self.agrees or own is None or caught is None or own.weights != caught.weights:
            return
        self.agrees = list(own.bits.items()) == list(caught.bits.items())
        if not self.agrees:
            self.why_not = "what validation's passes give is not to the bit what a pass of its own gives"
        notes = tuple(note for note in own.activations.notes if not note.startswith("This look disturbed"))
        self._about, self._layers = replace(own.activations, notes=notes), list(own.bits)
        self._own = self._caught = None

    # ---- details ------------------------------------------------------------------------------------------------

    def _differs(self, module: nn.Module, batch: Any, places: list[tuple[int, int]]) -> str:
        """Why the network would not do with this batch what it does in a look; empty where it would."""
        if any(child.training for child in module.modules()):
            return "parts of the network are in training mode during validation"
        rows = _paths_by_length(batch).get(self._path, 0)
        if max(row for row, _ in places) >= rows or not is_cut_by_rows(batch, rows):
            return "validation sees other inputs"
        if fingerprints_of_rows(batch, rows, [row for row, _ in places]) != [self._keys[k] for _, k in places]:
            return "validation sees other inputs"
        return ""

    def _stay(self, why: str) -> None:
        self.why_not = why
        self._leave()

    def _leave(self) -> None:
        """Have no hooks on the network, and nothing half caught."""
        self._hooks.close()
        self._collector = self._weights = self._states = self._fault = None
        self._left, self._order = {}, []

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        """A hook that fails, or stands in code that is being compiled, without the network's noticing."""

        def guarded(*args: Any) -> None:
            try:
                if torch.compiler.is_compiling() or self._fault is not None:
                    return
                with self._timed(), plain_tensors():
                    hook(*args)
            except Exception as error:
                self._fault = error

        return guarded

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


def _paths_by_length(batch: Any) -> dict[str, int]:
    """The places of a batch's tensors, and how many entries each has, in the batch's own order."""
    return {path: leaf.shape[0] for path, leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0}


def _is_compiled(module: nn.Module) -> bool:
    """Whether hooks on a module would meet code that was compiled without them."""
    held = (*vars(module).values(), *vars(type(module)).values())
    return (
        isinstance(module, torch.jit.ScriptModule)
        or hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or getattr(module, "_compiler_ctx", None) is not None
        or any(hasattr(value, "_torchdynamo_orig_callable") for value in held if callable(value))
    )
