"""Which modules of a network count as its layers."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from lightning_gw.utilities.errors import near_names, sentence
from lightning_gw.utilities.text import listed

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
                    _near(pattern, named) or f"Its first modules are: {', '.join(list(named)[:8])}.",
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


def _near(pattern: str, named: dict[str, nn.Module]) -> str:
    """What may have been meant: a neighbour in the same module, another module of which all is wanted, a like name."""
    around = pattern.rpartition(".")[0]
    inside = [name for name in named if name.rpartition(".")[0] == around] if around in named else []
    if len(inside) > 1 and "*" not in pattern:
        return f"In {around} are {listed(inside) if len(inside) <= 4 else f'{inside[0]} to {inside[-1]}'}."
    globs = {f"{name.rpartition('.')[0]}.*" for name in named if "." in name}
    return near_names(pattern, globs, dotted=False) if "*" in pattern and globs else near_names(pattern, named)


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
