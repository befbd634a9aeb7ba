"""Every measure that can be taken of the same activations, with its direction, its range and what it cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from lightning_gw.geometry.spaces import check_representations
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.measures.paired import debiased_cka, debiased_dcor, identity_similarity
from lightning_gw.measures.subspaces import (
    KEPT_VARIANCE,
    cca_similarity,
    procrustes_similarity,
    svcca_similarity,
    why_subspaces_overlap,
)
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.random_state import usual_defaults

Invariance = Literal["orthogonal", "isotropic scaling", "translation", "invertible linear", "relabelling of inputs"]

#: The anchor that found planted groups best; see docs/method.md.
ANCHOR = 0.4

#: What every measure of Euclidean distances or centred inner products does not see.
SIMILARITY_TRANSFORMS: frozenset[Invariance] = frozenset({"orthogonal", "isotropic scaling", "translation"})
#: What one of angles at the origin does not see.
ANGLES: frozenset[Invariance] = frozenset({"orthogonal", "isotropic scaling"})
RELABELLING: frozenset[Invariance] = frozenset({"relabelling of inputs"})


@dataclass(frozen=True)
class Measure:
    """A way to compare layers, and what must be known to read it.

    Calling it with representations gives its ``(L, L)`` matrix.

    Attributes:
        name: Key in `MEASURES`.
        function: Layer name to ``(n, d)`` mapping → ``(L, L)`` float64; rows of degenerate layers are NaN.
        direction: ``"similarity"``: higher is closer, 1 between equals; ``"distance"``: lower is closer, 0 between
            equals.
        range: Least and largest value.
        invariances: What may be done to **one** of two layers without moving the value. ``"orthogonal"``: rotations
            and reflections of its features; ``"isotropic scaling"``: one positive factor; ``"translation"``: one vector
            added to all inputs; ``"invertible linear"``: any invertible map of its features, which contains the first
            two; ``"relabelling of inputs"``: its inputs in another order.
        paired: Whether inputs are matched to themselves, so that both layers must have seen the same ones.
        reference: Where it comes from.
        why_undefined: Representations to the reason why entries of usable layers are NaN, or None where none is.

    Example:
        >>> import torch
        >>> from lightning_gw import Measure
        >>> x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        >>> from lightning_gw.measures.catalogue import MEASURES
        >>> cka = MEASURES["paired_cka"]
        >>> cka.direction, cka.range, cka.paired, cka.reference
        ('similarity', (0.0, 1.0), True, 'Kornblith et al. 2019, linear')
        >>> cka({"x": x, "turned": x.flip(1)}).round(2).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    name: str
    function: Callable[[Mapping[str, Tensor]], FloatArray]
    direction: Literal["similarity", "distance"]
    range: tuple[float, float]
    invariances: frozenset[Invariance]
    paired: bool
    reference: str
    why_undefined: Callable[[Mapping[str, Tensor]], str | None] | None = None

    def __call__(self, representations: Mapping[str, Tensor] | Sequence[Tensor]) -> FloatArray:
        return self.function(check_representations(representations))


def _gw_similarity(representations: Mapping[str, Tensor], geometry: str, anchor: float = 0.0) -> FloatArray:
    return gw_matrix(representations, geometry=geometry, bounds=None, anchor=anchor, progress=False).similarity


def _plain_distance(representations: Mapping[str, Tensor]) -> FloatArray:
    return gw_matrix(representations, geometry="euclidean", bounds=None, progress=False).distance


def _gw(geometry: str, invariances: frozenset[Invariance]) -> Measure:
    return Measure(
        f"gw_{geometry}",
        partial(_gw_similarity, geometry=geometry),
        "similarity",
        (0.0, 1.0),
        invariances | RELABELLING,
        paired=False,
        reference=f"Mémoli 2011, of {geometry!r} spaces",
    )


