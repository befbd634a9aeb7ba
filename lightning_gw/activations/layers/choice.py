"""The layers a person would name, in the order in which data flows through them, and what was left out and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lightning_gw.activations.layers.blocks import Blocks
from lightning_gw.activations.layers.names import HOLDERS, NORMS, named_layers
from lightning_gw.activations.layers.trace import Call, Trace
from lightning_gw.utilities.calls import call_key
from lightning_gw.utilities.errors import LookError
from lightning_gw.utilities.text import listed, plural

#: Layers that are looked at unless more are asked for by name.
MOST_LAYERS = 64
#: Names that a sentence lists.
_NAMED = 4


class CompiledModules(LookError):
    """The layers are in modules that torch.jit compiled, which take no hooks."""


@dataclass(frozen=True)
class Choice:
    """Which layers are looked at.

    Attributes:
        layers: Names in the order of depth, one branch after the other; a module that is called over and over appears
            as ``name``, ``name#2``, ``name#3``.
        sequences: The same names, parted into sequences, each of which data flows through from its first to its last.
        left_out: What was left out, and why, in words; empty where nothing was.
    """

    layers: tuple[str, ...]
    sequences: tuple[tuple[str, ...], ...]
    left_out: str = ""

    @property
    def sentence(self) -> str:
        """What is looked at and what is not, in one line."""
        parts = [
            f"{part[0]} to {part[-1]} ({len(part)})" if len(part) > 2 else ", ".join(part) for part in self.sequences
        ]
        beside = ", beside each other" if len(parts) > 1 else ""
        return f"{len(self.layers)} layers{beside}: {' | '.join(parts)}." + (
            f" {self.left_out}" if self.left_out else ""
        )


def choose_layers(module: nn.Module, trace: Trace, among: Collection[str] | None = None) -> Choice:
    """The layers a person would name: the repeated blocks, and the embedding before them.

    Candidates are what the forward pass called. Blocks are instances of a class that follow one another along the flow
    of data and hold much of the weights, of classes within one another the outermost that is not made of blocks itself,
    as stages are; with them come blocks of other classes that stand in a row with them or between them. Plain
    ``nn.Sequential`` count as blocks where an ``nn.ModuleList`` holds them, all built alike, and most of the parameters
    are in them. Where nothing repeats, every layer with weights of its own is taken, together with the normalisation
    and activation that follow it in the same ``nn.Sequential``. A block that is called over and over on what it put out
    is one layer per call. Of more than 64 layers as many are taken, evenly.

    Args:
        module: The network.
        trace: One forward pass of it.
        among: Names of the modules that can be looked at, where not all can: those that put out a row per input.

    Raises:
        ValueError: If fewer than two layers are found.
    """
    blocks = Blocks(module, trace, among)
    units = blocks.find()
    if len(units) < 2 and not (units and blocks.loops(units)):
        named = list(named_layers(module))
        if compiled := [name for name in named if isinstance(named_layers(module)[name], torch.jit.ScriptModule)]:
            raise CompiledModules(
                f"{compiled[0]} was compiled by torch.jit, and what is compiled shows nothing of its layers. Train the "
                "plain module, or look at it before it is compiled: its weights are the same."
            )
        raise ValueError(
            f"{type(module).__name__} has {'one layer' if units else 'no layer'} that can be told apart by itself "
            f"({', '.join(units) or 'no repeated blocks, no modules with parameters'}); at least 2 are needed. Name "
            f"them with layers=[...]. Its modules are: {', '.join(named[:12]) or 'none'}."
        )
    loops = blocks.loops(units)
    rows = [_unrolled(trace, part, loops, blocks) for part in sequences(trace, units)]
    several = {name: count for name in units if (count := trace.counts.get(name, 1)) > 1 and name not in loops}
    kept = thinned(rows)
    said = [_left_out(blocks, module, trace, units)] + [
        f"{listed_shortly(blocks.outermost(names))} ({why})" for why, names in blocks.reasons.items()
    ]
    if several:
        said.append(f"all but the first of the {max(several.values())} calls of {listed_shortly(list(several))}")
    if sum(map(len, kept)) < sum(map(len, rows)):
        gone = sum(map(len, rows)) - sum(map(len, kept))
        said.append(
            f"{gone} of {sum(map(len, rows))} layers, evenly, since more than {MOST_LAYERS} cost too much "
            "(name layers=[...] for more)"
        )
    said = [text for text in said if text]
    layers = tuple(name for part in kept for name in part)
    return Choice(layers, tuple(map(tuple, kept)), f"Left out: {'; '.join(said)}." if said else "")


def sequences(trace: Trace, names: Sequence[str]) -> list[list[str]]:
    """Part layers into sequences along which data flows; they end where branches part or join.

    Where one branch goes through all that the others do and more, it is the way on, and the others are beside it: a
    gate, a context, a shortcut. A decoder is a sequence of its own: what its first layer works on does not come from
    the encoder, which it only looks at.

    Args:
        trace: The forward pass.
        names: Layers, in the order of their first calls.
    """
    first = trace.first_calls()
    calls = [first[name] for name in names if name in first]
    before = {call.name: {other.name for other in calls if call.after(other)} for call in calls}
    after = {name: {other for other in before if name in before[other]} for name in before}
    feeding = {name: [a for a in found if not found & after[a]] for name, found in before.items()}
    fed = {name: [other for other in after[name] if name in feeding[other]] for name in before}
    parts: list[list[str]] = []
    ends: dict[str, list[str]] = {}
    for call in calls:
        from_where = _way_on(call, [first[name] for name in feeding[call.name]], before)
        follows = (
            from_where is not None
            and _way_on(first[from_where], [first[name] for name in fed[from_where]], after) == call.name
            and not _only_looks_at(call, first[from_where], calls)
        )
        part = ends.pop(from_where, None) if follows and from_where is not None else None
        if part is None:
            part = []
            parts.append(part)
        part.append(call.name)
        ends[call.name] = part
    unseen = [name for name in names if name not in first]
    return parts + ([unseen] if unseen else [])


def _way_on(call: Call, branches: Sequence[Call], reach: Mapping[str, set[str]]) -> str | None:
    """The one branch that goes through all that the others do and more, or the only one made of the same; else None.

    Args:
        call: The layer at which they part or join.
        branches: Layers beside each other, just after it or just before.
        reach: Layer → all layers after it, or all before it.
    """
    longest = max(branches, key=lambda branch: len(reach[branch.name]), default=None)
    if longest is None or all(reach[b.name] < reach[longest.name] for b in branches if b is not longest):
        return longest.name if longest is not None else None
    # A backbone goes on from stage to stage while heads of another kind begin at each of them.
    kind = type(call.module)
    alike = [branch.name for branch in branches if type(branch.module) is kind]
    return alike[0] if len(alike) == 1 and not kind.__module__.startswith("torch.nn.modules") else None


def _only_looks_at(call: Call, before: Call, calls: Sequence[Call]) -> bool:
    """Whether a layer works on states of its own, and looks at what the one before put out beside them.

    Args:
        call: The layer.
        before: The one that it depends on.
        calls: All layers.
    """
    bits, memory = call.stream
    if bits < 0:
        return False
    if call.cross and not before.cross:
        return not bits & before.bit
    # What several layers are given, such as the network's input, is no stream.
    others = [other for other in calls if other is not call]
    return not any(bits & other.bit or memory in [key for *_, key in other.given] for other in others)


def thinned(parts: Sequence[Sequence[str]], most: int = MOST_LAYERS) -> list[list[str]]:
    """At most so many of all layers, evenly spread over each sequence, with its first and its last."""
    total = sum(map(len, parts))
    if total <= most:
        return [list(part) for part in parts]
    if len(parts) > most // 2:  # many short branches: evenly over all of them
        flat = [name for part in parts for name in part]
        taken = {flat[k] for k in _even(len(flat), most)}
        return [kept for part in parts if (kept := [name for name in part if name in taken])]
    room = most - 2 * len(parts)
    return [[part[k] for k in _even(len(part), 2 + room * len(part) // total)] for part in parts]


def _even(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / max(1, most - 1)) for k in range(most)})


def _unrolled(trace: Trace, part: Sequence[str], loops: set[str], blocks: Blocks) -> list[str]:
    """The calls of one sequence in their order, all of them of what is called over and over."""
    starts: list[tuple[int, str]] = []
    for number, call in enumerate(trace.calls):
        if call.name in part and (call.time == 1 or (call.name in loops and trace.goes_on(call))):
            starts.append((number, call_key(blocks.seen_at(call.name), call.time)))
    return [key for _, key in sorted(starts)]


def _left_out(blocks: Blocks, module: nn.Module, trace: Trace, units: Sequence[str]) -> str:
    """What else there is: modules that forward never calls, and those that are none of the layers chosen."""
    named, called = named_layers(module), trace.first_calls()
    ids = {id(call.module) for call in called.values()}
    idle = [
        name
        for name, child in named.items()
        if id(child) not in ids
        and not isinstance(child, HOLDERS)
        and next(child.parameters(), None) is not None
        and not any(other.startswith(name + ".") for other in called)
    ]
    idle = [name for name in idle if not any(name.startswith(other + ".") for other in (*idle, *called) if other)]
    passed = set(units) | {name for names in blocks.reasons.values() for name in names}
    other = [
        name
        for name, call in blocks.calls.items()
        if not isinstance(call.module, NORMS) and not blocks.touches(name, passed)
    ]
    other = blocks.outermost(other)
    said = []
    if other:
        said.append(f"{listed_shortly(other)} (not among the repeated blocks)")
    if idle:
        said.append(f"{listed_shortly(idle)} (never called by forward)")
    return "; ".join(said)


def listed_shortly(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    if len(names) <= _NAMED:
        return listed(names)
    return f"{', '.join(names[: _NAMED - 1])} and {plural(len(names) - _NAMED + 1, 'other')}"
