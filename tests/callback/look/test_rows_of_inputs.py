"""Networks whose batches and layers have other rows than one tensor per input: images, graphs, packed texts, atoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from callback_nets import Block, steps, trainer, watcher
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_gw import load_representations

pytestmark = pytest.mark.usefixtures("few_draws")


class Base(pl.LightningModule):
    """Three blocks of width 12, on whatever rows its batches have."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inputs = nn.Linear(8, 12)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(12, 1)

    def run(self, x: Tensor) -> Tensor:
        h = self.inputs(x)
        for block in self.blocks:
            h = block(h)
        return h

    def step(self, batch: Any) -> Tensor:
        return self.head(self.run(batch)).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-2)


def sized(count: int) -> list[Tensor]:
    """Items of 2 to 4 rows each."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2 + k % 3, 8, generator=generator) for k in range(count)]


class Detector(Base):
    """As in detection: a list of images, each of a size of its own, resized on the way."""

    collate = staticmethod(lambda items: ([item[None].expand(3, -1, -1) for item in items], ["target"] * len(items)))

    def step(self, batch: Any) -> Tensor:
        images, _ = batch
        return super().step(torch.stack([image.mean((0, 1)) for image in images]))


class Texts(Base):
    """Nothing but texts; the step tokenizes them."""

    @staticmethod
    def collate(items: list[Tensor]) -> dict[str, list[str]]:
        return {"text": [" ".join("ab"[int(value > 0)] for value in item.flatten()) for item in items]}

    def step(self, batch: Any) -> Tensor:
        codes = [[float(word == "a") for word in text.split()[:8]] for text in batch["text"]]
        noise = torch.tensor([[len(text) / 100] for text in batch["text"]])
        return super().step(torch.tensor(codes) + noise)


@dataclass
class GraphBatch:
    """As PyTorch Geometric's."""

    x: Tensor
    batch: Tensor
    num_graphs: int

    def to(self, device: Any) -> GraphBatch:
        return GraphBatch(self.x.to(device), self.batch.to(device), self.num_graphs)


def graphs(items: list[Tensor]) -> GraphBatch:
    index = torch.cat([torch.full((len(item),), k) for k, item in enumerate(items)])
    return GraphBatch(torch.cat(items), index, len(items))


class Graphs(Base):
    """Layers of nodes, and a head of graphs."""

    collate = staticmethod(graphs)

    def step(self, batch: Any) -> Tensor:
        h = self.run(batch.x)
        return self.head(torch.stack([h[batch.batch == k].mean(0) for k in range(batch.num_graphs)])).square().mean()


def packed(items: list[Tensor]) -> dict[str, Tensor]:
    return {
        "inputs_embeds": torch.cat(items)[None],
        "position_ids": torch.cat([torch.arange(len(item)) for item in items])[None],
    }


class Packed(Base):
    """As DataCollatorWithFlattening makes them: all texts of a batch one behind the other, in one row."""

    collate = staticmethod(packed)

    def step(self, batch: Any) -> Tensor:
        return super().step(batch["inputs_embeds"])


class Weighted(Base):
    """Class weights first, and batches made by the data set itself, so that nobody knows what was put together."""

    def step(self, batch: Any) -> Tensor:
        weights, x = batch
        return super().step(x) * weights.mean()


EXPECTED = torch.stack([item.mean(0) for item in sized(40)])
EXAMPLES: dict[str, tuple[Callable[[], Base], int, str | None]] = {
    "list of images": (Detector, 16, None),
    "texts only": (Texts, 16, None),
    "graphs": (Graphs, 16, "graphs"),
    "packed": (Packed, 16, "packed sequences"),
}


def fit(root: Path, module: Base, data: Any = None, **options: Any) -> Any:
    callback = watcher(root, when=[2], **({"probe_size": 16, "keep_representations": True} | options))
    data = data or DataLoader(sized(40), 8, collate_fn=module.collate)
    trainer(root, callback, max_epochs=1).fit(module, data, data)
    return callback


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.representatives("graphs", "packed")
def test_rows_are_inputs_whatever_a_batch_is_made_of(tmp_path: Path, name: str) -> None:
    build, size, rule = EXAMPLES[name]
    module = build()
    callback = fit(tmp_path, module)
    record = callback.history[-1]
    assert record.probe["size"] == size
    assert record.probe.get("rows") == rule
    assert {f"blocks.{k}" for k in range(3)} <= set(record.layers)
    kept = load_representations(tmp_path).layers
    assert all(values.shape[0] == size for values in kept.values())


