"""Differences between two ways of acting on one network with one seed: how large, and whether they may be chance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_gw.statistics.estimates import mean_estimate
from lightning_gw.statistics.results import Estimate
from lightning_gw.utilities.arrays import FloatArray

#: Network and seed.
Block = tuple[str, Hashable]
#: Up to so many blocks all sign flips are tried, and so many are drawn where there are more.
EXACT, DRAWS = 16, 99_999
#: Differences that are closer to each other than this share of the largest are equal.
TIE = 1e-9


@dataclass(frozen=True)
class Paired:
    """Differences, one minus the other, within blocks.

    Attributes:
        effect: Their mean over networks, with Student's interval over seeds, each of which stands for all its networks;
            over blocks where there is one seed.
        p: Two-sided, of sign flips: had neither been better, each block's difference could have had the other sign.
        least: The least p that so many blocks can reach.
        better: Blocks with a difference above zero.
        worse: Blocks with one below.
        equal: Blocks with none.
    """

    effect: Estimate
    p: float
    least: float
    better: int
    worse: int
    equal: int

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.better + self.worse + self.equal


def paired(differences: Mapping[Block, float]) -> Paired:
    """Size and chance of differences.

    Args:
        differences: One minus the other, by network and seed; not finite ones are left out.

    Example:
        >>> found = paired({("net", seed): 1.0 for seed in range(5)})
        >>> found.p, found.least, found.better
        (0.0625, 0.0625, 5)
    """
    known = {block: value for block, value in differences.items() if np.isfinite(value)}
    values = np.array(list(known.values()))
    by_seed: dict[Hashable, list[float]] = {}
    for (_, seed), value in known.items():
        by_seed.setdefault(seed, []).append(value)
    seeds = [float(np.mean(own)) for own in by_seed.values()]
    spread = mean_estimate(seeds if len(seeds) > 1 else list(values))
    # Where a network lacks a seed, the mean over networks is not that over seeds; the interval is about the former.
    networks = dict.fromkeys(name for name, _ in known)
    of_each = [np.mean([value for (name, _), value in known.items() if name == network]) for network in networks]
    mean = float(np.mean(of_each)) if of_each else float("nan")
    shift = mean - spread.value
    effect = Estimate(mean, spread.low + shift, spread.high + shift, len(values))
    return Paired(
        effect,
        sign_flips(values),
        min(1.0, 2.0 ** (1 - len(values))) if len(values) else float("nan"),
        int((values > TIE).sum()),
        int((values < -TIE).sum()),
        int((np.abs(values) <= TIE).sum()),
    )


def sign_flips(values: FloatArray) -> float:
    """Two-sided p-value of the mean of these values, had each been as likely to have the other sign.

    Exact for up to 16 values, from 99 999 draws and what was observed for more; NaN for none.
    """
    count = len(values)
    if not count:
        return float("nan")
    if count <= EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        means = np.abs(signs @ values)
    else:
        generator = np.random.default_rng(0)
        drawn = [np.abs((1.0 - 2.0 * generator.integers(0, 2, (DRAWS // 9, count))) @ values) for _ in range(9)]
        means = np.concatenate([[abs(values.sum())], *drawn])
    return float((means >= abs(values.sum()) - TIE * max(np.abs(values).sum(), TIE)).mean())


def holm(p_values: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """Holm's step-down correction; NaN counts as 1."""
    corrected: dict[Hashable, float] = {}
    least = 0.0
    known = {name: 1.0 if np.isnan(p) else p for name, p in p_values.items()}
    for place, (name, p) in enumerate(sorted(known.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(known) - place)))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def tally(found: Paired) -> str:
    """How many blocks were better, equal and worse, in words."""
    equal = f", equal in {found.equal}" if found.equal else ""
    return f"better in {found.better} of {found.blocks} pairs of network and seed, worse in {found.worse}{equal}"


def means(values: Sequence[float]) -> str:
    """A cell of a table: the mean over seeds."""
    known = [value for value in values if np.isfinite(value)]
    return f"{np.mean(known):.3f}" if known else "–"
