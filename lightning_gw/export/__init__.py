"""Layers in the forms that other tools take: peft, finetuning-scheduler, mergekit, regular expressions.

Everything here is made of names alone. Tools count layers from 0, as names do.
"""

from __future__ import annotations

from lightning_gw.export.finetuning_scheduler import to_finetuning_scheduler
from lightning_gw.export.mergekit import to_mergekit
from lightning_gw.export.names import ExportError, to_patterns
from lightning_gw.export.peft import to_peft

__all__ = ["ExportError", "to_finetuning_scheduler", "to_mergekit", "to_patterns", "to_peft"]
