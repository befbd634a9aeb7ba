"""Training that is resumed ends with the history of training that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from callback_nets import (
    Net,
    StopAt,
    assert_same_history,
    loader,
    no_warning_of_ours,
    plain_net,
    steps,
    trainer,
    watcher,
)
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

import lightning_gw as lgw


def resumable(root: Path, when: Any, *callbacks: Callback) -> tuple[lgw.GWSimilarity, Any]:
    saver = ModelCheckpoint(root / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=4)
    callback = watcher(root, when=when)
    return callback, trainer(root, *callbacks, saver, callback, max_epochs=3)


@pytest.mark.parametrize("when", ["checkpoint", "log", [1, 3, 5, 6, 9]], ids=["checkpoint", "log", "steps"])
@pytest.mark.representatives("checkpoint")
def test_resumed_training_equals_uninterrupted(tmp_path: Path, when: Any) -> None:
    whole, fit = resumable(tmp_path / "whole", when)
    fit.fit(Net(plain_net()), loader(), loader(32))

    broken, fit = resumable(tmp_path / "broken", when, StopAt(7))
    with pytest.raises(RuntimeError, match="power cut"):
        fit.fit(Net(plain_net()), loader(), loader(32))
    assert steps(broken) == [step for step in steps(whole) if step <= 6]

    resumed, fit = resumable(tmp_path / "broken", when)
    with no_warning_of_ours():
        fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "broken/checkpoints/step=4.ckpt")
    assert_same_history(resumed.history, whole.history)
    assert_same_history(lgw.load_history(tmp_path / "broken"), lgw.load_history(tmp_path / "whole"))


@pytest.mark.slow
def test_a_new_run_folder_gets_the_records_before_the_checkpoint(tmp_path: Path) -> None:
    whole, fit = resumable(tmp_path / "whole", "checkpoint")
    fit.fit(Net(plain_net()), loader(), loader(32))
    _, fit = resumable(tmp_path / "elsewhere", "checkpoint")
    fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "whole/checkpoints/step=4.ckpt")
    assert_same_history(lgw.load_history(tmp_path / "elsewhere"), whole.history)
    # The first run's own folder is as it was.
    assert_same_history(lgw.load_history(tmp_path / "whole"), whole.history)


@pytest.mark.slow
def test_the_state_in_a_checkpoint_holds_the_look_made_for_it(tmp_path: Path) -> None:
    callback, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    checkpoint = torch.load(tmp_path / "checkpoints/step=8.ckpt", weights_only=True)
    state = checkpoint["callbacks"][callback.state_key]
    assert state["step"] == 8
    assert state["analysis"]["couplings"].shape == (4, 4, 12)
    record = next(record for record in callback.history if record.step == 8)
    assert torch.equal(state["analysis"]["couplings"], torch.from_numpy(record.gw.couplings.astype("int32")))


@pytest.mark.slow
def test_a_changed_probe_is_noticed_on_resume(tmp_path: Path) -> None:
    _, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    callback, fit = resumable(tmp_path, "checkpoint")
    with pytest.warns(UserWarning, match="probe inputs are not those that this history began with"):
        fit.fit(Net(), loader(), loader(32, seed=9), ckpt_path=tmp_path / "checkpoints/step=4.ckpt")
    assert [any("hash changed" in note for note in record.notes) for record in callback.history][-2:] == [True, True]
    assert callback.history[1].notes == ()


@pytest.mark.slow
def test_changed_layers_are_an_error_on_resume(tmp_path: Path) -> None:
    _, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    callback = watcher(tmp_path, layers=["net.0", "net.2"])
    with pytest.raises(ValueError, match=r"began with the layers net\.1.*now they would be net\.0, net\.2"):
        trainer(tmp_path, ModelCheckpoint(tmp_path), callback).fit(
            Net(), loader(), loader(32), ckpt_path=tmp_path / "checkpoints/step=4.ckpt"
        )


@pytest.mark.slow
def test_fit_again_with_the_same_trainer_goes_on(tmp_path: Path) -> None:
    whole = watcher(tmp_path / "whole", when=[2, 6])
    trainer(tmp_path, whole, max_epochs=2).fit(Net(plain_net()), loader(), loader(32))
    halves = watcher(tmp_path / "halves", when=[2, 6])
    fit, module = trainer(tmp_path, halves, max_epochs=1), Net(plain_net())
    fit.fit(module, loader(), loader(32))
    fit.fit_loop.max_epochs = 2
    fit.fit(module, loader(), loader(32))
    assert steps(halves) == [0, 2, 4, 6, 8]
    assert halves.history[-1].groups.boundaries is not None
    assert [record.step for record in lgw.load_history(tmp_path / "halves")] == steps(halves)


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_sets_the_first_aside(tmp_path: Path) -> None:
    for seed in range(2):
        callback = watcher(tmp_path, when=[2])
        fit = trainer(tmp_path, callback, max_epochs=1)
        if seed == 0:
            fit.fit(Net(), loader(), loader(32))
    with pytest.warns(UserWarning, match="held the history of an earlier run; it was set aside"):
        fit.fit(Net(), loader(), loader(32))
    assert steps(callback) == [0, 2, 4]
    assert (tmp_path / "gw/superseded.jsonl").read_text().count("\n") == 3


@pytest.mark.slow
def test_the_state_of_an_unnamed_instance_is_found_again_whatever_instance_wrote_it(tmp_path: Path) -> None:
    first, fit = resumable(tmp_path, "checkpoint")
    fit.fit(Net(), loader(), loader(32))
    second, fit = resumable(tmp_path, "checkpoint")
    with no_warning_of_ours():
        fit.validate(Net(), loader(32), ckpt_path=tmp_path / "checkpoints/step=8.ckpt", weights_only=True)
        fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "checkpoints/step=8.ckpt")
    assert first.state_key == second.state_key == "GWSimilarity{'name': None}"
    assert_same_history(first.history, second.history)


@pytest.mark.slow
def test_a_callback_used_again_for_a_run_that_it_did_not_watch_begins_anew(tmp_path: Path) -> None:
    """That run's steps may be those of the run before, whose records stay as they are."""
    saver = ModelCheckpoint(tmp_path / "unwatched", filename="{step}", save_top_k=-1, every_n_train_steps=3)
    trainer(tmp_path, saver).fit(Net(plain_net()), loader(), loader(32))
    callback = watcher(tmp_path / "watched", when=[5], on_error="raise")
    trainer(tmp_path, callback).fit(Net(plain_net()), loader(), loader(32))
    assert steps(callback) == [0, 5, 8]
    module = Net(plain_net())
    with pytest.warns(UserWarning, match="held the history of an earlier run; it was set aside"):
        trainer(tmp_path, callback).fit(
            module, loader(), loader(32), ckpt_path=tmp_path / "unwatched" / "step=3.ckpt", weights_only=False
        )
    assert module.trainer.state.finished
    assert steps(callback) == [3, 5, 8]


def test_a_run_that_was_over_when_it_was_resumed_keeps_what_it_found(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", every_n_train_steps=4, save_top_k=-1)
    whole = watcher(tmp_path, when=[1, 3])
    trainer(tmp_path, saver, whole, max_epochs=3).fit(Net(plain_net()), loader(), loader(32))
    assert steps(whole) == [0, 1, 3, 12]  # the last is later than the checkpoint of step 12

    resumed = watcher(tmp_path, when=[1, 3])
    fit = trainer(tmp_path, resumed, max_epochs=3)
    with no_warning_of_ours():
        fit.fit(Net(), loader(), loader(32), ckpt_path=tmp_path / "checkpoints/step=12.ckpt")
    assert_same_history(resumed.history, whole.history)
    assert_same_history(lgw.load_history(tmp_path), whole.history)
    assert resumed.last_look == 12
    assert resumed._pace.budget.training < 60  # seconds: this process did not train at all
