"""Lets every process of the environment import a torchvision that was built for CUDA beside a torch that was not.

The package registry has no other. Its compiled operators are not loaded then, and importing it fails where it
describes them; so they are declared first. None is called by what is trained here. `environment.py` puts this into the
environment.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

_DECLARED: list[Any] = []


class _Declaring(MetaPathFinder):
    """Finds nothing; declares the operators when torchvision is first asked for."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name != "torchvision" or _DECLARED:
            return
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        _DECLARED.append(library)  # what is declared goes with its library
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for operator in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            library.define(f"{operator}(Tensor input) -> Tensor")
            library.define(f"_{operator}_backward(Tensor input) -> Tensor")


sys.meta_path.insert(0, _Declaring())