def test_nodes_are_pooled_by_their_graph(tmp_path: Path) -> None:
    module = Graphs()
    fit(tmp_path, module, layers=["inputs", "blocks.*"], pooling="mean", probe_size=40)
    kept = load_representations(tmp_path).layers["inputs"]
    expected = module.inputs(EXPECTED).detach()
    distances = torch.cdist(torch.as_tensor(kept), expected, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(1).values.max() < 1e-5
    assert distances.argmin(1).sort().values.tolist() == list(range(40))


def test_layers_decide_where_a_batch_does_not_tell(tmp_path: Path) -> None:
    batches = [(torch.ones(3), torch.randn(8, 8)) for _ in range(5)]
    callback = fit(tmp_path, Weighted(), DataLoader(batches, batch_size=None))
    assert callback.history[0].probe["rows"] == "rows of [1]"
    assert callback.history[0].probe["size"] == 16


class Atoms(Base):
    """Every layer has one row per atom, and nothing says which molecule an atom belongs to."""

    collate = staticmethod(lambda items: {"position": torch.cat(items), "energy": torch.zeros(len(items))})

    def step(self, batch: Any) -> Tensor:
        return super().step(batch["position"])


@pytest.mark.slow
def test_layers_keep_a_unit_of_their_own_that_all_of_them_share(tmp_path: Path) -> None:
    callback = fit(tmp_path / "atoms", Atoms())
    record = callback.history[0]
    assert record.probe["rows"] == "the layers' own rows"
    assert record.probe["size"] == 16, "as many as were asked for, drawn from all of them"
    again = fit(tmp_path / "again", Atoms()).history[0]
    assert record.probe == again.probe
    told = fit(tmp_path / "told", Atoms(), rows=lambda batch: molecules(len(batch["position"])))
    assert told.history[0].probe["rows"].startswith("rows=")
    assert told.history[0].probe["size"] == 16


def molecules(atoms: int) -> Tensor:
    return torch.arange(atoms) // 2


def test_one_graph_alone_is_seen_by_its_nodes(tmp_path: Path) -> None:
    module = Graphs()
    one = DataLoader([torch.randn(30, 8)], 1, collate_fn=graphs)
    callback = fit(tmp_path, module, one, layers=["inputs", "blocks.*"], probe_size=None)
    assert callback.history[0].probe["size"] == 30
    assert callback.history[0].probe["rows"] == "the layers' own rows"


class Halves(Base):
    """Its layers disagree: half of them have one row per item, the other half two, and no batch says which."""

    collate = staticmethod(lambda items: {"a": torch.stack([item[0] for item in items])})

    def step(self, batch: Any) -> Tensor:
        h = self.blocks[0](self.inputs(batch["a"].repeat(3, 1)))
        return self.head(self.blocks[1](h.repeat(2, 1))).square().mean()


@pytest.mark.slow
def test_where_nothing_fits_there_are_no_looks_and_training_goes_on(tmp_path: Path) -> None:
    module = Halves()
    with pytest.warns(UserWarning, match=r"does not look at this network.*expected one row per.*rows=\.\.\.\)"):
        callback = fit(tmp_path, module, on_error="warn", layers=["blocks.0", "blocks.1"])
    assert not callback.history
    assert module.trainer.global_step == 5
    remedied = fit(tmp_path / "again", Halves(), layers=["inputs", "blocks.0"], rows=lambda batch: 3 * len(batch["a"]))
    assert steps(remedied) == [0, 2, 5]


class Sequences(Base):
    """Puts out a mapping whose sequences lie along the first dimension."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"length": len(x), "states": self.block(x)}

    collate = staticmethod(lambda items: torch.stack([item[:2] for item in items], 1))  # (t, n, d)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self.Wrapped() for _ in range(3))

    def run(self, x: Tensor) -> Tensor:
        h = self.inputs(x)
        for block in self.blocks:
            h = block(h)["states"]
        return h


@pytest.mark.slow
def test_a_pooling_function_gets_what_the_layer_put_out(tmp_path: Path) -> None:
    shapes: list[Any] = []

    def last(output: Any, mask: Any) -> Tensor:
        shapes.append(sorted(output))
        return output["states"][-1]

    callback = fit(tmp_path, Sequences(), layers="blocks.*", pooling=last)
    assert shapes[0] == ["length", "states"]
    assert callback.history[0].probe["size"] == 16

    def of_tensors(output: Any, mask: Any) -> Tensor:
        return output.mean(0)

    assert steps(fit(tmp_path / "tensors", Sequences(), layers="blocks.*", pooling=of_tensors)) == [0, 2, 5]


class OncePerClass(Base):
    """Sees every input once with each of three classes: of its encoders only the first has a row per input."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12)) for _ in range(2))

    def run(self, x: Tensor) -> Tensor:
        found = self.blocks[0](self.inputs(x))
        return self.blocks[1](found.repeat_interleave(3, 0)).view(len(x), 3, -1).mean(1)


def test_where_too_few_blocks_have_rows_of_inputs_others_are_looked_at(tmp_path: Path) -> None:
    data = DataLoader(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), 8)  # type: ignore[arg-type, var-annotated]
    callback = watcher(tmp_path, when=[2])
    trainer(tmp_path, callback, max_epochs=1).fit(OncePerClass(), data, data)
    assert list(callback.history[0].layers) == ["inputs", "blocks.0.1", "blocks.0.2", "head"]
    assert "blocks.1 (no row per input)" in callback.history[0].probe["left_out"]
