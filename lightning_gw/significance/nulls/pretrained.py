"""Whether a network's weights could be fresh: where they could not, re-initialisation is no null for its start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor, nn

from lightning_gw.significance.nulls.reinitialise import Reinitialiser

#: Parameters with fewer values say too little about their distribution.
ENOUGH_VALUES = 256
#: Values compared per parameter, taken at even strides.
COMPARED_VALUES = 8192
#: Two distributions are told apart if their cumulative functions differ by so much, and so surely.
GAP = 0.1
SURENESS = 1e-6
#: Parameters described in the reason.
DESCRIBED = 3


@dataclass(frozen=True)
class Unlike:
    """Parameters that are not distributed as fresh ones.

    Attributes:
        parameters: Their names → how they differ, in words.
        compared: How many were compared.
    """

    parameters: dict[str, str]
    compared: int

    def __str__(self) -> str:
        return f"{len(self.parameters)} of {self.compared} large parameters are not distributed as fresh ones"


def looks_pretrained(module: nn.Module, fresh: Reinitialiser | None = None) -> str | None:
    """Why a network's weights do not look fresh, in words; None where they do.

    Every parameter with at least 256 values is compared with its namesake in two fresh networks by the two-sample
    Kolmogorov-Smirnov test: it stands out if the distributions differ by more than 0.1 with p < 1e-6, or if it varies
    where fresh ones are constant (as biases and gains are). Parameters that nothing re-initialises are not compared.
    Ask at the start of training: a trained network never looks fresh.

    Where a custom ``__init__`` drew weights in a way that the resets cannot repeat, they stand out too, rightly: the
    re-initialised networks are not what this one started from. ``build=`` or saved hyperparameters help then.

    Args:
        module: The network.
        fresh: How fresh ones are made; ``Reinitialiser(module)`` if left out.

    Raises:
        ValueError: If there are no fresh weights to be had.
    """
    unlike = unlike_fresh(module, Reinitialiser(module) if fresh is None else fresh)
    if not unlike.parameters:
        return None
    told = list(unlike.parameters.values())
    rest = f"; and {len(told) - DESCRIBED} more" if len(told) > DESCRIBED else ""
    source = source_of(module)
    return f"{unlike} ({'; '.join(told[:DESCRIBED])}{rest})" + (f"; loaded from {source!r}" if source else "")


def unlike_fresh(module: nn.Module, fresh: Reinitialiser) -> Unlike:
    """Which parameters of a network are not distributed as fresh ones; see `looks_pretrained`."""
    drawn = [dict(fresh.draw(seed).named_parameters()) for seed in (0, 1)]
    unlike, compared = {}, 0
    for name, parameter in module.named_parameters():
        if parameter.numel() < ENOUGH_VALUES or not parameter.is_floating_point():
            continue
        live, one, other = _values(parameter), _values(drawn[0][name]), _values(drawn[1][name])
        if np.ptp(one) > 0 and np.array_equal(one, other):
            continue
        compared += 1
        others = np.concatenate([one, other])
        test = ks_2samp(live, others, method="asymp")
        if test.statistic > GAP and test.pvalue < SURENESS:
            unlike[name] = f"{name} has standard deviation {live.std():.3g}, fresh {others.std():.3g}"
    return Unlike(unlike, compared)


def _values(parameter: Tensor) -> NDArray[np.float64]:
    flat = parameter.detach().flatten()
    # Off the device first: not every one knows float64.
    return np.asarray(flat[:: max(1, len(flat) // COMPARED_VALUES)].cpu().double().numpy())


def source_of(module: nn.Module) -> str:
    """Where a Hugging Face model inside says that it came from; empty where none does.

    A name alone is no evidence of training: a config that was read from somewhere has it too, and fresh weights may be
    drawn by it.
    """
    configs = (getattr(child, "config", None) for child in module.modules())
    return next((str(name) for config in configs if (name := getattr(config, "_name_or_path", ""))), "")
