"""Cells and molecules: scvi-tools and chemprop, each with batches of its own kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from registry import configuration, fit, settings
from torch import nn


def cells() -> Any:
    """Counts of 50 genes in 96 cells of two batches and three types."""
    import anndata

    generator = np.random.default_rng(0)
    kinds = np.arange(96) % 3
    rates = np.exp(generator.normal(size=(3, 50)))
    counts = generator.poisson(rates[kinds]).astype(np.float32)
    observed = {"batch": (np.arange(96) % 2).astype(str), "kind": kinds.astype(str)}
    return anndata.AnnData(counts, obs=observed)


def variational(name: str, callbacks: list[Any], folder: Path, **arguments: Any) -> nn.Module:
    import scvi

    scvi.settings.seed = 0  # which splits its data, and would not twice alike without

    data, kind = cells(), getattr(scvi.model, name)
    more = {"labels_key": "kind", "unlabeled_category": "unknown"} if name == "SCANVI" else {}
    kind.setup_anndata(data, batch_key="batch", **more)
    model = kind(data, n_latent=4, **arguments)
    trainer = settings(callbacks, folder)
    model.train(batch_size=16, check_val_every_n_epoch=1, **trainer)
    return model.module


SCVI: dict[str, dict[str, Any]] = {
    "SCVI": {"n_layers": 3, "n_hidden": 32},
    "LinearSCVI": {"n_layers": 2, "n_hidden": 32},
    "SCANVI": {"n_layers": 2, "n_hidden": 32},
}

for name, given in SCVI.items():

    @configuration("scvi-tools", name)
    def _(callbacks: list[Any], folder: Path, name: str = name, given: dict[str, Any] = given) -> nn.Module:
        return variational(name, callbacks, folder, **given)


@configuration("chemprop", "message passing on molecules")
def molecules(callbacks: list[Any], folder: Path) -> nn.Module:
    from chemprop import data, models
    from chemprop import nn as parts

    chains = ["C" * k + end for k in range(2, 10) for end in ("O", "N", "C(=O)O", "c1ccccc1")]
    points = [data.MoleculeDatapoint.from_smi(smiles, [float(len(smiles))]) for smiles in chains]
    dataset = data.MoleculeDataset(points)
    train = data.build_dataloader(dataset, batch_size=8, shuffle=True, num_workers=0)
    validate = data.build_dataloader(dataset, batch_size=8, shuffle=False, num_workers=0)
    network = parts.BondMessagePassing(d_h=32, depth=4)
    head = parts.RegressionFFN(input_dim=32, hidden_dim=32, n_layers=3)
    return fit(models.MPNN(network, parts.MeanAggregation(), head), train, validate, callbacks, folder)
