"""Trained networks on disk: the representations of every look as safetensors, what is known of them as its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.planted.grid.specification import Specification, Split, grid
from benchmarks.planted.grid.strategies import Trained
from benchmarks.planted.grid.training import recipe_numbers, train

CACHE = Path(__file__).parents[2] / "runs/benchmarks/planted"
SCHEMA = 1
#: Held-out accuracy that every planted stage must have: what was not learned was not planted.
LEARNED = 0.8


@dataclass(frozen=True)
class Net:
    """One trained network as it lies in the cache.

    Attributes:
        specification: What was trained.
        looks: Optimizer step to representations of the probe inputs, layer to float32 ``(n, d)``, in depth order. The
            first is step 0; most networks have one more, a planted shift and greedy training have several.
        metadata: Held-out accuracy by stage, seconds of processor time, recipe, notes, as written with the network.
        path: The file.
    """

    specification: Specification
    looks: Mapping[int, dict[str, Tensor]]
    metadata: Mapping[str, Any]
    path: Path

    @property
    def name(self) -> str:
        """The specification's name."""
        return self.specification.name

    @property
    def learned(self) -> bool:
        """Whether every planted stage was learned; True for nulls, which have none."""
        return not self.specification.planted or min(self.metadata["accuracy"]) >= LEARNED

    @property
    def representations(self) -> dict[str, Tensor]:
        """The last look."""
        return self.looks[max(self.looks)]


def path_of(one: Specification, folder: Path = CACHE) -> Path:
    """Where a network lies or would lie; the name ends in a key of specification and recipe."""
    return folder / f"{one.name}-{one.digest(recipe_numbers(one))}.safetensors"


def train_and_keep(one: Specification, folder: Path = CACHE) -> Path:
    """Trains a network unless it is in the cache; all or nothing is written."""
    path = path_of(one, folder)
    if not path.exists():
        _write(one, train(one), path)
    return path


def _write(one: Specification, trained: Trained, path: Path) -> None:
    tensors = {
        f"{step:06d}/{layer:03d}/{name}": tensor.contiguous()
        for step, look in trained.looks.items()
        for layer, (name, tensor) in enumerate(look.items())
    }
    metadata = {
        "schema": SCHEMA,
        "specification": asdict(one),
        "split": one.split,
        "planted_blocks": len(one.lengths) if one.planted else 1,
        "boundaries": one.boundaries,
        "boundaries_before": one.boundaries_before,
        "recipe": recipe_numbers(one),
        "accuracy": trained.accuracy,
        "training_seconds": round(trained.seconds, 2),
        "notes": trained.notes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, {"planted": json.dumps(metadata)})
    unfinished.replace(path)


def load(one: Specification, folder: Path = CACHE) -> Net:
    """Loads a network from the cache.

    Raises:
        FileNotFoundError: If it is not there; the message says how to train it.
    """
    path = path_of(one, folder)
    if not path.exists():
        raise FileNotFoundError(
            f"Network {one.name} is not in {folder}. Train it: python -m benchmarks.planted.train --only {one.name}"
        )
    looks: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["planted"])
        for key in sorted(file.keys()):
            step, _, name = key.split("/", 2)
            looks.setdefault(int(step), {})[name] = file.get_tensor(key)
    return Net(one, looks, metadata, path)


def load_nets(split: Split = "development", folder: Path = CACHE) -> list[Net]:
    """All networks of a split that are in the cache, in grid order."""
    return [load(one, folder) for one in grid(split) if path_of(one, folder).exists()]
