"""Every shape of output becomes one vector per input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gw.activations.reading.pooling import check_pooling, pool

TOKENS = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("how", ["auto", "mean"])
def test_padding_does_not_count(how: str) -> None:
    padded = TOKENS.masked_fill(~MASK.bool()[:, :, None], float("nan"))
    expected = torch.stack([TOKENS[0, :3].mean(0), TOKENS[1, 2:].mean(0), TOKENS[2].mean(0)])
    torch.testing.assert_close(pool(padded, MASK, how, layer="x"), expected)


def test_first_and_last_are_those_the_mask_keeps_on_either_side() -> None:
    assert torch.equal(pool(TOKENS, MASK, "first", layer="x"), torch.stack([TOKENS[0, 0], TOKENS[1, 2], TOKENS[2, 0]]))
    assert torch.equal(pool(TOKENS, MASK, "last", layer="x"), torch.stack([TOKENS[0, 2], TOKENS[1, 4], TOKENS[2, 4]]))
    assert torch.equal(pool(TOKENS, None, "last", layer="x"), TOKENS[:, 4])


def test_shapes_without_tokens() -> None:
    images = torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(pool(images, None, "auto", layer="x"), images.mean((2, 3)))
    assert pool(images, None, "flatten", layer="x").shape == (3, 120)
    series = torch.randn(3, 4, 7)
    torch.testing.assert_close(pool(series, None, "auto", layer="x", channels_first=True), series.mean(2))
    assert pool(torch.arange(3), None, "auto", layer="x").tolist() == [[0.0], [1.0], [2.0]]


def test_half_precision_is_summed_in_single_and_double_stays() -> None:
    assert pool(torch.ones(2, 3000, 1, dtype=torch.bfloat16), None, "auto", layer="x").tolist() == [[1.0], [1.0]]
    assert pool(TOKENS.double(), None, "auto", layer="x").dtype == torch.float64


def test_what_is_kept_has_memory_of_its_own() -> None:
    output = torch.ones(2, 3)
    kept = pool(output, None, "auto", layer="x")
    output.add_(1)
    assert kept.tolist() == [[1.0, 1.0, 1.0]] * 2


def test_own_functions_and_their_shapes() -> None:
    def largest(output: Tensor, mask: Tensor | None) -> Tensor:
        return output.amax(1)

    assert torch.equal(pool(TOKENS, None, largest, layer="x"), TOKENS.amax(1))
    with pytest.raises(ValueError, match=r"\(3,\) for layer 'enc\.1' of shape \(3, 5, 4\); expected \(3, d\)"):
        pool(TOKENS, None, lambda output, mask: output[:, 0, 0], layer="enc.1")


def test_errors_name_layer_and_shape() -> None:
    with pytest.raises(ValueError, match=r"\(n, t, d\), but layer 'enc\.1' gave \(3, 4\)"):
        pool(torch.zeros(3, 4), None, "first", layer="enc.1")
    with pytest.raises(ValueError, match=r"pooling='means' is neither.*mean"):
        check_pooling("means")
