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
    from lightning_gw.callback.gw_similarity import GWSimilarity
    from lightning_gw.geometry.geometries import Geometry
    from lightning_gw.groups.groups import Groups, find_groups
    from lightning_gw.groups.tracking import Event, GroupTracker, converged_at
    from lightning_gw.gw.coupling import GWCoupling, gw_coupling, gw_distance
    from lightning_gw.gw.matrix import gw_matrix
    from lightning_gw.gw.result import GWMatrix
    from lightning_gw.measures.agreement import Agreement, agreements, mantel, neighbour_agreement
    from lightning_gw.measures.catalogue import Measure, layer_similarities
    from lightning_gw.measures.unpaired import UnpairedMatrix, unpaired_gw_matrix
    from lightning_gw.metric.metric import GromovWassersteinMatrix
    from lightning_gw.records.description import describe
    from lightning_gw.records.history import History, load_history
    from lightning_gw.records.record import Record
    from lightning_gw.records.representations import KeptRepresentations, load_representations

_HOMES = {
    "Agreement": "lightning_gw.measures.agreement",
    "Event": "lightning_gw.groups.tracking",
    "GWCoupling": "lightning_gw.gw.coupling",
    "GWMatrix": "lightning_gw.gw.result",
    "GWSimilarity": "lightning_gw.callback.gw_similarity",
    "Geometry": "lightning_gw.geometry.geometries",
    "GromovWassersteinMatrix": "lightning_gw.metric.metric",
    "GroupTracker": "lightning_gw.groups.tracking",
    "Groups": "lightning_gw.groups.groups",
    "History": "lightning_gw.records.history",
    "KeptRepresentations": "lightning_gw.records.representations",
    "Measure": "lightning_gw.measures.catalogue",
    "Record": "lightning_gw.records.record",
    "UnpairedMatrix": "lightning_gw.measures.unpaired",
    "agreements": "lightning_gw.measures.agreement",
    "converged_at": "lightning_gw.groups.tracking",
    "describe": "lightning_gw.records.description",
    "find_groups": "lightning_gw.groups.groups",
    "gw_coupling": "lightning_gw.gw.coupling",
    "gw_distance": "lightning_gw.gw.coupling",
    "gw_matrix": "lightning_gw.gw.matrix",
    "layer_similarities": "lightning_gw.measures.catalogue",
    "load_history": "lightning_gw.records.history",
    "load_representations": "lightning_gw.records.representations",
    "mantel": "lightning_gw.measures.agreement",
    "neighbour_agreement": "lightning_gw.measures.agreement",
    "unpaired_gw_matrix": "lightning_gw.measures.unpaired",
}

__all__ = [
    "Agreement",
    "Event",
    "GWCoupling",
    "GWMatrix",
    "GWSimilarity",
    "Geometry",
    "GromovWassersteinMatrix",
    "GroupTracker",
    "Groups",
    "History",
    "KeptRepresentations",
    "Measure",
    "Record",
    "UnpairedMatrix",
    "__version__",
    "agreements",
    "converged_at",
    "describe",
    "find_groups",
    "gw_coupling",
    "gw_distance",
    "gw_matrix",
    "layer_similarities",
    "load_history",
    "load_representations",
    "mantel",
    "neighbour_agreement",
    "unpaired_gw_matrix",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
