"""Libraries that copy the callbacks they are given leave the original knowing what was found."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from callback_nets import Net, loader, steps, trainer, watcher


def test_the_original_knows_the_history_of_the_copy_that_trained(tmp_path: Path) -> None:
    watching = watcher(tmp_path, bootstrap_samples=0, null_samples=0)
    idle, copied, _ = copy.deepcopy(watching), copy.deepcopy([watching])[0], copy.deepcopy(watching)
    assert watching.history is None
    trainer(tmp_path, copied).fit(Net(), loader())
    assert steps(copied) == steps(watching) == [0, 8]
    assert watching.history is copied.history
    assert watching.last_look == copied.last_look == 8
    assert watching.seconds_spent == copied.seconds_spent > 0
    assert idle.history is idle.last_look is None
    assert idle.seconds_spent == 0
    again = copy.deepcopy(copied)
    trainer(tmp_path, again).fit(Net(), loader())
    assert again.history is not copied.history


def test_a_copy_that_could_not_look_tells_what_trying_cost(tmp_path: Path) -> None:
    class Unread(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> torch.Tensor:
            raise OSError("gone")

    watching = watcher(tmp_path, probe=Unread(), on_error="warn")
    copied = copy.deepcopy(watching)
    with pytest.warns(UserWarning, match="gone"):
        trainer(tmp_path, copied).fit(Net(), loader())
    assert watching.history is None
    assert watching.seconds_spent == copied.seconds_spent > 0


@pytest.mark.slow
def test_what_trained_itself_keeps_its_own(tmp_path: Path) -> None:
    watching = watcher(tmp_path / "own", bootstrap_samples=0, null_samples=0)
    other = copy.deepcopy(watching)
    trainer(tmp_path, watching).fit(Net(), loader())
    other.save_dir = tmp_path / "other"
    trainer(tmp_path, other).fit(Net(), loader())
    assert watching.history is not None
    assert other.history is not None
    assert watching.history.path != other.history.path
