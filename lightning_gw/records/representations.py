"""The representations of a run's last look, kept on disk so that the layers of different runs can be compared later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_gw.utilities.files import write_whole

KEPT_FILE = "representations.safetensors"


@dataclass(frozen=True)
class KeptRepresentations:
    """What the layers of one run put out for its probe.

    Attributes:
        layers: Layer name to its representations ``(n, d)``, in depth order, on the CPU.
        step: Trainer global step of the look they were made in.
        probe: Hash of the probe inputs; rows of two runs belong together only where it is the same.
    """

    layers: Mapping[str, Tensor]
    step: int
    probe: str


def keep_representations(folder: Path, kept: KeptRepresentations) -> None:
    """Write them to a history's folder, whole or not at all, in place of those of an earlier look.

    Args:
        folder: The folder ``gw`` of the run.
        kept: What to write.

    Raises:
        OSError: If they cannot be written.
    """
    # The file format sorts its tensors; depth order is kept beside them.
    about = {"layers": json.dumps(list(kept.layers)), "step": str(kept.step), "probe": kept.probe}
    # Copies: layers that pass a tensor on share its memory, which the format refuses.
    tensors = {
        name: values.detach().cpu().clone(memory_format=torch.contiguous_format) for name, values in kept.layers.items()
    }
    write_whole(folder / KEPT_FILE, save(tensors, about))


def load_representations(path: str | Path) -> KeptRepresentations:
    """Read what ``GWSimilarity(keep_representations=True)`` kept of a run's last look.

    Args:
        path: The run's folder, or ``gw`` inside it.

    Raises:
        FileNotFoundError: If the run kept none.
        ValueError: If the file is damaged.

    Example:
        >>> kept = load_representations("runs/mine")  # doctest: +SKIP
        >>> lightning_gw.gw_matrix(kept.layers, load_representations("runs/other").layers)  # doctest: +SKIP
    """
    places = [Path(path) / "gw" / KEPT_FILE, Path(path) / KEPT_FILE]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{path} holds no {KEPT_FILE}: its run kept no representations. Runs of a comparison keep them; any other "
            "does with GWSimilarity(keep_representations=True)."
        )
    try:
        with safe_open(str(file), framework="pt") as content:
            about = content.metadata()
            layers = {name: content.get_tensor(name) for name in json.loads(about["layers"])}
            return KeptRepresentations(layers, int(about["step"]), about["probe"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged and cannot be read: {error}") from error
