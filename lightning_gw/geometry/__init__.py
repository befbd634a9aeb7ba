"""Representations become metric-measure spaces."""

from __future__ import annotations

from lightning_gw.geometry.geometries import GEOMETRIES, Geometry

__all__ = ["GEOMETRIES", "Geometry"]
