"""Ways of looking at a network: which inputs, and how an output becomes one vector per input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from torch import Tensor, nn

from lightning_gw.activations.probe.probe import Balance
from lightning_gw.activations.reading.pooling import Pooling
from lightning_gw.measures.spread import dominant_inputs

#: Kinds of differences between two settings, in the order in which they are told.
FACTORS = ("size", "pooling", "balance", "layers", "inputs", "distances")


@dataclass(frozen=True)
class ProbeSetting:
    """One way of looking.

    Attributes:
        size: Number of probe inputs; None takes 128, or all there are.
        pooling: See `pooling.pool`; ``"first"`` and ``"last"`` look at one token.
        balance: See `probe.draw_probe`.
        without: Glob of layers that are left out of the comparison; None leaves all in.
        dominant: Whether the 5 % of inputs that are most distant on average are left in (see `measures.spread`).
        cosine: Whether every pooled vector is scaled to norm 1, so that distances are those of angles.
        draw: Which random draw of the probe; 0 is the run's own.
    """

    size: int | None = None
    pooling: Pooling = "auto"
    balance: Balance | None = None
    without: str | None = None
    dominant: bool = True
    cosine: bool = False
    draw: int = 0

    def label(self, own: ProbeSetting) -> str:
        """What sets it apart from `own`, the run's setting, in a few words; ``"as the run"`` where nothing does."""
        words = []
        if self.size != own.size:
            words.append(f"{'128' if self.size is None else self.size} inputs")
        if self.pooling != own.pooling:
            words.append("tokens scaled" if self.pooling == "scaled" else f"pooling {name_of(self.pooling)}")
        if self.balance != own.balance:
            words.append("not balanced" if self.balance is None else f"balanced over {name_of(self.balance)}")
        if self.without != own.without:
            words.append("all layers" if self.without is None else f"without {self.without}")
        if self.dominant != own.dominant:
            words.append("with dominant inputs" if self.dominant else "without dominant inputs")
        if self.cosine != own.cosine:
            words.append("cosine" if self.cosine else "Euclidean")
        return ", ".join(words) or "as the run"

    def differs(self, own: ProbeSetting) -> tuple[str, ...]:
        """Which of `FACTORS` set it apart from `own`."""
        pairs = {
            "size": (self.size, own.size),
            "pooling": (self.pooling, own.pooling),
            "balance": (self.balance, own.balance),
            "layers": (self.without, own.without),
            "inputs": (self.dominant, own.dominant),
            "distances": (self.cosine, own.cosine),
        }
        return tuple(factor for factor in FACTORS if pairs[factor][0] != pairs[factor][1])

    def to_json(self) -> dict[str, Any]:
        """The setting as plain JSON values, without the draw."""
        balance = self.balance if isinstance(self.balance, int | str | None) else name_of(self.balance)
        return {
            "size": self.size,
            "pooling": name_of(self.pooling),
            "balance": balance,
            "without": self.without,
            "dominant": self.dominant,
            "cosine": self.cosine,
        }

    def applied(self, representations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the layers put out as this setting looks at it: without layers, without inputs, scaled.

        Args:
            representations: Layer name to ``(n, d)``.
        """
        left = {
            name: x
            for name, x in representations.items()
            if self.without is None or not fnmatchcase(name, self.without)
        }
        if not self.dominant:
            far = dominant_inputs(left)
            left = {name: x[np.setdiff1d(np.arange(len(x)), far)] for name, x in left.items()}
        return {name: nn.functional.normalize(x, dim=1) for name, x in left.items()} if self.cosine else left


def settings_around(
    own: ProbeSetting,
    inputs: int,
    sizes: Sequence[int] = (),
    poolings: Sequence[Pooling] = (),
    balances: Sequence[Balance | None] = (),
    without: Sequence[str] = (),
    auto: str = "mean",
) -> list[ProbeSetting]:
    """The run's own setting and those that differ from it in one thing, each once.

    Args:
        own: The run's setting.
        inputs: How many inputs its probe has, which `own.size` may leave open.
        sizes: Probe sizes.
        poolings: Poolings; ``"auto"`` and what it comes to count once.
        balances: What to balance over; None for no balance.
        without: Globs of layers to leave out, each on its own.
        auto: What pooling ``"auto"`` comes to in this network, ``"mean"`` or ``"scaled"``.

    Returns:
        `own` first, then sizes in ascending order, poolings, balances, left-out layers, the probe without the inputs
        that dominate it, and cosine distances.
    """
    settings = [own]
    settings += [replace(own, size=size) for size in sorted(set(sizes)) if size not in (inputs, own.size)]
    taken = {auto if own.pooling == "auto" else own.pooling}
    for pooling in poolings:
        key = auto if pooling == "auto" else pooling
        if key not in taken:
            taken.add(key)
            settings.append(replace(own, pooling=pooling))
    settings += [replace(own, balance=balance) for balance in balances]
    settings += [replace(own, without=pattern) for pattern in without]
    settings += [replace(own, dominant=False), replace(own, cosine=True)]
    return [setting for place, setting in enumerate(settings) if setting not in settings[:place]]


def name_of(value: Any) -> str:
    """A pooling or a balance in words: a function by its name."""
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return str(getattr(value, "__qualname__", type(value).__name__))
    return str(value)
