"""What the field calls the measures of a record."""

from __future__ import annotations

from lightning_gw.gw.result import GWMatrix

_PAIRED_NAMES = {
    "standardized": "RSA",
    "euclidean": "RSA",
    "dcor": "squared distance correlation",
    "cka": "linear CKA",
}
_MEASURE_NAMES = {
    "gw_anchored": "anchored Gromov-Wasserstein",
    "gw_unpaired": "unpaired Gromov-Wasserstein",
    "paired_rsa": "RSA",
    "paired_dcor": "squared distance correlation",
    "paired_cka": "linear CKA",
    "debiased_cka": "debiased CKA",
    "debiased_dcor": "debiased distance correlation",
    "procrustes": "Procrustes",
    "cca": "CCA",
    "svcca": "SVCCA",
}


def paired_name(gw: GWMatrix) -> str:
    """What the field calls the identity coupling of a matrix's geometry: RSA, linear CKA, ..."""
    return _PAIRED_NAMES.get(gw.geometry, f"the identity coupling of {gw.geometry}")


def measure_name(key: str) -> str:
    """What the field calls a measure of a record."""
    return _MEASURE_NAMES.get(key, key)
