"""The isolation of a look, by its short name; it lives in `lightning_gw.activations.isolation`."""

from __future__ import annotations

from lightning_gw.activations.isolation.undisturbed import changes_of, undisturbed
from lightning_gw.utilities.random_state import isolated_randomness, plain_tensors

__all__ = ["changes_of", "isolated_randomness", "plain_tensors", "undisturbed"]
