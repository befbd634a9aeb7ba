"""A study of small networks that train for a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.using_groups.plan import CONFIG, Plan, read_plan

ALGEBRA = CONFIG.parents[1] / "algebra.yaml"
SIZES = {"moduli": [4, 3, 2], "operands": 4}


def tiny_options(**changes: Any) -> dict[str, Any]:
    """Options of one network, a residual perceptron of nine layers."""
    options = {
        "config": str(ALGEBRA),
        "accuracy": "val/accuracy_stage3",
        "train": 3,
        "probe": 20,
        "model": {**SIZES, "width": 16, "hidden": 16, "warmup_steps": 1},
        "data": {**SIZES, "batch_size": 64},
        "removal": {"layers": [1, 8], "heal": 2, "draws": 1, "rates": {"learning_rate": 1.0e-4}},
        "fine_tuning": {"steps": 4, "model": {"moduli": [4, 3, 3]}, "data": {"moduli": [4, 3, 3]}},
        "freezing": {"steps": 4, "every": 1},
    }
    return {**options, **changes}


def write_study(folder: Path, seeds: list[int], **networks: Any) -> Path:
    """The config of a study, without anything measured."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"out": str(folder / "out"), "seeds": seeds, "networks": networks}, sort_keys=False))
    return file


def tiny_plan(folder: Path, seeds: list[int], **changes: Any) -> Plan:
    return read_plan(write_study(folder, seeds, tiny=tiny_options(**changes)))


def found_in(row: dict[str, Any]) -> str:
    """What a measurement found, without how long it took."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "took", "looking")}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    return json.dumps(timeless(row), sort_keys=True)
