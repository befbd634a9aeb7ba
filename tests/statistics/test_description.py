"""Comparisons in words: what is claimed follows the figures, and every claim carries them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from snapshots import Snapshots
from synthetic_findings import finding, planted, seeds_decide

from lightning_gw.statistics import compare_strategies, strategy_sentence, task_sentences
from lightning_gw.statistics.verdict import headline_of_tasks, next_step, smallest_p, verdict

CHANGES = "The strategy changes"


def test_a_planted_difference_is_claimed_with_its_figures(snapshots: Snapshots) -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (0, 2, 4), 3), "task")
    sentences = task_sentences(comparison)
    assert sentences[0].startswith(CHANGES)
    assert any(f"{comparison.overall['groups'].between:.3f}" in sentence for sentence in sentences)
    snapshots.compare("planted difference", "\n".join(sentences))


def test_what_seeds_explain_is_claimed_of_no_strategy(snapshots: Snapshots) -> None:
    comparison = compare_strategies(seeds_decide(np.random.default_rng(0), 3, 3), "task")
    assert min(overall.p for overall in comparison.overall.values()) > 0.05
    sentences = task_sentences(comparison)
    assert sentences[0].startswith("No difference found")
    assert not [sentence for sentence in sentences if CHANGES in sentence]
    snapshots.compare("seeds decide", "\n".join(sentences))


@pytest.mark.parametrize("make", [lambda g: planted(g, (0, 2, 4), 3), lambda g: seeds_decide(g, 4, 3)])
def test_no_claim_without_its_p_value_and_number_of_runs(make) -> None:
    comparison = compare_strategies(make(np.random.default_rng(1)), "task")
    for sentence in task_sentences(comparison):
        if sentence.startswith("In ") and "runs of different strategies" in sentence:
            assert re.search(r"p = [\d.e-]+ from \d+ relabellings within seeds; \w+ runs of \w+ strategies", sentence)
        elif sentence.startswith("Corrected"):
            assert len(re.findall(r"corrected p = ", sentence)) == sentence.count(" apart against ") >= 1
        elif sentence.startswith("In "):
            assert re.search(r"boundar.* \d of \d runs", sentence)


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
    assert task_sentences(comparison)[0].startswith("Not tested: with one seed")
    snapshots.compare("single seeds", "\n".join([*task_sentences(comparison), *comparison.notes]))


def test_two_strategies_say_how_small_p_can_get_and_do_not_repeat_themselves(snapshots: Snapshots) -> None:
    comparison = compare_strategies(planted(np.random.default_rng(0), (1, 3), 3), "task")
    sentences = task_sentences(comparison)
    assert not [sentence for sentence in sentences if sentence.startswith("Corrected")]
    snapshots.compare("two strategies", "\n".join(sentences))


def test_runs_that_are_all_alike_are_called_so(snapshots: Snapshots) -> None:
    comparison = compare_strategies([finding(name, seed, [2]) for name in "abc" for seed in range(3)], "task")
    sentences = task_sentences(comparison)
    assert sentences[0].startswith("No difference found")
    snapshots.compare("all alike", "\n".join(sentences))


def test_a_strategy_in_words(snapshots: Snapshots) -> None:
    runs = [finding("low", 0, [1]), finding("low", 1, [1, 3]), finding("low", 2)]
    runs = [replace(run, accuracy=accuracy) for run, accuracy in zip(runs, (0.8, 0.9, 0.85), strict=True)]
    runs[1] = replace(runs[1], converged=None)
    (summary,) = compare_strategies(runs, "task").strategies
    share, accuracy = summary.boundary_share[1], summary.accuracy
    said = strategy_sentence(summary)
    for figures in (
        "three groups in one, two groups in one and no groups in one",
        f"2 of 3 runs (95 % interval {share.low:.0%} to {share.high:.0%})",
        f"0.850 (95 % interval {accuracy.low:.3f} to {accuracy.high:.3f})",
    ):
        assert figures in said
    (single,) = compare_strategies(runs[:1], "task").strategies
    snapshots.compare("strategies", f"{said}\n{strategy_sentence(single)}")


@pytest.mark.parametrize(
    ("strategies", "seeds", "needed", "least"), [(2, 3, 6, 1 / 4), (2, 5, 6, 1 / 16), (3, 2, 3, 1 / 6)]
)
def test_what_so_few_seeds_cannot_tell_is_the_answer_also_where_nothing_lies_apart(
    strategies: int, seeds: int, needed: int, least: float
) -> None:
    for findings in (
        seeds_decide(np.random.default_rng(0), strategies, seeds),
        planted(np.random.default_rng(0), tuple(range(strategies)), seeds),
    ):
        comparison = compare_strategies(findings, "task")
        assert smallest_p(comparison) == pytest.approx(least)
        assert verdict(comparison).startswith("No difference found. With ")
        assert f"cannot reach p below {least:.2g}." in verdict(comparison)
        assert f"seeds: {[*range(needed)]}" in next_step(comparison)
    enough = compare_strategies(planted(np.random.default_rng(0), tuple(range(strategies)), needed), "task")
    assert enough.overall["groups"].p < 0.05, "the number of seeds that was named is enough"


def test_one_task_is_answered_whole_and_several_in_a_clause_each() -> None:
    found = compare_strategies(planted(np.random.default_rng(0), (0, 2, 4), 3), "a")
    few = compare_strategies(planted(np.random.default_rng(0), (0, 2), 3), "b")
    single = compare_strategies([finding("x", 0, [1]), finding("y", 0)], "c")
    assert headline_of_tasks({"a": found}) == verdict(found)
    told = headline_of_tasks({"a": found, "b": few, "c": single})
    assert told.startswith("a: the strategy changes where the groups sit and how similar")
    assert told.endswith("b: no difference found, nor could so few seeds show one; c: not tested.")
    assert headline_of_tasks({"c": single, "d": single}).startswith("Single runs: a first look")


def test_no_place_is_called_usual_that_most_runs_lack() -> None:
    runs = [finding("scattered", seed, [seed]) for seed in range(3)] + [finding("none", seed) for seed in range(3)]
    said = " ".join(task_sentences(compare_strategies(runs, "task")))
    assert "In scattered no place has a boundary in more than 1 of 3 runs; in none there is none in any of 3" in said
    assert "most often" not in said


#: Boundaries of each run of each strategy, and what is said of them.
WHERE = {
    'In "mine, run x" a boundary stands after layer 5; in other there is none.': {"mine, run x": [[4]], "other": [[]]},
    "In a and b a boundary stands after layer 5.": {"a": [[4]], "b": [[4]]},
    "In a and b no boundary stands.": {"a": [[]], "b": [[]]},
    "In a and c boundaries stand after layers 2 and 5; in d a boundary stands after layer 5; in b there is none.": {
        "a": [[1, 4]],
        "b": [[]],
        "c": [[1, 4]],
        "d": [[4]],
    },
    "In a and b boundaries stand after layers 2 and 5 in 2 of 2 runs each; in c there is none in any of 2 runs.": {
        "a": [[1, 4], [1, 4]],
        "b": [[1, 4], [1, 4]],
        "c": [[], []],
    },
    "In a boundaries stand after layer 2 in 3 of 3 and after layer 5 in 2 of 3 runs.": {"a": [[1, 4], [1, 4], [1]]},
    "In a and b a boundary stands after layer 2 in 2 of 3 runs each.": {
        "a": [[1], [1], []],
        "b": [[1], [1], []],
    },
    "In a and b no boundary stands in any of 2 runs each.": {"a": [[], []], "b": [[], []]},
}


@pytest.mark.parametrize("said", WHERE)
def test_where_boundaries_stand_is_said_in_whole_words_and_once_where_strategies_agree(said: str) -> None:
    runs = [
        finding(strategy, seed, boundaries)
        for strategy, places in WHERE[said].items()
        for seed, boundaries in enumerate(places)
    ]
    assert said in task_sentences(compare_strategies(runs, "task"))
