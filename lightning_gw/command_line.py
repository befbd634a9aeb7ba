"""What can be written after ``lightning-gw``: its commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NoReturn

from lightning_gw.__about__ import __version__
from lightning_gw.utilities.errors import UsageError, near_names

PROG = "lightning-gw"
DESCRIPTION = "Watch sub-networks form: Gromov-Wasserstein similarity of a network's layers while it trains."


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence and offer near names."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split(" ") if "unrecognized" in message else []
        known = [option for action in self._actions for option in action.option_strings]
        hints = [near_names(word.split("=")[0], known) for word in unknown if word.startswith("-")]
        raise UsageError(" ".join([message[:1].upper() + message[1:] + ".", *filter(None, hints)]))


def command_parser(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        run: Command to the function that does it, given the options.
    """
    parser = _Parser(prog=PROG, description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(
        required=True,
        metavar="{fit,compare,report,workspace,replay,test,probe-report,skip-test,export}",
        parser_class=_SubParser,
    )

    # Listed for --help only: main() hands `fit` to LightningCLI, which has its own --help.
    commands.add_parser("fit", help="train one model, any LightningModule by class path (`fit --help` for its options)")

    compare = commands.add_parser(
        "compare",
        help="train every strategy of a config and draw them side by side",
        description="Train every strategy and seed of CONFIG, each in a process of its own, and write OUT/report.html. "
        "After an interruption the same command goes on where it stopped.",
    )
    compare.add_argument("config", metavar="CONFIG", help="YAML file that names experiments, strategies and seeds")
    compare.add_argument("--out", metavar="DIR", help="where everything goes (default: `out` of CONFIG)")
    compare.add_argument(
        "--workers", type=int, metavar="N", help="runs at a time (default: cores divided by the threads of a run)"
    )
    compare.add_argument(
        "--wandb",
        choices=["offline", "online", "disabled"],
        default="offline",
        help="Weights & Biases: kept on disk (default), sent, or not used",
    )
    compare.add_argument(
        "--executor", metavar="NAME", help="local (processes on this machine; the default) or ray (tasks on a cluster)"
    )
    compare.add_argument(
        "--ray-address", metavar="ADDRESS", help="Ray cluster to run on, HOST:PORT or auto (default: one of its own)"
    )
    compare.add_argument(
        "--only",
        action="append",
        metavar="STRATEGY/seed-K",
        help="do this run only, may be given again; other processes may do others of the same folder meanwhile",
    )
    compare.add_argument(
        "--strategy", action="append", metavar="NAME", help="do the runs of this strategy only, may be given again"
    )
    compare.add_argument(
        "--seed", action="append", type=int, metavar="K", help="do the runs with this seed only, may be given again"
    )
    compare.add_argument(
        "--sweep",
        nargs="?",
        default=False,
        metavar="FILE",
        help="write the plan as a W&B sweep (default: CONFIG's name with .sweep.yaml) and stop",
    )
    compare.add_argument(
        "--dry-run",
        action="store_true",
        help="check the configs, print the plan and how long it will take, by a trial of a few steps, and stop",
    )
    compare.add_argument("--no-trial", action="store_true", help="with --dry-run: train nothing, tell no time")
    compare.set_defaults(run=run["compare"])

    report = commands.add_parser(
        "report",
        help="rebuild the page of a comparison, of one run or of several from disk",
        description="Rebuild report.html of a comparison, of one run, or of several runs side by side, from disk.",
    )
    report.add_argument("path", nargs="+", metavar="PATH", help="folder of a comparison or of a run, or several runs")
    report.add_argument(
        "--out",
        metavar="PAGE",
        help="the page, or the folder that report.html goes to (default: PATH; of several runs, here)",
    )
    report.add_argument("--open", action="store_true", help="open the page in a browser")
    report.add_argument(
        "--reference",
        metavar="STRATEGY",
        help="the strategy whose layers are compared with those of the others (default: the first of each task)",
    )
    report.set_defaults(run=run["report"])

    workspace = commands.add_parser(
        "workspace",
        help="save a W&B workspace that opens on what was found",
        description="Upload the charts to W&B, and save in PROJECT a workspace that shows groups, matrix, "
        "distances and evidence of its runs. Needs `wandb login` and the package wandb-workspaces.",
    )
    workspace.add_argument("project", metavar="ENTITY/PROJECT", help="the project, as in the address of its W&B page")
    workspace.add_argument("--prefix", default="gw/", metavar="PREFIX", help="what log keys begin with (default: gw/)")
    workspace.set_defaults(run=run["workspace"])

    again = commands.add_parser(
        "replay",
        help="look at the saved checkpoints of a run, without training",
        description="Look at the saved checkpoints of a finished run, watched or not, and write OUT/gw: the records "
        "that were or would have been found during training, to the last bit. Nothing is trained.",
    )
    again.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="files that Lightning saved")
    _add_config(again)
    again.add_argument("--out", default="replay", metavar="DIR", help="where the history goes (default: replay)")
    again.set_defaults(run=run["replay"])

    test = commands.add_parser(
        "test",
        help="give the groups of a finished run p-values",
        description="Look at networks of the run's architecture with fresh weights, through its own probe, and hold "
        "the groups of its last checkpoint against them; write OUT/gw. Nothing is trained.",
    )
    test.add_argument("run_path", metavar="RUN", help="folder of a run that `fit` left, or a checkpoint of any run")
    test.add_argument("-c", "--config", action="append", metavar="FILE", help="config (default: RUN/config.yaml)")
    test.add_argument("--networks", type=int, metavar="N", help="networks with fresh weights (default: 99)")
    test.add_argument("--out", metavar="DIR", help="where the history goes (default: RUN/test)")
    test.set_defaults(run=run["test"])

    probe = commands.add_parser(
        "probe-report",
        help="show how the groups in a checkpoint depend on how one looks",
        description="Look at a saved checkpoint with other probe sizes, poolings, class balance and layers, and with "
        "several random draws of the probe each; say whether the groups depend on them, and write OUT/probe-report.png "
        "and OUT/probe-report.json. Nothing is trained. Lists end at the next option: put CHECKPOINT first.",
    )
    probe.add_argument("checkpoint", metavar="CHECKPOINT", help="file that Lightning saved")
    _add_config(probe)
    probe.add_argument("--out", default="probe-report", metavar="DIR", help="where it goes (default: probe-report)")
    probe.add_argument("--sizes", type=int, nargs="*", metavar="N", help="probe sizes (default: 32 64 128 256)")
    probe.add_argument("--poolings", nargs="*", metavar="NAME", help="poolings (default: auto mean scaled first last)")
    probe.add_argument(
        "--balance",
        nargs="*",
        metavar="LABEL",
        help="index or key of the label in an item, or none (default: the other of what the run does)",
    )
    probe.add_argument("--without", nargs="*", metavar="GLOB", help="layers to leave out (default: the first)")
    probe.add_argument(
        "--draws-of-probe", type=int, default=3, metavar="N", help="draws of the probe a setting (default: 3)"
    )
    probe.set_defaults(run=run["probe-report"])

    skip = commands.add_parser(
        "skip-test",
        help="tell what the network in a checkpoint loses without each layer and each group's interior",
        description="Replace every layer that keeps its shape, and the interior of every group, by the identity; tell "
        "how far the module's own validation metric rises on the probe, beside measures of similarity and as many "
        "layers chosen at random, and write OUT/skip-test.png and OUT/skip-test.json. Nothing is trained.",
    )
    skip.add_argument("checkpoint", metavar="CHECKPOINT", help="file that Lightning saved")
    _add_config(skip)
    skip.add_argument(
        "--out",
        metavar="DIR",
        help="where it goes (default: skip-test, in the run's folder where that holds a history, whose page then shows "
        "it)",
    )
    skip.add_argument("--metric", metavar="NAME", help="metric of the validation to judge by (default: its first loss)")
    skip.add_argument(
        "--mode",
        choices=("min", "max"),
        help="whether less or more of it is better (default: as a ModelCheckpoint or EarlyStopping of the config "
        "that watches it says, else by its name)",
    )
    skip.set_defaults(run=run["skip-test"])
    _add_export(commands, run["export"])
    return parser


