"""Trains what is small and writes down all that comes of it: ``python tests/recorded/recorder.py`` renews what is kept.

Two tasks, looked at inline and in the background, and one comparison, in double precision. Kept are the lines of the
history, its arrays, the rows that loggers got, what was printed, the page's data and a checkpoint in the middle. Times,
paths and versions are left out. On a machine whose arithmetic gives the same bits everything is compared to the bit.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from safetensors.numpy import load_file, save_file
from torch import nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "helpers/trainings"), str(HERE.parent / "loggers"), str(HERE.parents[1])]

from toy_comparison import BASE, run, write_toy  # noqa: E402
from wandb_file import OfflineRun  # noqa: E402

import lightning_gw as lgw  # noqa: E402
from tasks.algebra import ArithmeticData, StagedArithmetic  # noqa: E402
from tasks.vision import ConvNetClassifier, DigitsData  # noqa: E402

WORDS, ARRAYS = HERE / "recorded.json", HERE / "recorded.safetensors"
TASKS = ("algebra", "vision")
#: Steps of a run, and the step of the checkpoint that is kept.
STEPS, KEPT = 8, 4
#: What differs from run to run, by the end of its key.
_VOLATILE = re.compile(
    r"(seconds|[._]runtime|_timestamp|^_wandb|version|finished|started|created|host|elapsed|sha256|artifact_path|^size)$"
)
_TIME = re.compile(r"\d+(\.\d+)? (ms|s|min)\b(, and \d+\.\d s in the background)?")


class Watched(pl.LightningModule):
    """A task's module with plain gradient descent, whose steps are the same arithmetic in every version of torch."""

    def __init__(self, task: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.task = (
            StagedArithmetic(moduli=[4, 3, 2], operands=4, block_lengths=[2, 4, 3], width=8, hidden=8)
            if task == "algebra"
            else ConvNetClassifier(layers=4, width=6, widen_at=[2])
        )

    def forward(self, *args: Any) -> Any:
        return self.task(*args)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self._loss(batch))

    def _loss(self, batch: Any) -> torch.Tensor:
        put_out = torch.utils._pytree.tree_leaves(self(batch[0]))
        return sum(((values - 1) ** 2).mean() for values in put_out)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05)


def data_of(task: str) -> pl.LightningDataModule:
    data: Any = ArithmeticData(moduli=[4, 3, 2], operands=4) if task == "algebra" else DigitsData(val_size=48)
    data.setup("fit")
    fixed = pl.LightningDataModule()
    first = torch.utils.data.Subset(data.train, range(32))
    fixed.train_dataloader = lambda: torch.utils.data.DataLoader(first, batch_size=16)  # type: ignore[method-assign]
    held_out = torch.utils.data.Subset(data.val_dataloader().dataset, range(24))
    fixed.val_dataloader = lambda: torch.utils.data.DataLoader(held_out, batch_size=24)  # type: ignore[method-assign]
    return fixed


def train(root: Path, task: str, solve: str, checkpoint: Path | None = None, log: bool = True) -> tuple[Any, str]:
    """Train and look; the callback, and what was printed."""
    printed = StringIO()
    callback = lgw.GWSimilarity(
        save_dir=root,
        when=[2, 4, 6],
        probe_size=16,
        effort="fast",
        solve=solve,
        max_overhead=None,
        draws=7,
        null_samples=4,
        **({"pooling": "mean"} if task == "vision" else {"warm_start": False}),
    )
    saver = ModelCheckpoint(root / "saved", filename="{step}", every_n_train_steps=KEPT, save_top_k=-1)
    loggers: list[Any] = []
    if log:
        loggers = [CSVLogger(root, name="csv", version=""), WandbLogger(project="p", save_dir=root, mode="offline")]
    with redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(
            accelerator="cpu",
            devices=1,
            precision="64-true",
            max_steps=STEPS,
            check_val_every_n_epoch=2,
            num_sanity_val_steps=0,
            log_every_n_steps=2,
            logger=loggers,
            callbacks=[callback, saver],
            default_root_dir=root,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Watched(task).double(), data_of(task), ckpt_path=checkpoint)
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()
    return callback, printed.getvalue()


