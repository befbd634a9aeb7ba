"""Gromov-Wasserstein between layers: the batched solver, its bounds, and the general case."""

from lightning_gw.gw.coupling import GWCoupling, gw_coupling, gw_distance
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.gw.result import GWMatrix

__all__ = ["GWCoupling", "GWMatrix", "gw_coupling", "gw_distance", "gw_matrix"]
