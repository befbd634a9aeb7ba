"""Where a network's weights come from: what is evidence of training, what is none, and when no copies can be made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from lightning_gw.significance.nulls import origin as origins
from lightning_gw.significance.nulls.origin import origin_of
from lightning_gw.utilities.errors import ArgumentError


def tiny_gpt2() -> GPT2LMHeadModel:
    """With fresh weights, of a config that was read from somewhere."""
    config = GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=32)
    config._name_or_path = "gpt2"
    return GPT2LMHeadModel(config)


class Classifier(nn.Module):
    """A Hugging Face encoder with fresh weights, and a head that its author draws in a way of their own."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        self.encoder = BertModel(BertConfig(**sizes, vocab_size=60, max_position_embeddings=20))
        self.encoder.config._name_or_path = "a/model"
        self.head = nn.Linear(32, 32)
        nn.init.normal_(self.head.weight, std=2.0)


def normed(batches: int) -> nn.Module:
    network = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.Linear(20, 20), nn.LayerNorm(20))
    for _ in range(batches):
        network(torch.randn(8, 20))
    return network


def steepened(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "mlp" in name or "intermediate" in name:
                parameter.mul_(5)
    return network


def test_a_name_in_a_config_is_evidence_only_where_the_weights_agree() -> None:
    torch.manual_seed(0)
    fresh = origin_of(tiny_gpt2())
    assert fresh.trained == ""
    assert fresh.fresh is not None
    trained = origin_of(steepened(tiny_gpt2()))
    assert trained.trained == "its weights were loaded from 'gpt2'"
    assert trained.fresh is not None
    assert origin_of(tiny_gpt2(), copies=False).trained == "its weights were loaded from 'gpt2'", "who can tell?"


def test_a_head_of_its_own_does_not_make_a_fresh_encoder_trained() -> None:
    torch.manual_seed(0)
    origin = origin_of(Classifier())
    assert (origin.trained, origin.fresh) == ("", None)
    assert origin.reason.startswith("resetting its layers does not give weights like those it began with (1 of ")
    trained = origin_of(steepened(Classifier()))
    assert trained.trained == "its weights were loaded from 'a/model'"
    assert trained.fresh is not None


@pytest.mark.parametrize(("batches", "trained"), [(1, ""), (40, "its normalisation layers have seen 40 batches")])
def test_one_batch_settles_no_statistics(batches: int, trained: str) -> None:
    torch.manual_seed(0)
    assert origin_of(normed(batches)).trained == trained


def test_what_is_too_large_is_told_by_the_copies_that_the_host_would_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    halved = nn.Linear(1000, 999).half()
    monkeypatch.setattr(origins, "free_memory", lambda device: 5_000_000)  # 2 MB of weights are 4 MB when made, twice
    origin = origin_of(halved)
    assert origin.fresh is None
    assert origin.reason.startswith("it is too large to be copied: its weights take 0.0 GiB on cpu")
    monkeypatch.setattr(origins, "free_memory", lambda device: 9_000_000)
    assert origin_of(halved).fresh is not None
    monkeypatch.setattr(origins, "free_memory", lambda device: None)
    assert origin_of(halved).fresh is not None


def test_a_device_that_knows_no_float64_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_host: list[Tensor] = []

    def cpu(tensor: Tensor, real: Callable[[Tensor], Tensor] = torch.Tensor.cpu) -> Tensor:
        on_the_host.append(real(tensor).clone())
        return on_the_host[-1]

    def double(tensor: Tensor, real: Callable[[Tensor], Tensor] = torch.Tensor.double) -> Tensor:
        if not any(tensor is one for one in on_the_host):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return real(tensor)

    network = normed(0)
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", double)
    assert origin_of(network).fresh is not None
    assert on_the_host


def test_whatever_fails_is_a_reason_unless_it_is_what_the_user_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"untrained=.* cannot be used: build.* failed"):
        origin_of(normed(0), untrained=lambda: 1 / 0)  # type: ignore[arg-type, return-value]

    def fails(*_: object) -> None:
        raise TypeError("no such kernel")

    monkeypatch.setattr(origins, "unlike_fresh", fails)
    for untrained in (None, lambda: normed(0)):
        origin = origin_of(normed(40), untrained)
        assert origin.fresh is None
        assert origin.trained == "its normalisation layers have seen 40 batches"
        assert origin.reason == "making copies of it failed (TypeError: no such kernel)"
