"""Resets of weights that are not parameters themselves but computed from some: spectral and weight normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def reset_parametrised(module: nn.Module, reset: Callable[[], Any]) -> None:
    """Call `reset` and hand what it drew for parametrised tensors to the parameters they are computed from.

    A reset writes in place. For a parametrised tensor that is the result of a computation, forgotten at once, so it is
    held on to and then assigned, which asks the parametrisation for its inverse.

    Args:
        module: A module, with ``torch.nn.utils.parametrize`` parametrisations or without.
        reset: Its ``reset_parameters``.
    """
    if not parametrize.is_parametrized(module):
        reset()
        return
    names = list(module.parametrizations)  # type: ignore[arg-type]
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with parametrize.cached(), torch.no_grad():
        reset()
        drawn: dict[str, Tensor] = {name: getattr(module, name).detach().clone() for name in names}
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])  # power iteration went on at every access
    for name, values in drawn.items():
        try:
            setattr(module, name, values)
        except NotImplementedError:
            continue  # a parametrisation without inverse: the caller finds its parameters untouched


def renormalise(module: nn.Module) -> None:
    """The same for the older ``torch.nn.utils.weight_norm`` and ``spectral_norm``, which work by hooks."""
    for hook in module._forward_pre_hooks.values():
        with torch.no_grad():
            if isinstance(hook, WeightNorm):
                weight = getattr(module, hook.name)
                norm = torch.norm_except_dim(weight, 2, hook.dim)
                getattr(module, f"{hook.name}_v").copy_(weight)
                getattr(module, f"{hook.name}_g").copy_(norm)
            elif isinstance(hook, SpectralNorm):
                getattr(module, f"{hook.name}_orig").copy_(getattr(module, hook.name))
