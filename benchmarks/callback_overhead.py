"""What `GWSimilarity` costs a training: time and memory with and without it, side by side.

    python benchmarks/callback_overhead.py                     # short trainings, a few minutes
    python benchmarks/callback_overhead.py --tasks minilm --steps minilm=2000 --pairs 1

Every training runs in a process of its own, once cold (nothing imported for looks yet) and once more warm; the search
is compiled before, as it is once after installing. Trainings without the callback, with it inline and with it in the
background take turns, so that whatever else the machine does hits all alike. Prints a table and writes it as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

ARMS = ("without", "inline", "background")
#: Optimizer steps of each task unless told otherwise.
STEPS = {"algebra": 600, "transformer": 600, "digits": 400, "minilm": 100}
#: Checkpoints, and so looks of the default schedule, in a training.
CHECKPOINTS = 8


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        seconds: Wall-clock seconds of ``fit``.
        thread_seconds: Processor seconds of the training thread.
        looks: Records made.
        looking: Seconds that looks held training up, as the callback counted them.
        dearest: Seconds of the dearest look, before it was handed on.
        step: Seconds of an optimizer step, median.
        peak: Largest resident memory of the process so far, in MiB.
    """

    seconds: float
    thread_seconds: float
    looks: int
    looking: float
    dearest: float
    step: float
    peak: float


def algebra() -> tuple[Any, Any]:
    from tasks.algebra import ArithmeticData, StagedArithmetic

    return StagedArithmetic(), ArithmeticData()


def transformer() -> tuple[Any, Any]:
    from tasks.algebra import ArithmeticData, StagedTransformer

    return StagedTransformer(), ArithmeticData()


def minilm() -> tuple[Any, Any]:
    from tasks.language import TweetData, TweetSentiment

    return TweetSentiment(), TweetData()


def digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, TensorDataset, random_split

    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch_tensor(images).view(-1, 1, 8, 8) / 16, torch_tensor(labels, integer=True))
    train, held_out = random_split(data, [0.8, 0.2])
    return digits_module(), (DataLoader(train, 64, shuffle=True, drop_last=True), DataLoader(held_out, 128))


def torch_tensor(values: Any, integer: bool = False) -> Any:
    import torch

    return torch.as_tensor(values, dtype=torch.int64 if integer else torch.float32)


def digits_module() -> Any:
    """Four convolutions with batch normalisation."""
    import pytorch_lightning as pl
    import torch
    from torch import nn

    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

    class Digits(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(block(1, 32), block(32, 32), block(32, 32), block(32, 32))
            self.head = nn.Linear(32, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.blocks(x).mean((2, 3)))

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    return Digits()


TASKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "algebra": algebra,
    "transformer": transformer,
    "digits": digits,
    "minilm": minilm,
}


def fit(task: str, arm: str, steps: int, pictures: bool) -> Run:
    """Train once, with checkpoints in every arm."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.loggers import TensorBoardLogger

    from lightning_gw import GWSimilarity

    class Clock(pl.Callback):
        """Seconds of every training step; comes before the watcher, so that no look is among them."""

        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_train_batch_start(self, *_: Any) -> None:
            self.began = time.perf_counter()

        def on_train_batch_end(self, *_: Any) -> None:
            self.seconds.append(time.perf_counter() - self.began)

    pl.seed_everything(0, verbose=False)
    module, data = TASKS[task]()
    with tempfile.TemporaryDirectory() as folder:
        saver = ModelCheckpoint(Path(folder, "checkpoints"), every_n_train_steps=max(1, steps // CHECKPOINTS))
        watcher = None if arm == "without" else GWSimilarity(save_dir=folder, solve=arm, verbose=False)  # type: ignore[arg-type]
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            val_check_interval=max(1, steps // CHECKPOINTS),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=[clock := Clock(), saver, *([watcher] if watcher else [])],
            logger=TensorBoardLogger(folder) if pictures else False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        given = (
            {"datamodule": data}
            if not isinstance(data, tuple)
            else dict(zip(("train_dataloaders", "val_dataloaders"), data, strict=True))
        )
        wall, thread = time.perf_counter(), time.thread_time()
        trainer.fit(module, **given)
        wall, thread = time.perf_counter() - wall, time.thread_time() - thread
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        step = statistics.median(clock.seconds)
        if watcher is None:
            return Run(wall, thread, 0, 0.0, 0.0, step, peak)
        assert watcher.history is not None
        seconds = [record.seconds for record in watcher.history]
        return Run(wall, thread, len(seconds), watcher.seconds_spent, max(seconds), step, peak)


def _in_child(
    connection: Connection, task: str, arm: str, steps: int, pictures: bool, threads: int, times: int
) -> None:
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(threads)
    connection.send([fit(task, arm, steps, pictures) for _ in range(times)])


def run(task: str, arm: str, steps: int, pictures: bool, threads: int, times: int) -> tuple[Run, ...]:
    """Train in a new process: cold, and once more warm where `times` is 2.

    Raises:
        RuntimeError: If the process ends without an answer.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(there, task, arm, steps, pictures, threads, times))
    process.start()
    there.close()
    try:
        runs: list[Run] = here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"The training of {task} {arm} ended with exit code {process.exitcode}.") from None
    process.join()
    return tuple(runs)


