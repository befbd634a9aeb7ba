"""Lightning's notices about itself are kept out where nothing is trained, and nothing else is."""

from __future__ import annotations

import logging
import warnings

import pytest
from pytorch_lightning import Trainer, seed_everything

from lightning_gw.lightning_cli.notices import without_notices
from lightning_gw.utilities import output


def begin() -> None:
    seed_everything(3)
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


def test_what_lightning_says_when_it_begins_is_kept_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        begin()
        told = list(caplog.messages)
        assert any("GPU available" in message for message in told)
        assert any("Seed set to 3" in message for message in told)
        caplog.clear()
        with without_notices():
            begin()
        assert caplog.messages == []
        begin()
        assert caplog.messages == told, "afterwards it speaks again"


def test_what_others_say_through_lightning_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), without_notices():
        output.inform("of ours")
    assert caplog.messages == ["of ours"]


def test_warnings_are_heard_but_for_those_about_training() -> None:
    with warnings.catch_warnings(record=True) as heard, without_notices():
        warnings.simplefilter("always", append=True)
        warnings.warn("`max_epochs` was not set. Setting it to 1000 epochs.", stacklevel=1)
        warnings.warn("No seed found, seed set to 0", stacklevel=1)
        warnings.warn_explicit("old", FutureWarning, "x.py", 1, module="pytorch_lightning.utilities._pytree")
        warnings.warn_explicit("old too", FutureWarning, "x.py", 1, module="mine")
        output.warn("of ours")
    assert [str(warning.message) for warning in heard] == ["old too", "of ours"]
