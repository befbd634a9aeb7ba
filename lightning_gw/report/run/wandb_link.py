"""Where else a run can be looked at: its page in Weights & Biases, as far as its folder tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lightning_gw.utilities.storage.files import read_text
from lightning_gw.utilities.storage.yaml_values import load_yaml

#: What `lightning-gw compare` lays over the config of each of its runs.
RUN_CONFIG = "run.yaml"
_SITE = "https://wandb.ai"


@dataclass(frozen=True)
class WandbPlace:
    """Where a run lies in Weights & Biases.

    Attributes:
        words: In words: project, group and run, and whether it was kept on disk alone.
        url: Its page; None where it was kept on disk, or whose project it is was left to the account.
    """

    words: str
    url: str | None


def wandb_place(run: Path) -> WandbPlace | None:
    """Where a run was logged to, or None where its folder does not say.

    Args:
        run: Its folder.
    """
    try:
        content = load_yaml(read_text(run / RUN_CONFIG))
        loggers = content["trainer"]["logger"]
        (options,) = (entry["init_args"] for entry in loggers if str(entry["class_path"]).endswith("WandbLogger"))
        project, name = str(options["project"]), str(options["id"])
    except (OSError, ValueError, TypeError, KeyError):
        return None  # made by hand, or without W&B: nothing that the page would have to explain
    group = f", group “{options['group']}”" if options.get("group") else ""
    words = f"project {project}{group}, run {name}"
    if options.get("mode") != "online":
        return WandbPlace(f"{words}; kept on disk, wandb sync sends it", None)
    entity = options.get("entity")
    url = f"{_SITE}/{quote(str(entity), safe='')}/{quote(project, safe='')}/runs/{quote(name, safe='')}"
    return WandbPlace(words, url if entity else None)
