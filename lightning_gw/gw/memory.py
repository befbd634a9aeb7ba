"""Whether a matrix fits into the memory that is free, asked before the work begins."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_gw.gw.moves.choice import TENSORS_PER_PAIR

#: Bytes per entry and layer: its float64 space, the float32 copy that is searched, and one float64 working copy.
LAYER_BYTES = 8 + 4 + 8
MEMORY_FACTS = Path("/proc/meminfo")


def needed_memory(layers: int, n: int, others: int = 0, m: int = 0) -> int:
    """Bytes that the spaces of all layers and the search of a single pair take at least.

    Args:
        layers: Number of layers.
        n: Number of inputs they were seen on.
        others: Number of layers of another set.
        m: Number of inputs these were seen on.
    """
    spaces = (layers * n * n + others * m * m) * LAYER_BYTES
    plans = 4 * layers * others * n * m if others and n != m else 0
    return spaces + plans + max(n, m) ** 2 * TENSORS_PER_PAIR * 4


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


def check_memory(device: torch.device, layers: int, n: int, others: int = 0, m: int = 0) -> None:
    """Refuse a matrix (see `needed_memory`) that does not fit on its device, rather than be killed halfway.

    Raises:
        MemoryError: If it does not fit.
    """
    needed, free = needed_memory(layers, n, others, m), free_memory(device)
    if free is not None and needed > free:
        beside = f" and {others} on n = {m}" if others else ""
        raise MemoryError(
            f"{layers} layer{'' if layers == 1 else 's'} on n = {n} inputs{beside} need at least "
            f"{_gigabytes(needed)} on {device}, where {_gigabytes(free)} are free: every layer becomes "
            "an n × n matrix. Use fewer inputs (probe_size) or fewer layers."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB ({count} bytes)"
