"""What two processes do with the metric in its tests; a module of its own because spawned processes import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from lightning_gw.gw import GWMatrix
from lightning_gw.metric.metric import GromovWassersteinMatrix

LAYERS = ("a.0", "a.1", "head")


def inputs(n: int = 24, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Three layers of different width."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    hidden = torch.tanh(x @ torch.randn(6, 9, generator=generator))
    head = hidden @ torch.randn(9, 2, generator=generator)
    return {"a.0": x.to(dtype), "a.1": hidden.to(dtype), "head": head.to(dtype)}


def rows(layers: Mapping[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
    return {name: x[first:last] for name, x in layers.items()}


def fed(metric: GromovWassersteinMatrix, layers: Mapping[str, Tensor], *sizes: int) -> GromovWassersteinMatrix:
    """The metric after batches of these sizes."""
    start = 0
    for size in sizes:
        metric.update(rows(layers, start, start + size))
        start += size
    return metric


def assert_same(one: GWMatrix, other: GWMatrix) -> None:
    assert isinstance(one, GWMatrix)
    assert (one.layers, one.geometry, one.degenerate) == (other.layers, other.geometry, other.degenerate)
    for name in ("distortion", "lower", "identity", "couplings", "converged"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def on_a_rank(rank: int) -> dict[str, Any]:
    """What two ranks find whose data differ in amount, kind, or presence."""
    found: dict[str, Any] = {}
    mine = rows(inputs(), 0, 14) if rank == 0 else rows(inputs(), 14, 24)
    metric = GromovWassersteinMatrix(LAYERS)
    metric.update(rows(mine, 0, 6))
    found["forward"] = metric(rows(mine, 6, len(mine["head"])))
    found["gathered"] = metric.compute()
    metric.update(rows(inputs(), 24 - 4 * rank, 24))  # nothing on the first rank, four on the second
    found["again"] = metric.compute()
    found["seen"] = metric.inputs_seen

    half = GromovWassersteinMatrix(LAYERS, effort="fast")
    half.update({name: x.half() for name, x in mine.items()})
    found["half"] = half.compute()

    limited = GromovWassersteinMatrix(LAYERS, effort="fast", max_inputs=16)
    limited.update(mine)
    found["limited"] = limited.compute()

    empty = GromovWassersteinMatrix(LAYERS, effort="fast")
    if rank == 1:
        fed(empty, {name: x.double() for name, x in inputs().items()}, 12, 12)
    found["one rank has none"] = empty.compute()
    found["not kept"] = len(empty.metric_state["representations.head"])

    apart = GromovWassersteinMatrix(LAYERS, sync_on_compute=False)
    apart.update(mine)
    apart.sync()
    if rank == 0:
        found["one rank computes"] = apart.compute()

    on_step = GromovWassersteinMatrix(LAYERS, effort="fast", dist_sync_on_step=True)
    found["on step"] = on_step(mine)

    for name, metric, batch in (
        ("no inputs", GromovWassersteinMatrix(LAYERS), None),
        ("width", GromovWassersteinMatrix(LAYERS), {**mine, "head": mine["head"][:, : 2 - rank]}),
        ("type", GromovWassersteinMatrix(LAYERS), {**mine, "head": mine["head"].double() if rank else mine["head"]}),
        ("names", GromovWassersteinMatrix(LAYERS[: 3 - rank]), {k: mine[k] for k in LAYERS[: 3 - rank]}),
    ):
        if batch is not None:
            metric.update(batch)
        try:
            found[name] = metric.compute()
        except ValueError as error:
            found[name] = error
    metric.reset()
    dist.barrier()
    return found
