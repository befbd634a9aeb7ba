"""The modules with weights that a forward pass called: what is inside what, how much each holds, what repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from torch import nn

from lightning_gw.activations.layers.names import HOLDERS, NORMS, named_layers
from lightning_gw.activations.layers.trace import Trace

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class CalledModules:
    """What one forward pass called.

    Args:
        module: The network.
        trace: What the forward pass did.
        among: Names of the modules that count; None for all.

    Attributes:
        module: The network.
        trace: The same.
        named: All modules by their natural names.
        calls: First call of every module with weights, by name; what measures a training is not among them.
        inside: Name → names of the modules with weights that are called inside it.
        total: Number of weights, embeddings not counted.
    """

    def __init__(self, module: nn.Module, trace: Trace, among: Collection[str] | None = None) -> None:
        self.module = module
        self.trace = trace
        self.named = named_layers(module)
        metrics = [name for name, child in self.named.items() if _is_metric(child)]
        self.calls = {
            name: call
            for name, call in trace.first_calls().items()
            if name
            and (among is None or name in among)
            and next(call.module.parameters(), None) is not None
            and not _within(name, metrics)
            and name not in metrics
        }
        self.inside: dict[str, list[str]] = defaultdict(list)
        for name, call in self.calls.items():
            up = call.parent
            above: set[str] = set()
            while up is not None:
                above.add(up.name)
                up = up.parent
            for outer in above - {name}:
                self.inside[outer].append(name)
        embeddings = [call.module for call in self.calls.values() if isinstance(call.module, EMBEDDINGS)]
        self.total = max(1, self.size(self.calls) - weights_of(embeddings))

    def may_be_block(self, name: str, module: nn.Module) -> bool:
        """Whether a module does something of its own with weights: a container, a norm and a layer of torch do not."""
        kind = type(module)
        if isinstance(module, (*HOLDERS, *NORMS)) or kind is nn.Sequential or embeds(module):
            return False
        if self.inside[name]:
            return True
        # A class of its own that works with weights of its own.
        torchs = any(base.__module__.startswith("torch.nn.modules") for base in kind.__mro__ if base is not nn.Module)
        return not torchs and any(weight.dim() > 1 for weight in module.parameters())

    def is_looped(self, name: str) -> bool:
        """Whether a second call of a module goes on from what its first one put out."""
        first = self.trace.first_calls()[name]
        return any(call.after(first) for call in self.trace.calls if call.name == name and call.time == 2)

    def classes_inside(self, name: str) -> list[list[str]]:
        """What is inside a module and may be a block, class by class, of each class the outermost."""
        by_class: dict[type[nn.Module], list[str]] = defaultdict(list)
        for inner in self.inside[name]:
            if self.may_be_block(inner, self.calls[inner].module):
                by_class[type(self.calls[inner].module)].append(inner)
        return [self.outermost(names) for names in by_class.values()]

    def goes_around(self, name: str) -> bool:
        """Whether a module has a way around its weights, as residual blocks have."""
        return self.trace.goes_around(self.calls[name], [self.calls[k] for k in self.leaves(self.inside[name])])

    def leaves(self, names: Iterable[str]) -> list[str]:
        """Those with weights of their own and nothing inside that has."""
        return [
            name
            for name in names
            if not self.inside[name]
            and not isinstance(self.calls[name].module, NORMS)
            and any(weight.dim() > 1 or nn.parameter.is_lazy(weight) for weight in self.calls[name].module.parameters())
        ]

    def size(self, names: Iterable[str]) -> int:
        """Number of weights in all of these together."""
        return weights_of(self.calls[name].module for name in names)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """The names in the order of their first calls."""
        starts = {call.name: number for number, call in reversed(list(enumerate(self.trace.calls)))}
        return sorted(dict.fromkeys(names), key=lambda name: starts[name])

    def is_inside(self, name: str, others: Sequence[str]) -> bool:
        """Whether a module is one of the others or is called inside one."""
        return any(name == other or name in self.inside[other] for other in others)

    def holds(self, name: str, others: Sequence[str]) -> bool:
        """Whether any of the others is called inside a module."""
        return any(other in self.inside[name] for other in others)

    def touches(self, name: str, others: Iterable[str]) -> bool:
        """Whether a module is one of the others, inside one, or holds one."""
        return any(
            self.is_inside(name, [other]) or other in self.inside[name]
            for other in others
            if other in self.inside or other == name
        )

    def outermost(self, names: Iterable[str]) -> list[str]:
        """Those that are inside none of the others."""
        listed = list(dict.fromkeys(names))
        within = {inner for name in listed for inner in self.inside[name]}
        return [name for name in listed if name not in within]


def weights_of(modules: Iterable[nn.Module]) -> int:
    """Number of parameters in all of these together."""
    sizes = {id(p): p.numel() for m in modules for p in m.parameters() if not nn.parameter.is_lazy(p)}
    return sum(sizes.values())


def structure(module: nn.Module) -> object:
    """The classes of a module and all it holds, by name; equal for modules that differ in widths only."""
    return type(module), tuple((name, structure(child)) for name, child in module.named_children())


def shapes(module: nn.Module) -> object:
    """The shapes of all weights by name; equal for blocks that repeat exactly."""
    return tuple((name, tuple(weight.shape)) for name, weight in module.named_parameters())


def embeds(module: nn.Module) -> bool:
    """Whether the class of a module says that it embeds inputs, not times or positions."""
    kind = type(module).__name__.lower()
    return "embed" in kind and "time" not in kind and "position" not in kind


def _is_metric(module: nn.Module) -> bool:
    return any(base.__module__.partition(".")[0] == "torchmetrics" for base in type(module).__mro__)


def _within(name: str, others: Sequence[str]) -> bool:
    return any(name.startswith(other + ".") for other in others)