def row(task: str, arm: str, state: int, runs: dict[str, list[tuple[Run, ...]]]) -> str:
    ours, theirs = [pair[state] for pair in runs[arm]], [pair[state] for pair in runs["without"]]

    def extra(name: str) -> float:
        differences = [getattr(a, name) / getattr(b, name) - 1 for a, b in zip(ours, theirs, strict=True)]
        return statistics.median(differences)

    seconds = statistics.median(one.seconds for one in ours)
    cells = [task, arm, "warm" if state else "cold", f"{seconds:.1f}"]
    if arm == "without":
        return (
            "| "
            + " | ".join([*cells, "", "", "", f"{1000 * statistics.median(one.step for one in ours):.1f}", "", "", ""])
            + " |"
        )
    looking = statistics.median(one.looking for one in ours)
    looks = statistics.median(one.looks for one in ours)
    memory = statistics.median(a.peak - b.peak for a, b in zip(ours, theirs, strict=True))
    cells += [f"{looks:.0f}", f"{looking / looks:.2f}", f"{looking / (seconds - looking):.1%}"]
    cells += [f"{extra('step'):+.1%}", f"{extra('seconds'):+.1%}", f"{extra('thread_seconds'):+.1%}", f"{memory:+.0f}"]
    return "| " + " | ".join(cells) + " |"


HEAD = """| task | callback | state | fit, s | looks | s a look | counted | step, ms | wall | thread | MiB |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", nargs="*", default=[], metavar="TASK=STEPS", help="longer or shorter trainings")
    parser.add_argument("--pairs", type=int, default=3, help="trainings of each arm")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cold-only", action="store_true", help="no second training in the same process")
    parser.add_argument("--no-pictures", action="store_true", help="no logger, instead of TensorBoard")
    parser.add_argument("--out", type=Path, default=Path("runs/callback_overhead.json"))
    options = parser.parse_args()
    steps = STEPS | {task: int(count) for task, count in (word.split("=") for word in options.steps)}
    times = 1 if options.cold_only else 2
    with contextlib.suppress(ImportError):  # without numba there is nothing to compile
        from lightning_gw.gw.moves.compiled.warmup import prepare

        prepare()
    results: dict[str, Any] = {}
    print(HEAD)
    for task in options.tasks:
        runs: dict[str, list[tuple[Run, ...]]] = {arm: [] for arm in ARMS}
        for pair in range(options.pairs):
            for arm in ARMS if pair % 2 == 0 else ARMS[::-1]:
                runs[arm].append(run(task, arm, steps[task], not options.no_pictures, options.threads, times))
        for arm in ARMS:
            for state in range(times):
                print(row(task, arm, state, runs), flush=True)
        results[task] = {
            arm: [dict(zip(("cold", "warm"), map(asdict, each), strict=False)) for each in pairs]
            for arm, pairs in runs.items()
        }
        machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        document = {**machine, "threads": options.threads, "load": os.getloadavg(), "steps": steps, "runs": results}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1))
    print(
        f"\nMedians of {options.pairs}. Counted: seconds that looks held training up, of the rest. Step: the median "
        "training step, which no look is part of. Step, wall and thread: more than the training beside it without; "
        f"where the step differs, so does the machine. Load average at the end: {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores. Everything is in {options.out}."
    )


if __name__ == "__main__":
    main()
