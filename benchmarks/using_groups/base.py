"""The network whose groups are acted on: trained once for each seed, looked at, and kept on disk."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.using_groups.networks import (
    build,
    fit,
    held_out,
    measured,
    one_batch,
    strategy_of,
    untrained_of,
    watcher,
)
from benchmarks.using_groups.plan import Network
from lightning_gw.activations.isolation.undisturbed import undisturbed
from lightning_gw.activations.running.normalisation import normalised_widths
from lightning_gw.groups import find_groups
from lightning_gw.interventions.identity import Identity, learning_identities
from lightning_gw.interventions.live import modules_of
from lightning_gw.interventions.passing import watching
from lightning_gw.measures.catalogue import ANCHOR
from lightning_gw.records.history import load_history
from lightning_gw.records.record import Record
from lightning_gw.significance import AdjacentSolver
from lightning_gw.significance.nulls.reinitialise import Reinitialiser
from lightning_gw.utilities.random_state import isolated_randomness
from lightning_gw.utilities.storage.files import write_json, write_whole
from lightning_gw.utilities.storage.json_values import to_json

#: Inputs through which layers are watched, where looks have no number of their own.
WATCHED = 96
#: Groups that a network is cut into where none stand out: up to so many layers, and beyond.
FORCED = ((9, 2), (10**6, 3))


@dataclass
class Base:
    """A network before anything is done to its groups.

    Attributes:
        module: With the weights that it was looked at with.
        data: Ready to be read.
        batches: All held-out ones.
        look: What was found: see `look_at`.
        first: Weights before the network's own training.
    """

    module: Any
    data: Any
    batches: list[Any]
    look: Mapping[str, Any]
    first: dict[str, torch.Tensor]


def open_base(network: Network, seed: int, folder: Path) -> Base:
    """Train the network and look at it, or read what an earlier call kept.

    Args:
        network: Which.
        seed: Of its training.
        folder: Its own; what a killed process left there is removed.
    """
    module, data = build(network, seed)
    first = copy.deepcopy(module.state_dict())
    kept, weights = folder / "look.json", folder / "weights.pt"
    if kept.is_file():
        if network.train:
            module.load_state_dict(torch.load(weights, weights_only=True))
        return Base(module, data, held_out(data), json.loads(kept.read_bytes()), first)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if network.train:
        fit(module, data, network.train, [*strategy_of(network), _both_ends(network, folder)])
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        write_whole(weights, buffer.getvalue())
        module, data = build(network, seed)  # without what its training has put into it, as one that is read from disk
        module.load_state_dict(torch.load(weights, weights_only=True))
    else:
        fit(module, data, 1, [watcher(network, folder, when=[0])])  # a look needs a training; its one step is undone
        module.load_state_dict(first)
    batches = held_out(data)
    look = to_json(look_at(network, seed, folder, module, data, batches))
    write_json(kept, look)
    return Base(module, data, batches, look, first)


def _both_ends(network: Network, folder: Path) -> Any:
    return watcher(network, folder, when=[0, network.train])


def look_at(network: Network, seed: int, folder: Path, module: Any, data: Any, batches: list[Any]) -> dict[str, Any]:
    """What is known of a network before anything is done to it.

    Returns:
        ``accuracy`` and ``loss``; ``strength`` and ``groups`` as they were found; of its layers without the stem
        ``labels``, the group of each, ``forced`` where none stood out and the best cut was taken all the same,
        ``first_labels`` and ``first_forced`` before its own training; ``measures`` of each; ``removable`` ones, from 0;
        and under ``profiles`` the distances between neighbours (``adjacent``), their ``noise`` and ``boundaries`` at
        the ``end``, at the ``start``, and in an ``untrained`` copy.
    """
    history = load_history(folder)
    start, end = history[0], history[-1]
    untrained = _untrained(network, seed, folder, module, data) if network.pretrained else start
    own = layer_names(module, end)
    labels, forced = labels_of(end, own)
    first_labels, first_forced = labels_of(start, own)
    identities, measures = passing_of(network, module, data, own)
    return {
        **measured(module, batches, network.accuracy),
        "strength": end.groups.strength,
        "groups": end.groups.ranges(),
        "labels": labels,
        "forced": forced,
        "first_labels": first_labels,
        "first_forced": first_forced,
        "removable": [k for k, name in enumerate(own) if isinstance(identities[name], Identity)],
        "measures": measures,
        "profiles": {
            "end": profile(end),
            "start": profile(start) if network.train else None,
            "untrained": profile(untrained),
        },
    }


def _untrained(network: Network, seed: int, folder: Path, module: Any, data: Any) -> Record:
    """A look at a copy with fresh weights."""
    fresh: Any = Reinitialiser(module, untrained_of(network)).draw(seed)
    fit(fresh, data, 1, [watcher(network, folder / "untrained", when=[0], null_samples=0)])
    return load_history(folder / "untrained")[0]


def profile(record: Record) -> dict[str, Any]:
    """Distances between neighbours, with what is known of them."""
    groups = record.groups
    return {
        "adjacent": groups.adjacent,
        "noise": groups.noise,
        "boundaries": groups.boundaries,
        "strength": groups.strength,
    }


def layer_names(module: Any, record: Record) -> list[str]:
    """Name of each layer of the task, as it was looked at."""
    named = {id(modules_of(module, [name])[0]): name for name in record.layers}
    return [named[id(layer)] for layer in module.layers]


def labels_of(record: Record, names: list[str]) -> tuple[list[int], bool]:
    """Group of each of these layers, from 0, and whether the cut had to be forced, since they are all of one."""
    places = [record.layers.index(name) for name in names]
    labels = [record.groups.labels[place] for place in places]
    forced = len(set(labels)) == 1
    if forced:
        count = next(groups for most, groups in FORCED if len(names) <= most)
        similarity = record.found_similarity()[np.ix_(places, places)]
        labels = list(find_groups(np.sqrt(2 * np.clip(1 - similarity, 0, None)), count=count).labels)
    kinds = list(dict.fromkeys(labels))
    return [kinds.index(label) for label in labels], forced


def passing_of(
    network: Network, module: Any, data: Any, names: list[str]
) -> tuple[dict[str, Identity | str], dict[str, Any]]:
    """What stands in the place of each layer, or why nothing can, and how much each changes what passes through."""
    layers = {name: modules_of(module, [name])[0] for name in names}
    batch = one_batch(data, network.probe or WATCHED)
    with (
        isolated_randomness(0),
        undisturbed(module),
        learning_identities(module, layers) as found,
        watching(layers, "auto", normalised_widths(module)) as (passing, begin),
    ):
        begin(batch)
        module.validation_step(batch, 0)
    return dict(found), dict(passing.measures(names, AdjacentSolver("standardized", "fast", ANCHOR)))
