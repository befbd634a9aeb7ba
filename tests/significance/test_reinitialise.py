"""Fresh weights: drawn anew in every way there is, while the live network and the random states stay as they are."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from significance_nets import CustomStart, Drift, snapshot
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from lightning_gw.significance import Reinitialiser, looks_pretrained, reinitialised
from tasks.algebra.module import StagedArithmetic

parametrizations = nn.utils.parametrizations


def tiny_bert() -> BertModel:
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=60,
        max_position_embeddings=20,
        initializer_range=0.3,
    )
    return BertModel(config)


def older_norms() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 6)), nn.utils.weight_norm(nn.Linear(6, 6)))


def newer_norms() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(6, 6)),
        parametrizations.weight_norm(nn.Linear(6, 6)),
        parametrizations.orthogonal(nn.Linear(6, 6)),
    )


NETWORKS = {
    "staged arithmetic": (StagedArithmetic, "rebuilt from hyperparameters"),
    "custom start": (CustomStart, "rebuilt from hyperparameters"),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3)),
        "reset_parameters",
    ),
    "transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        "reset_parameters",
    ),
    "lstm": (lambda: nn.LSTM(3, 5, num_layers=2), "reset_parameters"),
    "older norms": (older_norms, "reset_parameters"),
    "newer norms": (newer_norms, "reset_parameters"),
    "bert": (tiny_bert, "transformers config"),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    module = NETWORKS[name][0]()
    if name == "batch norm":
        module(torch.randn(2, 1, 6, 6))  # the lazy layer takes its shape, batch norm its first statistics
    return module


def spread(module: nn.Module) -> dict[str, float]:
    return {name: float(p.detach().std()) for name, p in module.named_parameters() if p.numel() >= 64}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_fresh_weights_differ_repeat_and_leave_everything_as_it_was(name: str) -> None:
    module, way = built(name), NETWORKS[name][1]
    before, states = snapshot(module), (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    fresh = Reinitialiser(module)
    one, again, other = fresh.draw(1), fresh.draw(1), fresh.draw(2)
    assert fresh.way == way
    assert fresh.notes == ()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    after = module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not {id(p) for p in one.parameters()} & {id(p) for p in module.parameters()}
    assert type(one) is type(module)
    for key, weight in dict(one.named_parameters()).items():
        assert torch.equal(weight, dict(again.named_parameters())[key])
        assert weight.requires_grad == dict(module.named_parameters())[key].requires_grad
    # Of what the layers really compute with, every matrix is drawn anew.
    for key, child in one.named_modules():
        weight = getattr(child, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            assert not torch.equal(weight, other.get_submodule(key).weight)
            assert not torch.equal(weight, module.get_submodule(key).weight)
    for key, size in spread(module).items():
        assert spread(one)[key] == pytest.approx(size, rel=0.5)


def test_batch_norm_forgets_its_statistics() -> None:
    module = built("batch norm")
    module.train()
    module(5 + torch.randn(8, 1, 6, 6))
    fresh = reinitialised(module, 1)
    assert float(module[1].running_mean.abs().max()) > 0
    assert torch.equal(fresh[1].running_mean, torch.zeros(4))
    assert module.training
    assert fresh.training


def test_the_older_norms_compute_with_what_was_drawn() -> None:
    fresh = reinitialised(built("older norms"), 1)
    x = torch.randn(5, 6)
    fresh.eval()
    weight = fresh[1].weight_g * fresh[1].weight_v / fresh[1].weight_v.norm(dim=1, keepdim=True)
    assert torch.allclose(fresh[1](x), x @ weight.T + fresh[1].bias, atol=1e-6)
    bound = 6**-0.5  # torch draws uniformly within one over the root of the inputs
    assert float(fresh[1].weight_v.detach().abs().max()) <= bound
    assert float(fresh[0].weight_orig.detach().abs().max()) <= bound


def test_a_start_of_its_own_comes_back_only_from_hyperparameters_or_build() -> None:
    module = CustomStart(steep=4.0)
    steep = [float(layer.weight.detach().std()) for layer in reinitialised(module, 1).net.layers]
    assert int(np.argmax(steep)) == 3
    assert max(steep) > 2.5 * np.median(steep)
    plain = [float(layer.weight.detach().std()) for layer in reinitialised(module.net, 1).layers]
    assert max(plain) < 1.5 * np.median(plain)
    given = Reinitialiser(module.net, build=lambda: CustomStart().net)
    assert given.way == "built by build()"
    assert np.argmax([float(layer.weight.detach().std()) for layer in given.draw(1).layers]) == 3


def test_tied_weights_stay_tied() -> None:
    module = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7, bias=False))
    module[1].weight = module[0].weight
    fresh = reinitialised(module, 1)
    assert fresh[1].weight is fresh[0].weight
    assert fresh[1].weight is not module[1].weight


def test_frozen_weights_are_drawn_too_and_stay_frozen() -> None:
    module = Drift()
    module.layers[0].requires_grad_(False)
    fresh = reinitialised(module, 1)
    assert not fresh.layers[0].weight.requires_grad
    assert fresh.layers[1].weight.requires_grad
    assert not torch.equal(fresh.layers[0].weight, module.layers[0].weight)


class Loads(LightningModule):
    """Its constructor loads weights, so that calling it again makes nothing fresh."""

    def __init__(self, file: str, frozen: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Linear(20, 20)
        self.body.load_state_dict(torch.load(file))
        self.body.requires_grad_(not frozen)
        self.head = nn.Linear(20, 3)


def test_a_constructor_that_loads_weights_is_passed_over(tmp_path: Path) -> None:
    torch.save({"weight": torch.randn(20, 20) * 3, "bias": torch.zeros(20)}, tmp_path / "body.pt")
    module = Loads(str(tmp_path / "body.pt"))
    fresh = Reinitialiser(module)
    assert fresh.way == "reset_parameters"
    assert "does not draw body.weight" in fresh.notes[0]
    assert not torch.equal(fresh.draw(1).body.weight, module.body.weight)
    assert "body.weight has standard deviation" in str(looks_pretrained(module))
    frozen = Reinitialiser(Loads(str(tmp_path / "body.pt"), frozen=True))
    assert frozen.way == "rebuilt from hyperparameters"
    assert "body.weight" in frozen.notes[0]


class Waves(LightningModule):
    """One matrix that is the same in every network, among others that are drawn."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.positions = nn.Parameter(torch.arange(12.0).sin().reshape(2, 6))
        self.body = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))


