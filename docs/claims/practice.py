"""What the paper's first version claims of the method in use: any widths, and little work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from claims.verdicts import Verdict, with_interval
from lightning_gw import load_representations
from lightning_gw.report.run.loading import ReportRun
from lightning_gw.statistics.estimates import mean_estimate
from lightning_gw.utilities.text import listed


def widths_may_differ(runs: Sequence[ReportRun], folder: Path) -> Verdict:
    """Found where layers of unequal width, and of unequal scale, were all measured against each other."""
    claim = "Layers may differ in width and distribution."
    evidence, widest, done, pairs_in_all = [], 1.0, 0, 0
    complete = True
    for task in dict.fromkeys(run.task for run in runs):
        run = next((run for run in runs if run.task == task and run.history), None)
        if run is None:
            continue
        layers = load_representations(folder / run.key).layers
        widths = sorted({values.shape[1] for values in layers.values()})
        scales = [float(values.double().square().mean().sqrt()) for values in layers.values()]
        last = run.history[-1].gw
        pairs = np.triu_indices(len(last.layers), 1)
        measured = int(np.isfinite(last.distortion[pairs]).sum())
        complete &= measured == len(pairs[0])
        done, pairs_in_all = done + measured, pairs_in_all + len(pairs[0])
        widest = max(widest, widths[-1] / widths[0])
        evidence.append(
            f"{task} ({run.name}): widths {listed([str(width) for width in widths])}; root mean square of activations "
            f"from {min(scales):.2g} to {max(scales):.2g}; {measured} of {len(pairs[0])} pairs measured."
        )
    evidence.append(
        "The paired measures (RSA, CKA) need no equal widths either; what they cannot do, and GW can, is compare "
        "layers that saw other inputs (docs/unpaired.md)."
    )
    return Verdict(
        claim,
        "found" if complete and widest > 1 else "not found",
        tuple(evidence),
        effect=f"{done} of {pairs_in_all} pairs measured, of widths up to {widest:.0f} times each other (a count)",
        control="RSA and CKA, which need no equal widths either",
    )


def cost_is_low(runs: Sequence[ReportRun], config: Path) -> Verdict:
    """Counted, not judged against a threshold, except that looking must take less time than training did."""
    claim = "It takes little human and computational work."
    evidence = []
    dear, shares = [], []
    for task in dict.fromkeys(run.task for run in runs):
        mine = [run for run in runs if run.task == task and run.history and run.seconds]
        looks = [record.seconds for run in mine for record in run.history]
        whole = sum(run.seconds or 0.0 for run in mine)
        if not mine:
            continue
        share = sum(looks) / whole
        of_each = mean_estimate([sum(record.seconds for record in run.history) / run.seconds for run in mine])
        shares.append(f"{task} {with_interval(of_each, '.0%')}")
        dear += [task] if share > 0.5 else []
        evidence.append(
            f"{task}: a look took {np.median(looks):.1f} s (median of {len(looks)}), all looks {share:.0%} of the "
            f"{whole / len(mine):.0f} s of a run, its start included."
        )
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    lines = [line for line in config.read_text(encoding="utf-8").splitlines() if line.split("#")[0].strip()]
    evidence.insert(
        0,
        "To watch a training of one's own: one line, `callbacks=[GWSimilarity()]`. To state this comparison of "
        f"{len(runs)} runs: {len(lines)} lines of YAML for {len(written['experiments'])} experiments.",
    )
    evidence.append(
        "These trainings are short, and every step that was planned was looked at (`max_overhead: null`); by default "
        "looks are put off where they would take more than 2 % of a training that counts as at least 5 minutes."
    )
    return Verdict(
        claim,
        f"found, with a condition: not on {listed(dear)}" if dear else "found",
        tuple(evidence),
        effect=f"looks take so much of a run's time: {', '.join(shares)}",
        control="the same training without looks",
    )
