"""Comparisons in words: what is claimed follows the figures, and every claim carries them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic_findings import finding, planted, seeds_decide

from lightning_gw.statistics import compare_strategies, strategy_sentence, task_sentences

CHANGES = "The strategy changes"


def test_a_planted_difference_is_claimed_with_its_figures() -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (0, 2, 4), 3), "task")
    sentences = task_sentences(comparison)
    assert sentences[0].startswith(f"{CHANGES} where the groups sit, beyond seed noise: runs of different strategies")
    overall = comparison.overall["groups"]
    assert f"differ by {overall.between:.3f}, runs of one strategy by 0.000" in sentences[0]
    assert "the strategy explains 100% of the variance of runs" in sentences[0]
    assert "(p = 0.028 from 36 relabellings within seeds; nine runs of three strategies)." in sentences[0]
    assert sentences[1].startswith("Corrected for all three pairs of strategies, ")
    assert [s for s in sentences if s.startswith("With three seeds no pair") and s.endswith("can be smaller.")]
    assert "Boundaries sit most often after layer 1 in strategy-0 (3 of 3 runs); after layer 3 in strategy-1" in (
        " ".join(sentences)
    )


def test_what_seeds_explain_is_claimed_of_no_strategy() -> None:
    comparison = compare_strategies(seeds_decide(np.random.default_rng(0), 3, 3), "task")
    assert min(overall.p for overall in comparison.overall.values()) > 0.05
    sentences = task_sentences(comparison)
    assert sum("is not told from seed noise" in sentence for sentence in sentences) == 2
    assert not [sentence for sentence in sentences if sentence.startswith(CHANGES)]
    assert not [s for s in sentences if "With three seeds" in s], "more seeds are of no use where nothing lies apart"
    assert [s for s in sentences if "no two can be told apart" in s]


@pytest.mark.parametrize("make", [lambda g: planted(g, (0, 2, 4), 3), lambda g: seeds_decide(g, 4, 3)])
def test_no_claim_without_its_p_value_and_number_of_runs(make) -> None:
    comparison = compare_strategies(make(np.random.default_rng(1)), "task")
    for sentence in task_sentences(comparison):
        if "strategy changes" in sentence:
            assert re.search(r"p = [\d.e-]+ from \d+ relabellings within seeds; \w+ runs of \w+ strategies", sentence)
        elif sentence.startswith("Corrected"):
            assert len(re.findall(r"corrected p = ", sentence)) == sentence.count(" apart against ") >= 1
        elif sentence.startswith("Boundaries"):
            assert re.search(r"\d of \d runs", sentence)


def test_a_handful_of_pairs_is_named_the_most_telling_first_and_the_rest_counted() -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (0, 1, 2, 3, 4), 5, 0.02), "task")
    differ = [pair for pair in comparison.contrasts if pair.by == "matrices" and pair.p_corrected < 0.05]
    assert len(differ) == 10
    sentence = next(s for s in task_sentences(comparison) if s.startswith("Corrected") and "similar" in s)
    assert sentence.count("corrected p") == 5
    assert sentence.endswith("; and five more pairs.")
    smallest = min(differ, key=lambda pair: (pair.p_corrected, pair.within - pair.between))
    assert sentence.index(f"{smallest.one} and {smallest.other} (") < sentence.index(";")


def test_single_seeds_are_told_but_nothing_is_tested() -> None:
    comparison = compare_strategies([finding("a", 0, [1]), finding("b", 0, [3]), finding("c", 0)], "task")
    assert task_sentences(comparison) == [
        "Boundaries stand after layer 2 in a; after layer 4 in b.",
        "No run has a boundary in c.",
    ]
    assert any("no difference is tested" in note for note in comparison.notes)


def test_two_strategies_say_how_small_p_can_get_and_do_not_repeat_themselves() -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (1, 3), 3), "task")
    sentences = task_sentences(comparison)
    assert "With three seeds no pair of strategies by itself can reach p below 0.25." in sentences
    assert not [sentence for sentence in sentences if sentence.startswith("Corrected")]


def test_runs_that_are_all_alike_are_called_so() -> None:
    comparison = compare_strategies([finding(name, seed, [2]) for name in "abc" for seed in range(3)], "task")
    sentences = task_sentences(comparison)
    assert sentences[0].startswith("All runs are alike in where the groups sit (p = 1 ")
    assert not [sentence for sentence in sentences if "With three seeds" in sentence]


def test_a_strategy_in_words() -> None:
    runs = [finding("low", 0, [1]), finding("low", 1, [1, 3]), finding("low", 2)]
    runs = [replace(run, accuracy=accuracy) for run, accuracy in zip(runs, (0.8, 0.9, 0.85), strict=True)]
    runs[1] = replace(runs[1], converged=None)
    (summary,) = compare_strategies(runs, "task").strategies
    groups, share, accuracy = summary.groups, summary.boundary_share[1], summary.accuracy
    assert strategy_sentence(summary).startswith(
        f"low (three runs): 2.0 groups (95 % interval {groups.low:.1f} to {groups.high:.1f}); boundaries after layer 2 "
        f"in 2 of 3 runs (95 % interval {share.low:.0%} to {share.high:.0%}) and after layer 4 in 1 of 3 runs"
    )
    assert "groups unchanged from step 100 on in 1 of 3 runs; groups not seen to settle by the last look in 1 of 3" in (
        strategy_sentence(summary)
    )
    assert f"accuracy 0.850 (95 % interval {accuracy.low:.3f} to {accuracy.high:.3f});" in strategy_sentence(summary)
    (single,) = compare_strategies(runs[:1], "task").strategies
    assert strategy_sentence(single) == (
        "low (one run): two groups; a boundary after layer 2; groups unchanged from step 100 on; accuracy 0.800."
    )
