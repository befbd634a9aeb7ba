"""What of a network settles by forward passes alone, and how a look reads it before it has.

A batch normalisation in evaluation mode divides by statistics that no data has touched before training, so that the
first look would see another network than all later ones although not one weight has moved. Such layers are therefore
read by the statistics of the probe itself, as they are in training, on copies that are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

from lightning_gw.activations.probe.batches import count_rows
from lightning_gw.activations.reading.failures import explaining

#: Running statistics count as settled where what they began with has less than this share in them.
SETTLED = 0.05
#: Iterations after which the largest singular value of a spectral normalisation is known well enough.
POWER_ITERATIONS = 15
OWN_STATISTICS = "own statistics"
PROBE_STATISTICS = "statistics of the probe"


def unsettled_layers(module: nn.Module) -> frozenset[str]:
    """Names of the normalisation layers whose running statistics data has hardly touched yet."""
    return frozenset(name for name, child in _running(module) if not _settled(child))


def untouched_layers(module: nn.Module) -> frozenset[str]:
    """Names of the normalisation layers whose running statistics are those that they were made with."""
    return frozenset(name for name, child in _running(module) if _untouched(child))


def has_running_statistics(module: nn.Module) -> bool:
    """Whether any layer normalises by statistics that it gathers in training."""
    return next(iter(_running(module)), None) is not None


def read_by_the_probe(
    module: nn.Module,
    names: Collection[str],
    batches: Sequence[Any],
    run: Callable[[Any], Any],
    smallest: int | None = None,
) -> str:
    """Let normalisation layers go by the probe's statistics, from here until modes and buffers are put back.

    Where the probe is one batch, they go by that batch. Where it is several, all go through the network once before,
    each layer gathers the mean of their statistics, and then goes by those.

    Args:
        module: The network, in evaluation mode, without gradients, within `undisturbed`.
        names: Which layers.
        batches: The probe.
        run: Runs the network on one batch.
        smallest: Number of inputs in the smallest of the batches; None counts them by their first tensors.

    Returns:
        What to say of it; empty where nothing is to be said.
    """
    _settle_spectral_norms(module)
    layers = []
    for name, child in _running(module):
        if name in names and isinstance(child, nn.modules.instancenorm._InstanceNorm):
            child.training = True  # each input goes by its own statistics, and none are gathered
        elif name in names:
            layers.append(child)
    if not layers:
        return ""
    if (min(count_rows(batch) for batch in batches) if smallest is None else smallest) < 2:
        return (
            "Normalisation layers were read by their own statistics, which are not settled yet: of a single input at a "
            "time there are none."
        )
    for layer in layers:
        layer.training = True
    if len(batches) == 1:
        return ""
    for layer in layers:
        layer.momentum = None  # the plain mean over batches
        layer.reset_running_stats()
    for number, batch in enumerate(batches, start=1):
        with explaining(module, batch, number, len(batches)):
            run(batch)
    for layer in layers:
        layer.training = False
    return ""


def normalised_widths(module: nn.Module) -> frozenset[int]:
    """Widths of the states that a network normalises input by input, position by position, as transformers do.

    Found are LayerNorm, RMSNorm, and whatever calls itself a norm and has one gain for each entry of a state, except
    those that normalise over inputs or positions.
    """
    widths = set()
    for child in module.modules():
        if "norm" not in type(child).__name__.lower() or isinstance(
            child, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LocalResponseNorm
        ):
            continue
        shape = getattr(child, "normalized_shape", None)
        gain = getattr(child, "weight", None)
        if isinstance(shape, tuple | list) and len(shape) == 1:
            widths.add(int(shape[0]))
        elif isinstance(gain, Tensor) and gain.ndim == 1:
            widths.add(gain.numel())
    return frozenset(widths)


def _running(module: nn.Module) -> list[tuple[str, nn.modules.batchnorm._NormBase]]:
    return [
        (name, child)
        for name, child in module.named_modules()
        if isinstance(child, nn.modules.batchnorm._NormBase)
        and child.running_mean is not None
        and not nn.parameter.is_lazy(child.running_mean)
    ]


def _untouched(layer: nn.modules.batchnorm._NormBase) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    return mean is None or variance is None or (not bool(mean.any()) and bool((variance == 1).all()))


def _settled(layer: nn.modules.batchnorm._NormBase) -> bool:
    seen = layer.num_batches_tracked
    if _untouched(layer):
        return False
    if not isinstance(seen, Tensor) or int(seen) == 0:
        return True  # no batch of this network's left them as they are: they were loaded
    return layer.momentum is None or bool((1 - float(layer.momentum)) ** int(seen) < SETTLED)


def has_spectral_norms(module: nn.Module) -> bool:
    """Whether any weight is divided by a singular value that follows it step by step."""
    hooks = (hook for child in module.modules() for hook in child._forward_pre_hooks.values())
    kinds = SpectralNorm, parametrizations._SpectralNorm
    return any(isinstance(part, kinds) for part in (*hooks, *module.modules()))


def _settle_spectral_norms(module: nn.Module) -> None:
    """Bring singular vectors, which follow their weight by one iteration a training step, to where they are heading."""
    for child in module.modules():
        for hook in child._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                iterations, hook.n_power_iterations = hook.n_power_iterations, POWER_ITERATIONS
                try:
                    hook.compute_weight(child, do_power_iteration=True)
                finally:
                    hook.n_power_iterations = iterations
        if isinstance(child, nn.utils.parametrize.ParametrizationList):
            for part in child:
                if isinstance(part, parametrizations._SpectralNorm) and child.original.ndim > 1:
                    with torch.no_grad():
                        part._power_method(part._reshape_weight_to_matrix(child.original), POWER_ITERATIONS)
