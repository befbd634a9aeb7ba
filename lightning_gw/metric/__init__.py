"""The matrix as a torchmetrics `Metric`."""

from __future__ import annotations

from lightning_gw.metric.metric import GromovWassersteinMatrix

__all__ = ["GromovWassersteinMatrix"]
