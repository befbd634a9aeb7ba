"""A run's answer in words: complete, and never claiming more than the records hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_runs import DRIFT, EMERGENCE, PASSING, WEAK, make_run

from lightning_gw.records.description import describe, describe_record, inherited_sentences
from lightning_gw.report.answers import describe_comparison, growth_across, headline, planted_sentence


def test_a_run_with_groups_is_told_from_first_to_last():
    text = describe(make_run())
    assert text.startswith(
        "By step 350 the nine layers form three groups: 1–2, 3–6, 7–9 (strong; the paired view agrees"
    )
    assert "have stood since step 120" in text
    assert "from after layer 5 to after layer 6 at step 120" in text


def test_what_was_not_computed_is_said():
    for story in (EMERGENCE, DRIFT, WEAK):
        for record in make_run(story):
            assert "no p-value computed; stability not measured" in describe_record(record)


def test_what_was_computed_is_said_with_its_meaning():
    record = make_run()[-1]
    sure = replace(record, groups=replace(record.groups, p_value=0.0123, stability=(0.99, 0.96)))
    text = describe_record(sure)
    assert "p = 0.012 for roughness" in text
    assert "every boundary returned in at least 96% of probe resamples" in text
    assert "not measured" not in text


def test_a_run_without_groups_says_so_and_what_grew():
    text = describe(make_run(DRIFT))
    assert text.startswith("No groups: by step 350 the nine layers drift smoothly")
    assert "between layers 5 and 6 grew most" in text
    assert "form" not in text


def test_groups_that_did_not_last_are_remembered():
    assert "last at step 120 (1–5, 6–9, strong), but did not last" in describe(make_run(PASSING))


def test_weak_groups_carry_their_doubt_and_the_paired_views_disagreement():
    text = describe(make_run(WEAK, paired_agrees=False))
    assert "weak: it may be drift; the paired view sees no groups" in text


def test_the_paired_view_is_quoted_where_it_differs():
    record, other = make_run()[-1], make_run(PASSING)[4]
    assert "the paired view sees 1–5, 6–9, strong" in describe_record(replace(record, groups_paired=other.groups))


def test_a_lone_boundary_before_the_last_layer_is_called_readout_collapse():
    story = [(step, strength, (7,) if strength != "none" else (), (0, 1) if strength != "none" else ())
             for step, strength, *_ in EMERGENCE]  # fmt: skip
    assert "readout collapse" in describe(make_run(story))
    assert "readout collapse" not in describe(make_run())


def test_boundaries_that_training_did_not_make_are_said_to_be_older():
    story = [
        (step, "strong", (3,) if step < 80 else (3, 6), (0, 1) if step < 80 else (0, 1, 2)) for step, *_ in EMERGENCE
    ]
    older = make_run(story)
    assert "The boundary after layer 4 stood at the first look already" in describe(older)
    assert "first look" not in describe(make_run())
    assert "after layer 4 in 1 of 2 runs" in inherited_sentences([older, make_run()])[0]


def test_a_left_out_layer_is_named_with_its_reason():
    assert "Layer 5 (model.blocks.3) was left out: constant: all inputs at one point." in describe(
        make_run(degenerate=4)
    )


def test_a_look_that_measured_nothing_claims_nothing():
    record = make_run(DRIFT)[-1]
    nothing = replace(record.groups, labels=(-1,) * 9, adjacent=np.full(8, np.nan))
    constant = replace(record.gw, degenerate={name: "constant" for name in record.layers})
    text = describe([replace(record, gw=constant, groups=nothing, groups_paired=nothing, growth=np.full(8, np.nan))])
    assert "cannot be said" in text
    assert "drift" not in text
    assert "Nine layers were left out: 1, 2, 3, 4, 5, 6, 7, 8 and 9." in text


def test_growth_is_not_made_up():
    records = make_run(DRIFT)
    still = [replace(record, growth=np.ones(8)) for record in records]
    unknown = [replace(record, growth=np.full(8, np.nan)) for record in records]
    assert "grew" not in describe(still)
    assert "grew" not in describe(unknown)
    assert growth_across([still]) == ""
    assert growth_across([make_run(DRIFT), make_run(DRIFT, seed=1)]).startswith(
        "Grew most between layers 5 and 6 in 2 of 2"
    )


def test_nothing_recorded_is_an_answer_too():
    assert "no look yet" in describe([])
    assert "Nothing was recorded" in headline([[], []])


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ((1, 5), "Planted after layers 2 and 6: all found."),
        ((1,), "Planted after layer 2: all found, one beyond them (after 6)."),
        ((1, 4), "Planted after layers 2 and 5: one of 2 found, one off by one layer."),
        ((3, 7), "Planted after layers 4 and 8: none of 2 found, two beyond them (after 2 and 6)."),
    ],
)
def test_planted_boundaries_are_judged_exactly(planted, expected):
    assert planted_sentence(make_run()[-1].groups, planted) == expected


def test_several_runs_are_counted_by_strength():
    runs = [make_run(), make_run(seed=1), make_run(WEAK), make_run(DRIFT)]
    text = headline(runs)
    assert "strong groups stand in two of four runs" in text
    assert "weak ones, which may be drift, in one" in text
    assert "in one the layers drift smoothly" in text
    assert (
        headline([make_run(DRIFT)]) == "At the end of training the one run shows no groups: the layers drift smoothly."
    )
    assert describe_comparison({"joint": runs[:2], "end": [runs[3]], "lost": [[]]}) == [
        "joint: 1–2 | 3–6 | 7–9, strong in 2 of 2 runs.",
        "end: no groups.",
        "lost: nothing recorded.",
    ]