def history_of(folder: Path) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Lines and arrays of a history as they are on disk."""
    lines = [json.loads(line) for line in (folder / "gw/history.jsonl").read_text().splitlines()]
    lines += [json.loads(line) for line in (folder / "gw/metrics.jsonl").read_text().splitlines()]
    arrays = {
        f"{file.stem}/{name}": values
        for file in sorted((folder / "gw").glob("step-*.safetensors"))
        for name, values in load_file(file).items()
    }
    return lines, arrays


def rows_of(folder: Path) -> dict[str, Any]:
    """What the loggers hold."""
    with (folder / "csv/metrics.csv").open() as file:
        table = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    run = OfflineRun.read(folder)
    rows = [{key: _pictured(run, value) for key, value in row.items() if _kept(key)} for row in run.rows]
    return {
        "csv": table,
        "wandb rows": rows,
        "wandb config": {key: value for key, value in run.config.items() if key != "_wandb"},
        "wandb summary": {key: _pictured(run, value) for key, value in run.summary.items() if _kept(key)},
        "wandb artifacts": [[artifact.name, artifact.type] for artifact in run.artifacts],
        "wandb axes": run.step_metrics,
    }


def page_of(folder: Path) -> Any:
    """What a page shows: its words, and the data its script reads."""

    class Parser(HTMLParser):
        inside: str | None = None
        data, words = "", ""

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.inside = dict(attrs).get("id", "code") if tag == "script" else "style" if tag == "style" else None

        def handle_endtag(self, tag: str) -> None:
            self.inside = None if tag in ("script", "style") else self.inside

        def handle_data(self, data: str) -> None:
            if self.inside == "data":
                self.data += data
            elif self.inside is None:
                self.words += data

    parser = Parser()
    from lightning_gw.report import write_report

    parser.feed(write_report(folder).read_text(encoding="utf-8"))
    return {"data": json.loads(parser.data), "words": re.sub(r"\s+", " ", parser.words)}


def comparison_of(root: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Two strategies over two seeds, by the command line."""
    BASE["trainer"]["precision"] = "64-true"
    file = write_toy(root, ["fast", "slow"], seeds=[0, 1])
    code, printed = run(root, "compare", str(file))
    assert code == 0, printed
    arrays: dict[str, np.ndarray] = {}
    found: dict[str, Any] = {"comparison": json.loads((root / "out/comparison.json").read_text())}
    for folder in sorted((root / "out").glob("*/seed-*")):
        name = f"{folder.parent.name}/{folder.name}"
        found[name], own = history_of(folder)
        arrays |= {f"{name}/{key}": values for key, values in own.items()}
    found["page"] = page_of(root / "out")
    return found, arrays


def record(root: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Everything, in words and numbers that JSON holds, and in arrays."""
    words: dict[str, Any] = {"fingerprint": fingerprint()}
    arrays: dict[str, np.ndarray] = {}
    for task in TASKS:
        for solve in ("inline", "background"):
            name, folder = f"{task}/{solve}", root / task / solve
            _, printed = train(folder, task, solve)
            lines, own = history_of(folder)
            arrays |= {f"{name}/{key}": values for key, values in own.items()}
            words[name] = clean({"history": lines, "printed": printed, **rows_of(folder)}, root)
        words[f"{task}/page"] = clean(page_of(root / task / "inline"), root)
    (root / "toys").mkdir()
    found, own = comparison_of(root / "toys")
    words["comparison"] = clean(found, root)
    return words, arrays | {f"comparison/{key}": values for key, values in own.items()}


def clean(value: Any, root: Path) -> Any:
    """Without times, paths and versions."""
    if isinstance(value, Mapping):
        kept = {key: clean(held, root) for key, held in value.items() if not _VOLATILE.search(str(key))}
        return {key: kept[key] for key in sorted(kept)}
    if isinstance(value, list | tuple):
        return [clean(held, root) for held in value]
    if isinstance(value, str):
        text = value.replace(str(root), "<root>")
        text = re.sub(r"offline-run-\d+_\d+-\w+|run-\w{8}-gw-history|run-\w{8}\b", "<run>", text)
        text = re.sub(r"^Looking took .*$", "Looking took <time>.", text, flags=re.MULTILINE)
        text = re.sub(r", [\d.]+ s of it for the disk and the loggers", "", text)  # said where that takes long
        text = re.sub(r", run [0-9a-f]{12};", ", run <id>;", text)
        text = re.sub(
            r"(gwevents|gwmatrix|gwlayers|gwadjacent_table|gwgrowth_table)-[\w-]{6}|(gw-history)-\w{8}",
            r"\1\2-<id>",
            text,
        )
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+\d\d:\d\d)?(Z)?", "<date>", text)
        return _TIME.sub("<time>", re.sub(r"lightning-gw \d\S*", "lightning-gw", text))
    return value


def fingerprint() -> str:
    """The same wherever the same arithmetic is done; elsewhere last bits differ, and numbers are compared roughly."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    kernel = torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float64)
    results = [
        x @ x.T,
        torch.linalg.eigvalsh(x @ x.T),
        x.exp(),
        x.sum(0),
        (x.float() @ x.float().T).double(),
        nn.functional.conv2d(x[None, None], kernel),
    ]
    bits = hashlib.sha256(b"".join(result.contiguous().numpy().tobytes() for result in results))
    versions = [torch.__version__.split("+")[0], np.__version__, platform.python_version()[:4]]
    # Sums in more threads are sums in another order, which results as small as these do not show.
    bits.update(" ".join([*versions, f"{torch.get_num_threads()} threads"]).encode())
    return bits.hexdigest()[:16]


def _kept(key: str) -> bool:
    """Whether a value is the same in every run: the whole page is not, since it tells what looks cost."""
    return not key.startswith("gw/page")


def _pictured(run: OfflineRun, value: Any) -> Any:
    """A picture by its content; a table by its rows."""
    if not isinstance(value, Mapping) or "path" not in value:
        return value
    file = run.file(dict(value))
    if file.suffix == ".json":
        return json.loads(file.read_text())
    return {**value, "path": file.suffix, "content": hashlib.sha256(file.read_bytes()).hexdigest()[:16]}


def main() -> None:
    root = Path(tempfile.mkdtemp())
    try:
        words, arrays = record(root)
        WORDS.write_text(json.dumps(words, indent=0, sort_keys=True) + "\n")
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, ARRAYS)
        for task in TASKS:
            for solve in ("inline", "background"):
                shutil.copy(root / task / solve / f"saved/step={KEPT}.ckpt", HERE / f"{task}-{solve}.ckpt")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
