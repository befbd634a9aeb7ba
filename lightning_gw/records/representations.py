"""The representations of a run's last look, kept on disk so that the layers of different runs can be compared later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lightning_gw.records.reading import find_file
from lightning_gw.utilities.storage.files import LARGEST_ARRAYS, read_regular, write_whole

KEPT_FILE = "representations.safetensors"


@dataclass(frozen=True)
class KeptRepresentations:
    """What the layers of one run put out for its probe.

    Attributes:
        layers: Layer name to its representations ``(n, d)``, in depth order, on the CPU.
        step: Trainer global step of the look they were made in.
        probe: Hash of the probe inputs; rows of two runs belong together only where it is the same.

    Example:
        >>> import torch
        >>> from lightning_gw import KeptRepresentations, gw_matrix
        >>> x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        >>> mine = KeptRepresentations({"first": x, "second": x.square()}, step=100, probe="5d41")
        >>> theirs = KeptRepresentations({"first": x.flip(1)}, step=100, probe="5d41")
        >>> mine.probe == theirs.probe  # so that row k is the same input in both
        True
        >>> gw_matrix(mine.layers, theirs.layers)
        GWMatrix(2 × 1 layers, n=16, standardized)
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
        path: The run's folder, or ``gw`` (``gw-<name>`` of a callback with a name) inside it.

    Raises:
        FileNotFoundError: If the run kept none.
        ValueError: If the file is damaged, or several callbacks with names kept one.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> from lightning_gw import GWSimilarity, load_representations
        >>> model = BoringModel()
        >>> model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> watching = GWSimilarity(save_dir=folder.name, probe_size=16, keep_representations=True, verbose=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> Trainer(max_steps=4, callbacks=[watching], default_root_dir=folder.name, **quiet).fit(model)
        >>> kept = load_representations(folder.name)
        >>> kept.step, {name: tuple(values.shape) for name, values in kept.layers.items()}
        (4, {'layer.0': (16, 32), 'layer.1': (16, 32), 'layer.2': (16, 32), 'layer.3': (16, 2)})
        >>> folder.cleanup()
    """
    file = find_file(Path(path), KEPT_FILE)
    if file is None:
        raise FileNotFoundError(
            f"{path} holds no {KEPT_FILE}: its run kept no representations. Runs of a comparison keep them; any other "
            "does with GWSimilarity(keep_representations=True)."
        )
    try:
        content = read_regular(file, LARGEST_ARRAYS)
        tensors = load(content)
        about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        layers = {name: tensors[name] for name in json.loads(about["layers"])}
        if not layers or any(x.dim() != 2 or len(x) != len(next(iter(layers.values()))) for x in layers.values()):
            raise ValueError("its layers do not have a row for each of the same inputs")
        return KeptRepresentations(layers, int(about["step"]), str(about["probe"]))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged and cannot be read: {error}") from error
