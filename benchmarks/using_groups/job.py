"""All that is measured of one network with one seed, case by case."""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.using_groups.base import Base, open_base
from benchmarks.using_groups.fine_tuning import measure_fine_tuning
from benchmarks.using_groups.freezing import measure_freezing
from benchmarks.using_groups.measurements import Row
from benchmarks.using_groups.plan import Network
from benchmarks.using_groups.removal import measure_removal


def measure(network: Network, seed: int, out: Path, cases: Sequence[str], emit: Callable[[Row], None]) -> None:
    """Measure some cases, and tell of each when it is done.

    Args:
        network: Which.
        seed: Of all that is random.
        out: Folder of the study; what is kept of this network lies in a folder below.
        cases: Names of `Network.cases`.
        emit: Called with every measurement, ``took`` among it: processor seconds, with what had to be made before.
    """
    folder = out / f"{network.name.replace(' ', '_')}-{network.settings}" / f"seed-{seed}"
    base: Base | None = None
    for case in cases:
        began = time.process_time()
        kind = case.split("/")[0]
        if kind == "freezing":
            found = measure_freezing(network, seed, case, folder / "freezing")
        else:
            base = base or open_base(network, seed, folder)
            found = _of_base(base, network, seed, case)
        which = {"network": network.name, "seed": seed, "case": case, "settings": network.settings}
        emit({**which, **found, "took": time.process_time() - began})
        # Trainer and network hold each other, and a large network takes its memory anew until both are collected.
        gc.collect()


def _of_base(base: Base, network: Network, seed: int, case: str) -> dict[str, Any]:
    match case.split("/")[0]:
        case "look":
            return dict(base.look)
        case "removal":
            return measure_removal(base, network, seed, case)
        case "fine-tuning":
            return measure_fine_tuning(base, network, seed, case)
        case kind:
            raise ValueError(f"There is no case of kind {kind!r}.")


def be_quiet() -> None:
    """One thread, and nothing said of what hundreds of short trainings do alike."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_gw", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
