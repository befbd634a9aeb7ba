"""``lightning-gw test``: p-values for the groups that a finished run ended with.

Networks of the same architecture with fresh weights are looked at through the run's own probe, and its last checkpoint
is looked at as the run did, held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_gw.lightning_cli.checkpoints import Checkpoint, CheckpointCLI, find_checkpoint
from lightning_gw.lightning_cli.replay import replaying
from lightning_gw.records.history import load_history
from lightning_gw.records.words.description import describe
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
            checkpoint of any run.
        configs: Configs of the run; none for the ``config.yaml`` in its folder.
        out: Folder in which ``gw/`` is made, with the record and its p-values; None for ``test`` in the run's folder.
        networks: How many networks with fresh weights.

    Raises:
        UsageError: If there is no checkpoint or config, too few networks, or no fresh ones can be made.
    """
    require_enough(f"--networks {networks}", networks)
    path = Path(run)
    at = last_checkpoint(path)
    folder = path if path.is_dir() else path.parent
    if not configs:
        configs = [folder / "config.yaml"]
        if not Path(configs[0]).is_file():
            raise UsageError(
                f"{configs[0]} does not exist. Give the run's config with -c, or in a script call "
                "lightning_gw.p_values with module and data."
            )
    where = folder / "test" if out is None else Path(out)
    CheckpointCLI.look(configs, lambda watchers: replaying(watchers, [at.path], where, networks))
    for history in sorted(where.glob("gw*/history.jsonl")):
        say(describe(load_history(history.parent)))


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
