"""Transformers of text, speech and pictures, with random weights: transformers, x-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from registry import Made, configuration, fit, loaders
from torch import Tensor, nn

WORDS = 100
LAYERS = 4


class Transformer(LightningModule):
    """The wrapper that most people write around a model of transformers: it returns its own loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self(**batch).loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val_loss", self(**batch).loss)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def text(length: int = 12, both: bool = False) -> Made:
    """Token ids padded with 0, their mask, and labels: the ids, -100 where padded, or another text for decoders."""

    def padded(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        real = int(torch.randint(4, length + 1, (), generator=generator))
        ids = torch.randint(1, WORDS, (length,), generator=generator)
        mask = (torch.arange(length) < real).long()
        return ids * mask, mask

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        ids, mask = padded(generator)
        answer, counts = padded(generator) if both else (ids, mask)
        return {"input_ids": ids, "attention_mask": mask, "labels": answer.masked_fill(counts == 0, -100)}

    return Made(make)


def sizes(**more: Any) -> dict[str, Any]:
    return {"vocab_size": WORDS, **more}


def gpt2() -> tuple[nn.Module, Made]:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**sizes(n_embd=32, n_layer=LAYERS, n_head=2, n_positions=32))), text()


def t5() -> tuple[nn.Module, Made]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(**sizes(d_model=32, d_kv=16, d_ff=64, num_layers=LAYERS, num_heads=2, decoder_start_token_id=0))
    return T5ForConditionalGeneration(config), text(both=True)


def bert() -> tuple[nn.Module, Made]:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(**sizes(hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=64))
    return BertForMaskedLM(config), text()


def albert() -> tuple[nn.Module, Made]:
    from transformers import AlbertConfig, AlbertForMaskedLM

    config = AlbertConfig(
        **sizes(
            embedding_size=16, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=64
        )
    )
    return AlbertForMaskedLM(config), text()


def llama() -> tuple[nn.Module, Made]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**sizes(hidden_size=32, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=2))
    return LlamaForCausalLM(config), text()


def xlnet() -> tuple[nn.Module, Made]:
    from transformers import XLNetConfig, XLNetLMHeadModel

    return XLNetLMHeadModel(XLNetConfig(**sizes(d_model=32, n_layer=LAYERS, n_head=2, d_inner=64))), text()


def whisper() -> tuple[nn.Module, Made]:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        **sizes(
            num_mel_bins=16,
            d_model=32,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_source_positions=20,
            max_target_positions=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            begin_suppress_tokens=None,
            suppress_tokens=None,
        )
    )

    def make(generator: torch.Generator) -> dict[str, Tensor]:
        spoken = torch.randn(16, 40, generator=generator)
        return {"input_features": spoken, "labels": torch.randint(3, WORDS, (8,), generator=generator)}

    return WhisperForConditionalGeneration(config), Made(make)


def detr() -> tuple[nn.Module, Made]:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    config = DetrConfig(
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], out_features=["stage2"]),
        d_model=32,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=6,
        num_labels=3,
    )

    def make(generator: torch.Generator) -> dict[str, Any]:
        boxes = torch.rand(2, 4, generator=generator) / 4 + 0.25
        labels = {"class_labels": torch.randint(3, (2,), generator=generator), "boxes": boxes}
        return {"pixel_values": torch.randn(3, 64, 64, generator=generator), "labels": labels}

    return DetrForObjectDetection(config), Made(make)


def together(items: list[dict[str, Any]]) -> dict[str, Any]:
    """As the documentation of detection has it: pictures stacked, labels a list."""
    return {
        "pixel_values": torch.stack([item["pixel_values"] for item in items]),
        "labels": [item["labels"] for item in items],
    }


MODELS: dict[str, Callable[[], tuple[nn.Module, Made]]] = {
    "GPT-2": gpt2,
    "T5": t5,
    "BERT": bert,
    "ALBERT": albert,
    "Llama": llama,
    "XLNet": xlnet,
    "Whisper": whisper,
}

for name, build in MODELS.items():

    @configuration("transformers", name)
    def _(callbacks: list[Any], folder: Path, build: Callable[[], tuple[nn.Module, Made]] = build) -> nn.Module:
        model, data = build()
        return fit(Transformer(model), *loaders(data), callbacks, folder)


@configuration("transformers", "DETR")
def detection(callbacks: list[Any], folder: Path) -> nn.Module:
    model, data = detr()
    return fit(Transformer(model), *loaders(data, 8, collate_fn=together), callbacks, folder)


class Autoregressive(LightningModule):
    """A wrapper of x-transformers returns the loss from its forward."""

    def __init__(self) -> None:
        super().__init__()
        from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

        layers = Decoder(dim=32, depth=LAYERS, heads=2)
        self.net = AutoregressiveWrapper(TransformerWrapper(num_tokens=WORDS, max_seq_len=16, attn_layers=layers))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.net(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


@configuration("x-transformers", "decoder, no forward of its own")
def autoregressive(callbacks: list[Any], folder: Path) -> nn.Module:
    data = Made(lambda generator: torch.randint(1, WORDS, (16,), generator=generator))
    return fit(Autoregressive(), *loaders(data), callbacks, folder)
