"""The networks whose representations are benchmarked: MiniLM with its published weights, and two trained here."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gw.activations.reading.pooling import pool


def _capture(
    modules: dict[str, str],
    model: nn.Module,
    run: Sequence[Callable[[], object]],
    masks: Sequence[Tensor] | None = None,
) -> dict[str, Tensor]:
    """Outputs of submodules while `run` is called, pooled to ``(n, d)``.

    Args:
        modules: Layer name to path of a submodule.
        model: The network; put into evaluation mode.
        run: One call per batch.
        masks: ``(batch, tokens)`` attention mask of every batch, where there are tokens.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    current: list[Tensor | None] = [None]

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            assert isinstance(tensor, Tensor)
            found[name].append(pool(tensor.detach(), current[0], "auto", layer=name))

        return keep

    handles = [model.get_submodule(path).register_forward_hook(hook(name)) for name, path in modules.items()]
    model.eval()
    with torch.no_grad():
        for k, call in enumerate(run):
            current[0] = None if masks is None else masks[k]
            call()
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def _quiet_trainer(**options: object) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        precision="64-true",
        **options,  # type: ignore[arg-type]
    )


def minilm(inputs: int) -> dict[str, Tensor]:
    from tasks.language import TweetData, TweetSentiment

    data = TweetData(val_size=max(400, inputs))
    data.prepare_data()
    data.setup("fit")
    module = TweetSentiment().double()
    encoder = "model.encoder"
    modules = {"0": f"{encoder}.embeddings"}
    for k in range(6):
        block = f"{encoder}.encoder.layer.{k}"
        modules[f"{k + 1}/attention"] = f"{block}.attention"
        modules[f"{k + 1}/intermediate"] = f"{block}.intermediate"
        modules[f"{k + 1}/mlp"] = f"{block}.output.dense"
        modules[f"{k + 1}"] = block
    items = [data.val_dataloader().dataset[k] for k in range(inputs)]
    collate = data.val_dataloader().collate_fn
    batches = [collate(items[k : k + 32]) for k in range(0, inputs, 32)]
    encode = module.model.encoder
    run = [
        lambda batch=batch: encode(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        for batch in batches
    ]
    return _capture(modules, module, run, [batch["attention_mask"] for batch in batches])


def algebra(inputs: int) -> dict[str, Tensor]:
    return train_algebra(inputs, (350,), inner=True)[0]


def train_algebra(inputs: int, steps: tuple[int, ...], inner: bool = False) -> list[dict[str, Tensor]]:
    from tasks.algebra import ArithmeticData, StagedArithmetic
    from tasks.strategies import StageSupervised

    pl.seed_everything(0, verbose=False)
    module, data = StagedArithmetic(), ArithmeticData()
    data.setup("fit")
    dataset = data.val_dataloader().dataset
    assert isinstance(dataset, Sized)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))[:inputs]
    x = torch.stack([dataset[int(k)][0] for k in order])
    modules = {f"{k + 1}": f"model.blocks.{k}" for k in range(9)}
    if inner:
        modules = {"0": "model.embedding"}
        for k in range(9):
            leaves = [name for name, child in module.model.blocks[k].named_modules() if not list(child.children())]
            activation, last = leaves[-2], leaves[-1]
            modules[f"{k + 1}/hidden"] = f"model.blocks.{k}.{activation}"
            modules[f"{k + 1}/update"] = f"model.blocks.{k}.{last}"
            modules[f"{k + 1}"] = f"model.blocks.{k}"
    found = []

    class Snapshots(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.on_train_batch_end(trainer)

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            if trainer.global_step in steps:
                found.append(_capture(modules, module, [lambda: module.model(x)]))
                module.train()

    trainer = _quiet_trainer(max_steps=350, gradient_clip_val=1.0, callbacks=[StageSupervised(), Snapshots()])
    trainer.fit(module, data)
    return found


class DigitsNet(pl.LightningModule):
    """Four convolutions with batch norm on 8 × 8 digits."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 32, 64)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, stride=2 if k == 2 else 1), nn.BatchNorm2d(b), nn.ReLU())
            for k, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self.hidden(x))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 2e-3)


def digits(inputs: int) -> dict[str, Tensor]:
    from sklearn.datasets import load_digits

    pl.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.get_default_dtype()).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out, rest = order[:inputs], order[inputs:]
    module = DigitsNet()
    loader = DataLoader(TensorDataset(x[rest], y[rest]), batch_size=64, shuffle=True)
    _quiet_trainer(max_steps=90).fit(module, loader)
    modules: dict[str, str] = {}
    for k in range(4):
        modules[f"{k + 1}/conv"] = f"blocks.{k}.0"
        modules[f"{k + 1}/norm"] = f"blocks.{k}.1"
        modules[f"{k + 1}"] = f"blocks.{k}.2"
    modules |= {"5/linear": "hidden.1", "5": "hidden.2", "6": "head"}
    return _capture(modules, module, [lambda: module(x[held_out])])


#: Network to what makes the representations of that many held-out inputs.
MAKERS: Mapping[str, Callable[[int], dict[str, Tensor]]] = {"minilm": minilm, "algebra": algebra, "digits": digits}
