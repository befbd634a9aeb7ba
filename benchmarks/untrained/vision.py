"""Vision architectures of timm, untrained, on handwritten digits as images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Convolutional networks with residuals and without, depth-wise and dense ones, transformers, mixers, hierarchies.
NAMES = (
    *("resnet18", "resnet34", "resnet50", "seresnet18", "resnetv2_50", "wide_resnet50_2", "res2net50_26w_4s"),
    *("resnext26ts", "nf_resnet50", "dla34", "cspresnet50", "vgg11", "vgg11_bn", "repvgg_a0", "densenet121"),
    *("mobilenetv2_100", "mobilenetv3_small_100", "mobileone_s0", "efficientnet_b0", "tf_efficientnet_lite0"),
    *("regnetx_002", "regnety_002", "ghostnet_100", "convnext_atto", "convnextv2_atto", "edgenext_xx_small"),
    *("fastvit_t8", "poolformer_s12", "mobilevit_xxs", "swin_tiny_patch4_window7_224", "pvt_v2_b0"),
    *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "cait_xxs24_224", "xcit_nano_12_p16_224", "pit_ti_224"),
    *("beit_base_patch16_224", "mixer_s16_224", "resmlp_12_224", "gmlp_ti16_224"),
)
SIZE = 64
INPUTS = 128


def images() -> Tensor:
    """``(128, 3, 64, 64)`` digits, enlarged, about mean 0 and deviation 1."""
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    chosen = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:INPUTS]
    enlarged = nn.functional.interpolate(digits[chosen][:, None], size=SIZE, mode="bilinear")
    return ((enlarged - 0.3) / 0.35).repeat(1, 3, 1, 1)


def build(name: str) -> nn.Module:
    """A network as timm makes it; its weights are drawn from the global random state."""
    import timm

    options: dict[str, Any] = {"img_size": SIZE, "window_size": 4} if name.startswith("swin") else {"img_size": SIZE}
    try:
        return timm.create_model(name, num_classes=10, **options)
    except TypeError:  # convolutional networks take any size without being told
        return timm.create_model(name, num_classes=10)