def _add_export(commands: argparse._SubParsersAction[_SubParser], run: Callable[[argparse.Namespace], int]) -> None:
    export = commands.add_parser(
        "export",
        help="write a group of a run in the form that peft, finetuning-scheduler or mergekit takes",
        description="Write one of the groups that a run ended with in the form that another tool takes: names of the "
        "model, layers counted from 0. Weak, unstable and built-in groups are refused.",
    )
    export.add_argument("path", metavar="RUN", help="folder of a run")
    export.add_argument(
        "--for",
        dest="to",
        required=True,
        choices=["peft", "finetuning-scheduler", "mergekit", "patterns", "json"],
        help="peft: arguments of LoraConfig; finetuning-scheduler: phases; mergekit: a config that leaves the group's "
        "interior out; patterns: regular expressions for its parameters, one a line; json: all of it",
    )
    export.add_argument(
        "--group", default="last", metavar="G", help="last (default), largest, changed-most, or a number from 1"
    )
    export.add_argument("--step", type=int, metavar="N", help="step of the look (default: the last)")
    export.add_argument(
        "--control", type=int, metavar="SEED", help="write a random block of as many layers in a row instead"
    )
    export.add_argument("--anyway", action="store_true", help="write a group that is weak, unstable or built-in too")
    export.add_argument(
        "--inside", default="", metavar="NAME", help="name of the module that the tool is given (default: all of it)"
    )
    export.add_argument("--targets", nargs="*", metavar="NAME", help="peft: modules to be adapted, such as q_proj")
    export.add_argument("--rank", type=int, metavar="R", help="peft: give the group this rank, and leave others theirs")
    export.add_argument("--also", nargs="*", metavar="REGEX", help="finetuning-scheduler: more for the first phase")
    export.add_argument("--model", metavar="NAME", help="mergekit: the model whose layers are left out")
    export.add_argument("--out", metavar="FILE", help="where it goes (default: printed)")
    export.set_defaults(run=run)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", action="append", required=True, metavar="FILE", help="config of the run, as given to `fit`"
    )


class _SubParser(_Parser):
    """Takes no unknown options itself, so that near names come from the subcommand the user meant."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown
