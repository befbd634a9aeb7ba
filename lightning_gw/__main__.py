"""``python -m lightning_gw`` is the ``lightning-gw`` command."""

from __future__ import annotations

from lightning_gw.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
