"""Draws the README's pictures from the demo's records: run `make demo` first, then `make pictures`."""

from __future__ import annotations

from pathlib import Path

from lightning_gw import load_history
from lightning_gw.figures import draw_matrix, draw_timeline

DEMO = Path("runs/demo")
PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    """Draw the timeline and the last matrix of the run with a head on every layer."""
    history = load_history(DEMO / "stage_supervised" / "seed-0")
    PICTURES.mkdir(exist_ok=True)
    draw_timeline(history).savefig(PICTURES / "timeline.png", dpi=100)
    draw_matrix(history[-1]).savefig(PICTURES / "matrix.png", dpi=100)
    print(f"Drew {PICTURES / 'timeline.png'} and {PICTURES / 'matrix.png'}.")


if __name__ == "__main__":
    main()
