"""The output file of `gw_matrix.py`: what its results depend on, and whether a later run may go on with them."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from rich.console import Console

import lightning_gw

SCHEMA = 2


def circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """What results depend on; results from other circumstances are not gone on with."""
    sources = hashlib.sha256()
    package = Path(lightning_gw.__file__).parent
    for path in sorted([*package.glob("gw/**/*.py"), package / "geometry/spaces.py"]):
        sources.update(path.read_bytes())
    versions: dict[str, str | None] = {}
    for name in ("torch", "numpy", "scipy", "POT", "numba", "ott-jax"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "solver_sources": sources.hexdigest(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {_processor()}",
        "versions": versions,
        "threads": options.threads,
        "repeats": options.repeats,
        "budget_seconds": options.budget,
    }


def _processor() -> str:
    """Model of the processor, where the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def open_results(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Earlier results to go on with, or an empty start; results from other circumstances are put aside."""
    empty = {"schema": SCHEMA, "circumstances": circumstances(options), "sets": {}, "warm": {}, "peaks": {}}
    if options.fresh or not options.output.exists():
        return empty
    earlier: dict[str, Any] = json.loads(options.output.read_text())
    if earlier.get("schema") == SCHEMA and earlier["circumstances"] == empty["circumstances"]:
        return earlier
    aside = options.output.with_suffix(".previous.json")
    options.output.replace(aside)
    console.print(f"The solver, the machine or the options have changed: earlier results are now in {aside}.")
    return empty


def write(results: dict[str, Any], path: Path) -> None:
    """Write all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(results, indent=1))
    unfinished.replace(path)
