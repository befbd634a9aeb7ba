"""What an older version wrote still loads, and training goes on from it.

``written_by_0_1`` holds the history of a training of eight steps and the checkpoint at its fourth, as version 0.1 left
them, with looks at the steps 0, 4 and 8.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from same_records import assert_same

from lightning_gw.records.history import History, load_history

OLD = Path(__file__).parent / "written_by_0_1"


def test_an_older_history_loads_whole() -> None:
    history = load_history(OLD)
    assert history.problems == ()
    assert [record.step for record in history] == [0, 4, 8]
    assert [row["step"] for row in history.metrics] == [4, 8]
    assert history[-1].layers == ("net.1", "net.3", "net.5")
    for record in history:
        assert np.isfinite(record.gw.distortion).all()
        assert record.gw.couplings.shape == (3, 3, 8)
        assert record.groups.p_value is None
        assert len(record.summary()) > 0


def test_an_older_history_is_continued(tmp_path: Path) -> None:
    shutil.copytree(OLD / "gw", tmp_path / "gw")
    history = History.open(tmp_path / "gw")
    history.rewind(4)
    assert_same(list(load_history(tmp_path)), list(load_history(OLD))[:2])


def test_training_goes_on_from_an_older_checkpoint(tmp_path: Path) -> None:
    from callback_nets import Net, loader, plain_net, steps, trainer, watcher
    from pytorch_lightning.callbacks import ModelCheckpoint

    shutil.copytree(OLD / "gw", tmp_path / "gw")
    saver = ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1, every_n_train_steps=4)
    callback = watcher(tmp_path, probe_size=8, layers=["net.1", "net.3", "net.5"])
    trainer(tmp_path, saver, callback).fit(Net(plain_net()), loader(), loader(32), ckpt_path=OLD / "step-4.ckpt")
    assert steps(callback) == [0, 4, 8]
    assert_same(list(load_history(tmp_path))[:2], list(load_history(OLD))[:2])
    # The same weights, seen through the same inputs.
    np.testing.assert_allclose(callback.history[2].gw.identity, load_history(OLD)[2].gw.identity, rtol=1e-4)
