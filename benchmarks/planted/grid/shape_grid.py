"""Groups planted in the shapes people train: which networks, how deep, and where their widths change.

A kind of network ends in ``_off_widths`` or ``_at_widths`` where its width changes: a planted group then never, or
always, begins where the width does. With two groups there are two widths; with four, one boundary has no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

OFF = "_off_widths"
AT = "_at_widths"

#: Channels of the three parts of a network whose width changes, and of those that keep one width.
CHANNELS: Mapping[str, tuple[int, ...]] = {
    "resnet": (16, 32, 64),
    "resnet_identity": (16, 32, 64),
    "convnext": (24, 48, 96),
    "vit": (48,),
    "llama": (48,),
}
SHAPES = (*(kind + place for kind in ("resnet", "resnet_identity", "convnext") for place in (OFF, AT)), "vit", "llama")

#: Planted lengths to numbers of blocks of each width, changes at least two layers from what is planted. The first
#: three are development's, the others set aside.
OFF_WIDTHS: Mapping[tuple[int, ...], tuple[int, ...]] = {
    (10,): (3, 4, 3),
    (4, 5, 3): (2, 4, 6),
    (3, 4, 2, 4): (5, 6, 2),
    (11,): (4, 4, 3),
    (6, 3): (2, 2, 5),
    (3, 5, 4): (5, 5, 2),
}
#: The same where widths change exactly where groups begin.
AT_WIDTHS: Mapping[tuple[int, ...], tuple[int, ...]] = {
    (3, 5): (3, 5),
    (2, 4, 3): (2, 4, 3),
    (3, 4, 2, 3): (3, 4, 5),
    (6, 2): (6, 2),
    (4, 3, 2): (4, 3, 2),
    (2, 4, 3, 2): (6, 3, 2),
}
#: Family and seed of each of them, in order: three of development, three set aside.
_IMAGES_OFF = (("narrowing", 0), ("widening", 2), ("narrowing", 0), ("loops", 0), ("narrowing", 1), ("loops", 0))
_IMAGES_AT = (("widening", 2), ("narrowing", 0), ("widening", 2), ("loops", 0), ("widening", 3), ("loops", 0))
_OPERANDS = (("sums", 0), ("zigzag", 2), ("sums", 0), ("products", 1), ("sums", 1), ("products", 1))
_OPERANDS_AT = (("zigzag", 2), ("sums", 0), ("zigzag", 2), ("sums", 1), ("zigzag", 3), ("products", 1))


def rows() -> Iterator[tuple[str, str, int, tuple[int, ...]]]:
    """Architecture, family, seed and planted lengths of every network: twelve of a kind."""
    for kind in ("resnet", "resnet_identity", "convnext", "vit", "llama"):
        off, at = (_OPERANDS, _OPERANDS_AT) if kind == "llama" else (_IMAGES_OFF, _IMAGES_AT)
        for place, planted, names in ((OFF, OFF_WIDTHS, off), (AT, AT_WIDTHS, at)):
            architecture = kind + place if kind + place in SHAPES else kind
            for lengths, (family, seed) in zip(planted, names, strict=True):
                yield architecture, family, seed, lengths


def block_widths(architecture: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Width of every block of a network.

    Args:
        architecture: One of `SHAPES`.
        lengths: Planted lengths; where widths change, a key of `OFF_WIDTHS` or `AT_WIDTHS`.

    Raises:
        KeyError: If it is not known where the widths of such a network change.
    """
    kind = architecture.removesuffix(OFF).removesuffix(AT)
    if kind == architecture:
        return CHANNELS[kind] * sum(lengths)
    parts = (OFF_WIDTHS if architecture.endswith(OFF) else AT_WIDTHS)[lengths]
    return tuple(width for width, blocks in zip(CHANNELS[kind], parts, strict=False) for _ in range(blocks))


def width_changes(architecture: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Each ``k`` such that layer ``k + 1`` (from 0) is wider than layer ``k``."""
    widths = block_widths(architecture, lengths)
    return tuple(k for k in range(len(widths) - 1) if widths[k] != widths[k + 1])
