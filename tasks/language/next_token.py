"""Training a causal language model to foretell the next token."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from tasks.classifier import LayeredClassifier
from tasks.language.model import find_layers, from_hub, model_folder
from tasks.language.smollm2 import SMOLLM2
from tasks.optimizers import warmed_up_adamw


class NextToken(LayeredClassifier):
    """Foretells the next token of texts; logs ``train/loss``, ``val/loss`` and ``val/accuracy``, means over tokens.

    Args:
        model_path: Name or directory of a causal language model in the Hugging Face format; ``"smollm2"`` is the one
            that ships in a package.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up; the rate then stays.
    """

    def __init__(
        self,
        model_path: str = SMOLLM2,
        learning_rate: float = 5e-5,
        weight_decay: float = 0.01,
        warmup_steps: int = 8,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model: Any = from_hub(AutoModelForCausalLM, model_folder(model_path), "model")
        self.model.config.use_cache = False  # a cache of keys and values would be one more thing that layers put out
        self.layers_name = find_layers(self.model)
        self.model.train()  # from_pretrained hands it over in eval mode, that is, with dropout switched off

    # --- what strategies hold on to ------------------------------------------------------------------------------

    @property
    def stem(self) -> nn.Module:
        """The embedding of tokens, which the readout may share."""
        return self.model.get_input_embeddings()

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, first to last."""
        return self.model.get_submodule(self.layers_name)

    @property
    def pretrained(self) -> nn.Module:
        """The part that comes with trained weights."""
        return self.model

    # --- the Lightning part --------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of the token after each.

        Args:
            input_ids: Token ids, int64 of shape ``(B, T)``.
            attention_mask: 1 where there is a token and 0 where there is padding, int64 of shape ``(B, T)``.
            labels: Not used; taken so that a whole batch can be passed as ``forward(**batch)``.

        Returns:
            Logits of shape ``(B, T, vocabulary)``.
        """
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    def loss_and_logits(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The cross-entropy over all tokens that follow another, and the logits in a list of one."""
        logits = self(**batch)
        return cross_entropy(logits[:, :-1].flatten(0, 1), following(batch)), [logits]

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        loss, (logits,) = self.loss_and_logits(batch)
        follows = following(batch)
        right = (logits[:, :-1].flatten(0, 1).argmax(dim=1) == follows)[follows != IGNORED].float().mean()
        self.log_dict({"val/loss": loss, "val/accuracy": right}, batch_size=len(batch["input_ids"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = [{"params": list(self.model.parameters()), "lr": self.hparams["learning_rate"]}]
        return warmed_up_adamw(self, groups, self.hparams["weight_decay"], self.hparams["warmup_steps"])


#: Label of a place that the cross-entropy passes by.
IGNORED = -100


def following(batch: dict[str, Tensor]) -> Tensor:
    """The token after each but the last, ``(B · (T − 1),)``; `IGNORED` where it is padding."""
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)[:, 1:].flatten()
