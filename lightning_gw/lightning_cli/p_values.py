"""``lightning-gw test``: p-values for the groups that a finished run ended with.

Networks of the same architecture with fresh weights are looked at through the run's own probe, and its last checkpoint
is looked at as the run did, held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from lightning_gw.lightning_cli.checkpoints import (
    HISTORIES,
    Checkpoint,
    CheckpointCLI,
    find_checkpoint,
    run_of,
    tell_page,
)
from lightning_gw.lightning_cli.replay import replaying
from lightning_gw.records.history import History, load_history
from lightning_gw.records.reading import RECORDS_FILE, address_of
from lightning_gw.records.words.description import describe
from lightning_gw.report.run.afterwards import TEST_FOLDER, boundary_p_values, folder_of_test
from lightning_gw.utilities.errors import UsageError
from lightning_gw.utilities.output import say

#: Networks with fresh weights; the smallest p-value that so many can give is one in a hundred.
NETWORKS = 99
#: From so many on, a p-value of .05 can be had.
FEWEST = 19


def find_p_values(
    run: str | Path, configs: Sequence[str | Path] = (), out: str | Path | None = None, networks: int = NETWORKS
) -> None:
    """Test the groups of a run's last checkpoint against networks that learnt nothing, and say what was found.

    Args:
        run: Folder of a run that ``lightning-gw fit`` left, with its ``config.yaml`` and its checkpoints; or one
            checkpoint of any run, whose folder is then the nearest above it that holds a history.
        configs: Configs of the run; none for the ``config.yaml`` in its folder.
        out: Folder in which ``gw/`` is made, with the record and its p-values; None for ``test`` in the run's folder,
            where the page of the run finds them.
        networks: How many networks with fresh weights.

    Raises:
        UsageError: If there is no checkpoint or config, too few networks, or no fresh ones can be made.
    """
    require_enough(f"--networks {networks}", networks)
    path = Path(run)
    at = last_checkpoint(path)
    folder = path if path.is_dir() else run_of(path) or path.parent
    if not configs:
        configs = [folder / "config.yaml"]
        if not Path(configs[0]).is_file():
            raise UsageError(
                f"{configs[0]} does not exist. Give the run's config with -c, or in a script call "
                "lightning_gw.p_values with module and data."
            )
    where = folder / TEST_FOLDER if out is None else Path(out)
    CheckpointCLI.look(configs, lambda watchers: replaying(watchers, [at.path], where, networks))
    for file in sorted(where.glob(HISTORIES)):
        tell(load_history(file.parent))


def tell(found: History) -> None:
    """Say what a test found, and draw the page of the run anew that it is of, where it lies in that run's folder."""
    assert found.path is not None
    say(describe(found))
    if p_values := boundary_p_values(found[-1]):
        say(f"P-values, boundary by boundary: {p_values}.")
    of_run = found.path.parent.parent / found.path.name
    if found.path == folder_of_test(of_run) and (of_run / RECORDS_FILE).is_file():
        tell_page(of_run)
    else:
        say(f"For a page to look at:  lightning-gw report {quote(str(address_of(found.path)))}")


def require_enough(given: str, networks: int) -> None:
    """Refuse so few networks that none of their p-values can say anything; `given` is how that was asked for.

    Raises:
        UsageError: If they are too few.
    """
    if networks < FEWEST:
        raise UsageError(f"{given}: fewer than {FEWEST} networks can give no p-value of .05 or below.")


def last_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of the last step in a folder, or the one that is named; what cannot be used is left out and said.

    Raises:
        UsageError: If there is none.
    """
    if not path.is_dir():
        return find_checkpoint(path)
    found = []
    for file in sorted(path.rglob("*.ckpt")):
        try:
            found.append(find_checkpoint(file))
        except UsageError as error:
            say(f"Note: {error}")
    if not found:
        raise UsageError(f"{path} holds no checkpoint (*.ckpt) to read, so the weights of the run are not to be had.")
    return max(found, key=lambda at: at.step)
