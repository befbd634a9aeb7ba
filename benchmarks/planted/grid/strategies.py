"""How groups are planted while a network trains, and the nulls that must show none: plain loops, one for each strategy.

AdamW with a warm-up and linear decay, clipped gradients, cross-entropy at the heads that a strategy reads. The loops
are plain, because a Trainer around nets this small would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.planted.grid import specification as spec
from benchmarks.planted.grid.families import Data
from benchmarks.planted.grid.networks import LayeredNet
from benchmarks.planted.grid.recipes import Recipe
from benchmarks.planted.grid.specification import Specification, stage_ends, stage_of_layer

#: Looks of a planted shift, in steps from the shift.
SHIFT_LOOKS = (-160, -120, -100, -80, -60, -40, -20, 0, 10, 20, 30, 40, 50, 60, 80, 100)


Look = Callable[[int], None]


@dataclass
class Trained:
    """What training one network gave.

    Attributes:
        looks: Step to representations of the probe inputs, by layer, float32 ``(n, d)``.
        accuracy: Held-out accuracy of each planted stage at the deepest layer that is read for it; of random labels
            accuracy on what was trained on; empty where nothing is classified.
        seconds: Seconds of processor time.
        notes: What was seen on the way, as plain values.
    """

    looks: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


# --- one loop for all --------------------------------------------------------------------------------------------


def _fit(
    parameters: Iterable[nn.Parameter],
    loss_of: Callable[[Tensor, int], Tensor],
    data: Data,
    recipe: Recipe,
    look: Look | None = None,
    looks: Sequence[int] = (),
    first: int = 0,
    constant: bool = False,
) -> None:
    """Trains some parameters for `recipe.steps` steps.

    Args:
        parameters: What is trained.
        loss_of: (indices of the batch's inputs, step from 0) to loss.
        data: Inputs to draw from.
        recipe: Numbers.
        look: Called with each of `looks` when that many steps, plus `first`, are done.
        looks: Steps of this loop.
        first: Steps done before.
        constant: Keep the learning rate after warm-up instead of letting it fall to zero.
    """
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay, fused=True)
    remaining = torch.empty(0, dtype=torch.int64)
    for step in range(recipe.steps):
        if len(remaining) < recipe.batch:
            remaining = torch.randperm(len(data.x))
        batch, remaining = remaining[: recipe.batch], remaining[recipe.batch :]
        fall = 1.0 if constant else (recipe.steps - step) / max(1, recipe.steps - recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min((step + 1) / recipe.warmup, fall)
        loss = loss_of(batch, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if look is not None and step + 1 in looks:
            look(first + step + 1)


def _heads_loss(net: LayeredNet, data: Data, heads: Mapping[int, int], batch: Tensor) -> Tensor:
    """Mean cross-entropy over the heads that are read, layer to stage."""
    y = data.y[batch]
    states = net(data.x[batch], depth=max(heads) + 1)
    losses = [nn.functional.cross_entropy(net.read(states[k], k, stage), y[:, stage]) for k, stage in heads.items()]
    return torch.stack(losses).mean()


@torch.no_grad()
def _accuracy(net: LayeredNet, heads: Mapping[int, int], x: Tensor, y: Tensor) -> list[float]:
    """Share of right answers of each stage, in order, at the deepest layer that is read for it."""
    net.eval()  # by the statistics that BatchNorm gathered in training
    states = net(x)
    net.train()
    deepest = {stage: layer for layer, stage in sorted(heads.items())}
    right = [
        (net.read(states[layer], layer, stage).argmax(dim=1) == y[:, stage]).float().mean()
        for stage, layer in sorted(deepest.items())
    ]
    return [round(float(share), 4) for share in right]


# --- strategies --------------------------------------------------------------------------------------------------


def _together(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """All layers at once: a head on every layer, at every stage's end, or at the very end only."""
    if one.strategy in (spec.EVERY_LAYER, spec.RANDOM_STAGED):
        heads = dict(enumerate(stage_of_layer(one.lengths)))
    else:
        heads = stage_ends(one.lengths)
    _fit(net.parameters(), lambda batch, _: _heads_loss(net, data, heads, batch), data, recipe, look, (recipe.steps,))
    seen = one.strategy in (spec.RANDOM, spec.RANDOM_STAGED, spec.MEMORISED)
    x, y = (data.x[:2000], data.y[:2000]) if seen else (data.held_x, data.held_y)
    found.accuracy = _accuracy(net, heads, x, y)


def _greedy(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """One block after another, each with a head at its end, then frozen; the first trains the stem too."""
    for stage, (begin, end) in enumerate(pairwise(accumulate(one.lengths, initial=0))):
        trained = [*net.blocks[begin:end], net.heads[end - 1], *([net.stem] if stage == 0 else [])]

        def loss_of(batch: Tensor, _: int, stage: int = stage, begin: int = begin, end: int = end) -> Tensor:
            with torch.no_grad() if begin else nullcontext():
                h = net.stem(data.x[batch])
                for block in net.blocks[:begin]:
                    h = block(h)
            for block in net.blocks[begin:end]:
                h = block(h)
            return nn.functional.cross_entropy(net.read(net.pooled(h), end - 1, stage), data.y[batch, stage])

        parameters = [parameter for module in trained for parameter in module.parameters()]
        looks = (recipe.steps // 2, recipe.steps)
        _fit(parameters, loss_of, data, recipe, look, looks, first=stage * recipe.steps)
    found.accuracy = _accuracy(net, stage_ends(one.lengths), data.held_x, data.held_y)
    found.notes["phase_steps"] = recipe.steps


def _assembled(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """Blocks trained apart from each other under a contract, then stacked.

    Block i maps ``embed(x) + code_{i−1}[y_{i−1}]`` to ``embed(x) + code_i[y_i]``, the embedding and the codes being
    fixed and random; the first block gets the bare embedding. A transformer's embedding is learnt with its first block
    and then fixed: from a random one it hardly learns which operands to attend to.
    """
    with torch.no_grad():
        embedded = net.stem(data.x[:512])
        scale = net.pooled(embedded).std(dim=0).mean()
        if one.architecture == "transformer":  # whose "=" is the same for all inputs before the first block
            scale = embedded.std()
    codes = [1.5 * scale * torch.randn(count, net.width) for count in data.classes]

    @torch.no_grad()
    def contract(x: Tensor, y: Tensor, stage: int) -> Tensor:
        h = net.stem(x)
        return h if stage < 0 else net.spread(h, codes[stage][y[:, stage]])

    for stage, (begin, end) in enumerate(pairwise(accumulate(one.lengths, initial=0))):

        def loss_of(batch: Tensor, _: int, stage: int = stage, begin: int = begin, end: int = end) -> Tensor:
            x, y = data.x[batch], data.y[batch]
            h, wanted = contract(x, y, stage - 1), contract(x, y, stage)
            for block in net.blocks[begin:end]:
                h = block(h)
            # Squared differences alone are slow to tell codes apart: the code that is meant should also be the nearest.
            with torch.no_grad():
                bare = net.pooled(net.stem(x))
            nearness = -torch.cdist(net.pooled(h) - bare, codes[stage]).square() / (net.width * scale**2)
            return nn.functional.mse_loss(h, wanted) / scale**2 + nn.functional.cross_entropy(4 * nearness, y[:, stage])

        trained = [*net.blocks[begin:end], *([net.stem] if begin == 0 and one.architecture == "transformer" else [])]
        _fit([parameter for module in trained for parameter in module.parameters()], loss_of, data, recipe)
    look(len(one.lengths) * recipe.steps)
    with torch.no_grad():
        states, bare = net(data.held_x), net.pooled(net.stem(data.held_x))
        for end, stage in stage_ends(one.lengths).items():
            nearest = torch.cdist(states[end] - bare, codes[stage]).argmin(dim=1)
            found.accuracy.append(round(float((nearest == data.held_y[:, stage]).float().mean()), 4))


def _shift(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """A head on every layer, and at one step the blocks that are planted change."""
    assert one.shifted is not None
    shift = recipe.steps - SHIFT_LOOKS[-1]
    before, after = (dict(enumerate(stage_of_layer(lengths))) for lengths in (one.lengths, one.shifted))

    def loss_of(batch: Tensor, step: int) -> Tensor:
        return _heads_loss(net, data, before if step < shift else after, batch)

    _fit(net.parameters(), loss_of, data, recipe, look, [shift + step for step in SHIFT_LOOKS], constant=True)
    found.accuracy = _accuracy(net, after, data.held_x, data.held_y)
    found.notes["shift_step"] = shift


def _drift(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """A net without stages on a smooth target, read at its end."""

    def loss_of(batch: Tensor, _: int) -> Tensor:
        answer = net.heads[-1](net(data.x[batch])[-1])
        if one.family == spec.CLASSIFICATION:
            return nn.functional.cross_entropy(answer, data.y[batch, 0])
        return nn.functional.mse_loss(answer, data.y[batch])

    _fit(net.parameters(), loss_of, data, recipe, look, (recipe.steps,))
    with torch.no_grad():
        answer = net.heads[-1](net(data.held_x)[-1])
    if one.family == spec.CLASSIFICATION:
        found.accuracy = [round(float((answer.argmax(dim=1) == data.held_y[:, 0]).float().mean()), 4)]
    else:
        found.notes["explained"] = round(float(1 - (answer - data.held_y).var() / data.held_y.var()), 4)


def _untrained(one: Specification, net: LayeredNet, data: Data, recipe: Recipe, look: Look, found: Trained) -> None:
    """Nothing is trained: the look at step 0 is all."""


#: Name of a strategy to what it does.
STRATEGIES: Mapping[str, Callable[[Specification, LayeredNet, Data, Recipe, Look, Trained], None]] = {
    spec.EVERY_LAYER: _together,
    spec.STAGE_END: _together,
    spec.GREEDY: _greedy,
    spec.ASSEMBLED: _assembled,
    spec.SHIFT: _shift,
    spec.UNTRAINED: _untrained,
    spec.DRIFT: _drift,
    spec.RANDOM: _together,
    spec.RANDOM_STAGED: _together,
    spec.MEMORISED: _together,
}
