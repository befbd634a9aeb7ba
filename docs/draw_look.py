"""Draws the way of one look, from the Trainer's event to the page: ``python docs/draw_look.py``.

The picture, pictures/look.svg, names files; one that does not exist is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "lightning_gw"
PICTURE = DOCS / "pictures" / "look.svg"

WIDTH, MARGIN, GAP = 1020, 20, 16
BAND, BETWEEN, BOX = 128, 46, 78
#: Width of the column that says which part of the house a band is.
LABEL = 150


@dataclass(frozen=True)
class Band:
    """What one part of the house does to a look.

    Attributes:
        title: What it is about; a ``|`` ends a line.
        colour: Of its frame.
        steps: File inside the package, and what it does in a few words, in the order in which the look passes.
        hands_on: What leaves it.
    """

    title: str
    colour: str
    steps: tuple[tuple[str, str], ...]
    hands_on: str


START = "the Trainer: a batch has ended, a checkpoint is saved, training ends"
BANDS = (
    Band(
        "When,|and at what cost",
        "#3949ab",
        (
            ("callback/events.py", "hears the Trainer's hooks"),
            ("callback/when/schedule.py", "is a look due?"),
            ("callback/when/budget.py", "does it fit what|looking may cost?"),
            ("callback/look/look_maker.py", "makes the look"),
        ),
        "step, network",
    ),
    Band(
        "A live network,|undisturbed",
        "#00838f",
        (
            ("activations/observer.py", "holds layers and probe,|settled at the start"),
            ("activations/isolation/undisturbed.py", "puts everything back|afterwards"),
            ("activations/running/forward.py", "one forward pass|of the probe inputs"),
            ("activations/reading/capture.py", "hooks take each output,|pooling.py makes it (n, d)"),
        ),
        "layer name → (n, d)",
    ),
    Band(
        "Solved now,|or beside training",
        "#6a1b9a",
        (
            ("analysis/solver.py", "the queue of looks"),
            ("analysis/background.py", "with solve='background':|hands it to a process"),
            ("analysis/worker.py", "that process"),
            ("analysis/analysis.py", "calls the mathematics|below, one look at a time"),
        ),
        "layer name → (n, d), and what the looks before found",
    ),
    Band(
        "The mathematics|(no Lightning)",
        "#2e7d32",
        (
            ("geometry/spaces.py", "(n, d) → (n, n)|distances"),
            ("gw/looks.py", "(L, L) values, bounds|and couplings"),
            ("groups/finding.py", "which layers|belong together"),
            ("significance/evidence.py", "stability over the|probe, p-value"),
            ("groups/tracking/tracker.py", "what became of|the groups before"),
        ),
        "a Record (records/record.py)",
    ),
    Band(
        "Written,|then logged",
        "#ef6c00",
        (
            ("callback/delivery.py", "the disk first,|then every logger"),
            ("records/history.py", "gw/history.jsonl and|step-….safetensors"),
            ("figures/png.py", "matrix and timeline,|where a logger takes them"),
            ("loggers/dispatch.py", "W&B, TensorBoard, or|whatever logger there is"),
        ),
        "the run's folder; later, lightning-gw report",
    ),
    Band(
        "Read",
        "#ad1457",
        (
            ("report/run/loading.py", "reads runs from disk"),
            ("report/payload.py", "what the page's|scripts draw"),
            ("report/page.py", "report.html, one file|that needs no network"),
        ),
        "",
    ),
)


def missing_files() -> list[str]:
    """Files that the picture names and the package does not have."""
    return [file for band in BANDS for file, _ in band.steps if not (PACKAGE / file).exists()]


def draw() -> str:
    """The picture, as SVG."""
    top = 62
    parts = [_text(WIDTH / 2, 26, START, 15, "middle", weight="600"), _arrow(WIDTH / 2, 36, WIDTH / 2, top - 2)]
    for band in BANDS:
        parts += _band(band, top)
        top += BAND
        if band.hands_on:
            parts.append(_arrow(WIDTH / 2, top + 2, WIDTH / 2, top + BETWEEN - 2))
            parts.append(_text(WIDTH / 2 + 14, top + BETWEEN / 2 + 5, band.hands_on, 14, "start"))
            top += BETWEEN
    height = top + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-label="One look, from the Trainer to the page" font-family="sans-serif">',
            '<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
            '<path d="M0,0 L9,4 L0,8 z" fill="#555"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _band(band: Band, top: float) -> Iterator[str]:
    yield (
        f'<rect x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{BAND}" rx="8" '
        f'fill="{band.colour}" fill-opacity="0.07" stroke="{band.colour}"/>'
    )
    yield from _lines(MARGIN + 14, top + BAND / 2, band.title, 14, "start", band.colour, "600")
    room = WIDTH - 2 * MARGIN - LABEL - GAP
    width = (room - GAP * (len(band.steps) - 1)) / len(band.steps)
    middle = top + BAND / 2
    for place, (file, says) in enumerate(band.steps):
        left = MARGIN + LABEL + place * (width + GAP)
        if place:
            yield _arrow(left - GAP, middle, left - 1, middle)
        yield (
            f'<rect x="{left:.0f}" y="{middle - BOX / 2 - 8:.0f}" width="{width:.0f}" height="{BOX + 16}" rx="6" '
            'fill="#ffffff" stroke="#999"/>'
        )
        folder, _, name = file.rpartition("/")
        centre = left + width / 2
        yield _text(centre, middle - 27, f"{folder}/", 11.5, "middle", "#666", family="monospace")
        yield _text(centre, middle - 11, name, 13, "middle", "#111", "600", "monospace")
        yield from _lines(centre, middle + 21, says, 12.5, "middle", "#333")


def _lines(x: float, y: float, text: str, size: float, anchor: str, colour: str, weight: str = "400") -> Iterator[str]:
    lines = text.split("|")
    for place, line in enumerate(lines):
        yield _text(x, y + (place - (len(lines) - 1) / 2) * size * 1.3 + size / 3, line, size, anchor, colour, weight)


def _text(
    x: float,
    y: float,
    text: str,
    size: float,
    anchor: str,
    colour: str = "#222",
    weight: str = "400",
    family: str = "sans-serif",
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-family="{family}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return (
        f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}" stroke="#555" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def main() -> None:
    """Write the picture."""
    if missing := missing_files():
        sys.exit(f"docs/draw_look.py names files that do not exist: {', '.join(missing)}.")
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"Drew {PICTURE}.")


if __name__ == "__main__":
    main()
