"""How good the values of each solver are: ratios to the best known, and how often it is worse than references."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.best_known import load_best_known
from benchmarks.solvers.peers import POT_DEFAULT, POT_IDENTITY
from benchmarks.solvers.problem import FloatArray, Problem, load_problem

#: Values closer than this are equal.
RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12


def judge(problem: Problem, found: dict[str, Any]) -> None:
    """Enter into what was found how good its values are, by the best values known by now."""
    entries = found["solvers"]
    values = {"identity": problem.identity()}
    for key, entry in entries.items():
        if "distortion" in entry:
            values[key] = np.full(len(problem.pairs), np.nan)
            values[key][entry["sample"]] = entry["distortion"]
    known = load_best_known(problem)
    everything = np.nanmin(np.stack(list(values.values())), axis=0)
    best = everything if known is None else problem.euclidean(known)
    found["reference"] = "best of this run" if known is None else "best known"
    entries.setdefault("identity", {})
    for key, entry in entries.items():
        entry.update(quality(problem, values, key, best))
        if entry.get("lower") is not None:
            pairs, lower = np.array(entry["sample"]), np.array(entry["lower"])
            with np.errstate(divide="ignore", invalid="ignore"):
                tightness = problem.standardized(best)[pairs] / lower
            entry["best_over_bound"] = float(np.mean(tightness))
            entry["bounds_above_best"] = int(np.sum(_above(lower, problem.standardized(best)[pairs])))


def judge_again(results: dict[str, Any]) -> None:
    """Judge all sets by the best values known by now, which may be better than when they were measured."""
    for name, found in results["sets"].items():
        network, layers, inputs = name.split("/")
        problem = load_problem(network, int(layers[1:]), int(inputs[1:]))
        if problem.digest == found["digest"]:
            judge(problem, found)


def quality(problem: Problem, values: dict[str, FloatArray], key: str, best: FloatArray) -> dict[str, Any]:
    """Ratios of one solver's values to the best, and how often it is worse than the three references."""
    mine = values[key]
    found: dict[str, Any] = {}
    for geometry, read in (("euclidean", lambda v: v), ("standardized", problem.standardized)):
        denominator = read(best)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Layers that are relabelled copies of each other have no ratio.
            ratio = np.where(denominator > ABSOLUTE_TOLERANCE, read(mine) / denominator, np.nan)
        usable = ratio[~np.isnan(ratio)]
        found[f"mean_ratio_{geometry}"] = float(usable.mean()) if len(usable) else None
        found[f"worst_ratio_{geometry}"] = float(usable.max()) if len(usable) else None
    found["below_best"] = int(np.sum(_above(best, mine)))
    for reference in ("identity", POT_DEFAULT, POT_IDENTITY):
        if reference in values and reference != key:
            both = ~np.isnan(mine) & ~np.isnan(values[reference])
            found[f"worse_than {reference}"] = [int(np.sum(_above(mine, values[reference]))), int(both.sum())]
    return found


def _above(left: FloatArray, right: FloatArray) -> NDArray[np.bool_]:
    """Where `left` exceeds `right` by more than rounding; False where either is NaN."""
    return np.asarray(left > right * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE)
