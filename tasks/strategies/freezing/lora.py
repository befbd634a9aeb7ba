from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from torch import nn
from torch.optim import Optimizer

from tasks.strategies.requirements import block_of_layers, layered

#: How peft names the parameters it adds.
ADAPTER = "lora_"


class Lora(BaseFinetuning):
    """Freezes the network; trains a change of low rank to the linear maps in its layers, and what reads the last one.

    It asks: does a change of low rank move the groups that full fine-tuning moves?

    Linear maps are linear layers and convolutions. The adapters are those of the package ``peft``, after Hu and others,
    "LoRA: Low-Rank Adaptation of Large Language Models". Half of each is zero at the start, so that the network first
    computes what it did without them. A checkpoint holds them beside the frozen weights, under the names of peft.

    Args:
        rank: Rank of the change.
        alpha: The change is scaled by ``alpha / rank``.
        targets: Names that linear maps to be adapted end in; all that are inside the layers when left out, but for
            convolutions in more groups than the rank can be shared out to, which peft does not adapt.
        first: The first layer that is adapted, from 0.
        last: The last layer that is adapted, from 0; that of the network when left out.

    Raises:
        ModuleNotFoundError: If peft is not installed.
        ValueError: If there is nothing to adapt, or no such layers.
    """

    def __init__(
        self,
        rank: int = 4,
        alpha: int = 8,
        targets: Sequence[str] | None = None,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        super().__init__()
        if find_spec("peft") is None:
            raise ModuleNotFoundError("strategy Lora needs the package `peft`: pip install peft.")
        self.rank = rank
        self.alpha = alpha
        self.targets = targets
        self.first = first
        self.last = last

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        task = layered(self, pl_module)
        if not any(ADAPTER in name for name, _ in task.layers.named_parameters()):
            self.adapt(task.layers, block_of_layers(self, task, self.first, self.last))
        super().setup(trainer, pl_module, stage)

    def adapt(self, layers: nn.ModuleList, block: range) -> None:
        """Puts an adapter beside every target in these layers; parameters that were there keep their place, frozen."""
        from peft import LoraConfig, inject_adapter_in_model

        linear = [
            name
            for name, module in layers.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and int(name.split(".")[0]) in block
        ]
        targets = [name for name in linear if self._is_target(name, layers.get_submodule(name))]
        if not targets:
            raise ValueError(
                f"strategy {type(self).__name__} found nothing to adapt: targets={self.targets}, and the linear maps "
                f"inside its first layer are {[name for name in linear if name.startswith(f'{block[0]}.')]}."
            )
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=0.0, target_modules=targets)
        training = layers.training
        inject_adapter_in_model(config, layers)
        layers.train(training)

    def _is_target(self, name: str, module: nn.Module) -> bool:
        if self.targets is not None:
            return name.endswith(tuple(self.targets))
        return not isinstance(module, nn.Conv2d) or self.rank % module.groups == 0

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        task = layered(self, pl_module)
        self.freeze([task.stem, task.layers], train_bn=False)
        for name, parameter in task.layers.named_parameters():
            parameter.requires_grad_(ADAPTER in name)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Does nothing: what is frozen stays frozen."""
