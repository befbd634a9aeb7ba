"""GromovWassersteinMatrix: batches, processes and torchmetrics' own machinery change nothing about the matrix."""

from __future__ import annotations

import csv
import pickle
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from metric_on_ranks import LAYERS, assert_same, fed, inputs, rows
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

import lightning_gw as lgw
from lightning_gw import GromovWassersteinMatrix, GWMatrix, gw_matrix

NO_GROUPS = "No groups, similarity falls off smoothly"


@pytest.mark.parametrize("sizes", [(24,), (8, 8, 8), (1, 20, 3)])
def test_batches_of_any_size_are_the_whole(sizes: tuple[int, ...]) -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS), inputs(), *sizes)
    assert_same(metric.compute(), gw_matrix(inputs()))
    assert metric.inputs_seen == 24


def test_options_reach_the_search() -> None:
    options: dict[str, Any] = {"geometry": "cka", "effort": "fast", "bounds": None, "anchor": 0.3, "seed": 5}
    found = fed(GromovWassersteinMatrix(LAYERS, **options), inputs(), 24).compute()
    assert_same(found, gw_matrix(inputs(), **options))
    assert (found.geometry, found.anchor, found.lower.max()) == ("cka", 0.3, 0)


def test_layers_stand_in_the_order_they_were_named_in() -> None:
    metric = fed(GromovWassersteinMatrix(reversed(LAYERS)), inputs(), 24)
    assert metric.compute().layers == ("head", "a.1", "a.0")


def test_a_result_is_kept_until_the_next_update() -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS), inputs(), 12)
    once = metric.compute()
    assert metric.compute() is once
    metric.update(rows(inputs(), 12, 24))
    assert_same(metric.compute(), gw_matrix(inputs()))


def test_forward_compares_the_batch_and_adds_it() -> None:
    metric = GromovWassersteinMatrix(LAYERS)
    for first in (0, 8, 16):
        batch = rows(inputs(), first, first + 8)
        assert_same(metric(batch), gw_matrix(batch))
    assert_same(metric.compute(), gw_matrix(inputs()))


def test_representations_with_a_history_of_gradients_are_cut_from_it() -> None:
    layers = {name: x.clone().requires_grad_() for name, x in inputs().items()}
    metric = GromovWassersteinMatrix(LAYERS)
    assert_same(metric(layers), gw_matrix(inputs()))
    assert not any(x.requires_grad for x in metric.metric_state["representations.head"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_any_real_type(dtype: torch.dtype) -> None:
    layers = {name: (4 * x).to(dtype) for name, x in inputs().items()}
    assert_same(fed(GromovWassersteinMatrix(LAYERS), layers, 10, 14).compute(), gw_matrix(layers))


def test_a_constant_layer_is_named() -> None:
    layers = {**inputs(), "a.1": torch.ones(24, 2)}
    found = fed(GromovWassersteinMatrix(LAYERS), layers, 12, 12).compute()
    assert "constant" in found.degenerate["a.1"]
    assert np.isnan(found.distortion[0, 1])


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_to_compare_is_said() -> None:
    metric = GromovWassersteinMatrix(LAYERS)
    with pytest.raises(ValueError, match="no inputs to compare"):
        metric.compute()
    fed(metric, inputs(), 24).compute()
    metric.reset()
    assert metric.inputs_seen == 0
    with pytest.raises(ValueError, match="no inputs to compare"):
        metric.compute()
    metric.update(rows(inputs(), 0, 3))
    with pytest.raises(ValueError, match="3 inputs are too few"):
        metric.compute()
    metric.reset()
    assert_same(fed(metric, inputs(), 24).compute(), gw_matrix(inputs()))


def test_inputs_beyond_the_limit_are_left_out_and_counted() -> None:
    expected = gw_matrix(rows(inputs(), 0, 10))
    metric = fed(GromovWassersteinMatrix(LAYERS, max_inputs=10), inputs(), 8, 8, 8)
    with pytest.warns(UserWarning, match=r"the first 10 of 24 inputs \(max_inputs=10\)"):
        assert_same(metric.compute(), expected)
    assert metric.inputs_seen == 24
    assert all(len(torch.cat(metric.metric_state[f"representations.{name}"])) == 10 for name in LAYERS)

    forward = GromovWassersteinMatrix(LAYERS, max_inputs=10)
    for first in (0, 8, 16):
        forward(rows(inputs(), first, first + 8))
    assert all(len(torch.cat(forward.metric_state[f"representations.{name}"])) == 10 for name in LAYERS)
    with pytest.warns(UserWarning, match="the first 10 of 24"):
        assert_same(forward.compute(), expected)


@pytest.mark.parametrize("limit", [None, 24])
def test_nothing_is_said_where_nothing_is_left_out(limit: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fed(GromovWassersteinMatrix(LAYERS, max_inputs=limit), inputs(), 12, 12).compute()


def test_rows_left_out_do_not_stay_in_memory() -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS, max_inputs=4), inputs(), 24)
    kept = metric.metric_state["representations.head"][0]
    assert kept.untyped_storage().nbytes() == 4 * 2 * 4


def copied(metric: GromovWassersteinMatrix, way: str) -> GromovWassersteinMatrix:
    if way == "pickle":
        return pickle.loads(pickle.dumps(metric))
    if way == "state_dict":
        metric.persistent(True)
        other = GromovWassersteinMatrix(LAYERS)
        other.persistent(True)
        other.load_state_dict(metric.state_dict())
        other._update_count = metric.update_count  # torchmetrics keeps no count in a state dict
        return other
    return {"deepcopy": deepcopy, "clone": GromovWassersteinMatrix.clone, "to": lambda m: m.to("cpu")}[way](metric)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "clone", "to", "state_dict"])
