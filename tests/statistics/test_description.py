"""Comparisons in words: what is claimed follows the figures, and every claim carries them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from snapshots import Snapshots
from synthetic_findings import finding, planted, seeds_decide

from lightning_gw.statistics import compare_strategies, strategy_sentence, task_sentences

CHANGES = "The strategy changes"


def test_a_planted_difference_is_claimed_with_its_figures(snapshots: Snapshots) -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (0, 2, 4), 3), "task")
    sentences = task_sentences(comparison)
    assert sentences[0].startswith(CHANGES)
    assert f"{comparison.overall['groups'].between:.3f}" in sentences[0]
    snapshots.compare("planted difference", "\n".join(sentences))


def test_what_seeds_explain_is_claimed_of_no_strategy(snapshots: Snapshots) -> None:
    comparison = compare_strategies(seeds_decide(np.random.default_rng(0), 3, 3), "task")
    assert min(overall.p for overall in comparison.overall.values()) > 0.05
    sentences = task_sentences(comparison)
    assert sum("is not told from seed noise" in sentence for sentence in sentences) == 2
    assert not [sentence for sentence in sentences if sentence.startswith(CHANGES)]
    assert not [s for s in sentences if "With three seeds" in s], "more seeds are of no use where nothing lies apart"
    snapshots.compare("seeds decide", "\n".join(sentences))


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


def test_single_seeds_are_told_but_nothing_is_tested(snapshots: Snapshots) -> None:
    comparison = compare_strategies([finding("a", 0, [1]), finding("b", 0, [3]), finding("c", 0)], "task")
    assert "p =" not in " ".join(task_sentences(comparison))
    snapshots.compare("single seeds", "\n".join([*task_sentences(comparison), *comparison.notes]))


def test_two_strategies_say_how_small_p_can_get_and_do_not_repeat_themselves(snapshots: Snapshots) -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (1, 3), 3), "task")
    sentences = task_sentences(comparison)
    assert not [sentence for sentence in sentences if sentence.startswith("Corrected")]
    snapshots.compare("two strategies", "\n".join(sentences))


def test_runs_that_are_all_alike_are_called_so(snapshots: Snapshots) -> None:
    comparison = compare_strategies([finding(name, seed, [2]) for name in "abc" for seed in range(3)], "task")
    sentences = task_sentences(comparison)
    assert not [sentence for sentence in sentences if "With three seeds" in sentence]
    snapshots.compare("all alike", "\n".join(sentences))


def test_a_strategy_in_words(snapshots: Snapshots) -> None:
    runs = [finding("low", 0, [1]), finding("low", 1, [1, 3]), finding("low", 2)]
    runs = [replace(run, accuracy=accuracy) for run, accuracy in zip(runs, (0.8, 0.9, 0.85), strict=True)]
    runs[1] = replace(runs[1], converged=None)
    (summary,) = compare_strategies(runs, "task").strategies
    groups, share, accuracy = summary.groups, summary.boundary_share[1], summary.accuracy
    said = strategy_sentence(summary)
    for figures in (
        f"2.0 groups (95 % interval {groups.low:.1f} to {groups.high:.1f})",
        f"2 of 3 runs (95 % interval {share.low:.0%} to {share.high:.0%})",
        f"0.850 (95 % interval {accuracy.low:.3f} to {accuracy.high:.3f})",
    ):
        assert figures in said
    (single,) = compare_strategies(runs[:1], "task").strategies
    snapshots.compare("strategies", f"{said}\n{strategy_sentence(single)}")
