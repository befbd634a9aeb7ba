"""Groups frozen once they stopped changing, beside random layers frozen by the same rule, and nothing frozen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.using_groups.networks import Clock, build, fit, held_out, measured, strategy_of, watcher
from benchmarks.using_groups.plan import Network
from lightning_gw import FreezeSettledGroups

#: Looks in a row over which a group may not change.
LOOKS = 3
#: Share of the parameters that always trains: little, since the embedding, half of a small encoder, may settle too.
FLOOR = 0.05


def measure_freezing(network: Network, seed: int, case: str, folder: Path) -> dict[str, Any]:
    """Train with layers frozen underway, or without.

    Args:
        network: Which.
        seed: Of the weights, the order of training, and the random layers.
        case: ``freezing/WHAT``.
        folder: For the looks of this training; emptied first, and removed in the end.

    Returns:
        ``accuracy`` and ``loss`` at the end, processor ``seconds`` of all training steps, ``looking``, seconds that
        looks took, ``frozen``, the step at which each layer was frozen, and ``layers``, how many there are.
    """
    assert network.freezing is not None
    what = case.split("/")[1]
    module, data = build(network, seed)
    clock, freezing, looks = Clock(), None, None
    callbacks: list[Any] = [clock, *strategy_of(network)]
    shutil.rmtree(folder, ignore_errors=True)
    if what != "nothing":
        looks = watcher(network, folder, every_n_steps=network.freezing["every"])
        control = None if what == "settled groups" else seed
        freezing = FreezeSettledGroups(looks=LOOKS, floor=FLOOR, anyway=True, control=control)
        callbacks += [looks, freezing]
    fit(module, data, network.freezing["steps"], callbacks)
    found = {
        **measured(module, held_out(data), network.accuracy),
        "seconds": clock.seconds,
        "looking": 0.0 if looks is None else sum(record.seconds for record in looks.history or ()),
        "frozen": {} if freezing is None else dict(freezing.frozen),
        "layers": len(module.layers),
    }
    shutil.rmtree(folder, ignore_errors=True)
    return found
