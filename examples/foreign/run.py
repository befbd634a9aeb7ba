"""Train public Lightning projects with the callback and without it, and write what came of it.

    make test-foreign                             all of them, and docs/compatibility.md
    .venv-foreign/bin/python examples/foreign/run.py timm      those whose name holds "timm", the others as they were

Each configuration is a process of its own with a time limit. Where the callback cannot look without arguments,
the one that its message names is tried. What is found is kept in `results.json` beside this file, one entry a
configuration, from which the document is written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from registry import Configuration, configurations
from table import document

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
DOCUMENT = ROOT / "docs" / "compatibility.md"
#: Packages that want other versions than the rest, and lie in folders of their own.
SITES = ROOT / ".venv-foreign" / "sites"
#: Seconds for one configuration, all its trainings together.
LIMIT = 900.0


def tried(wanted: Sequence[Configuration], kept: dict[str, Any]) -> None:
    """Try configurations that share an environment, and keep what became of each as soon as it is known."""
    paths = [str(SITES / wanted[0].project), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / "trial.py"), folder, str(LIMIT), *(one.key for one in wanted)]
        with subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            for _ in process.stdout:
                for number, one in enumerate(wanted):
                    file = Path(folder) / f"{number}.json"
                    if file.exists():
                        kept[one.key] = json.loads(file.read_text())
                        file.unlink()
                        print(f"{one.key}: {said(kept[one.key])}", flush=True)
                        RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of configurations; all of them if left out")
    parser.add_argument("--table", action="store_true", help="only write the document anew from what was found before")
    arguments = parser.parse_args()
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    every = configurations()
    wanted = [one for one in every if not arguments.names or any(name in one.key for name in arguments.names)]
    # Projects with versions of their own each have an environment, all others share one.
    by_site: dict[str, list[Configuration]] = {}
    for one in [] if arguments.table else wanted:
        by_site.setdefault(one.project if (SITES / one.project).exists() else "", []).append(one)
    for shared in by_site.values():
        tried(shared, kept)
    DOCUMENT.write_text(document(every, kept), encoding="utf-8")
    bad = [key for key, result in kept.items() if result.get("different") or result.get("error")]
    print(f"Wrote {DOCUMENT.relative_to(ROOT)}." + (f" NOT as without the callback: {', '.join(bad)}." if bad else ""))
    return 1 if bad else 0


def said(result: dict[str, Any]) -> str:
    """What became of a configuration, in words."""
    if "broken" in result or "error" in result:
        return f"BROKEN without the callback: {result['broken']}" if "broken" in result else f"ENDED: {result['error']}"
    looks = f"{result['looks']} looks, {len(result['layers'])} layers, {result['spent']:.1f} s"
    if result["different"]:
        return f"{looks}, NOT equal: {', '.join(result['different'][:3])}"
    return f"{looks}, training equal to the bit" if not result.get("unrepeatable") else f"{looks}, not repeatable"


if __name__ == "__main__":
    sys.exit(main())
