"""``lightning-gw fit``: Lightning's own command line, for any LightningModule and LightningDataModule by class path."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_gw.lightning_cli.options import check_options, find_class, origin
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say


def fit(arguments: Sequence[str]) -> None:
    """Train as the arguments say.

    Args:
        arguments: What follows ``lightning-gw fit``.

    Raises:
        UsageError: If an option or a config cannot be used.
    """
    FitCLI.run(arguments)


def check(arguments: Sequence[str]) -> None:
    """Parse the arguments of ``lightning-gw fit`` as it would, then stop: nothing is built or trained.

    Raises:
        UsageError: If an option or a config cannot be used.
    """
    try:
        _CheckOnlyCLI.run(arguments)
    except _CheckedError:
        return


class SaveRunConfig(SaveConfigCallback):
    """Saves the merged config into the run folder where there is one, else where Lightning would."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, run_dir: str | None = None) -> None:
        super().__init__(parser, config, overwrite=True, save_to_log_dir=run_dir is None)
        self.run_dir = run_dir

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write ``config.yaml`` into the run folder; called on the first process only."""
        if self.run_dir is None:
            return
        folder = Path(self.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.parser.save(
            self.config, str(folder / self.config_filename), skip_none=False, overwrite=True, multifile=False
        )


class SayIfUnwatched(Callback):
    """Says at the start when nothing will look at the layers, which is what this command is for."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look through the callbacks once those of the module have joined them."""
        from lightning_gw.callback.gw_similarity import GWSimilarity

        callbacks: Sequence[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if trainer.is_global_zero and not any(isinstance(callback, GWSimilarity) for callback in callbacks):
            say(
                "No GWSimilarity is attached, so the layers will not be looked at; to attach one, add "
                "--trainer.callbacks+=lightning_gw.GWSimilarity"
            )


class FitCLI(LightningCLI):
    """LightningCLI with the one subcommand ``fit``, errors in sentences, and ``--run_dir``.

    ``--run_dir DIR`` puts everything a run leaves behind into one folder: the merged config, checkpoints, and the
    ``gw/`` history of a GWSimilarity callback, wherever these were not placed by hand.
    """

    @classmethod
    def run(cls, arguments: Sequence[str]) -> FitCLI:
        """Parse and train; see `fit`."""
        return cls(
            args=["fit", *arguments],
            save_config_callback=SaveRunConfig,
            trainer_defaults={"callbacks": [SayIfUnwatched()]},
            # Errors are raised, not printed with a usage text: main() says them in a sentence.
            parser_kwargs={"prog": "lightning-gw", "exit_on_error": False, "fit": {"exit_on_error": False}},
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only ``fit``: building a parser for each of Lightning's subcommands costs a second apiece."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--run_dir``."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder for everything this run leaves behind: config.yaml, checkpoints/, gw/ and the logs of loggers "
            "without a folder of their own.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Check the names of all options, then parse."""
        assert isinstance(args, list)
        configs, options = _given(args[1:])
        defaults = self._subcommand_parsers["fit"].get_defaults()
        if not {"-h", "--help"} & set(args):
            check_options(list(defaults.keys()), configs, options)
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(_explain(str(error), configs)) from error

    def before_instantiate_classes(self) -> None:
        """Let ``--run_dir`` fill the places that no config filled."""
        config = self.config.fit
        if config.run_dir is None:
            return
        folder = str(Path(config.run_dir).absolute())
        self.save_config_kwargs = {**self.save_config_kwargs, "run_dir": folder}
        if config.trainer.default_root_dir is None:
            config.trainer.default_root_dir = folder
        callbacks = config.trainer.callbacks
        for callback in callbacks if isinstance(callbacks, list) else filter(None, [callbacks]):
            place = _place_of(callback.class_path)
            if place and callback.get("init_args") is not None and callback.init_args.get(place[0]) is None:
                callback.init_args[place[0]] = str(Path(folder, place[1]))


class _CheckedError(Exception):
    """Parsing succeeded, and no more was wanted."""


class _CheckOnlyCLI(FitCLI):
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        raise _CheckedError


def _place_of(class_path: str) -> tuple[str, str] | None:
    """Which parameter of a callback says where it writes, and the folder inside the run's; None for all others."""
    from lightning_gw.callback.gw_similarity import GWSimilarity

    target = find_class(class_path, "trainer.callbacks")
    if not isinstance(target, type):
        return None
    if issubclass(target, GWSimilarity):
        return "save_dir", ""
    if issubclass(target, ModelCheckpoint):
        return "dirpath", "checkpoints"
    return None


def _given(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Config files and dotted option names among arguments."""
    configs: list[Path] = []
    options: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("-c", "--config"):
            configs.append(Path(value if equals else next(words, "")))
        elif name.startswith("--") and not name.startswith("--print_") and name != "--help":
            option = name.removeprefix("--").removesuffix("+")
            if not option.endswith(".help"):
                options.append(option)
    return configs, options


def _explain(message: str, configs: Sequence[Path]) -> str:
    """jsonargparse's message, with the file the option stands in and without its list of alternatives."""
    found = re.match(r'Parser key "([^"]+)":\s*', message)
    if not found:
        return message
    option, problem = found.group(1), message[found.end() :]
    # Where a value fits none of several types, one line per type says why; the line about the class says it best.
    inner = re.search(r"Problem with given class_path '([^']+)':\s*\n((?:\s{6,}.+\n?)+)", problem)
    if inner:
        problem = f"{inner.group(1)}: {inner.group(2).strip()}"
    place = origin(option, configs)
    return f"{place + ': ' if place else ''}{option}: {' '.join(problem.split())}"
