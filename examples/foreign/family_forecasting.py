"""Forecasting: darts and neuralforecast, which make their own Trainers, and pytorch-forecasting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from registry import configuration, fit, settings
from torch import nn

LENGTH = 120


def waves(count: int = 3) -> np.ndarray:
    """``(count, 120)``: sines of different periods with noise."""
    time = np.arange(LENGTH)
    noise = np.random.default_rng(0).normal(size=(count, LENGTH)) / 10
    return np.stack([np.sin(2 * np.pi * time / (6 + 3 * k)) for k in range(count)]) + noise


DARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "N-BEATS": ("NBEATSModel", {"num_stacks": 4, "num_blocks": 1, "num_layers": 2, "layer_widths": 32}),
    "TCN": ("TCNModel", {"num_filters": 8}),
    "Transformer": ("TransformerModel", {"d_model": 16, "nhead": 2, "dim_feedforward": 32}),
    "TFT": ("TFTModel", {"hidden_size": 8, "add_relative_index": True}),
    "block RNN": ("BlockRNNModel", {"model": "LSTM", "hidden_dim": 16, "n_rnn_layers": 2}),
    "TiDE": ("TiDEModel", {"hidden_size": 16, "num_encoder_layers": 2, "num_decoder_layers": 2}),
}


def darts_model(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    from darts import TimeSeries, models

    series = [TimeSeries.from_values(row.astype(np.float32)) for row in waves()]
    trainer = settings(callbacks, folder)
    model = getattr(models, name)(
        input_chunk_length=24,
        output_chunk_length=6,
        batch_size=16,
        n_epochs=trainer.pop("max_epochs"),
        pl_trainer_kwargs=trainer,
        work_dir=str(folder),
        random_state=0,
        **arguments,
    )
    model.fit(series, val_series=series)
    return model.model


for shown, (model, given) in DARTS.items():

    @configuration("darts", shown)
    def _(callbacks: list[Any], folder: Path, model: str = model, given: dict[str, Any] = given) -> nn.Module:
        return darts_model(callbacks, folder, model, given)


NEURAL: dict[str, dict[str, Any]] = {
    "NHITS": {"mlp_units": 3 * [[16, 16]]},
    "PatchTST": {"encoder_layers": 3, "hidden_size": 16, "n_heads": 2, "linear_hidden_size": 32, "patch_len": 4},
    "TSMixer": {"n_series": 8, "n_block": 3, "ff_dim": 16},
}


def neural(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    import pandas as pd
    from neuralforecast import NeuralForecast, models

    trainer = settings(callbacks, folder)
    for name_of_ours in ("max_epochs", "limit_train_batches", "limit_val_batches"):  # it counts steps
        del trainer[name_of_ours]
    model = getattr(models, name)(
        h=6, input_size=24, max_steps=6, val_check_steps=3, batch_size=8, windows_batch_size=32, **arguments, **trainer
    )
    days = pd.date_range("2020-01-01", periods=LENGTH, freq="D")
    frame = pd.concat([pd.DataFrame({"unique_id": str(k), "ds": days, "y": row}) for k, row in enumerate(waves(8))])
    forecast = NeuralForecast([model], freq="D")
    forecast.fit(frame, val_size=12)
    return forecast.models[0]


for shown, given in NEURAL.items():

    @configuration("neuralforecast", shown)
    def _(callbacks: list[Any], folder: Path, model: str = shown, given: dict[str, Any] = given) -> nn.Module:
        return neural(callbacks, folder, model, given)


FORECASTING: dict[str, tuple[str, dict[str, Any]]] = {
    "TFT": ("TemporalFusionTransformer", {"hidden_size": 8, "attention_head_size": 1, "hidden_continuous_size": 4}),
    "DeepAR": ("DeepAR", {"hidden_size": 8, "rnn_layers": 2}),
    "N-BEATS": ("NBeats", {"widths": [16, 32], "num_blocks": [2, 2]}),
    "N-HiTS": ("NHiTS", {"hidden_size": 16}),
}


def forecasting(callbacks: list[Any], folder: Path, name: str, arguments: dict[str, Any]) -> nn.Module:
    import pandas as pd
    import pytorch_forecasting

    frame = pd.concat(
        [
            pd.DataFrame({"series": str(k), "time": np.arange(LENGTH), "value": row.astype(np.float32)})
            for k, row in enumerate(waves())
        ],
        ignore_index=True,
    )
    known = {"time_varying_known_reals": ["time"]} if name in ("TemporalFusionTransformer", "DeepAR") else {}
    training = pytorch_forecasting.TimeSeriesDataSet(
        frame,
        time_idx="time",
        target="value",
        group_ids=["series"],
        max_encoder_length=24,
        min_encoder_length=24,
        max_prediction_length=6,
        min_prediction_length=6,
        time_varying_unknown_reals=["value"],
        **known,
    )
    validation = pytorch_forecasting.TimeSeriesDataSet.from_dataset(training, frame, stop_randomization=True)
    model = getattr(pytorch_forecasting, name).from_dataset(training, learning_rate=1e-3, log_interval=-1, **arguments)
    loaders = training.to_dataloader(True, 16, num_workers=0), validation.to_dataloader(False, 16, num_workers=0)
    return fit(model, *loaders, callbacks, folder)


for shown, (model, given) in FORECASTING.items():

    @configuration("pytorch-forecasting", shown)
    def _(callbacks: list[Any], folder: Path, model: str = model, given: dict[str, Any] = given) -> nn.Module:
        return forecasting(callbacks, folder, model, given)
