"""How sure one can be: p-values against nulls, noise of the probe, and stability of what was found.

Four questions, four answers:

- Could a network that learnt nothing look like this? `reinitialisation_null`, and for a stricter null `null_of`
  networks trained on shuffled labels. Not for networks that begin pre-trained: `looks_pretrained` tells.
- Would other inputs have given the same groups? `resample_distances` and `stability`.
- Is a change of an adjacent distance more than the probe's noise? `noise_of_adjacent`.
- How near can two layers come that are seen on different inputs? `split_half_noise`.
"""

from lightning_gw.significance.nulls.adjacent import Adjacent, AdjacentSolver
from lightning_gw.significance.nulls.null import Null, null_of, reinitialisation_null
from lightning_gw.significance.nulls.p_values import PValue, p_value
from lightning_gw.significance.nulls.pretrained import looks_pretrained
from lightning_gw.significance.nulls.reinitialise import Reinitialiser, reinitialised
from lightning_gw.significance.resampling import Stability, noise_of_adjacent, resample_distances, stability
from lightning_gw.significance.split_halves import SplitHalfNoise, split_half_noise

__all__ = [
    "Adjacent",
    "AdjacentSolver",
    "Null",
    "PValue",
    "Reinitialiser",
    "SplitHalfNoise",
    "Stability",
    "looks_pretrained",
    "noise_of_adjacent",
    "null_of",
    "p_value",
    "reinitialisation_null",
    "reinitialised",
    "resample_distances",
    "split_half_noise",
    "stability",
]
