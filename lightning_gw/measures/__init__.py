"""Similarity measures on the same activations, how well they agree, and what is left when nothing is paired."""

from lightning_gw.measures.agreement import Agreement, adjusted_rand_index, agreements, mantel, neighbour_agreement
from lightning_gw.measures.catalogue import MEASURES, PAIRED_MEASURES, Measure, layer_similarities, why_undefined
from lightning_gw.measures.unpaired import UnpairedMatrix, unpaired_gw_matrix

__all__ = [
    "MEASURES",
    "PAIRED_MEASURES",
    "Agreement",
    "Measure",
    "UnpairedMatrix",
    "adjusted_rand_index",
    "agreements",
    "layer_similarities",
    "mantel",
    "neighbour_agreement",
    "unpaired_gw_matrix",
    "why_undefined",
]
