"""Which modules of a network count as its layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile

from torch import nn

from lightning_gw.utilities.errors import near_names, sentence

#: Containers that only hold others and are never called.
HOLDERS = (nn.ModuleList, nn.ModuleDict)
#: They belong to the layer whose output they normalise.
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.LocalResponseNorm)


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Every module below `module` by its natural name, in the order of registration.

    ``torch.compile`` wraps modules and puts ``_orig_mod`` into their names; it is taken out again. What
    ``torch.nn.utils.parametrize`` hangs below a module makes its weights and is no layer.
    """
    named: dict[str, nn.Module] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        parts = [part for part in name.split(".") if part != "_orig_mod"]
        natural = ".".join(parts)
        if natural and "parametrizations" not in parts:
            named[natural] = child  # of a wrapper and what it wraps, which share a name, the inner one comes later
    return named


def match_layers(module: nn.Module, patterns: str | Sequence[str]) -> tuple[str, ...]:
    """The layers that names and globs ask for, in the order of registration.

    Args:
        module: The network.
        patterns: Qualified names such as ``encoder.layer.0``, or globs. ``*`` stands for one component of a name
            (``encoder.layer.*`` are the layers and not what is inside them), ``**`` for any number of them.

    Raises:
        ValueError: If patterns find nothing, or name what is never called; the message tells of all of them, with near
            names.
    """
    named = named_layers(module)
    wanted: set[str] = set()
    problems: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern in named:
            wanted.add(pattern)
            continue
        found = _first_names({name: named[name] for name in named if _matches(name.split("."), pattern.split("."))})
        if not found:
            problems.append(
                sentence(
                    f"layers={pattern!r} names no module of {type(module).__name__}.",
                    near_names(pattern, named) or f"Its first modules are: {', '.join(list(named)[:8])}.",
                )
            )
        wanted |= found
    problems += [
        f"layers={name!r} is a {type(named[name]).__name__}, which holds modules but is never called, so it puts out "
        f"nothing. To take what is in it, write {name + '.*'!r}."
        for name in named
        if name in wanted and isinstance(named[name], HOLDERS)
    ]
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(name for name in named if name in wanted)


def call_key(name: str, time: int) -> str:
    """What one call of a module is known by: its name, from the second call on with the number of the call."""
    return name if time == 1 else f"{name}#{time}"


