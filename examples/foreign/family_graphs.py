"""Graph networks of PyTorch Geometric: one label a graph, and one label a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from registry import configuration, fit
from torch import Tensor, nn


def graphs(count: int = 32) -> list[Any]:
    """Rings with chords, each with 5 to 12 nodes; the label says whether there are more than eight."""
    from torch_geometric.data import Data

    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        nodes = int(torch.randint(5, 13, (), generator=generator))
        ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
        chords = torch.randint(nodes, (2, nodes // 2), generator=generator)
        edges = torch.cat([ring, ring.flip(0), chords], dim=1)
        x = torch.randn(nodes, 8, generator=generator)
        made.append(Data(x=x, edge_index=edges, y=torch.tensor([int(nodes > 8)]), node_y=(x[:, 0] > 0).long()))
    return made


class Graphs(LightningModule):
    """Batches are graphs as PyTorch Geometric joins them; forward takes their parts."""

    def __init__(self, convolution: str, nodes: bool = False) -> None:
        super().__init__()
        from torch_geometric import nn as geometric

        def layer(width: int) -> nn.Module:
            if convolution == "GINConv":
                return geometric.GINConv(nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 16)))
            return getattr(geometric, convolution)(width, 16)

        self.convolutions = nn.ModuleList([layer(8), layer(16), layer(16), layer(16)])
        self.head = nn.Linear(16, 2)
        self.nodes = nodes

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        for convolution in self.convolutions:
            x = convolution(x, edge_index).relu()
        return self.head(x if self.nodes else global_mean_pool(x, batch))

    def _loss(self, data: Any) -> Tensor:
        found = self(data.x, data.edge_index, data.batch)
        return nn.functional.cross_entropy(found, data.node_y if self.nodes else data.y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch), batch_size=batch.num_graphs)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


for convolution, nodes in (("GCNConv", False), ("GINConv", False), ("SAGEConv", True)):

    @configuration("torch-geometric", f"{convolution}, a label a {'node' if nodes else 'graph'}")
    def _(callbacks: list[Any], folder: Path, convolution: str = convolution, nodes: bool = nodes) -> nn.Module:
        from torch_geometric.loader import DataLoader

        data = graphs()
        loaders = DataLoader(data, 8, shuffle=True), DataLoader(data, 8)
        return fit(Graphs(convolution, nodes), *loaders, callbacks, folder)
