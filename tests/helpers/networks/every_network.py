"""Small networks of every kind that a careless look could disturb, each with data of its kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset

CLASSES = 3
WIDTH = 12


class Items(Dataset):
    """Vectors, images or padded token sequences, each item with its own number.

    "noisy" ones are vectors with noise from generators that the data set and its transform keep to themselves.
    """

    def __init__(self, kind: str, n: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.randint(CLASSES, (n,), generator=generator)
        if kind == "tokens":
            lengths = 2 + torch.arange(n) % 5
            mask = torch.arange(6)[None] < lengths[:, None]
            ids = (torch.randint(2, 20, (n, 6), generator=generator) + self.y[:, None]) * mask
            self.inputs = {"input_ids": ids, "attention_mask": mask.long()}
        else:
            shape = {"vectors": (8,), "noisy": (8,), "images": (1, 6, 6), "series": (5, 4)}[kind]
            x = torch.randn(n, *shape, generator=generator)
            self.inputs = {"x": x + self.y.reshape(-1, *[1] * len(shape))}
        self.noise = np.random.default_rng(seed) if kind == "noisy" else None
        self.transforms = [Jitter()] if kind == "noisy" else []

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {name: values[index] for name, values in self.inputs.items()}
        for transform in self.transforms:
            item["x"] = transform(item["x"]) + self.noise.random()
        return item | {"y": self.y[index], "index": index}


class Jitter:
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=self.generator)


class Block(nn.Module):
    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(dropout), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class Normed(nn.Module):
    """Dropout, BatchNorm, spectral norm of both kinds, and counters of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.utils.parametrizations.spectral_norm(nn.Linear(8, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.blocks[1].eval()  # somebody froze a part; it is to stay so
        self.norm = nn.BatchNorm1d(WIDTH)
        self.old = nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.scale = torch.ones(())
        self.calls = 0
        self.trace: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.trace.append(len(x))
        self.seen += len(x)
        self.scale.mul_(0.999)
        noise = torch.rand(()) + random.random() + np.random.rand()
        h = torch.tanh(self.inputs(x))
        for block in self.blocks:
            h = block(h)
        return (
            self.head(self.old(self.norm(h)))
            * self.scale
            * (1 + 0.01 * noise.item() + 1e-4 * (self.calls + len(self.trace)))
        )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(4, WIDTH, num_layers=2, dropout=0.2, batch_first=True)
        self.second = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)[0])[0][:, -1])


