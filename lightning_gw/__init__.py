"""See sub-networks form: Gromov-Wasserstein layer similarity, tracked while a network trains.

    import lightning_gw as lgw

    trainer = Trainer(callbacks=[lgw.GWSimilarity()])

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lightning_gw.__about__ import __version__

if TYPE_CHECKING:
    from lightning_gw.callback.gw_similarity import GWSimilarity as GWSimilarity
    from lightning_gw.geometry.geometries import Geometry as Geometry
    from lightning_gw.groups.finding import find_groups as find_groups
    from lightning_gw.groups.groups import Groups as Groups
    from lightning_gw.groups.tracking import Event as Event
    from lightning_gw.groups.tracking import GroupTracker as GroupTracker
    from lightning_gw.groups.tracking import converged_at as converged_at
    from lightning_gw.gw.coupling import GWCoupling as GWCoupling
    from lightning_gw.gw.coupling import gw_coupling as gw_coupling
    from lightning_gw.gw.coupling import gw_distance as gw_distance
    from lightning_gw.gw.matrix import gw_matrix as gw_matrix
    from lightning_gw.gw.result import GWMatrix as GWMatrix
    from lightning_gw.interventions.drop_layers import DropLayers as DropLayers
    from lightning_gw.interventions.freeze_settled import FreezeSettledGroups as FreezeSettledGroups
    from lightning_gw.interventions.train_group import TrainGroup as TrainGroup
    from lightning_gw.lightning_cli.scripts import p_values as p_values
    from lightning_gw.lightning_cli.scripts import replay as replay
    from lightning_gw.measures.agreement import Agreement as Agreement
    from lightning_gw.measures.agreement import agreements as agreements
    from lightning_gw.measures.agreement import mantel as mantel
    from lightning_gw.measures.agreement import neighbour_agreement as neighbour_agreement
    from lightning_gw.measures.catalogue import Measure as Measure
    from lightning_gw.measures.catalogue import layer_similarities as layer_similarities
    from lightning_gw.measures.unpaired import UnpairedMatrix as UnpairedMatrix
    from lightning_gw.measures.unpaired import unpaired_gw_matrix as unpaired_gw_matrix
    from lightning_gw.metric.metric import GromovWassersteinMatrix as GromovWassersteinMatrix
    from lightning_gw.probe_report.command import probe_report_of as probe_report_of
    from lightning_gw.records.history import History as History
    from lightning_gw.records.history import load_history as load_history
    from lightning_gw.records.record import Record as Record
    from lightning_gw.records.representations import KeptRepresentations as KeptRepresentations
    from lightning_gw.records.representations import load_representations as load_representations
    from lightning_gw.records.words.description import describe as describe

#: Module → the names that are taken from it.
_NAMES = {
    "callback.gw_similarity": "GWSimilarity",
    "geometry.geometries": "Geometry",
    "groups.finding": "find_groups",
    "groups.groups": "Groups",
    "groups.tracking": "Event GroupTracker converged_at",
    "gw.coupling": "GWCoupling gw_coupling gw_distance",
    "gw.matrix": "gw_matrix",
    "gw.result": "GWMatrix",
    "interventions.drop_layers": "DropLayers",
    "interventions.freeze_settled": "FreezeSettledGroups",
    "interventions.train_group": "TrainGroup",
    "lightning_cli.scripts": "p_values replay",
    "measures.agreement": "Agreement agreements mantel neighbour_agreement",
    "measures.catalogue": "Measure layer_similarities",
    "measures.unpaired": "UnpairedMatrix unpaired_gw_matrix",
    "metric.metric": "GromovWassersteinMatrix",
    "probe_report.command": "probe_report_of",
    "records.words.description": "describe",
    "records.history": "History load_history",
    "records.record": "Record",
    "records.representations": "KeptRepresentations load_representations",
}
_HOMES = {name: f"lightning_gw.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
