"""One group trained, in full or by adapters, beside a random block of about as many parameters."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, seed_everything

from benchmarks.using_groups.base import Base
from benchmarks.using_groups.networks import Clock, build, fit, held_out, measured, parameters_of
from benchmarks.using_groups.plan import Network
from benchmarks.using_groups.rules import random_block
from tasks.strategies import Lora, TrainBlock

#: Rank of the adapters.
RANK = 4
#: Adapters begin at nothing and learn at so many times the rate of the weights, as is usual.
ADAPTER_RATE = 10.0


def measure_fine_tuning(base: Base, network: Network, seed: int, case: str) -> dict[str, Any]:
    """Fine-tune a part of the network, and follow what it reaches.

    A network that came with weights is fine-tuned as it came; another one on a task that differs from its own, from
    the weights it was left with. The group is the last one: what reads it trains in every arm, and nothing else does.

    Args:
        base: The network; it stays what it is.
        network: Which it is.
        seed: Of the random block, and of the order of training.
        case: ``fine-tuning/ARM``.

    Returns:
        First and last of the ``trained`` layers (from 0), ``parameters`` that trained, processor ``seconds`` of all
        steps, ``curve`` (see `Clock`), and ``accuracy`` and ``loss`` at the end.
    """
    assert network.fine_tuning is not None
    arm = case.split("/")[1]
    settings = network.fine_tuning
    module, data = build(network, seed, settings.get("model"), settings.get("data"))
    labels = base.look["first_labels" if network.pretrained else "labels"]
    if not network.pretrained:
        load_what_fits(module, base.module.state_dict())
    batches = held_out(data)
    if arm.startswith("LoRA"):
        for name in {"learning_rate", "encoder_learning_rate"} & set(module.hparams):
            module.hparams[name] *= ADAPTER_RATE
    block = trained_block(arm, labels, parameters_of(module.layers), seed)
    clock = Clock(lambda it, trainer: measured(it, batches, network.accuracy, trainer), settings["steps"])
    seed_everything(seed, verbose=False)
    fit(module, data, settings["steps"], [clock, *_callbacks(arm, block)])
    return {
        "trained": [block[0], block[-1]],
        "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "seconds": clock.seconds,
        "curve": clock.curve,
        **{name: clock.curve[-1][name] for name in ("accuracy", "loss")},
    }


def trained_block(arm: str, labels: list[int], sizes: list[int], seed: int) -> range:
    """The layers that an arm trains."""
    if arm == "everything":
        return range(len(labels))
    group = range(labels.index(labels[-1]), len(labels))
    return random_block(group, sizes, seed) if "random" in arm else group


def _callbacks(arm: str, block: range) -> list[Callback]:
    if arm == "everything":
        return []
    if arm.startswith("LoRA"):
        return [Lora(rank=RANK, first=block[0], last=block[-1])]
    return [TrainBlock(block[0], block[-1])]


def load_what_fits(module: Any, weights: dict[str, Any]) -> None:
    """Take over all weights that the module has in the same shape."""
    own = module.state_dict()
    module.load_state_dict({**own, **{k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}})