def choose_layers(module: nn.Module) -> tuple[str, ...]:
    """The layers a person would name: the repeated blocks, and the embedding before them.

    Blocks are the instances of the one class, with children, that occurs at least twice and holds the most parameters;
    of classes nested in one another the outermost. Plain ``nn.Sequential`` count as blocks where an ``nn.ModuleList``
    holds them, all built alike, and most of the parameters are in them. Where nothing repeats, every layer with
    parameters of its own is taken, together with the normalisation and activation that follow it in the same
    ``nn.Sequential``.

    Raises:
        ValueError: If fewer than two layers are found.
    """
    named = named_layers(module)
    first = _first_names(named)
    unique = {name: child for name, child in named.items() if name in first}
    chosen = _blocks(unique)
    if chosen:
        embedding = _embedding(unique, chosen)
        chosen = ([embedding] if embedding else []) + chosen
    else:
        chosen = [
            _end_of_segment(module, unique, name)
            for name, child in unique.items()
            if _is_leaf(child) and _has_parameters(child) and not isinstance(child, NORMS)
        ]
    if len(chosen) < 2:
        raise ValueError(
            f"{type(module).__name__} has {'one layer' if chosen else 'no layer'} that can be told apart by itself "
            f"({', '.join(chosen) or 'no repeated blocks, no modules with parameters'}); at least 2 are needed. Name "
            f"them with layers=[...]. Its modules are: {', '.join(list(named)[:12]) or 'none'}."
        )
    return tuple(chosen)


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(_matches(name[k:], pattern[1:]) for k in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and _matches(name[1:], pattern[1:])


def _first_names(named: dict[str, nn.Module]) -> set[str]:
    """One name per module, the first under which it was registered."""
    first: dict[int, str] = {}
    for name, child in named.items():
        first.setdefault(id(child), name)
    return set(first.values())


def _parameter_count(modules: Sequence[nn.Module]) -> int:
    sizes = {id(p): p.numel() for m in modules for p in m.parameters() if not nn.parameter.is_lazy(p)}
    return sum(sizes.values())


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_leaf(module: nn.Module) -> bool:
    return all(name == "parametrizations" for name, _ in module.named_children())


def _within(name: str, others: Sequence[str]) -> bool:
    return any(name.startswith(other + ".") for other in others)


def _blocks(named: dict[str, nn.Module]) -> list[str]:
    by_class: dict[type[nn.Module], list[str]] = defaultdict(list)
    for name, child in named.items():
        # nn.Sequential itself says nothing about what is inside; its subclasses are somebody's blocks.
        if not isinstance(child, HOLDERS) and type(child) is not nn.Sequential and not _is_leaf(child):
            by_class[type(child)].append(name)
    candidates = []
    for names in by_class.values():
        outermost = [name for name in names if not _within(name, names)]
        size = _parameter_count([named[name] for name in outermost])
        if len(outermost) >= 2 and size > 0:
            candidates.append((outermost, size))
    best = _largest(candidates)
    for alike in _alike_sequentials(named):
        if all(_within(name, alike) for name in best):  # what repeats inside them lies further in than they do
            return alike
    return best


def _largest(candidates: Sequence[tuple[list[str], int]]) -> list[str]:
    """Of instances and their number of parameters, the instances that a person would call the layers."""
    if not candidates:
        return []

    def rank(candidate: tuple[list[str], int]) -> tuple[int, int]:
        # Classes of equal size are nested in one another: shorter names lie further out.
        return candidate[1], -min(name.count(".") for name in candidate[0])

    best, most = max(candidates, key=rank)
    # Two towers or two stages are not what a person calls the layers, where something in them repeats more often.
    often = [candidate for candidate in candidates if len(candidate[0]) >= 4 and candidate[1] >= most / 2]
    if len(best) == 2 and often:
        best, _ = max(often, key=rank)
    return best


def _alike_sequentials(named: dict[str, nn.Module]) -> Iterator[list[str]]:
    """``nn.Sequential`` that a person wrote as the blocks of a network: alike, in a list, with most of the parameters.

    Lists of them that are heads, side by side on one trunk, hold fewer.
    """
    by_structure: dict[object, list[str]] = defaultdict(list)
    for holder, child in named.items():
        if not isinstance(child, nn.ModuleList):
            continue
        members = {f"{holder}.{key}": block for key, block in child.named_children()}
        structures = {_structure(block) for block in members.values()}
        if len(structures) == 1 and all(
            type(block) is nn.Sequential and name in named for name, block in members.items()
        ):
            by_structure[structures.pop()] += members
    embeddings = [child for child in named.values() if isinstance(child, nn.Embedding | nn.EmbeddingBag)]
    all_others = _parameter_count(list(named.values())) - _parameter_count(embeddings)
    for names in by_structure.values():
        if len(names) >= 2 and 2 * _parameter_count([named[name] for name in names]) > all_others:
            yield names


def _structure(module: nn.Module) -> object:
    """The classes of a module and all it holds, by name; equal for modules that differ in widths only."""
    return type(module), tuple((name, _structure(child)) for name, child in module.named_children())


def _embedding(named: dict[str, nn.Module], blocks: Sequence[str]) -> str | None:
    def embeds(name: str) -> bool:
        child = named[name]
        return (
            (isinstance(child, nn.Embedding | nn.EmbeddingBag) or "embed" in type(child).__name__.lower())
            and not isinstance(child, HOLDERS)
            and not any(_within(block, [name]) for block in blocks)
            and not _within(name, blocks)
        )

    found = [name for name in takewhile(lambda name: name != blocks[0], named) if embeds(name)]
    outermost = [name for name in found if not _within(name, found)]
    return max(outermost, key=lambda name: _parameter_count([named[name]]), default=None)


def _end_of_segment(module: nn.Module, named: dict[str, nn.Module], name: str) -> str:
    """The last of the modules without parameters, or with a norm's, that follow `name` in its ``nn.Sequential``."""
    holder, _, key = name.rpartition(".")
    parent = named.get(holder, module)
    if not isinstance(parent, nn.Sequential):
        return name
    keys = list(parent._modules)
    end = key
    for following in keys[keys.index(key) + 1 :]:
        child = getattr(parent, following)
        if _has_parameters(child) and not isinstance(child, NORMS):
            break
        end = following
    # A module that appears twice, such as one nn.ReLU for all, is known under its first name only.
    target = getattr(parent, end)
    shared = sum(1 for k in parent._modules.values() if k is target) > 1
    return name if shared else (f"{holder}.{end}" if holder else end)
