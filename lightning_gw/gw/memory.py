"""Whether a matrix fits into the memory that is free, asked before the work begins."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_gw.gw.moves import TENSORS_PER_PAIR

#: Bytes per entry and layer: its float64 space, the float32 copy that is searched, and one float64 working copy.
LAYER_BYTES = 8 + 4 + 8
MEMORY_FACTS = Path("/proc/meminfo")


def needed_memory(layers: int, n: int) -> int:
    """Bytes that the spaces of all layers and the search of a single pair take at least.

    Args:
        layers: Number of layers, of both sets if there are two.
        n: Number of inputs, the larger one if there are two.
    """
    return n * n * (layers * LAYER_BYTES + TENSORS_PER_PAIR * 4)


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, or None where there is no telling (only Linux and CUDA tell)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type not in ("cpu", "mps") or not MEMORY_FACTS.exists():
        return None
    for line in MEMORY_FACTS.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def check_memory(layers: int, n: int, device: torch.device, plans: int = 0) -> None:
    """Refuse a matrix that cannot be computed in the memory there is, rather than be killed halfway.

    Args:
        layers: As in `needed_memory`, likewise `n`.
        n: Number of inputs.
        device: Where the work is done.
        plans: Bytes of the transport plans that are kept.

    Raises:
        MemoryError: If it does not fit.
    """
    needed, free = needed_memory(layers, n) + plans, free_memory(device)
    if free is not None and needed > free:
        raise MemoryError(
            f"{layers} layer{'' if layers == 1 else 's'} on n = {n} inputs need at least {_gigabytes(needed)} on "
            f"{device}, where {_gigabytes(free)} are free: every layer becomes an n × n matrix. Use fewer inputs "
            "(probe_size) or fewer layers."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB ({count} bytes)"
