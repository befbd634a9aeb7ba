"""What acting on groups gains over acting on as many layers chosen otherwise.

python -m benchmarks.using_groups                        # what is missing of configs/studies/using_groups.yaml
python -m benchmarks.using_groups --whole                # the language model at its full size
python -m benchmarks.using_groups --only ConvNet         # one network

Every finished measurement is a line of ``measurements.jsonl`` in the study's folder. A study that was interrupted goes
on where it was; what changes in the config of a network is measured anew, and the older lines do not count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.using_groups.measurements import Row, appending, read_rows
from benchmarks.using_groups.plan import CONFIG, Plan, read_plan
from benchmarks.using_groups.workers import Job, StudyError, run_jobs
from lightning_gw.utilities.errors import UsageError


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG, help="what to measure")
    parser.add_argument("--out", type=Path, help="folder of the measurements, in place of the config's")
    parser.add_argument("--whole", action="store_true", help="the larger settings of networks that have them")
    parser.add_argument("--only", nargs="+", metavar="NETWORK", help="these networks and no others")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, one thread each")
    return parser.parse_args(arguments)


def jobs_of(plan: Plan, rows: Sequence[Row], only: Sequence[str] | None = None) -> list[Job]:
    """What is missing, one job for each network and seed, those with most left to do and the largest network first.

    Raises:
        UsageError: If there is no such network.
    """
    if unknown := [name for name in only or () if name not in plan.networks]:
        raise UsageError(f"There is no network {unknown[0]!r}; there are {', '.join(plan.networks)}.")
    missing = {key: cases for key, cases in plan.missing(rows).items() if only is None or key[0] in only}
    # A network that is taken as it came is one too large to be trained here: begun last, it would be waited for alone.
    ordered = sorted(missing, key=lambda key: (plan.networks[key[0]].train > 0, -len(missing[key])))
    return [(plan.networks[name], seed, missing[name, seed]) for name, seed in ordered]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    options = parse(arguments)
    console = Console()
    try:
        plan = read_plan(options.config, options.whole, options.out)
        with appending(plan.out) as measurements:
            jobs = jobs_of(plan, read_rows(plan.out), options.only)
            count = sum(len(cases) for _, _, cases in jobs)
            if not count:
                console.print(f"Nothing is missing in {plan.out}.")
                return
            console.print(f"{count} measurements of {len(jobs)} networks and seeds are missing in {plan.out}.")
            began = time.monotonic()
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
                task = progress.add_task("using groups", total=count)

                def add(row: Row) -> None:
                    measurements.add(row)
                    progress.update(task, advance=1, description=f"{row['network']}, seed {row['seed']}")

                run_jobs(jobs, plan.out, options.workers, add)
            console.print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes.")
    except (UsageError, StudyError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Interrupted; the same command goes on from here.") from None


if __name__ == "__main__":
    main()