def test_single_parameters_that_are_always_the_same_are_kept_and_named() -> None:
    fresh = Reinitialiser(Waves())
    assert fresh.way == "rebuilt from hyperparameters"
    assert fresh.notes == ("The constructor gives positions the same values every time; kept so.",)
    built = Reinitialiser(Waves(), build=Waves)
    assert built.notes == ("build() gives positions the same values every time; kept so.",)


class OwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(300))


def test_what_nothing_resets_is_named_and_a_network_of_nothing_else_is_refused() -> None:
    module = nn.Sequential(OwnParameter(), nn.Linear(3, 3))
    fresh = Reinitialiser(module)
    assert fresh.notes == ("Nothing re-initialises 0.token; kept as now.",)
    assert torch.equal(fresh.draw(1)[0].token, module[0].token)
    assert looks_pretrained(module, fresh) is None
    with pytest.raises(ValueError, match=r"Nothing in OwnParameter can be re-initialised.*build=lambda: OwnParameter"):
        Reinitialiser(OwnParameter())
    assert Reinitialiser(OwnParameter(), build=OwnParameter).draw(3).token.shape == (300,)


class InitWeights(nn.Module):
    """The convention of ``self.apply(self._init_weights)``."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(30, 30)
        self.token = nn.Parameter(torch.zeros(30))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=5.0)
        if isinstance(module, InitWeights):
            nn.init.normal_(module.token)


def test_init_weights_has_the_last_word() -> None:
    fresh = reinitialised(InitWeights(), 0)
    assert float(fresh.linear.weight.std()) == pytest.approx(5, rel=0.2)
    assert float(fresh.token.std()) == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize(
    ("module", "build", "message"),
    [
        (nn.LazyLinear(3), None, "'weight' has no shape yet"),
        (nn.Flatten(), None, "Flatten has no parameters"),
        (nn.Linear(3, 3), lambda: nn.Linear(3, 4), r"parameter 'weight' has shape \(4, 3\).*\(3, 3\)"),
        (nn.Linear(3, 3), lambda: None, "of type NoneType; expected an nn.Module"),
        (nn.Linear(3, 3), (lambda kept: lambda: kept)(nn.Linear(3, 3)), "the same values every time"),
    ],
)
def test_what_cannot_be_made_fresh_is_refused(module: nn.Module, build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reinitialiser(module, build)


class Watched(LightningModule):
    """Reads its Trainer in forward, and keeps the result of a computation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.kept: Tensor | None = None
        self.seen: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.trainer.global_step

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        self.kept = self(batch).mean()
        if not self.seen:
            fresh = reinitialised(self, 1)
            assert fresh.trainer is self.trainer
            assert fresh.kept is not self.kept
            fresh(batch)
            self.seen.append(fresh)
        return self.kept

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_in_the_midst_of_training_the_trainer_is_shared_and_not_copied(tmp_path: Path) -> None:
    module = Watched()
    trainer = Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=4))
    assert not torch.equal(module.seen[0].layer.weight, module.layer.weight)


def test_fresh_networks_look_fresh_and_trained_ones_do_not() -> None:
    torch.manual_seed(0)
    assert looks_pretrained(StagedArithmetic()) is None
    for _ in range(3):
        assert looks_pretrained(tiny_bert()) is None
    trained = tiny_bert()
    with torch.no_grad():
        for layer in trained.encoder.layer:
            layer.intermediate.dense.weight.mul_(4)
    assert "2 of" in str(looks_pretrained(trained))
    # Read without hyperparameters, a start of its own is none that the resets can repeat, and that is said.
    assert "embedding.table.weight" in str(looks_pretrained(StagedArithmetic().model))


def test_a_saved_hugging_face_model_is_judged_by_its_weights_not_by_its_name(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path)
    loaded = BertModel.from_pretrained(tmp_path)
    assert looks_pretrained(loaded) is None
    with torch.no_grad():
        loaded.embeddings.word_embeddings.weight.mul_(3)
    reason = looks_pretrained(loaded)
    assert reason is not None
    assert str(tmp_path) in reason
