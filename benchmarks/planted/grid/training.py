"""Trains one network of the grid, on its data, by its recipe and strategy, and looks at it on the way."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.families import FAMILIES, Algebra, Data, balanced_probe, load_family, operands_of
from benchmarks.planted.grid.networks import ARCHITECTURES, LayeredNet
from benchmarks.planted.grid.recipes import recipe_of
from benchmarks.planted.grid.shape_grid import SHAPES, block_widths
from benchmarks.planted.grid.shapes import BUILDERS
from benchmarks.planted.grid.specification import Specification
from benchmarks.planted.grid.strategies import STRATEGIES, Trained

#: Raised whenever training changes in a way that the recipe's numbers do not show: older networks are trained again.
VERSION = 1
#: Size of the vectors of smooth drift nets, and of what they regress on.
VECTOR = 16
TARGETS = 8
#: Inputs that are memorised.
MEMORISED_INPUTS = 256


def recipe_numbers(one: Specification) -> dict[str, Any]:
    """The recipe as plain values, for the key a network is cached under."""
    operands = operands_of(_stages(one)) if isinstance(FAMILIES.get(one.family), Algebra) else None
    version = VERSION
    if one.strategy == spec.ASSEMBLED:  # whose contract once was kept in another way
        version += 2 if one.architecture == "transformer" else 1
    return {"version": version, "operands": operands, **asdict(recipe_of(one))}


def train(one: Specification) -> Trained:
    """Trains one network and looks at it; global random state is left as it was."""
    started = time.process_time()
    found = Trained()
    with torch.random.fork_rng(devices=[]):
        data, net = data_and_net(one)
        probe = data.held_x[balanced_probe(data.held_y, data.classes)] if one.family in FAMILIES else data.held_x
        torch.manual_seed(1000 + one.seed)  # batches: the same for every architecture and depth

        def look(step: int) -> None:
            found.looks[step] = net.look(probe)

        look(0)
        STRATEGIES[one.strategy](one, net, data, recipe_of(one), look, found)
    found.seconds = time.process_time() - started
    return found


def untrained_look(one: Specification, seed: int) -> dict[str, Tensor]:
    """What a freshly initialised network of the same kind shows of the same probe inputs.

    Args:
        one: Whose architecture, depth and probe inputs are taken.
        seed: Of the initial weights, instead of its own.

    Returns:
        Layer to float32 ``(n, d)``.
    """
    with torch.random.fork_rng(devices=[]):
        data, net = data_and_net(one, seed)
        probe = data.held_x[balanced_probe(data.held_y, data.classes)] if one.family in FAMILIES else data.held_x
        return net.look(probe)


def _stages(one: Specification) -> int:
    """Stages the data has: where operands are tokens four, planted or not, since their operands take few values."""
    slow = one.architecture in ("transformer", "llama") and isinstance(FAMILIES.get(one.family), Algebra)
    return max(len(one.lengths), 4 if slow else 1)


def data_and_net(one: Specification, seed: int | None = None) -> tuple[Data, LayeredNet]:
    if one.family in FAMILIES:
        data = load_family(one.family, _stages(one))
        if one.strategy in (spec.RANDOM, spec.RANDOM_STAGED, spec.MEMORISED):
            data = data.with_random_labels(one.seed)
    else:
        data = _vectors(one.family, one.seed)
    if one.strategy == spec.MEMORISED:
        data = data.first(MEMORISED_INPUTS)
    torch.manual_seed(one.seed if seed is None else seed)
    inputs = data.x.shape[1]
    if one.architecture in SHAPES:
        return data, BUILDERS[one.architecture](block_widths(one.architecture, one.lengths), inputs, data.classes)
    return data, ARCHITECTURES[one.architecture](one.layers, inputs, data.classes)


def _vectors(family: str, seed: int) -> Data:
    """Gaussian vectors with smooth targets: float32 ``(N, TARGETS)`` to regress on, or the largest one as a class."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8096, VECTOR, generator=generator) / torch.arange(1, VECTOR + 1) ** 0.5
    y = torch.sin(x @ torch.randn(VECTOR, TARGETS, generator=generator))
    if family == spec.CLASSIFICATION:
        y = y[:, :4].argmax(dim=1, keepdim=True)
        return Data(x[96:], y[96:], x[:96], y[:96], (4,))
    return Data(x[96:], y[96:], x[:96], y[:96], (TARGETS,))
