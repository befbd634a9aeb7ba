"""The matrix by itself: any torch network, no Trainer, no training loop.

    python examples/matrix_without_lightning.py

Representations are plain tensors with a row for every input. `capture` collects them from a network, but anything else
that gives (inputs, features) will do. The network here is untrained on purpose: what it shows is the architecture.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import lightning_gw as lgw
from lightning_gw.activations.reading.capture import capture


def make_network() -> nn.Sequential:
    """Six layers; the third has two units only, as the middle of an autoencoder has."""
    widths = (32, 64, 64, 2, 64, 64, 32)
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(wide, next_wide), nn.Tanh()) for wide, next_wide in pairwise(widths))
    )


def representations_of(network: nn.Sequential, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Layer name to (96, width). Here the six children of the network, called "0" to "5"."""
    names = [name for name, _ in network.named_children()]
    with torch.no_grad():
        return capture(network, names, batches=[inputs], run=network).representations


def draw(matrix: lgw.GWMatrix, groups: lgw.Groups) -> Figure:
    """The similarities as a picture, lines where groups end. Everything in the result is a plain NumPy array."""
    figure = Figure(figsize=(6, 5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix.similarity, vmin=0, vmax=1)
    for boundary in groups.boundaries:  # after this layer, counted from 0
        axes.axhline(boundary + 0.5, color="white", linewidth=3)
        axes.axvline(boundary + 0.5, color="white", linewidth=3)
    numbers = range(1, len(matrix.layers) + 1)
    axes.set_xticks(range(len(matrix.layers)), numbers)
    axes.set_yticks(range(len(matrix.layers)), numbers)
    axes.set(title=f"Groups of layers: {groups.ranges()}", xlabel="layer", ylabel="layer")
    figure.colorbar(image, label="GW similarity (1 = inputs arranged alike)")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the layers of a plain torch network with each other.")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/examples/matrix_without_lightning"), help="output folder"
    )
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    inputs = torch.randn(96, 32)
    matrix = lgw.gw_matrix(representations_of(make_network(), inputs))
    groups = lgw.find_groups(matrix)

    print("Similarity of every layer to every other (1 = the inputs lie alike, 0 = nothing in common):")
    print("        " + " ".join(f"{name:>5}" for name in matrix.layers))
    for name, row in zip(matrix.layers, matrix.similarity, strict=True):
        print(f"layer {name} " + " ".join(f"{value:5.2f}" for value in row))
    # Each value is the best that was found; the certificate says how much better any search could have done.
    print(f"No other matching of inputs could raise any of them by more than {matrix.gap.max() / 2:.2f}.")

    if groups.strength == "none":
        print("The layers drift smoothly: no groups.")
    else:
        print(f"The layers, counted from 1, fall into {groups.count} groups: {groups.ranges()} ({groups.strength}).")
    steepest = int(groups.adjacent.argmax())
    print(f"The largest step is from layer {steepest + 1} to layer {steepest + 2}.")

    # Is that what the network learnt? Hold it against another one that learnt nothing.
    reference = lgw.gw_matrix(representations_of(make_network(), inputs))
    held = lgw.find_groups(matrix, reference=reference)
    if held.strength == "none":
        own = ", ".join(str(boundary + 1) for boundary in held.built_in)
        print(f"Another untrained network does the same: the architecture itself takes a large step after layer {own}.")

    picture = out / "similarity.png"
    draw(matrix, groups).savefig(picture)
    print(f"\nThe picture: {picture}")
    print(
        "Next: examples/attach_to_training.py does this while a network trains; docs/method.md says what it computes."
    )


if __name__ == "__main__":
    main()
