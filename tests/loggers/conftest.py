"""Keeps W&B inside the tests' own folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def wandb_stays_in_tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Artifacts are staged under the user's home otherwise."""
    folder = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
            patch.setenv(name, str(folder))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.delenv("WANDB_MODE", raising=False)
        yield folder


@pytest.fixture
def finish_wandb() -> Iterator[None]:
    yield
    import wandb

    wandb.finish()
