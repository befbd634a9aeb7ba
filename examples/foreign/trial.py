"""Configurations, each in a process of its own: trained without the callback and with it, compared to the bit.

    python trial.py FOLDER SECONDS "timm: ResNet-18" "timm: Swin" ...

Writes one file of JSON into the folder for each. What takes seconds to import is imported once; each project is a fork
of this process, and each configuration a fork of its project's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import random
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import seed_everything
from registry import Configuration, configurations
from torch import nn

from lightning_gw import GWSimilarity

#: What messages of ours begin with or name; the rest is the project's own.
OURS = ("GWSimilarity", "Groups are tested", "The probe", "lightning-gw", "A look of")


def digests(module: nn.Module) -> dict[str, str]:
    """Of every weight and buffer, and of every random state, a digest."""
    found = {}
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            whole = value.detach().cpu().contiguous().reshape(-1)
            found[name] = hashlib.sha256(whole.view(torch.uint8).numpy().tobytes()).hexdigest()
    found["the random state of torch"] = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    found["the random state of NumPy"] = hashlib.sha256(np.random.get_state()[1].tobytes()).hexdigest()
    found["the random state of Python"] = hashlib.sha256(repr(random.getstate()).encode()).hexdigest()
    return found


def trained(configuration: Configuration, callbacks: list[Any]) -> tuple[dict[str, str], float]:
    """Digests after training from a fixed seed, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        seed_everything(0, verbose=False)
        started = time.perf_counter()
        module = configuration.train(callbacks, Path(folder))
        return digests(module), time.perf_counter() - started


def watched(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with the callback: what it chose, what it cost, what it said."""
    watching = GWSimilarity(verbose=False, **arguments)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, seconds = trained(configuration, [watching])
    messages = dict.fromkeys(str(warning.message) for warning in said if str(warning.message).startswith(OURS))
    history = watching.history or []
    result = {"digests": found, "seconds": seconds, "spent": watching.seconds_spent, "messages": list(messages)}
    result |= {"looks": len(history), "layers": [], "probe": {}, "notes": []}
    if history:
        last = history[-1]
        probe = {name: value for name, value in last.probe.items() if name not in ("layers", "hash")}
        result |= {"layers": list(last.layers), "probe": probe, "notes": list(last.notes)}
    return result


def tried(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """What became of a configuration with these arguments of the callback, as plain values."""
    plain, seconds = trained(configuration, [])
    try:
        result = watched(configuration, arguments)
    except Exception as error:
        return {"plain": seconds, "error": f"{type(error).__name__}: {error}"}
    different = [name for name, digest in plain.items() if result["digests"].get(name) != digest]
    if different:
        again, _ = trained(configuration, [])
        same_by_itself = {name for name, digest in plain.items() if again.get(name) == digest}
        result["unrepeatable"] = [name for name in different if name not in same_by_itself]
        different = [name for name in different if name in same_by_itself]
    del result["digests"]
    return result | {"plain": seconds, "different": different}


def named_remedy(messages: Sequence[str]) -> dict[str, str]:
    """The argument that a message names as one that works."""
    found = re.search(r"This works: GWSimilarity\((\w+)='([^']+)'\)", " ".join(messages))
    return {found[1]: found[2]} if found else {}


def with_remedy(configuration: Configuration) -> dict[str, Any]:
    """What became of a configuration; where it cannot be looked at, with the argument that the message names too."""
    distribution = "pytorch-lightning" if configuration.project.startswith("Lightning") else configuration.project
    try:
        result = {"version": version(distribution)} | tried(configuration, {})
        if not result.get("looks") and (remedy := named_remedy(result.get("messages", ()))):
            result["with_remedy"] = tried(configuration, remedy) | {"argument": remedy}
    except Exception as error:  # without the callback already: none of its business, and said as such
        result = {"broken": f"{type(error).__name__}: {error}"}
    return result


def in_a_process(work: Callable[..., None], *arguments: Any, limit: float | None = None) -> int | None:
    """Exit code of a fork that does the work; None where it took too long and was ended."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def one(configuration: Configuration, file: Path) -> None:
    file.write_text(json.dumps(with_remedy(configuration), default=str))


def project(wanted: Sequence[tuple[Configuration, Path]], limit: float) -> None:
    """All that is wanted of one project."""
    with suppress(Exception):  # what is wrong with it each configuration says itself
        importlib.import_module(wanted[0][0].module)
    for configuration, file in wanted:
        code = in_a_process(one, configuration, file, limit=limit)
        if not file.exists():
            why = f"not done after {limit:.0f} s" if code is None else f"the process ended with {code}"
            file.write_text(json.dumps({"broken": why}))
        print(configuration.key, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("limit", type=float)
    parser.add_argument("configurations", nargs="+")
    arguments = parser.parse_args()
    by_project: dict[str, list[tuple[Configuration, Path]]] = {}
    known = {one.key: one for one in configurations()}
    for number, key in enumerate(arguments.configurations):
        by_project.setdefault(known[key].project, []).append((known[key], arguments.folder / f"{number}.json"))
    for wanted in by_project.values():
        in_a_process(project, wanted, arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
