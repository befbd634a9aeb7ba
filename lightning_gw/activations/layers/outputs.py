"""Tensors in what a module put out: of any container, padded and made dense, and why one cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence


def output_leaves(output: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor in what a module put out that can be read, with its path.

    From containers, dataclasses and named fields; padded and made dense.
    """
    if isinstance(output, Tensor):
        return [] if why_unreadable(output) else [(path, dense(output))]
    if isinstance(output, PackedSequence):
        return [(path, pad_packed_sequence(output, batch_first=True)[0])]
    if isinstance(output, Mapping):
        items = [(f"{path}.{key}", value) for key, value in output.items()]
    elif isinstance(output, tuple | list):
        items = [(f"{path}[{index}]", value) for index, value in enumerate(output)]
    elif is_dataclass(output) and not isinstance(output, type):
        items = [(f"{path}.{held.name}", getattr(output, held.name)) for held in fields(output)]
    elif type(output).__module__ not in ("builtins", "torch") and hasattr(output, "__dict__"):
        items = [(f"{path}.{key}", value) for key, value in vars(output).items() if isinstance(value, Tensor)]
    else:
        return []
    return [leaf for key, value in items for leaf in output_leaves(value, key)]


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a module's output; None where there is none with rows."""
    if isinstance(output, Tensor):
        return output if output.is_nested or output.dim() > 0 else None
    if isinstance(output, Mapping):
        hidden = output.get("last_hidden_state")
        return hidden if isinstance(hidden, Tensor) else first_tensor(tuple(output.values()))
    if isinstance(output, tuple | list):
        return next((found for item in output if (found := first_tensor(item)) is not None), None)
    return None


def dense(tensor: Tensor) -> Tensor:
    """The same values, padded where inputs are of different length, without compression or quantisation."""
    if tensor.is_nested:
        return torch.nested.to_padded_tensor(tensor, 0.0)
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def why_unreadable(output: Any) -> str:
    """Why what a module put out has no values that can be kept; empty where it has."""
    tensor = first_tensor(output)
    if tensor is None:
        return ""
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return (
            "it is called inside torch.vmap or torch.func, where it sees one input at a time; name the module around "
            "that call"
        )
    return "it is a tensor on the meta device, which holds no values" if tensor.is_meta else ""
