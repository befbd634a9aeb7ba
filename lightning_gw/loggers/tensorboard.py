"""What TensorBoard is given: scalars, pictures and text."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from lightning_gw.figures.png import Picture
from lightning_gw.loggers.content import LogContent, SkipContent
from lightning_gw.records.history import History
from lightning_gw.records.words.description import describe


@dataclass(frozen=True)
class TensorBoardBackend:
    experiment: Any
    prefix: str

    def log_config(self, config: dict[str, Any]) -> list[str]:
        # As text: its log_hyperparams would add an hp_metric of -1 to the user's scalars.
        self._log_text("config", f"```json\n{json.dumps(config, indent=2)}\n```", 0)
        return []

    def log_look(self, look: LogContent | SkipContent) -> list[str]:
        step = look.step
        for key, value in look.scalars.items():
            self.experiment.add_scalar(key, value, step)
        for key, picture in look.pictures.items():
            self._log_picture(key, picture, step)
        for name, text in look.texts.items():
            self._log_text(name, text, step)
        return []

    def _log_picture(self, key: str, picture: Picture, step: int) -> None:
        # Not imported here: where tensorboardX takes TensorBoard's place it cannot be.
        torch_writers = sys.modules.get("torch.utils.tensorboard")
        if torch_writers is None or not isinstance(self.experiment, torch_writers.SummaryWriter):
            self.experiment.add_image(key, picture.pixels(), step, dataformats="HWC")
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        # As it is: `add_image` takes pixels and would encode them while training waits.
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.png
        )
        writer: Any = self.experiment.file_writer
        writer.add_summary(Summary(value=[Summary.Value(tag=key, image=image)]), step)

    def log_summary(self, history: History) -> list[str]:
        self._log_text("final/sentence", describe(history), history[-1].axis)
        self.experiment.flush()  # not at every look: TensorBoard writes beside training, and would be waited for
        return []

    def _log_text(self, name: str, text: str, step: int) -> None:
        self.experiment.add_text(self.prefix + name, text, step)
