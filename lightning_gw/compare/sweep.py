"""Parts of a plan: the runs that a command is to do, and the plan as a W&B sweep whose every trial does one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_gw.compare.plan import Plan
from lightning_gw.utilities.errors import UsageError, near_names, sentence
from lightning_gw.utilities.storage.plain_yaml import yaml_text

_MARK = "# The runs of a comparison as a W&B sweep, written by `lightning-gw compare --sweep`."
_HEADER = """\
{mark}
#
#   wandb sweep {file}
#   wandb agent SWEEP      on every machine, as often as runs fit on it, with the name that `wandb sweep` prints
#
# Start the agents in {directory} or in whatever that folder is called on their machine: its
# disk must be shared by all of them. Every agent takes one run after the other. A run that was interrupted goes on from
# its last checkpoint when the sweep is started once more; one that is finished is left alone. Afterwards, or at any
# time between:
#
#   lightning-gw report {out}
"""


def choose_runs(
    plan: Plan,
    only: Sequence[str] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[str] | None:
    """Paths of the runs that a command names, in the order of the plan; None where it names none and so means all.

    Those in `only` are named by their paths; with `strategies` and `seeds`, those that have both are meant.

    Raises:
        UsageError: For a name that is not in the plan, with near names.
    """
    if not (only or strategies or seeds):
        return None
    _require(only or (), [run.path for run in plan.runs], "--only", "run")
    _require(strategies or (), [run.strategy for run in plan.runs], "--strategy", "strategy")
    _require([str(seed) for seed in seeds or ()], [str(run.seed) for run in plan.runs], "--seed", "seed")
    chosen = set(only or ())
    if strategies or seeds:
        chosen |= {
            run.path
            for run in plan.runs
            if (not strategies or run.strategy in strategies) and (not seeds or run.seed in seeds)
        }
    if not chosen:
        raise UsageError("No run of the plan has both such a strategy and such a seed.")
    return [run.path for run in plan.runs if run.path in chosen]


def sweep_config(plan: Plan, config: Path, out: Path | None = None) -> dict[str, Any]:
    """The plan as a W&B sweep: a grid of strategies and seeds where it is one, else a list of its runs.

    Args as those of `write_sweep`, but that `config` is where the agents find it.
    """
    strategies = list(dict.fromkeys(run.strategy for run in plan.runs))
    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    if len(plan.runs) == len(strategies) * len(seeds):
        parameters: dict[str, Any] = {"strategy": {"values": strategies}, "seed": {"values": seeds}}
    else:
        parameters = {"only": {"values": [run.path for run in plan.runs]}}
    command = ["${env}", "${program}", "compare", str(config)]
    if out is not None:
        command += ["--out", str(out)]
    return {
        "name": plan.title,
        **plan.wandb,
        "program": "lightning-gw",
        "method": "grid",
        "parameters": parameters,
        # The agent puts the parameters in place of ${args}, as --strategy=... --seed=... or --only=...
        "command": [*command, "--workers", "1", "--wandb", "online", "${args}"],
    }


def write_sweep(plan: Plan, config: Path, file: Path | None = None, out: Path | None = None) -> Path:
    """Write the plan as a W&B sweep.

    Args:
        plan: The plan.
        config: The comparison's YAML file.
        file: Where to; beside where you are, named after the config, when None.
        out: Folder that stands in for the config's, or None.

    Returns:
        The file.

    Raises:
        UsageError: If there is a file of that name which is no such sweep, or it cannot be written.
    """
    file = Path(f"{config.stem}.sweep.yaml") if file is None else file
    heading = _HEADER.format(mark=_MARK, file=file, directory=Path.cwd(), out=plan.out)
    content = heading + yaml_text(sweep_config(plan, config, out))
    try:
        if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            raise UsageError(f"{file} is no sweep that this command wrote. Give another name: --sweep FILE")
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}. Give another name: --sweep FILE") from error
    return file


def _require(given: Sequence[str], known: Sequence[str], option: str, what: str) -> None:
    for name in given:
        if name not in known:
            hint = near_names(name, known, dotted=False)
            raise UsageError(sentence(f"{option}: the plan has no {what} {name!r}.", hint))
