"""Which folder a history lives in, and that none is made by the name of a protocol."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_gw.records.run_folder import remote_home, run_folder


def a_trainer(root: str, logger: Any = None) -> Any:
    return SimpleNamespace(default_root_dir=root, loggers=[] if logger is None else [logger], fast_dev_run=False)


def a_logger(save_dir: str) -> Any:
    return SimpleNamespace(save_dir=save_dir, name="logs", version=3, experiment=None)


@pytest.mark.parametrize("url", ["memory://bucket/run", "s3://bucket/run", "gs://bucket/run/", "abfs://c@account/run"])
def test_a_folder_elsewhere_is_refused_where_it_was_asked_for(url: str) -> None:
    protocol = url.split(":")[0]
    with pytest.raises(OSError, match=f"save_dir='{url}' is a folder on {protocol}://.*Pass a local folder"):
        run_folder(a_trainer("here"), url, None)


@pytest.mark.parametrize("url", ["memory://bucket/run", "s3://bucket/run", "gs://bucket/run/"])
def test_of_a_run_elsewhere_the_history_is_kept_here(url: str) -> None:
    for trainer, expected in (
        (a_trainer(url), Path("run/gw")),
        (a_trainer("here", a_logger(url)), Path("run/logs/version_3/gw")),
    ):
        assert run_folder(trainer, None, None) == expected
        assert remote_home(trainer, None) == url
        assert remote_home(trainer, "mine") is None


@pytest.mark.parametrize("folder", ["here/run", "/tmp/run", "file:///tmp/run", "a:b/run"])
def test_a_folder_here_is_itself(folder: str) -> None:
    expected = Path(folder.removeprefix("file://"))
    assert run_folder(a_trainer(folder), None, "words") == expected / "gw-words"
    assert run_folder(a_trainer("elsewhere"), folder, None) == expected / "gw"
    assert remote_home(a_trainer(folder), None) is None


def test_training_elsewhere_says_where_the_history_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from callback_nets import Net, loader  # type: ignore[attr-defined]
    from pytorch_lightning import Trainer

    from lightning_gw import GWSimilarity

    monkeypatch.chdir(tmp_path)
    watching = GWSimilarity(verbose=False, bootstrap_samples=0, null_samples=0)
    trainer = Trainer(
        max_steps=2,
        callbacks=[watching],
        default_root_dir="memory://bucket/run",
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.warns(UserWarning, match="The run lies in memory://bucket/run.*is kept in .*run/gw"):
        trainer.fit(Net(), loader())
    assert watching.history is not None
    assert watching.history.path is not None
    assert watching.history.path.absolute() == tmp_path / "run" / "gw"
    assert "memory:" not in os.listdir(tmp_path)
