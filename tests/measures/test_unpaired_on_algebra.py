"""Planted stages of a trained network, found from layers of which no two need have seen the same input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_gw.groups.finding import find_groups
from lightning_gw.gw import gw_matrix
from lightning_gw.measures import unpaired_gw_matrix
from tasks.algebra import ArithmeticData, StagedArithmetic
from tasks.strategies import StageSupervised

Array = NDArray[np.float64]
INPUTS = 128


@pytest.fixture(scope="module")
def networks() -> list[dict[str, Tensor]]:
    """Two training seeds, each with a head on every layer, and probed with held-out inputs of its own."""
    return [_trained(seed) for seed in (0, 1)]


def _trained(seed: int) -> dict[str, Tensor]:
    pl.seed_everything(seed, verbose=False)
    module, data = StagedArithmetic(), ArithmeticData()
    trainer = pl.Trainer(
        max_steps=350,
        max_epochs=-1,
        gradient_clip_val=1.0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[StageSupervised()],
    )
    trainer.fit(module, data)
    loader = data.val_dataloader()
    assert isinstance(loader, DataLoader)
    held_out: Dataset[tuple[Tensor, Tensor]] = loader.dataset
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    chosen = order[seed * INPUTS : (seed + 1) * INPUTS]
    with torch.no_grad():
        states = module.model(torch.stack([held_out[int(k)][0] for k in chosen]))
    return {f"{k + 1}": state for k, state in enumerate(states)}


STAGES = StagedArithmetic().stage_of_layer


def cut_in_three(distance: Array) -> list[int]:
    """The best contiguous cut into the number of blocks that were planted, which is told: the modularity of groups."""
    costs = distance**4
    mean = costs[np.triu_indices(9, 1)].mean()

    def quality(ends: tuple[int, int]) -> float:
        blocks = [costs[a:b, a:b] for a, b in itertools.pairwise((0, *ends, 9))]
        return float(sum(np.triu(mean - block, 1).sum() / len(block) for block in blocks))

    first, second = max(itertools.combinations(range(1, 9), 2), key=quality)
    return [int(k >= first) + int(k >= second) for k in range(9)]


def identity_of_halves(layers: dict[str, Tensor], splits: int) -> Array:
    """The same halves, paired by their place and debiased alike: what a paired measure makes of unpaired inputs."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(splits):
        order = torch.randperm(INPUTS, generator=generator)
        first, second = ({k: x[half] for k, x in layers.items()} for half in order.split(INPUTS // 2))
        values = gw_matrix(first, second, geometry="cka", effort="fast", bounds=None).identity
        debiased = values - (np.diag(values)[:, None] + np.diag(values)[None]) / 2
        found.append((debiased + debiased.T) / 2)
    return np.asarray(np.sqrt(np.maximum(np.mean(found, axis=0), 0)))


@pytest.mark.slow
def test_halves_of_64_inputs_show_the_stages_to_gromov_wasserstein_only(networks: list[dict[str, Tensor]]) -> None:
    found, told, paired = [], [], []
    for layers in networks:
        matrix = unpaired_gw_matrix(layers)
        assert matrix.half == 64
        found.append(adjusted_rand_score(STAGES, find_groups(matrix.resolved_distance).labels))
        told.append(adjusted_rand_score(STAGES, cut_in_three(matrix.distance)))
        paired.append(adjusted_rand_score(STAGES, cut_in_three(identity_of_halves(layers, matrix.splits))))
    assert np.mean(told) >= 0.9
    # Without being told how many, one of the two networks loses its first boundary, the smallest step.
    assert min(found) >= 0.5
    assert max(found) >= 0.9
    assert np.mean(paired) <= 0.75


@pytest.mark.slow
def test_an_untrained_network_has_no_groups_unpaired() -> None:
    pl.seed_everything(3, verbose=False)
    inputs = torch.randint(11, (INPUTS, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = StagedArithmetic().model(inputs)
    matrix = unpaired_gw_matrix({f"{k}": state for k, state in enumerate(states)})
    assert find_groups(matrix.resolved_distance).strength == "none"


@pytest.mark.slow
def test_layers_find_their_stage_in_another_network_with_another_probe(networks: list[dict[str, Tensor]]) -> None:
    stages = np.array(STAGES)

    def share_in_the_same_stage(values: Array) -> float:
        rows, columns = stages[values.argmin(axis=1)] == stages, stages[values.argmin(axis=0)] == stages
        return float((rows.mean() + columns.mean()) / 2)

    first, second = networks
    assert share_in_the_same_stage(unpaired_gw_matrix(first, second).debiased) >= 0.9
    paired = gw_matrix(first, second, geometry="cka", effort="fast", bounds=None).identity
    assert share_in_the_same_stage(paired) <= 0.75
