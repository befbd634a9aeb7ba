"""Lightning's notices about itself, kept out where nothing is trained: they speak of training, and bury the answer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_PACKAGES = ("pytorch_lightning", "lightning", "lightning_fabric")
#: What Lightning logs through, under either of its names.
_LOGGERS = tuple(
    f"{package}.utilities.{file}"
    for package in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
    for file in ("rank_zero", "seed")
)
#: What it warns of that says nothing where nothing is trained.
_ABOUT_TRAINING = ("`max_epochs` was not set", "No seed found, seed set to")


@contextmanager
def without_notices() -> Iterator[None]:
    """Devices, seeds, epochs, tips and deprecations in its own code are not told; all other warnings are.

    What others log through Lightning is told too.
    """
    homes = tuple(home for name in _PACKAGES for home in _folders(name))

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.pathname.startswith(homes)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_others)
    try:
        with warnings.catch_warnings():
            for words in _ABOUT_TRAINING:
                warnings.filterwarnings("ignore", message=words)
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category, module=rf"({'|'.join(_PACKAGES)})\.")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_others)


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    return [] if spec is None else [f"{folder}/" for folder in spec.submodule_search_locations or ()]
