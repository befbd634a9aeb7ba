"""Which layers of one strategy of a task correspond to which of the others, from what its runs kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_gw.records.representations import KEPT_FILE, load_representations
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.correspondence import Correspondence, average_correspondence, correspondence
from lightning_gw.utilities.errors import UsageError, near_names, sentence
from lightning_gw.utilities.progress import Progress
from lightning_gw.utilities.storage.files import LARGEST_ARRAYS, read_regular, read_text, write_whole
from lightning_gw.utilities.storage.json_values import from_json, to_json

#: What was computed before, beside the page, so that the page is quick to write again.
CACHE_FILE = "correspondences.json"
_CACHE_SCHEMA = 1


@dataclass(frozen=True)
class TaskRectangles:
    """Correspondences of one strategy of a task with every strategy, itself among them.

    Attributes:
        reference: The one strategy.
        found: Strategy to the mean over pairs of runs; the reference's own is between different seeds, and shows how
            well layers correspond where nothing but the seed differs.
        across_seeds: Whether the pairs are of different seeds, which start from different weights.
        missing: Why there is none, or not all; empty where all is there.
    """

    reference: str
    found: Mapping[str, Correspondence]
    across_seeds: bool
    missing: str


def rectangles_of(
    runs: Sequence[ReportRun], cache: Path, progress: Progress | None = None, reference: str | None = None
) -> Mapping[str, TaskRectangles]:
    """Compare the layers of one strategy of every task with those of all its strategies.

    Runs are paired with one of another seed where there are several: runs of one seed start from the same weights, so
    that layers that training left alone correspond for that reason alone.

    Args:
        runs: All runs of a comparison.
        cache: File in which results are kept. What it holds of the same representations is not computed again.
        progress: Called with (pairs of layers done, in all) of what is computed.
        reference: The strategy that the others of its task are compared with. None, and tasks that have no strategy
            of that name, take the first one that kept representations.

    Returns:
        Task to its correspondences.

    Raises:
        UsageError: If no task has a strategy named `reference`.
    """
    names = list(dict.fromkeys(run.strategy for run in runs))
    if reference is not None and reference not in names:
        raise UsageError(
            sentence(f"No strategy here is named {reference!r}.", near_names(reference, names, dotted=False))
        )
    known = _read_cache(cache)
    finished = [run for run in runs if run.status == "finished"]
    plans = {
        task: _plan([run for run in finished if run.task == task], reference)
        for task in dict.fromkeys(run.task for run in runs)
    }
    hashes = {file: _hash(file) for file in map(_kept, finished) if file.is_file()}
    keys = {
        (task, other): [[hashes[_kept(one)], hashes[_kept(two)]] for one, two in pairs]
        for task, plan in plans.items()
        for other, pairs in plan.others.items()
    }
    todo = [
        pair for (task, other), key in keys.items() if _known(known, key) is None for pair in plans[task].others[other]
    ]
    count = _Counter(sum(map(_size, todo)), progress)
    made: dict[str, TaskRectangles] = {}
    # What runs that trained on have replaced is not kept on; what another reference asked for is.
    present = set(hashes.values())
    entries = [entry for entry in known if all(name in present for pair in entry["pairs"] for name in pair)]
    for task, plan in plans.items():
        found: dict[str, Correspondence] = {}
        problems = [plan.missing] if plan.missing else []
        for other, pairs in plan.others.items():
            key = keys[task, other]
            entry = _known(known, key)
            if entry is None:
                try:
                    entry = {"pairs": key, "found": to_json(replace(_compare(pairs, count), gw=None))}
                except (OSError, ValueError) as error:
                    problems.append(f"{plan.reference} and {other}: {error}")
                    continue
                entries.append(entry)
                _write_cache(cache, entries)  # at once: whoever stops here goes on here
            found[other] = from_json(entry["found"], Correspondence)
        made[task] = TaskRectangles(plan.reference, found, plan.across_seeds, " ".join(problems))
    return made


@dataclass(frozen=True)
class _Plan:
    """Which runs of a task are compared: strategy to pairs of (run of the reference, run of that strategy)."""

    reference: str
    others: Mapping[str, Sequence[tuple[ReportRun, ReportRun]]]
    across_seeds: bool
    missing: str


def _plan(runs: Sequence[ReportRun], asked: str | None = None) -> _Plan:
    strategies = list(dict.fromkeys(run.strategy for run in runs))
    with_kept = {
        strategy: [run for run in runs if run.strategy == strategy and _kept(run).is_file()] for strategy in strategies
    }
    reference = next((strategy for strategy in strategies if with_kept[strategy]), "")
    if asked is not None and asked in with_kept:
        if not with_kept[asked]:
            return _Plan(asked, {}, False, f"No finished run of {asked} kept its representations.")
        reference = asked
    if not reference:
        return _Plan(
            "", {}, False, "No run kept its representations, which GWSimilarity(keep_representations=True) does."
        )
    own = sorted(with_kept[reference], key=lambda run: (run.seed is None, run.seed))
    across = len(own) > 1
    others: dict[str, list[tuple[ReportRun, ReportRun]]] = {}
    for strategy, theirs in with_kept.items():
        by_seed = {run.seed: run for run in theirs}
        # Each run of the reference with the next seed of the other, the last with the first.
        partners = [by_seed.get(own[(place + across) % len(own)].seed) for place in range(len(own))]
        pairs = [(run, partner) for run, partner in zip(own, partners, strict=True) if partner and partner is not run]
        if pairs:
            others[strategy] = pairs
    lacking = [strategy for strategy in strategies if not with_kept[strategy]]
    missing = f"Without {', '.join(lacking)}: no representations were kept." if lacking else ""
    return _Plan(reference, others, across, missing)


class _Counter:
    """Pairs of layers that were compared so far."""

    def __init__(self, of: int, progress: Progress | None) -> None:
        self._done, self._of, self._progress = 0, of, progress or (lambda done, of: None)

    def step(self, size: int) -> Progress:
        """What is told of one pair of runs, with `size` pairs of layers, while it is compared, and at its end."""
        before = self._done
        self._done += size
        return lambda done, of: self._progress(before + size * done // max(of, 1), self._of)


def _size(pair: tuple[ReportRun, ReportRun]) -> int:
    """How many pairs of layers two runs have, as their looks say."""
    one, other = (len(run.history[-1].layers) if run.history else 1 for run in pair)
    return one * other


def _compare(pairs: Sequence[tuple[ReportRun, ReportRun]], count: _Counter) -> Correspondence:
    found = []
    for one, other in pairs:
        gw = one.history[-1].gw if one.history else None
        geometry = gw.geometry if gw is not None and gw.unit_scale else "standardized"
        kept = [load_representations(_kept(run).parent) for run in (one, other)]
        moved = count.step(_size((one, other)))
        found.append(replace(correspondence(*kept, geometry=geometry, progress=moved), gw=None))
        moved(1, 1)
    return average_correspondence(found)


def _kept(run: ReportRun) -> Path:
    return (run.history.path or run.folder / "gw") / KEPT_FILE


def _hash(file: Path) -> str:
    return hashlib.sha256(read_regular(file, LARGEST_ARRAYS)).hexdigest()[:24]


def _read_cache(file: Path) -> list[dict[str, Any]]:
    """What was computed before; nothing where there is no such file, or it is of another version or damaged."""
    try:
        content = json.loads(read_text(file))
        entries = content["correspondences"] if content["schema"] == _CACHE_SCHEMA else []
        for entry in entries:
            from_json(entry["found"], Correspondence)
        return list(entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _write_cache(file: Path, entries: Sequence[dict[str, Any]]) -> None:
    content = {"schema": _CACHE_SCHEMA, "correspondences": list(entries)}
    write_whole(file, json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def _known(entries: Sequence[dict[str, Any]], pairs: list[list[str]]) -> dict[str, Any] | None:
    return next((entry for entry in entries if entry.get("pairs") == pairs), None)
