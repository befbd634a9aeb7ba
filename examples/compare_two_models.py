"""Two models that never saw the same input: which layers of theirs correspond?

    python examples/compare_two_models.py

Both learn to tell three kinds of event apart, one from 16 sensors and the other from 24 others, each from events of its
own. No input of the one fits the other, so measures that pair inputs, such as CKA, cannot compare them.
Gromov-Wasserstein finds the pairing itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import lightning_gw as lgw
from lightning_gw.activations.reading.capture import capture
from lightning_gw.figures import draw_rectangle

KINDS, HIDDEN = 3, 4
LAYERS = ("early", "lower", "upper", "late")


def draw_events(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """What happened, (count, 4), which no model sees, and its kind: 0, 1, or more rarely 2."""
    events = torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed)) * torch.tensor([2.0, 1.5, 1, 1])
    kind = ((events[:, 0] > 1) ^ (events[:, 1] > 0)).long()
    return events, torch.where(events[:, 2] > 1, 2, kind)


def sense(events: Tensor, sensors: int) -> Tensor:
    """What so many sensors read of the events: (count, sensors)."""
    return torch.tanh(events @ torch.randn(HIDDEN, sensors, generator=torch.Generator().manual_seed(sensors)) / 3)


def train(sensors: int, seed: int) -> nn.Sequential:
    """Four layers and a readout, trained on events of their own until they tell the kinds apart."""
    torch.manual_seed(seed)
    layers = [nn.Sequential(nn.Linear(sensors if k == 0 else 32, 32), nn.ReLU()) for k in range(len(LAYERS))]
    network = nn.Sequential(*layers, nn.Linear(32, KINDS))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    events, kind = draw_events(2000, seed)
    for _ in range(250):
        loss = nn.functional.cross_entropy(network(sense(events, sensors)), kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def look(network: nn.Sequential, sensors: int, events: Tensor) -> dict[str, Tensor]:
    """Layer to representations of the events, (count, 32)."""
    with torch.no_grad():
        children = [str(k) for k in range(len(LAYERS))]  # what torch calls the layers of a Sequential
        found = capture(network, children, [sense(events, sensors)], run=network).representations
    return dict(zip(LAYERS, found.values(), strict=True))


def show(values: np.ndarray) -> None:
    """A table: rows are layers of the first model, columns layers of the second."""
    print("        " + " ".join(f"{name:>5}" for name in LAYERS))
    for name, row in zip(LAYERS, values, strict=True):
        print(f"  {name} " + " ".join(f"{value:5.2f}" for value in row))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two models that saw different inputs.")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/compare_two_models"), help="output folder")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    first, second = train(16, seed=1), train(24, seed=2)
    # Each is looked at on events of its own, and not even on equally many.
    mine = look(first, 16, draw_events(128, seed=3)[0])
    theirs = look(second, 24, draw_events(192, seed=4)[0])

    plain = lgw.gw_matrix(mine, theirs, geometry="cka")
    print("Gromov-Wasserstein similarity, 128 events of the one against 192 of the other (at the best matching found):")
    show(plain.similarity)

    fair = lgw.unpaired_gw_matrix(mine, theirs)
    print(f"\nThe same with what two samples of one layer differ by taken off; ±{fair.resolution / 2:.2f} is noise:")
    show(fair.similarity)
    for name, row in zip(LAYERS, fair.debiased, strict=True):
        print(f"  {name!r} of the first model is nearest to {LAYERS[int(row.argmin())]!r} of the second.")

    # These events are made up, so for once both sensor arrays can be shown the same ones. Real data rarely allows it.
    shared, _ = draw_events(96, seed=5)
    cka = lgw.gw_matrix(look(first, 16, shared), look(second, 24, shared), geometry="cka", effort="fast", bounds=None)
    print("\nCKA of the two on the same 96 events, which only a simulation can show to both:")
    show(cka.identity_similarity)
    order = np.corrcoef(fair.similarity.ravel(), cka.identity_similarity.ravel())[0, 1]
    print(
        f"Over the {len(LAYERS) ** 2} pairs of layers it correlates at {order:.2f} with what was found without pairs."
    )
    print(
        "CKA tells layers apart more sharply: use it where inputs are shared. Gromov-Wasserstein needs no shared ones."
    )
    print("On the different events above CKA cannot be computed: row k of the one has no counterpart in the other.")

    picture = out / "layers_of_two_models.png"
    draw_rectangle(plain).savefig(picture)
    print(f"\nThe picture: {picture}")
    print("Next: docs/unpaired.md says why the two tables differ and when to trust which.")


if __name__ == "__main__":
    main()
