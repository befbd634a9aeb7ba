"""The ``lightning-gw`` command: ``fit``, ``compare``, ``report``, ``workspace``, ``replay``, ``test``,
``probe-report``, ``skip-test``, ``export``.

This file stays light: torch and Lightning cost seconds to import, so each subcommand imports what it needs when it runs
and ``lightning-gw --help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_gw.command_line import PROG, command_parser
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        Exit code: 0 when all went well, 1 when a run failed, 2 when the command or a config cannot be used as given,
        130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A console script does not look for modules where the user stands, `python -m` does: make both find their code.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if arguments[:1] == ["fit"]:
            return _fit(arguments[1:])
        options = command_parser(_COMMANDS).parse_args(arguments)
        return int(options.run(options))
    except UsageError as error:
        say(f"{PROG}: {error}", stream=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _fit(arguments: Sequence[str]) -> int:
    from lightning_gw.lightning_cli.fit import fit

    fit(arguments)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from lightning_gw.compare import compare, read_plan, write_sweep

    out = None if options.out is None else Path(options.out)
    if options.sweep is not False:
        config = Path(options.config)
        file = write_sweep(read_plan(config, out), config, None if options.sweep is None else Path(options.sweep), out)
        say(f"Wrote {file}; its first lines say how to start it with W&B.")
        return 0
    return compare(
        options.config,
        out=out,
        workers=options.workers,
        wandb=options.wandb,
        dry_run=options.dry_run,
        trial=not options.no_trial,
        executor=options.executor,
        ray_address=options.ray_address,
        only=options.only,
        strategies=options.strategy,
        seeds=options.seed,
    )


def _report(options: argparse.Namespace) -> int:
    from lightning_gw.report.command import report

    report(options.path, options.out, options.reference, options.open)
    return 0


def _workspace(options: argparse.Namespace) -> int:
    from lightning_gw.loggers.workspace import save_run_workspace

    for line in save_run_workspace(options.project, options.prefix):
        say(line)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from lightning_gw.lightning_cli.replay import replay

    replay(options.checkpoints, options.config, options.out)
    return 0


def _test(options: argparse.Namespace) -> int:
    from lightning_gw.lightning_cli.p_values import NETWORKS, find_p_values

    networks = NETWORKS if options.networks is None else options.networks
    find_p_values(options.run_path, options.config or (), options.out, networks)
    return 0


def _probe_report(options: argparse.Namespace) -> int:
    from lightning_gw.probe_report.command import POOLINGS, SIZES, report_on_probe

    report_on_probe(
        options.checkpoint,
        options.config,
        options.out,
        sizes=SIZES if options.sizes is None else options.sizes,
        poolings=POOLINGS if options.poolings is None else options.poolings,
        balances=options.balance,
        without=options.without,
        draws=options.draws_of_probe,
    )
    return 0


def _skip_test(options: argparse.Namespace) -> int:
    from lightning_gw.lightning_cli.skip_test import run_skip_test

    run_skip_test(options.checkpoint, options.config, options.out, options.metric, options.mode)
    return 0


def _export(options: argparse.Namespace) -> int:
    from lightning_gw.lightning_cli.export import export

    chosen = {name: getattr(options, name) for name in ("group", "step", "control", "anyway", "inside")}
    of_format = {name: getattr(options, name) for name in ("targets", "rank", "also", "model")}
    text, said = export(options.path, options.to, **chosen, **of_format)
    if options.out is None:
        print(text, end="")
    else:
        try:
            Path(options.out).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written ({error}).") from error
    print(f"{said[:1].upper()}{said[1:]}.", file=sys.stderr)
    return 0


_COMMANDS = {
    "compare": _compare,
    "report": _report,
    "workspace": _workspace,
    "replay": _replay,
    "test": _test,
    "probe-report": _probe_report,
    "skip-test": _skip_test,
    "export": _export,
}
