"""What cannot be printed costs a line, never a training: in notebooks, without a terminal, on a full disk."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import callback_nets
import nbformat
import pytest
from callback_nets import Net, loader, plain_net, steps, trainer, watcher
from example_records import example_history_records
from nbclient import NotebookClient
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import RichProgressBar

from lightning_gw.callback.messages import end_message
from lightning_gw.callback.when.budget import Budget
from lightning_gw.records.history import History

#: A training as people write it in a notebook: every default of the Trainer and of the callback.
CELL = """
import warnings; warnings.simplefilter("ignore")
import sys; sys.path.insert(0, {tests!r})
import pytorch_lightning as pl
from callback_nets import Net, loader, plain_net
from lightning_gw import GWSimilarity

trainer = pl.Trainer(max_epochs=2, accelerator="cpu", default_root_dir={root!r}, callbacks=[GWSimilarity(), *{more}])
trainer.fit(Net(plain_net()), loader(), loader(32))
"""


@pytest.mark.parametrize("bar", ["default", "tqdm"])
@pytest.mark.slow
def test_a_notebook_prints_how_the_run_ended(tmp_path: Path, bar: str) -> None:
    """In a real kernel, with the widgets that people have there."""
    more = {"default": "[]", "tqdm": "[pl.callbacks.TQDMProgressBar()]"}[bar]
    source = dedent(CELL).format(tests=str(Path(callback_nets.__file__).parent), root=str(tmp_path), more=more)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = notebook.cells[0].outputs
    said = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    for words in ("gw step 4:", "gw step 8:", "The history of this run is in", "lightning-gw report"):
        assert said.count(words) == 1, said
    assert "Error" not in said


@pytest.mark.parametrize(
    ("folder", "given", "shown"),
    [
        ("run/gw", "gw/", ("report run --open", "workspace me/p")),
        ("my run/gw", "gw/", ("report 'my run' --open", "workspace me/p")),
        ("run/gw-words", "gw/words/", ("report run/gw-words --open", "workspace me/p --prefix gw/words/")),
    ],
)
def test_the_commands_at_the_end_of_a_run_can_be_run_as_they_are(
    folder: str, given: str, shown: tuple[str, str]
) -> None:
    history = History(example_history_records(), path=Path(folder))
    said = end_message(history, Budget(None), "me/p", given).splitlines()
    commands = tuple(line.split("lightning-gw ")[1] for line in said if ":  lightning-gw " in line)
    assert commands == shown


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("power cut")])
@pytest.mark.representatives("error0")
def test_a_training_that_ends_early_says_where_its_history_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 6:
                raise error

    answered: list[Any] = []
    monkeypatch.setattr("lightning_gw.loggers.dispatch.log_answer", lambda *told: answered.append(told))
    callback = watcher(tmp_path, when=[4], verbose=True)
    handler = signal.getsignal(signal.SIGINT)  # which Lightning takes away
    try:
        with pytest.raises((SystemExit, RuntimeError)):
            trainer(tmp_path, callback, Stop()).fit(Net(plain_net()), loader(), loader(32))
    finally:
        signal.signal(signal.SIGINT, handler)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"gw training ended early; the history of its 2 looks is in {tmp_path / 'gw'}."
    assert answered == [([], callback.history, "gw/")]


class Refusing:
    """A stream that nothing can be written to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"), ValueError("closed file")]
)
@pytest.mark.representatives("error0")
def test_a_stream_that_refuses_every_line_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sys, "stdout", Refusing(error))
    callback = watcher(tmp_path, when=[4], verbose=True, on_error="raise")
    trainer(tmp_path, callback).fit(Net(plain_net()), loader(), loader(32))
    assert steps(callback) == [0, 4, 8]


@pytest.mark.slow
def test_a_bar_that_cannot_print_leaves_it_to_plain_printing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless(self: Any, *args: Any, **kwargs: Any) -> None:
        endless(self)

    monkeypatch.setattr(RichProgressBar, "print", endless)
    callback = watcher(tmp_path, when=[4], verbose=True, on_error="raise")
    fitting = trainer(tmp_path, RichProgressBar(), callback, enable_progress_bar=True)
    fitting.fit(Net(plain_net()), loader(), loader(32))
    printed = capsys.readouterr().out
    assert "gw step 4:" in printed
    assert "The history of this run is in" in printed