def _catalogue() -> Iterable[Measure]:
    geometries = {"standardized": SIMILARITY_TRANSFORMS, "cosine": ANGLES}
    yield from (_gw(name, unseen) for name, unseen in geometries.items())
    yield from (_gw(name, SIMILARITY_TRANSFORMS) for name in ("dcor", "cka"))
    yield Measure(
        "gw_euclidean_distance",
        _plain_distance,
        "distance",
        (0.0, float("inf")),
        SIMILARITY_TRANSFORMS | RELABELLING,
        paired=False,
        reference="Mémoli 2011; of layers: Gao et al. 2024 (arXiv 2410.16484)",
    )
    yield Measure(
        "gw_anchored",
        partial(_gw_similarity, geometry="standardized", anchor=ANCHOR),
        "similarity",
        (-1.0, 1.0),
        SIMILARITY_TRANSFORMS,
        paired=True,
        reference="Vayer et al. 2020 (fused Gromov-Wasserstein), with an identity feature cost",
    )
    paired = {
        "paired_rsa": ("standardized", (-1.0, 1.0), SIMILARITY_TRANSFORMS, "Kriegeskorte et al. 2008, Pearson"),
        "paired_rsa_cosine": ("cosine", (-1.0, 1.0), ANGLES, "Kriegeskorte et al. 2008, Pearson, cosine distances"),
        "paired_dcor": ("dcor", (0.0, 1.0), SIMILARITY_TRANSFORMS, "Székely, Rizzo and Bakirov 2007, squared"),
        "paired_cka": ("cka", (0.0, 1.0), SIMILARITY_TRANSFORMS, "Kornblith et al. 2019, linear"),
    }
    for name, (geometry, values, unseen, reference) in paired.items():
        function = partial(identity_similarity, geometry=geometry)
        yield Measure(name, function, "similarity", values, unseen, paired=True, reference=reference)
    both_ways = (-1.0, 1.0)
    reference = "Székely and Rizzo 2013, squared"
    yield Measure("debiased_dcor", debiased_dcor, "similarity", both_ways, SIMILARITY_TRANSFORMS, True, reference)
    reference = "Song et al. 2012; Nguyen, Raghu and Kornblith 2021"
    yield Measure("debiased_cka", debiased_cka, "similarity", both_ways, SIMILARITY_TRANSFORMS, True, reference)
    reference = "Schönemann 1966; of layers: Williams et al. 2021"
    share = (0.0, 1.0)
    yield Measure("procrustes", procrustes_similarity, "similarity", share, SIMILARITY_TRANSFORMS, True, reference)
    yield Measure(
        "cca",
        cca_similarity,
        "similarity",
        share,
        SIMILARITY_TRANSFORMS | {"invertible linear"},
        paired=True,
        reference="Hotelling 1936, mean canonical correlation",
        why_undefined=why_subspaces_overlap,
    )
    yield Measure(
        "svcca",
        svcca_similarity,
        "similarity",
        share,
        SIMILARITY_TRANSFORMS,
        paired=True,
        reference="Raghu et al. 2017, 99 % of the variance",
        why_undefined=partial(why_subspaces_overlap, variance=KEPT_VARIANCE),
    )


#: Every measure by name.
MEASURES: Mapping[str, Measure] = MappingProxyType({measure.name: measure for measure in _catalogue()})

#: Those that cost no search: similarities at the identity matching.
PAIRED_MEASURES = ("paired_rsa", "paired_dcor", "paired_cka", "debiased_cka", "procrustes", "svcca")


@usual_defaults()
def layer_similarities(
    representations: Mapping[str, Tensor] | Sequence[Tensor], measures: Iterable[str] = PAIRED_MEASURES
) -> dict[str, FloatArray]:
    """Several similarity measures of the same layers.

    Args:
        representations: Layer name to ``(n, d)``, or a sequence of tensors.
        measures: Names from `MEASURES`, all similarities; by default those that cost no Gromov-Wasserstein search.

    Returns:
        Name to ``(L, L)`` float64: higher is closer, 1 on the diagonal. Rows of degenerate layers are NaN, and so are
        entries that a measure cannot tell from its inputs; `why_undefined` says why.

    Raises:
        ValueError: For an unknown name, or a measure that is a distance.

    Example:
        >>> import torch
        >>> from lightning_gw import layer_similarities
        >>> x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        >>> found = layer_similarities({"x": x, "turned": 2 * x.flip(1)}, ["paired_cka", "procrustes"])
        >>> {name: values.round(2)[0, 1].item() for name, values in found.items()}
        {'paired_cka': 1.0, 'procrustes': 1.0}
    """
    chosen = [_find(name) for name in measures]
    for measure in chosen:
        if measure.direction == "distance":
            raise ValueError(
                f"{measure.name!r} is a distance, lower is closer, and cannot stand among similarities; call "
                f"MEASURES[{measure.name!r}](representations) for it."
            )
    checked = check_representations(representations)
    return {measure.name: measure.function(checked) for measure in chosen}


@usual_defaults()
def why_undefined(
    representations: Mapping[str, Tensor] | Sequence[Tensor], measures: Iterable[str] = PAIRED_MEASURES
) -> dict[str, str]:
    """Of each measure that leaves pairs of usable layers undefined (NaN), its name and the reason in one sentence."""
    checked = check_representations(representations)
    chosen = [_find(name) for name in measures]
    reasons = {measure.name: measure.why_undefined(checked) for measure in chosen if measure.why_undefined}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _find(name: str) -> Measure:
    if name not in MEASURES:
        raise ValueError(f"Unknown measure {name!r}. Known: {', '.join(MEASURES)}.")
    return MEASURES[name]
