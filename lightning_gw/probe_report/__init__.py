"""How the groups found in a network depend on how one looks: probe size, class balance, pooling, token and layers.

The same network is looked at under several settings, each with several random draws of the probe, and every look goes
through the analysis that records go through.
"""

from __future__ import annotations

from lightning_gw.probe_report.findings import ProbeLook, ProbeReport, SettingFindings
from lightning_gw.probe_report.looking import probe_report
from lightning_gw.probe_report.picture import draw_probe_report
from lightning_gw.probe_report.settings import ProbeSetting, settings_around
from lightning_gw.probe_report.words import answer

#: Its older name.
ProbeLook = ProbeLook

__all__ = [
    "ProbeLook",
    "ProbeReport",
    "ProbeSetting",
    "SettingFindings",
    "answer",
    "draw_probe_report",
    "probe_report",
    "settings_around",
]
