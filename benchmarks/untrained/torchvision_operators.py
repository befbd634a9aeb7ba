"""Lets timm import a torchvision that was built for another torch."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch

_DECLARED: list[Any] = []


def make_importable() -> None:
    """Declare the operators of a torchvision that lacks them; nothing here calls any.

    The package index holds torchvision for CUDA only, and beside a CPU build of torch its import fails on operators
    that are missing. To be called before anything imports it, as torchmetrics does.
    """
    if _DECLARED or importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            library.define(f"{name}(Tensor input) -> Tensor")
            library.define(f"_{name}_backward(Tensor input) -> Tensor")
        _DECLARED.append(library)  # what is declared goes with its library
