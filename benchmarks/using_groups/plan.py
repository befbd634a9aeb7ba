"""What the study measures: networks, seeds and cases, as configs/studies/using_groups.yaml states them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_gw.lightning_cli.options import read_yaml
from lightning_gw.utilities.errors import UsageError, near_names, sentence

CONFIG = Path(__file__).parents[2] / "configs/studies/using_groups.yaml"
#: By what layers to be removed are chosen: see `rules.removed`.
RULES = ("interiors", "boundaries", "cka", "cosine", "random")
#: What is trained: see `fine_tuning`.
ARMS = ("group", "random block", "LoRA on the group", "LoRA on a random block", "everything")
#: What is frozen while a network trains: see `freezing`.
FROZEN = ("settled groups", "random layers", "nothing")
#: Settings of a network that are read from the study's config, and not part of what is measured.
_OPTIONS = (
    "config", "accuracy", "strategy", "train", "pretrained", "model", "data", "split_by_seed", "probe", "removal",
    "fine_tuning", "freezing", "whole",
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network of the study.

    Attributes:
        name: What it is called in the results.
        config: Config of `lightning-gw fit` that its module, its data and its looks come from.
        accuracy: Name of the metric that results are told in, as the module logs it.
        train: Optimizer steps that it is trained for before anything is done to its groups; 0 takes it as it came.
        pretrained: Whether it begins with weights that somebody else trained.
        strategy: Name in `tasks.strategies` under which it is trained; None for the task's own way.
        model: Arguments of the module, in place of those of the config.
        data: Arguments of the data, likewise.
        split_by_seed: Whether seeds are other splits of the data, for a network that is always the same.
        probe: Inputs that looks are made through; None for as many as the config says.
        removal: ``layers``, numbers of layers to remove; ``heal``, steps of training afterwards; ``draws``, random
            choices for each number; ``rates``, hyperparameters of the healing. None leaves it out.
        fine_tuning: ``steps``, and ``model`` and ``data`` of what it is fine-tuned on. None leaves it out.
        freezing: ``steps``, and ``every`` how many of them there is a look. None leaves it out.
    """

    name: str
    config: Path
    accuracy: str
    train: int = 0
    pretrained: bool = False
    strategy: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    split_by_seed: bool = False
    probe: int | None = None
    removal: Mapping[str, Any] | None = None
    fine_tuning: Mapping[str, Any] | None = None
    freezing: Mapping[str, Any] | None = None

    @property
    def settings(self) -> str:
        """A short hash of all that a measurement depends on; measurements under other settings do not count."""
        own = {name: value for name, value in vars(self).items() if name != "config"}
        text = json.dumps([own, self.config.read_text(encoding="utf-8")], sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def cases(self) -> tuple[str, ...]:
        """What is measured with each seed, in the order that it is measured in."""
        found = ["look"]
        if self.removal is not None:
            for count in self.removal["layers"]:
                for rule in RULES:
                    draws = self.removal["draws"] if rule == "random" else 1
                    found += [f"removal/{rule}/{count}/{draw}" for draw in range(draws)]
        if self.fine_tuning is not None:
            found += [f"fine-tuning/{arm}" for arm in ARMS]
        if self.freezing is not None:
            found += [f"freezing/{what}" for what in FROZEN]
        return tuple(found)


@dataclass(frozen=True)
class Plan:
    """The study.

    Attributes:
        out: Folder of its measurements.
        seeds: Seeds, the same for every network.
        networks: Networks, by name.
    """

    out: Path
    seeds: tuple[int, ...]
    networks: Mapping[str, Network]

    def missing(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], tuple[str, ...]]:
        """Cases that are not among the rows, by network and seed."""
        there = {(row["network"], row["seed"], row["case"], row["settings"]) for row in rows}
        found = {}
        for name, network in self.networks.items():
            for seed in self.seeds:
                left = tuple(c for c in network.cases() if (name, seed, c, network.settings) not in there)
                if left:
                    found[name, seed] = left
        return found

    def current(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows of this plan's networks, seeds and settings, each case once."""
        kept: dict[Any, Mapping[str, Any]] = {}
        for row in rows:
            network = self.networks.get(row["network"])
            if network is not None and row["seed"] in self.seeds and row["settings"] == network.settings:
                kept[row["network"], row["seed"], row["case"]] = row
        return list(kept.values())


def read_plan(config: Path = CONFIG, whole: bool = False, out: Path | None = None) -> Plan:
    """Read the study's config.

    Args:
        config: The file.
        whole: Take the larger settings under ``whole`` where a network has them.
        out: Folder of the measurements, in place of the config's.

    Raises:
        UsageError: If it cannot be read, or names an option that there is not.
    """
    content = read_yaml(config)
    networks = {}
    for name, given in content["networks"].items():
        if unknown := [option for option in given if option not in _OPTIONS]:
            near = near_names(unknown[0], _OPTIONS)
            raise UsageError(sentence(f"{config}: network {name!r} has no option {unknown[0]!r}.", near))
        options = {**given, **(given.get("whole", {}) if whole else {})}
        options.pop("whole", None)
        options["config"] = config.parent / options["config"]
        networks[name] = Network(name, **options)
    return Plan(out or Path(content["out"]), tuple(content["seeds"]), networks)
