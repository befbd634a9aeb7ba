"""What goes wrong while the probe goes through a network, and where, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gw.activations.probe.batches import leaves
from lightning_gw.utilities.errors import LookError, reason_of

#: How allocators and libraries say that memory ran out, where they do not raise an error of its own class.
_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "not enough memory")
#: Shapes that a message lists.
_LISTED = 6


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    )


@contextmanager
def explaining(
    module: nn.Module, batch: Any, number: int, count: int, is_known: Callable[[Exception], bool] = lambda _: False
) -> Iterator[None]:
    """What fails inside says in which module and on what; running out of memory is passed on as it is.

    Args:
        module: The network.
        batch: The probe batch that is on its way.
        number: Its place among the probe batches, from 1.
        count: How many probe batches there are.
        is_known: Whether an error says all that is to be said, and is passed on as it is.
    """
    try:
        yield
    except Exception as error:
        if is_known(error) or is_out_of_memory(error):
            raise
        if (reason := explained(error, module, batch, number, count)) is None:
            raise
        raise reason from error


def explained(error: Exception, module: nn.Module, batch: Any, number: int, count: int) -> LookError | None:
    """Say in which module a forward pass failed, and on what: probe batch `number`, from 1, of `count`.

    Returns:
        An error that names the module, the shapes it was called with and those of the batch; None where no module of
        the network was being run.
    """
    frame = _innermost_call(error.__traceback__)
    if frame is None:
        return None
    failed = frame.f_locals["self"]
    names = {id(child): name for name, child in module.named_modules()}
    name = names.get(id(failed), "").replace("_orig_mod.", "")
    where = f"{name!r}, a {type(failed).__name__}" if name else f"the forward of {type(failed).__name__}"
    args, keywords = frame.f_locals.get("args", ()), frame.f_locals.get("kwargs", {})
    called = shapes({**dict(enumerate(args)), **keywords})
    return LookError(
        f"The probe did not get through {where}"
        + (f", called with {called}" if called else "")
        + f": {reason_of(error)}. It was probe batch {number} of {count}, with "
        f"{shapes(batch) or 'no tensors'}. If the network changed since the probe was drawn, or takes its inputs in "
        "another way than forward does here, pass GWSimilarity(probe=..., probe_step=...)."
    )


def shapes(batch: Any) -> str:
    """The shapes of the tensors in a batch, in words, such as ``"input_ids (8, 32), labels (8,)"``."""
    keyed = isinstance(batch, Mapping)
    found = []
    for path, leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            place = path.lstrip(".") if keyed and not path.lstrip(".").isdigit() else ""
            found.append(f"{place} {tuple(leaf.shape)}".strip())
    more = len(found) - _LISTED
    return ", ".join(found[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _innermost_call(traceback: TracebackType | None) -> FrameType | None:
    """The frame of the last module that was called and did not return, as torch's own ``_call_impl`` leaves it."""
    found: FrameType | None = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name in ("_call_impl", "_wrapped_call_impl") and isinstance(
            frame.f_locals.get("self"), nn.Module
        ):
            found = frame
        traceback = traceback.tb_next
    return found
