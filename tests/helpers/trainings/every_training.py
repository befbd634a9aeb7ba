"""Trains one network under one setting, and gives back everything that a look could have left different."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from every_network import CLASSES, NETS, Items
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_gw import GWSimilarity


def learner_class(package: Any = pl) -> Any:
    """A LightningModule class of either package."""

    class Learner(package.LightningModule):  # type: ignore[misc, name-defined]
        """Trains any of the networks, by Lightning's optimization or its own."""

        def __init__(self, net: nn.Module, inputs: tuple[str, ...], manual: bool = False) -> None:
            super().__init__()
            self.net = net
            self.inputs = inputs
            self.automatic_optimization = not manual
            self.accuracy = torchmetrics.MetricCollection(
                [torchmetrics.classification.MulticlassAccuracy(CLASSES), torchmetrics.MeanMetric()]
            )
            self.activity = torchmetrics.CatMetric()
            self.order: list[list[int]] = []
            self.losses: list[float] = []

        def forward(self, **batch: Any) -> Tensor:
            output = self.net(**{name: batch[name] for name in self.inputs})
            self.activity.update(output.detach().abs().mean())
            self.log("activity", output.detach().abs().mean(), on_step=True, on_epoch=True)
            return output

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            output = self(**batch)
            loss = nn.functional.cross_entropy(output, batch["y"])
            self.accuracy["MulticlassAccuracy"].update(output, batch["y"])
            self.accuracy["MeanMetric"].update(loss.detach())
            self.log("train_loss", loss)
            self.order.append(batch["index"].tolist())
            self.losses.append(float(loss.detach()))
            if not self.automatic_optimization:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, gradient_clip_val=1.0)
                optimizer.step()
                self.lr_schedulers().step()
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(**batch), batch["y"]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], 1e-2)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=60)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Learner


Learner = learner_class()


