"""The referee of untrained architectures: splits, verdicts and their counts, on answers that are known."""

from __future__ import annotations

import numpy as np

from benchmarks import architectures
from benchmarks.untrained import language, vision
from benchmarks.untrained.looks import Untrained, names


def copies(*steps: tuple[float, ...]) -> list[Untrained]:
    """Networks whose layers lie on a line with these steps between them."""
    found = []
    for seed, each in enumerate(steps):
        place = np.concatenate([[0.0], np.cumsum(each)])
        distances = np.abs(place[:, None] - place[None, :])
        found.append(Untrained("some", seed, distances, np.asarray(each), np.full(len(place), 8)))
    return found


def test_the_halves_hold_every_architecture_once_and_images_and_texts_both() -> None:
    development, aside = names("development"), names("set aside")
    assert sorted([*development, *aside]) == sorted([*vision.NAMES, *language.MODELS])
    assert len(development) == len(aside) == 30
    for half in (development, aside):
        assert {name in language.MODELS for name in half} == {True, False}


def test_steps_of_the_architecture_count_without_a_reference_only() -> None:
    found = architectures.judge(copies(*[(0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1)] * 3))
    assert found["no reference"] == ["strong"] * 3
    assert found["first look"] == ["none"] * 3
    assert found["one copy"] == ["none"] * 6
    assert found["two copies"] == ["none"] * 3
    assert architectures.counted(found["no reference"]) == "3 / 3 of 3"


def test_a_copy_unlike_the_others_is_called_what_it_is() -> None:
    even = (0.2,) * 7
    found = architectures.judge(copies(even, even, (0.2, 0.2, 0.2, 0.9, 0.2, 0.2, 0.2)))
    assert found["one copy"].count("strong") == 2, "against each of the two others"
    assert found["two copies"] == ["none", "none", "strong"]
    assert architectures.counted(found["one copy"]) == "2 / 2 of 6"


def test_texts_are_the_same_every_time_and_leave_padding_out() -> None:
    one, other = language.texts(), language.texts()
    assert (one["input_ids"] == other["input_ids"]).all()
    assert one["input_ids"].shape == (language.INPUTS, language.LENGTH)
    assert (one["input_ids"][one["attention_mask"] == 0] == 0).all()
    assert int(one["input_ids"].max()) < language.VOCABULARY
    assert (one["attention_mask"].sum(dim=1) >= 6).all()
