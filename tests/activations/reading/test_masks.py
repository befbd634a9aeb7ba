"""Masks in other forms and of other lengths than the batch has them, and layers of which too few have rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from callback_nets import Block
from torch import Tensor, nn

from lightning_gw.activations.config import ProbeConfig
from lightning_gw.activations.probe.probe import draw_probe
from lightning_gw.activations.reading.capture import capture
from lightning_gw.activations.running.settle import Settled, settle

IDS = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(6)[None] < torch.tensor([[2], [6], [3], [5]])).long()


class Masked(Block):
    def forward(self, states: Tensor, attention_mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(states)


class Windowed(nn.Module):
    """Pads texts to whole windows and hands its blocks a mask that is added to scores, as Longformer does."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.window = window
        self.embed = nn.Embedding(11, 12)
        self.blocks = nn.ModuleList(Masked() for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        assert attention_mask is not None
        more = -input_ids.shape[1] % self.window
        ids, mask = (nn.functional.pad(held, (0, more)) for held in (input_ids, attention_mask))
        states, added = self.embed(ids), (1 - mask.float()) * -1e4
        for block in self.blocks:
            states = block(states, attention_mask=added)
        return states


def looked(net: nn.Module, batch: dict[str, Tensor], **options: Any) -> tuple[Settled, Any]:
    run = lambda item: net(**item)  # noqa: E731
    net.eval()
    with torch.no_grad():
        found = settle(net, batch, run, **options)
        return found, capture(net, found.choice.layers, [batch], run, "mean", how=found.how)


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("mask", [MASK, torch.ones_like(MASK)], ids=["padded", "only to whole windows"])
@pytest.mark.parametrize("window", [4, 6])
def test_what_the_network_pads_to_whole_windows_does_not_count(mask: Tensor, window: int) -> None:
    net = Windowed(window)
    found, seen = looked(net, {"input_ids": IDS, "attention_mask": mask})
    assert list(found.choice.layers) == ["embed", "blocks.0", "blocks.1"]
    assert seen.notes == ()
    with torch.no_grad():
        states = net(IDS, mask)[:, :6]
    torch.testing.assert_close(seen.representations["blocks.1"], pooled(states, mask))
    torch.testing.assert_close(seen.representations["embed"], pooled(net.embed(IDS), mask).detach())


@pytest.mark.slow
def test_longformer() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LongformerConfig(
        vocab_size=11,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        attention_window=4,
        max_position_embeddings=32,
    )
    net = transformers.LongformerModel(config, add_pooling_layer=False)
    found, seen = looked(net, {"input_ids": IDS, "attention_mask": MASK})
    assert list(found.choice.layers) == ["embeddings", "encoder.layer.0", "encoder.layer.1"]
    assert seen.notes == ()
    with torch.no_grad():
        states = net(IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(seen.representations["encoder.layer.1"], pooled(states[:, :6], MASK))


def test_positions_in_front_are_not_taken_for_padding() -> None:
    class Prompted(Windowed):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            states = nn.functional.pad(self.embed(input_ids), (0, 0, 2, 0))
            for block in self.blocks:
                states = block(states)
            return states

    _, seen = looked(Prompted(), {"input_ids": IDS, "attention_mask": MASK})
    assert any("all positions were pooled" in note for note in seen.notes)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(12, 12) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def test_where_too_few_blocks_have_rows_of_inputs_those_that_do_are_looked_at() -> None:
    """As in SCANVI: the second encoder sees every input once with every class that it may be of."""

    class Classes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Encoder(), Encoder()
            self.reading = nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            found = self.first(x)
            return self.second(found.repeat_interleave(3, 0)).view(len(x), 3, -1).mean(1) + self.reading(found).sum()

    found, seen = looked(Classes(), {"x": torch.randn(4, 12)}, with_rows=True)
    assert list(found.choice.layers) == ["first.layers.0", "first.layers.1", "first.layers.2", "reading"]
    assert "second (no row per input)" in found.choice.left_out
    assert {values.shape for values in seen.representations.values()} == {(4, 12), (4, 2)}


def test_of_data_that_says_how_many_batches_it_has_no_more_are_asked_for() -> None:
    """As Lightning does: some end with an error, such as those that cycle the shorter of two with ``strict=True``."""

    class Cycled:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            yield from torch.arange(24.0).view(3, 4, 2)
            raise ValueError("zip() argument 2 is longer than argument 1")

    assert draw_probe(Cycled(), "validation data", ProbeConfig()).size == 12
