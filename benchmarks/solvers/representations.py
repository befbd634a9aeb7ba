"""Representations of real trained networks for the benchmarks: MiniLM on tweets, an algebra net, a ConvNet on digits.

They are cached under ``runs/benchmarks`` by name and size; `networks` makes what is missing, from fixed seeds, on one
thread and in float64. What processors round differently stays far below the `BITS` that are kept, so that the best
values known of these inputs can be looked up by their hash on another machine too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

CACHE = Path(__file__).parents[2] / "runs/benchmarks/representations"
#: Numbers of layers each network has a set of.
SETS = {
    "minilm": (7, 13, 25),
    "algebra": (7, 13, 25),
    "digits": (7, 13),
}

#: Significant bits of a layer's largest entry.
BITS = 12
#: Training steps of `training_sequence`.
CHECKPOINTS = (0, 20, 60, 100, 160, 240, 350)


def representations(network: str, layers: int, inputs: int) -> dict[str, Tensor]:
    """Representations of one trained network, in depth order.

    Args:
        network: ``"minilm"``, ``"algebra"`` or ``"digits"``.
        layers: How many: one of `SETS`, or 2 for the first and the last.
        inputs: ``n``, number of held-out inputs.

    Returns:
        Layer name to float32 ``(n, d)``.

    Raises:
        ValueError: For an unknown network, or more layers or inputs than it has.
    """
    if network not in SETS:
        raise ValueError(f"Unknown network {network!r}. Known: {', '.join(SETS)}.")
    path = CACHE / f"{network}-{inputs}.pt"
    if not path.exists():
        # Imported where needed: it brings Lightning along, which takes seconds and has no part in what is measured.
        from benchmarks.solvers.networks import MAKERS

        with _reproducible():
            _keep(_rounded(MAKERS[network](inputs)), path)
    every: dict[str, Tensor] = torch.load(path, weights_only=True)
    for name, x in every.items():
        if len(x) != inputs:
            raise ValueError(f"{network} has only {len(x)} held-out inputs (layer {name!r}); {inputs} were asked for.")
    return {name: every[name] for name in _choose(list(every), layers)}


def training_sequence(inputs: int) -> list[dict[str, Tensor]]:
    """Representations of the algebra net's nine blocks at the training steps `CHECKPOINTS`, for warm starts.

    Args:
        inputs: ``n``, number of held-out inputs.

    Returns:
        For every checkpoint, layer name to float32 ``(n, d)``.
    """
    path = CACHE / f"algebra-sequence-{inputs}.pt"
    if not path.exists():
        from benchmarks.solvers.networks import train_algebra

        with _reproducible():
            _keep([_rounded(one) for one in train_algebra(inputs, CHECKPOINTS)], path)
    sequence: list[dict[str, Tensor]] = torch.load(path, weights_only=True)
    return sequence


def _rounded(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In float32, every layer to multiples of its largest entry's power of two over ``2 ** BITS``."""
    rounded = {}
    for name, x in found.items():
        _, exponent = torch.frexp(x.double().abs().max())
        unit = torch.ldexp(torch.ones_like(x, dtype=torch.float64), exponent - BITS)
        rounded[name] = ((x / unit).round() * unit).float()
    return rounded


def _keep(found: object, path: Path) -> None:
    """Save all or nothing: a run that is interrupted leaves no half file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(found, unfinished)
    unfinished.replace(path)


@contextmanager
def _reproducible() -> Iterator[None]:
    threads, kind = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # from the first weights on: training magnifies what they are rounded by
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)


def _choose(names: list[str], count: int) -> list[str]:
    """The main layers if they are as many as asked for, else as many of all as asked for, evenly in depth."""
    main = [name for name in names if "/" not in name]
    if count <= len(main):
        return [main[round(k * (len(main) - 1) / (count - 1))] for k in range(count)]
    inner = [name for name in names if "/" in name]
    wanted = count - len(main)
    if wanted > len(inner):
        raise ValueError(f"{count} layers were asked for, but there are only {len(names)}.")
    kept = set(main) | {inner[round(k * (len(inner) - 1) / max(1, wanted - 1))] for k in range(wanted)}
    return [name for name in names if name in kept]