@pytest.mark.parametrize("computed", [False, True])
def test_a_copy_goes_on_where_the_metric_was(way: str, computed: bool) -> None:
    metric = GromovWassersteinMatrix(LAYERS)
    metric(rows(inputs(), 0, 12))
    if computed:
        metric.compute()
    copy = copied(metric, way)
    assert_same(copy.compute(), gw_matrix(rows(inputs(), 0, 12)))
    copy.update(rows(inputs(), 12, 24))
    assert_same(copy.compute(), gw_matrix(inputs()))


def test_states_follow_a_change_of_type() -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS), inputs(), 24)
    metric.compute()
    metric.set_dtype(torch.float64)
    assert metric.metric_state["representations.head"][0].dtype == torch.float64
    assert metric.compute().couplings.shape == (3, 3, 24)


def test_two_metrics_merge() -> None:
    first = fed(GromovWassersteinMatrix(LAYERS), inputs(), 10)
    second = GromovWassersteinMatrix(LAYERS)
    second.update(rows(inputs(), 10, 24))
    second.merge_state(first)
    assert second.inputs_seen == 24
    assert_same(second.compute(), gw_matrix(inputs()))


def test_metrics_of_a_collection_share_inputs_only_if_they_keep_the_same() -> None:
    collection = MetricCollection(
        {
            "rsa": GromovWassersteinMatrix(LAYERS, effort="fast"),
            "cka": GromovWassersteinMatrix(LAYERS, geometry="cka", effort="fast"),
            "few": GromovWassersteinMatrix(LAYERS, effort="fast", max_inputs=16),
        },
        prefix="val/",
    )
    for first in (0, 12):
        collection.update(rows(inputs(), first, first + 12))
    assert sorted(map(sorted, collection.compute_groups.values())) == [["cka", "rsa"], ["few"]]
    with pytest.warns(UserWarning, match="first 16 of 24"):
        found = collection.compute()
    assert_same(found["val/rsa"], gw_matrix(inputs(), effort="fast"))
    assert_same(found["val/cka"], gw_matrix(inputs(), geometry="cka", effort="fast"))
    assert_same(found["val/few"], gw_matrix(rows(inputs(), 0, 16), effort="fast"))


