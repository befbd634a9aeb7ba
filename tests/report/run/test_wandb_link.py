"""A run on the page links to where Weights & Biases shows it, where that is known."""

from __future__ import annotations

import json

import pytest

from lightning_gw.report.run.wandb_link import wandb_place


def run_config(folder, **options):
    logger = {
        "class_path": "pytorch_lightning.loggers.WandbLogger",
        "init_args": {"project": "p/q", "id": "a1"} | options,
    }
    other = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "x"}}
    (folder / "run.yaml").write_text(json.dumps({"trainer": {"logger": [logger, other]}}))
    return folder


def test_a_run_links_to_its_page_where_that_is_known(tmp_path):
    place = wandb_place(run_config(tmp_path, mode="online", entity="us", group="g"))
    assert place.url == "https://wandb.ai/us/p%2Fq/runs/a1"
    assert "project p/q" in place.words
    assert "group “g”" in place.words
    assert wandb_place(run_config(tmp_path, mode="online")).url is None
    kept = wandb_place(run_config(tmp_path, mode="offline", entity="us"))
    assert kept.url is None
    assert "wandb sync" in kept.words


@pytest.mark.parametrize("content", [None, "", "[1", "trainer: 3", "trainer: {logger: [{class_path: CSVLogger}]}"])
def test_a_run_that_names_no_place_has_none(tmp_path, content):
    if content is not None:
        (tmp_path / "run.yaml").write_text(content)
    assert wandb_place(tmp_path) is None
