"""Which layers correspond: copies with other names, orders and inputs, averages, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from snapshots import Snapshots

from lightning_gw.records.representations import KeptRepresentations
from lightning_gw.statistics import average_correspondence, correspondence, correspondence_sentence


def run(count: int = 5, inputs: int = 24, seed: int = 0, probe: str = "a" * 16) -> KeptRepresentations:
    """Layers that arrange their inputs in ways of their own."""
    generator = torch.Generator().manual_seed(seed)
    layers = {f"layer.{k}": torch.randn(inputs, 2 + k, generator=generator) for k in range(count)}
    return KeptRepresentations(layers, 100, probe)


def test_renamed_and_rotated_copies_of_layers_correspond_to_themselves_in_any_order() -> None:
    one = run()
    order = [3, 0, 4, 1, 2]
    turned = {}
    for k in order:
        values = one.layers[f"layer.{k}"]
        rotation = torch.linalg.qr(torch.randn(values.shape[1], values.shape[1])).Q
        turned[f"other.{k}"] = 2.5 * values @ rotation + 1.0
    found = correspondence(one, KeptRepresentations(turned, 7, one.probe))
    assert [found.other_layers[best] for best in found.best] == [f"other.{k}" for k in range(5)]
    assert found.best == found.paired_best == tuple(order.index(k) for k in range(5))
    assert np.allclose(found.similarity[np.arange(5), found.best], 1.0, atol=1e-5)
    ranked = np.sort(found.similarity, axis=1)
    assert np.allclose(found.margin, ranked[:, -1] - ranked[:, -2])
    assert (found.margin > 0).all()


def test_other_inputs_in_another_order_are_matched_where_the_paired_measure_sees_nothing() -> None:
    one = run(4)
    generator = torch.Generator().manual_seed(5)
    shuffled = {name: values[torch.randperm(24, generator=generator)] for name, values in one.layers.items()}
    found = correspondence(one, KeptRepresentations(shuffled, 3, "b" * 16), different_probes=True, effort="default")
    assert found.best == (0, 1, 2, 3)
    assert found.paired is None
    assert found.paired_best == ()
    assert "no paired measure" in correspondence_sentence(found, "x", "y")


def test_different_probes_are_refused_by_name_unless_asked_for() -> None:
    with pytest.raises(ValueError, match=r"aaaaaaaaaaaa and bbbbbbbbbbbb.*different_probes=True"):
        correspondence(run(), run(probe="b" * 16))


def test_different_numbers_of_inputs_are_compared_all_the_same() -> None:
    one = run(2, inputs=12)
    fewer = {name: values[:8] for name, values in one.layers.items()}
    found = correspondence(one, KeptRepresentations(fewer, 1, "b" * 16), different_probes=True)
    assert found.similarity.shape == (2, 2)
    assert np.isfinite(found.similarity).all()


def test_order_is_one_where_depth_is_kept_and_minus_one_where_it_is_reversed() -> None:
    one = run()
    assert correspondence(one, one).order == pytest.approx(1.0)
    backwards = KeptRepresentations(dict(reversed(one.layers.items())), 1, one.probe)
    assert correspondence(one, backwards).order == pytest.approx(-1.0)
    alone = KeptRepresentations({"only": one.layers["layer.0"]}, 1, one.probe)
    single = correspondence(one, alone)
    assert np.isnan(single.order)
    assert np.isnan(single.margin).all()
    assert single.best == (0,) * 5


def test_a_degenerate_layer_has_no_partner_and_is_none() -> None:
    one = run()
    dead = KeptRepresentations({**one.layers, "layer.2": torch.ones(24, 4)}, 1, one.probe)
    assert correspondence(dead, one).best == (0, 1, -1, 3, 4)
    assert 2 not in correspondence(one, dead).best
    sentence = correspondence_sentence(correspondence(dead, one), "dead", "live")
    assert "1–2 to 1–2 and 4–5 to 4–5" in sentence
    assert "Without a partner, since not measured: 3." in sentence


def test_an_average_is_of_the_similarities_and_counts_who_agrees() -> None:
    one, other = run(seed=1), run(seed=2)
    first, second = (
        correspondence(one, one),
        correspondence(
            one, KeptRepresentations(dict(zip(one.layers, other.layers.values(), strict=True)), 1, one.probe)
        ),
    )
    mean = average_correspondence([first, second])
    assert np.allclose(mean.similarity, (first.similarity + second.similarity) / 2)
    assert mean.best == tuple(int(row.argmax()) for row in mean.similarity)
    expected = tuple((first.best[k] == best) + (second.best[k] == best) for k, best in enumerate(mean.best))
    assert mean.returned == expected
    assert mean.runs == 2
    assert mean.gw is None
    assert "two pairs of runs" in correspondence_sentence(mean, "x", "y")
    with pytest.raises(ValueError, match="different layers have no mean"):
        average_correspondence([first, correspondence(one, run(3))])
    with pytest.raises(ValueError, match="no correspondence to average"):
        average_correspondence([])


def test_a_correspondence_of_copies_in_words(snapshots: Snapshots) -> None:
    one = run()
    said = correspondence_sentence(correspondence(one, one), "full", "lora")
    assert "1–5 to 1–5 (similarity of partners 1.00 to 1.00;" in said
    snapshots.compare("correspondence of copies", said)