@pytest.mark.parametrize(
    ("batch", "error", "said"),
    [
        ({"a.0": torch.ones(4, 6), "a.1": torch.ones(4, 9)}, ValueError, "lacks 'head'"),
        ({**inputs(4), "haed": torch.ones(4, 1)}, ValueError, r"has 'haed', which .* Near names: head"),
        ({**inputs(4), "head": torch.ones(5, 2)}, ValueError, "'a.0': 4, 'a.1': 4, 'head': 5"),
        ({**inputs(4), "head": torch.ones(4)}, ValueError, r"'head' has shape \(4,\); expected \(batch, d\)"),
        ({**inputs(4), "head": torch.ones(4, 3)}, ValueError, "'head' is 3 wide, but was 2 wide"),
        ({**inputs(4), "head": torch.ones(4, 2, dtype=torch.bool)}, TypeError, r"'head' is torch\.bool"),
        ({**inputs(4), "head": np.ones((4, 2))}, TypeError, "'head' is ndarray"),
        (list(inputs(4).values()), TypeError, "to be a mapping of layer names"),
    ],
)
def test_a_batch_that_cannot_be_right_is_refused_whole(batch: Any, error: type[Exception], said: str) -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS), inputs(), 24)
    with pytest.raises(error, match=said):
        metric.update(batch)
    assert_same(metric.compute(), gw_matrix(inputs()))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"layers": []}, ValueError, "it is empty"),
        ({"layers": "head"}, TypeError, "the string 'head'"),
        ({"layers": ["a", 1]}, TypeError, "but got 1"),
        ({"layers": ["a", "b", "a"]}, ValueError, "come again: \\['a'\\]"),
        ({"geometry": "round"}, ValueError, "Unknown geometry 'round'"),
        ({"effort": "some"}, ValueError, "`effort` .* got 'some'"),
        ({"bounds": "loose"}, ValueError, "`bounds` .* got 'loose'"),
        ({"anchor": -1.0}, ValueError, "`anchor` .* got -1"),
        ({"max_inputs": 3}, ValueError, "`max_inputs` .* got 3"),
        ({"colour": "red"}, ValueError, "Unexpected keyword arguments: `colour`"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        GromovWassersteinMatrix(**{"layers": LAYERS, **options})


@pytest.mark.representatives("standardized")
@pytest.mark.parametrize("geometry", ["standardized", "euclidean", "cka"])
def test_plot_draws_the_projects_own_figure(geometry: str, tmp_path: Path) -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS, geometry=geometry, effort="fast"), inputs(), 24)
    figure, axes = metric.plot()
    figure.savefig(tmp_path / "matrix.png")
    shown = axes.images[0].get_array()
    similarity = metric.compute().to("standardized") if geometry == "euclidean" else metric.compute()
    np.testing.assert_allclose(np.triu(shown), np.triu(similarity.similarity))
    groups = lgw.find_groups(metric.compute())
    title = axes.get_title(loc="left")  # a metric knows no steps
    assert title == (f"Two groups, {groups.ranges()} (weak)" if groups.count == 2 else NO_GROUPS)
    assert "How to read" in figure.get_supxlabel()
    assert metric.plot(metric.compute())[0] is not figure


def test_plot_names_a_layer_that_is_left_out() -> None:
    layers = {**inputs(), "a.1": torch.ones(24, 2)}
    figure, _ = fed(GromovWassersteinMatrix(LAYERS, effort="fast"), layers, 24).plot()
    assert "left out: a.1 (it is constant" in figure.get_supxlabel()


def test_plot_refuses_what_it_cannot_draw() -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS, effort="fast"), inputs(), 24)
    with pytest.raises(TypeError, match="one GWMatrix, but got list"):
        metric.plot([metric.compute()])  # type: ignore[arg-type]


def test_plot_draws_into_axes_that_are_given() -> None:
    metric = fed(GromovWassersteinMatrix(LAYERS, effort="fast"), inputs(), 24)
    axes = Figure().add_subplot()
    figure, drawn = metric.plot(ax=axes)
    assert figure is axes.figure
    assert drawn is axes
    assert len(axes.get_images()) == 1


class Watched(pl.LightningModule):
    """A tiny classifier that compares its layers at the end of every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)])
        self.head = nn.Linear(6, 2)
        self.gw = GromovWassersteinMatrix([f"blocks.{k}" for k in range(3)], effort="fast")
        self.found: list[GWMatrix] = []

    def hidden(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for k, block in enumerate(self.blocks):
            x = found[f"blocks.{k}"] = block(x)
        return found

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.hidden(batch[0])["blocks.2"]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.gw.update(self.hidden(batch[0]))

    def on_validation_epoch_end(self) -> None:
        matrix = self.gw.compute()
        self.gw.reset()
        self.log("gw/ends", matrix.similarity[0, -1].item())
        self.log("gw/groups", float(lgw.find_groups(matrix).count))
        if not self.trainer.sanity_checking:
            self.found.append(matrix)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def test_in_a_trainer_the_numbers_reach_the_modules_own_logger(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    x = torch.randn(40, 6)
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=16)
    module = Watched()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, data, data)
    with (Path(trainer.logger.log_dir) / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row.get("gw/ends")]
    assert len(logged) == len(module.found) == 3
    ends = [matrix.similarity[0, -1] for matrix in module.found]
    np.testing.assert_allclose([float(row["gw/ends"]) for row in logged], ends, rtol=1e-6)
    assert len(set(ends)) == 3  # training moves the layers
    with torch.no_grad():
        assert_same(module.found[-1], gw_matrix(module.hidden(x), effort="fast"))
    assert not any(name.startswith("gw") for name in module.state_dict())
