"""Layers removed for good, by a rule: what is left of the accuracy, at once and after a few steps of training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from pytorch_lightning import seed_everything

from benchmarks.using_groups.base import Base, passing_of
from benchmarks.using_groups.networks import fit, measured, parameters_of
from benchmarks.using_groups.plan import Network
from benchmarks.using_groups.rules import removed
from lightning_gw.interventions.dropped import drop_layers
from lightning_gw.interventions.identity import Identity
from lightning_gw.interventions.live import modules_of
from lightning_gw.utilities.storage.json_values import parse_number


def measure_removal(base: Base, network: Network, seed: int, case: str) -> dict[str, Any]:
    """Remove layers, measure, train some steps, measure again.

    Args:
        base: The network; it stays what it is.
        network: Which it is.
        seed: Of the random choice, and of the order of training.
        case: ``removal/RULE/COUNT/DRAW``.

    Returns:
        ``layers`` (from 0), the share of all parameters that went with them, and ``accuracy`` and ``loss``, of each
        ``whole``, ``removed`` and ``healed``; or ``skipped``, why the rule cannot be followed.
    """
    assert network.removal is not None
    _, rule, count, draw = case.split("/")
    look = base.look
    measures = {name: np.array([parse_number(value) for value in values]) for name, values in look["measures"].items()}
    chosen = removed(rule, int(count), look["labels"], look["removable"], measures, seed * 1000 + int(draw))
    if chosen is None:
        return {"skipped": f"there are not {count} such layers"}
    module = copy.deepcopy(base.module)
    places = {id(layer): k for k, layer in enumerate(module.layers)}
    names = {}
    for name, _ in module.named_modules():
        if name and (place := places.get(id(modules_of(module, [name])[0]))) is not None:
            names[place] = name
    identities, _ = passing_of(network, module, base.data, [names[place] for place in chosen])
    learnt = {name: identity for name, identity in identities.items() if isinstance(identity, Identity)}
    whole = sum(parameters_of([module]))
    gone = drop_layers(module, learnt)
    at_once = measured(module, base.batches, network.accuracy)
    seed_everything(seed, verbose=False)
    module.hparams.update(network.removal.get("rates", {}))
    fit(module, base.data, network.removal["heal"])
    healed = measured(module, base.batches, network.accuracy)
    return {
        "layers": list(chosen),
        "share": sum(p.numel() for p in gone) / whole,
        "accuracy": {
            "whole": look["accuracy"],
            "removed": at_once["accuracy"],
            "healed": healed["accuracy"],
        },
        "loss": {"whole": look["loss"], "removed": at_once["loss"], "healed": healed["loss"]},
    }