#: Options of the Trainer, and under "callbacks" and "manual" what belongs elsewhere.
SETTINGS: dict[str, dict[str, Any]] = {
    "32-true": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "64-true": {"precision": "64-true"},
    "accumulation": {"accumulate_grad_batches": 3},
    "clipping": {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
    "manual": {"manual": True},
    "weight averaging": {"callbacks": lambda: [EMAWeightAveraging(decay=0.9)]},
    "stochastic weight averaging": {"callbacks": lambda: [StochasticWeightAveraging(1e-2, swa_epoch_start=1)]},
    "early stopping": {
        "callbacks": lambda: [EarlyStopping("val_loss", patience=1, min_delta=0.02)],
        "max_epochs": 4,
    },
}


def train(
    root: Path,
    name: str,
    setting: str,
    *watching: GWSimilarity,
    prepare: Callable[[pl.Trainer], None] | None = None,
    package: Any = pl,
) -> dict[str, Any]:
    """Train from a fixed seed on two epochs of four batches, or as the setting says."""
    options = dict(SETTINGS[setting])
    others: list[Callback] = options.pop("callbacks", list)()
    manual = options.pop("manual", False)
    build, kind, _ = NETS[name]
    package.seed_everything(1, verbose=False)
    inputs = tuple(Items(kind, 1).inputs)
    net = build()
    if not all(module.training for module in net.modules()) and name != "normed":
        net.train()  # Hugging Face and peft may give evaluation mode
    module = learner_class(package)(_positional(net, inputs), inputs, manual)
    defaults: dict[str, Any] = {"max_epochs": 2}
    fit = package.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=root,
        logger=False,
        callbacks=[*others, *watching],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **(defaults | options),
    )
    if prepare is not None:
        prepare(fit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit.fit(
            module,
            DataLoader(data := Items(kind, 24), batch_size=6, shuffle=True),
            DataLoader(validation := Items(kind, 16, seed=1), batch_size=8),
        )
    return state_of(fit, module, others) | {
        "noise of the data": [held.noise.bit_generator.state for held in (data, validation) if held.noise is not None]
    }


def _positional(net: nn.Module, inputs: tuple[str, ...]) -> nn.Module:
    """Networks without a class of their own take their input by place."""
    return ByPlace(net) if inputs == ("x",) and isinstance(getattr(net, "_orig_mod", net), nn.Sequential) else net


class ByPlace(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


HOOKS = [name for name in vars(nn.Module()) if name.endswith("hooks")]


def state_of(fit: pl.Trainer, module: pl.LightningModule, others: list[Callback]) -> dict[str, Any]:
    modules = dict(module.named_modules())
    return {
        "weights": {name: p.detach().clone() for name, p in module.named_parameters()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()},
        "requires_grad": {name: p.requires_grad for name, p in module.named_parameters()},
        "buffers": {name: value.clone() for name, value in module.named_buffers()},
        "optimizers": [optimizer.state_dict() for optimizer in fit.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in fit.lr_scheduler_configs],
        "random states": [random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()],
        "metric states": {
            name: {key: getattr(child, key) for key in child._defaults} | {"updates": child._update_count}
            for name, child in modules.items()
            if isinstance(child, torchmetrics.Metric)
        },
        "modes": {name: child.training for name, child in modules.items()},
        "hooks": {name: [len(vars(child)[kind]) for kind in HOOKS] for name, child in modules.items()},
        "attributes": {name: list(vars(child)) for name, child in modules.items()},
        "memories": {name: _remembered(vars(child)) for name, child in modules.items()},
        "callback metrics": {name: float(value) for name, value in fit.callback_metrics.items()},
        "logged metrics": {name: float(value) for name, value in fit.logged_metrics.items()},
        "order of batches": module.order,
        "losses": module.losses,
        "other callbacks": [callback.state_dict() for callback in others],
        "steps": [fit.global_step, fit.current_epoch, str(fit.state.stage), torch.is_grad_enabled()],
    }


def _remembered(attributes: dict[str, Any]) -> dict[str, Any]:
    """What modules keep besides weights: plain values, tensors, and what the networks here hold in other ways."""
    kept: dict[str, Any] = {}
    for name, value in attributes.items():
        if name == "_torchdynamo_wrapper_id":  # counts the wrappers made in this process
            continue
        if isinstance(value, bool | int | float | str | np.ndarray | torch.Tensor) or name in (
            "nested",
            "average",
            "trace",
        ):
            kept[name] = value
        elif name == "store":
            kept[name] = {"hits": value.hits} | {
                key: held.get_state(legacy=False) if isinstance(held, np.random.RandomState) else held
                for key, held in value.kept.items()
            }
        elif name == "own":
            kept[name] = value.get_state()
        elif name == "listed":
            kept[name] = [value[0].bit_generator.state, value[1].getstate()]
        elif name == "teacher":
            kept[name] = {"state": value[0].state_dict(), "modes": [child.training for child in value[0].modules()]}
    return kept


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths at which two nested results differ in any bit."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if isinstance(one, np.ndarray):
        return [] if np.array_equal(one, other) else [path]
    if isinstance(one, dict):
        unshared = [f"{path}/{key}" for key in sorted(one.keys() ^ other.keys(), key=repr)]
        return unshared + [
            found for key in one.keys() & other.keys() for found in differences(one[key], other[key], f"{path}/{key}")
        ]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [path]
        return [
            found for k, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{path}/{k}")
        ]
    return [] if one == other else [path]


def watcher(root: Path, name: str, **options: Any) -> GWSimilarity:
    """Looks at a few steps, quickly; errors fail the test."""
    chosen = NETS[name][2]
    if chosen is not None and NETS[name][0] in BY_PLACE:
        chosen = [layer.replace("net.", "net.net.", 1) for layer in chosen]
    defaults: dict[str, Any] = {"probe_size": 8, "effort": "fast", "on_error": "raise", "verbose": False}
    defaults |= {"when": [1, 2, 5], "max_overhead": None}  # a busy machine is no reason to look less often
    return GWSimilarity(save_dir=root, layers=chosen, **(defaults | options))


BY_PLACE = [
    NETS[name][0] for name in ("lazy", "augmented", "compiled (eager)", "compiled", "compiled (reduce-overhead)")
]