def convolutional() -> nn.Module:
    def stage(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.Dropout2d(0.2)
        )

    return nn.Sequential(
        stage(1, 4), stage(4, 4), stage(4, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    )


class Padded(nn.Module):
    """PyTorch's own transformer with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        h = self.encoder(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return self.head(h[:, 0])


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            vocab_size=24, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
        )
        self.bert = transformers.BertModel(config)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.bert(input_ids=input_ids, attention_mask=attention_mask).pooler_output)


def adapted() -> nn.Module:
    """LoRA, whose layers merge their weights when somebody calls ``eval`` or ``merge``."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_dropout=0.2, target_modules=["query", "value"], init_lora_weights=False)
    return peft.get_peft_model(Bert(), config)


class Tied(nn.Module):
    """One weight that embeds and reads out, and one block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, WIDTH)
        self.first, self.block = Block(), Block()
        self.out = nn.Linear(WIDTH, 24, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        h = self.block(self.block(self.first(self.embedding(input_ids))))
        return self.out((h * attention_mask[:, :, None]).mean(1))[:, :CLASSES]


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(8, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inputs(x)
        for k, block in enumerate(self.blocks):
            h = checkpoint(block, h, use_reentrant=k == 1)
        return self.head(h)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, WIDTH), Block(), Block(), nn.Linear(WIDTH, CLASSES))


def compiled(**options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        torch._dynamo.reset()
        return torch.compile(plain(), **options)  # type: ignore[return-value]

    return build


def lazy() -> nn.Module:
    """Lazy modules, run once beforehand as Lightning needs."""
    net = nn.Sequential(nn.LazyLinear(WIDTH), nn.LazyBatchNorm1d(), nn.Dropout(0.2), Block(), nn.LazyLinear(CLASSES))
    net(torch.randn(4, 8))
    return net


_POSITIONS: dict[int, Tensor] = {}


@lru_cache
def causal(length: int) -> Tensor:
    return torch.tril(torch.ones(length, length))


@dataclass
class Store:
    """A cache of a class of its own."""

    hits: int = 0
    kept: dict[str, Any] = field(default_factory=dict)


class Caching(nn.Module):
    """Keeps what it made: in global variables, and within itself in nested containers and an object."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(4, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.nested: dict[str, dict[int, list[float]]] = {"means": {}}
        self.store = Store()
        self.average = {"of inputs": [torch.zeros(4)]}
        self.counts = np.zeros(3)
        _POSITIONS.clear()
        causal.cache_clear()

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if length not in _POSITIONS:
            _POSITIONS[length] = torch.linspace(0, 1, length)[None, :, None]
        means = self.nested["means"].setdefault(len(x), [])
        means.append(float(x.detach().mean()))
        self.store.hits += 1
        self.store.kept.setdefault("first", x.detach().mean())
        self.average["of inputs"][0].lerp_(x.detach().float().mean((0, 1)), 0.1)
        self.counts += 1
        h = self.inputs(x) + _POSITIONS[length].to(x)
        h = (causal(length).to(h) @ h) / length
        for block in self.blocks:
            h = block(h)
        change = means[-1] + 0.01 * len(means) + self.store.kept["first"] + self.counts[0] / 100 + self.store.hits / 100
        return self.head(h[:, -1]) * (1 + 0.1 * change + self.average["of inputs"][0].sum().to(h))


class Generators(nn.Module):
    """Random generators of its own, of every kind, also in a list and in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        self.own = torch.Generator().manual_seed(1)
        self.listed = [np.random.default_rng(2), random.Random(3)]
        self.store = Store(kept={"legacy": np.random.RandomState(4)})

    def forward(self, x: Tensor) -> Tensor:
        noise = self.listed[0].random() + self.listed[1].random() + self.store.kept["legacy"].rand()
        noise = noise + torch.rand(1, generator=self.own).item()
        return self.net(x) * (1 + 0.1 * noise)


class Hiding(nn.Module):
    """A teacher that is kept out of the registered modules, in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        self.teacher = [nn.Sequential(nn.Linear(8, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES))]

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.teacher[0].to(x)(x)
        return self.net(x) + 0.1 * target


class Reviver:
    """Somebody's hook: counts how often it ran, and gives units that put out next to nothing other weights."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, module: nn.Linear, args: Any, output: Tensor) -> None:
        self.ran += 1
        module.weight.data[output.detach().abs().mean(0).argmin()] += 0.01 * self.ran


class Hooked(nn.Module):
    """Watched and mended by hooks of others, of every kind, between PyTorch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.utils.spectral_norm(nn.Linear(8, WIDTH)),
            nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
            nn.Tanh(),
            nn.Linear(WIDTH, CLASSES),
        )
        self.seen: list[float] = []
        self.net[3].register_forward_hook(Reviver())
        self.net[0].register_forward_pre_hook(self.watch, with_kwargs=True)
        self.net[2].register_forward_hook(lambda module, args, output: torch.rand(()) * 0.1 + output)

    def watch(self, module: nn.Module, args: Any, keywords: Any) -> None:
        self.seen.append(float(args[0].detach().mean()))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


#: Name → how to build it, the kind of its data, and the layers to look at (None for those chosen by themselves).
NETS: dict[str, tuple[Callable[[], nn.Module], str, list[str] | None]] = {
    "normed": (Normed, "vectors", ["net.blocks.*", "net.norm", "net.old"]),
    "recurrent": (Recurrent, "series", ["net.first", "net.second"]),
    "convolutional": (convolutional, "images", None),
    "padded transformer": (Padded, "tokens", None),
    "bert": (Bert, "tokens", None),
    "lora": (adapted, "tokens", None),
    "tied": (Tied, "tokens", ["net.first", "net.block"]),
    "checkpointed": (Checkpointed, "vectors", None),
    "lazy": (lazy, "vectors", ["net.0", "net.3", "net.4"]),
    "caching": (Caching, "series", ["net.blocks.*", "net.inputs"]),
    "generators": (Generators, "vectors", ["net.net.*"]),
    "hiding": (Hiding, "vectors", ["net.net.*"]),
    "hooked": (Hooked, "vectors", ["net.net.*"]),
    "augmented": (lambda: plain(), "noisy", ["net.*"]),
    "compiled (eager)": (compiled(backend="eager"), "vectors", ["net.*"]),
    "compiled": (compiled(), "vectors", ["net.*"]),
    "compiled (reduce-overhead)": (compiled(mode="reduce-overhead"), "vectors", ["net.*"]),
}
