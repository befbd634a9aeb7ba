"""Networks for tables: pytorch-tabular, which makes its own Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from registry import configuration, settings
from torch import nn

#: Name shown → its config and what that is given.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "category embedding": ("CategoryEmbeddingModelConfig", {"layers": "32-32-16"}),
    "FT-Transformer": (
        "FTTransformerConfig",
        {"input_embed_dim": 16, "num_heads": 2, "num_attn_blocks": 3, "attn_feature_importance": False},
    ),
    "GANDALF": ("GANDALFConfig", {"gflu_stages": 3}),
    "TabNet": ("TabNetModelConfig", {"n_d": 8, "n_a": 8}),
}


def tabular(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    import pandas as pd
    from pytorch_tabular import TabularModel, config, models

    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(96, 4)).astype(np.float32), columns=list("abcd"))
    frame["kind"] = np.where(generator.random(96) > 0.5, "x", "y")
    frame["target"] = ((frame["a"] > 0) ^ (frame["kind"] == "x")).astype(int)
    data = config.DataConfig(target=["target"], continuous_cols=list("abcd"), categorical_cols=["kind"], num_workers=0)
    trainer = settings(callbacks, folder)
    given = trainer.pop("callbacks")
    own = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "batch_size": 16,
        "early_stopping": None,
        "checkpoints": None,
        "load_best": False,
        "progress_bar": "none",
        "seed": 0,
        "trainer_kwargs": {
            "default_root_dir": str(folder),
            "limit_train_batches": 3,
            "limit_val_batches": 2,
            "enable_model_summary": False,
        },
    }
    model = TabularModel(
        data_config=data,
        model_config=getattr(models, name)(task="classification", **arguments),
        optimizer_config=config.OptimizerConfig(),
        trainer_config=config.TrainerConfig(**own),
        verbose=False,
        suppress_lightning_logger=True,
    )
    model.fit(train=frame, validation=frame.copy(), callbacks=given)
    return model.model


for shown, (name, arguments) in MODELS.items():

    @configuration("pytorch-tabular", shown)
    def _(callbacks: list[Any], folder: Path, name: str = name, arguments: dict[str, Any] = arguments) -> nn.Module:
        return tabular(callbacks, folder, name, arguments)
